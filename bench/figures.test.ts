import assert from 'node:assert/strict'
import { test } from 'node:test'
import { median, medianOf, ratioOf, type Sample } from './figures.ts'

const sample = (target: Sample['target'], round: number, rate: number): Sample => ({
  target,
  job: 'mix-d32',
  round,
  rate,
  meanMicroseconds: 1,
  p99Microseconds: 1,
  longestMs: 1,
  settledSeconds: 0,
})
const ours = { target: 'NDFS', job: 'mix-d32' } as const
const theirs = { target: 'Ceph', job: 'mix-d32' } as const

test('a median is the one in the middle, or between the two there', () => {
  assert.equal(median([]), undefined)
  assert.equal(median([5]), 5)
  assert.equal(median([9, 1, 5]), 5)
  assert.equal(median([9, 1, 5, 6]), 5.5)
})

test('a ratio is the median of the ratios within each round, and not that of the medians', () => {
  const samples = [
    ...[sample('NDFS', 1, 10), sample('Ceph', 1, 1)],
    ...[sample('NDFS', 2, 2), sample('Ceph', 2, 4)],
    ...[sample('NDFS', 3, 6), sample('Ceph', 3, 2)],
  ]
  assert.equal(ratioOf(samples, ours, theirs), 3)
  assert.equal(medianOf(samples, ours), 6)
})

test('a round in which one of both is missing does not count', () => {
  const samples = [sample('NDFS', 1, 10), sample('Ceph', 2, 5)]
  assert.equal(ratioOf(samples, ours, theirs), undefined)
  assert.equal(ratioOf([...samples, sample('NDFS', 2, 20)], ours, theirs), 4)
})

test('a measure that a target does not have gives no ratio', () => {
  const samples = [sample('NDFS', 1, 10), sample('Ceph', 1, 5)]
  assert.equal(ratioOf(samples, ours, theirs, 'processorMicroseconds'), undefined)
})
