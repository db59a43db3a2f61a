/**
 * A batch: what one durable write puts into a physical log. Little-endian; it begins and ends on multiples of 4096.
 *
 *   0        4096                                    bytes
 *   ┌────────┬─────────┬─────────┬── ─ ─ ──┬─────────┐
 *   │ header │ entry 0 │ entry 1 │ …       │ zeroes  │   entries: records (record.ts), or one table (table.ts), or none
 *   └────────┴─────────┴─────────┴── ─ ─ ──┴─────────┘
 *
 * The header, padded with zeroes to 4096:
 *
 *   0        4       8         10      12      16            32           36       40       44               46
 *   ┌────────┬───────┬─────────┬───────┬───────┬─────────────┬────────────┬────────┬────────┬────────────────┬──────┬───
 *   │ crc32c │ magic │ version │ count │ bytes │ incarnation │ generation │ offset │ number │ previous count │ zero │
 *   └────────┴───────┴─────────┴───────┴───────┴─────────────┴────────────┴────────┴────────┴────────────────┴──────┴───
 *   48       56             64               68     72            72 + 24 count
 *   ┬────────┬──────────────┬────────────────┬──────┬─────────────┬─────────────────────────┐
 *   │ synced │ previous end │ previous bytes │ zero │ directory   │ the previous directory  │
 *   ┴────────┴──────────────┴────────────────┴──────┴─────────────┴─────────────────────────┘
 *
 * One entry of a directory:
 *
 *   0         4                    8        14        20       24
 *   ┌─────────┬────────────────────┬────────┬─────────┬────────┐
 *   │ crc32c  │ length, bit 31:    │ vdisk  │ seq-    │ epi-   │   vdisk and sequence take 6 bytes each;
 *   │         │ it is a table      │        │ uence   │ sode   │   for a table the three are zero
 *   └─────────┴────────────────────┴────────┴─────────┴────────┘
 *
 * The crc covers the rest of the header. incarnation, generation and offset say that it belongs here: not to another
 * disk, an older use of this segment, or another place. `number` counts the batches of a segment from 0.
 *
 * An entry counts only if its own first four bytes are the directory's crc and the rest agrees with it, so stale bytes
 * under a header whose write was torn are no records. The directory says whose a record was that can no longer
 * be read; and the next batch repeats the directory, so that one rotten block never hides what was lost (F7).
 *
 * `synced` is the position up to which this log was on stable media before this batch was written: below the highest
 * of them an invalid batch is damage, above it a write that never ended. `previous end` is where the generation before
 * this one ended; the previous batch is the one before this in the segment, or for number 0 the last of that generation.
 */
import { assert } from '../../base/assert.ts'
import { crc32c } from '../../base/crc32c.ts'
import type { EpisodeId, Incarnation, Sequence, VDiskId } from '../../base/ids.ts'
import { roundUp } from '../../base/units.ts'
import type { EncodedRecord } from './record.ts'
import { blockBytes, formatVersion, incarnationAt, refuseUnknownVersion } from './segment.ts'

const magic = 0x4842_464e // "NFBH"
const directoryAt = 72
const directoryEntryBytes = 24
const tableBit = 0x8000_0000
/** Two directories of so many entries fill a header. */
export const batchEntriesMax = Math.floor((blockBytes - directoryAt) / (2 * directoryEntryBytes))

export interface DirectoryEntry {
  readonly crc: number
  readonly bytes: number
  readonly table: boolean
  readonly vdisk: VDiskId
  readonly sequence: Sequence
  readonly episode: EpisodeId
}

/** What the batch after this one repeats of it: its length and its directory, encoded. */
export interface BatchTrace {
  readonly bytes: number
  readonly directory: Buffer
}

export const noBatch: BatchTrace = { bytes: 0, directory: Buffer.alloc(0) }

export interface BatchPlace {
  readonly incarnation: Incarnation
  readonly generation: number
  readonly offset: number
  readonly number: number
  readonly synced: number
  readonly previousEnd: number
  readonly previous: BatchTrace
}

export interface BatchHeader {
  readonly incarnation: Incarnation
  readonly generation: number
  readonly offset: number
  readonly number: number
  readonly bytes: number
  readonly synced: number
  readonly previousEnd: number
  readonly directory: readonly DirectoryEntry[]
  readonly previousBytes: number
  readonly previousDirectory: readonly DirectoryEntry[]
}

/** How much of a segment a batch with so many bytes of entries takes. */
export const batchBytesFor = (entryBytes: number): number => blockBytes + roundUp(entryBytes, blockBytes)

