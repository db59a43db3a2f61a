/**
 * The extent cache in memory: pages lie in slabs, which are allocated as the cache fills; CLOCK decides which page goes.
 *
 * Slots are handed out from 0 upward, so the cache is always the slots below `#pages`: a falling limit gives up the
 * pages of the highest slots and drops their slabs. A page that was read since the clock's hand last passed is spared
 * once. So one long scan pushes out what nobody read twice, and each put costs about one step of the hand.
 */
import { assert } from '../../base/assert.ts'
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
  readonly #slabs: Buffer[] = []
  #hand = 0
  #hits = 0
  #misses = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get(group: GroupHandle, page: number, target: Buffer, at: number, from: number, length: number): number {
    const wanted = Math.ceil((from + length) / pageBytes)
    assert(from >= 0 && from < pageBytes && length > 0, 'a read of nothing of a page')
    assert(page + wanted <= pagesPerGroupMax, 'a read past the end of a group')
    assert(at + length <= target.length, 'the target is too small')
    const key = keyOf(group, page)
    const slot = this.#table.find(key)
    if (slot < 0) {
      this.#misses++
      return 0
    }
    const past = this.#pastRun(slot, key, wanted)
    this.#hits += past - slot
    for (let one = slot; one < past; one++) this.#referenced[one] = 1
    const start = offsetInSlab(slot) + from
    const bytes = Math.min(length, (past - slot) * pageBytes - from)
    this.#slabs[slabOf(slot)].copy(target, at, start, start + bytes)
    return bytes
  }

  /** Pages that came one after the other mostly lie so: to see that costs less than to look for each, and one copy less than many. */
  #pastRun(slot: number, key: number, pages: number): number {
    const end = Math.min(slot + pages, this.#pages, (slabOf(slot) + 1) * pagesPerSlab)
    let past = slot + 1
    while (past < end && this.#table.keyAt(past) === key + (past - slot)) past++
    return past
  }

  put(group: GroupHandle, page: number, source: Buffer, at: number): void {
    assert(Number.isSafeInteger(group) && group >= 1 && group < 2 ** 40, () => `no group has handle ${group}`)
    assert(page >= 0 && page < pagesPerGroupMax, () => `no group has a page ${page}`)
    assert(at >= 0 && at + pageBytes <= source.length, 'less than a page to be cached')
    if (this.#slots === 0) return
    const key = keyOf(group, page)
    const present = this.#table.find(key)
    if (present >= 0) {
      // Groups are immutable: it is the same page.
      this.#referenced[present] = 1
      return
    }
    const slot = this.#pages < this.#slots ? this.#newSlot() : this.#evictOne()
    this.#table.add(key, slot)
    this.#referenced[slot] = 0
    source.copy(this.#slabs[slabOf(slot)], offsetInSlab(slot), at, at + pageBytes)
  }

  has(group: GroupHandle, page: number): boolean {
    return this.#table.find(keyOf(group, page)) >= 0
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
    for (const slab of this.#slabs.splice(Math.ceil(kept / pagesPerSlab))) release(slab)
    // The last one may have been cut to the limit, or is to be.
    this.#slabs.forEach((slab, i) => {
      if (slab.length === this.#sizeOfSlab(i)) return
      this.#slabs[i] = Buffer.allocUnsafeSlow(this.#sizeOfSlab(i))
      slab.copy(this.#slabs[i])
      release(slab)
    })
  }

  statistics(): ExtentCacheStatistics {
    return {
      limitBytes: this.#limitBytes,
      usedBytes: this.#pages * pageBytes,
      pages: this.#pages,
      hits: this.#hits,
      misses: this.#misses,
    }
  }

  #newSlot(): number {
    const slot = this.#pages++
    const slab = slabOf(slot)
    // Not zeroed: the system hands out a slab's memory when it is first written to.
    if (slab === this.#slabs.length) this.#slabs.push(Buffer.allocUnsafeSlow(this.#sizeOfSlab(slab)))
    return slot
  }

  #sizeOfSlab(slab: number): number {
    return Math.min(slabBytes, this.#slots * pageBytes - slab * slabBytes)
  }

  #evictOne(): number {
    // Ends within two rounds: the first takes all marks away.
    while (this.#referenced[this.#hand] === 1) {
      this.#referenced[this.#hand] = 0
      this.#hand = (this.#hand + 1) % this.#slots
    }
    const slot = this.#hand
    this.#hand = (this.#hand + 1) % this.#slots
    this.#table.remove(slot)
    return slot
  }
}

/** Nobody has a view of it: what is read is copied. */
function release(slab: Buffer): void {
  ;(slab.buffer as ArrayBuffer).transfer(0)
}
