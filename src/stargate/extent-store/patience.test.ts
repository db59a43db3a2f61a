import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HandClock } from '../../platform/clock-for-tests.ts'
import type { Clock } from '../../platform/platform.ts'
import { Patience } from './patience.ts'

/** Moves it, and lets all that rests on it go on. */
async function pass(clock: HandClock, ...to: Parameters<HandClock['moveTo']>): Promise<void> {
  clock.moveTo(...to)
  await new Promise(setImmediate)
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
  await pass(clock, 1900)
  a.answer()
  await pass(clock, 1950)
  assert.deepEqual(told, ['a answered'])
  assert.equal(clock.timers.size, 0)
})

test('each is given up at its own time, and others go on', async () => {
  const { clock, told, begin } = stand()
  begin('a')
  await pass(clock, 1000)
  const b = begin('b')
  begin('c')
  assert.equal(clock.timers.size, 1)
  await pass(clock, 2100)
  assert.deepEqual(told, ['a too late'])
  b.answer()
  await pass(clock, 2200)
  await pass(clock, 3100)
  assert.deepEqual(told, ['a too late', 'b answered', 'c too late'])
  assert.equal(clock.timers.size, 0)
})

test('a process that stood still gives what it waits for a moment more', async () => {
  const { clock, told, begin } = stand()
  const a = begin('a')
  begin('b')
  await pass(clock, 30_000, 'at once')
  assert.deepEqual(told, [])
  a.answer()
  await pass(clock, 30_100)
  await pass(clock, 30_300)
  assert.deepEqual(told, ['a answered', 'b too late'])
})
