/**
 * The bytes of NBD: what a client sends and what it gets, and nothing of what we do about it. All numbers are
 * big-endian. The text behind this file is the NBD project's `doc/proto.md`.
 *
 * Transmission. A request; `cookie` is the client's to choose and comes back with the answer:
 *
 *   0        4       6         8        16       24       28        28+length
 *   ┌────────┬───────┬─────────┬────────┬────────┬────────┬── ─ ─ ──┐
 *   │ magic  │ flags │ command │ cookie │ offset │ length │ payload │   only WRITE has a payload
 *   └────────┴───────┴─────────┴────────┴────────┴────────┴── ─ ─ ──┘
 *
 * A simple reply:                          A structured reply, one chunk of perhaps several:
 *
 *   0        4       8        16             0        4       6      8        16       20
 *   ┌────────┬───────┬────────┬── ─ ─ ┐      ┌────────┬───────┬──────┬────────┬────────┬── ─ ─ ──┐
 *   │ magic  │ error │ cookie │ data  │      │ magic  │ flags │ type │ cookie │ length │ payload │
 *   └────────┴───────┴────────┴── ─ ─ ┘      └────────┴───────┴──────┴────────┴────────┴── ─ ─ ──┘
 *
 * and the payloads of its types that we send:
 *
 *   OFFSET_DATA     offset: 8 bytes, data
 *   BLOCK_STATUS    context: 4 bytes, then for each run: length: 4 bytes, state: 4 bytes
 *   ERROR           error: 4 bytes, length of the message: 2 bytes, message
 *
 * Negotiation. The server begins with a greeting, the client answers with 4 bytes of flags:
 *
 *   0           8           16      18
 *   ┌───────────┬───────────┬───────┐
 *   │ NBDMAGIC  │ IHAVEOPT  │ flags │
 *   └───────────┴───────────┴───────┘
 *
 * then come options, each answered by one or more replies:
 *
 *   0           8        12       16                  0        8        12     16       20
 *   ┌───────────┬────────┬────────┬── ─ ┐             ┌────────┬────────┬──────┬────────┬── ─ ┐
 *   │ IHAVEOPT  │ option │ length │ data│             │ magic  │ option │ type │ length │ data│
 *   └───────────┴────────┴────────┴── ─ ┘             └────────┴────────┴──────┴────────┴── ─ ┘
 */

// A client that sends anything else has lost its place in the stream: what follows can't be trusted.
const requestMagic = 0x25609513
const simpleReplyMagic = 0x67446698
const structuredReplyMagic = 0x668e33ef
const greetingMagic = 'NBDMAGIC'
const optionMagic = 'IHAVEOPT'
const optionReplyMagic = 0x3e889045565a9n

export const requestHeaderBytes = 28
export const simpleReplyBytes = 16
export const structuredHeaderBytes = 20
/** A structured header and the offset that stands before the data of OFFSET_DATA. */
export const dataHeaderBytes = structuredHeaderBytes + 8
export const clientFlagsBytes = 4
export const optionHeaderBytes = 16
/** No string of the protocol, a name or a message, is longer. */
export const stringBytesMax = 4096

export const command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const

export const commandFlag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 } as const

/** The errors that may travel in a reply. */
export const errno = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const
export type NbdErrno = keyof typeof errno

export const serverFlag = { fixedNewstyle: 1, noZeroes: 2 } as const
export const clientFlag = { fixedNewstyle: 1, noZeroes: 2 } as const

export const transmissionFlag = {
  hasFlags: 1 << 0,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const

export const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const

const firstError = 2 ** 31
export const optionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  unsupported: firstError + 1,
  policy: firstError + 2,
  invalid: firstError + 3,
  tlsRequired: firstError + 5,
  unknown: firstError + 6,
  shutdown: firstError + 7,
  tooBig: firstError + 9,
} as const
export type OptionError =
  'unsupported' | 'policy' | 'invalid' | 'tlsRequired' | 'unknown' | 'shutdown' | 'tooBig'

export const info = { export: 0, name: 1, description: 2, blockSize: 3 } as const

const replyFlagDone = 1
const chunkType = { none: 0, offsetData: 1, blockStatus: 5, error: 0x8001 } as const

