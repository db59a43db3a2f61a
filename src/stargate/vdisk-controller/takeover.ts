/**
 * Taking a vDisk over: raise the epoch, fence, read what the log holds, and open a new episode (DESIGN section 7,
 * docs/vdisk-protocol.md "Claim and takeover"). What it needs of the world is asked of replicas that have agreed to a fence.
 *
 * `endOf` decides, and is pure; the rest asks and reads.
 */
import { assert } from '../../base/assert.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef, Epoch, EpisodeId, Sequence, VDiskId } from '../../base/ids.ts'
import type { Clock, Log } from '../../platform/platform.ts'
import { decodeRecord, type LogRecord, type Oplogs, type Tail } from '../oplog/oplog.ts'
import type { Episode, VDiskState } from './rows.ts'
import type { LogEntry } from './vdisk-log.ts'

/** How long the others of an episode may take after the first has agreed: more tails can only say more. */
const otherTailsMs = 1000
/** Bytes asked of a replica at once. */
const readBytesMax = 8 * 1024 * 1024

export interface TakeoverContext {
  readonly clock: Clock
  readonly log: Log
  readonly oplogs: Oplogs
}

export interface Recovered {
  /** From the drained sequence on, contiguous. */
  readonly entries: LogEntry[]
  /** Up to here everything was, or may have been, promised, and lies on every replica of its episode. Never below the drained sequence. */
  readonly mark: Sequence
}

interface FencedTail {
  readonly ref: DiskRef
  /** Of the open episode; undefined where the disk has none of it. */
  readonly tail: Tail | undefined
  /** The highest sequence that any record of the vDisk on that disk says was acknowledged. */
  readonly acknowledged: Sequence
}

/** Recovers the undrained log under `epoch`, which the vDisk's row has already. UNAVAILABLE where that can't be done now. */
export async function recoverLog(
  context: TakeoverContext,
  vdisk: VDiskId,
  epoch: Epoch,
  state: VDiskState,
): Promise<Recovered> {
  const entries: LogEntry[] = []
  let next = state.drained + 1
  const take = (record: LogRecord): void => {
    assert(record.vdisk === vdisk && record.sequence === next, 'the log is read in sequence')
    entries.push(entryOf(record, context.clock.now()))
    next++
  }
  const open = state.episodes.at(-1)
  for (const episode of state.episodes) {
    if (episode.end === undefined) continue
    if (episode.end >= next)
      await readRange(context, vdisk, episode, episode.replicas, next, episode.end, take)
  }
  if (open === undefined || open.end !== undefined) return { entries, mark: (next - 1) as Sequence }

  const fenced = await fenceReplicas(context, vdisk, epoch, open)
  const { mark, last } = endOf(open, state.drained, fenced)
  const holders = fenced.filter(({ tail }) => tail !== undefined).sort((a, b) => b.tail!.last - a.tail!.last)
  if (last >= next)
    await readRange(
      context,
      vdisk,
      open,
      holders.map(({ ref }) => ref),
      next,
      last,
      take,
    )
  return { entries, mark: Math.max(mark, state.drained) as Sequence }
}

/**
 * Where an open episode ends, by the tails of fenced replicas: `mark` is the highest sequence that one of its records says was
 * acknowledged, `last` the highest that any of them has. An acknowledgement needs all replicas, so any one tail holds
 * everything that was acknowledged; what lies between may have been, and is kept (M1).
 *
 * Where every replica answered, the mark rises over what all of them have: these records lie as those that were acknowledged do, and
 * need no second place, which full logs would not have for them (I10).
 */
export function endOf(
  episode: Episode,
  drained: Sequence,
  fenced: readonly FencedTail[],
): { mark: Sequence; last: Sequence } {
  const before = (episode.first - 1) as Sequence
  let mark = Math.max(before, drained)
  let last = mark
  for (const { tail, acknowledged } of fenced) {
    mark = Math.max(mark, acknowledged)
    last = Math.max(last, tail?.last ?? 0)
  }
  if (fenced.length === episode.replicas.length) mark = wholeOnAll(fenced, mark)
  // Records that were acknowledged are missing from every log that answered: damage, and never a shorter log.
  if (mark > last)
    throw new NdfsError(
      'UNAVAILABLE',
      `Cannot serve the vDisk: its log was acknowledged up to ${mark}, and the replicas that answer have it up to ${last}. ` +
        'Start the nodes that hold the others, or give the rest up',
      { episode: episode.id, mark, last },
    )
  return { mark: mark as Sequence, last: last as Sequence }
}

