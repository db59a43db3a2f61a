/**
 * Reading one hosted vDisk: index, then map, then cache, then extent store (DESIGN section 6).
 *
 * Index and map of a page are looked at in one synchronous step, so that no read mixes an old overlay with a newer base. What is
 * read is told only while this node can prove that it still owns the vDisk (C11): the caller's `prove`, after the bytes are there.
 */
import { assert } from '../../base/assert.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'
import { GiB, pageBytes, pagesPerVBlock, vBlockBytes } from '../../base/units.ts'
import type { ExtentCache } from '../extent-cache/extent-cache.ts'
import type { Maybe, Run } from '../io/io.ts'
import { coversPage, type Fragment, type LogIndex } from './log-index.ts'
import { bad, hole, type VBlock } from './map-row.ts'
import { type PagePlan, planPage } from './page-plan.ts'
import { CopyTo, Lend, type Taker } from './memory-takers.ts'
import type { PageFetch, PageReader } from './page-reader.ts'
import { paint } from './paint.ts'
import type { VDiskMap } from './vdisk-map.ts'

/** Block status looks at no more than this in one request: a client asks again where the answer ends. */
const statusBytesMax = 1 * GiB

export class VDiskReads {
  readonly #vdisk: VDiskId
  readonly #epoch: Epoch
  readonly #index: LogIndex
  readonly #map: VDiskMap
  readonly #cache: ExtentCache
  readonly #reader: PageReader

  constructor(parts: {
    readonly vdisk: VDiskId
    readonly epoch: Epoch
    readonly index: LogIndex
    readonly map: VDiskMap
    readonly cache: ExtentCache
    readonly reader: PageReader
  }) {
    this.#vdisk = parts.vdisk
    this.#epoch = parts.epoch
    this.#index = parts.index
    this.#map = parts.map
    this.#cache = parts.cache
    this.#reader = parts.reader
  }

  /** True where every byte is in the index, a hole, or in the cache: the target is filled. False: it holds anything. */
  fromMemory(offset: number, target: Buffer): boolean {
    return this.#takeFromMemory(offset, target.length, new CopyTo(this.#cache, target))
  }

  /**
   * The bytes as they lie in memory, at once, or with what the disks were read into: to be read only, and each piece to be given back
   * (large-buffers.ts) once. Undefined where `read` is to be asked. Index and map are those of the call; rejects as `read` does.
   */
  lend(offset: number, length: number): Maybe<readonly Buffer[]> | undefined {
    const lend = new Lend(this.#cache, length)
    const isTaken = this.#takeFromMemory(offset, length, lend)
    const lent = isTaken
      ? lend.pieces(({ group, page, pages }) =>
          this.#reader.take(this.#vdisk, this.#epoch, group, page, pages),
        )
      : undefined
    if (lent === undefined) lend.giveUp()
    return lent
  }

  /** Index and map are those of one instant. False: not all of it is in memory. */
  #takeFromMemory(offset: number, length: number, taker: Taker): boolean {
    for (let at = 0; at < length;) {
      const page = Math.floor((offset + at) / pageBytes)
      const bytes = this.#takeNext(page, offset + at - page * pageBytes, length - at, taker)
      if (bytes === 0) return false
      at += bytes
    }
    return true
  }