/** The number of the one context that we have; any would do. */
export const allocationContextId = 1

/** States of a run in the context `base:allocation`. */
export const allocationState = { data: 0, holeAndZero: 1 | 2 } as const

/** A request's header. One object is filled again and again: a new one for each would be most of the work of a small read. */
export interface RequestHeader {
  flags: number
  command: number
  cookieHigh: number
  cookieLow: number
  /** From 2^53 on it is rounded, and still larger than any size. */
  offset: number
  length: number
}

export const emptyRequestHeader = (): RequestHeader => ({
  flags: 0,
  command: 0,
  cookieHigh: 0,
  cookieLow: 0,
  offset: 0,
  length: 0,
})

/** Reads the header that begins at `at`. False: the magic is wrong. */
export function decodeRequestHeader(bytes: Buffer, at: number, into: RequestHeader): boolean {
  if (bytes.readUInt32BE(at) !== requestMagic) return false
  into.flags = bytes.readUInt16BE(at + 4)
  into.command = bytes.readUInt16BE(at + 6)
  into.cookieHigh = bytes.readUInt32BE(at + 8)
  into.cookieLow = bytes.readUInt32BE(at + 12)
  into.offset = bytes.readUInt32BE(at + 16) * 2 ** 32 + bytes.readUInt32BE(at + 20)
  into.length = bytes.readUInt32BE(at + 24)
  return true
}

/** The other direction, for who speaks as a client. */
export function encodeRequestHeader(request: {
  flags?: number
  command: number
  cookie: bigint
  offset?: bigint
  length?: number
}): Buffer {
  const bytes = Buffer.alloc(requestHeaderBytes)
  bytes.writeUInt32BE(requestMagic, 0)
  bytes.writeUInt16BE(request.flags ?? 0, 4)
  bytes.writeUInt16BE(request.command, 6)
  bytes.writeBigUInt64BE(request.cookie, 8)
  bytes.writeBigUInt64BE(request.offset ?? 0n, 16)
  bytes.writeUInt32BE(request.length ?? 0, 24)
  return bytes
}

interface Cookie {
  readonly cookieHigh: number
  readonly cookieLow: number
}

export function encodeSimpleReply(into: Buffer, at: number, cookie: Cookie, error: number): void {
  into.writeUInt32BE(simpleReplyMagic, at)
  into.writeUInt32BE(error, at + 4)
  into.writeUInt32BE(cookie.cookieHigh, at + 8)
  into.writeUInt32BE(cookie.cookieLow, at + 12)
}

function encodeLastChunkHeader(into: Buffer, at: number, cookie: Cookie, type: number, length: number): void {
  into.writeUInt32BE(structuredReplyMagic, at)
  into.writeUInt16BE(replyFlagDone, at + 4)
  into.writeUInt16BE(type, at + 6)
  into.writeUInt32BE(cookie.cookieHigh, at + 8)
  into.writeUInt32BE(cookie.cookieLow, at + 12)
  into.writeUInt32BE(length, at + 16)
}

/** What stands before the data of a read; the data itself is already behind it, or will be. */
export function encodeDataHeader(
  into: Buffer,
  at: number,
  cookie: Cookie,
  offset: number,
  length: number,
): void {
  encodeLastChunkHeader(into, at, cookie, chunkType.offsetData, 8 + length)
  into.writeUInt32BE(Math.floor(offset / 2 ** 32), at + 20)
  into.writeUInt32BE(offset % 2 ** 32, at + 24)
}

/** A read of no bytes has no data to describe. */
export function encodeNothing(into: Buffer, at: number, cookie: Cookie): void {
  encodeLastChunkHeader(into, at, cookie, chunkType.none, 0)
}

export const errorChunkBytes = (message: Buffer): number => structuredHeaderBytes + 6 + message.length

export function encodeErrorChunk(
  into: Buffer,
  at: number,
  cookie: Cookie,
  error: number,
  message: Buffer,
): void {
  encodeLastChunkHeader(into, at, cookie, chunkType.error, 6 + message.length)
  into.writeUInt32BE(error, at + 20)
  into.writeUInt16BE(message.length, at + 24)
  message.copy(into, at + 26)
}

