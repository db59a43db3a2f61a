/**
 * The messages of ONC RPC version 2 (RFC 5531): a call, and the reply that has its number. What the arguments and the results are is the
 * programs' business. In words of 4 bytes (xdr.ts):
 *
 *   call    xid │ 0 │ 2 │ program │ version │ procedure │ credentials │ verifier │ arguments …
 *
 *   reply   xid │ 1 │ 0 accepted │ verifier │ 0 SUCCESS │ results …
 *                                           │ 2 PROG_MISMATCH │ low │ high
 *                                           │ 1 PROG_UNAVAIL, 3 PROC_UNAVAIL, 4 GARBAGE_ARGS, 5 SYSTEM_ERR
 *                   │ 1 denied   │ 0 RPC_MISMATCH │ 2 │ 2
 *                                │ 1 AUTH_ERROR │ why
 *
 *   credentials, verifier     flavour │ length, at most 400 │ body
 *   body of AUTH_SYS          stamp │ machine<255> │ uid │ gid │ gids<16>
 */
import { XdrError, XdrReader, type XdrWriter } from './xdr.ts'

const rpcVersion = 2
const message = { call: 0, reply: 1 } as const
const replyState = { accepted: 0, denied: 1 } as const
const denial = { rpcMismatch: 0, authError: 1 } as const
const flavour = { none: 0, sys: 1, short: 2 } as const

const authBytesMax = 400
const machineBytesMax = 255
const groupsMax = 16

const acceptance = {
  SUCCESS: 0,
  PROG_UNAVAIL: 1,
  PROG_MISMATCH: 2,
  PROC_UNAVAIL: 3,
  GARBAGE_ARGS: 4,
  SYSTEM_ERR: 5,
} as const
const acceptances = Object.keys(acceptance) as (keyof typeof acceptance)[]

export const authError = { BADCRED: 1, REJECTEDCRED: 2, BADVERF: 3, REJECTEDVERF: 4, TOOWEAK: 5 } as const
export type AuthError = keyof typeof authError

/** Who a client says it is. Nothing proves it: the network is trusted, or the export says who may come. */
export type Credentials =
  | { readonly flavour: 'none' }
  | {
      readonly flavour: 'sys'
      readonly machine: string
      readonly uid: number
      readonly gid: number
      /** At most 16. */
      readonly gids: readonly number[]
    }

export interface RpcCall {
  readonly xid: number
  readonly program: number
  readonly version: number
  readonly procedure: number
  readonly credentials: Credentials
}

/** Why there are no results. */
export type RpcRefusal =
  | { readonly status: 'PROG_UNAVAIL' | 'PROC_UNAVAIL' | 'GARBAGE_ARGS' | 'SYSTEM_ERR' }
  /** The lowest and the highest version of the program that there are. */
  | { readonly status: 'PROG_MISMATCH'; readonly low: number; readonly high: number }
  | { readonly status: 'RPC_MISMATCH' }
  | { readonly status: 'AUTH_ERROR'; readonly why: AuthError }

/** Of a call that is refused for what stands before its arguments. */
export interface RefusedCall {
  readonly xid: number
  readonly refusal: RpcRefusal
}

/** Reads up to the arguments. Throws XdrError where this is no call at all: then there is nobody to answer. */
export function decodeCall(reader: XdrReader): RpcCall | RefusedCall {
  const xid = reader.uint32()
  if (reader.uint32() !== message.call) throw new XdrError('A message is no call')
  if (reader.uint32() !== rpcVersion) return { xid, refusal: { status: 'RPC_MISMATCH' } }
  const program = reader.uint32()
  const version = reader.uint32()
  const procedure = reader.uint32()
  const credentials = decodeCredentials(reader)
  if (typeof credentials === 'string') return { xid, refusal: { status: 'AUTH_ERROR', why: credentials } }
  if (!hasNoVerifier(reader)) return { xid, refusal: { status: 'AUTH_ERROR', why: 'BADVERF' } }
  return { xid, program, version, procedure, credentials }
}

function decodeCredentials(reader: XdrReader): Credentials | AuthError {
  const kind = reader.uint32()
  try {
    const body = reader.opaque(authBytesMax)
    switch (kind) {
      case flavour.none:
        return { flavour: 'none' }
      case flavour.sys:
        return decodeAuthSys(new XdrReader([body]))
      case flavour.short:
        return 'REJECTEDCRED'
      default:
        // Not BADCRED, which clients take as an invitation to try once more with the same flavour.
        return 'TOOWEAK'
    }
  } catch (error) {
    if (error instanceof XdrError) return 'BADCRED'
    throw error
  }
}

