/**
 * As much of Linux's FUSE protocol as a file system needs that is one file: its root is that file. Little-endian.
 *
 *   a request                                           an answer
 *   0     4        8         16       24      36  40    0     4        8         16
 *   ┌─────┬────────┬─────────┬────────┬─ ─ ─ ─┬───┬─    ┌─────┬────────┬─────────┬─ ─ ─
 *   │ len │ opcode │ unique  │ node   │ who   │   │     │ len │ -errno │ unique  │ what was asked for
 *   └─────┴────────┴─────────┴────────┴─ ─ ─ ─┴───┴─    └─────┴────────┴─────────┴─ ─ ─
 *
 * (include/uapi/linux/fuse.h; version 7.31 is what we say we speak, and the kernel keeps to it.)
 */

export const opcodes = {
  forget: 2,
  getattr: 3,
  setattr: 4,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  access: 34,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
} as const

/** The kernel waits for no answer to these. */
const unanswered: readonly number[] = [opcodes.forget, opcodes.batchForget, opcodes.interrupt]
export const wantsAnswer = (opcode: number): boolean => !unanswered.includes(opcode)

export const errno = { EIO: 5, ENOSYS: 38 } as const

/** One request carries at most this much of what is written. */
export const writeBytesMax = 1024 * 1024
const requestHeaderBytes = 40
const answerHeaderBytes = 16
const writeHeaderBytes = 40
/** What the kernel wants a reader to have room for. */
export const requestBytesMax = writeBytesMax + 4096

export interface Request {
  readonly opcode: number
  readonly unique: bigint
  readonly body: Buffer
}

export function decodeRequest(bytes: Buffer): Request {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    body: bytes.subarray(requestHeaderBytes, bytes.readUInt32LE(0)),
  }
}

export function encodeAnswer(unique: bigint, error: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(answerHeaderBytes + body.length)
  bytes.writeUInt32LE(bytes.length, 0)
  bytes.writeInt32LE(error === 0 ? 0 : -error, 4)
  bytes.writeBigUInt64LE(unique, 8)
  body.copy(bytes, answerHeaderBytes)
  return bytes
}

/** Whether one request may be as large as we like: by flag; and several reads of one file at once. */
const initFlags = (1 << 0) | (1 << 5) | (1 << 22)

export function encodeInit(): Buffer {
  const bytes = Buffer.alloc(64)
  bytes.writeUInt32LE(7, 0)
  bytes.writeUInt32LE(31, 4)
  bytes.writeUInt32LE(0, 8) // nothing is read ahead
  bytes.writeUInt32LE(initFlags, 12)
  bytes.writeUInt16LE(64, 16) // requests in the background
  bytes.writeUInt16LE(48, 18)
  bytes.writeUInt32LE(writeBytesMax, 20)
  bytes.writeUInt32LE(1, 24) // time stamps to the nanosecond
  bytes.writeUInt16LE(writeBytesMax / 4096, 28)
  return bytes
}

/** Attributes that hold for ever. */
export function encodeAttributes(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(104)
  bytes.writeBigUInt64LE(1n << 30n, 0)
  bytes.writeBigUInt64LE(1n, 16) // the root
  bytes.writeBigUInt64LE(BigInt(sizeBytes), 24)
  bytes.writeBigUInt64LE(BigInt(sizeBytes / 512), 32)
  bytes.writeUInt32LE(0o100600, 76) // a regular file
  bytes.writeUInt32LE(1, 80) // of one name
  bytes.writeUInt32LE(4096, 96)
  return bytes
}

/** Nothing of the file is to be cached above us: what is written goes to the disk at once. */
const openDirect = 1
export function encodeOpened(): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32LE(openDirect, 8)
  return bytes
}

export const decodeRead = (body: Buffer): { position: number; length: number } => ({
  position: Number(body.readBigUInt64LE(8)),
  length: body.readUInt32LE(16),
})

export function decodeWrite(body: Buffer): { position: number; bytes: Buffer } {
  const length = body.readUInt32LE(16)
  return {
    position: Number(body.readBigUInt64LE(8)),
    bytes: body.subarray(writeHeaderBytes, writeHeaderBytes + length),
  }
}

export function encodeWritten(length: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32LE(length, 0)
  return bytes
}

export function encodeStatfs(sizeBytes: number): Buffer {
  const bytes = Buffer.alloc(80)
  bytes.writeBigUInt64LE(BigInt(sizeBytes / 4096), 0)
  bytes.writeUInt32LE(4096, 40)
  bytes.writeUInt32LE(255, 44)
  bytes.writeUInt32LE(4096, 48)
  return bytes
}
