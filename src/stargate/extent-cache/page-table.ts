/**
 * Where each cached page lies: from (group handle, page) to a slot, by open addressing over typed arrays.
 *
 * A slot has its key and its hash in arrays of their own; the table holds slot numbers. So looking up allocates nothing,
 * and taking an entry out moves its followers back (no tombstones: the table is as fast after a year as on its first day).
 */
import { assert } from '../../base/assert.ts'
import { pagesPerGroupMax } from '../../base/units.ts'
import type { GroupHandle } from './extent-cache.ts'

/** Handle and page as one whole number: 40 bits and 10 bits, below 2^53. */
export const keyOf = (group: GroupHandle, page: number): number => group * pagesPerGroupMax + page

function hashOf(key: number): number {
  let hash = Math.imul(key | 0, 0x9e3779b1) ^ Math.imul((key / 0x1_0000_0000) | 0, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return hash ^ (hash >>> 13)
}

export class PageTable {
  /** Slot + 1 in each place; 0 where the place is free. */
  readonly #places: Uint32Array
  readonly #mask: number
  readonly #keys: Float64Array
  readonly #hashes: Int32Array

  /** At most `slots` entries, with slot numbers below it. Memory is touched, and so taken, as they come. */
  constructor(slots: number) {
    // At most half full: a lookup then sees about one and a half places.
    const places = 2 ** Math.ceil(Math.log2(Math.max(2 * slots, 2)))
    this.#places = new Uint32Array(places)
    this.#mask = places - 1
    this.#keys = new Float64Array(slots)
    this.#hashes = new Int32Array(slots)
  }

  /** The slot of this key, or -1. */
  find(key: number): number {
    for (let place = hashOf(key) & this.#mask; ; place = (place + 1) & this.#mask) {
      const slot = this.#places[place] - 1
      if (slot < 0 || this.#keys[slot] === key) return slot
    }
  }

  keyAt(slot: number): number {
    return this.#keys[slot]
  }

  /** The key must not be here, the slot not in use. */
  add(key: number, slot: number): void {
    const hash = hashOf(key)
    let place = hash & this.#mask
    while (this.#places[place] !== 0) place = (place + 1) & this.#mask
    this.#places[place] = slot + 1
    this.#keys[slot] = key
    this.#hashes[slot] = hash
  }

  /** Takes out the entry of a slot in use. */
  remove(slot: number): void {
    let hole = this.#hashes[slot] & this.#mask
    while (this.#places[hole] !== slot + 1) {
      assert(this.#places[hole] !== 0, () => `slot ${slot} is not in the table`)
      hole = (hole + 1) & this.#mask
    }
    // A follower may move into the hole unless its home lies behind the hole: lookups from home must still meet it.
    for (let place = (hole + 1) & this.#mask; this.#places[place] !== 0; place = (place + 1) & this.#mask) {
      const home = this.#hashes[this.#places[place] - 1] & this.#mask
      if (((place - home) & this.#mask) < ((place - hole) & this.#mask)) continue
      this.#places[hole] = this.#places[place]
      hole = place
    }
    this.#places[hole] = 0
  }
}
