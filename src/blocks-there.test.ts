import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BlocksThere } from './blocks-there.ts'

class Disks {
  blocks: string[] = ['a', 'b']
  readonly there = new BlocksThere(
    () => this.blocks.map((block) => ({ block })),
    () => 2,
  )

  now(...blocks: string[]): boolean {
    this.blocks = blocks
    return this.there.changed()
  }
}

test('a block that comes is news where there were fewer than copies, and none is before all was heard', () => {
  const disks = new Disks()
  assert.equal(disks.now('a'), false)
  assert.equal(disks.now('a', 'b'), false, 'it has only begun')
  disks.there.begin()
  assert.equal(disks.now('a', 'b', 'c'), false, 'two copies lay in two blocks before')
  assert.equal(disks.now('a'), false)
  assert.equal(disks.there.mayBeMisplaced, false)
  assert.equal(disks.now('a', 'b'), true)
  assert.equal(disks.there.mayBeMisplaced, true)
  assert.deepEqual([...disks.there.now], ['a', 'b'])
})

test('a node that is in another block now is always news', () => {
  const disks = new Disks()
  disks.there.begin()
  assert.equal(disks.there.changed(), false)
  assert.equal(disks.there.changed(true), true)
})
