import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { atOnce } from './at-once.ts'

test('works on every item, never on more at once than allowed', async () => {
  const done: number[] = []
  let underWay = 0
  let most = 0
  await atOnce([1, 2, 3, 4, 5], 2, async (item) => {
    most = Math.max(most, ++underWay)
    await sleep(1)
    underWay--
    done.push(item)
  })
  assert.deepEqual(done.sort(), [1, 2, 3, 4, 5])
  assert.equal(most, 2)
})

test('a failure is told when what was begun has ended, and nothing more is begun', async () => {
  const ended: number[] = []
  const failing = atOnce([1, 2, 3, 4], 2, async (item) => {
    if (item === 1) throw new Error('the first')
    await sleep(10)
    ended.push(item)
  })
  await assert.rejects(failing, { message: 'the first' })
  assert.deepEqual(ended, [2])
})

test('nothing to do is done at once', () => atOnce([], 4, () => Promise.reject(new Error('not called'))))
