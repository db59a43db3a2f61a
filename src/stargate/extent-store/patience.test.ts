import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Millis } from '../../base/units.ts'
import type { Clock } from '../../platform/platform.ts'
import { Patience } from './patience.ts'

/** Moved by hand; `late`: how long the process stood still at the end of the move. */
class HandClock implements Pick<Clock, 'now' | 'after'> {
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
  async moveTo(time: number, how: 'smoothly' | 'at once' = 'smoothly'): Promise<void> {
    if (how === 'at once') this.time = time
    for (;;) {
      const [next] = [...this.timers].filter(({ due }) => due <= time).sort((x, y) => x.due - y.due)
      if (next === undefined) break
      this.time = Math.max(this.time, next.due)
      this.timers.delete(next)
      next.callback()
    }
    this.time = time
    await new Promise(setImmediate)
  }
}

function stand() {
  const clock = new HandClock()
  const patience = new Patience(clock as unknown as Clock, 2000)
  const told: string[] = []
  const begin = (name: string): { answer: () => void } => {
    const { promise, resolve } = Promise.withResolvers<void>()
    patience
      .within(promise, () => new Error('too late'))
      .then(
        () => told.push(`${name} answered`),
        (error: Error) => told.push(`${name} ${error.message}`),
      )
    return { answer: resolve }
  }
  return { clock, told, begin }
}

test('what is answered in time is answered, and leaves no timer behind', async () => {
  const { clock, told, begin } = stand()
  const a = begin('a')
  await clock.moveTo(1900)
  a.answer()
  await clock.moveTo(1950)
  assert.deepEqual(told, ['a answered'])
  assert.equal(clock.timers.size, 0)
})

test('each is given up at its own time, and others go on', async () => {
  const { clock, told, begin } = stand()
  begin('a')
  await clock.moveTo(1000)
  const b = begin('b')
  begin('c')
  assert.equal(clock.timers.size, 1)
  await clock.moveTo(2100)
  assert.deepEqual(told, ['a too late'])
  b.answer()
  await clock.moveTo(2200)
  await clock.moveTo(3100)
  assert.deepEqual(told, ['a too late', 'b answered', 'c too late'])
  assert.equal(clock.timers.size, 0)
})

test('a process that stood still gives what it waits for a moment more', async () => {
  const { clock, told, begin } = stand()
  const a = begin('a')
  begin('b')
  await clock.moveTo(30_000, 'at once')
  assert.deepEqual(told, [])
  a.answer()
  await clock.moveTo(30_100)
  await clock.moveTo(30_300)
  assert.deepEqual(told, ['a answered', 'b too late'])
})
