/**
 * The transmission phase of one connection: requests become calls on the vDisk, and what it says becomes replies, in the
 * order in which it says it.
 *
 *  1. A write, zero or trim is answered only after the vDisk resolved it, which then is durable on all copies (I1); so
 *     FUA holds for each of them, and a flush waits for nothing of ours.
 *  2. All requests of one piece of the stream are begun in one go; the replies that are ready then leave in one write.
 *     A request that the vDisk answers at once costs no promise.
 *  3. What a connection holds is bounded (I9): requests with the vDisk, payloads, replies not yet taken. At a bound the
 *     session stops parsing and pauses the socket; whatever is given back lets it go on. A session is held up only while
 *     it holds something itself, so no two wait for one another.
 *  4. When the connection breaks, what the vDisk has is let finish and its reply dropped; what still waits for admission
 *     is dropped. The vDisk is closed when it has nothing more of ours.
 *
 *  header   → skipping   a write that is refused: its payload is read over       [#accept]
 *  header   → room       all else, also while a bound is reached                 [#accept]
 *  skipping → room       the payload is over                                     [#step]
 *  room     → payload    a write may come in                                     [#take]
 *  room     → header     another request was begun or refused                    [#take]
 *  payload  → header     the write was begun                                     [#step]
 *  any      → leaving    DISC, or the server closes: no more requests            [leave]
 *  any      → closed     the connection is gone                                  [closed]
 */
import { assert } from '../../../base/assert.ts'
import { messageOf, NdfsError } from '../../../base/errors.ts'
import { giveBack } from '../../../base/large-buffers.ts'
import { pageBytes, vDiskOffset } from '../../../base/units.ts'
import type { Clock, Log, Socket } from '../../../platform/platform.ts'
import type { AdmissionControl } from '../../admission-control/admission-control.ts'
import { lendBytesMin, requestBytesMax, type Maybe, type OpenVDisk } from '../../io/io.ts'
import type { IncomingBytes } from './incoming-bytes.ts'
import { nbdErrno } from './nbd-errno.ts'
import { skippedPayloadBytesMax, type NbdLimits } from './nbd-limits.ts'
import {
  allocationContextId,
  allocationState,
  command,
  commandFlag,
  dataHeaderBytes,
  decodeRequestHeader,
  emptyRequestHeader,
  encodeDataHeader,
  encodeErrorChunk,
  encodeNothing,
  encodeSimpleReply,
  encodeStatusChunk,
  errno,
  errorChunkBytes,
  requestHeaderBytes,
  simpleReplyBytes,
  statusChunkBytes,
  structuredHeaderBytes,
  type StateRun,
} from './nbd-protocol.ts'
import { pastTheEnd, refusalOf, type Agreement, type Refusal } from './refusal.ts'
import { ReplyQueue, type Place } from './reply-queue.ts'
import type { ReplySlabs } from './reply-slabs.ts'

/** Descriptors in one block status: clients ask again from where it ended. 8 KiB of reply. */
const statusRunsMax = 1024
/** Pieces of the largest request's size that one block status looks at. An empty disk of 1 TiB is so told in 1024 requests. */
const statusPiecesMax = 32
/** The protocol allows 4096 bytes; a person reads less. */
const messageCharactersMax = 256
/**
 * A payload is a window on the piece of the stream that brought it, and keeps all of it in memory. One that is smaller
 * than this share of its piece is copied instead; a 4 KiB write never is, since the pieces have at most 64 KiB.
 */
const pinnedShareMax = 16

export type Admission = Pick<AdmissionControl, 'tryEnter' | 'enter' | 'leave'>

export interface NbdCounters {
  reads: number
  writes: number
  zeroes: number
  trims: number
  flushes: number
  readBytes: number
  writtenBytes: number
  /** Answered with an error, by reason of the request or of the vDisk. */
  errors: number
}

export interface NbdSessionParts {
  readonly socket: Socket
  /** What the client sent behind its last option is in it already. */
  readonly input: IncomingBytes
  /** The socket is paused: `work` lets it go on. */
  readonly paused: boolean
  readonly vdisk: OpenVDisk
  readonly agreement: Agreement
  readonly admission: Admission | undefined
  readonly slabs: ReplySlabs
  readonly limits: NbdLimits
  readonly counters: NbdCounters
  readonly clock: Clock
  readonly log: Log
  /** The vDisk is closed and nothing is left. */
  readonly over: () => void
}

