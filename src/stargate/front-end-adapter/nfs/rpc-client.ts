/**
 * A client of ONC RPC over TCP, for the few calls that a server makes: to the lock managers and status monitors of its clients, and to the
 * port mapper of its machine. One connection; calls may be under way at once.
 *
 * A call rejects with TIMED_OUT, with PEER_UNREACHABLE where the connection broke (in both it may have been done), and with REFUSED where the
 * other side answered that it will not do it.
 */
import { NdfsError } from '../../../base/errors.ts'
import type { Address, Clock, Platform, Socket } from '../../../platform/platform.ts'
import { encodeRecord, RecordError, RecordReader } from './record-reader.ts'
import { decodeReply, encodeCall, type Credentials } from './rpc.ts'
import { XdrError, XdrReader, type XdrWriter } from './xdr.ts'

/** What is called. */
export interface RpcTarget {
  readonly program: number
  readonly version: number
  readonly procedure: number
}

interface Waiting {
  readonly answered: (results: XdrReader) => void
  readonly failed: (error: NdfsError) => void
}

export class RpcClient {
  readonly #socket: Socket
  readonly #clock: Clock
  readonly #credentials: Credentials
  readonly #input = new RecordReader()
  readonly #waiting = new Map<number, Waiting>()
  #xid: number
  #closed = false

  /** `xid`: the number of the first call. Not the same after each start, or a server takes a call for one that it had before. */
  constructor(socket: Socket, clock: Clock, xid: number, credentials: Credentials = { flavour: 'none' }) {
    this.#socket = socket
    this.#clock = clock
    this.#xid = xid >>> 0
    this.#credentials = credentials
    socket.onData = (piece) => {
      if (this.#closed) return
      this.#input.push(piece)
      this.#work()
    }
    socket.room = () => this.#input.room()
    socket.onFilled = (bytes) => {
      if (this.#closed) return
      this.#input.filled(bytes)
      this.#work()
    }
    socket.onClose = () => this.close()
  }

  /** Resolves to where the results are read. */
  call(target: RpcTarget, encode: (writer: XdrWriter) => void, timeoutMs: number): Promise<XdrReader> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unreachable())
      const xid = this.#xid
      this.#xid = (xid + 1) >>> 0
      const timer = this.#clock.after(timeoutMs, () => {
        this.#waiting.delete(xid)
        reject(new NdfsError('TIMED_OUT', `Cannot call ${nameOf(target)}: no answer in ${timeoutMs} ms`))
      })
      this.#waiting.set(xid, {
        answered: (results) => {
          timer.cancel()
          resolve(results)
        },
        failed: (error) => {
          timer.cancel()
          reject(error)
        },
      })
      const record = encodeRecord((writer) => {
        encodeCall(writer, { ...target, xid, credentials: this.#credentials })
        encode(writer)
      })
      this.#socket.write(record)
    })
  }

  /** What is under way fails. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.destroy()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { failed } of waiting) failed(unreachable())
  }

  #work(): void {
    try {
      for (let record = this.#input.next(); record !== undefined; record = this.#input.next())
        this.#hear(new XdrReader(record))
    } catch (error) {
      if (!(error instanceof RecordError) && !(error instanceof XdrError)) throw error
      this.close()
    }
  }

  #hear(reader: XdrReader): void {
    const { xid, refusal } = decodeReply(reader)
    const waiting = this.#waiting.get(xid)
    // Nobody waits any more: the time was up.
    if (waiting === undefined) return
    this.#waiting.delete(xid)
    if (refusal === undefined) waiting.answered(reader)
    else waiting.failed(new NdfsError('REFUSED', `Cannot have a call done: ${refusal.status}`, { refusal }))
  }
}

export async function connectRpc(
  platform: Pick<Platform, 'sockets' | 'clock' | 'chance'>,
  address: Address,
  timeoutMs: number,
  {
    credentials,
    fromHost,
  }: { readonly credentials?: Credentials | undefined; readonly fromHost?: string | undefined } = {},
): Promise<RpcClient> {
  let socket: Socket
  try {
    socket = await platform.sockets.connect(address, timeoutMs, fromHost)
  } catch (cause) {
    throw new NdfsError('PEER_UNREACHABLE', `Cannot connect to ${address} for a call`, {}, { cause })
  }
  return new RpcClient(socket, platform.clock, platform.chance.below(2 ** 32), credentials)
}

const nameOf = ({ program, version, procedure }: RpcTarget): string =>
  `procedure ${procedure} of program ${program}, version ${version}`
const unreachable = (): NdfsError =>
  new NdfsError('PEER_UNREACHABLE', 'Cannot have a call done: the connection is gone')
