import assert from 'node:assert/strict'
import { test } from 'node:test'
import { wrongIn, type ChangeSeen, type VersionSeen } from './version-history-for-tests.ts'

const change = (
  id: string,
  expected: number,
  outcome: ChangeSeen['outcome'],
  began: number,
  ended: number,
): ChangeSeen => ({ id, expected, outcome, began, ended })
const saw = (version: number, changeId: string, began: number, ended: number): VersionSeen => ({
  static: { version, changeId },
  began,
  ended,
})

const two = [change('a', 0, 'applied', 0, 10), change('b', 1, 'applied', 20, 30)]

test('a chain that explains all that was seen is right', () => {
  assert.deepEqual(wrongIn(['a', 'b'], two, [saw(0, '', 0, 5), saw(1, 'a', 5, 25), saw(2, 'b', 22, 40)]), [])
})

test('a change of unknown outcome may be made late, or never', () => {
  const lost = change('x', 1, 'unknown', 12, 14)
  assert.deepEqual(wrongIn(['a', 'b'], [...two, lost], []), [])
  assert.deepEqual(wrongIn(['a', 'x'], [two[0], lost], [saw(1, 'a', 50, 60), saw(2, 'x', 70, 80)]), [])
})

test('what breaks the order is found', () => {
  const found = (...given: Parameters<typeof wrongIn>) => wrongIn(...given).length > 0
  assert.ok(found(['a'], two, []), 'an acknowledged change that is gone')
  assert.ok(
    found(['a', 'b'], [two[0], { ...two[1], outcome: 'conflict' }], []),
    'a refused one that was made',
  )
  assert.ok(found(['a', 'b'], two, [saw(1, 'a', 31, 32)]), 'a stale read after an acknowledged change')
  assert.ok(found(['a', 'b'], two, [saw(2, 'b', 21, 22), saw(1, 'a', 23, 24)]), 'reads that go back')
  assert.ok(found(['a', 'b'], two, [saw(2, 'x', 31, 32)]), 'a version of a change that is not in the chain')
  assert.ok(
    found(['a', 'b'], two, [saw(1, 'a', 0, 10), saw(2, 'b', 11, 12)]),
    'a version seen before it was asked for',
  )
  assert.ok(found(['b', 'a'], two, []), 'another order than was asked for')
  assert.ok(found(['a', 'a'], two, []), 'a change that was made twice')
  assert.ok(found(['a', 'b', 'c'], two, []), 'a change that nobody made')
})
