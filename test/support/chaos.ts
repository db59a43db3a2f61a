/**
 * Guests at work while nodes fail, one at a time: fio verifies what it wrote on some vDisks, clients of our own record what they do on
 * another, and nodes are killed, frozen, started again and cut off, the next once the last is healed.
 *
 * What must come of it: no wrong byte, no error to a client that reconnects, a history that a single disk could have had, and no two
 * processes that served one vDisk in one epoch.
 */
import assert from 'node:assert/strict'
import type { Cluster } from './cluster.ts'
import { Door } from './doors.ts'
import { fio, mixedSizes } from './fio.ts'
import { healed } from './health.ts'
import type { Namespaces } from './namespaces.ts'
import { NodeFaults, type Faults } from './node-faults.ts'
import { RecordedWork, recordedWorkBytes } from './recorded-work.ts'
import { servedEpochs, servedTwice } from './served-epochs.ts'

export interface ChaosOptions {
  readonly seed: number
  readonly ms: number
  /** vDisks on which fio works. */
  readonly fioVDisks: number
  /** What fio writes in one go, before all of it is read again. */
  readonly fioMiB: number
  /** As fast as each fio reads at most what it wrote. */
  readonly fioReadMiBPerSecond?: number
  /** In place of those of nodes alone. */
  readonly faults?: Faults
  /** It goes on until there were so many. */
  readonly faultsLeast?: number
  readonly namespaces?: Namespaces
  readonly say: (line: string) => void
}

export interface ChaosResult {
  readonly faults: ReadonlyMap<string, number>
  /** The longest that one request of a patient client waited. */
  readonly longestStallMs: number
  readonly longestHealingMs: number
  readonly recorded: { readonly writes: number; readonly unanswered: number; readonly reads: number }
  readonly fioWrites: number
  readonly epochs: number
}

const fioMiBPerSecond = 1
const fioReadMiBPerSecondUsual = 400
/** A pass that meets one fault after the other takes that much longer at the most. */
const fioSecondsMore = 240

export async function runChaos(cluster: Cluster, options: ChaosOptions): Promise<ChaosResult> {
  const { seed, ms, fioVDisks, faultsLeast = 0, namespaces, say } = options
  const faults = options.faults ?? new NodeFaults(cluster, seed, namespaces)
  const recorded = await cluster.createVDisk(String(recordedWorkBytes), 'recorded')
  const { socket } = await cluster.connect(recorded)
  const work = new RecordedWork(seed, 20)
  const patient = new Door('ndfs connect', recorded, () => socket, true)
  const direct = cluster.nodes.map(({ id }) => new Door(id, recorded, () => cluster.node(id).nbd.address))
  let longestStallMs = 0
  let longestLately = 0
  work.onAnswer = (door, calledAt, answeredAt) => {
    if (!door.isPatient) return
    longestLately = Math.max(longestLately, answeredAt - calledAt)
    longestStallMs = Math.max(longestStallMs, longestLately)
  }
  const stallLately = (): number => {
    const ms = longestLately
    longestLately = 0
    return ms
  }
  const fioTargets = await Promise.all(
    Array.from({ length: fioVDisks }, (_, index) => cluster.createVDisk('256MiB', `fio${index}`)),
  )
  work.join(patient, 4)
  for (const door of direct) work.join(door, 1)

  const end = performance.now() + ms
  const isOver = (): boolean => (performance.now() > end && met >= faultsLeast) || failed
  let met = 0
  let failed = false
  const guests = fioTargets.map(async (vdisk, index) => {
    const { uri } = await cluster.connect(vdisk)
    return fioUntil(cluster, uri, { ...options, seed: seed + index }, isOver)
  })
  const told = (line: string): void => {
    met++
    say(line)
  }
  const troubles = untilOver(cluster, faults, [recorded, ...fioTargets], isOver, stallLately, told)
  const all = [...guests, troubles]
  for (const one of all) one.catch(() => (failed = true))
  // The cluster outlives whoever works on it; what failed first is what is told.
  const outcomes = await Promise.allSettled(all)
  await work.leave()
  const reason = outcomes.find((outcome) => outcome.status === 'rejected')
  judgeWork(work)
  if (reason !== undefined) throw reason.reason
  for (const door of [patient, ...direct]) await work.readAll(door)
  for (const door of [patient, ...direct]) door.close()
  judgeWork(work)
  assert(work.findsStaleRead(), 'a planted stale read was not found')
  const errors = work.refusals.filter(({ isPatient }) => isPatient)
  assert.deepEqual(errors, [], 'ndfs connect answered with errors')
  const served = servedEpochs(cluster)
  assert.equal(servedTwice(served), undefined)
  const fioResults = await Promise.all(guests)
  return {
    faults: faults.counts,
    longestStallMs: Math.max(longestStallMs, ...fioResults.map((one) => one.longestMs)),
    longestHealingMs: await troubles,
    recorded: work.counts,
    fioWrites: fioResults.reduce((sum, one) => sum + one.writes, 0),
    epochs: served.length,
  }
}

