import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkInfoOf, type CheckSoFar } from './check.ts'

const soFar = (more: Partial<CheckSoFar>): CheckSoFar => ({
  ...{ id: 'c', node: 'n1', repair: false, startedAt: 1 },
  ...{ vdisks: { total: 4, checked: 1 }, groups: { checked: 30 } },
  ...{ copies: 60, bytes: 4096, files: { files: 0, directories: 0, bytes: 0 } },
  leftOver: { entries: 0, vdisks: 0, told: [] },
  ...{ repaired: 0, counts: {}, findings: [], unfinished: [], stopped: false },
  ...more,
})
const shown = (more: Partial<CheckSoFar> = {}) => {
  const { percent, summary } = checkInfoOf(soFar(more))
  return { percent, summary: summary.replace(/ checked.*/, '') }
}

test('a check says how many percent it has done once all is counted', () => {
  assert.deepEqual(shown(), { percent: undefined, summary: '1 of 4 vDisks' })
  assert.deepEqual(shown({ groups: { checked: 30, total: 96 } }), {
    percent: 31,
    summary: '31 %: 1 of 4 vDisks and 30 of 96 extent groups',
  })
})

test('a check that runs has never done all of it, and one that ended has no percentage', () => {
  const all = { vdisks: { total: 4, checked: 4 }, groups: { checked: 99, total: 96 } }
  assert.equal(shown(all).percent, 99)
  assert.equal(shown({ ...all, endedAt: 2 }).percent, undefined)
  const nothing = { vdisks: { total: 0, checked: 0 }, groups: { checked: 0, total: 0 } }
  assert.equal(shown(nothing).percent, undefined)
})

test('groups that are new since they were counted don’t make it faster than it is', () => {
  assert.equal(
    shown({ vdisks: { total: 100, checked: 0 }, groups: { checked: 500, total: 100 } }).percent,
    50,
  )
})
