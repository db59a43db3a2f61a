/**
 * One simulated connection: two ends, each with what its process has written and its kernel has not taken, what its
 * kernel holds until it arrives, and what arrived and was not yet read.
 *
 *     write ─▶ waiting ─▶ kernel ─▶ ─ ─ the network ─ ─ ─▶ received ─▶ onData
 *              process    └─────────── window ─────────────────────┘   process
 *
 * Bytes arrive in order, in other pieces than they were written in. The window bounds what is between the processes, so
 * that a reader who stands still stops the writer. The first of `kernel` alone has an event that brings it across.
 */
import { assert, AssertionFailure } from '../src/base/assert.ts'
import { KiB, MiB } from '../src/base/units.ts'
import type { Address, Socket } from '../src/platform/platform.ts'
import { digestOf } from './schedule.ts'
import type { Line } from './sim-line.ts'
import { systemError, type SimProcess } from './sim-process.ts'

type End = readonly [process: SimProcess, remoteAddress: Address, localAddress: Address]

/** The two ends of a new connection, the client's first. */
export function connectPair(
  line: Line<SimSocket>,
  onMachine: boolean,
  client: End,
  server: End,
): [SimSocket, SimSocket] {
  const ends: [SimSocket, SimSocket] = [
    new SimSocket(line, onMachine, ...client),
    new SimSocket(line, onMachine, ...server),
  ]
  ends[0].peer = ends[1]
  ends[1].peer = ends[0]
  for (const end of ends) line.opened(end)
  return ends
}

const windowBytes = 1 * MiB
const pieceBytesMax = 64 * KiB
const deliveredBytesMax = 256 * KiB
// Where the platform by Node.js says stop and go on.
const waitingBytesHigh = 4 * MiB
const waitingBytesLow = 1 * MiB
/** How long after `write` the kernel gets the bytes: long enough for a buffer that is used again too early to show. */
const writeDelayMs = 0.02
/** How long after `end` the other side may take to close. */
const lingerMs = 2_000

interface Written {
  readonly original: Uint8Array
  /** How it was when it was written; of some, to see whether they change before they are sent. */
  readonly copy: Buffer | undefined
  sent: number
}
/** Of so many writes one is watched: copies of all would cost more than the rest of the way. */
const watchedOneOf = 8

interface Piece {
  readonly what: Buffer | 'end' | 'reset'
  readonly due: number
}

/**
 *  open   → ending   the process called `end`                                   [end]
 *  open   → closing  the other side's end, a failure, or `destroy`; onClose is due [#close]
 *  ending → closing  the same
 *  closing → closed  onClose was called
 */
type State = 'open' | 'ending' | 'closing' | 'closed'

const notSet = (): never => {
  throw new AssertionFailure('a socket whose callbacks were not set in the turn in which it came')
}

export class SimSocket implements Socket {
  readonly process: SimProcess
  readonly onMachine: boolean
  readonly remoteAddress: Address
  readonly localAddress: Address
  peer: SimSocket = this
  onData: (bytes: Buffer) => void = notSet
  room: () => Uint8Array | undefined = () => undefined
  onFilled: (bytes: number) => void = notSet
  onClose: (error?: Error) => void = notSet
  onDrain: () => void = () => undefined

  readonly #line: Line<SimSocket>
  #state: State = 'open'
  #error: Error | undefined
  /** The process has the socket: before, what arrives waits. */
  #taken = false
  #ended = false
  #dead = false

  #waiting: Written[] = []
  #waitingBytes = 0
  #writes = 0
  #writtenBytes = 0
  #sentBytes = 0
  #stopped = false
  #pumpDue = false
  #whenSent: { bytes: number; callback: () => void }[] = []

  #kernel: Piece[] = []
  #windowUsed = 0
  #busyUntil = 0
  #crossing = false
  /** Since when the first of `kernel` gets no answer. */
  #stuckSince: number | undefined

  #received: Buffer[] = []
  #endReceived = false
  #paused = false
  #deliveryDue = false

  constructor(
    line: Line<SimSocket>,
    onMachine: boolean,
    process: SimProcess,
    remoteAddress: Address,
    localAddress: Address,
  ) {
    this.#line = line
    this.onMachine = onMachine
    this.process = process
    this.remoteAddress = remoteAddress
    this.localAddress = localAddress
  }

