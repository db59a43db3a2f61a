/** Planted bugs of sickness: disks that are slow or hang, and who is taken for dead. */
import { patch, type PlantedBug } from './planted-bug.ts'

const slowDisks = 'slow-disks.ts'
const scenarios = 'sim/scenarios/major/slow-disks.test.ts'
const detection = 'sim/scenarios/major/detection.test.ts'

export const sicknessBugs: readonly PlantedBug[] = [
  {
    name: 'failed disk told once',
    breaks: 'I1',
    does: 'A disk that fails while Zeus is out of reach counts as one that holds its copies for as long as its node runs.',
    patches: [
      patch(
        'node-session.ts',
        'await clock.sleep(retryMs)\n      }\n    }\n    this.#telling',
        'this.#heard = changes\n      }\n    }\n    this.#telling',
      ),
    ],
    scenario: { file: 'src/node-session.test.ts', tests: 'a change that Zeus did not hear' },
  },
  {
    name: 'slow disk without a measure',
    breaks: 'progress',
    does: 'A disk is slow by itself, whatever the others take: a slow cluster takes its own disks out of service.',
    patches: [
      patch(
        slowDisks,
        'if (others === undefined || medianMs < slowFactor * others) return void',
        'if (others === undefined) return void',
      ),
    ],
    scenario: { file: scenarios, tests: 'a cluster whose disks are all slow' },
  },
  {
    name: 'slow disks leave together',
    breaks: 'progress',
    does: 'Nobody asks whether another disk is out for being slow, or gone.',
    patches: [
      patch(
        slowDisks,
        'if (holder !== undefined && lives(holder.node, holder.incarnation)) return false\n',
        '\n',
      ),
      patch(slowDisks, "if (isAnyGone) return 'other disks, or nodes, are gone'\n", '\n'),
    ],
    scenario: { file: scenarios, tests: 'of two slow disks one leaves' },
  },
  {
    name: 'slow disk leaves too few',
    breaks: 'I1',
    does: 'A disk leaves service though the nodes that are left have no disks for all copies.',
    patches: [
      patch(slowDisks, "if (nodesWith(['flash']) < copies)", "if (nodesWith(['flash']) < 0)"),
      patch(slowDisks, "if (nodesWith(['flash', 'hdd']) < copies)", "if (nodesWith(['flash', 'hdd']) < 0)"),
    ],
    scenario: { file: scenarios, tests: 'a disk that no other can stand in for' },
  },
  {
    name: 'condemned disk used again',
    breaks: 'I6',
    does: 'A disk that is out of service for good is taken into use when its node is started again.',
    patches: [patch(slowDisks, 'if (trouble.value.condemned !== undefined)\n', 'if (trouble.version < 0)\n')],
    scenario: { file: scenarios, tests: 'one that is out for the third time' },
  },
  {
    name: 'all disks stop, and are taken for dead',
    breaks: 'progress',
    does: 'A disk without an answer has failed, whether the others answer or not.',
    patches: [patch(slowDisks, 'oldestMs >= alsoHangsMs', 'oldestMs >= 1e9')],
    scenario: { file: detection, tests: 'what stops all disks is no disk' },
  },
  {
    name: 'process stood still, disk taken for dead',
    breaks: 'progress',
    does: 'A process that was frozen counts the time against its disks.',
    patches: [
      patch(
        'disk/latency.ts',
        'if (this.#clock.now() - due > heldUpMs) return this.#armOverdue(heldUpMs)\n',
        '\n',
      ),
    ],
    scenario: { file: detection, tests: 'a process that stood still' },
  },
  {
    name: 'read waits for the copy that hangs',
    breaks: 'progress',
    does: 'A read is not given to another copy while the first one gives no answer.',
    patches: [
      patch(
        'stargate/extent-store/replicated-extent-store.ts',
        'const readPatienceMs = 2000\n',
        'const readPatienceMs = 2e9\n',
      ),
    ],
    scenario: { file: detection, tests: 'M12: a disk that gives no answer' },
  },
  {
    name: 'owner taken by a node that hears nobody',
    breaks: 'progress',
    does: 'A node that is cut off from all others takes a vDisk from an owner that serves.',
    patches: [
      patch(
        'stargate/front-end-adapter/vdisk-router.ts',
        "heard.some(({ hears }) => hears === false) ? 'nobody hears it' : 'nobody hears us'",
        "heard.some(({ hears }) => hears === true) ? 'nobody hears us' : 'nobody hears it'",
      ),
    ],
    scenario: { file: detection, tests: 'M16: a node that hears the store' },
  },
]