function decodeAuthSys(reader: XdrReader): Credentials {
  reader.uint32()
  return {
    flavour: 'sys',
    machine: reader.text(machineBytesMax),
    uid: reader.uint32(),
    gid: reader.uint32(),
    gids: reader.array(groupsMax, (each) => each.uint32()),
  }
}

/** Both flavours that we take come without one. */
function hasNoVerifier(reader: XdrReader): boolean {
  return reader.uint32() === flavour.none && reader.uint32() === 0
}

/** What stands before the results. */
export function encodeSuccess(writer: XdrWriter, xid: number): void {
  encodeAccepted(writer, xid, 'SUCCESS')
}

export function encodeRefusal(writer: XdrWriter, xid: number, refusal: RpcRefusal): void {
  switch (refusal.status) {
    case 'RPC_MISMATCH':
      for (const word of [xid, message.reply, replyState.denied, denial.rpcMismatch, rpcVersion, rpcVersion])
        writer.uint32(word)
      return
    case 'AUTH_ERROR':
      for (const word of [xid, message.reply, replyState.denied, denial.authError, authError[refusal.why]])
        writer.uint32(word)
      return
    case 'PROG_MISMATCH':
      encodeAccepted(writer, xid, refusal.status)
      writer.uint32(refusal.low)
      writer.uint32(refusal.high)
      return
    case 'PROG_UNAVAIL':
    case 'PROC_UNAVAIL':
    case 'GARBAGE_ARGS':
    case 'SYSTEM_ERR':
      encodeAccepted(writer, xid, refusal.status)
      return
    default:
      return refusal satisfies never
  }
}

function encodeAccepted(writer: XdrWriter, xid: number, status: keyof typeof acceptance): void {
  writer.uint32(xid)
  writer.uint32(message.reply)
  writer.uint32(replyState.accepted)
  writer.uint32(flavour.none)
  writer.uint32(0)
  writer.uint32(acceptance[status])
}

/** The other direction: what stands before the arguments of a call of ours. */
export function encodeCall(writer: XdrWriter, call: RpcCall): void {
  for (const word of [call.xid, message.call, rpcVersion, call.program, call.version, call.procedure])
    writer.uint32(word)
  encodeCredentials(writer, call.credentials)
  writer.uint32(flavour.none)
  writer.uint32(0)
}

function encodeCredentials(writer: XdrWriter, credentials: Credentials): void {
  if (credentials.flavour === 'none') {
    writer.uint32(flavour.none)
    writer.uint32(0)
    return
  }
  const { machine, uid, gid, gids } = credentials
  writer.uint32(flavour.sys)
  // Stamp, machine with its length, uid, gid, gids with their count.
  writer.uint32(4 * (5 + gids.length) + 4 * Math.ceil(machine.length / 4))
  writer.uint32(0)
  writer.text(machine)
  writer.uint32(uid)
  writer.uint32(gid)
  writer.array(gids, (each, group) => each.uint32(group))
}

export interface RpcReply {
  readonly xid: number
  /** Undefined: the results follow. */
  readonly refusal: RpcRefusal | undefined
}

/** Reads the answer to a call of ours up to the results. Throws XdrError where this is none. */
export function decodeReply(reader: XdrReader): RpcReply {
  const xid = reader.uint32()
  if (reader.uint32() !== message.reply) throw new XdrError('A message is no reply')
  if (reader.uint32() !== replyState.accepted) return { xid, refusal: decodeDenial(reader) }
  reader.uint32()
  reader.opaque(authBytesMax)
  const status = reader.oneOf(acceptances)
  if (status === 'SUCCESS') return { xid, refusal: undefined }
  if (status !== 'PROG_MISMATCH') return { xid, refusal: { status } }
  return { xid, refusal: { status, low: reader.uint32(), high: reader.uint32() } }
}

function decodeDenial(reader: XdrReader): RpcRefusal {
  if (reader.uint32() === denial.rpcMismatch) return { status: 'RPC_MISMATCH' }
  const number = reader.uint32()
  const why = (Object.keys(authError) as AuthError[]).find((each) => authError[each] === number)
  return { status: 'AUTH_ERROR', why: why ?? 'BADCRED' }
}
