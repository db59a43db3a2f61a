/**
 * The answers of one connection on their way to the client.
 *
 *   (none)  → queued    a record is ready: it leaves with all others that are, in one write   [add]
 *   queued  → written   handed to the socket                                                   [flush]
 *   written → (none)    the system has it, or never will                                       (whenSent)
 *   queued  → (none)    the connection is gone                                                 [close]
 *
 * Whatever goes to (none) is given back (large-buffers.ts): memory that was taken for it, and what others have lent.
 *
 * A client that takes nothing for long, though something waits, is told by `stalled`.
 */
import { giveBack } from '../../../base/large-buffers.ts'
import type { Clock, Socket, Timer } from '../../../platform/platform.ts'

export interface AnswerQueueParts {
  readonly socket: Socket
  readonly clock: Clock
  readonly stallMs: number
  /** So many bytes more are held, or, below 0, less. */
  readonly held: (bytes: number) => void
  /** Bytes went out: there may be room. */
  readonly sent: () => void
  /** For `stallMs`, and less than twice that, nothing was taken. */
  readonly stalled: () => void
}

export class AnswerQueue {
  readonly #parts: AnswerQueueParts
  #queued: Buffer[] = []
  #queuedBytes = 0
  #writtenBytes = 0
  /** Grows with all that is sent, and whenever something begins to wait. */
  #progress = 0
  #timer: Timer | undefined
  #closed = false

  constructor(parts: AnswerQueueParts) {
    this.#parts = parts
  }

  /** Bytes that the system has not taken yet. */
  get unsentBytes(): number {
    return this.#queuedBytes + this.#writtenBytes
  }

  /** A record; its buffers stay as they are until they are given back. It leaves with the next `flush`. */
  add(record: readonly Buffer[]): void {
    if (this.#closed) return record.forEach(giveBack)
    if (this.unsentBytes === 0) this.#progress += 1
    let bytes = 0
    for (const buffer of record) {
      this.#queued.push(buffer)
      bytes += buffer.length
    }
    this.#queuedBytes += bytes
    this.#parts.held(bytes)
  }

  flush(): void {
    if (this.#closed || this.#queued.length === 0) return
    const buffers = this.#queued
    const bytes = this.#queuedBytes
    this.#queued = []
    this.#queuedBytes = 0
    this.#writtenBytes += bytes
    // What `write` answers is of no use here: answers are bounded by what a connection may hold.
    this.#parts.socket.write(buffers)
    this.#parts.socket.whenSent(() => {
      for (const buffer of buffers) giveBack(buffer)
      this.#sent(bytes)
    })
    this.#watch()
  }

  /** The connection is gone: nothing is sent any more. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#timer?.cancel()
    this.#parts.held(-this.unsentBytes)
    this.#queued.forEach(giveBack)
    this.#queued = []
    this.#queuedBytes = this.#writtenBytes = 0
  }

  #sent(bytes: number): void {
    if (this.#closed) return
    this.#writtenBytes -= bytes
    this.#progress += 1
    this.#parts.held(-bytes)
    this.#parts.sent()
  }

  /** One timer for many answers: it looks whether anything has moved since it looked last. */
  #watch(): void {
    if (this.#timer !== undefined) return
    const { clock, stallMs, stalled } = this.#parts
    const seen = this.#progress
    this.#timer = clock.after(stallMs, () => {
      this.#timer = undefined
      if (this.#closed || this.unsentBytes === 0) return
      if (this.#progress === seen) stalled()
      else this.#watch()
    })
  }
}