/** Up to where each of these has all that lies behind `mark`: not below that. */
function wholeOnAll(fenced: readonly FencedTail[], mark: number): number {
  let end = Number.POSITIVE_INFINITY
  for (const { tail } of fenced) {
    if (tail === undefined || tail.first > mark + 1) return mark
    const lost = tail.damage?.find((sequence) => sequence > mark)
    end = Math.min(end, lost === undefined ? tail.last : lost - 1)
  }
  return Math.max(mark, end)
}

/** Fences every replica that answers, at least one, and waits a little for the others. */
async function fenceReplicas(
  context: TakeoverContext,
  vdisk: VDiskId,
  epoch: Epoch,
  episode: Episode,
): Promise<FencedTail[]> {
  const fenced: FencedTail[] = []
  const failures: string[] = []
  const pending = episode.replicas.map(async (ref) => {
    try {
      const tails = await context.oplogs.replica(ref).fence(vdisk, epoch)
      fenced.push({
        ref,
        tail: tails.find((tail) => tail.episode === episode.id && tail.last >= tail.first),
        acknowledged: Math.max(0, ...tails.map((tail) => tail.acknowledged)) as Sequence,
      })
    } catch (error) {
      // A higher epoch is there: this takeover is over.
      if (hasCode(error, 'FENCED') || !(error instanceof NdfsError)) throw error
      failures.push(`${ref.disk} on ${ref.node}: ${messageOf(error)}`)
    }
  })
  const all = Promise.all(pending)
  await Promise.race([all, firstFenced(context, pending, fenced)])
  if (fenced.length === 0)
    throw new NdfsError(
      'UNAVAILABLE',
      `Cannot serve vDisk ${vdisk}: none of the log disks of its last episode can be reached (${failures.join('; ')}). Start their nodes`,
      { vdisk, episode: episode.id, replicas: episode.replicas.map((ref) => ref.disk) },
    )
  return [...fenced]
}

async function firstFenced(
  context: TakeoverContext,
  pending: readonly Promise<void>[],
  fenced: readonly FencedTail[],
): Promise<void> {
  const settled = pending.map((one) =>
    one.then(() => {
      if (fenced.length === 0) throw new NdfsError('UNAVAILABLE', 'not this one')
    }),
  )
  await Promise.any(settled).catch(() => undefined)
  if (fenced.length === 0) await Promise.allSettled(pending)
  else await context.clock.sleep(otherTailsMs)
}

/** Reads records `from` to `to`, each from whichever replica has it whole: one bad record is no more than one bad record. */
async function readRange(
  context: TakeoverContext,
  vdisk: VDiskId,
  episode: Episode,
  replicas: readonly DiskRef[],
  from: number,
  to: number,
  take: (record: LogRecord) => void,
): Promise<void> {
  let next = from
  let failure: unknown
  while (next <= to) {
    const before = next
    for (const ref of replicas) {
      try {
        next = await readSome(context, vdisk, episode.id, ref, next, to, take)
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        failure = error
      }
      if (next > before) break
    }
    if (next === before)
      throw new NdfsError(
        'UNAVAILABLE',
        `Cannot serve vDisk ${vdisk}: record ${next} of its log can be had from none of ${replicas.map((ref) => ref.disk).join(', ')}` +
          `${failure === undefined ? '' : ` (${messageOf(failure)})`}. Start their nodes, or give it up`,
        { vdisk, episode: episode.id, sequence: next },
      )
  }
}

async function readSome(
  context: TakeoverContext,
  vdisk: VDiskId,
  episode: EpisodeId,
  ref: DiskRef,
  from: number,
  to: number,
  take: (record: LogRecord) => void,
): Promise<number> {
  const bytes = await context.oplogs.replica(ref).read(vdisk, episode, from as Sequence, readBytesMax)
  let next = from
  for (let at = 0; at < bytes.length && next <= to;) {
    const decoded = decodeRecord(bytes, at)
    if (decoded === undefined || decoded.record.sequence !== next) break
    // A copy of its own: the whole answer must not stay in memory for one small record of it.
    take({ ...decoded.record, payload: Buffer.from(decoded.record.payload) })
    at = decoded.end
    next++
  }
  return next
}

function entryOf(record: LogRecord, now: number): LogEntry {
  const { kind, vdisk, layer, sequence, offset, length, time, payload } = record
  return {
    kind,
    vdisk,
    layer,
    sequence,
    offset,
    length,
    time,
    payload: [payload],
    payloadBytes: payload.length,
    arrivedAt: now,
    settle: undefined,
  }
}
