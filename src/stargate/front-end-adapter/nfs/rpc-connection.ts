/**
 * One connection of ONC RPC over TCP: its records become calls, and what the procedures say becomes answers, in the order in which they say
 * it.
 *
 *  1. All calls of one piece of the stream are begun in one go; the answers that are ready then leave in one write.
 *  2. What a connection holds is bounded (I9): calls under way with what they brought and what they may be answered, and answers not yet
 *     taken. At a bound it stops reading; whatever is given back lets it go on. It is held up only while it holds something itself, so no
 *     two wait for one another. Beyond that it has one record that has come, and one that comes (record-reader.ts).
 *  3. A call that must not be done twice is done once, also where it comes again over another connection (duplicate-requests.ts).
 *  4. When the connection breaks, what is under way is let finish; its answers are kept where they may be asked for again.
 *
 *  reading → waiting   a call has come and there is no room for it                        [#step]
 *  waiting → reading   it was begun                                                       [#step]
 *  any     → leaving   the server closes: no more calls                                   [leave]
 *  any     → closed    it is gone, or what it sent can't be understood                    [closed]
 */
import { assert } from '../../../base/assert.ts'
import { giveBack } from '../../../base/large-buffers.ts'
import type { Clock, Log, Socket } from '../../../platform/platform.ts'
import { AnswerQueue } from './answer-queue.ts'
import type { DuplicateRequests } from './duplicate-requests.ts'
import { encodeRecord, RecordError, RecordReader } from './record-reader.ts'
import { serveCall, type CallCounters } from './rpc-call.ts'
import type { RpcLimits } from './rpc-limits.ts'
import {
  requestOf,
  type AcceptedCall,
  type FindProcedure,
  type RefusedRequest,
  type Request,
} from './rpc-request.ts'
import { encodeRefusal } from './rpc.ts'
import { XdrError } from './xdr.ts'

export interface RpcCounters extends CallCounters {
  calls: number
  /** Calls that RPC itself refused: unknown programs, bytes that make no sense, credentials. */
  refused: number
  /** Of records that came whole, and of datagrams. */
  receivedBytes: number
  sentBytes: number
  /** Connections that were closed because nothing could be made of what they sent. */
  garbled: number
  /** Connections that were closed because they took no answers. */
  stalled: number
  /** Datagrams that had no answer: they held no call, or came when too many were under way. */
  dropped: number
}

/** What all connections hold together. */
export interface Held {
  bytes: number
}

export interface RpcConnectionParts {
  readonly socket: Socket
  readonly host: string
  readonly port: number
  readonly localHost: string
  readonly find: FindProcedure
  readonly duplicates: DuplicateRequests
  readonly limits: RpcLimits
  readonly counters: RpcCounters
  readonly held: Held
  readonly clock: Clock
  readonly log: Log
  /** The connection is gone and nothing of it is under way. */
  readonly over: () => void
}

type State = 'reading' | 'waiting' | 'leaving' | 'closed'

export class RpcConnection {
  readonly #parts: RpcConnectionParts
  readonly #input = new RecordReader()
  readonly #answers: AnswerQueue
  #state: State = 'reading'
  /** While `waiting`: what waits. */
  #next: Request | undefined
  #working = false
  #waking = false
  #paused = false
  #underWay = 0
  #heldBytes = 0
  #ended = false
  #isOver = false
  #stopPatience = (): void => {}

