/**
 * What a segment's bytes say after a restart: a pure function of them.
 *
 * Below the mark (how far the log is known to have been synced) something invalid is damage: it harms only itself and is
 * named (F7). Above the mark it is a write that never ended: the log is cut there, and nothing behind it counts (C4).
 * A batch header that is bad below the mark is looked past, since batches begin on multiples of 4096, and its directory
 * is found in the next batch. Only where two neighbours are bad is it unknown what was lost: a hidden stretch.
 */
import type { Incarnation } from '../../base/ids.ts'
import { decodeBatchHeader, type BatchHeader, type DirectoryEntry } from './batch.ts'
import { decodeRecord, type RecordHeader } from './record.ts'
import { blockBytes, firstBatchOffset } from './segment.ts'
import { decodeTable, type Table } from './table.ts'

export interface SegmentPlace {
  readonly incarnation: Incarnation
  readonly generation: number
  readonly segmentBytes: number
}

/** What is known of a segment from those after it. */
export interface KnownEnd {
  /** The offset at which the segment ends; all before it was synced. */
  readonly end: number
  /** The directory and length of its last batch, if the first batch after it could be read. */
  readonly last?: { readonly bytes: number; readonly directory: readonly DirectoryEntry[] }
}

export interface ScannedRecord {
  readonly offset: number
  readonly bytes: number
  readonly header: RecordHeader
}

export interface LostRecord {
  readonly offset: number
  readonly entry: DirectoryEntry
}

export interface SegmentScan {
  readonly records: readonly ScannedRecord[]
  /** Records that were synced here and can't be read. */
  readonly lost: readonly LostRecord[]
  /** Offsets of stretches that were synced and of which not even the directory is known. */
  readonly hidden: readonly number[]
  /** The newest whole table. */
  readonly table?: Table
  /** How many tables after that one can't be read. */
  readonly tablesLost: number
  /** Where the log ends in this segment. */
  readonly end: number
  /** Bytes of an invalid batch above the mark, which the cut leaves behind. */
  readonly cutBytes: number
  /** The end of the generation before this one, as its batches say. */
  readonly previousEnd?: number
}

/** A stretch of a segment: a batch by its own header or by the one after it, or what neither tells of. */
interface Stretch {
  readonly offset: number
  readonly end: number
  readonly directory: readonly DirectoryEntry[] | undefined
}

export function scanSegment(segment: Buffer, place: SegmentPlace, known?: KnownEnd): SegmentScan {
  const { stretches, headers } = stretchesOf(segment, place, known)
  const base = place.generation * place.segmentBytes
  const mark = known?.end ?? headers.reduce((mark, header) => Math.max(mark, header.synced - base), 0)

  const records: ScannedRecord[] = []
  const lost: LostRecord[] = []
  const hidden: number[] = []
  let table: Table | undefined
  let tablesLost = 0
  let end = firstBatchOffset
  let cutBytes = 0
  for (const stretch of stretches) {
    const below = stretch.end <= mark
    const read = stretch.directory && readEntries(segment, stretch.offset, stretch.directory)
    if (!below && (read === undefined || read.bad > 0)) {
      cutBytes = stretch.end - stretch.offset
      break
    }
    end = stretch.end
    if (read === undefined) {
      hidden.push(stretch.offset)
      continue
    }
    records.push(...read.records)
    lost.push(...read.lost)
    if (read.table !== undefined) {
      table = read.table
      tablesLost = 0
    }
    tablesLost += read.tablesLost
  }
  return { records, lost, hidden, table, tablesLost, end, cutBytes, previousEnd: headers.at(0)?.previousEnd }
}

/** Walks from batch to batch, and where a header is bad looks for the next good one. */
function stretchesOf(segment: Buffer, place: SegmentPlace, known: KnownEnd | undefined) {
  const limit = Math.min(segment.length, known?.end ?? segment.length)
  const stretches: Stretch[] = []
  const headers: BatchHeader[] = []
  let offset = firstBatchOffset
  let number = 0

  /** All from `offset` to `upTo`, whose last batch has this directory, as another batch repeats it. */
  const bridge = (upTo: number, last: KnownEnd['last']) => {
    const lastBegins = last === undefined ? upTo : upTo - last.bytes
    if (last !== undefined && lastBegins >= offset) {
      if (lastBegins > offset) stretches.push({ offset, end: lastBegins, directory: undefined })
      stretches.push({ offset: lastBegins, end: upTo, directory: last.directory })
    } else if (upTo > offset) stretches.push({ offset, end: upTo, directory: undefined })
  }

  for (;;) {
    const header = nextHeader(segment, place, offset, number, limit)
    if (header === undefined) break
    if (header.offset > offset || header.number > number)
      bridge(header.offset, { bytes: header.previousBytes, directory: header.previousDirectory })
    headers.push(header)
    stretches.push({
      offset: header.offset,
      end: header.offset + header.bytes,
      directory: header.directory,
    })
    offset = header.offset + header.bytes
    number = header.number + 1
  }
  if (known !== undefined && offset < limit) bridge(limit, known.last)
  return { stretches, headers }
}

function nextHeader(
  segment: Buffer,
  place: SegmentPlace,
  from: number,
  number: number,
  limit: number,
): BatchHeader | undefined {
  for (let offset = from; offset + blockBytes <= limit; offset += blockBytes) {
    const header = decodeBatchHeader(segment, offset, place.incarnation)
    if (
      header !== undefined &&
      header.generation === place.generation &&
      header.number >= number &&
      header.bytes >= blockBytes &&
      header.bytes % blockBytes === 0 &&
      offset + header.bytes <= place.segmentBytes
    )
      return header
  }
  return undefined
}

function readEntries(segment: Buffer, batchOffset: number, directory: readonly DirectoryEntry[]) {
  const records: ScannedRecord[] = []
  const lost: LostRecord[] = []
  let table: Table | undefined
  let tablesLost = 0
  let offset = batchOffset + blockBytes
  for (const entry of directory) {
    const end = offset + entry.bytes
    const whole = end <= segment.length && segment.readUInt32LE(offset) === entry.crc
    if (entry.table) {
      const found = whole ? decodeTable(segment.subarray(offset, end)) : undefined
      if (found === undefined) tablesLost++
      else table = found
    } else {
      const record = whole ? recordOf(segment, offset, entry) : undefined
      if (record === undefined) lost.push({ offset, entry })
      else records.push(record)
    }
    offset = end
  }
  return { records, lost, table, tablesLost, bad: lost.length + tablesLost }
}

function recordOf(segment: Buffer, offset: number, entry: DirectoryEntry): ScannedRecord | undefined {
  const decoded = decodeRecord(segment, offset)
  if (decoded === undefined || decoded.end !== offset + entry.bytes) return undefined
  const { payload: _, ...header } = decoded.record
  if (header.vdisk !== entry.vdisk || header.episode !== entry.episode || header.sequence !== entry.sequence)
    return undefined
  return { offset, bytes: entry.bytes, header }
}
