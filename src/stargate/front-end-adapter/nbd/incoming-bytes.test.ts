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
