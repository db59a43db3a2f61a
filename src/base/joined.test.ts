import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cut, joined } from './joined.ts'

test('neighbours in memory become one buffer, whatever lies apart stays so, and in its order', () => {
  const memory = Buffer.from('abcdefgh')
  const piece = (from: number, to: number): Buffer => memory.subarray(from, to)
  const other = Buffer.from('xy')
  const told = (...buffers: Buffer[]): string[] => joined(buffers).map(String)
  assert.deepEqual(told(), [])
  assert.deepEqual(told(piece(0, 2), piece(2, 3), piece(3, 8)), ['abcdefgh'])
  assert.deepEqual(told(piece(0, 2), piece(3, 4), piece(4, 5), other, piece(5, 6)), ['ab', 'de', 'xy', 'f'])
  assert.deepEqual(told(piece(2, 4), piece(0, 2)), ['cd', 'ab'])
  assert.equal(joined([piece(0, 2), piece(2, 4)])[0].buffer, memory.buffer)
})

test('a stretch of several buffers is cut out of them without copying', () => {
  const buffers = ['abc', '', 'defg', 'h'].map((text) => Buffer.from(text))
  const told = (from: number, to: number): string[] => cut(buffers, from, to).map(String)
  assert.deepEqual(told(0, 8), ['abc', 'defg', 'h'])
  assert.deepEqual(told(2, 5), ['c', 'de'])
  assert.deepEqual(told(3, 7), ['defg'])
  assert.deepEqual(told(7, 100), ['h'])
  assert.deepEqual(told(8, 100), [])
  assert.equal(cut(buffers, 4, 6)[0].buffer, buffers[2].buffer)
})
