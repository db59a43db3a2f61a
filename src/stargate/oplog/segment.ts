/**
 * A segment: one preallocated file of a physical log, `oplog/segment-<slot>`, and its header.
 *
 *   0         4096      8192
 *   ┌─────────┬─────────┬─────────┬─────────┬── ─ ─ ──┐
 *   │ header  │ header  │ batch 0 │ batch 1 │ …       │   batch.ts
 *   └─────────┴─────────┴─────────┴─────────┴── ─ ─ ──┘
 *
 * The header, little-endian, padded with zeroes to 4096:
 *
 *   0         4       8          12            16               20               24            40
 *   ┌─────────┬───────┬──────────┬─────────────┬────────────────┬────────────────┬─────────────┬── ─ ─ ──┐
 *   │ crc32c  │ magic │ version  │ generation  │ segment bytes  │ length of disk │ incarnation │ disk id │
 *   └─────────┴───────┴──────────┴─────────────┴────────────────┴────────────────┴─────────────┴── ─ ─ ──┘
 *
 * The crc covers the rest of the 4096 bytes. The generation counts segments from 1, in the order in which they were
 * begun: a slot that is used again gets a new one, and every batch repeats it, so what an older use left in the file
 * is never taken for a part of the newer. The two headers are the same, and written one after the other: a crash
 * between or within leaves the file to one of its two uses, whole.
 *
 * A **position** in the log is generation × segment bytes + offset in the file. It grows for as long as the log lives,
 * and names no other place ever; zero names none.
 */
import { assert } from '../../base/assert.ts'
import { crc32c } from '../../base/crc32c.ts'
import { NdfsError } from '../../base/errors.ts'
import type { DiskId, Incarnation } from '../../base/ids.ts'

/** What direct writes are made of, and where batches begin. */
export const blockBytes = 4096
/** Where the first batch of a segment begins. */
export const firstBatchOffset = 2 * blockBytes
export const formatVersion = 1
const magic = 0x4753_464e // "NFSG"
/** An incarnation as bytes, in a segment's and in a batch's header. */
export const incarnationBytes = 16
const diskIdBytesMax = 256

export interface SegmentHeader {
  readonly generation: number
  readonly segmentBytes: number
  readonly disk: DiskId
  readonly incarnation: Incarnation
}

export function encodeSegmentHeader(target: Buffer, header: SegmentHeader): void {
  const disk = Buffer.from(header.disk)
  assert(disk.length <= diskIdBytesMax, 'a disk id longer than a segment header can hold')
  assert(header.incarnation.length <= incarnationBytes, 'an incarnation longer than 16 characters')
  target.fill(0, 0, blockBytes)
  target.writeUInt32LE(magic, 4)
  target.writeUInt32LE(formatVersion, 8)
  target.writeUInt32LE(header.generation, 12)
  target.writeUInt32LE(header.segmentBytes, 16)
  target.writeUInt32LE(disk.length, 20)
  target.write(header.incarnation, 24, 'latin1')
  disk.copy(target, 40)
  target.writeUInt32LE(crc32c(target.subarray(4, blockBytes)), 0)
}

/** The segment header at `at`, or undefined where there is none that is whole. Rejects a version that it doesn't know. */
export function decodeSegmentHeader(source: Buffer, at: number): SegmentHeader | undefined {
  if (at + blockBytes > source.length || source.readUInt32LE(at + 4) !== magic) return undefined
  if (crc32c(source.subarray(at + 4, at + blockBytes)) !== source.readUInt32LE(at)) return undefined
  refuseUnknownVersion(source.readUInt32LE(at + 8))
  const diskBytes = source.readUInt32LE(at + 20)
  return {
    generation: source.readUInt32LE(at + 12),
    segmentBytes: source.readUInt32LE(at + 16),
    disk: source.toString('utf8', at + 40, at + 40 + Math.min(diskBytes, diskIdBytesMax)) as DiskId,
    incarnation: incarnationAt(source, at + 24),
  }
}

export function incarnationAt(source: Buffer, at: number): Incarnation {
  let end = at
  while (end < at + incarnationBytes && source[end] !== 0) end++
  return source.toString('latin1', at, end) as Incarnation
}

export function refuseUnknownVersion(version: number): void {
  if (version === formatVersion) return
  throw new NdfsError(
    'REFUSED',
    `Cannot read the log on this disk: its format is version ${version}, and this program knows version ${formatVersion}. ` +
      'Start the version of NDFS that wrote it.',
    { version },
  )
}
