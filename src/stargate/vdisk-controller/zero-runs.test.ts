/** Zeros as trailers say them: in few runs, and by a page that lives long. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { vDiskPage } from '../../base/units.ts'
import { asSequence } from './fixtures.test.ts'
import { bearingPage, united } from './zero-runs.ts'

const run = (page: number, count: number, sequence = 1) => ({
  page: vDiskPage(page),
  count,
  sequence: asSequence(sequence),
})

// Each discard of what was discarded before added a run, and each hand-on went through all of them.
test('zeros that are told again and again stay as few runs as there can be', () => {
  let told = [run(0, 1000)]
  for (let i = 2; i < 50; i++) told = united([...told, run(0, 1000, i), run(1, 999, i)], asSequence(i))
  assert.deepEqual(told, [run(0, 1000, 49)])
  const apart = [run(7, 1), run(0, 3), run(2, 2), run(9, 1), run(4, 1)]
  assert.deepEqual(united(apart, asSequence(5)), [run(0, 5, 5), run(7, 1, 5), run(9, 1, 5)])
  const many = Array.from({ length: 200_000 }, (_, i) => run(2 * i, 1))
  assert.equal(united(many, asSequence(1)).length, 200_000)
})

test('the page that bears zeros is the last one of a run, and always inside the vDisk', () => {
  const pages = 4096
  assert.equal(bearingPage([run(3, 10)], 100 * pages), 12)
  assert.equal(bearingPage([run(3, 1000)], 100 * pages), 99)
  assert.equal(bearingPage([run(200, 10)], 100 * pages), 99)
  assert.equal(bearingPage([], 100 * pages + 1), 100)
  assert.equal(bearingPage([], 0), 0)
})
