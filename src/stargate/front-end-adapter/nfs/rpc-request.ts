/** What is made of a record: a call with its arguments, ready to be served, or the refusal of one. */
import { keyOf, type CallKey } from './duplicate-requests.ts'
import type { Caller, Procedure } from './rpc-program.ts'
import { decodeCall, type RefusedCall, type RpcCall, type RpcRefusal } from './rpc.ts'
import { XdrError, XdrReader } from './xdr.ts'

/** A procedure, and how often it was called. */
export interface CountedProcedure {
  readonly procedure: Procedure
  calls: number
}

export type FindProcedure = (call: RpcCall) => CountedProcedure | RpcRefusal

export type Request = AcceptedCall | RefusedRequest

export interface RefusedRequest extends RefusedCall {
  /** Of the record. */
  readonly bytes: number
  /** What of its arguments makes no sense. */
  readonly reason?: string
}

export interface AcceptedCall {
  readonly xid: number
  readonly procedure: Procedure
  readonly args: unknown
  readonly caller: Caller
  /** Of the record, and of the answer that it may have. */
  readonly bytes: number
  /** Of a call that must not be done twice. */
  readonly key: CallKey | undefined
}

/** Throws XdrError where the record is no call: then there is nobody to answer. */
export function requestOf(
  record: readonly Buffer[],
  find: FindProcedure,
  host: string,
  port: number,
  localHost: string,
): Request {
  const reader = new XdrReader(record)
  const bytes = reader.left
  const call = decodeCall(reader)
  if ('refusal' in call) return { ...call, bytes }
  const { xid } = call
  const found = find(call)
  if ('status' in found) return { xid, refusal: found, bytes }
  found.calls += 1
  const { procedure } = found
  const caller = { host, port, localHost, credentials: call.credentials }
  const argsAt = bytes - reader.left
  let args: unknown
  try {
    args = procedure.decode(reader)
  } catch (error) {
    if (!(error instanceof XdrError)) throw error
    return { xid, refusal: { status: 'GARBAGE_ARGS' }, bytes, reason: `${procedure.name}: ${error.message}` }
  }
  const key = procedure.once ? keyOf(call, caller, bytesFrom(record, argsAt)) : undefined
  return { xid, procedure, args, caller, bytes: bytes + (procedure.answerBytes?.(args) ?? 0), key }
}

const bytesFrom = (record: readonly Buffer[], at: number): Buffer =>
  (record.length === 1 ? record[0] : Buffer.concat(record)).subarray(at)
