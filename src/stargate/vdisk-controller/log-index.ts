/**
 * What the undrained log says of each page: for each page a chain of fragments, newest first, down to the first that
 * covers the whole page. The newest record's bytes win. Draining builds a second one over its prefix alone.
 *
 * A fragment that a newer one covers is dropped at once, so a chain is no longer than a page has distinct edges. Where a page's chain
 * is one page of an extent group it is kept packed, and put together as it is asked for.
 */
import { assert } from '../../base/assert.ts'
import type { Sequence } from '../../base/ids.ts'
import { pageBytes } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { PackedExtents } from './packed-extents.ts'
import { type ZeroRange, ZeroRanges } from './zero-ranges.ts'

export interface Fragment {
  readonly sequence: Sequence
  /** Bytes of the page, from inclusive to exclusive. */
  readonly from: number
  readonly to: number
  readonly source: FragmentSource
  older: Fragment | undefined
}

export type FragmentSource =
  /** The fragment's bytes begin at `at`. */
  | { readonly kind: 'data'; readonly bytes: Buffer; readonly at: number }
  | { readonly kind: 'zero' }
  /** A whole page in an extent group. */
  | { readonly kind: 'extent'; readonly group: GroupHandle; readonly page: number }

const zeroSource: FragmentSource = { kind: 'zero' }

export const coversPage = (fragment: Fragment): boolean => fragment.from === 0 && fragment.to === pageBytes

/** A zero of more pages than this is kept as a range. */
const zeroPagesMax = 64

export class LogIndex {
  /** A page is in one of the two at most. */
  readonly #pages = new Map<number, Fragment>()
  readonly #extents = new PackedExtents()
  /** Where fragments lie above them, these are newer. */
  readonly #ranges = new ZeroRanges()

  /** How much it holds: pages and ranges, for bounds. */
  get size(): number {
    return this.#pages.size + this.#extents.size + this.#ranges.length
  }

  /** Pages that lie in extent groups, whole. */
  get streamPages(): number {
    return this.#extents.size
  }

  /** vBlocks that ranges of zeros touch, about: one for each range that touches it. */
  get zeroVBlocks(): number {
    return this.#ranges.vBlocks
  }

