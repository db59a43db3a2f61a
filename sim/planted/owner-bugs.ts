/** Planted bugs of the owner: acknowledging, going on after a failure, taking over, reading under a lease, sessions. */
import { lateDrains, lostAnswers, patch, standstill, type PlantedBug } from './planted-bug.ts'

const vdiskLog = 'stargate/vdisk-controller/vdisk-log.ts'
const takeover = 'stargate/vdisk-controller/takeover.ts'

export const ownerBugs: readonly PlantedBug[] = [
  {
    name: 'acknowledged before the peer has synced',
    breaks: 'I1',
    does: "The owner acknowledges when its own replica has synced, whatever its peers' say.",
    patches: [
      patch(
        vdiskLog,
        'for (const link of current.links) if (link.synced < synced) synced = link.synced',
        'for (const link of current.links.slice(0, 1)) if (link.synced < synced) synced = link.synced',
      ),
    ],
  },
  {
    name: 'acknowledged before the own replica has synced',
    breaks: 'I1',
    does: 'The owner acknowledges when its peers have synced, and does not wait for its own disk.',
    patches: [
      patch(
        vdiskLog,
        'for (const link of current.links) if (link.synced < synced) synced = link.synced',
        'for (const link of current.links.slice(1)) if (link.synced < synced) synced = link.synced',
      ),
    ],
  },
  {
    name: 'tail not appended again',
    breaks: 'I1',
    does: 'A new episode begins without the records that the old one did not acknowledge, and acknowledges them all the same.',
    patches: [
      patch(vdiskLog, 'first: (end + 1) as Sequence,', 'first: this.#last as Sequence,'),
      patch(vdiskLog, 'sent: end,', 'sent: this.#last - 1,'),
    ],
  },
  {
    name: 'takeover drops what lies behind the mark',
    breaks: 'I1',
    does: 'A taker keeps only what a record says was acknowledged, and the last records may have been too.',
    patches: [
      patch(takeover, '      next,\n      last,\n      take,\n', '      next,\n      mark,\n      take,\n'),
    ],
  },
  {
    name: 'takeover without a fence',
    breaks: 'I4',
    does: 'A taker asks the replicas what they hold without raising their epoch.',
    patches: [
      patch(
        takeover,
        'const tails = await context.oplogs.replica(ref).fence(vdisk, epoch)',
        'const tails = await context.oplogs.replica(ref).fence(vdisk, (epoch - 1) as Epoch)',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: 'I4: an owner that nobody but its peer.*seed 1',
    },
  },
  {
    name: 'reads served after the lease',
    breaks: 'I2',
    does: 'An owner whose peers have stopped granting goes on serving reads for a minute.',
    patches: [
      patch(
        'stargate/vdisk-controller/read-lease.ts',
        'if (grant.until <= now) return false',
        'if (grant.until + 60_000 <= now) return false',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: 'C11: an owner that is cut off reads nothing old.*seed 1',
    },
  },
  {
    name: 'row update of unknown outcome taken as made',
    breaks: 'I1',
    does: 'A change of a row whose answer was lost counts as made.',
    patches: [
      patch(
        'medusa/medusa.ts',
        'mayHaveBeenMade = true\n',
        "if (1) return { outcome: 'applied', static: { epoch: change.epoch, version: change.expected.version + 1, changeId: change.id } }; mayHaveBeenMade = true\n",
      ),
    ],
    plan: lostAnswers,
  },
  {
    name: 'row update of unknown outcome taken as not made',
    breaks: 'I4',
    does: 'A change of a row whose answer was lost is sent anew, and its own first sending counts as a conflict.',
    patches: [
      patch('medusa/medusa.ts', 'mayHaveBeenMade = true\n', 'mayHaveBeenMade = false\n'),
      patch('medusa/medusa.ts', ': result.static.changeId === change.id\n', ': pauseMs < 0\n'),
    ],
    plan: lostAnswers,
  },
  {
    name: 'compare-and-set dropped',
    breaks: 'I4',
    does: 'The store makes every change, whatever epoch and version its partition has.',
    patches: [
      patch(
        'medusa/sqlite-medusa.ts',
        'if (now.epoch !== change.expected.epoch || now.version !== change.expected.version)',
        'if (now.version < 0)',
      ),
    ],
    plan: standstill,
  },
  {
    name: 'write gate lets everything in',
    breaks: 'I9',
    does: 'Writes are let in however many undrained bytes the node holds in memory.',
    patches: [
      patch(
        'stargate/vdisk-controller/write-gate.ts',
        'return bytes === 0 || this.#undrainedBytes + this.#givenBytes < this.#bytesMax',
        'return bytes >= 0',
      ),
    ],
    plan: lateDrains,
  },
  {
    name: 'late deletion takes the name of the next vDisk',
    breaks: 'I2',
    does: 'Whoever deletes a vDisk deletes its name whatever it stands for by now.',
    patches: [patch('named-vdisks.ts', 'await zeus.delete(key, version)', 'await zeus.delete(key)')],
    scenario: { file: 'sim/scenarios/major/life-of-a-vdisk.test.ts', tests: 'a deletion that was held up' },
  },
]
