import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { giveBack } from '../../base/large-buffers.ts'
import { MiB, pageBytes } from '../../base/units.ts'
import { createExtentCache } from './page-cache.ts'
import { keyOf } from './page-table.ts'

/** A page whose every byte tells which page it is. */
function pageFor(group: number, page: number): Buffer {
  const bytes = Buffer.alloc(pageBytes)
  for (let at = 0; at < pageBytes; at += 8) bytes.writeDoubleLE(keyOf(group, page) + 0.5, at)
  return bytes
}

const holds = (cache: ReturnType<typeof createExtentCache>, group: number, page: number): boolean => {
  const target = Buffer.alloc(pageBytes)
  if (cache.get(group, page, target, 0, 0, pageBytes) === 0) return false
  assert.deepEqual(target, pageFor(group, page), `another page's bytes for ${group}/${page}`)
  return true
}

test('the extent cache returns parts of a page at any place of the target', () => {
  const cache = createExtentCache({ limitBytes: MiB })
  const source = Buffer.concat([Buffer.alloc(100), pageFor(7, 3)])
  cache.put(7, 3, source, 100)
  const target = Buffer.alloc(64, 0xee)
  assert.equal(cache.get(7, 3, target, 8, 40, 16), 16)
  assert.deepEqual(target.subarray(8, 24), pageFor(7, 3).subarray(40, 56))
  assert.ok(target.subarray(0, 8).every((byte) => byte === 0xee))
  assert.ok(target.subarray(24).every((byte) => byte === 0xee))
  assert.equal(cache.get(7, 4, target, 0, 0, 16), 0)
  assert.equal(cache.get(8, 3, target, 0, 0, 16), 0)
})

test('the extent cache reads on into the pages that lie behind, as far as they do', () => {
  const cache = createExtentCache({ limitBytes: MiB })
  for (const page of [4, 5, 6, 8, 9, 7, 1023]) cache.put(7, page, pageFor(7, page), 0)
  cache.put(8, 0, pageFor(8, 0), 0)
  const target = Buffer.alloc(8 * pageBytes)
  const group = (...pages: number[]) => Buffer.concat(pages.map((page) => pageFor(7, page)))
  // Page 7 came after 9, and lies behind that.
  assert.equal(cache.get(7, 4, target, 100, 10, 5 * pageBytes), 3 * pageBytes - 10)
  assert.deepEqual(target.subarray(100, 90 + 3 * pageBytes), group(4, 5, 6).subarray(10))
  assert.equal(cache.get(7, 4, target, 0, 10, 2 * pageBytes), 2 * pageBytes)
  assert.deepEqual(target.subarray(0, 2 * pageBytes), group(4, 5, 6).subarray(10, 10 + 2 * pageBytes))
  assert.equal(cache.get(7, 9, target, 0, 0, 2 * pageBytes), pageBytes)
  // What lies behind a group's last page is another group's.
  assert.throws(() => cache.get(7, 1023, target, 0, 0, 2 * pageBytes), /past the end of a group/)
  assert.equal(cache.statistics().hits, 3 + 3 + 1)
})

test('handles that differ only above 32 bits are different groups', () => {
  const cache = createExtentCache({ limitBytes: MiB })
  const groups = [1, 1 + 2 ** 22, 1 + 2 ** 32, 2 ** 40 - 1]
  for (const group of groups) cache.put(group, 1023, pageFor(group, 1023), 0)
  for (const group of groups) assert.ok(holds(cache, group, 1023))
})

