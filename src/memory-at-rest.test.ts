import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from './base/units.ts'
import { MemoryAtRest } from './memory-at-rest.ts'
import type { Clock } from './platform/platform.ts'
import { createAdmissionControl } from './stargate/admission-control/weighted-admission.ts'

/** Time that passes when the test says so; one timer is all that there ever is. */
class StepClock {
  timers: { readonly run: () => void; cancelled: boolean }[] = []
  after(_: number, run: () => void): { cancel(): void } {
    const timer = { run, cancelled: false }
    this.timers.push(timer)
    return { cancel: () => void (timer.cancelled = true) }
  }
  /** As long as one look waits for the next. */
  pass(): void {
    for (const { run, cancelled } of this.timers.splice(0)) if (!cancelled) run()
  }
}

function stage(): {
  clock: StepClock
  work: (what: 'guest' | 'scrub') => void
  released: () => number
  stop: () => void
} {
  const clock = new StepClock()
  const bounds = { outstandingBytesMax: MiB, outstandingMax: 10, waitingMax: 10 }
  const admission = createAdmissionControl(bounds)
  let count = 0
  const memory = new MemoryAtRest(clock as unknown as Clock, admission, () => count++)
  const work = (what: 'guest' | 'scrub'): void => {
    assert.ok(admission.tryEnter(what, 1))
    admission.leave(what, 1)
  }
  return { clock, work, released: () => count, stop: () => memory.stop() }
}

test('memory is released once after work, when there was none for a while', () => {
  const { clock, work, released } = stage()
  assert.equal(clock.timers.length, 0, 'who never worked has nothing to look for')
  for (let i = 0; i < 3; i++) {
    work('guest')
    clock.pass()
    assert.equal(released(), i === 0 ? 1 : i + 1)
  }
  clock.pass()
  assert.equal(released(), 3)
  assert.equal(clock.timers.length, 0, 'a node at rest has no timer')
})

test('as long as something is let in, nothing is released', () => {
  const { clock, work, released } = stage()
  work('guest')
  for (let i = 0; i < 5; i++) {
    work('guest')
    clock.pass()
  }
  assert.equal(released(), 0)
  clock.pass()
  assert.equal(released(), 1)
})

test('scrubbing wakes nobody, and a node that stops looks no more', () => {
  const { clock, work, released, stop } = stage()
  work('scrub')
  assert.equal(clock.timers.length, 0)
  work('guest')
  stop()
  clock.pass()
  assert.equal(released(), 0)
})