/** A request that is on its way through admission and the vDisk. Used again and again, with its callbacks. */
class Outstanding {
  command = 0
  cookieHigh = 0
  cookieLow = 0
  offset = 0
  length = 0
  keepSpace = false
  /** What admission control was told, and is told again on leaving. */
  admittedBytes = 0
  payload: Buffer | undefined
  /** Where a read's reply is to be. */
  place: Place | undefined
  /** Of a read that may be lent: so many bytes are held for it. */
  heldBytes = 0
  /** What was lent for it. */
  lent: readonly Buffer[] | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void

  constructor(succeeded: (self: Outstanding) => void, failed: (self: Outstanding, error: unknown) => void) {
    this.succeeded = () => succeeded(this)
    this.failed = (error) => failed(this, error)
  }
}

type State = 'header' | 'room' | 'payload' | 'skipping' | 'leaving' | 'closed'

export class NbdSession {
  readonly #parts: NbdSessionParts
  readonly #vdisk: OpenVDisk
  readonly #input: IncomingBytes
  readonly #replies: ReplyQueue
  readonly #dataHeaderBytes: number
  readonly #header = emptyRequestHeader()
  readonly #idle: Outstanding[] = []
  #state: State = 'header'
  #working = false
  #waking = false
  #paused: boolean
  #outstanding = 0
  #payloadBytes = 0
  #skipBytes = 0
  #refusal: Refusal | undefined
  #vdiskClosed = false
  #isOver = false
  #stopPatience = (): void => {}

