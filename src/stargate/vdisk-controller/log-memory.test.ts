import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dropKept } from '../../base/large-buffers.ts'
import { KiB, MiB } from '../../base/units.ts'
import { LogMemory } from './log-memory.ts'

const payload = (byte: number): Buffer => Buffer.alloc(4 * KiB, byte)

test('what is kept is a copy, good until it is drained', () => {
  const memory = new LogMemory()
  const given = payload(1)
  const kept = memory.keep(1, given)
  given.fill(9)
  assert.ok(kept.equals(payload(1)))
  const all = Array.from({ length: 200 }, (_, i) => memory.keep(2 + i, payload(i)))
  memory.drained(100)
  for (let i = 99; i < all.length; i++) assert.ok(all[i].equals(payload(i)), `record ${2 + i}`)
})

test('memory is used again when all that it holds was drained, and not before', () => {
  dropKept()
  const memory = new LogMemory()
  const used = new Set<ArrayBufferLike>()
  let sequence = 0
  for (let turn = 0; turn < 50; turn++) {
    for (let i = 0; i < 256; i++) used.add(memory.keep(++sequence, payload(turn)).buffer)
    if (turn > 0) memory.drained(sequence - 256)
  }
  assert.ok(used.size <= 20, `${used.size} slabs for a MiB that is drained and one that is written`)
})

test('what is abandoned is never used again, nor what is kept after it before its own drain', () => {
  dropKept()
  const memory = new LogMemory()
  const abandoned = memory.keep(1, payload(1))
  memory.abandon()
  const after = memory.keep(2, payload(2))
  memory.drained(1)
  const next = memory.keep(3, payload(3))
  memory.drained(3)
  const last = memory.keep(4, payload(4))
  assert.ok(abandoned.equals(payload(1)))
  assert.equal(next.buffer, after.buffer)
  assert.equal(last.buffer, after.buffer)
  assert.notEqual(last.buffer, abandoned.buffer)
})

test('a long payload stays where it came', () => {
  const memory = new LogMemory()
  const long = Buffer.alloc(1 * MiB)
  assert.equal(memory.keep(1, long), long)
})
