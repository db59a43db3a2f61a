/**
 * The extent cache in memory: pages lie in slabs, which are allocated as the cache fills; CLOCK decides which page goes.
 *
 * Slots are handed out from 0 upward, so the cache is always the slots below `#pages`: a falling limit gives up the
 * pages of the highest slots and drops their slabs. A page that was read since the clock's hand last passed is spared
 * once. So one long scan pushes out what nobody read twice, and each put costs about one step of the hand.
 *
 * Views of what is lent are counted for each page. The hand passes over pages that are lent, and the memory of a slab that is given up goes
 * when none of it is.
 */
import { assert } from '../../base/assert.ts'
import { lendViewsOf } from '../../base/large-buffers.ts'
import { MiB, pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import type { ExtentCache, ExtentCacheStatistics, GroupHandle } from './extent-cache.ts'
import { keyOf, PageTable } from './page-table.ts'

/**
 * More than the C library ever keeps for reuse: each slab is a mapping of its own, so that a lowered limit gives its memory back to the
 * system at once. A small cache is less than one slab; of a large one what is never filled takes no memory.
 */
const slabBytes = 64 * MiB
const pagesPerSlab = slabBytes / pageBytes

const slabOf = (slot: number): number => Math.floor(slot / pagesPerSlab)
const offsetInSlab = (slot: number): number => (slot % pagesPerSlab) * pageBytes

/** Memory for a part of the slots. */
class Slab {
  readonly memory: Buffer
  /** Views that are lent, of each of its pages. */
  readonly #views: Uint32Array
  /** Pages of which any is. */
  lentPages = 0
  /** It belongs to no slots any more: what is to be done when nothing of it is lent. */
  #unused: (() => void) | undefined

  constructor(bytes: number) {
    this.memory = Buffer.allocUnsafeSlow(bytes)
    this.#views = new Uint32Array(bytes / pageBytes)
    lendViewsOf(this.memory.buffer, (view) => this.#givenBack(view))
  }

  isLent(at: number): boolean {
    return this.#views[at / pageBytes] > 0
  }

  /** A view; undefined where half of the slab is lent: the rest is there to be evicted. */
  lend(start: number, bytes: number): Buffer | undefined {
    const first = Math.floor(start / pageBytes)
    const past = Math.ceil((start + bytes) / pageBytes)
    if (2 * (this.lentPages + past - first) > this.#views.length) return undefined
    for (let page = first; page < past; page++) if (this.#views[page]++ === 0) this.lentPages++
    return this.memory.subarray(start, start + bytes)
  }

  #givenBack(view: Uint8Array): void {
    const past = Math.ceil((view.byteOffset + view.length) / pageBytes)
    for (let page = Math.floor(view.byteOffset / pageBytes); page < past; page++) {
      assert(this.#views[page] > 0, 'what the cache has not lent, or not any more, was given back to it')
      if (--this.#views[page] === 0) this.lentPages--
    }
    if (this.lentPages === 0) this.#unused?.()
  }

  /** Its memory goes back to the system, when nothing of it is lent any more. */
  drop(dropped: () => void): void {
    this.#unused = () => {
      ;(this.memory.buffer as ArrayBuffer).transfer(0)
      dropped()
    }
    if (this.lentPages === 0) this.#unused()
  }
}

export function createExtentCache(options: { limitBytes: number }): ExtentCache {
  return new PageCache(options.limitBytes)
}

class PageCache implements ExtentCache {
  #limitBytes = 0
  /** Slots that the limit allows. */
  #slots = 0
  /** Slots in use: those from 0 up to this. */
  #pages = 0
  #table = new PageTable(0)
  /** 1 where the page of the slot was read since the hand passed. */
  #referenced = new Uint8Array(0)
  readonly #slabs: Slab[] = []
  #hand = 0
  /** Slabs that were given up while something of them was lent. */
  readonly #leaving = new Set<Slab>()
  #hits = 0
  #misses = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get(group: GroupHandle, page: number, target: Buffer, at: number, from: number, length: number): number {
    const wanted = pagesWanted(page, from, length)
    assert(at + length <= target.length, 'the target is too small')
    const key = keyOf(group, page)
    const slot = this.#table.find(key)
    if (slot < 0) {
      this.#misses++
      return 0
    }
    const past = this.#pastRun(slot, key, wanted)
    this.#wereRead(slot, past)
    const start = offsetInSlab(slot) + from
    const bytes = Math.min(length, (past - slot) * pageBytes - from)
    this.#slabs[slabOf(slot)].memory.copy(target, at, start, start + bytes)
    return bytes
  }

  lend(group: GroupHandle, page: number, from: number, length: number): Buffer | undefined {
    const wanted = pagesWanted(page, from, length)
    const key = keyOf(group, page)
    const slot = this.#table.find(key)
    if (slot < 0 || this.#isMuchLeaving()) return undefined
    const past = this.#pastRun(slot, key, wanted)
    const bytes = Math.min(length, (past - slot) * pageBytes - from)
    const lent = this.#slabs[slabOf(slot)].lend(offsetInSlab(slot) + from, bytes)
    if (lent !== undefined) this.#wereRead(slot, past)
    return lent
  }

  #wereRead(slot: number, past: number): void {
    this.#hits += past - slot
    for (let one = slot; one < past; one++) this.#referenced[one] = 1
  }

  /** Pages that came one after the other mostly lie so: to see that costs less than to look for each, and one copy less than many. */
  #pastRun(slot: number, key: number, pages: number): number {
    const end = Math.min(slot + pages, this.#pages, (slabOf(slot) + 1) * pagesPerSlab)
    let past = slot + 1
    while (past < end && this.#table.keyAt(past) === key + (past - slot)) past++
    return past
  }

  put(group: GroupHandle, page: number, source: Buffer, at: number, pages = 1): void {
    assert(Number.isSafeInteger(group) && group >= 1 && group < 2 ** 40, () => `no group has handle ${group}`)
    assert(page >= 0 && page + pages <= pagesPerGroupMax, () => `no group has ${pages} pages from ${page} on`)
    assert(at >= 0 && at + pages * pageBytes <= source.length, 'less than a page to be cached')
    if (this.#slots === 0) return
    const key = keyOf(group, page)
    // Slots that come one after the other are filled by one copy: those from `slot` up to `past`, with the pages from `first` on.
    let first = 0
    let slot = 0
    let past = 0
    for (let i = 0; i < pages; i++) {
      const next = this.#slotFor(key + i)
      if (next === past && past > slot && next % pagesPerSlab > 0) {
        past++
        continue
      }
      this.#fill(slot, past, source, at + first * pageBytes)
      first = i
      slot = next
      past = next < 0 ? next : next + 1
    }
    this.#fill(slot, past, source, at + first * pageBytes)
  }

  /** A slot that has this key from now on, and is to be filled. -1: one has it already, and the bytes. */
  #slotFor(key: number): number {
    const present = this.#table.find(key)
    if (present >= 0) {
      // Groups are immutable: it is the same page.
      this.#referenced[present] = 1
      return -1
    }
    const slot = this.#pages < this.#slots ? this.#newSlot() : this.#evictOne()
    this.#table.add(key, slot)
    this.#referenced[slot] = 0
    return slot
  }

  /** Slots of one slab, or none. */
  #fill(slot: number, past: number, source: Buffer, at: number): void {
    if (past <= slot) return
    const { memory } = this.#slabs[slabOf(slot)]
    source.copy(memory, offsetInSlab(slot), at, at + (past - slot) * pageBytes)
  }

  has(group: GroupHandle, page: number): boolean {
    return this.#table.find(keyOf(group, page)) >= 0
  }

  missing(group: GroupHandle, page: number, pages: number): number {
    let count = 0
    while (count < pages && !this.has(group, page + count)) count++
    this.#misses += count
    return count
  }

  get limitBytes(): number {
    return this.#limitBytes
  }

  set limitBytes(bytes: number) {
    assert(Number.isSafeInteger(bytes) && bytes >= 0, () => `a cache of ${bytes} bytes`)
    this.#limitBytes = bytes
    const slots = Math.floor(bytes / pageBytes)
    if (slots === this.#slots) return
    this.#slots = slots
    const kept = Math.min(this.#pages, slots)
    const table = new PageTable(slots)
    for (let slot = 0; slot < kept; slot++) table.add(this.#table.keyAt(slot), slot)
    this.#table = table
    const referenced = new Uint8Array(slots)
    referenced.set(this.#referenced.subarray(0, kept))
    this.#referenced = referenced
    this.#pages = kept
    this.#hand = 0
    for (const slab of this.#slabs.splice(Math.ceil(kept / pagesPerSlab))) this.#giveUp(slab)
    // The last one may have been cut to the limit, or is to be.
    this.#slabs.forEach((slab, i) => {
      if (slab.memory.length === this.#sizeOfSlab(i)) return
      this.#slabs[i] = new Slab(this.#sizeOfSlab(i))
      slab.memory.copy(this.#slabs[i].memory)
      this.#giveUp(slab)
    })
  }

  statistics(): ExtentCacheStatistics {
    return {
      limitBytes: this.#limitBytes,
      usedBytes: this.#pages * pageBytes,
      pages: this.#pages,
      hits: this.#hits,
      misses: this.#misses,
      lentBytes: this.#lentPages() * pageBytes,
    }
  }

  #lentPages(): number {
    let pages = 0
    for (const slab of [...this.#slabs, ...this.#leaving]) pages += slab.lentPages
    return pages
  }

  #newSlot(): number {
    const slot = this.#pages++
    const slab = slabOf(slot)
    // Not zeroed: the system hands out a slab's memory when it is first written to.
    if (slab === this.#slabs.length) this.#slabs.push(new Slab(this.#sizeOfSlab(slab)))
    return slot
  }

  #sizeOfSlab(slab: number): number {
    return Math.min(slabBytes, this.#slots * pageBytes - slab * slabBytes)
  }

  #evictOne(): number {
    // Ends within two rounds: the first takes all marks away, and half of the pages are not lent.
    while (this.#referenced[this.#hand] === 1 || this.#isLent(this.#hand)) {
      this.#referenced[this.#hand] = 0
      this.#hand = (this.#hand + 1) % this.#slots
    }
    const slot = this.#hand
    this.#hand = (this.#hand + 1) % this.#slots
    this.#table.remove(slot)
    return slot
  }

  #isLent(slot: number): boolean {
    return this.#slabs[slabOf(slot)].isLent(offsetInSlab(slot))
  }

  /** Memory of earlier limits that waits for what is lent of it: a client that never reads may make it wait for ever. */
  #isMuchLeaving(): boolean {
    if (this.#leaving.size === 0) return false
    let bytes = 0
    for (const { memory } of this.#leaving) bytes += memory.length
    return 2 * bytes > this.#limitBytes
  }

  #giveUp(slab: Slab): void {
    this.#leaving.add(slab)
    slab.drop(() => this.#leaving.delete(slab))
  }
}

/** How many pages such a read touches. */
function pagesWanted(page: number, from: number, length: number): number {
  const wanted = Math.ceil((from + length) / pageBytes)
  assert(from >= 0 && from < pageBytes && length > 0, 'a read of nothing of a page')
  assert(page + wanted <= pagesPerGroupMax, 'a read past the end of a group')
  return wanted
}
