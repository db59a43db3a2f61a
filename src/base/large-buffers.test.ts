import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAligned } from './aligned-memory.ts'
import { giveBack, overwriteWhatIsGivenBack, takeLarge, takePages } from './large-buffers.ts'
import { KiB, MiB } from './units.ts'

test('what is given back is used again, once, whatever view of it is given', () => {
  const first = takeLarge(5 * MiB - 1000)
  giveBack(first.subarray(100, 200))
  giveBack(first)
  const second = takeLarge(5 * MiB)
  const third = takeLarge(5 * MiB)
  assert.equal(second.buffer, first.buffer)
  assert.notEqual(third.buffer, first.buffer)
  assert.equal(second.length, 5 * MiB)
})

test('parts of a MiB are used again too, each for what is about as long', () => {
  for (const bytes of [20 * KiB, 132 * KiB, 200 * KiB]) {
    const first = takeLarge(bytes)
    giveBack(first)
    const longer = takeLarge(bytes + 20 * KiB)
    const again = takeLarge(bytes - 100)
    assert.notEqual(longer.buffer, first.buffer)
    assert.equal(again.buffer, first.buffer)
    assert.equal(again.length, bytes - 100)
  }
})

test('what is small, or of others, is never kept', () => {
  const small = takeLarge(4 * KiB)
  const others = Buffer.allocUnsafeSlow(1 * MiB)
  for (const buffer of [small, others]) giveBack(buffer)
  assert.equal(small.length, 4 * KiB)
  assert.notEqual(takeLarge(1 * MiB).buffer, others.buffer)
})

test('no more is kept than the bound says', () => {
  const buffers = Array.from({ length: 120 }, () => takeLarge(1 * MiB))
  const memory = new Set(buffers.map(({ buffer }) => buffer))
  buffers.forEach(giveBack)
  const again = Array.from({ length: 120 }, () => takeLarge(1 * MiB))
  const reused = again.filter(({ buffer }) => memory.has(buffer)).length
  assert.ok(reused > 60 && reused <= 96, `${reused} were used again`)
})

test('what is large begins on a page, fresh or used before', () => {
  const fresh = takeLarge(3 * MiB)
  giveBack(fresh)
  const again = takeLarge(3 * MiB)
  assert.equal(again.buffer, fresh.buffer)
  for (const buffer of [fresh, again, takeLarge(256 * KiB)]) assert.ok(isAligned(buffer))
  assert.ok(!isAligned(takeLarge(4 * KiB)))
})

test('pages begin on a page, and are used again by whoever takes as many, or nearly', () => {
  const three = takePages(12 * KiB)
  assert.ok(isAligned(three.bytes))
  assert.equal(three.bytes.length, 12 * KiB)
  three.giveBack()
  three.giveBack()
  const four = takePages(16 * KiB)
  three.giveBack()
  const others = takePages(16 * KiB)
  assert.equal(four.bytes.byteOffset, three.bytes.byteOffset)
  assert.notEqual(others.bytes.byteOffset, three.bytes.byteOffset)
  const large = takePages(1 * MiB)
  large.giveBack()
  assert.equal(takePages(1 * MiB).bytes.buffer, large.bytes.buffer)
})

test('what is given back too early is seen where that is asked for', () => {
  overwriteWhatIsGivenBack()
  const buffer = takeLarge(4 * KiB)
  buffer.fill(7)
  giveBack(buffer)
  assert.ok(buffer.every((byte) => byte === 0xdb))
  const pages = takePages(8 * KiB)
  pages.giveBack()
  assert.ok(pages.bytes.every((byte) => byte === 0xdb))
})
