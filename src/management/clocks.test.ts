import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clockProblems } from './clocks.ts'

const told = (...aheadMs: number[]) =>
  aheadMs.map((ahead, at) => ({ node: `n${at + 1}`, aheadMs: ahead, withinMs: 1 }))

test('clocks that differ by half a second at most are no problem', () => {
  assert.deepEqual(clockProblems([]), [])
  assert.deepEqual(clockProblems(told(0)), [])
  assert.deepEqual(clockProblems(told(0, 300, -150)), [])
})

test('a clock that is wrong is told, also where it is that of the node that was asked', () => {
  assert.deepEqual(clockProblems(told(0, 10, 3200)), [
    'the clock of n3 is 3.2 s ahead, held against that of n2: set it by NTP. ' +
      'No data is in danger by it; times of files and in logs are wrong',
  ])
  const [own, ...others] = clockProblems(told(0, 90_000, 90_010))
  assert.match(own, /^the clock of n1 is 90\.0 s behind, held against that of n2:/)
  assert.deepEqual(others, [])
  assert.equal(clockProblems(told(0, -3200)).length, 1)
})

test('a clock is not blamed for an answer that took long', () => {
  const slow = { node: 'n2', aheadMs: 1200, withinMs: 900 }
  assert.deepEqual(clockProblems([...told(0), slow]), [])
})