  /** From there to the page's end, or farther, up to `left`; says how many bytes, 0 where they are not in memory. */
  #takeNext(page: number, from: number, left: number, taker: Taker): number {
    const length = Math.min(pageBytes - from, left)
    const head = this.#index.get(page)
    if (head !== undefined) {
      if (!coversPage(head)) return 0
      const { source } = head
      if (source.kind === 'extent') return taker.cached(source.group, source.page, from, length)
      if (source.kind === 'zero') taker.zeros(length)
      else taker.logged(source.bytes, source.at + from, length)
      return length
    }
    const block = this.#map.peek(Math.floor(page / pagesPerVBlock))
    if (block === undefined) return 0
    const entry = page % pagesPerVBlock
    const group = block.groups[entry]
    if (group === bad) return 0
    if (group === hole) {
      taker.zeros(length)
      return length
    }
    const together = this.#pagesTogether(block, page, Math.ceil((from + left) / pageBytes))
    return taker.cached(group, block.pages[entry], from, Math.min(left, together * pageBytes - from))
  }

  /** How many of these pages lie in their group as they do in the vDisk, one after the other, with nothing over them in the log. */
  #pagesTogether({ groups, pages }: VBlock, page: number, wanted: number): number {
    const entry = page % pagesPerVBlock
    const most = Math.min(wanted, pagesPerVBlock - entry)
    let count = 1
    while (
      count < most &&
      groups[entry + count] === groups[entry] &&
      pages[entry + count] === pages[entry] + count &&
      this.#index.get(page + count) === undefined
    )
      count++
    return count
  }

  /** Fills the target, from wherever the bytes are: index and map of one instant. Rejects when nothing touches the target any more. */
  read(offset: number, target: Buffer): Promise<void> {
    const firstPage = Math.floor(offset / pageBytes)
    const pastPage = Math.ceil((offset + target.length) / pageBytes)
    const missing = this.#missingVBlocks(firstPage, pastPage)
    if (missing.length > 0)
      return Promise.all(missing.map((vBlock) => this.#map.load(vBlock))).then(() =>
        this.read(offset, target),
      )
    if (firstPage * pageBytes === offset && target.length === pageBytes) {
      const { base, at, paint } = this.#plan(firstPage)
      // Nearly every random read: the page comes as it lies there, and nothing is left to be done with it.
      if (base !== hole && paint.length === 0)
        return this.#reader.fetch(this.#vdisk, this.#epoch, [{ group: base, at, target }])
    }
    return this.#readPages(firstPage, pastPage, offset, target)
  }

  async #readPages(firstPage: number, pastPage: number, offset: number, target: Buffer): Promise<void> {
    // From the look above to the fetch below nothing is awaited: index and map are of one instant, and what the log holds may be drained
    // during the fetch, and its memory used again.
    const paintLater: { readonly bytes: Buffer; readonly fragments: readonly Fragment[] }[] = []
    const pages: Buffer[] = []
    const fetches: PageFetch[] = []
    for (let page = firstPage; page < pastPage; page++) {
      const plan = this.#plan(page)
      const begin = page * pageBytes - offset
      const bytes =
        begin >= 0 && begin + pageBytes <= target.length
          ? target.subarray(begin, begin + pageBytes)
          : Buffer.allocUnsafe(pageBytes)
      if (plan.base === hole) {
        bytes.fill(0)
        paint(bytes, plan.paint)
      } else {
        fetches.push({ group: plan.base, at: plan.at, target: bytes })
        if (plan.paint.length > 0) paintLater.push({ bytes, fragments: plan.paint.map(ownCopy) })
      }
      pages.push(bytes)
    }
    if (fetches.length > 0) await this.#reader.fetch(this.#vdisk, this.#epoch, fetches)
    for (const { bytes, fragments } of paintLater) paint(bytes, fragments)
    copyEdge(pages[0], firstPage * pageBytes, offset, target)
    if (pages.length > 1) copyEdge(pages[pages.length - 1], (pastPage - 1) * pageBytes, offset, target)
  }

  /** Runs of what is stored and what reads as zeros, from `offset` on; at most `runsMax`, and perhaps not to the end. */
  async status(offset: number, length: number, runsMax: number): Promise<readonly Run[]> {
    const runs: { length: number; kind: Run['kind'] }[] = []
    const end = offset + Math.min(length, statusBytesMax)
    for (let at = offset; at < end;) {
      const vBlock = Math.floor(at / vBlockBytes)
      const block = await this.#map.loaded(vBlock)
      for (const vBlockEnd = Math.min(end, (vBlock + 1) * vBlockBytes); at < vBlockEnd;) {
        const page = Math.floor(at / pageBytes)
        const next = Math.min(vBlockEnd, (page + 1) * pageBytes)
        const head = this.#index.get(page)
        const zero =
          head === undefined
            ? block.groups[page % pagesPerVBlock] === hole
            : coversPage(head) && head.source.kind === 'zero'
        const kind = zero ? 'zero' : 'data'
        const last = runs.at(-1)
        if (last?.kind === kind) last.length += next - at
        else if (runs.length === runsMax) return runs
        else runs.push({ length: next - at, kind })
        at = next
      }
    }
    return runs
  }

  #plan(page: number): PagePlan {
    return planPage(this.#index.get(page), () => {
      const block = this.#map.peek(Math.floor(page / pagesPerVBlock))
      assert(block !== undefined, 'the map of what is read was found loaded in this very step')
      return { group: block.groups[page % pagesPerVBlock], at: block.pages[page % pagesPerVBlock] }
    })
  }

  #missingVBlocks(firstPage: number, pastPage: number): number[] {
    const missing: number[] = []
    for (let vBlock = Math.floor(firstPage / pagesPerVBlock); vBlock * pagesPerVBlock < pastPage; vBlock++)
      if (this.#map.peek(vBlock) === undefined) missing.push(vBlock)
    return missing
  }
}

/** The fragment with bytes of its own. */
function ownCopy(fragment: Fragment): Fragment {
  const { source, from, to } = fragment
  if (source.kind !== 'data') return fragment
  const bytes = Buffer.from(source.bytes.subarray(source.at, source.at + to - from))
  return { ...fragment, source: { kind: 'data', bytes, at: 0 } }
}

/** A page that the request covers in part was read beside the target. */
function copyEdge(page: Buffer, pageOffset: number, offset: number, target: Buffer): void {
  if (pageOffset >= offset && pageOffset + pageBytes <= offset + target.length) return
  const from = Math.max(0, offset - pageOffset)
  const to = Math.min(pageBytes, offset + target.length - pageOffset)
  page.copy(target, pageOffset + from - offset, from, to)
}
