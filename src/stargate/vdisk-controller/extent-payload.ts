/**
 * The payload of an `extent` record: where a stream's whole pages were written, and the ragged edges as data, in one
 * record and so all or nothing (C6). It is all that is known of an open group until the record is drained (M3).
 *
 *   0          4              4 + c      4 + c + head   4 + c + head + tail
 *   ┌──────────┬──────────────┬──────────┬──────────────┐
 *   │ c (u32)  │ CBOR         │ head     │ tail         │
 *   └──────────┴──────────────┴──────────┴──────────────┘
 *
 * CBOR: { version, head, tail, pieces: [{ group, copies, page, at, checksums }] }, checksums as little-endian words.
 * `head` bytes begin at the record's offset, `tail` bytes end at its end; between them the pieces follow each other.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { checksumBytes, checksumsFrom } from './rows.ts'

export interface ExtentPiece {
  readonly group: GroupId
  readonly copies: readonly CopyRef[]
  /** The first page of the vDisk, and its place in the group. */
  readonly page: number
  readonly at: number
  /** One for each page. */
  readonly checksums: Uint32Array
}

export interface ExtentPayload {
  readonly head: Buffer
  readonly tail: Buffer
  readonly pieces: readonly ExtentPiece[]
}

const extentPayloadVersion = 1

export function encodeExtentPayload(payload: ExtentPayload): Buffer[] {
  const control = encodeControl({
    version: extentPayloadVersion,
    head: payload.head.length,
    tail: payload.tail.length,
    pieces: payload.pieces.map((piece) => ({ ...piece, checksums: checksumBytes(piece.checksums) })),
  })
  const length = Buffer.alloc(4)
  length.writeUInt32LE(control.length)
  return [length, control, payload.head, payload.tail]
}

export function decodeExtentPayload(bytes: Buffer): ExtentPayload {
  const controlEnd = 4 + bytes.readUInt32LE(0)
  const control = decodeControl<{
    version: number
    head: number
    tail: number
    pieces: (Omit<ExtentPiece, 'checksums'> & { checksums: Uint8Array })[]
  }>(bytes.subarray(4, controlEnd))
  if (control.version !== extentPayloadVersion)
    throw new NdfsError('REFUSED', `Cannot read an extent record of version ${control.version}`)
  return {
    head: bytes.subarray(controlEnd, controlEnd + control.head),
    tail: bytes.subarray(controlEnd + control.head, controlEnd + control.head + control.tail),
    pieces: control.pieces.map((piece) => ({ ...piece, checksums: checksumsFrom(piece.checksums) })),
  }
}
