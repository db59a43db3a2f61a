/**
 * Opening a physical log: which files are its segments, in which order they were written, and what they hold.
 *
 * The newest whole table (table.ts) says which older segments hold records and where each ends; what is newer than it
 * is read as it lies. All that counts goes to a visitor, oldest first. Nothing is written here, so an open that fails
 * changes nothing.
 */
import { messageOf, NdfsError } from '../../base/errors.ts'
import type { EpisodeId, Incarnation, Sequence, VDiskId } from '../../base/ids.ts'
import type { Disk, DiskFile } from '../../disk/disk.ts'
import type { Log } from '../../platform/platform.ts'
import { decodeBatchHeader } from './batch.ts'
import { recordHeaderBytes, type RecordHeader } from './record.ts'
import { scanSegment, type KnownEnd, type SegmentScan } from './scan.ts'
import { blockBytes, decodeSegmentHeader, firstBatchOffset } from './segment.ts'
import type { Table } from './table.ts'

export const logFolder = 'oplog'
export const segmentName = (slot: number): string => `${logFolder}/segment-${slot}`
const readBytes = 4 * 1024 * 1024

/** A segment file as it was found. `generation` 0: nothing was ever written to it. */
export interface FoundSegment {
  readonly slot: number
  readonly file: DiskFile
  readonly generation: number
  /** False: parts of it could not be read when looking for its generation. */
  readonly readable: boolean
}

/** Is told what the log holds, oldest first. The same record may come twice: when it was copied forward. */
export interface ReplayVisitor {
  /** First of all: the newest table. */
  table(table: Table): void
  record(position: number, bytes: number, header: RecordHeader): void
  /** A record that names extent groups, before `record` has it; the payload is good until this returns. */
  extent?(header: RecordHeader, payload: Buffer): void
  /** A record that was synced here and can't be read. */
  lost(position: number, record: { vdisk: VDiskId; episode: EpisodeId; sequence: Sequence }): void
}

export interface Replayed {
  /** Where each generation ends that may hold what still counts; all others are free. */
  readonly ends: ReadonlyMap<number, number>
  /** The end of the log, as a position; 0 for an empty one. */
  readonly end: number
  /** Why this log can't say what it promised or holds, if so: it must take part in nothing any more but reading. */
  readonly uncertain?: string
  readonly cutBytes: number
}

/** Opens with `direct` where the file system can, else without. */
export async function openSegment(disk: Disk, slot: number): Promise<DiskFile> {
  try {
    return await disk.open(segmentName(slot), { direct: true, durable: true })
  } catch (error) {
    if (!isInvalid(error)) throw error
    return await disk.open(segmentName(slot), { durable: true })
  }
}

/** What a file system answers that knows no O_DIRECT. */
export function isInvalid(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if ((cause as NodeJS.ErrnoException).code === 'EINVAL') return true
  return false
}

export async function findSegments(
  disk: Disk,
  scratch: (bytes: number) => Buffer,
  log: Log,
): Promise<{ segments: FoundSegment[]; segmentBytes: number | undefined }> {
  const segments: FoundSegment[] = []
  let segmentBytes: number | undefined
  let newest = 0
  const slots = (await disk.list(logFolder)).flatMap((name) => {
    const match = /^(?:.*\/)?segment-(\d+)$/.exec(name)
    return match ? [Number(match[1])] : []
  })
  for (const slot of slots.sort((a, b) => a - b)) {
    const file = await openSegment(disk, slot)
    const size = await file.size()
    const head = scratch(firstBatchOffset)
    await readPart(file, head, log)
    const header = decodeSegmentHeader(head, 0) ?? decodeSegmentHeader(head, blockBytes)
    if (header !== undefined) {
      if (header.disk !== disk.ref.disk || header.incarnation !== disk.ref.incarnation)
        throw new NdfsError(
          'REFUSED',
          `Cannot open the log of disk ${disk.ref.disk} (${disk.ref.incarnation}): ${file.name} was written on ` +
            `disk ${header.disk} (${header.incarnation}). Move that file out of the disk's folder.`,
          { file: file.name },
        )
      if (header.generation > newest) {
        newest = header.generation
        segmentBytes = header.segmentBytes
      }
      segments.push({ slot, file, generation: header.generation, readable: true })
      continue
    }
    const whole = scratch(size - (size % blockBytes))
    const readable = await readPart(file, whole, log)
    segments.push({ slot, file, generation: generationInBatches(whole, disk.ref.incarnation), readable })
  }
  return { segments, segmentBytes }
}

/** Of a segment whose headers are both gone: the newest generation that a batch in it names. */
function generationInBatches(segment: Buffer, incarnation: Incarnation): number {
  let generation = 0
  for (let offset = firstBatchOffset; offset < segment.length; offset += blockBytes)
    generation = Math.max(generation, decodeBatchHeader(segment, offset, incarnation)?.generation ?? 0)
  return generation
}