  /** The newest fragment of the page, whose chain says all that the log says of it. */
  get(page: number): Fragment | undefined {
    return (
      this.#pages.get(page) ??
      this.#extentAt(page) ??
      (this.#ranges.length > 0 ? this.#zeroAt(page) : undefined)
    )
  }

  /** All pages that have fragments of their own, in no order. */
  *pages(): Generator<number> {
    yield* this.#pages.keys()
    yield* this.#extents.keys()
  }

  /** The ranges of zeros, sorted, none over another. */
  ranges(): readonly Readonly<ZeroRange>[] {
    return this.#ranges.all()
  }

  putData(sequence: Sequence, offset: number, bytes: Buffer): void {
    let at = 0
    while (at < bytes.length) {
      const from = (offset + at) % pageBytes
      const length = Math.min(pageBytes - from, bytes.length - at)
      this.#put((offset + at - from) / pageBytes, sequence, from, from + length, { kind: 'data', bytes, at })
      at += length
    }
  }

  putZero(sequence: Sequence, offset: number, length: number): void {
    const end = offset + length
    const firstWhole = Math.ceil(offset / pageBytes)
    const pastWhole = Math.floor(end / pageBytes)
    if (pastWhole - firstWhole <= zeroPagesMax) return this.#putZeroPages(sequence, offset, end)
    this.#putZeroPages(sequence, offset, firstWhole * pageBytes)
    this.#putZeroPages(sequence, pastWhole * pageBytes, end)
    if (pastWhole - firstWhole < this.#pages.size)
      for (let page = firstWhole; page < pastWhole; page++) this.#pages.delete(page)
    else
      for (const page of this.#pages.keys())
        if (page >= firstWhole && page < pastWhole) this.#pages.delete(page)
    this.#extents.deleteRange(firstWhole, pastWhole)
    this.#ranges.put(sequence, firstWhole, pastWhole)
  }

  putExtent(sequence: Sequence, page: number, count: number, group: GroupHandle, at: number): void {
    if (this.#ranges.length > 0 || this.#pages.size > 0)
      for (let covered = page; covered < page + count; covered++) {
        const head = this.#pages.get(covered) ?? this.#zeroAt(covered, true)
        assertInSequence(head, sequence)
        this.#pages.delete(covered)
      }
    this.#extents.put(sequence, page, count, group, at)
  }

  /** Forgets what records up to `drained` said; `pages`: all that they touched. */
  trim(pages: Iterable<number>, drained: Sequence): void {
    this.#ranges.trim(drained)
    for (const page of pages) {
      const head = this.#pages.get(page)
      if (head === undefined) {
        const extent = this.#extents.get(page)
        if (extent !== undefined && extent.sequence <= drained) this.#extents.delete(page)
        continue
      }
      if (head.sequence <= drained) {
        this.#pages.delete(page)
        continue
      }
      let kept = head
      while (kept.older !== undefined && kept.older.sequence > drained) kept = kept.older
      kept.older = undefined
    }
  }

  #putZeroPages(sequence: Sequence, offset: number, end: number): void {
    while (offset < end) {
      const from = offset % pageBytes
      const to = Math.min(pageBytes, from + end - offset)
      this.#put((offset - from) / pageBytes, sequence, from, to, zeroSource)
      offset += to - from
    }
  }

  #put(page: number, sequence: Sequence, from: number, to: number, source: FragmentSource): void {
    const head = this.#pages.get(page) ?? this.#extentAt(page) ?? this.#zeroAt(page, true)
    assertInSequence(head, sequence)
    this.#extents.delete(page)
    const whole = from === 0 && to === pageBytes
    let older = whole ? undefined : head
    while (older !== undefined && older.from >= from && older.to <= to) older = older.older
    for (let kept = older; kept?.older !== undefined;) {
      const next: Fragment = kept.older
      if (next.from >= from && next.to <= to) kept.older = next.older
      else kept = next
    }
    this.#pages.set(page, { sequence, from, to, source, older })
  }

  #extentAt(page: number): Fragment | undefined {
    const packed = this.#extents.get(page)
    if (packed === undefined) return undefined
    const { sequence, group, page: at } = packed
    return {
      sequence,
      from: 0,
      to: pageBytes,
      source: { kind: 'extent', group, page: at },
      older: undefined,
    }
  }

  #zeroAt(page: number, touch = false): Fragment | undefined {
    const range = this.#ranges.find(page)
    if (range === undefined) return undefined
    if (touch) range.touched = true
    return { sequence: range.sequence, from: 0, to: pageBytes, source: zeroSource, older: undefined }
  }
}

function assertInSequence(head: Fragment | undefined, sequence: Sequence): void {
  assert(head === undefined || head.sequence <= sequence, 'records reach the index in sequence')
}

/** The fragments of a chain as they are now, oldest first: what a reader keeps over an await. */
export function fragmentsOldestFirst(head: Fragment | undefined): Fragment[] {
  const fragments: Fragment[] = []
  for (let fragment = head; fragment !== undefined; fragment = fragment.older) fragments.push(fragment)
  return fragments.reverse()
}

/** Does the chain say everything of the page, so that what lies beneath does not matter? */
export function needsBase(head: Fragment | undefined): boolean {
  let covered = 0
  const ranges: { from: number; to: number }[] = []
  for (let fragment = head; fragment !== undefined; fragment = fragment.older) {
    if (coversPage(fragment)) return false
    ranges.push(fragment)
  }
  for (const range of ranges.sort((a, b) => a.from - b.from)) {
    if (range.from > covered) return true
    covered = Math.max(covered, range.to)
  }
  return covered < pageBytes
}