/** Puts a batch of these records, or of this table, into `target`, copying each payload once. */
export function encodeBatch(
  target: Buffer,
  place: BatchPlace,
  content: { readonly records: readonly EncodedRecord[] } | { readonly table: Buffer },
): BatchTrace {
  target.fill(0, 0, blockBytes)
  let entryAt = blockBytes
  let count = 0
  if ('table' in content) {
    const { table } = content
    target.writeUInt32LE(table.readUInt32LE(0), directoryAt)
    target.writeUInt32LE((table.length | tableBit) >>> 0, directoryAt + 4)
    table.copy(target, entryAt)
    entryAt += table.length
    count = 1
  } else {
    for (const record of content.records) {
      const at = directoryAt + count * directoryEntryBytes
      record.header.copy(target, at, 0, 4)
      target.writeUInt32LE(record.bytes, at + 4)
      // record.ts: vdisk at 16, sequence at 24, episode at 44. A number in six of eight bytes stays below 2^48.
      record.header.copy(target, at + 8, 16, 22)
      record.header.copy(target, at + 14, 24, 30)
      record.header.copy(target, at + 20, 44, 48)
      record.header.copy(target, entryAt)
      let payloadAt = entryAt + record.header.length
      for (const part of record.payload) {
        part.copy(target, payloadAt)
        payloadAt += part.length
      }
      entryAt += record.bytes
      assert(payloadAt === entryAt, 'a record whose parts are not as long as it says')
      count++
    }
  }
  const bytes = roundUp(entryAt, blockBytes)
  target.fill(0, entryAt, bytes)

  const directoryEnd = directoryAt + count * directoryEntryBytes
  assert(count <= batchEntriesMax, 'more entries than a batch header can name')
  target.writeUInt32LE(magic, 4)
  target.writeUInt16LE(formatVersion, 8)
  target.writeUInt16LE(count, 10)
  target.writeUInt32LE(bytes, 12)
  target.write(place.incarnation, 16, 'latin1')
  target.writeUInt32LE(place.generation, 32)
  target.writeUInt32LE(place.offset, 36)
  target.writeUInt32LE(place.number, 40)
  target.writeUInt16LE(place.previous.directory.length / directoryEntryBytes, 44)
  target.writeBigUInt64LE(BigInt(place.synced), 48)
  target.writeBigUInt64LE(BigInt(place.previousEnd), 56)
  target.writeUInt32LE(place.previous.bytes, 64)
  place.previous.directory.copy(target, directoryEnd)
  target.writeUInt32LE(crc32c(target.subarray(4, blockBytes)), 0)
  return { bytes, directory: Buffer.from(target.subarray(directoryAt, directoryEnd)) }
}

/** The batch header at `offset` of a segment's bytes, or undefined where none that is whole and belongs here begins. */
export function decodeBatchHeader(
  segment: Buffer,
  offset: number,
  incarnation: Incarnation,
): BatchHeader | undefined {
  if (offset + blockBytes > segment.length || segment.readUInt32LE(offset + 4) !== magic) return undefined
  if (crc32c(segment.subarray(offset + 4, offset + blockBytes)) !== segment.readUInt32LE(offset))
    return undefined
  if (segment.readUInt32LE(offset + 36) !== offset) return undefined
  if (incarnationAt(segment, offset + 16) !== incarnation) return undefined
  refuseUnknownVersion(segment.readUInt16LE(offset + 8))
  const count = segment.readUInt16LE(offset + 10)
  const previousCount = segment.readUInt16LE(offset + 44)
  return {
    incarnation,
    generation: segment.readUInt32LE(offset + 32),
    offset,
    number: segment.readUInt32LE(offset + 40),
    bytes: segment.readUInt32LE(offset + 12),
    synced: Number(segment.readBigUInt64LE(offset + 48)),
    previousEnd: Number(segment.readBigUInt64LE(offset + 56)),
    directory: directoryFrom(segment, offset + directoryAt, count),
    previousBytes: segment.readUInt32LE(offset + 64),
    previousDirectory: directoryFrom(
      segment,
      offset + directoryAt + count * directoryEntryBytes,
      previousCount,
    ),
  }
}

function directoryFrom(source: Buffer, at: number, count: number): DirectoryEntry[] {
  const entries: DirectoryEntry[] = []
  for (let index = 0; index < count; index++, at += directoryEntryBytes) {
    const length = source.readUInt32LE(at + 4)
    entries.push({
      crc: source.readUInt32LE(at),
      bytes: length % tableBit,
      table: length >= tableBit,
      vdisk: source.readUIntLE(at + 8, 6) as VDiskId,
      sequence: source.readUIntLE(at + 14, 6) as Sequence,
      episode: source.readUInt32LE(at + 20) as EpisodeId,
    })
  }
  return entries
}