export interface StateRun {
  length: number
  readonly state: number
}

export const statusChunkBytes = (runs: readonly StateRun[]): number =>
  structuredHeaderBytes + 4 + 8 * runs.length

export function encodeStatusChunk(
  into: Buffer,
  at: number,
  cookie: Cookie,
  context: number,
  runs: readonly StateRun[],
): void {
  encodeLastChunkHeader(into, at, cookie, chunkType.blockStatus, 4 + 8 * runs.length)
  into.writeUInt32BE(context, at + 20)
  runs.forEach((run, index) => {
    into.writeUInt32BE(run.length, at + 24 + 8 * index)
    into.writeUInt32BE(run.state, at + 28 + 8 * index)
  })
}

export function encodeGreeting(): Buffer {
  const flags = numbers([2, serverFlag.fixedNewstyle | serverFlag.noZeroes])
  return Buffer.concat([Buffer.from(greetingMagic + optionMagic), flags])
}

/** An option's header; `undefined` where the magic is wrong. */
export function decodeOptionHeader(bytes: Buffer): { option: number; length: number } | undefined {
  if (bytes.toString('latin1', 0, 8) !== optionMagic) return undefined
  return { option: bytes.readUInt32BE(8), length: bytes.readUInt32BE(12) }
}

/** The other direction, for who speaks as a client. */
export function encodeOption(code: number, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(optionMagic), numbers([4, code], [4, data.length]), data])
}

export function encodeOptionReply(code: number, type: number, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(20)
  header.writeBigUInt64BE(optionReplyMagic, 0)
  header.writeUInt32BE(code, 8)
  header.writeUInt32BE(type, 12)
  header.writeUInt32BE(data.length, 16)
  return Buffer.concat([header, data])
}

/** Data of INFO and GO: name with its length, then the kinds of information that are wanted. */
export function decodeInfoRequest(data: Buffer): { name: Buffer; wanted: number[] } | undefined {
  const name = counted(data, 0)
  if (!name || data.length < name.end + 2) return undefined
  const count = data.readUInt16BE(name.end)
  if (data.length !== name.end + 2 + 2 * count) return undefined
  const wanted = Array.from({ length: count }, (_, index) => data.readUInt16BE(name.end + 2 + 2 * index))
  return { name: name.bytes, wanted }
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: name with its length, then queries with theirs. */
export function decodeMetaContextRequest(data: Buffer): { name: Buffer; queries: string[] } | undefined {
  const name = counted(data, 0)
  if (!name || data.length < name.end + 4) return undefined
  const count = data.readUInt32BE(name.end)
  const queries: string[] = []
  let at = name.end + 4
  // A count that lies runs out of data, never out of memory.
  for (let index = 0; index < count; index += 1) {
    const query = counted(data, at)
    if (!query) return undefined
    queries.push(query.bytes.toString())
    at = query.end
  }
  return at === data.length ? { name: name.bytes, queries } : undefined
}

function counted(data: Buffer, at: number): { bytes: Buffer; end: number } | undefined {
  if (data.length < at + 4) return undefined
  const end = at + 4 + data.readUInt32BE(at)
  return end <= data.length ? { bytes: data.subarray(at + 4, end), end } : undefined
}

/** What a client learns of its export: the data of an INFO_EXPORT without its kind, and the answer to EXPORT_NAME. */
export const encodeExport = (sizeBytes: number, flags: number): Buffer => numbers([8, sizeBytes], [2, flags])

/** After EXPORT_NAME, a client that did not ask to be spared them gets zeros, for reasons lost in time. */
export const exportNameZeroes = 124

/** Whole numbers one after the other, each with its width in bytes: 2, 4 or 8. */
export function numbers(...fields: readonly (readonly [width: 2 | 4 | 8, value: number])[]): Buffer {
  const bytes = Buffer.alloc(fields.reduce((sum, [width]) => sum + width, 0))
  let at = 0
  for (const [width, value] of fields) {
    if (width === 8) bytes.writeBigUInt64BE(BigInt(value), at)
    else bytes.writeUIntBE(value, at, width)
    at += width
  }
  return bytes
}
