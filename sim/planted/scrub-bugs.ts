/** Planted bugs of scrub and check: what a copy is held against, what is taken for right, and what is confirmed. */
import { KiB } from '../../src/base/units.ts'
import type { Plan } from '../simulate.ts'
import { damage, patch, type PlantedBug } from './planted-bug.ts'

const verifyCopy = 'stargate/extent-store/verify-copy.ts'
const copyCheck = 'stargate/vdisk-controller/copy-check.ts'

/** Copies rot, or are gone, that few would read: the cache holds what is read, and the scrub comes round within seconds. */
const rot: Partial<Plan> = {
  ...damage,
  cacheBytes: 4096 * KiB,
  pace: {
    drainBeginsAtBytes: 128 * KiB,
    drainAgeMs: 500,
    idleReleaseMs: 2_000,
    freeAgainMs: 1_000,
    sweepMs: 3_000,
    goneGraceMs: 800,
    scrubEveryMs: 4_000,
  },
  troubles: { 'group rot': 6, 'group file lost': 8, 'group write lost': 3, kill: 1 },
}

export const scrubBugs: readonly PlantedBug[] = [
  {
    name: 'scrub believes the trailer',
    breaks: 'I5',
    does: "A copy is right where its trailer is sound, whatever its pages hold, and whatever the group's row says.",
    patches: [patch(verifyCopy, 'if (pages > 0) return', 'if (pages > 0 && copy.number < 0) return')],
    plan: rot,
  },
  {
    name: 'missing copy taken for right',
    breaks: 'I5',
    does: 'Scrub and check say nothing where the file of a copy is not there.',
    patches: [
      patch(
        'stargate/extent-store/local-extents.ts',
        "if (hasCode(failure, 'NOT_FOUND')) return { state: 'missing', reason: 'its file is not there' }",
        "if (hasCode(failure, 'NOT_FOUND')) return { state: 'right' }",
      ),
    ],
    scenario: { file: 'sim/scenarios/major/scrub.test.ts', tests: 'R31: copies that rot' },
  },
  {
    name: 'wrong copies of vDisks that nobody owns wait',
    breaks: 'I5',
    does: 'What the scrub finds is told to an owner, and to nobody where there is none.',
    patches: [
      patch(
        'wrong-copies.ts',
        "await controller.claim(vdisk, 'free')\n",
        'if (owner !== undefined) return false\n',
      ),
    ],
    scenario: { file: 'sim/scenarios/major/scrub.test.ts', tests: 'R31: copies that rot' },
  },
  {
    name: 'short copy passed over',
    breaks: 'I5',
    does: 'A file that ends before its pages do is not looked at.',
    patches: [
      patch(
        verifyCopy,
        'if (size < bytes) return short(size)',
        "if (size < bytes) return { state: 'right' }",
      ),
    ],
    scenario: { file: 'src/stargate/extent-store/verify-copy.test.ts', tests: 'a copy is short' },
  },
  {
    name: 'copy called wrong without a second look at its row',
    breaks: 'I5',
    does: 'A copy that was freed, or swapped for another, while it was read counts as missing.',
    patches: [
      patch(
        copyCheck,
        'if (!namesNow(await readGroupRow(medusa, group), copy)) return',
        'if (copy.number < 0) return',
      ),
    ],
    scenario: { file: 'src/stargate/vdisk-controller/copy-check.test.ts', tests: 'was freed, or swapped' },
  },
  {
    name: 'scrub begins anew at each start',
    breaks: 'progress',
    does: 'How far the scrub was is forgotten when its node is started again.',
    patches: [
      patch(
        'curator/scrub.ts',
        '(await this.#context.load()) ?? ',
        'await this.#context.load().then(() => undefined) ?? ',
      ),
    ],
    scenario: { file: 'src/curator/scrub.test.ts', tests: 'goes on where it was' },
  },
  {
    name: 'disk whose folder is gone goes on',
    breaks: 'I6',
    does: 'Nobody notices that the folder of a disk in use was deleted.',
    patches: [
      patch(
        'disk/folder-disk.ts',
        'if (wrong !== undefined) this.fail(',
        "if (wrong === 'never') this.fail(",
      ),
    ],
    scenario: { file: 'src/disk/folder-disk.test.ts', tests: 'whose folder' },
  },
]
