/** Planted bugs of orderly change: what leaves a disk, when a copy there counts no more, and what is said to be done. */
import { patch, type PlantedBug } from './planted-bug.ts'

const unitTests = 'src/stargate/vdisk-controller/moves.test.ts'
const scenarios = 'sim/scenarios/major/draining-nodes.test.ts'
const maintenance = 'sim/scenarios/major/maintenance.test.ts'
const removals = 'sim/scenarios/major/removed-nodes.test.ts'

export const leavingBugs: readonly PlantedBug[] = [
  {
    name: 'copy unlinked before another is named',
    breaks: 'I1',
    does: 'A copy that moves is unlinked on the disk that is being left while the row still names it.',
    patches: [
      patch(
        'stargate/vdisk-controller/copy-repair.ts',
        'if (isMove(what) && isGone(rebuilt)) return await this.#settle(group)\n',
        'if (isMove(what)) await extents.remove(group, old, owned.epoch)\n',
      ),
    ],
    scenario: { file: unitTests, tests: 'a row never names fewer good copies' },
  },
  {
    name: 'log stays where it is being left',
    breaks: 'I1',
    does: 'An open episode goes on with a replica on a disk that is being drained.',
    patches: [
      patch(
        'stargate/vdisk-controller/hosted-vdisk.ts',
        'this.#moveLog()\n    this.#repair.look()\n',
        'void 0\n    this.#repair.look()\n',
      ),
    ],
    scenario: { file: scenarios, tests: 'a node is drained while guests write' },
  },
  {
    name: 'logs are not counted on a disk that is being left',
    breaks: 'I1',
    does: 'A disk is said to be drained that a vDisk writes its log to.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-survey.ts',
        'sum.addHeld({ disk, groups: 0, bytes: 0, logs: 1 })\n',
        'void disk\n',
      ),
    ],
    scenario: { file: scenarios, tests: 'a drain that waits for room' },
  },
  {
    name: 'vDisks that nobody owns stay where they are',
    breaks: 'I1',
    does: 'What is being left is no reason to look at a vDisk without an owner.',
    patches: [
      patch(
        'stargate/vdisk-controller/repair-looks.ts',
        'if (planned.some(isLeaving)) return true\n',
        'void isLeaving\n',
      ),
    ],
    scenario: { file: scenarios, tests: 'a disk is drained to other disks' },
  },
  {
    name: 'node removed without a count',
    breaks: 'I1',
    does: 'A node that is gone is taken out of the cluster though it has the last copy of something.',
    patches: [patch('removal.ts', 'await this.#assertNothingOn(node, disks)\n', 'void disks\n')],
    scenario: { file: removals, tests: 'a node that died with the last copy' },
  },
  {
    name: 'removed node takes part again',
    breaks: 'I4',
    does: 'A process of a node that was removed starts, and shows its disks.',
    patches: [
      patch(
        'retirement.ts',
        "return setting?.mode === 'removed' ? removedNode(node) : undefined\n",
        'return void [setting, removedNode]\n',
      ),
      patch(
        'retirement.ts',
        "if (leaving.modeOf(node) !== 'removed' || this.#waits) return\n",
        'if (node) return\n',
      ),
    ],
    scenario: { file: removals, tests: 'a node that died is removed once' },
  },
  {
    name: 'repair begins during maintenance',
    breaks: 'I1',
    does: 'A node that is stopped in maintenance is made up for at once.',
    patches: [patch('gone-disks.ts', ' && !this.#spared.has(node)\n', '\n')],
    scenario: { file: maintenance, tests: 'a node in maintenance may be stopped' },
  },
  {
    name: 'maintenance without an end',
    breaks: 'I1',
    does: 'What lies on a node that stays away after maintenance is never made anew.',
    patches: [
      patch(
        'gone-disks.ts',
        'this.#spared.delete(name)\n      changed(true)\n',
        'void name\n      changed(true)\n',
      ),
    ],
    scenario: { file: maintenance, tests: 'when its time is over' },
  },
  {
    name: 'misplaced copy moves to a block that has one',
    breaks: 'I1',
    does: 'A copy that should be in another block is moved to any disk.',
    patches: [
      patch(
        'stargate/extent-store/placement.ts',
        'if ((stays && leaving === true) || (inOtherBlock && blocks.has(candidate.block))) continue\n',
        'if ((stays && leaving === true) || (inOtherBlock && !blocks.has(candidate.block))) continue\n',
      ),
    ],
    scenario: { file: unitTests, tests: 'copies that lie in fewer blocks' },
  },
]
