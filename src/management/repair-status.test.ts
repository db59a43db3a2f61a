import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from '../base/units.ts'
import { repairProblems, repairStatus, type RepairTold } from './repair-status.ts'

const told = (more: Partial<RepairTold> = {}): RepairTold => ({
  lists: [],
  bytesPerSecond: 0,
  toLookAt: 0,
  ...more,
})
const sentences = (...all: RepairTold[]) => repairProblems(repairStatus(all))

test('nothing is said where all extent groups are full', () => {
  assert.equal(repairStatus([told(), told()]), undefined)
  assert.deepEqual(sentences(told()), [])
})

test('what has fewer copies than asked for is summed up over all nodes, with rate and estimate', () => {
  const list = (groups: number) => [{ copies: 2, endangered: [{ left: 1, groups, bytes: groups * 4 * MiB }] }]
  assert.deepEqual(
    sentences(
      told({ lists: list(5), bytesPerSecond: 15 * MiB }),
      told({ lists: list(7), bytesPerSecond: 20 * MiB }),
    ),
    ['12 extent groups (48MiB) have one copy of two: repair goes on, 35MiB/s, about 2 s left'],
  )
  assert.deepEqual(sentences(told({ lists: list(1) })), [
    '1 extent group (4MiB) has one copy of two: repair begins',
  ])
})

test('the most endangered come first, and what stands in the way is said', () => {
  const lists = [
    { copies: 3, endangered: [{ left: 2, groups: 4, bytes: MiB }], waitsFor: 'no disk has room' },
    { copies: 2, endangered: [{ left: 0, groups: 1, bytes: MiB }] },
  ]
  assert.deepEqual(sentences(told({ lists, toLookAt: 3 })), [
    '1 extent group (1MiB) has no copy of two, 4 extent groups (1MiB) have two copies of three: repair waits for some of them: no disk has room',
    '3 vDisks that no node owns are looked through for copies that are gone',
  ])
})

test('a long repair is told in minutes and hours', () => {
  const lists = [{ copies: 2, endangered: [{ left: 1, groups: 9, bytes: 3600 * MiB }] }]
  assert.match(sentences(told({ lists, bytesPerSecond: 4 * MiB }))[0], /about 15 min left/)
  assert.match(sentences(told({ lists, bytesPerSecond: MiB / 4 }))[0], /about 4 h left/)
})
