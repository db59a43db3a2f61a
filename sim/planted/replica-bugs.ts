/** Planted bugs of the replica's side of the log: what is on stable media, what replay believes, who may append. */
import { patch, smallLogs, type PlantedBug } from './planted-bug.ts'

const physicalLog = 'stargate/oplog/physical-log.ts'
const replicaLog = 'stargate/oplog/replica-log.ts'

export const replicaBugs: readonly PlantedBug[] = [
  {
    name: 'replica answers before it has synced',
    breaks: 'I1',
    does: 'A replica answers an append when it has taken it, not when it lies on stable media.',
    patches: [
      patch(
        replicaLog,
        'new AppendRequest(this.#log, id, vdisk, target, records, acknowledged, resolve, reject),\n      )',
        'new AppendRequest(this.#log, id, vdisk, target, records, acknowledged, resolve, reject),\n      ), resolve()',
      ),
    ],
  },
  {
    name: 'log is written without a sync',
    breaks: 'I1',
    does: 'The segments of a log are opened without O_DSYNC, and nothing syncs them.',
    patches: [
      patch(
        'stargate/oplog/replay.ts',
        'return await disk.open(segmentName(slot), { direct: true, durable: true })',
        'return await disk.open(segmentName(slot), { direct: true })',
      ),
    ],
  },
  {
    name: 'older use of a segment believed',
    breaks: 'I2',
    does: 'Replay takes batches that an earlier generation left behind in the segment.',
    patches: [
      patch(
        'stargate/oplog/scan.ts',
        'header.generation === place.generation &&',
        'header.generation <= place.generation &&',
      ),
    ],
    plan: smallLogs,
  },
  {
    name: 'freed segment used again at once',
    breaks: 'I1',
    does: 'A freed segment is written over before a table on stable media says that nothing in it counts.',
    patches: [
      patch(
        physicalLog,
        "slot.newest.delete(vdisk)\n      if (slot.state === 'live' && slot.newest.size === 0) slot.state = 'freed'",
        "slot.newest.delete(vdisk)\n      if (slot.state === 'live' && slot.newest.size === 0) slot.state = 'free'",
      ),
    ],
    plan: smallLogs,
  },
  {
    name: 'fence not kept by the replica',
    breaks: 'I4',
    does: 'A fenced replica tells its tail and goes on taking appends of the older epoch.',
    patches: [
      patch(
        replicaLog,
        'this.#raise(id, vdisk, epoch)\n    if (vdisk.fenced < epoch) {',
        'void 0\n    if (vdisk.fenced < epoch) {',
      ),
    ],
    scenario: {
      file: 'sim/scenarios/critical/leases.test.ts',
      tests: 'I4: an owner that nobody but its peer.*seed 1',
    },
  },
  {
    name: 'record freed before it was drained',
    breaks: 'I1',
    does: 'The replicas are told to forget a prefix when its drain begins, before map and row say what it held.',
    patches: [
      patch(
        'stargate/vdisk-controller/vdisk-log.ts',
        'prefix.push(entry)\n    }\n    return prefix',
        'prefix.push(entry)\n    }\n    this.#context.oplogs.free((this.#current?.links ?? []).map((link) => link.ref), this.#context.row.vdisk, (prefix.at(-1)?.sequence ?? 0) as Sequence); return prefix',
      ),
    ],
  },
]
