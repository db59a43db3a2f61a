import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asSequence, seeded, seeds } from './fixtures.test.ts'
import { type PackedExtent, PackedExtents } from './packed-extents.ts'

for (const seed of seeds(1, 2, 3))
  test(`packed extents hold what a plain table holds: seed ${seed}`, () => {
    const random = seeded(seed)
    const packed = new PackedExtents()
    const model = new Map<number, PackedExtent>()
    for (let sequence = 1; sequence <= 400; sequence++) {
      const page = random(2000)
      const count = 1 + random(600)
      if (random(3) > 0) {
        packed.put(asSequence(sequence), page, count, sequence % 7, 3)
        for (let i = 0; i < count; i++)
          model.set(page + i, { sequence: asSequence(sequence), group: sequence % 7, page: 3 + i })
      } else if (random(2) > 0) {
        packed.deleteRange(page, page + count)
        for (let i = 0; i < count; i++) model.delete(page + i)
      } else {
        packed.delete(page)
        model.delete(page)
      }
    }
    assert.equal(packed.size, model.size)
    assert.deepEqual(
      [...packed.keys()].sort((a, b) => a - b),
      [...model.keys()].sort((a, b) => a - b),
    )
    for (let page = 0; page < 2700; page++) assert.deepEqual(packed.get(page), model.get(page))
  })
