/**
 * Chance from a seed: the same seed draws the same numbers, on every machine and in every run.
 *
 * sfc32 (Chris Doty-Humphrey's Small Fast Counter): 128 bits of state, passes PractRand, and a few lines long. Each
 * user of chance has a generator of its own, named in its seed, so that a node that draws one number more than before
 * doesn't change the weather of all the others.
 */
import { assert } from '../src/base/assert.ts'
import { crc32c } from '../src/base/crc32c.ts'
import type { Chance } from '../src/platform/platform.ts'

export class SeededChance implements Chance {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number, purpose = '') {
    this.#a = seed >>> 0
    this.#b = Math.floor(seed / 2 ** 32) >>> 0
    this.#c = crc32c(Buffer.from(purpose))
    // Seeds that differ in one bit have drifted apart after a dozen draws.
    for (let i = 0; i < 16; i++) this.#next()
  }

  below(below: number): number {
    assert(below > 0 && below <= 2 ** 32, 'chance is asked for a number out of its range')
    return Math.floor((this.#next() / 2 ** 32) * below)
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.alloc(count)
    for (let at = 0; at < count; at += 4) {
      const drawn = this.#next()
      for (let i = 0; i < 4 && at + i < count; i++) bytes[at + i] = (drawn >>> (8 * i)) & 0xff
    }
    return bytes
  }

  /** From `least` to `most`, with fractions. */
  between(least: number, most: number): number {
    return least + (this.#next() / 2 ** 32) * (most - least)
  }

  /** True in `share` of the draws. */
  happens(share: number): boolean {
    return this.#next() / 2 ** 32 < share
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    this.#c |= 0
    return sum >>> 0
  }
}
