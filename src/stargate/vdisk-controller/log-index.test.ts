import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KiB, pageBytes } from '../../base/units.ts'
import { asSequence, seeded, seeds } from './fixtures.test.ts'
import { type Fragment, fragmentsOldestFirst, LogIndex, needsBase } from './log-index.ts'
import { paint } from './paint.ts'

/** Enough for several ranges of zeros, which are longer than 64. */
const pages = 600
const bytesInAll = pages * pageBytes

/** A group's page, as an extent store would return it. */
const extentPage = (group: number, at: number): Buffer => Buffer.alloc(pageBytes, `${group}/${at};`)

/** A page as a reader puts it together: its base, and what the log says over it. */
function pageOf(index: LogIndex, page: number, base: Buffer): Buffer {
  const bytes = Buffer.alloc(pageBytes)
  const head = index.get(page)
  const fragments = fragmentsOldestFirst(head)
  if (needsBase(head)) base.copy(bytes, 0, page * pageBytes)
  const [oldest] = fragments
  if (oldest?.source.kind === 'extent') {
    extentPage(oldest.source.group, oldest.source.page).copy(bytes)
    fragments.shift()
  }
  paint(bytes, fragments)
  return bytes
}

function lengthOf(head: Fragment | undefined): number {
  let length = 0
  for (let fragment = head; fragment !== undefined; fragment = fragment.older) length++
  return length
}

for (const seed of seeds(1, 2, 3, 4))
  test(`the index of the log reads as the newest bytes of each page, whatever was drained beneath it: seed ${seed} (R12 R25)`, () => {
    const random = seeded(seed)
    const index = new LogIndex()
    /** What reads should show, and what was drained so far: the base beneath the index. */
    const model = Buffer.alloc(bytesInAll)
    const drained = Buffer.alloc(bytesInAll)
    let undrained: { sequence: number; from: number; to: number; apply: (to: Buffer) => void }[] = []
    for (let sequence = 1; sequence <= 400; sequence++) {
      const unit = [1, 512, pageBytes][random(3)]
      const length = Math.max(
        unit,
        Math.floor(random(random(8) === 0 ? bytesInAll : 3 * pageBytes) / unit) * unit,
      )
      const offset = Math.floor(random(bytesInAll - length) / unit) * unit
      const kind = random(10)
      let apply: (to: Buffer) => void
      let from = offset
      let to = offset + length
      if (kind < 6) {
        const bytes = Buffer.alloc(length, `${sequence}:`)
        index.putData(asSequence(sequence), offset, bytes)
        apply = (target) => bytes.copy(target, offset)
      } else if (kind < 9) {
        index.putZero(asSequence(sequence), offset, length)
        apply = (target) => target.fill(0, offset, offset + length)
      } else {
        const page = Math.floor(offset / pageBytes)
        const count = Math.min(pages - page, 1 + random(20))
        const at = random(100)
        index.putExtent(asSequence(sequence), page, count, sequence, at)
        apply = (target) => {
          for (let i = 0; i < count; i++) extentPage(sequence, at + i).copy(target, (page + i) * pageBytes)
        }
        from = page * pageBytes
        to = (page + count) * pageBytes
      }
      apply(model)
      undrained.push({ sequence, from, to, apply })
      if (random(20) === 0) {
        const upTo = sequence - random(Math.min(undrained.length, 30))
        const prefix = undrained.filter((record) => record.sequence <= upTo)
        const touched = new Set<number>()
        for (const record of prefix) {
          record.apply(drained)
          for (let page = Math.floor(record.from / pageBytes); page * pageBytes < record.to; page++)
            touched.add(page)
        }
        undrained = undrained.filter((record) => record.sequence > upTo)
        index.trim(touched, asSequence(upTo))
      }
      for (let look = 0; look < 8; look++) {
        const page = random(pages)
        const expected = model.subarray(page * pageBytes, (page + 1) * pageBytes)
        assert.ok(pageOf(index, page, drained).equals(expected), `page ${page} after record ${sequence}`)
      }
    }
    for (let page = 0; page < pages; page++)
      assert.ok(pageOf(index, page, drained).equals(model.subarray(page * pageBytes, (page + 1) * pageBytes)))
    index.trim(
      Array.from({ length: pages }, (_, page) => page),
      asSequence(400),
    )
    assert.equal(index.size, 0, 'when all is drained nothing is left')
  })

test('sectors written over and over leave a chain no longer than a page has sectors', () => {
  const index = new LogIndex()
  const random = seeded(7)
  for (let sequence = 1; sequence <= 2000; sequence++)
    index.putData(asSequence(sequence), random(8) * 512, Buffer.alloc(512))
  assert.equal(lengthOf(index.get(0)), 8)
  assert.equal(needsBase(index.get(0)), false, 'all sectors together need no base')
  index.putData(asSequence(2001), 0, Buffer.alloc(pageBytes))
  assert.equal(lengthOf(index.get(0)), 1)
})

test('zeroing terabytes takes one entry, and what lay beneath it is forgotten', () => {
  const index = new LogIndex()
  for (let page = 0; page < 1000; page++)
    index.putData(asSequence(page + 1), page * pageBytes, Buffer.alloc(pageBytes, 1))
  index.putZero(asSequence(1001), 100, 2 ** 42)
  // The ragged ends are fragments of their own: the first page and the one past the last whole page.
  assert.equal(index.size, 3)
  assert.equal(index.get(500)?.source.kind, 'zero')
  assert.equal(lengthOf(index.get(0)), 2)
  assert.equal(index.get(2 ** 31)?.source.kind, undefined)
})

test('a fragment keeps its place in the buffer that it came in', () => {
  const index = new LogIndex()
  const bytes = Buffer.from('0123456789'.repeat(1 * KiB))
  index.putData(asSequence(1), 4000, bytes)
  const page = pageOf(index, 1, Buffer.alloc(3 * pageBytes))
  assert.equal(page.subarray(0, 4).toString(), bytes.subarray(96, 100).toString())
})
