/**
 * One forwarded request, on the wire between the node that took it and the vDisk's owner. Little-endian; 64-bit fields are IEEE doubles that hold
 * whole numbers below 2^53.
 *
 *   0        8        12       16        24       32        40              44
 *   ┌────────┬────────┬────────┬─────────┬────────┬─────────┬───────────────┬─────────┬─── ─ ─ ───┐
 *   │ vdisk  │ epoch  │ runs   │ session │ offset │ length  │ client (n)    │ n bytes │ payload   │
 *   └────────┴────────┴────────┴─────────┴────────┴─────────┴───────────────┴─────────┴─── ─ ─ ───┘
 *
 * `session`: the sender's number for this vDisk (C10). `client`: CBOR of the client's session, or none (F3). `runs`: how many runs
 * a status may have. The answer is the vDisk's size and the time of its newest change (8 bytes
 * each), then what was asked for.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'
import type { ClientSession, VDiskNow } from '../io/io.ts'

const headerBytes = 44

export interface ForwardHeader {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly session: number
  readonly offset: number
  readonly length: number
  readonly runsMax: number
  readonly client: ClientSession | undefined
}

export function encodeForward(header: ForwardHeader): Buffer {
  const client = header.client === undefined ? undefined : encodeControl(header.client)
  const bytes = Buffer.allocUnsafe(headerBytes + (client?.length ?? 0))
  bytes.writeDoubleLE(header.vdisk, 0)
  bytes.writeUInt32LE(header.epoch, 8)
  bytes.writeUInt32LE(header.runsMax, 12)
  bytes.writeDoubleLE(header.session, 16)
  bytes.writeDoubleLE(header.offset, 24)
  bytes.writeDoubleLE(header.length, 32)
  bytes.writeUInt32LE(client?.length ?? 0, 40)
  client?.copy(bytes, headerBytes)
  return bytes
}

/** A question of the vDisk's owner, about itself: it needs to know who is meant, and no more. */
export const encodeAsk = (vdisk: VDiskId, epoch: Epoch): Buffer =>
  encodeForward({ vdisk, epoch, session: 0, offset: 0, length: 0, runsMax: 0, client: undefined })

export function decodeForward(bytes: Buffer): { header: ForwardHeader; payload: Buffer } {
  const clientBytes = bytes.length >= headerBytes ? bytes.readUInt32LE(40) : 0
  if (bytes.length < headerBytes + clientBytes)
    throw new NdfsError('REFUSED', 'Cannot read a forwarded request: it is too short')
  const header = {
    vdisk: bytes.readDoubleLE(0) as VDiskId,
    epoch: bytes.readUInt32LE(8) as Epoch,
    runsMax: bytes.readUInt32LE(12),
    session: bytes.readDoubleLE(16),
    offset: bytes.readDoubleLE(24),
    length: bytes.readDoubleLE(32),
    client:
      clientBytes === 0
        ? undefined
        : decodeControl<ClientSession>(bytes.subarray(headerBytes, headerBytes + clientBytes)),
  }
  return { header, payload: bytes.subarray(headerBytes + clientBytes) }
}

const answerBytes = 16

export function encodeAnswer({ sizeBytes, modifiedAt }: VDiskNow): Buffer {
  const bytes = Buffer.allocUnsafe(answerBytes)
  bytes.writeDoubleLE(sizeBytes, 0)
  bytes.writeDoubleLE(modifiedAt, 8)
  return bytes
}

export function decodeAnswer(bytes: Buffer): { now: VDiskNow; payload: Buffer } {
  if (bytes.length < answerBytes)
    throw new NdfsError('REFUSED', 'Cannot read the answer to a forwarded request: it is too short')
  const now = { sizeBytes: bytes.readDoubleLE(0), modifiedAt: bytes.readDoubleLE(8) }
  return { now, payload: bytes.subarray(answerBytes) }
}