test('the extent cache never returns what was not put, nor more than its limit, whatever the order of calls', () => {
  const call = fc.oneof(
    { weight: 20, arbitrary: fc.record({ put: fc.nat(60), page: fc.nat(3) }) },
    { weight: 20, arbitrary: fc.record({ get: fc.nat(60), page: fc.nat(3) }) },
    { weight: 5, arbitrary: fc.record({ putMany: fc.nat(60), pages: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 5, arbitrary: fc.record({ lend: fc.nat(60), page: fc.nat(3) }) },
    { weight: 4, arbitrary: fc.record({ giveBack: fc.nat(8) }) },
    { weight: 1, arbitrary: fc.record({ limitPages: fc.nat(80) }) },
  )
  fc.assert(
    fc.property(fc.array(call, { maxLength: 400 }), (calls) => {
      let limitPages = 32
      const cache = createExtentCache({ limitBytes: limitPages * pageBytes })
      const everPut = new Set<number>()
      let resident = 0
      let limitShrank = false
      const lent: { view: Buffer; wanted: Buffer }[] = []
      for (const step of calls) {
        if ('put' in step) {
          const group = step.put + 1
          const had = cache.has(group, step.page)
          cache.put(group, step.page, pageFor(group, step.page), 0)
          everPut.add(keyOf(group, step.page))
          if (!had && resident < limitPages) resident++
          assert.equal(holds(cache, group, step.page), limitPages > 0, 'what was just put is gone')
        } else if ('get' in step) {
          const group = step.get + 1
          if (holds(cache, group, step.page)) assert.ok(everPut.has(keyOf(group, step.page)))
          else assert.ok(resident === limitPages || !everPut.has(keyOf(group, step.page)) || limitShrank)
        } else if ('putMany' in step) {
          const group = step.putMany + 1
          const pages = Array.from({ length: step.pages }, (_, page) => page)
          const had = pages.filter((page) => cache.has(group, page)).length
          const source = Buffer.concat([Buffer.alloc(7), ...pages.map((page) => pageFor(group, page))])
          cache.put(group, 0, source, 7, step.pages)
          for (const page of pages) everPut.add(keyOf(group, page))
          // Where the cache is full some may push out others that were there before them.
          const { pages: now } = cache.statistics()
          assert.ok(now >= Math.min(limitPages, resident + step.pages - had) && now <= limitPages)
          resident = now
          for (const page of pages) holds(cache, group, page)
        } else if ('lend' in step) {
          const group = step.lend + 1
          const view = cache.lend(group, step.page, 8, 1 + 16 * step.lend)
          if (view !== undefined) lent.push({ view, wanted: pageFor(group, step.page).subarray(8) })
        } else if ('giveBack' in step) {
          const one = lent.splice(step.giveBack % (lent.length + 1), 1).at(0)
          if (one !== undefined) giveBack(one.view)
        } else {
          limitShrank ||= step.limitPages < resident
          limitPages = step.limitPages
          cache.limitBytes = limitPages * pageBytes
          resident = Math.min(resident, limitPages)
        }
        assert.equal(cache.statistics().pages, resident)
        for (const { view, wanted } of lent) assert.deepEqual(view, wanted.subarray(0, view.length))
      }
      for (const { view } of lent) giveBack(view)
      assert.equal(cache.statistics().lentBytes, 0)
    }),
    { seed: 20_261_121, numRuns: 150 },
  )
})

test('a page that is read again outlives pages that are read once', () => {
  const cache = createExtentCache({ limitBytes: 64 * pageBytes })
  for (let page = 0; page < 8; page++) cache.put(1, page, pageFor(1, page), 0)
  for (let page = 0; page < 1000; page++) {
    for (let hot = 0; hot < 8; hot++) assert.ok(holds(cache, 1, hot), `lost page ${hot} in step ${page}`)
    cache.put(2, page, pageFor(2, page), 0)
  }
})

test('what is lent stays as it is until it is given back, and its pages stay in the cache', () => {
  const cache = createExtentCache({ limitBytes: 16 * pageBytes })
  for (let page = 0; page < 16; page++) cache.put(1, page, pageFor(1, page), 0)
  const whole = Buffer.concat(Array.from({ length: 6 }, (_, page) => pageFor(1, page)))
  const first = cache.lend(1, 0, 100, 3 * pageBytes - 200)
  const second = cache.lend(1, 2, 0, 4 * pageBytes)
  assert.ok(first && second)
  assert.equal(cache.lend(2, 0, 0, pageBytes), undefined)
  assert.equal(cache.statistics().lentBytes, 6 * pageBytes)
  for (let page = 0; page < 100; page++) cache.put(2, page, pageFor(2, page), 0)
  assert.deepEqual(first, whole.subarray(100, 3 * pageBytes - 100))
  assert.deepEqual(second, whole.subarray(2 * pageBytes))
  for (let page = 0; page < 6; page++) assert.ok(holds(cache, 1, page))
  giveBack(first)
  assert.equal(cache.statistics().lentBytes, 4 * pageBytes)
  giveBack(second)
  assert.equal(cache.statistics().lentBytes, 0)
  for (let page = 0; page < 100; page++) cache.put(3, page, pageFor(3, page), 0)
  for (let page = 0; page < 6; page++) assert.ok(!holds(cache, 1, page))
  assert.throws(() => giveBack(second), /was given back/)
})

test('half of the cache is never lent: there is room for other pages', () => {
  const cache = createExtentCache({ limitBytes: 16 * pageBytes })
  for (let page = 0; page < 16; page++) cache.put(1, page, pageFor(1, page), 0)
  const lent = Array.from({ length: 16 }, (_, page) => cache.lend(1, page, 0, pageBytes))
  assert.equal(lent.filter((view) => view !== undefined).length, 8)
  for (let page = 0; page < 100; page++) {
    cache.put(2, page, pageFor(2, page), 0)
    assert.ok(holds(cache, 2, page))
  }
  const tiny = createExtentCache({ limitBytes: pageBytes })
  tiny.put(1, 0, pageFor(1, 0), 0)
  assert.equal(tiny.lend(1, 0, 0, pageBytes), undefined)
})

test('memory of which something is lent outlives a lower limit, and is given back after that', () => {
  const cache = createExtentCache({ limitBytes: 130 * MiB })
  const count = (130 * MiB) / pageBytes
  const put = (page: number): void => {
    const group = 1 + Math.floor(page / 1024)
    cache.put(group, page % 1024, pageFor(group, page % 1024), 0)
  }
  for (let page = 0; page < count; page++) put(page)
  const last = 1 + Math.floor((count - 1) / 1024)
  const fromFirst = cache.lend(1, 0, 0, 2 * pageBytes)
  const fromLast = cache.lend(last, 0, 0, 2 * pageBytes)
  assert.ok(fromFirst && fromLast)
  const kept = [pageFor(1, 0), pageFor(last, 0)]
  for (const limitBytes of [70 * MiB, 66 * MiB, 10 * pageBytes, 0, 130 * MiB]) cache.limitBytes = limitBytes
  for (let page = 0; page < count; page++) put(page)
  assert.deepEqual([fromFirst.subarray(0, pageBytes), fromLast.subarray(0, pageBytes)], kept)
  assert.equal(cache.statistics().lentBytes, 4 * pageBytes)
  assert.equal(cache.lend(1, 0, 0, pageBytes), undefined, 'more than half a limit is held beside it')
  giveBack(fromFirst)
  giveBack(fromLast)
  assert.deepEqual([fromFirst.length, fromLast.length], [0, 0])
  assert.equal(cache.statistics().lentBytes, 0)
  const again = cache.lend(1, 0, 0, pageBytes)
  assert.ok(again)
  giveBack(again)
})

// Seed, extent cache: 2 GB of memory by default, changeable.
test('R28: the limit changes at run time; a lower one gives pages back at once, a higher one fills', () => {
  const cache = createExtentCache({ limitBytes: 20 * MiB })
  const pages = (bytes: number) => bytes / pageBytes
  const put = (count: number) => {
    for (let i = 0; i < count; i++)
      cache.put(1 + Math.floor(i / 1024), i % 1024, pageFor(1 + Math.floor(i / 1024), i % 1024), 0)
  }
  put(pages(40 * MiB))
  assert.equal(cache.statistics().usedBytes, 20 * MiB)
  cache.limitBytes = 4 * MiB
  assert.equal(cache.statistics().usedBytes, 4 * MiB)
  let kept = 0
  for (let i = 0; i < pages(40 * MiB); i++) if (holds(cache, 1 + Math.floor(i / 1024), i % 1024)) kept++
  assert.equal(kept, pages(4 * MiB))
  cache.limitBytes = 48 * MiB
  put(pages(40 * MiB))
  assert.equal(cache.statistics().usedBytes, 40 * MiB)
  for (let i = 0; i < pages(40 * MiB); i++) assert.ok(holds(cache, 1 + Math.floor(i / 1024), i % 1024))
  cache.limitBytes = 0
  put(10)
  assert.equal(cache.statistics().pages, 0)
})

test('R28: what a lower limit gives up goes back to the system at once', () => {
  const cache = createExtentCache({ limitBytes: 300 * MiB })
  const page = Buffer.alloc(pageBytes, 1)
  for (let i = 0; i < (300 * MiB) / pageBytes; i++) cache.put(1 + Math.floor(i / 1024), i % 1024, page, 0)
  const full = process.memoryUsage.rss()
  cache.limitBytes = 30 * MiB
  const freed = full - process.memoryUsage.rss()
  assert.ok(freed > 200 * MiB, `of 270 MiB ${Math.round(freed / MiB)} were given back`)
  assert.equal(cache.statistics().usedBytes, 30 * MiB)
})
