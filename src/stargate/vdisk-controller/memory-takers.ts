/**
 * Two ways to take the bytes of a read out of this node's memory, piece by piece, in the order in which they are read: copied to where they
 * are wanted, or lent as they lie there.
 */
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import { pageBytes } from '../../base/units.ts'
import type { ExtentCache, GroupHandle } from '../extent-cache/extent-cache.ts'
import type { Maybe } from '../io/io.ts'

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

/** Pages of a group that are not in memory, as a piece of a read: from byte `from` of the first one on. */
export interface Missing {
  readonly group: GroupHandle
  readonly page: number
  readonly from: number
  pages: number
  bytes: number
}

/** Below it a read into the memory where the bytes are wanted costs less. */
const missingPagesMin = 64
/** Missing pieces of one read, all of which are read at once. */
const missingMax = 16

/** Lends what lies in the cache, copies what lies elsewhere in memory into memory of the read's own, and notes what is missing. */
export class Lend implements Taker {
  readonly #cache: ExtentCache
  readonly #length: number
  readonly #pieces: (Buffer | Missing)[] = []
  #own: Buffer | undefined
  /** What of `own` is filled, and how much of that belongs to pieces. */
  #filled = 0
  #cut = 0

  constructor(cache: ExtentCache, length: number) {
    this.#cache = cache
    this.#length = length
  }

  /** Takes all that it is asked for. */
  cached(group: GroupHandle, page: number, from: number, length: number): number {
    for (let taken = 0; taken < length;) {
      const at = from + taken
      taken += this.#take(group, page + Math.floor(at / pageBytes), at % pageBytes, length - taken)
    }
    return length
  }

  #take(group: GroupHandle, page: number, from: number, length: number): number {
    const lent = this.#cache.lend(group, page, from, length)
    if (lent !== undefined) {
      this.#cutOwn()
      this.#pieces.push(lent)
      return lent.length
    }
    const pages = this.#cache.missing(group, page, Math.ceil((from + length) / pageBytes))
    if (pages > 0) return this.#miss(group, page, from, pages, Math.min(length, pages * pageBytes - from))
    const bytes = this.#cache.get(group, page, this.#memory(), this.#filled, from, length)
    this.#filled += bytes
    return bytes
  }

  #miss(group: GroupHandle, page: number, from: number, pages: number, bytes: number): number {
    this.#cutOwn()
    const last = this.#pieces.at(-1)
    const isNext =
      last !== undefined && 'group' in last && last.group === group && last.page + last.pages === page
    if (isNext && from === 0 && last.from + last.bytes === last.pages * pageBytes) {
      last.pages += pages
      last.bytes += bytes
    } else this.#pieces.push({ group, page, from, pages, bytes })
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

  /** What was taken, in order, to be given back; `take` brings what is missing. Undefined where that would not pay. */
  pieces(take: (missing: Missing) => Promise<Buffer>): Maybe<readonly Buffer[]> | undefined {
    this.#cutOwn()
    const missing = this.#pieces.filter((piece) => 'group' in piece)
    if (missing.length > missingMax || missing.some(({ pages }) => pages < missingPagesMin)) return undefined
    return missing.length > 0 ? this.#complete(take) : (this.#pieces as Buffer[])
  }

  async #complete(take: (missing: Missing) => Promise<Buffer>): Promise<readonly Buffer[]> {
    const bring = async (piece: Buffer | Missing, index: number): Promise<void> => {
      if (!('group' in piece)) return
      const { from, bytes } = piece
      this.#pieces[index] = (await take(piece)).subarray(from, from + bytes)
    }
    const brought = await Promise.allSettled(this.#pieces.map(bring))
    const failed = brought.find((each) => each.status === 'rejected')
    if (failed === undefined) return this.#pieces as Buffer[]
    this.giveUp()
    throw failed.reason
  }

  /** Nobody gets what was taken. */
  giveUp(): void {
    for (const piece of this.#pieces) if (!('group' in piece)) giveBack(piece)
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
