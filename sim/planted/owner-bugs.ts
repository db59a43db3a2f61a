/** Planted bugs of the owner: acknowledging, going on after a failure, taking over, reading under a lease, sessions. */
import { isolation, lostAnswers, patch, type PlantedBug } from './planted-bug.ts'

const vdiskLog = 'stargate/vdisk-controller/vdisk-log.ts'
const takeover = 'stargate/vdisk-controller/takeover.ts'
const sessions = 'stargate/vdisk-controller/sender-sessions.ts'

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
    seed: 1,
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
    seed: 1,
  },
  {
    name: 'tail not appended again',
    breaks: 'I1',
    does: 'A new episode begins without the records that the old one did not acknowledge, and acknowledges them all the same.',
    patches: [
      patch(vdiskLog, 'first: (end + 1) as Sequence,', 'first: this.#last as Sequence,'),
      patch(vdiskLog, 'sent: end,', 'sent: this.#last - 1,'),
    ],
    seed: 1,
  },
  {
    name: 'takeover drops what lies behind the mark',
    breaks: 'I1',
    does: 'A taker keeps only what a record says was acknowledged, and the last records may have been too.',
    patches: [
      patch(
        takeover,
        'last = Math.max(last, tail?.last ?? 0)',
        'last = Math.max(mark, tail === undefined ? 0 : 0)',
      ),
    ],
    seed: 1,
  },
  {
    name: 'takeover shows the tail at once',
    breaks: 'I1',
    does: 'A taker counts what it kept as acknowledged, though it lies on one replica of the old episode only.',
    patches: [
      patch(
        takeover,
        'return { entries, mark: Math.max(mark, state.drained) as Sequence }',
        'return { entries, mark: Math.max(mark, last, state.drained) as Sequence }',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/major/takeover.test.ts',
      tests: 'M1: a record that nobody was promised',
    },
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
    plan: isolation,
    seed: 7,
  },
  {
    name: 'row read before its epoch is raised',
    breaks: 'I1',
    does: "A taker goes by the row as it was before it raised the row's epoch, and the older owner may have changed it since (C1).",
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-row.ts',
        'const seen = (await access.medusa.get(vdiskPartition(vdisk), [])).static\n    if (seen.version === 0)',
        'const early = await access.medusa.get(vdiskPartition(vdisk), [stateRowKey]), seen = early.static\n    if (seen.version === 0)',
      ),
      patch(
        'stargate/vdisk-controller/vdisk-row.ts',
        'row.#state = decodeVDiskState(rows[0].value)',
        'row.#state = decodeVDiskState(early.rows[0].value)',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/ownership.test.ts', tests: 'C1: what the first of two takers' },
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
    plan: isolation,
    seed: 1,
  },
  {
    name: 'stale session accepted',
    breaks: 'I2',
    does: 'A request of an older session takes effect after the client has begun a newer one.',
    patches: [
      patch(
        sessions,
        'else if (number < newest) throw stale(name, number, newest)',
        'else if (number < 0) throw stale(name, number, newest)',
      ),
    ],
    scenario: { file: 'sim/scenarios/critical/repeats.test.ts', tests: 'F3: pages of a stream' },
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
    seed: 1,
  },
  {
    name: 'row update of unknown outcome taken as not made',
    breaks: 'I4',
    does: 'A change of a row whose answer was lost is sent anew, and its own first sending counts as a conflict.',
    patches: [patch('medusa/medusa.ts', 'mayHaveBeenMade = true\n', 'mayHaveBeenMade = false\n')],
    plan: lostAnswers,
    seed: 3,
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
    seed: 1,
  },
]
