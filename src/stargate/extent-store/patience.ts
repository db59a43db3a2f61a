/**
 * Operations that are given up when they take too long. One timer for all of them, and none while there are none: reads are many,
 * and hardly one is ever given up.
 */
import type { Clock, Timer } from '../../platform/platform.ts'

/** A timer that rings so late says that this process stood still, and nothing of what it waits for: it waits once more. */
const heldUpMs = 250

export class Patience {
  readonly #clock: Clock
  readonly #ms: number
  /** In the order of their time. */
  readonly #waiting = new Map<() => void, number>()
  #timer: Timer | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** Settles as the operation does, or rejects after the time; the operation goes on then, and whatever it does is nobody's. */
  within<T>(operation: Promise<T>, tooLate: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const give = (): void => reject(tooLate())
      this.#waiting.set(give, this.#clock.now() + this.#ms)
      this.#arm()
      const over = (): void => {
        this.#waiting.delete(give)
        if (this.#waiting.size > 0) return
        this.#timer?.cancel()
        this.#timer = undefined
      }
      operation.then(
        (result) => {
          over()
          resolve(result)
        },
        (error: Error) => {
          over()
          reject(error)
        },
      )
    })
  }

  #arm(): void {
    if (this.#timer !== undefined) return
    const due = this.#waiting.values().next().value ?? 0
    const at = Math.max(due, this.#clock.now())
    this.#timer = this.#clock.after(at - this.#clock.now(), () => this.#ring(at))
  }

  #ring(at: number): void {
    this.#timer = undefined
    const now = this.#clock.now()
    if (now - at > heldUpMs)
      for (const [give, due] of this.#waiting) if (due <= now) this.#waiting.set(give, now + heldUpMs)
    for (const [give, due] of this.#waiting)
      if (due <= now) {
        this.#waiting.delete(give)
        give()
      }
    if (this.#waiting.size > 0) this.#arm()
  }
}
