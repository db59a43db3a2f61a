/**
 * What a record says of the pages it touches, put into an index. Guests' reads and draining go through this one
 * function, so that they can't disagree.
 */
import { assert } from '../../base/assert.ts'
import { pageBytes } from '../../base/units.ts'
import { decodeExtentPayload } from './extent-payload.ts'
import type { GroupTable } from './group-table.ts'
import type { LogIndex } from './log-index.ts'
import type { LogEntry } from './vdisk-log.ts'

/** Applies the record; returns the vDisk's size after it. */
export function applyRecord(index: LogIndex, groups: GroupTable, entry: LogEntry, sizeBytes: number): number {
  switch (entry.kind) {
    case 'data':
      applyData(index, entry)
      cutOff(index, entry, sizeBytes)
      return sizeBytes
    case 'extent': {
      const { head, tail, pieces } = decodeExtentPayload(joined(entry))
      const end = entry.offset + entry.length
      if (head.length > 0) index.putData(entry.sequence, entry.offset, head)
      for (const piece of pieces)
        index.putExtent(
          entry.sequence,
          piece.page,
          piece.checksums.length,
          groups.handleOf(piece.group),
          piece.at,
        )
      if (tail.length > 0) index.putData(entry.sequence, end - tail.length, tail)
      cutOff(index, entry, sizeBytes)
      return sizeBytes
    }
    case 'zero':
    case 'discard':
      index.putZero(entry.sequence, entry.offset, entry.length)
      return sizeBytes
    case 'size':
      // What is cut off reads as zeros if the vDisk ever grows again (M5). The last page goes whole, also where the vDisk ended within it:
      // the map must name nothing past the end, where nobody counts it (I7).
      if (entry.length < sizeBytes)
        index.putZero(entry.sequence, entry.length, pageEnd(sizeBytes) - entry.length)
      return entry.length
    case 'open':
      return sizeBytes
    default:
      return entry.kind satisfies never
  }
}

const pageEnd = (offset: number): number => Math.ceil(offset / pageBytes) * pageBytes

/** When the vDisk was changed last, after the record: the first one of an episode tells nothing of it. */
export const modifiedAfter = ({ kind, time }: LogEntry, modifiedAt: number): number =>
  kind === 'open' ? modifiedAt : Math.max(modifiedAt, time)

/** A write that was under way while the vDisk shrank comes after it in the order: what lies past the end is zeros (M5). */
function cutOff(index: LogIndex, { sequence, offset, length }: LogEntry, sizeBytes: number): void {
  const from = Math.max(offset, sizeBytes)
  if (offset + length > from) index.putZero(sequence, from, offset + length - from)
}

/** The extent groups that the record names. */
export function groupsNamedBy(entry: LogEntry): ReturnType<typeof decodeExtentPayload>['pieces'] {
  return entry.kind === 'extent' ? decodeExtentPayload(joined(entry)).pieces : []
}

function applyData(index: LogIndex, entry: LogEntry): void {
  let offset: number = entry.offset
  for (const part of entry.payload) {
    index.putData(entry.sequence, offset, part)
    offset += part.length
  }
  assert(offset === entry.offset + entry.length, 'a data record holds as many bytes as it says')
}

const joined = (entry: LogEntry): Buffer =>
  entry.payload.length === 1 ? entry.payload[0] : Buffer.concat(entry.payload)
