/** What the server of ONC RPC calls: programs with their versions, versions with their procedures. */
import type { Maybe } from '../../io/io.ts'
import type { Credentials } from './rpc.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

/** Whose call it is. */
export interface Caller {
  /** The client's address without its port: `10.0.0.7`, `fe80::1`; '' over a Unix socket. */
  readonly host: string
  /** 0 over a Unix socket. Below 1024 only a client's root may have it. */
  readonly port: number
  /** Our address to which it came, without the port: what is called back comes from there. '' where that isn't known. */
  readonly localHost: string
  readonly credentials: Credentials
}

/** One procedure, from the bytes of its arguments to those of its results. */
export interface Procedure<Args = unknown, Result = unknown> {
  /** As the protocol writes it. */
  readonly name: string
  /** Throws XdrError where the bytes are no such arguments: the answer is GARBAGE_ARGS. */
  decode(reader: XdrReader): Args
  /**
   * A rejection with an NdfsError is answered with SYSTEM_ERR; a protocol that has words of its own for errors uses those. Any other
   * exception is a bug.
   */
  serve(args: Args, caller: Caller): Maybe<Result>
  /** Memory of large-buffers.ts among the results is given back when the answer was sent: nobody keeps any of it. Not for `once`. */
  encode(writer: XdrWriter, result: Result): void
  /** Done twice it does something else than done once: its answer is kept for a client that sends it again (duplicate-requests.ts). */
  readonly once?: boolean
  /** Bytes that the answer may have, where these are many. They are counted as held while the call is under way. */
  answerBytes?(args: Args): number
}

export interface Program {
  readonly name: string
  readonly number: number
  /** By version; in each, the procedures by their numbers. What is missing is answered with PROC_UNAVAIL. */
  readonly versions: ReadonlyMap<number, readonly (Procedure | undefined)[]>
}

/** Checks that a procedure's parts fit each other, and then forgets what its arguments and results are: for tables. */
export const procedure = <Args, Result>(parts: Procedure<Args, Result>): Procedure => parts

/** Arguments, or results, of which there are none. */
export const nothing = (): undefined => undefined

/** Procedure 0 of each program, by which clients see that it is there. */
export const nullProcedure: Procedure = { name: 'NULL', decode: nothing, serve: nothing, encode: nothing }
