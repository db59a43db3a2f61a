import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Found } from './zookeeper-client.ts'
import type { Sent, State, Step } from './zookeeper-changes.ts'
import { outcomeOf } from './zookeeper-changes.ts'
import { bytesOf, floorAtFirst } from './zookeeper-records.ts'

const keyBy = (by: string, version: number, madeBy = '1'): Found => ({
  data: bytesOf({ version: version + 1, by, value: 0 }),
  ...{ version, madeBy, changedBy: '9', session: '0' },
})
const floorBy = (by: string, version: number): Found => ({
  ...keyBy(by, version),
  data: bytesOf({ ...floorAtFirst, by }),
})

const put: Step = { kind: 'put', value: 1 }
const remove: Step = { kind: 'remove' }
const before = floorBy('x', 3)

test('what became of a change whose connection was lost is told by what is there', () => {
  const cases: [sentence: string, sent: Sent, now: State, outcome: ReturnType<typeof outcomeOf>][] = [
    [
      'its name',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: keyBy('me', 5), floor: before },
      'made',
    ],
    [
      'as it was',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: keyBy('x', 4), floor: before },
      'not yet',
    ],
    [
      'another',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: keyBy('y', 5), floor: before },
      'not',
    ],
    [
      'two others',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: keyBy('y', 6), floor: before },
      'unknown',
    ],
    [
      'removed',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: undefined, floor: floorBy('y', 4) },
      'unknown',
    ],
    [
      'removed and made again',
      { step: put, key: keyBy('x', 4), floor: before },
      { key: keyBy('y', 5, '2'), floor: floorBy('y', 4) },
      'unknown',
    ],
    ['made', { step: put, key: undefined, floor: before }, { key: keyBy('me', 0), floor: before }, 'made'],
    ['not made', { step: put, key: undefined, floor: before }, { key: undefined, floor: before }, 'not yet'],
    [
      'made by another',
      { step: put, key: undefined, floor: before },
      { key: keyBy('y', 0), floor: before },
      'not',
    ],
    [
      'made, then changed',
      { step: put, key: undefined, floor: before },
      { key: keyBy('y', 1), floor: before },
      'unknown',
    ],
    [
      'made, or not, and removed',
      { step: put, key: undefined, floor: before },
      { key: undefined, floor: floorBy('y', 4) },
      'unknown',
    ],
    [
      'removed by it',
      { step: remove, key: keyBy('x', 4), floor: before },
      { key: undefined, floor: floorBy('me', 4) },
      'made',
    ],
    [
      'still there',
      { step: remove, key: keyBy('x', 4), floor: before },
      { key: keyBy('x', 4), floor: before },
      'not yet',
    ],
    [
      'changed instead',
      { step: remove, key: keyBy('x', 4), floor: before },
      { key: keyBy('y', 5), floor: before },
      'not',
    ],
    [
      'removed by another',
      { step: remove, key: keyBy('x', 4), floor: before },
      { key: undefined, floor: floorBy('y', 4) },
      'not',
    ],
    [
      'more were removed',
      { step: remove, key: keyBy('x', 4), floor: before },
      { key: undefined, floor: floorBy('y', 5) },
      'unknown',
    ],
  ]
  for (const [sentence, sent, now, outcome] of cases)
    assert.equal(outcomeOf(sent, now, 'me'), outcome, sentence)
})
