/**
 * The messages of the Network Lock Manager, version 4 (RFC 1813, appendix II). In words of 4 bytes:
 *
 *   netobj       opaque<1024>
 *   nlm4_lock    caller name<1024> │ handle: netobj │ owner: netobj │ svid │ offset: 8 │ length: 8
 *   nlm4_holder  exclusive │ svid │ owner: netobj │ offset: 8 │ length: 8
 *
 *   TEST, GRANTED    cookie: netobj │ exclusive │ nlm4_lock
 *   LOCK             cookie │ block │ exclusive │ nlm4_lock │ reclaim │ state
 *   CANCEL           cookie │ block │ exclusive │ nlm4_lock
 *   UNLOCK           cookie │ nlm4_lock
 *   SHARE, UNSHARE   cookie │ caller name<1024> │ handle │ owner │ mode │ access │ reclaim
 *   FREE_ALL         name<1025> │ state
 *
 *   answer to TEST   cookie │ status │ nlm4_holder where the status is DENIED
 *   to SHARE         cookie │ status │ sequence
 *   to all others    cookie │ status
 *
 * What the client chooses (cookies, owners, names) comes back byte for byte. A length of 0 is to the end of the file, however it grows.
 */
import type { XdrReader, XdrWriter } from './xdr.ts'

export const netobjBytesMax = 1024
const callerBytesMax = 1024
const nameBytesMax = 1025

/** In the order of their numbers. */
export const nlm4Statuses = [
  'GRANTED',
  'DENIED',
  'DENIED_NOLOCKS',
  'BLOCKED',
  'DENIED_GRACE_PERIOD',
  'DEADLCK',
  'ROFS',
  'STALE_FH',
  'FBIG',
  'FAILED',
] as const
export type Nlm4Status = (typeof nlm4Statuses)[number]

export interface LockRange {
  readonly offset: bigint
  /** 0: to the end of the file. */
  readonly length: bigint
}

/** A lock, as its holder names it. */
export interface Nlm4Lock extends LockRange {
  /** The client's name of itself: by it NSM tells that it has started again. */
  readonly caller: string
  readonly handle: Buffer
  /** With `caller` and `svid`: who holds it. */
  readonly owner: Buffer
  readonly svid: number
}

/** Who holds what stands in the way. */
export interface Nlm4Holder extends LockRange {
  readonly exclusive: boolean
  readonly svid: number
  readonly owner: Buffer
}

/** Comes back with the answer. */
interface Marked {
  readonly cookie: Buffer
}

export interface Nlm4TestArguments extends Marked {
  readonly exclusive: boolean
  readonly lock: Nlm4Lock
}

export interface Nlm4LockArguments extends Nlm4TestArguments {
  /** Where it can't be had now the client waits, and is told by GRANTED. */
  readonly block: boolean
  /** The client had it before this server started again. */
  readonly reclaim: boolean
  /** Of the client's status monitor. */
  readonly state: number
}

export interface Nlm4CancelArguments extends Nlm4TestArguments {
  readonly block: boolean
}

export interface Nlm4UnlockArguments extends Marked {
  readonly lock: Nlm4Lock
}

export interface Nlm4ShareArguments extends Marked {
  readonly caller: string
  readonly handle: Buffer
  readonly owner: Buffer
  /** What others may not do: 0 nothing is denied, 1 reading, 2 writing, 3 both. */
  readonly mode: number
  /** What the client does: 0 nothing, 1 reading, 2 writing, 3 both. */
  readonly access: number
  readonly reclaim: boolean
}

export interface Nlm4FreeAllArguments {
  /** The client that has lost all. */
  readonly name: string
  readonly state: number
}

export interface Nlm4Result extends Marked {
  readonly status: Nlm4Status
}

export type Nlm4TestResult = Marked &
  (
    | { readonly status: 'DENIED'; readonly holder: Nlm4Holder }
    | { readonly status: Exclude<Nlm4Status, 'DENIED'> }
  )

export interface Nlm4ShareResult extends Nlm4Result {
  readonly sequence: number
}

const decodeCookie = (reader: XdrReader): Buffer => reader.opaque(netobjBytesMax)

const decodeLock = (reader: XdrReader): Nlm4Lock => ({
  caller: reader.text(callerBytesMax),
  handle: reader.opaque(netobjBytesMax),
  owner: reader.opaque(netobjBytesMax),
  svid: reader.int32(),
  offset: reader.bigUint64(),
  length: reader.bigUint64(),
})

export const decodeTestArguments = (reader: XdrReader): Nlm4TestArguments => ({
  cookie: decodeCookie(reader),
  exclusive: reader.bool(),
  lock: decodeLock(reader),
})

export const decodeLockArguments = (reader: XdrReader): Nlm4LockArguments => ({
  ...decodeCancelArguments(reader),
  reclaim: reader.bool(),
  state: reader.int32(),
})

export const decodeCancelArguments = (reader: XdrReader): Nlm4CancelArguments => ({
  cookie: decodeCookie(reader),
  block: reader.bool(),
  exclusive: reader.bool(),
  lock: decodeLock(reader),
})

export const decodeUnlockArguments = (reader: XdrReader): Nlm4UnlockArguments => ({
  cookie: decodeCookie(reader),
  lock: decodeLock(reader),
})

export const decodeShareArguments = (reader: XdrReader): Nlm4ShareArguments => ({
  cookie: decodeCookie(reader),
  caller: reader.text(callerBytesMax),
  handle: reader.opaque(netobjBytesMax),
  owner: reader.opaque(netobjBytesMax),
  mode: reader.uint32(),
  access: reader.uint32(),
  reclaim: reader.bool(),
})

export const decodeFreeAllArguments = (reader: XdrReader): Nlm4FreeAllArguments => ({
  name: reader.text(nameBytesMax),
  state: reader.int32(),
})

export const decodeNlm4Result = (reader: XdrReader): Nlm4Result => ({
  cookie: decodeCookie(reader),
  status: reader.oneOf(nlm4Statuses),
})

export function decodeTestResult(reader: XdrReader): Nlm4TestResult {
  const { cookie, status } = decodeNlm4Result(reader)
  if (status !== 'DENIED') return { cookie, status }
  const holder = {
    exclusive: reader.bool(),
    svid: reader.int32(),
    owner: reader.opaque(netobjBytesMax),
    offset: reader.bigUint64(),
    length: reader.bigUint64(),
  }
  return { cookie, status, holder }
}

/** The arguments of our own GRANTED. */
export function encodeTestArguments(writer: XdrWriter, args: Nlm4TestArguments): void {
  const { lock } = args
  writer.opaque(args.cookie)
  writer.bool(args.exclusive)
  writer.text(lock.caller)
  writer.opaque(lock.handle)
  writer.opaque(lock.owner)
  writer.int32(lock.svid)
  writer.bigUint64(lock.offset)
  writer.bigUint64(lock.length)
}

export function encodeNlm4Result(writer: XdrWriter, result: Nlm4Result): void {
  writer.opaque(result.cookie)
  writer.oneOf(nlm4Statuses, result.status)
}

export function encodeTestResult(writer: XdrWriter, result: Nlm4TestResult): void {
  encodeNlm4Result(writer, result)
  if (result.status !== 'DENIED') return
  const { holder } = result
  writer.bool(holder.exclusive)
  writer.int32(holder.svid)
  writer.opaque(holder.owner)
  writer.bigUint64(holder.offset)
  writer.bigUint64(holder.length)
}

export function encodeShareResult(writer: XdrWriter, result: Nlm4ShareResult): void {
  encodeNlm4Result(writer, result)
  writer.int32(result.sequence)
}
