import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CopyNumber, DiskId, Incarnation, NodeId } from '../../src/base/ids.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import { groupPartition, groupsOfPartition } from '../../src/stargate/vdisk-controller/rows.ts'
import { groupId, groupRow, MedusaStory, stateWith, vdisk } from './checkers-for-tests.ts'
import { DeletionFirst } from './deletion-first.ts'

const id = groupId(1)
const copy = (number: number): CopyRef => ({
  node: 'n1' as NodeId,
  disk: 'n1-hdd-0' as DiskId,
  incarnation: '0' as Incarnation,
  number: number as CopyNumber,
})

/** A vDisk with one whole group that its map names; `remove` says what the checker thinks of that now. */
function begun(): {
  medusa: MedusaStory
  at: (now: number) => void
  remove: (number?: number) => string | undefined
} {
  let now = 0
  let checker: DeletionFirst | undefined
  const medusa: MedusaStory = new MedusaStory((made, shadow) =>
    (checker ??= new DeletionFirst(shadow)).changed(made, now),
  )
  medusa.state(stateWith())
  medusa.plan(id, [copy(1)])
  medusa.group(id, groupRow('a', [copy(1)]))
  medusa.map(id)
  return {
    medusa,
    at: (ms) => (now = ms),
    remove: (number = 1) => checker!.removed('n1', 'hdd', id, number as CopyNumber, now),
  }
}

test('I7: marked, after the grace unlinked, then forgotten', () => {
  const { medusa, at, remove } = begun()
  assert.equal(medusa.map(), undefined)
  assert.equal(medusa.group(id, groupRow('a', [copy(1)], { state: 'deleting' })), undefined)
  at(2_000)
  assert.equal(remove(), undefined)
  medusa.change(groupPartition(id), { drop: true })
  medusa.change(groupsOfPartition(vdisk), { delete: [id] })
  assert.equal(remove(), undefined)
})

test('I7: a copy that the row names, and not as deleted, stays', () => {
  const { medusa, remove } = begun()
  assert.match(
    remove()!,
    /copy 1 of group 1-1-1 is removed from n1, hdd, and its row is whole, and the map names it/,
  )
  medusa.map()
  assert.match(remove()!, /its row is whole$/)
})

test('I7: a copy that the row does not name any more may go', () => {
  const { medusa, remove } = begun()
  assert.equal(medusa.group(id, groupRow('a', [copy(2)])), undefined)
  assert.equal(remove(1), undefined)
  assert.match(remove(2)!, /its row is whole/)
})

test('I7: nothing goes before the grace is over', () => {
  const { medusa, at, remove } = begun()
  medusa.map()
  medusa.group(id, groupRow('a', [copy(1)], { state: 'deleting' }))
  at(1_900)
  assert.match(remove()!, /1900\.0 ms after its row said so/)
})

test('I7: what was planned is no orphan', () => {
  const { medusa, remove } = begun()
  medusa.change(groupPartition(id), { drop: true })
  assert.match(remove()!, /it was planned there, and no row says that it is being deleted/)
})

test('I7: a group that the map names is not marked', () => {
  const { medusa } = begun()
  assert.match(
    medusa.group(id, groupRow('a', [copy(1)], { state: 'deleting' }))!,
    /is being deleted, and the map names it/,
  )
})
