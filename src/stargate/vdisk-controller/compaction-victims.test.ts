import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MiB, pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import { type SpaceLeft, victimsAmong } from './compaction-victims.ts'
import type { LiveGroups } from './group-ledger.ts'

/** Groups 1, 2, … with so many live pages each. */
const live = (...pages: number[]): LiveGroups => ({
  count: pages.length,
  pages: pages.reduce((sum, one) => sum + one, 0),
  each: () => pages.map((count, i) => [i + 1, count] as const),
})
const many = (count: number, pages: number): number[] => Array.from({ length: count }, () => pages)
const rising = (victims: readonly number[]): number[] => [...victims].sort((a, b) => a - b)
const plenty: SpaceLeft = { taken: 0.5, copyBytesMax: 1024 * MiB }
const none: SpaceLeft = { ...plenty, taken: 1 }

test('a few small groups are left as they are, while there is room', () => {
  assert.deepEqual(victimsAmong(live(), plenty), [])
  assert.deepEqual(victimsAmong(live(...many(16, 1)), plenty), [])
  assert.equal(victimsAmong(live(...many(16, 1)), none).length, 16)
})

test('many small groups become few', () => {
  const victims = victimsAmong(live(...Array.from({ length: 30 }, (_, i) => i + 1)), plenty)
  assert.equal(victims.length, 30)
})

test('full groups are no victims, and neither are those more than half full', () => {
  const full = many(100, pagesPerGroupMax)
  assert.deepEqual(victimsAmong(live(...full), plenty), [])
  const victims = victimsAmong(live(...full, ...many(200, 10)), plenty)
  assert.deepEqual(
    rising(victims),
    many(200, 0).map((_, i) => 101 + i),
  )
})

test('the emptiest come first, and no more than one go of them', () => {
  const pages = Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? 400 : 50))
  const victims = victimsAmong(live(...pages), plenty)
  const copied = victims.reduce((sum, group) => sum + pages[group - 1], 0)
  assert.ok(copied <= 4 * pagesPerGroupMax)
  assert.ok(victims.slice(0, 80).every((group) => pages[group - 1] === 50))
  assert.ok(victims.length >= 2 * Math.ceil(copied / pagesPerGroupMax), 'it gains at least half')
})

test('as room gets scarce less may be dead, and fuller groups are copied', () => {
  const groups = live(...many(1000, 700), ...many(200, pagesPerGroupMax))
  for (const taken of [0, 0.8, 0.85]) assert.deepEqual(victimsAmong(groups, { ...plenty, taken }), [])
  for (const taken of [0.93, 0.97, 1, 2]) {
    const victims = victimsAmong(groups, { ...plenty, taken })
    assert.ok(victims.length > 0 && victims.every((group) => group <= 1000))
    assert.ok(victims.length > Math.ceil((700 * victims.length) / pagesPerGroupMax), 'it gains a group')
  }
  // No more than has to be gained: 1,200 groups may be 1,167 here.
  const few = victimsAmong(groups, { ...plenty, taken: 0.93 })
  assert.ok(few.length < 60, `${few.length} groups are copied`)
  // The longest choice is not always one that gains.
  for (let pages = 500; pages <= 896; pages++)
    assert.ok(victimsAmong(live(...many(1000, pages)), none).length > 0, `${pages} pages`)
  // Nobody copies eight groups to gain less than one.
  assert.deepEqual(victimsAmong(live(...many(1000, 930)), none), [])
})

test('however scarce it is, no more is copied than there is room for', () => {
  const groups = live(...many(1000, 300))
  for (const copyBytesMax of [0, 1, 4 * MiB, 9 * MiB, 100 * MiB]) {
    const victims = victimsAmong(groups, { taken: 1, copyBytesMax })
    assert.ok(300 * victims.length * pageBytes <= copyBytesMax)
    assert.equal(victims.length > 0, copyBytesMax >= 4 * MiB)
  }
})

test('of whatever groups there are, compaction chooses those with the fewest pages, gains by it, and comes to an end', () => {
  const pages = fc.array(fc.integer({ min: 1, max: pagesPerGroupMax }), { maxLength: 300 })
  fc.assert(
    fc.property(pages, fc.double({ min: 0, max: 1, noNaN: true }), (counts, taken) => {
      let groups = counts
      for (let goes = 0; ; goes++) {
        assert.ok(goes <= counts.length, 'each go leaves fewer groups')
        const victims = new Set(victimsAmong(live(...groups), { ...plenty, taken }))
        if (victims.size === 0) return
        const [chosen, left] = [true, false].map((is) => groups.filter((_, i) => victims.has(i + 1) === is))
        assert.ok(Math.max(...chosen) <= Math.min(...left.filter((one) => !chosen.includes(one)), Infinity))
        const copied = chosen.reduce((sum, one) => sum + one, 0)
        const written = Math.ceil(copied / pagesPerGroupMax)
        assert.ok(written < chosen.length)
        groups = [
          ...left,
          ...many(written, 0).map((_, i) => Math.min(pagesPerGroupMax, copied - i * pagesPerGroupMax)),
        ]
      }
    }),
  )
})
