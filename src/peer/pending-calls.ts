/**
 * The calls to one peer on one lane that have no answer yet, and the one timer that ends them.
 *
 * Not a timer for each call: nearly all are answered long before. The timer stands at the earliest deadline that was known
 * when it was set; when it fires it looks at all calls. Where no call is pending none is set again.
 */
import type { Clock, Timer } from '../platform/platform.ts'

export interface Call {
  readonly id: number
  readonly kind: string
  readonly body: readonly Uint8Array[]
  readonly bytes: number
  /** By the clock's `now`. */
  readonly deadline: number
  readonly resolve: (body: Buffer) => void
  readonly reject: (error: Error) => void
  /** False: it waits here. */
  sent: boolean
  /** What had been received when it was sent. */
  mark: number
}

/** The timer fires no more often than this: looking at all calls costs something. */
const lookEveryMs = 20

export class PendingCalls {
  readonly #clock: Clock
  readonly #onExpired: (call: Call) => void
  readonly #calls = new Map<number, Call>()
  #timer: Timer | undefined
  #timerDue = Infinity
  #lastId = 0

  /** `onExpired` is told of a call whose time is over; it is pending no more. */
  constructor(clock: Clock, onExpired: (call: Call) => void) {
    this.#clock = clock
    this.#onExpired = onExpired
  }

  get size(): number {
    return this.#calls.size
  }

  /** A number that no pending call has. */
  nextId(): number {
    do this.#lastId = (this.#lastId + 1) % 2 ** 32
    while (this.#calls.has(this.#lastId))
    return this.#lastId
  }

  add(call: Call): void {
    this.#calls.set(call.id, call)
    if (call.deadline < this.#timerDue) this.#setTimer(call.deadline, this.#clock.now())
  }

  has(call: Call): boolean {
    return this.#calls.get(call.id) === call
  }

  /** The call of that number, pending no more; undefined for one that had no time left. */
  take(id: number): Call | undefined {
    const call = this.#calls.get(id)
    if (call !== undefined) this.#calls.delete(id)
    return call
  }

  takeAll(): Call[] {
    const all = [...this.#calls.values()]
    this.#calls.clear()
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerDue = Infinity
    return all
  }

  #setTimer(due: number, now: number): void {
    this.#timer?.cancel()
    this.#timerDue = due
    this.#timer = this.#clock.after(Math.max(0, due - now), this.#look)
  }

  readonly #look = (): void => {
    this.#timer = undefined
    this.#timerDue = Infinity
    const now = this.#clock.now()
    const expired: Call[] = []
    let earliest = Infinity
    for (const call of this.#calls.values())
      if (call.deadline <= now) expired.push(call)
      else if (call.deadline < earliest) earliest = call.deadline
    if (earliest !== Infinity) this.#setTimer(Math.max(earliest, now + lookEveryMs), now)
    // The first one told of may end them all.
    for (const call of expired) if (this.take(call.id) === call) this.#onExpired(call)
  }
}
