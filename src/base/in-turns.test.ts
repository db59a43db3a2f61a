import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inTurns } from './in-turns.ts'

const clock = { soon: (callback: () => void) => void setImmediate(callback) }

async function happened(count: number, inATurn: number): Promise<string[]> {
  const events: string[] = []
  let isOver = false
  const other = (): void => {
    if (isOver) return
    events.push('other')
    setImmediate(other)
  }
  setImmediate(other)
  const items = Array.from({ length: count }, (_, i) => String(i))
  for await (const some of inTurns(clock, items, inATurn)) events.push(...some)
  isOver = true
  return events
}

test('others have their turn after so many items, and no item is passed over', async () => {
  assert.deepEqual(await happened(5, 2), ['0', '1', 'other', '2', '3', 'other', '4'])
  assert.deepEqual(await happened(4, 2), ['0', '1', 'other', '2', '3'])
  assert.deepEqual(await happened(2, 2), ['0', '1'])
  assert.deepEqual(await happened(0, 2), [])
})

test('whoever has enough ends it', async () => {
  const seen: number[] = []
  for await (const some of inTurns(clock, Float64Array.of(1, 2, 3, 4), 1)) {
    seen.push(...some)
    if (seen.length === 2) break
  }
  assert.deepEqual(seen, [1, 2])
})
