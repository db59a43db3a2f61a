/**
 * Two ways to take the bytes of a read out of this node's memory, piece by piece, in the order in which they are read: copied to where they
 * are wanted, or lent as they lie there.
 */
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import type { ExtentCache, GroupHandle } from '../extent-cache/extent-cache.ts'

/** Each call takes the next bytes of the read. */
export interface Taker {
  /** Of a page, from byte `from` on, and of those of the group behind it; says how many of these `length` bytes it took: 0 where the page is not in the cache. */
  cached(group: GroupHandle, page: number, from: number, length: number): number
  logged(bytes: Buffer, at: number, length: number): void
  zeros(length: number): void
}

export class CopyTo implements Taker {
  readonly #cache: ExtentCache
  readonly #target: Buffer
  #at = 0

  constructor(cache: ExtentCache, target: Buffer) {
    this.#cache = cache
    this.#target = target
  }

  cached(group: GroupHandle, page: number, from: number, length: number): number {
    const bytes = this.#cache.get(group, page, this.#target, this.#at, from, length)
    this.#at += bytes
    return bytes
  }

  logged(bytes: Buffer, at: number, length: number): void {
    bytes.copy(this.#target, this.#at, at, at + length)
    this.#at += length
  }

  zeros(length: number): void {
    this.#target.fill(0, this.#at, this.#at + length)
    this.#at += length
  }
}

/** Lends what lies in the cache, and copies all else into memory of the read's own. */
export class Lend implements Taker {
  readonly #cache: ExtentCache
  readonly #length: number
  readonly #pieces: Buffer[] = []
  #own: Buffer | undefined
  /** What of `own` is filled, and how much of that belongs to pieces. */
  #filled = 0
  #cut = 0

  constructor(cache: ExtentCache, length: number) {
    this.#cache = cache
    this.#length = length
  }

  cached(group: GroupHandle, page: number, from: number, length: number): number {
    const lent = this.#cache.lend(group, page, from, length)
    if (lent !== undefined) {
      this.#cutOwn()
      this.#pieces.push(lent)
      return lent.length
    }
    const bytes = this.#cache.get(group, page, this.#memory(), this.#filled, from, length)
    this.#filled += bytes
    return bytes
  }

  logged(bytes: Buffer, at: number, length: number): void {
    bytes.copy(this.#memory(), this.#filled, at, at + length)
    this.#filled += length
  }

  zeros(length: number): void {
    this.#memory().fill(0, this.#filled, this.#filled + length)
    this.#filled += length
  }

  /** All that was taken. Each is to be given back once. */
  pieces(): readonly Buffer[] {
    this.#cutOwn()
    return this.#pieces
  }

  /** Nobody gets what was taken. */
  giveUp(): void {
    for (const piece of this.#pieces) giveBack(piece)
    if (this.#own !== undefined) giveBack(this.#own)
  }

  #memory(): Buffer {
    this.#own ??= takeLarge(this.#length)
    return this.#own
  }

  #cutOwn(): void {
    if (this.#cut === this.#filled) return
    this.#pieces.push(this.#memory().subarray(this.#cut, this.#filled))
    this.#cut = this.#filled
  }
}
