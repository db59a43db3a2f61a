import assert from 'node:assert/strict'
import { test } from 'node:test'
import { roomFor, steadiness } from './sustained.ts'

const GiB = 1024 ** 3

test('below 60 GiB of free disk the vDisk has 6 GiB, and on a small disk there is none', () => {
  assert.equal(roomFor(200 * GiB)?.vdiskGiB, 16)
  assert.equal(roomFor(60 * GiB)?.vdiskGiB, 16)
  assert.equal(roomFor(59 * GiB)?.vdiskGiB, 6)
  assert.equal(roomFor(20 * GiB), undefined)
  assert.equal(roomFor(200 * GiB, 6)?.vdiskGiB, 6)
})

test('the disks of all nodes fit into what is free', () => {
  for (const freeGiB of [45, 59, 60, 77, 500]) {
    const room = roomFor(freeGiB * GiB)
    assert(room !== undefined && 3 * (8 + room.hddGiB) <= freeGiB - 8, `${freeGiB}: ${JSON.stringify(room)}`)
  }
})

test('the rate after the first ten seconds, and the slowest ten, are told apart', () => {
  const perSecond = [
    ...Array<number>(10).fill(100),
    ...Array<number>(10).fill(20),
    ...Array<number>(20).fill(80),
  ]
  assert.deepEqual(steadiness(perSecond), { first: 100, after: 60, slowest: 20 })
})
