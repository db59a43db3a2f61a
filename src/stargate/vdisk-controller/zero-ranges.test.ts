import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pagesPerVBlock } from '../../base/units.ts'
import { asSequence, seeded, seeds } from './fixtures.test.ts'
import { ZeroRanges } from './zero-ranges.ts'

const pages = 700
const vBlockOf = (page: number): number => Math.floor(page / pagesPerVBlock)

for (const seed of seeds(1, 2, 3, 4))
  test(`of each page that reads as zeros the ranges know a sequence by which it is not forgotten too early: seed ${seed}`, () => {
    const random = seeded(seed)
    const ranges = new ZeroRanges()
    /** By page, 0 where nobody did: who said last that it is zeros, and who put something above that since. */
    const said = new Float64Array(pages)
    const above = new Float64Array(pages)
    for (let sequence = 1; sequence <= 2000; sequence++) {
      const page = random(pages)
      const end = Math.min(pages, page + 1 + random(random(4) === 0 ? pages : 20))
      const what = random(10)
      if (what < 6) {
        ranges.put(asSequence(sequence), page, end)
        said.fill(sequence, page, end)
        above.fill(0, page, end)
      } else if (what < 9) {
        const range = ranges.find(page)
        if (range === undefined) continue
        range.touched = true
        above[page] = sequence
      } else {
        const drained = Math.max(0, sequence - random(10))
        ranges.trim(asSequence(drained))
        for (let at = 0; at < pages; at++) {
          const known = ranges.find(at) !== undefined
          if (said[at] > drained) assert(known, `page ${at} is forgotten too early`)
          if (above[at] > 0 && above[at] <= drained) assert(!known, `page ${at} hides what was drained`)
          if (!known) said[at] = above[at] = 0
        }
      }
      for (let at = 0; at < pages; at++) {
        const range = ranges.find(at)
        assert.equal(range !== undefined, said[at] > 0, `page ${at} after ${sequence}`)
        if (range === undefined) continue
        assert(range.page <= at && at < range.end && range.sequence >= said[at])
        if (above[at] > 0) assert(range.sequence <= above[at], 'what lies above it is newer')
      }
      let past = 0
      let vBlocks = 0
      for (const { page: from, end: to } of ranges.all()) {
        assert(from >= past && to > from, 'sorted, and none over another')
        past = to
        vBlocks += vBlockOf(to - 1) - vBlockOf(from) + 1
      }
      assert.equal(ranges.vBlocks, vBlocks)
    }
  })

test('a disk that is discarded piece by piece in any order is one range in the end', () => {
  const ranges = new ZeroRanges()
  const random = seeded(3)
  const order = Array.from({ length: 30_000 }, (_, i) => i)
  for (let i = order.length - 1; i > 0; i--) {
    const other = random(i + 1)
    ;[order[i], order[other]] = [order[other], order[i]]
  }
  order.forEach((piece, i) => ranges.put(asSequence(i + 1), piece * 80, (piece + 1) * 80))
  assert.deepEqual(ranges.all(), [{ page: 0, end: 30_000 * 80, sequence: 30_000, touched: false }])
})