  constructor(parts: NbdSessionParts) {
    this.#parts = parts
    this.#vdisk = parts.vdisk
    this.#input = parts.input
    this.#paused = parts.paused
    this.#dataHeaderBytes = parts.agreement.structured ? dataHeaderBytes : simpleReplyBytes
    this.#replies = new ReplyQueue(parts.socket, parts.slabs, () => {
      if (this.#state === 'room') this.#wake()
    })
  }

  receive(piece: Buffer): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return
    this.#input.push(piece)
    this.work()
  }

  /** So many bytes of a payload were read to where the input has room for it. */
  filled(bytes: number): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return
    this.#input.filled(bytes)
    this.work()
  }

  /** Does all that can be done with what has arrived, and sends what is ready. */
  work(): void {
    assert(!this.#working, 'the session was entered from within')
    this.#working = true
    do {
      while (this.#step());
      this.#replies.flush()
    } while (this.#state === 'room' && this.#hasRoom())
    this.#working = false
    this.#pause(this.#state === 'room')
    this.#settle()
  }

  /** No more requests are taken; when those that are there are answered the connection ends. */
  leave(): void {
    if (this.#state === 'leaving' || this.#state === 'closed') return
    this.#state = 'leaving'
    const { clock, limits, socket } = this.#parts
    const patience = clock.after(limits.leaveMs, () => socket.destroy())
    this.#stopPatience = () => patience.cancel()
    // What still comes is dropped, so that the end of the stream is seen.
    this.#pause(false)
    if (!this.#working) this.work()
  }

  /** The connection is gone. */
  closed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#stopPatience()
    this.#replies.disconnect()
    if (!this.#working) this.work()
  }

  /** Replies that got ready one by one, and room that was made, are seen to together. */
  #wake(): void {
    if (this.#working || this.#waking) return
    this.#waking = true
    this.#parts.clock.soon(() => {
      this.#waking = false
      this.work()
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
      case 'header':
        if (!this.#input.consume(requestHeaderBytes)) return false
        if (!decodeRequestHeader(this.#input.bytes, this.#input.start, this.#header))
          return this.#abort('A request begins with the wrong bytes')
        return this.#accept()
      case 'room':
        if (!this.#hasRoom()) return false
        return this.#take()
      case 'payload':
        if (!this.#input.consume(this.#header.length)) return false
        this.#state = 'header'
        return this.#begin(this.#payload())
      case 'skipping':
        this.#skipBytes -= this.#input.skip(this.#skipBytes)
        if (this.#skipBytes > 0) return false
        this.#state = 'room'
        return true
      case 'leaving':
      case 'closed':
        return false
      default:
        return this.#state satisfies never
    }
  }

  #accept(): boolean {
    const header = this.#header
    this.#refusal = refusalOf(header, this.#vdisk.sizeBytes, this.#parts.agreement)
    if (this.#refusal !== undefined) {
      const payload = header.command === command.write ? header.length : 0
      if (payload > skippedPayloadBytesMax) return this.#abort(this.#refusal.message)
      this.#skipBytes = payload
      this.#state = payload > 0 ? 'skipping' : 'room'
      return true
    }
    if (header.command === command.disconnect) {
      this.leave()
      return false
    }
    this.#state = 'room'
    return true
  }

  /** There is room for the request whose header was read. */
  #take(): boolean {
    const header = this.#header
    this.#state = 'header'
    if (this.#refusal !== undefined) {
      this.#refuse(header, this.#refusal)
      return true
    }
    if (header.command !== command.write) return this.#begin(undefined)
    this.#charge(header.length)
    if (header.length === 0) return this.#begin(undefined)
    this.#state = 'payload'
    return true
  }

  #hasRoom(): boolean {
    const { limits, slabs } = this.#parts
    if (this.#outstanding >= limits.requestsMax) return false
    const held = this.#replies.heldBytes + this.#payloadBytes
    if (held === 0) return true
    const { command: code, length } = this.#header
    const heavy = this.#refusal === undefined && (code === command.read || code === command.write)
    const bytes = heavy ? length : 0
    if (held + bytes <= limits.ownBytes) return true
    return held + bytes <= limits.connectionBytesMax && slabs.heldBytes + bytes <= limits.bytesMax
  }

  #charge(bytes: number): void {
    this.#payloadBytes += bytes
    this.#parts.slabs.heldBytes += bytes
  }

  /** The payload that was just consumed. */
  #payload(): Buffer {
    const { bytes, start, pinnedBytes } = this.#input
    const payload = bytes.subarray(start, start + this.#header.length)
    return payload.length * pinnedShareMax < pinnedBytes ? Buffer.from(payload) : payload
  }

  #begin(payload: Buffer | undefined): boolean {
    const { admission, counters } = this.#parts
    const header = this.#header
    const request =
      this.#idle.pop() ?? new Outstanding(this.#succeeded, (self, error) => this.#failed(self, error))
    this.#outstanding += 1
    request.command = header.command
    request.cookieHigh = header.cookieHigh
    request.cookieLow = header.cookieLow
    request.offset = header.offset
    request.length = header.length
    request.keepSpace = (header.flags & commandFlag.noHole) !== 0
    request.payload = payload
    request.admittedBytes = 0
    switch (header.command) {
      case command.flush:
        counters.flushes += 1
        this.#perform(request)
        return true
      case command.cache:
        this.#perform(request)
        return true
      case command.blockStatus:
        void this.#status(request, (header.flags & commandFlag.reqOne) !== 0).catch(request.failed)
        return true
      case command.read:
        counters.reads += 1
        counters.readBytes += header.length
        if (header.length > 0) this.#makePlace(request)
        request.admittedBytes = header.length
        break
      case command.write:
        counters.writes += 1
        counters.writtenBytes += header.length
        request.admittedBytes = header.length
        break
      case command.trim:
        counters.trims += 1
        // However long the range, it is one small record of the log.
        request.admittedBytes = pageBytes
        break
      case command.writeZeroes:
        counters.zeroes += 1
        request.admittedBytes = pageBytes
        break
    }
    if (header.length === 0) {
      request.admittedBytes = 0
      this.#answer(request)
    } else if (admission === undefined || admission.tryEnter('guest', request.admittedBytes))
      this.#perform(request)
    else void this.#waitAndPerform(admission, request)
    return true
  }

  /** For a long read none but its bytes' share of what may be held: it may be answered from where they lie. */
  #makePlace(request: Outstanding): void {
    const { length } = request
    if (length < lendBytesMin || this.#vdisk.lend === undefined) {
      request.place = this.#replies.reserve(this.#dataHeaderBytes + length)
      return
    }
    request.heldBytes = length
    this.#replies.hold(length)
  }

  async #waitAndPerform(admission: Admission, request: Outstanding): Promise<void> {
    try {
      await admission.enter('guest', request.admittedBytes)
    } catch (error) {
      request.admittedBytes = 0
      this.#failed(request, error)
      return
    }
    // Nobody waits for it any more, and it has no place in any order yet: that it never comes is best (F3).
    if (this.#state === 'closed') {
      this.#answer(request)
      return
    }
    this.#perform(request)
  }

  #perform(request: Outstanding): void {
    // It was inside when its header was read; since then it may have waited, for its payload or for its turn.
    const shrunk = pastTheEnd(request, this.#vdisk.sizeBytes)
    if (shrunk !== undefined) {
      this.#drop(request, false)
      this.#refuse(request, shrunk)
      this.#finish(request)
      return
    }
    let outcome: Maybe<void>
    try {
      outcome = this.#call(request)
    } catch (error) {
      this.#failed(request, error)
      return
    }
    if (outcome === undefined) this.#answer(request)
    else outcome.then(request.succeeded, request.failed)
  }

  #call(request: Outstanding): Maybe<void> {
    const offset = vDiskOffset(request.offset)
    const { length } = request
    switch (request.command) {
      case command.read: {
        if (request.heldBytes > 0) {
          const lent = this.#vdisk.lend?.(offset, length)
          if (lent instanceof Promise) return lent.then((pieces) => void (request.lent = pieces))
          request.lent = lent
          if (lent !== undefined) return undefined
          this.#replies.holdNot(length)
          request.heldBytes = 0
          request.place = this.#replies.reserve(this.#dataHeaderBytes + length)
        }
        const place = request.place
        assert(place !== undefined, 'a read was begun without a place for its reply')
        return this.#vdisk.read(
          offset,
          place.slab.buffer.subarray(place.start + this.#dataHeaderBytes, place.end),
        )
      }
      case command.write:
        assert(request.payload?.length === length, 'a write was begun without its payload')
        return this.#vdisk.write(offset, request.payload)
      case command.writeZeroes:
        if (length > requestBytesMax) return this.#inPieces(request)
        return this.#vdisk.zero(offset, length, request.keepSpace)
      case command.trim:
        if (length > requestBytesMax) return this.#inPieces(request)
        return this.#vdisk.discard(offset, length)
      case command.cache:
        return length === 0 ? undefined : this.#vdisk.prefetch(offset, length)
      default:
        assert(request.command === command.flush, () => `command ${request.command} came past the door`)
        return this.#vdisk.flush()
    }
  }

  /** Zeroing and trimming may go far beyond what one call takes: whole gigabytes by mkfs and by QEMU. */
  async #inPieces(request: Outstanding): Promise<void> {
    const end = request.offset + request.length
    for (let at = request.offset; at < end; at += requestBytesMax) {
      const length = Math.min(requestBytesMax, end - at)
      if (at + length > this.#vdisk.sizeBytes) throw this.#shrunk(request)
      if (request.command === command.trim) await this.#vdisk.discard(vDiskOffset(at), length)
      else await this.#vdisk.zero(vDiskOffset(at), length, request.keepSpace)
    }
  }

  async #status(request: Outstanding, one: boolean): Promise<void> {
    const runs: StateRun[] = []
    const end = request.offset + request.length
    const wanted = one ? 1 : statusRunsMax
    let at = request.offset
    for (let piece = 0; piece < statusPiecesMax && at < end; piece += 1) {
      const length = Math.min(requestBytesMax, end - at)
      if (at + length > this.#vdisk.sizeBytes) break
      // With one more than wanted it shows whether the last wanted one ends inside this piece.
      const found = await this.#vdisk.status(vDiskOffset(at), length, wanted - runs.length + 1)
      assert(found.length > 0, 'a block status told nothing')
      for (const run of found) {
        const state = run.kind === 'zero' ? allocationState.holeAndZero : allocationState.data
        const last = runs.at(-1)
        if (last?.state === state) last.length += run.length
        else runs.push({ length: run.length, state })
        at += run.length
      }
      if (runs.length > wanted) break
    }
    assert(at <= end, 'a block status told of bytes that were not asked for')
    runs.length = Math.min(runs.length, wanted)
    if (runs.length === 0) throw this.#shrunk(request)
    if (this.#state === 'closed') {
      this.#finish(request)
      return
    }
    const place = this.#replies.reserve(statusChunkBytes(runs))
    encodeStatusChunk(place.slab.buffer, place.start, request, allocationContextId, runs)
    this.#replies.send(place)
    this.#finish(request)
  }

  #shrunk(request: Outstanding): NdfsError {
    const { sizeBytes } = this.#vdisk
    const { offset, length } = request
    return new NdfsError(
      'REFUSED',
      `Cannot reach the ${length} bytes from ${offset} as the vDisk has shrunk to ${sizeBytes} bytes`,
    )
  }

  readonly #succeeded = (request: Outstanding): void => this.#answer(request)

  #answer(request: Outstanding): void {
    const { structured } = this.#parts.agreement
    if (this.#state === 'closed') this.#drop(request, false)
    else if (request.place !== undefined || request.lent !== undefined) {
      const place = request.place ?? this.#replies.reserve(this.#dataHeaderBytes)
      const { buffer } = place.slab
      if (structured) encodeDataHeader(buffer, place.start, request, request.offset, request.length)
      else encodeSimpleReply(buffer, place.start, request, 0)
      this.#replies.send(place, request.lent)
      request.place = request.lent = undefined
      request.heldBytes = 0
    } else if (structured && request.command === command.read) {
      const place = this.#replies.reserve(structuredHeaderBytes)
      encodeNothing(place.slab.buffer, place.start, request)
      this.#replies.send(place)
    } else {
      // Also where structured replies were agreed on: only what carries data or a message needs a chunk.
      const place = this.#replies.reserve(simpleReplyBytes)
      encodeSimpleReply(place.slab.buffer, place.start, request, 0)
      this.#replies.send(place)
    }
    this.#finish(request)
  }

  #failed(request: Outstanding, error: unknown): void {
    // Anything else is our bug. Thrown on, it stops the process.
    if (!(error instanceof NdfsError)) throw error
    this.#parts.log.debug('An NBD request failed', { code: error.code, reason: error.message })
    // A late answer of a slow peer or disk may still be written into the place of a read that was given up.
    this.#drop(request, true)
    this.#refuse(request, { error: nbdErrno[error.code], message: messageOf(error) })
    this.#finish(request)
  }

  #drop(request: Outstanding, spoiled: boolean): void {
    if (request.place !== undefined) this.#replies.abandon(request.place, spoiled)
    request.lent?.forEach(giveBack)
    if (request.heldBytes > 0) this.#replies.holdNot(request.heldBytes)
    request.place = request.lent = undefined
    request.heldBytes = 0
  }

  #refuse(request: { readonly cookieHigh: number; readonly cookieLow: number }, refusal: Refusal): void {
    this.#parts.counters.errors += 1
    if (this.#state === 'closed') return
    const code = errno[refusal.error]
    if (this.#parts.agreement.structured) {
      const message = Buffer.from(refusal.message.slice(0, messageCharactersMax))
      const place = this.#replies.reserve(errorChunkBytes(message))
      encodeErrorChunk(place.slab.buffer, place.start, request, code, message)
      this.#replies.send(place)
    } else {
      const place = this.#replies.reserve(simpleReplyBytes)
      encodeSimpleReply(place.slab.buffer, place.start, request, code)
      this.#replies.send(place)
    }
  }

  /** The request is answered: what it held is free. */
  #finish(request: Outstanding): void {
    if (request.admittedBytes > 0) this.#parts.admission?.leave('guest', request.admittedBytes)
    if (request.command === command.write) this.#charge(-request.length)
    request.payload = undefined
    this.#outstanding -= 1
    assert(this.#outstanding >= 0, 'a request was answered twice')
    this.#idle.push(request)
    this.#wake()
  }

  /** What the connection sent can't be understood, or will not be: there is no way back into the stream. */
  #abort(reason: string): false {
    this.#parts.log.info('An NBD connection was closed', { reason, client: this.#parts.socket.remoteAddress })
    this.#parts.socket.destroy()
    this.closed()
    return false
  }

  /** Gives the vDisk back when nothing is with it any more, and ends the connection in order when it is to end. */
  #settle(): void {
    if (this.#outstanding > 0 || (this.#state !== 'leaving' && this.#state !== 'closed')) return
    if (!this.#vdiskClosed) {
      this.#vdiskClosed = true
      // What is left is the payload that was coming in.
      this.#charge(-this.#payloadBytes)
      this.#vdisk.close()
      if (this.#state === 'leaving') this.#parts.socket.end()
    }
    if (this.#state === 'closed' && !this.#isOver) {
      this.#isOver = true
      this.#replies.forget()
      this.#parts.over()
    }
  }
}
