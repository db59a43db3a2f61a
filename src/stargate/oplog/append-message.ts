/**
 * `oplog.append`: the appends of one turn for one disk, in one message. Little-endian.
 *
 *   0         2        3      4        8             8 + length       + 24 appends
 *   ┌─────────┬────────┬──────┬────────┬─────────────┬────────────────┬───────────────┐
 *   │ version │ length │ zero │ appends│ disk's name │ directory      │ records …     │
 *   └─────────┴────────┴──────┴────────┴─────────────┴────────────────┴───────────────┘
 *
 * The disk's name is `disk/incarnation`. One entry of the directory:
 *
 *   0        8       12        16              20       24
 *   ┌────────┬───────┬─────────┬───────────────┬────────┐
 *   │ vdisk  │ epoch │ episode │ record count  │ bytes  │   bytes: of all records of this append
 *   └────────┴───────┴─────────┴───────────────┴────────┘
 *
 * Records stand as record.ts encodes them, so they are sent, taken apart and written without being copied. The answer
 * is empty where all appends succeeded, else a list of those that did not (`FailedAppend`, CBOR).
 */
import { NdfsError, type Facts, type NdfsErrorCode } from '../../base/errors.ts'
import type { EpisodeId, Epoch, VDiskId } from '../../base/ids.ts'
import { decodeRecord, recordBytesAt, recordHeaderBytes, type EncodedRecord } from './record.ts'

const version = 1
const headBytes = 8
const entryBytes = 24

export interface AppendWanted {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly episode: EpisodeId
  readonly records: readonly EncodedRecord[]
}

export interface FailedAppend {
  readonly index: number
  readonly code: NdfsErrorCode
  readonly message: string
  readonly facts: Facts
}

export const bytesOfAppend = (append: AppendWanted): number =>
  append.records.reduce((sum, { bytes }) => sum + bytes, 0)

export function encodeAppends(diskName: string, appends: readonly AppendWanted[]): Buffer[] {
  const name = Buffer.from(diskName)
  const head = Buffer.alloc(headBytes + name.length + entryBytes * appends.length)
  head.writeUInt16LE(version, 0)
  head.writeUInt8(name.length, 2)
  head.writeUInt32LE(appends.length, 4)
  name.copy(head, headBytes)
  const parts: Buffer[] = [head]
  let at = headBytes + name.length
  for (const append of appends) {
    head.writeBigUInt64LE(BigInt(append.vdisk), at)
    head.writeUInt32LE(append.epoch, at + 8)
    head.writeUInt32LE(append.episode, at + 12)
    head.writeUInt32LE(append.records.length, at + 16)
    head.writeUInt32LE(bytesOfAppend(append), at + 20)
    at += entryBytes
    for (const { header, payload } of append.records) {
      parts.push(header)
      for (const part of payload) if (part.length > 0) parts.push(part)
    }
  }
  return parts
}

/** Takes a message apart; its records are views of `body`. Rejects what is no such message, or was damaged on the way. */
export function decodeAppends(body: Buffer): { diskName: string; appends: AppendWanted[] } {
  const count = body.length >= headBytes ? body.readUInt32LE(4) : 0
  const nameEnd = headBytes + (body.length >= headBytes ? body.readUInt8(2) : 0)
  let recordAt = nameEnd + count * entryBytes
  if (body.length < headBytes || body.readUInt16LE(0) !== version || recordAt > body.length)
    throw new NdfsError('REFUSED', 'Cannot append: the message is none that this version knows')
  const appends: AppendWanted[] = []
  for (let at = nameEnd; at < nameEnd + count * entryBytes; at += entryBytes) {
    const end = recordAt + body.readUInt32LE(at + 20)
    const records: EncodedRecord[] = []
    for (let left = body.readUInt32LE(at + 16); left > 0; left--) {
      const bytes = recordBytesAt(body, recordAt)
      if (bytes === undefined || decodeRecord(body, recordAt) === undefined)
        throw new NdfsError('REFUSED', 'Cannot append: a record was damaged on its way here')
      records.push({
        header: body.subarray(recordAt, recordAt + recordHeaderBytes),
        payload: [body.subarray(recordAt + recordHeaderBytes, recordAt + bytes)],
        bytes,
      })
      recordAt += bytes
    }
    if (recordAt !== end)
      throw new NdfsError('REFUSED', 'Cannot append: the message is not as long as it says')
    appends.push({
      vdisk: Number(body.readBigUInt64LE(at)) as VDiskId,
      epoch: body.readUInt32LE(at + 8) as Epoch,
      episode: body.readUInt32LE(at + 12) as EpisodeId,
      records,
    })
  }
  if (recordAt !== body.length)
    throw new NdfsError('REFUSED', 'Cannot append: the message is longer than it says')
  return { diskName: body.toString('utf8', headBytes, nameEnd), appends }
}
