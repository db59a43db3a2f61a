import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { test } from 'node:test'
import { collectGarbage, exposeGarbage } from './garbage.ts'

test('garbage is collected at once in a process that asked for it', async () => {
  const garbage = new WeakRef({})
  // What a WeakRef was made of lives until this turn is over.
  await setImmediate()
  exposeGarbage()
  collectGarbage()
  assert.equal(garbage.deref(), undefined)
})
