/**
 * ONC RPC over UDP (RFC 5531): a datagram holds one call, and its answer is one datagram.
 *
 *  1. Nothing queues: a call is begun when it comes, or dropped (I9). Its client sends it again.
 *  2. Anybody may send in the name of another, who then gets the answer. So an answer is hardly longer than what was sent
 *     (`datagramAnswerBytesMore`), and what is no call has none: two servers can't be made to talk to each other.
 *  3. A call that must not be done twice is done once, as by TCP (duplicate-requests.ts).
 *  4. What was begun is finished, also when the server closes; who asked then hears nothing, and asks again.
 */
import type { Address, DatagramSocket, Log, Sockets } from '../../../platform/platform.ts'
import type { DuplicateRequests } from './duplicate-requests.ts'
import { encodeRecord, recordMarkBytes } from './record-reader.ts'
import { serveCall } from './rpc-call.ts'
import type { RpcCounters } from './rpc-connection.ts'
import type { RpcLimits } from './rpc-limits.ts'
import { requestOf, type AcceptedCall, type FindProcedure, type Request } from './rpc-request.ts'
import { encodeRefusal, type RpcRefusal } from './rpc.ts'
import { XdrError } from './xdr.ts'

export interface RpcDatagramsParts {
  readonly sockets: Pick<Sockets, 'bind'>
  readonly log: Log
  readonly find: FindProcedure
  readonly hostAndPort: (address: Address) => { host: string; port: number }
  readonly duplicates: DuplicateRequests
  readonly limits: RpcLimits
  readonly counters: RpcCounters
}

export class RpcDatagrams {
  readonly #parts: RpcDatagramsParts
  readonly #bound: DatagramSocket[] = []
  #underWay = 0

  constructor(parts: RpcDatagramsParts) {
    this.#parts = parts
  }

  async bind(address: Address): Promise<Address> {
    const socket: DatagramSocket = await this.#parts.sockets.bind(address, (bytes, from) =>
      this.#hear(socket, bytes, from),
    )
    this.#bound.push(socket)
    return socket.address
  }

  async close(): Promise<void> {
    await Promise.all(this.#bound.splice(0).map((socket) => socket.close()))
  }

  #hear(socket: DatagramSocket, bytes: Buffer, from: Address): void {
    const { counters, limits, log } = this.#parts
    counters.receivedBytes += bytes.length
    const isTooMuch = bytes.length > limits.datagramBytesMax || this.#underWay >= limits.datagramCallsMax
    const request = isTooMuch ? undefined : this.#understand(socket, bytes, from)
    if (request === undefined) {
      counters.dropped += 1
      return
    }
    counters.calls += 1
    const send = (record: readonly Buffer[]): void => {
      const answer = Buffer.concat(record).subarray(recordMarkBytes)
      counters.sentBytes += answer.length
      socket.send(answer, from)
    }
    if ('refusal' in request) {
      counters.refused += 1
      log.debug('A call was refused', { ...request.refusal, reason: request.reason })
      send(refusalRecord(request.xid, request.refusal))
      return
    }
    this.#underWay += 1
    serveCall(request, this.#parts, (record) => {
      this.#underWay -= 1
      if (record !== undefined) send(this.#short(request, bytes.length, record))
    })
  }

  /** Undefined: it is no call. */
  #understand(socket: DatagramSocket, bytes: Buffer, from: Address): Request | undefined {
    const { find, hostAndPort } = this.#parts
    const { host, port } = hostAndPort(from)
    try {
      return requestOf([bytes], find, host, port, hostAndPort(socket.address).host)
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      return undefined
    }
  }

  #short({ xid, procedure }: AcceptedCall, callBytes: number, record: readonly Buffer[]): readonly Buffer[] {
    const { limits, log } = this.#parts
    const answerBytes = record.reduce((sum, { length }) => sum + length, -recordMarkBytes)
    if (answerBytes <= callBytes + limits.datagramAnswerBytesMore) return record
    log.debug('An answer is too long for a datagram: it is to be asked for by TCP', {
      procedure: procedure.name,
      answerBytes,
    })
    return refusalRecord(xid, { status: 'SYSTEM_ERR' })
  }
}

const refusalRecord = (xid: number, refusal: RpcRefusal): Buffer[] =>
  encodeRecord((writer) => encodeRefusal(writer, xid, refusal))