  constructor(parts: RpcConnectionParts) {
    this.#parts = parts
    const { socket, clock, limits } = parts
    this.#answers = new AnswerQueue({
      socket,
      clock,
      stallMs: limits.stallMs,
      held: (bytes) => this.#hold(bytes),
      sent: () => {
        if (this.#state === 'waiting') this.#wake()
      },
      stalled: () => {
        parts.counters.stalled += 1
        this.#abort('it takes no answers')
      },
    })
    socket.onData = (piece) => {
      if (this.#state === 'leaving' || this.#state === 'closed') return
      this.#input.push(piece)
      this.#work()
    }
    socket.room = () => (this.#state === 'reading' ? this.#input.room() : undefined)
    socket.onFilled = (bytes) => {
      if (this.#state === 'leaving' || this.#state === 'closed') return
      this.#input.filled(bytes)
      this.#work()
    }
    socket.onClose = () => this.#closed()
  }

  /** No more calls are taken; when those that are there are answered the connection ends. */
  leave(): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return
    this.#state = 'leaving'
    this.#next = undefined
    const { clock, limits, socket } = this.#parts
    const patience = clock.after(limits.leaveMs, () => socket.destroy())
    this.#stopPatience = () => patience.cancel()
    // What still comes is dropped, so that the end of the stream is seen.
    this.#pause(false)
    if (!this.#working) this.#work()
  }

  #closed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#next = undefined
    this.#stopPatience()
    this.#answers.close()
    // The other side may only have said that it sends no more; whoever does that waits for nothing.
    this.#parts.socket.destroy()
    if (!this.#working) this.#work()
  }

  /** Does all that can be done with what has arrived, and sends what is ready. */
  #work(): void {
    assert(!this.#working, 'the connection was entered from within')
    this.#working = true
    do {
      while (this.#step());
      this.#answers.flush()
    } while (this.#next !== undefined && this.#hasRoom(this.#next))
    this.#working = false
    this.#pause(this.#state === 'waiting')
    this.#settle()
  }

  /** Answers that got ready one by one, and room that was made, are seen to together. */
  #wake(): void {
    if (this.#working || this.#waking) return
    this.#waking = true
    this.#parts.clock.soon(() => {
      this.#waking = false
      this.#work()
    })
  }

  #pause(wanted: boolean): void {
    if (wanted === this.#paused || this.#state === 'closed') return
    this.#paused = wanted
    if (wanted) this.#parts.socket.pause()
    else this.#parts.socket.resume()
  }

  /** One thing at a time. False: nothing more can be done now. */
  #step(): boolean {
    switch (this.#state) {
      case 'reading': {
        const record = this.#record()
        if (record === undefined) return false
        this.#next = this.#understand(record)
        if (this.#next === undefined) return false
        this.#state = 'waiting'
        return true
      }
      case 'waiting': {
        const request = this.#next
        assert(request !== undefined, 'a connection waits for room for nothing')
        // Also for what is refused: who sends nonsense and takes no answers is held up like all others.
        if (!this.#hasRoom(request)) return false
        this.#next = undefined
        this.#state = 'reading'
        if ('refusal' in request) this.#refuse(request)
        else this.#begin(request)
        return true
      }
      case 'leaving':
      case 'closed':
        return false
      default:
        return this.#state satisfies never
    }
  }

  #record(): Buffer[] | undefined {
    try {
      return this.#input.next()
    } catch (error) {
      if (!(error instanceof RecordError)) throw error
      return this.#garbled(error.message)
    }
  }

  /** Undefined: it is no call, and the connection is over. */
  #understand(record: Buffer[]): Request | undefined {
    const { counters, find, host, port, localHost } = this.#parts
    for (const { length } of record) counters.receivedBytes += length
    counters.calls += 1
    try {
      return requestOf(record, find, host, port, localHost)
    } catch (error) {
      if (!(error instanceof XdrError)) throw error
      return this.#garbled(error.message)
    }
  }

  #hasRoom({ bytes }: Request): boolean {
    const { limits, held } = this.#parts
    if (this.#underWay >= limits.callsMax) return false
    if (this.#heldBytes === 0) return true
    const own = this.#heldBytes + bytes
    if (own <= limits.ownBytes) return true
    return own <= limits.connectionBytesMax && held.bytes + bytes <= limits.bytesMax
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes
    this.#parts.held.bytes += bytes
  }

  #begin(call: AcceptedCall): void {
    this.#underWay += 1
    this.#hold(call.bytes)
    serveCall(call, this.#parts, (record) => {
      if (record !== undefined) this.#send(record)
      this.#finish(call)
    })
  }

  #refuse({ xid, refusal, reason }: RefusedRequest): void {
    this.#parts.counters.refused += 1
    this.#parts.log.debug('A call was refused', { ...refusal, reason })
    this.#send(encodeRecord((writer) => encodeRefusal(writer, xid, refusal)))
  }

  #send(record: readonly Buffer[]): void {
    if (this.#state === 'closed') return record.forEach(giveBack)
    for (const { length } of record) this.#parts.counters.sentBytes += length
    this.#answers.add(record)
  }

  /** The call is answered: what it held is free. */
  #finish(call: AcceptedCall): void {
    this.#hold(-call.bytes)
    this.#underWay -= 1
    assert(this.#underWay >= 0, 'a call was answered twice')
    this.#wake()
  }

  #garbled(reason: string): undefined {
    this.#parts.counters.garbled += 1
    this.#abort(reason)
  }

  /** There is no way back into the stream, or no sense in it. */
  #abort(reason: string): void {
    this.#parts.log.info('A connection for NFS was closed', { reason })
    this.#closed()
  }

  /** Ends the connection in order when it is to end, and tells when nothing of it is left. */
  #settle(): void {
    if (this.#underWay > 0) return
    if (this.#state === 'leaving' && !this.#ended) {
      this.#ended = true
      this.#parts.socket.end()
    }
    if (this.#state === 'closed' && !this.#isOver) {
      this.#isOver = true
      assert(this.#heldBytes === 0, 'a connection that is over holds something')
      this.#parts.over()
    }
  }
}
