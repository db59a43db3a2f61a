/** Where a task that goes on for ever rests until it is time again, until it is woken, or until it is stopped: then it rests no more. */
import type { Clock } from '../platform/platform.ts'

/** A clock that was put right is noticed by then. */
export const restMsMax = 12 * 60 * 60_000

export class Rest {
  readonly #clock: Clock
  #stopped = false
  #wake: () => void = () => undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get stopped(): boolean {
    return this.#stopped
  }

  wake(): void {
    this.#wake()
  }

  stop(): void {
    this.#stopped = true
    this.#wake()
  }

  /** For so long at most, and never longer than `restMsMax`. */
  for(ms: number): Promise<void> {
    if (this.#stopped) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#clock.after(Math.min(ms, restMsMax), () => this.#wake())
      this.#wake = () => {
        this.#wake = () => undefined
        timer.cancel()
        resolve()
      }
    })
  }
}