/** For people, line by line. */
export function describeChaos(result: ChaosResult): readonly string[] {
  const { recorded } = result
  return [
    `faults: ${[...result.faults].map(([kind, count]) => `${count} ${kind}`).join(', ')}`,
    `0 wrong bytes and 0 errors: ${result.fioWrites} writes of fio verified, ${recorded.writes} writes and ` +
      `${recorded.reads} reads recorded and judged, ${recorded.unanswered} without answer`,
    `${result.epochs} epochs, each served by one process`,
    `longest stall ${(result.longestStallMs / 1000).toFixed(1)} s, longest healing ${(result.longestHealingMs / 1000).toFixed(1)} s`,
  ]
}

function judgeWork(work: RecordedWork): void {
  assert.equal(work.judge(), undefined)
}

/** Resolves to the longest healing. */
async function untilOver(
  cluster: Cluster,
  faults: Faults,
  vdisks: readonly string[],
  isOver: () => boolean,
  stallLately: () => number,
  say: (line: string) => void,
): Promise<number> {
  let longest = 0
  while (!isOver()) {
    let what = ''
    await faults.one(vdisks, (fault) => (what = fault))
    const ms = await healed(cluster)
    longest = Math.max(longest, ms)
    const stall = (stallLately() / 1000).toFixed(1)
    say(`${what}, healed ${(ms / 1000).toFixed(1)} s after its end; a recorded request waited ${stall} s`)
  }
  return longest
}

/** Writes, and reads all of it again, in passes; each of other bytes, and the last one checked once more when nothing fails any more. */
async function fioUntil(
  cluster: Cluster,
  uri: string,
  { seed, fioMiB, fioReadMiBPerSecond = fioReadMiBPerSecondUsual, say }: ChaosOptions,
  isOver: () => boolean,
): Promise<{ readonly longestMs: number; readonly writes: number }> {
  const folder = cluster.scratch
  const options = (pass: number): string[] => [
    ...['rw=randwrite', mixedSizes, `size=${fioMiB}m`, 'iodepth=32', `randseed=${seed + 1000 * pass}`],
    ...['verify=crc32c', 'verify_fatal=1'],
  ]
  const paced = [
    `rate=${fioReadMiBPerSecond}m,${fioMiBPerSecond}m`,
    'verify_backlog=256',
    'verify_backlog_batch=128',
  ]
  const seconds = fioMiB / fioMiBPerSecond + fioSecondsMore
  let longestMs = 0
  let count = 0
  let pass = 0
  while (!isOver()) {
    const { writes, longestMs: longest } = await fio({
      uri,
      options: [...options(++pass), ...paced],
      seconds,
      folder,
    })
    longestMs = Math.max(longestMs, longest)
    count += writes.requests
  }
  if (pass > 0) await fio({ uri, options: [...options(pass), 'verify_only=1'], seconds, folder })
  say(`fio on ${uri.slice(uri.lastIndexOf('/') + 1)}: longest ${(longestMs / 1000).toFixed(1)} s`)
  return { longestMs, writes: count }
}