  write(buffers: readonly Uint8Array[]): boolean {
    if (this.#state !== 'open') return true
    const isWatched = this.#writes++ % watchedOneOf === 0
    for (const original of buffers) {
      if (original.length === 0) continue
      this.#waiting.push({ original, copy: isWatched ? Buffer.from(original) : undefined, sent: 0 })
      this.#waitingBytes += original.length
      this.#writtenBytes += original.length
    }
    this.#pumpSoon(writeDelayMs)
    this.#line.waits(this, this.#waitingBytes)
    if (this.#waitingBytes < waitingBytesHigh) return true
    this.#stopped = true
    return false
  }

  whenSent(callback: () => void): void {
    if (this.#dead) return
    if (this.#closing || this.#sentBytes >= this.#writtenBytes) queueMicrotask(callback)
    else this.#whenSent.push({ bytes: this.#writtenBytes, callback })
  }

  pause(): void {
    if (this.#state === 'open') this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#deliverSoon()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.#paused = false
    this.#deliverSoon()
    this.#pumpSoon(writeDelayMs)
    this.#line.schedule.inProcess(this.process, lingerMs, 'linger', () => this.destroy())
  }

  destroy(): void {
    if (this.#closing) return
    this.#dropWaiting()
    this.#finish(this.#line.chance.happens(0.5) ? 'end' : 'reset')
    this.#close(undefined)
  }

  /** The process has it and has set, or is about to set, the callbacks. */
  taken(): void {
    this.#taken = true
    if (this.#closing) this.#closeSoon()
    else this.#deliverSoon()
  }

  processEnded(silent: boolean): void {
    this.#dead = true
    this.#dropWaiting()
    this.#received = []
    if (silent) {
      this.#kernel = []
      this.#ended = true
    } else this.#finish(this.#line.chance.happens(0.5) ? 'end' : 'reset')
    this.#forgetIfDone()
  }

  /** A way is open again, perhaps the one of this connection. */
  sendAgain(): void {
    if (this.#stuckSince === undefined) return
    const waited = this.#line.schedule.now - this.#stuckSince
    // TCP waits longer each time: the next try comes about as late again as the trouble lasted.
    this.#cross(this.#line.chance.between(0, Math.min(this.#line.nature.resendMs + waited, 5_000)))
  }

  /** What was kept back on the way here may be read. */
  goOn(): void {
    this.#deliverSoon()
  }

  /** Something on the way breaks the connection: both ends are told, and what was under way is gone. False: it is over. */
  breakDown(): boolean {
    if (this.#closing || this.#dead || this.peer.#dead) return false
    for (const end of [this, this.peer]) end.#fail('ECONNRESET', 'the connection was broken', end)
    return true
  }

  get #closing(): boolean {
    return this.#state === 'closing' || this.#state === 'closed'
  }

  // The process's side of sending.

  #pumpSoon(ms: number): void {
    if (this.#pumpDue || this.#dead) return
    this.#pumpDue = true
    this.#line.schedule.inProcess(this.process, ms, 'pump', () => {
      this.#pumpDue = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.#waiting.length > 0 && this.#windowUsed < windowBytes) this.#give(this.#nextPiece())
    if (this.#waiting.length === 0 && this.#state !== 'open') this.#finish('end')
    while (this.#whenSent.length > 0 && this.#whenSent[0].bytes <= this.#sentBytes)
      this.#whenSent.shift()?.callback()
    if (!this.#stopped || this.#closing || this.#waitingBytes > waitingBytesLow) return
    this.#stopped = false
    this.onDrain()
  }

  #nextPiece(): Buffer {
    const parts: Uint8Array[] = []
    let left = 1 + this.#line.chance.below(pieceBytesMax)
    while (left > 0 && this.#waiting.length > 0) {
      const first = this.#waiting[0]
      const part = first.original.subarray(first.sent, first.sent + left)
      parts.push(part)
      first.sent += part.length
      left -= part.length
      if (first.sent < first.original.length) continue
      assert(first.copy?.equals(first.original) ?? true, 'a buffer was changed before it was sent')
      this.#waiting.shift()
    }
    const piece = Buffer.concat(parts)
    this.#waitingBytes -= piece.length
    this.#sentBytes += piece.length
    return piece
  }

  #dropWaiting(): void {
    this.#waiting = []
    this.#waitingBytes = 0
    this.#stopped = false
  }

  /** After the last byte. A reset doesn't wait for what goes before it. */
  #finish(how: 'end' | 'reset'): void {
    if (this.#ended) return
    this.#ended = true
    if (how === 'reset') this.#kernel = []
    this.#give(how)
  }

  // The kernel's side of sending.

  #give(what: Buffer | 'end' | 'reset'): void {
    const { schedule } = this.#line
    const length = typeof what === 'string' ? 0 : what.length
    this.#windowUsed += length
    this.#busyUntil =
      Math.max(schedule.now, this.#busyUntil) + length / this.#line.bytesPerMs(this, this.peer)
    this.#kernel.push({ what, due: this.#busyUntil + this.#line.latencyMs(this, this.peer) })
    if (this.#stuckSince === undefined) this.#cross(0)
  }

  #cross(atLeastMs: number): void {
    if (this.#crossing || this.#kernel.length === 0) return
    this.#crossing = true
    const { schedule } = this.#line
    schedule.after(Math.max(atLeastMs, this.#kernel[0].due - schedule.now), 'cross', () => {
      this.#crossing = false
      this.#arrive()
    })
  }

  #arrive(): void {
    // Bytes that arrive without the answer getting back are, for the sender, not there: it sends them again, and the
    // receiver drops what it has twice. So what matters is that both ways are open.
    if (this.#kernel.length === 0) return
    if (this.#line.isCut(this, this.peer) || this.#line.isCut(this.peer, this)) return this.#stick()
    this.#stuckSince = undefined
    const piece = this.#kernel.shift() as Piece
    if (this.peer.#dead) {
      this.#kernel = []
      if (typeof piece.what !== 'string') this.#fail('ECONNRESET', 'the other side is gone', this.peer)
    } else this.peer.#accept(piece.what)
    this.#cross(0)
    this.#forgetIfDone()
  }

  #stick(): void {
    if (this.#stuckSince !== undefined) return
    const { schedule, nature } = this.#line
    const since = schedule.now
    this.#stuckSince = since
    schedule.after(nature.breakAfterMs, 'break', () => {
      if (this.#stuckSince !== since) return
      this.#kernel = []
      this.#fail('ETIMEDOUT', 'the other side gives no answer', this)
    })
  }

  #fail(code: string, what: string, from: SimSocket): void {
    const ms = from === this ? 0 : this.#line.latencyMs(from, this)
    this.#line.schedule.after(ms, 'failure', () => {
      this.#ended = true
      this.#kernel = []
      this.#dropWaiting()
      this.#close(systemError(code, `${what}: ${this.remoteAddress}`))
    })
  }

  // Receiving.

  #accept(what: Buffer | 'end' | 'reset'): void {
    if (what === 'reset') {
      this.#received = []
      this.#fail('ECONNRESET', 'the other side broke the connection', this)
    } else if (what === 'end') {
      this.#endReceived = true
      this.#deliverSoon()
    } else if (this.#closing) this.#consumed(what.length)
    else {
      this.#received.push(what)
      if (this.#isReadable && !this.process.frozen) this.#deliver()
      else this.#deliverSoon()
    }
  }

  #deliverSoon(): void {
    if (!this.#isReadable) return
    if (this.#received.length === 0 && !this.#endReceived) return
    this.#deliveryDue = true
    this.#line.schedule.inProcess(this.process, 0, 'deliver', () => {
      this.#deliveryDue = false
      if (!this.#paused && !this.#closing) this.#deliver()
    })
  }

  /** The process reads what comes, and it is not about to already. */
  get #isReadable(): boolean {
    if (this.#deliveryDue || this.#paused || !this.#taken || this.#closing) return false
    return !this.#line.isStalled(this.peer, this)
  }

  #deliver(): void {
    const pieces: Buffer[] = []
    for (let length = 0; this.#received.length > 0 && length < deliveredBytesMax;) {
      const piece = this.#received.shift() as Buffer
      pieces.push(piece)
      length += piece.length
    }
    if (pieces.length > 0) {
      const bytes = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)
      this.#line.schedule.record('received', this.process.name, digestOf(bytes))
      const left = this.#handOn(bytes)
      this.#consumed(bytes.length - left.length)
      if (left.length > 0) this.#received.unshift(left)
      this.#deliverSoon()
    } else if (this.#endReceived) {
      this.#pumpSoon(0)
      this.#close(undefined)
    }
  }

  /** As the system does: what fits goes to where the reader wants it, the rest to memory of the socket's own. Returns what is left. */
  #handOn(bytes: Buffer): Buffer {
    let left = bytes
    while (left.length > 0 && !this.#paused) {
      // After `end` what still comes is dropped.
      const room = this.#state === 'open' ? this.room() : undefined
      const count = Math.min(room?.length ?? left.length, left.length)
      const piece = left.subarray(0, count)
      left = left.subarray(count)
      if (this.#state !== 'open') continue
      if (room === undefined) this.onData(piece)
      else {
        room.set(piece)
        this.onFilled(count)
      }
    }
    return left
  }

  #consumed(bytes: number): void {
    this.peer.#windowUsed -= bytes
    if (this.peer.#waiting.length > 0) this.peer.#pumpSoon(writeDelayMs)
  }

  #close(error: Error | undefined): void {
    if (this.#closing) return
    this.#state = 'closing'
    this.#error = error
    for (const piece of this.#received.splice(0)) this.#consumed(piece.length)
    if (this.#taken) this.#closeSoon()
    this.#forgetIfDone()
  }

  #closeSoon(): void {
    this.#line.schedule.inProcess(this.process, 0, 'close', () => {
      this.#state = 'closed'
      // What still waits goes out, but the process may use its buffers again.
      this.#waiting = this.#waiting.map((written) => ({
        ...written,
        original: Buffer.from(written.original),
      }))
      for (const { callback } of this.#whenSent.splice(0)) callback()
      this.onClose(this.#error)
      this.#forgetIfDone()
    })
  }

  /** The network needs to know it no more. */
  #forgetIfDone(): void {
    const quiet = this.#waiting.length === 0 && this.#kernel.length === 0
    const left = this.#dead || this.#state === 'closed' || (this.#closing && !this.#taken)
    if (quiet && left) this.#line.closed(this)
  }
}
