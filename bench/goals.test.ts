import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Sample } from './figures.ts'
import { judge, judgeMemory, meets } from './goals.ts'
import type { JobId } from './jobs.ts'

const sample = (target: Sample['target'], job: JobId, rate: number, microseconds?: number): Sample => ({
  target,
  job,
  round: 1,
  rate,
  meanMicroseconds: 1,
  p99Microseconds: 1,
  longestMs: 1,
  settledSeconds: 0,
  ...(microseconds === undefined ? {} : { processorMicroseconds: microseconds }),
})

test('a bound is met at the bound itself, from above or from below', () => {
  assert(meets(12, { atLeast: 12 }))
  assert(!meets(11.9, { atLeast: 12 }))
  assert(meets(0.2, { atMost: 0.2 }))
  assert(!meets(0.21, { atMost: 0.2 }))
})

test('goals are judged by the reference of the same run, and only where it was measured', () => {
  const judged = judge([
    sample('NDFS', 'random-write-d32', 24_000, 100),
    sample('Ceph', 'random-write-d32', 2_000, 1_000),
    sample('raw disk', 'append', 8_000),
  ])
  assert.deepEqual(
    judged.map(({ against, ratio, met }) => ({ against, ratio, met })),
    [
      { against: 'Ceph', ratio: 12, met: true },
      { against: 'raw disk, append, one stream, O_DSYNC', ratio: 3, met: false },
      { against: 'Ceph', ratio: 0.1, met: true },
    ],
  )
  assert.deepEqual(judge([sample('NDFS', 'random-write-d32', 24_000)]), [])
})

test('shifted writes are held against aligned ones of our own', () => {
  const [judged] = judge([
    sample('NDFS', 'random-write-d32', 10_000),
    sample('NDFS', 'shifted-write-d32', 8_000),
  ])
  assert.equal(judged.against, 'NDFS, random write, d32')
  assert.equal(judged.met, false)
})

test('the largest node is held against the largest OSD', () => {
  const of = (...bytes: number[]): Parameters<typeof judgeMemory>[0] =>
    bytes.map((each) => ({ process: 'one', bytes: each, cacheBytes: 0 }))
  assert.equal(judgeMemory(of(100, 240), of(480, 300))?.ratio, 0.5)
  assert.equal(judgeMemory(of(100, 240), of(480, 300))?.met, false)
  assert.equal(judgeMemory(of(100), []), undefined)
})
