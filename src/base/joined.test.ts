import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joined } from './joined.ts'

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
