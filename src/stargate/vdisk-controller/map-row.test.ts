import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import { pagesPerVBlock } from '../../base/units.ts'
import { seeded, seeds } from './fixtures.test.ts'
import { bad, decodeVBlock, emptyVBlock, encodeVBlock, hole } from './map-row.ts'

const ids = ['7-3-9', '7-3-10'] as GroupId[]
const idOf = (handle: number): GroupId => ids[handle - 1]
const handleOf = (id: GroupId): number => ids.indexOf(id) + 1

/** The picture atop map-row.ts: pages 2 to 4 in a group, page 255 bad, page 8 in the other group, all else holes. */
const byHand = Buffer.from(
  [
    '0100 0200 03000000',
    '0700000000000000 03000000 09000000',
    '0700000000000000 03000000 0a000000',
    '02 02 0000 1000',
    '08 00 0100 ff03',
    'ff 00 ffff 0000',
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
)

test('a row of the map has the bytes of its picture', () => {
  const block = emptyVBlock()
  for (const i of [0, 1, 2]) {
    block.groups[2 + i] = 1
    block.pages[2 + i] = 16 + i
  }
  block.groups[8] = 2
  block.pages[8] = 1023
  block.groups[255] = bad
  assert.deepEqual(encodeVBlock(block, idOf), byHand)
  assert.deepEqual(decodeVBlock(byHand, handleOf), block)
})

for (const seed of seeds(1, 2))
  test(`a row of the map reads back as it was written: seed ${seed}`, () => {
    const random = seeded(seed)
    for (let round = 0; round < 200; round++) {
      const known: GroupId[] = []
      const block = emptyVBlock()
      for (let page = 0; page < pagesPerVBlock;) {
        const count = Math.min(pagesPerVBlock - page, 1 + random(round % 2 === 0 ? 3 : 100))
        const kind = random(4)
        const group = kind === 0 ? hole : kind === 1 ? bad : known.push(`1-1-${known.length}` as GroupId)
        const at = random(1024 - count)
        for (let i = 0; i < count; i++) {
          block.groups[page + i] = group
          block.pages[page + i] = kind < 2 ? 0 : at + i
        }
        page += count
      }
      const read = decodeVBlock(
        encodeVBlock(block, (handle) => known[handle - 1]),
        (id) => known.indexOf(id) + 1,
      )
      assert.deepEqual(read, block)
    }
  })

test('groups stand once in a row, however often they come again, and whatever their numbers', () => {
  // Neighbours in the table that the row is put together in, the largest number among them.
  const handles = Array.from({ length: 60 }, (_, i) => (i < 30 ? 0xffff_fffe - 1024 * i : 1 + 1024 * i))
  const block = emptyVBlock()
  for (let page = 0; page < pagesPerVBlock; page++) {
    block.groups[page] = handles[(page * 7) % handles.length]
    block.pages[page] = (page * 3) % 1024
  }
  const row = encodeVBlock(block, (handle) => `1-2-${handles.indexOf(handle)}` as GroupId)
  assert.equal(row.readUInt16LE(2), handles.length)
  assert.deepEqual(
    decodeVBlock(row, (id) => handles[Number(id.slice(4))]),
    block,
  )
})

test('a row of the map that is damaged is refused, never taken for holes (I5)', () => {
  const damaged = (change: (bytes: Buffer) => Buffer | void): Buffer => {
    const bytes = Buffer.from(byHand)
    return change(bytes) ?? bytes
  }
  for (const [what, bytes] of Object.entries({
    'of another version': damaged((row) => void row.writeUInt16LE(2, 0)),
    'cut short': damaged((row) => row.subarray(0, -1)),
    'with bytes behind it': damaged((row) => Buffer.concat([row, Buffer.alloc(6)])),
    'whose run leaves the vBlock': damaged((row) => void row.writeUInt8(1, row.length - 5)),
    'whose run names no group': damaged((row) => void row.writeUInt16LE(2, 8 + 32 + 2)),
  }))
    assert.throws(
      () => decodeVBlock(bytes, handleOf),
      (error) => hasCode(error, 'DAMAGED_METADATA'),
      what,
    )
  for (let length = 0; length < 8; length++)
    assert.throws(
      () => decodeVBlock(byHand.subarray(0, length), handleOf),
      (error) => hasCode(error, 'DAMAGED_METADATA'),
      `of ${length} bytes`,
    )
})
