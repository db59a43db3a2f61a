/**
 * Stretches of whole pages that read as zeros, as the undrained log says: sorted, and none over another. A guest may discard terabytes with one
 * request, or tens of thousands of stretches in any order; neighbours become one where that changes nothing of what a trim forgets.
 */
import type { Sequence } from '../../base/ids.ts'
import { pagesPerVBlock } from '../../base/units.ts'

export interface ZeroRange {
  /** From inclusive to exclusive. */
  readonly page: number
  readonly end: number
  readonly sequence: Sequence
  /** A fragment was put above it since: it keeps its own sequence, by which the two are trimmed apart. */
  touched: boolean
}

export class ZeroRanges {
  #ranges: ZeroRange[] = []
  #vBlocks = 0

  get length(): number {
    return this.#ranges.length
  }

  /** That each of them touches, all together. */
  get vBlocks(): number {
    return this.#vBlocks
  }

  all(): readonly ZeroRange[] {
    return this.#ranges
  }

  find(page: number): ZeroRange | undefined {
    const range = this.#ranges.at(this.#firstPast(page))
    return range !== undefined && range.page <= page && page < range.end ? range : undefined
  }

  /** The newest record says so of these pages: what earlier ones said of them is cut away. */
  put(sequence: Sequence, page: number, end: number): void {
    const ranges = this.#ranges
    const from = this.#firstPast(page)
    let past = from
    while (past < ranges.length && ranges[past].page < end) past++
    const before = past > from && ranges[from].page < page ? { ...ranges[from], end: page } : undefined
    const after = past > from && ranges[past - 1].end > end ? { ...ranges[past - 1], page: end } : undefined
    const pieces = [before, { page, end, sequence, touched: false }, after].filter((one) => one !== undefined)
    this.#vBlocks += vBlocksOf(pieces) - vBlocksOf(ranges.splice(from, past - from, ...pieces))
    const at = from + (before === undefined ? 0 : 1)
    this.#join(at)
    this.#join(at - 1)
  }

  /** Forgets what records up to `drained` said. */
  trim(drained: Sequence): void {
    if (this.#ranges.length === 0) return
    this.#ranges = this.#ranges.filter(({ sequence }) => sequence > drained)
    this.#vBlocks = vBlocksOf(this.#ranges)
  }

  /** Makes one of the range and the next where they meet and nothing lies above them: both are forgotten with the later of their records. */
  #join(at: number): void {
    if (at < 0 || at + 1 >= this.#ranges.length) return
    const [one, next] = [this.#ranges[at], this.#ranges[at + 1]]
    if (one.end !== next.page || one.touched || next.touched) return
    const sequence = one.sequence > next.sequence ? one.sequence : next.sequence
    const joined = { page: one.page, end: next.end, sequence, touched: false }
    this.#vBlocks += vBlocksOf([joined]) - vBlocksOf(this.#ranges.splice(at, 2, joined))
  }

  /** Of the first range that ends behind the page. */
  #firstPast(page: number): number {
    let [low, high] = [0, this.#ranges.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#ranges[middle].end > page) high = middle
      else low = middle + 1
    }
    return low
  }
}

const vBlocksOf = (ranges: readonly ZeroRange[]): number =>
  ranges.reduce(
    (sum, { page, end }) => sum + Math.ceil(end / pagesPerVBlock) - Math.floor(page / pagesPerVBlock),
    0,
  )
