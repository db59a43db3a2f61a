/**
 * The table: what a replica knows of its vDisks and segments, written into its log. Little-endian.
 *
 *   0         4            8          12     16                      16 + 8 segments
 *   ┌─────────┬────────────┬──────────┬──────┬───────────────────────┬────────────────────────────────────────┐
 *   │ crc32c  │ segments   │ vdisks   │ zero │ (generation, end) …   │ (vdisk, freed, epoch, zero) …          │
 *   └─────────┴────────────┴──────────┴──────┴───────────────────────┴────────────────────────────────────────┘
 *                                              4 bytes each            8, 8, 4 and 4 bytes
 *
 * It stands first in every segment, is written for every fence, and before a freed segment is used again; always whole,
 * and twice in a row where something rests on it, so that no single bad block undoes a fence (I4). The newest one holds.
 *
 * `segments` are the older generations that still hold records, and where each ends: one that it doesn't list is free.
 * So a cut stays a cut, and records that were freed don't come back as gaps.
 */
import { crc32c } from '../../base/crc32c.ts'
import type { Epoch, Sequence, VDiskId } from '../../base/ids.ts'

const headBytes = 16
const segmentEntryBytes = 8
const vdiskEntryBytes = 24

export interface TableVDisk {
  readonly vdisk: VDiskId
  /** The highest epoch seen. */
  readonly epoch: Epoch
  /** All its records up to this sequence are drained, and count no more. */
  readonly freed: Sequence
}

export interface TableSegment {
  readonly generation: number
  readonly end: number
}

export interface Table {
  readonly segments: readonly TableSegment[]
  readonly vdisks: readonly TableVDisk[]
}

export const tableBytesFor = (segments: number, vdisks: number): number =>
  headBytes + segments * segmentEntryBytes + vdisks * vdiskEntryBytes

export function encodeTable(table: Table): Buffer {
  const bytes = Buffer.alloc(tableBytesFor(table.segments.length, table.vdisks.length))
  bytes.writeUInt32LE(table.segments.length, 4)
  bytes.writeUInt32LE(table.vdisks.length, 8)
  let at = headBytes
  for (const segment of table.segments) {
    bytes.writeUInt32LE(segment.generation, at)
    bytes.writeUInt32LE(segment.end, at + 4)
    at += segmentEntryBytes
  }
  for (const vdisk of table.vdisks) {
    bytes.writeBigUInt64LE(BigInt(vdisk.vdisk), at)
    bytes.writeBigUInt64LE(BigInt(vdisk.freed), at + 8)
    bytes.writeUInt32LE(vdisk.epoch, at + 16)
    at += vdiskEntryBytes
  }
  bytes.writeUInt32LE(crc32c(bytes.subarray(4)), 0)
  return bytes
}

/** The table that fills `bytes`, or undefined where they are not what was written. */
export function decodeTable(bytes: Buffer): Table | undefined {
  if (bytes.length < headBytes || crc32c(bytes.subarray(4)) !== bytes.readUInt32LE(0)) return undefined
  const segmentCount = bytes.readUInt32LE(4)
  const vdiskCount = bytes.readUInt32LE(8)
  if (bytes.length !== tableBytesFor(segmentCount, vdiskCount)) return undefined
  const segments: TableSegment[] = []
  const vdisks: TableVDisk[] = []
  let at = headBytes
  for (let index = 0; index < segmentCount; index++, at += segmentEntryBytes)
    segments.push({ generation: bytes.readUInt32LE(at), end: bytes.readUInt32LE(at + 4) })
  for (let index = 0; index < vdiskCount; index++, at += vdiskEntryBytes)
    vdisks.push({
      vdisk: Number(bytes.readBigUInt64LE(at)) as VDiskId,
      freed: Number(bytes.readBigUInt64LE(at + 8)) as Sequence,
      epoch: bytes.readUInt32LE(at + 16) as Epoch,
    })
  return { segments, vdisks }
}
