import assert from 'node:assert/strict'
import { test } from 'node:test'
import { GroupLedger } from './group-ledger.ts'
import { bad, emptyVBlock, hole, type VBlock } from './map-row.ts'

/** vBlocks of one partition of the map. */
const vBlocksPerPartition = 1024

function naming(...groups: number[]): VBlock {
  const block = emptyVBlock()
  groups.forEach((group, page) => (block.groups[page] = group))
  return block
}

test('nothing is dead before all of the map was counted (I7)', () => {
  const ledger = new GroupLedger()
  ledger.registered(1)
  assert.deepEqual(ledger.takeDead(10), [])
  ledger.countVBlock(naming(2))
  ledger.countedPartition()
  assert.deepEqual(ledger.takeDead(10), [])
  ledger.countedAll()
  assert.deepEqual(ledger.takeDead(10), [1])
})

test('a group is dead when no entry names it and nobody uses it, and is given out once', () => {
  const ledger = new GroupLedger()
  for (const group of [1, 2, 3, 4]) ledger.registered(group)
  ledger.countVBlock(naming(1, 1, hole, bad))
  ledger.countedPartition()
  ledger.countedAll()
  ledger.pin(2)
  ledger.pin(2)
  assert.deepEqual(ledger.takeDead(1), [3])
  assert.deepEqual(ledger.takeDead(10), [4])
  assert.deepEqual(ledger.takeDead(10), [])
  ledger.unpin(2)
  assert.deepEqual(ledger.takeDead(10), [], 'it is pinned once more')
  ledger.unpin(2)
  ledger.changed(0, 1, 0)
  assert.deepEqual(ledger.takeDead(10), [2], 'group 1 is still named once')
  ledger.changed(0, 1, bad)
  assert.deepEqual(ledger.takeDead(10), [1])
  ledger.freed(1)
  ledger.spared(2)
  assert.deepEqual(
    ledger.takeDead(10),
    [2],
    'what could not be freed is given out again, what was freed never',
  )
  assert.equal(ledger.known, 3)
})

test('groups that can not be freed keep nobody else waiting (seed 2505129210)', () => {
  const ledger = new GroupLedger()
  for (const group of [1, 2, 3]) ledger.registered(group)
  ledger.countedAll()
  const given: number[] = []
  for (let round = 0; round < 3; round++) {
    const [group] = ledger.takeDead(1)
    given.push(group)
    ledger.spared(group)
  }
  assert.deepEqual(given, [1, 2, 3])
})

test('changes during the count are counted once: by the scan where it has yet to come, else by themselves (I7)', () => {
  const ledger = new GroupLedger()
  for (const group of [1, 2, 3]) ledger.registered(group)
  // Before the scan of the first partition: it will see the change.
  ledger.changed(5, hole, 1)
  ledger.countVBlock(naming(1))
  ledger.countedPartition()
  // After it, and before that of the second: the first is counted, the second is not.
  ledger.changed(5, 1, 2)
  ledger.changed(vBlocksPerPartition, hole, 3)
  ledger.countVBlock(naming(3))
  ledger.countedPartition()
  ledger.countedAll()
  assert.deepEqual(ledger.takeDead(10), [1])
  ledger.changed(5, 2, hole)
  ledger.changed(vBlocksPerPartition, 3, hole)
  assert.deepEqual(ledger.takeDead(10).sort(), [2, 3])
})

test('what is being freed is never named or used again: that would be our bug', () => {
  const ledger = new GroupLedger()
  ledger.registered(1)
  ledger.countedAll()
  ledger.takeDead(1)
  assert.throws(() => ledger.changed(0, hole, 1), /named again/)
  assert.throws(() => ledger.pin(1), /not used again/)
  assert.throws(() => ledger.unpin(2), /was pinned/)
  assert.throws(() => ledger.changed(0, 7, hole), /less than never/)
})

test('only groups that nothing else holds are live for compaction', () => {
  const ledger = new GroupLedger()
  ledger.countVBlock(naming(1, 1, 2))
  ledger.countedAll()
  ledger.pin(2)
  const { count, pages, each } = ledger.liveGroups()
  assert.deepEqual([...each()], [[1, 2]])
  assert.deepEqual([count, pages], [2, 3])
  ledger.changed(0, 1, hole)
  assert.equal(ledger.liveGroups().pages, 2)
})
