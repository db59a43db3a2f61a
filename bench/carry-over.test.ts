import assert from 'node:assert/strict'
import { test } from 'node:test'
import { carryOver } from './carry-over.ts'
import type { Sample } from './figures.ts'
import type { JobId } from './jobs.ts'

const disk = (job: JobId, rate: number): Sample => ({
  target: 'raw disk',
  job,
  round: 1,
  rate,
  meanMicroseconds: 1,
  p99Microseconds: 1,
  longestMs: 1,
  settledSeconds: 0,
})

test('a figure of another machine is scaled by what the raw disk does here over what it did there', () => {
  const [write] = carryOver([disk('append', 4_750)])
  assert.deepEqual(write, { job: 'random-write-d1', rate: 1_175, scaledBy: 'append' })
})

test('nothing is carried over without a figure of the raw disk', () => {
  assert.deepEqual(carryOver([]), [])
})
