/**
 * One record of a vDisk's log, as it lies on every replica's disk and travels to it. Little-endian; 64-bit fields hold
 * whole numbers below 2^53.
 *
 *   0         4      5       6          8         12        16       24          32             40
 *   ┌─────────┬──────┬───────┬──────────┬─────────┬─────────┬────────┬───────────┬──────────────┬───
 *   │ crc32c  │ kind │ flags │ version  │ payload │ layer   │ vdisk  │ sequence  │ acknowledged │
 *   └─────────┴──────┴───────┴──────────┴─────────┴─────────┴────────┴───────────┴──────────────┴───
 *   40        44         48        56        64       72                  80
 *   ┬─────────┬──────────┬─────────┬─────────┬────────┬───────────────────┬── ─ ─ ──┐
 *   │ epoch   │ episode  │ offset  │ length  │ time   │ first of episode  │ payload │
 *   ┴─────────┴──────────┴─────────┴─────────┴────────┴───────────────────┴── ─ ─ ──┘
 *
 * The crc comes first and covers the rest, so a torn or rotten record shows itself. vdisk, episode and sequence travel
 * with it, so a misplaced one does too. The segment's generation stands in the batch that holds the record
 * (physical-log.ts), since the same bytes go to replicas whose segments differ. `acknowledged` is the highest sequence
 * that a guest was told of when the record was made: what takeover may rely on (M1). `payload` is a count of bytes.
 *
 * kind     offset, length               payload
 * data     the bytes written            the bytes
 * extent   the whole range written      see the vDisk controller's extent-payload.ts: pieces in extent groups, their checksums, ragged edges as data (C6)
 * zero     the range                    none
 * discard  the range                    none
 * size     length: the new size         none; shrinking zeroes what it cuts off (M5)
 * open     0, 0                         none: the last record that is there when an episode is named, so that no replica of a
 *                                       named episode is ever without a record of it
 */
import { assert } from '../../base/assert.ts'
import { crc32c } from '../../base/crc32c.ts'
import { NdfsError } from '../../base/errors.ts'
import type { EpisodeId, Epoch, LayerId, Sequence, VDiskId } from '../../base/ids.ts'
import { getUint64, putUint64 } from '../../base/uint64.ts'
import type { VDiskOffset } from '../../base/units.ts'

/** A header, then its payload, as handed to every replica. */
export interface EncodedRecord {
  readonly header: Buffer
  /** Zero or more buffers, in order. Not changed until the append has resolved. */
  readonly payload: readonly Buffer[]
  readonly bytes: number
}

export const recordHeaderBytes = 80
const recordVersion = 1
/** The largest guest request, and room for an extent record's directory. */
export const recordPayloadBytesMax = 33 * 1024 * 1024

const kinds = ['data', 'extent', 'zero', 'discard', 'size', 'open'] as const
export type RecordKind = (typeof kinds)[number]

export interface RecordHeader {
  readonly kind: RecordKind
  readonly vdisk: VDiskId
  readonly layer: LayerId
  readonly sequence: Sequence
  readonly acknowledged: Sequence
  readonly epoch: Epoch
  readonly episode: EpisodeId
  /** The first sequence of the episode: what lets a replica that has nothing of it tell a start from a gap. */
  readonly episodeFirst: Sequence
  readonly offset: VDiskOffset
  readonly length: number
  /** Wall time at the owner, microseconds since 1970; it grows from one record of a vDisk to the next, also where clocks don't. */
  readonly time: number
}

export interface LogRecord extends RecordHeader {
  readonly payload: Buffer
}

export function encodeRecord(header: RecordHeader, payload: readonly Buffer[]): EncodedRecord {
  const payloadBytes = payload.reduce((sum, part) => sum + part.length, 0)
  assert(payloadBytes <= recordPayloadBytesMax, 'a record larger than any request')
  const bytes = Buffer.allocUnsafe(recordHeaderBytes)
  bytes.writeUInt8(kinds.indexOf(header.kind) + 1, 4)
  bytes.writeUInt8(0, 5)
  bytes.writeUInt16LE(recordVersion, 6)
  bytes.writeUInt32LE(payloadBytes, 8)
  bytes.writeUInt32LE(header.layer, 12)
  putUint64(bytes, header.vdisk, 16)
  putUint64(bytes, header.sequence, 24)
  putUint64(bytes, header.acknowledged, 32)
  bytes.writeUInt32LE(header.epoch, 40)
  bytes.writeUInt32LE(header.episode, 44)
  putUint64(bytes, header.offset, 48)
  putUint64(bytes, header.length, 56)
  putUint64(bytes, header.time, 64)
  putUint64(bytes, header.episodeFirst, 72)
  let crc = crc32c(bytes.subarray(4))
  for (const part of payload) crc = crc32c(part, crc)
  bytes.writeUInt32LE(crc, 0)
  return { header: bytes, payload, bytes: recordHeaderBytes + payloadBytes }
}

/** The length of the record that begins here, or undefined where no record can begin. Says nothing of its checksum. */
export function recordBytesAt(source: Buffer, at: number): number | undefined {
  if (at + recordHeaderBytes > source.length) return undefined
  const payloadBytes = source.readUInt32LE(at + 8)
  if (payloadBytes > recordPayloadBytesMax) return undefined
  return recordHeaderBytes + payloadBytes
}

/** Reads the header at `at` without looking at the checksum. */
export function headerAt(source: Buffer, at: number): RecordHeader {
  const kind = kinds[source.readUInt8(at + 4) - 1]
  const version = source.readUInt16LE(at + 6)
  if (kind === undefined || version !== recordVersion)
    throw new NdfsError(
      'REFUSED',
      `Cannot read a log record of kind ${source.readUInt8(at + 4)}, version ${version}`,
    )
  return {
    kind,
    layer: source.readUInt32LE(at + 12) as LayerId,
    vdisk: getUint64(source, at + 16) as VDiskId,
    sequence: getUint64(source, at + 24) as Sequence,
    acknowledged: getUint64(source, at + 32) as Sequence,
    epoch: source.readUInt32LE(at + 40) as Epoch,
    episode: source.readUInt32LE(at + 44) as EpisodeId,
    offset: getUint64(source, at + 48) as VDiskOffset,
    length: getUint64(source, at + 56),
    time: getUint64(source, at + 64),
    episodeFirst: getUint64(source, at + 72) as Sequence,
  }
}

/** The record at `at` with its payload (a view), or undefined where its bytes are not what was written. */
export function decodeRecord(source: Buffer, at: number): { record: LogRecord; end: number } | undefined {
  const bytes = recordBytesAt(source, at)
  if (bytes === undefined || at + bytes > source.length) return undefined
  if (crc32c(source.subarray(at + 4, at + bytes)) !== source.readUInt32LE(at)) return undefined
  const payload = source.subarray(at + recordHeaderBytes, at + bytes)
  return { record: { ...headerAt(source, at), payload }, end: at + bytes }
}
