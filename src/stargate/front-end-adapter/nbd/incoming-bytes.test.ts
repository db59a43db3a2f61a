import { test } from 'node:test'
import assert from 'node:assert/strict'
import { IncomingBytes } from './incoming-bytes.ts'

const taken = (input: IncomingBytes, count: number): string =>
  input.bytes.toString('latin1', input.start, input.start + count)

test('bytes that lie in one piece are a window on it', () => {
  const input = new IncomingBytes()
  const piece = Buffer.from('abcdef')
  input.push(piece)
  assert.equal(input.consume(2), true)
  assert.equal(input.consume(3), true)
  assert.equal(input.bytes, piece)
  assert.equal(taken(input, 3), 'cde')
  assert.equal(input.consume(2), false)
})

test('bytes that lie across pieces are put together, however small the pieces', () => {
  const input = new IncomingBytes()
  for (const letter of 'abcd') {
    input.push(Buffer.from(letter))
    assert.equal(input.consume(5), false)
  }
  input.push(Buffer.from('efg'))
  assert.equal(input.consume(5), true)
  assert.equal(taken(input, 5), 'abcde')
  assert.equal(input.consume(2), true)
  assert.equal(taken(input, 2), 'fg')
})

test('the rest of a long payload is read to where it belongs', () => {
  const input = new IncomingBytes()
  input.push(Buffer.from('header'))
  assert.equal(input.room(), undefined)
  assert.equal(input.consume(4), true)
  assert.equal(input.consume(100_000), false)
  for (let have = 2; have < 100_000;) {
    const room = input.room()
    if (room === undefined) {
      input.push(Buffer.alloc(100_000 - have + 3, 'x'))
      break
    }
    const count = Math.min(30_000, room.length)
    room.fill(120, 0, count)
    input.filled(count)
    have += count
    if (have < 100_000) assert.equal(input.consume(100_000), false)
  }
  assert.equal(input.consume(100_000), true)
  assert.equal(taken(input, 5), 'erxxx')
  assert.ok(input.pinnedBytes >= 100_000)
  assert.equal(input.consume(3), true, 'what came behind it is still there')
  assert.throws(() => input.filled(1), /nobody waits for/)
})

test('skipping drops what there is and tells how much that was', () => {
  const input = new IncomingBytes()
  input.push(Buffer.from('abc'))
  assert.equal(input.skip(2), 2)
  assert.equal(input.skip(5), 1)
  input.push(Buffer.from('defgh'))
  assert.equal(input.skip(4), 4)
  assert.equal(input.consume(1), true)
  assert.equal(taken(input, 1), 'h')
})

test('a piece that comes before the last one is used up is a bug', () => {
  const input = new IncomingBytes()
  input.push(Buffer.from('abc'))
  assert.throws(() => input.push(Buffer.from('d')), /before the last one was used up/)
})
