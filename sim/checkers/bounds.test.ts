import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from '../../src/base/units.ts'
import {
  logFault,
  operationsFault,
  operationsMax,
  socketBytesMax,
  socketFault,
  undrainedFault,
} from './bounds.ts'

test('I9: what waits to be sent, and operations under way, are bounded', () => {
  assert.equal(socketFault('n1', 'n2', socketBytesMax), undefined)
  assert.match(socketFault('n1', 'n2', socketBytesMax + 1)!, /from n1 to n2 wait to be sent/)
  assert.equal(operationsFault('n1/1', operationsMax), undefined)
  assert.match(operationsFault('n1/1', operationsMax + 1)!, /operations of files under way/)
})

test('I9: a log keeps to its share of the disk, and what it may take beyond', () => {
  assert.equal(logFault('n1', 32 * MiB, 96 * MiB, 4 * MiB), undefined)
  assert.match(logFault('n1', 33 * MiB, 96 * MiB, 4 * MiB)!, /the log on n1 takes/)
  assert.equal(logFault('n1', 6 * MiB, 6 * MiB, MiB), undefined)
  assert.match(logFault('n1', 7 * MiB, 6 * MiB, MiB)!, /the log on n1 takes/)
})

test('I9: undrained bytes are bounded by node, and by what a node takes over', () => {
  const bounds = { most: 2 * MiB, hosted: 1, requestBytesMax: 1 * MiB }
  assert.equal(undrainedFault('n1', 5 * MiB, bounds), undefined)
  assert.match(undrainedFault('n1', 5 * MiB + 1, bounds)!, /undrained bytes of 1 vDisks/)
})
