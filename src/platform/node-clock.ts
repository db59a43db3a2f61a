/**
 * Time by Node.js.
 *
 * `now` is CLOCK_MONOTONIC, which Node.js reads without a system call. It runs on while this process is stopped
 * (SIGSTOP, a cgroup freezer), and stands still only while the whole machine is suspended. A lease asks for a clock
 * that runs on then too: CLOCK_BOOTTIME (m5), for which Node.js has no call that is cheap enough to make for each
 * request. So this is a stated assumption: a server that runs NDFS is never suspended.
 */
import { setTimeout as sleepFor } from 'node:timers/promises'
import { assert } from '../base/assert.ts'
import type { Millis } from '../base/units.ts'
import type { Clock, Timer } from './platform.ts'

/** Node.js turns a longer timeout into one of a millisecond. */
const timeoutMsMax = 2 ** 31 - 1

export const nodeClock: Clock = {
  now: () => performance.now() as Millis,
  wallTime: () => Date.now(),
  after: (ms, callback) => new NodeTimer(performance.now() + ms, callback),
  sleep: async (ms) => {
    const due = performance.now() + ms
    for (let left = ms; left > 0; left = due - performance.now()) await sleepFor(timeoutOf(left))
  },
  soon: (callback) => void setImmediate(callback),
}

const timeoutOf = (left: number): number => Math.min(Math.ceil(left), timeoutMsMax)

class NodeTimer implements Timer {
  readonly #due: number
  readonly #callback: () => void
  #timeout: NodeJS.Timeout

  constructor(due: number, callback: () => void) {
    assert(!Number.isNaN(due), 'a timer without a time')
    this.#due = due
    this.#callback = callback
    this.#timeout = setTimeout(this.#fire, timeoutOf(due - performance.now()))
  }

  cancel(): void {
    clearTimeout(this.#timeout)
  }

  // Node.js counts from the start of the loop's turn, and so may call too early by as long as that turn has lasted.
  readonly #fire = (): void => {
    const left = this.#due - performance.now()
    if (left > 0) this.#timeout = setTimeout(this.#fire, timeoutOf(left))
    else this.#callback()
  }
}
