/** A clock for unit tests that is moved by hand: what is due rings while it passes. */
import type { Millis } from '../base/units.ts'
import type { Clock } from './platform.ts'

export class HandClock implements Pick<Clock, 'now' | 'after'> {
  time = 0
  readonly timers = new Set<{ due: number; callback: () => void }>()

  now(): Millis {
    return this.time as Millis
  }

  after(ms: number, callback: () => void) {
    const timer = { due: this.time + ms, callback }
    this.timers.add(timer)
    return { cancel: () => void this.timers.delete(timer) }
  }

  /** `at once`: the process stood still meanwhile, and all that is due rings late. */
  moveTo(time: number, how: 'smoothly' | 'at once' = 'smoothly'): void {
    if (how === 'at once') this.time = time
    for (;;) {
      const [next] = [...this.timers].filter(({ due }) => due <= time).sort((x, y) => x.due - y.due)
      if (next === undefined) break
      this.time = Math.max(this.time, next.due)
      this.timers.delete(next)
      next.callback()
    }
    this.time = time
  }
}
