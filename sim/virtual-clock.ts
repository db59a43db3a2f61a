/**
 * A node's clock in virtual time: it has a rate and a start of its own, and runs on while the node is frozen or down.
 */
import { millis, type Millis } from '../src/base/units.ts'
import type { Clock, Timer } from '../src/platform/platform.ts'
import type { Schedule } from './schedule.ts'
import { never, type SimProcess } from './sim-process.ts'
import type { SeededChance } from './seeded-chance.ts'

/** What the machine's oscillator and its administrator decided. */
export interface ClockNature {
  /** Local milliseconds per true millisecond. DESIGN section 7 assumes that it is within 1 % of 1. */
  readonly rate: number
  readonly startMs: number
  /** How far the wall clock is from true time; it may jump. */
  wallErrorMs: number
}

export function drawClockNature(chance: SeededChance, driftMax: number): ClockNature {
  return {
    rate: 1 + chance.between(-driftMax, driftMax),
    startMs: chance.between(0, 1e8),
    wallErrorMs: chance.between(-5_000, 5_000),
  }
}

/** True time begins at an arbitrary noon. */
const wallStartMs = Date.UTC(2026, 0, 1, 12)
/** Timers of a real loop are late by up to a millisecond, never early. */
const timerLatenessMs = 1

export class VirtualClock implements Clock {
  readonly #schedule: Schedule
  readonly #process: SimProcess
  readonly #nature: ClockNature
  readonly #chance: SeededChance

  constructor(schedule: Schedule, process: SimProcess, nature: ClockNature, chance: SeededChance) {
    this.#schedule = schedule
    this.#process = process
    this.#nature = nature
    this.#chance = chance
  }

  now(): Millis {
    return millis(this.#nature.startMs + this.#schedule.now * this.#nature.rate)
  }

  wallTime(): number {
    return Math.floor(wallStartMs + this.#schedule.now + this.#nature.wallErrorMs)
  }

  after(ms: number, callback: () => void): Timer {
    // The least bit more, so that rounding never lets `now()` show a timer that fired early.
    const trueMs = Math.max(0, ms) / this.#nature.rate + this.#chance.between(1e-6, timerLatenessMs)
    return this.#schedule.inProcess(this.#process, trueMs, 'timer', callback)
  }

  sleep(ms: number): Promise<void> {
    if (!this.#process.alive) return never()
    return new Promise((resolve) => this.after(ms, resolve))
  }

  soon(callback: () => void): void {
    this.#schedule.afterReady(this.#process, callback)
  }
}