export async function replay(
  segments: readonly FoundSegment[],
  place: { readonly incarnation: Incarnation; readonly segmentBytes: number },
  scratch: (bytes: number) => Buffer,
  log: Log,
  visitor: ReplayVisitor,
): Promise<Replayed> {
  const { segmentBytes } = place
  const oldestFirst = segments
    .filter(({ generation }) => generation > 0)
    .sort((a, b) => a.generation - b.generation)
  const known = new Map<number, KnownEnd>()
  const scan = async ({ file, generation }: FoundSegment, bytes: Buffer): Promise<SegmentScan> => {
    await readPart(file, bytes, log)
    const result = scanSegment(bytes, { ...place, generation }, known.get(generation))
    if (result.previousEnd !== undefined) learn(result.previousEnd, undefined)
    return result
  }
  const learn = (previousEnd: number, last: KnownEnd['last']) => {
    if (previousEnd === 0) return
    // The end of a segment that is full to its last byte is the begin of another, as a position.
    const generation = Math.floor((previousEnd - 1) / segmentBytes)
    if (known.get(generation)?.last === undefined)
      known.set(generation, { end: previousEnd - generation * segmentBytes, last })
  }

  // The first batch of each segment tells how the one before it ended.
  for (const { file, generation } of oldestFirst) {
    const head = scratch(firstBatchOffset + blockBytes)
    await readPart(file, head, log)
    const first = decodeBatchHeader(head, firstBatchOffset, place.incarnation)
    if (first?.generation === generation && first.number === 0)
      learn(first.previousEnd, { bytes: first.previousBytes, directory: first.previousDirectory })
  }

  // Newest first, until a table is found: it tells what of the older ones counts.
  let table: Table | undefined
  let tableGeneration = 0
  for (const segment of oldestFirst.toReversed()) {
    const result = await scan(segment, scratch(segmentBytes))
    if (result.table === undefined) continue
    table = result.table
    tableGeneration = segment.generation
    break
  }
  if (table !== undefined) {
    visitor.table(table)
    for (const { generation, end } of table.segments)
      if (known.get(generation)?.end !== end) known.set(generation, { end })
  }

  const listed = new Set(table?.segments.map(({ generation }) => generation))
  const ends = new Map<number, number>()
  let end = 0
  let tablesLost = 0
  let cutBytes = 0
  let hidden = 0
  for (const segment of oldestFirst) {
    const { generation } = segment
    if (generation < tableGeneration && !listed.delete(generation)) continue
    const memory = scratch(segmentBytes)
    const result = await scan(segment, memory)
    const base = generation * segmentBytes
    for (const { offset, bytes, header } of result.records) {
      if (header.kind === 'extent')
        visitor.extent?.(header, memory.subarray(offset + recordHeaderBytes, offset + bytes))
      visitor.record(base + offset, bytes, header)
    }
    for (const { offset, entry } of result.lost) visitor.lost(base + offset, entry)
    hidden += result.hidden.length
    if (generation >= tableGeneration) tablesLost += result.tablesLost
    cutBytes += result.cutBytes
    // A segment that was made ready and never begun holds nothing, not even a table.
    if (result.end > firstBatchOffset) {
      ends.set(generation, result.end)
      end = base + result.end
    }
  }
  hidden += listed.size
  return { ends, end, cutBytes, uncertain: uncertainty(hidden, tablesLost) }
}

function uncertainty(hidden: number, tablesLost: number): string | undefined {
  // An episode that is nowhere in this log would otherwise pass for one of which nothing was ever written (M2).
  if (hidden > 0) return `${hidden} parts of the log can not be read at all, so it is unknown what they held`
  // Each table is written twice: one that can't be read loses nothing, two may have been a fence.
  if (tablesLost >= 2) return 'the newest table of the log can not be read, so a fence may be forgotten'
  return undefined
}

/** Fills `target` from the file's start. What can't be read is zeroed, and shows up as damage; false where there was any. */
async function readPart(file: DiskFile, target: Buffer, log: Log): Promise<boolean> {
  let readable = true
  for (let at = 0; at < target.length; at += readBytes) {
    const part = target.subarray(at, Math.min(at + readBytes, target.length))
    try {
      part.fill(0, await file.read(part, at))
    } catch (error) {
      readable = false
      log.error('a part of the log can not be read', { file: file.name, at, error: messageOf(error) })
      await readBlocks(file, part, at)
    }
  }
  return readable
}

/** Block by block, so that one bad sector costs only itself. */
async function readBlocks(file: DiskFile, target: Buffer, from: number): Promise<void> {
  for (let at = 0; at < target.length; at += blockBytes) {
    const block = target.subarray(at, Math.min(at + blockBytes, target.length))
    block.fill(0, await file.read(block, from + at).catch(() => 0))
  }
}
