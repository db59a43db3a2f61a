/**
 * Whole pages that undrained records put into extent groups: by page, the group, the page in it, and the record's sequence.
 *
 * A stream fills hundreds of MiB before they are drained. As objects its pages would be most of the heap, and collecting garbage most
 * of what the owner does; packed, a MiB of them is one piece of 3.5 KiB that V8 never looks into.
 */
import { assert } from '../../base/assert.ts'
import type { Sequence } from '../../base/ids.ts'
import { pagesPerVBlock } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'

export interface PackedExtent {
  readonly sequence: Sequence
  readonly group: GroupHandle
  /** In the group. */
  readonly page: number
}

/** The pages of one vBlock. */
class Piece {
  /** 0 where there is nothing: records are counted from 1. */
  readonly sequences = new Float64Array(pagesPerVBlock)
  readonly groups = new Int32Array(pagesPerVBlock)
  readonly pages = new Uint16Array(pagesPerVBlock)
  count = 0
}

export class PackedExtents {
  readonly #pieces = new Map<number, Piece>()
  #size = 0

  /** Pages that it holds. */
  get size(): number {
    return this.#size
  }

  get(page: number): PackedExtent | undefined {
    const piece = this.#size === 0 ? undefined : this.#pieces.get(Math.floor(page / pagesPerVBlock))
    const at = page % pagesPerVBlock
    if (piece === undefined || piece.sequences[at] === 0) return undefined
    return { sequence: piece.sequences[at] as Sequence, group: piece.groups[at], page: piece.pages[at] }
  }

  /** `count` pages of the group from `at` on are those of the vDisk from `page` on; records come in sequence. */
  put(sequence: Sequence, page: number, count: number, group: GroupHandle, at: number): void {
    assert(sequence > 0, 'records are counted from 1')
    for (const past = page + count; page < past; page++, at++) {
      const piece = this.#piece(Math.floor(page / pagesPerVBlock))
      const i = page % pagesPerVBlock
      assert(piece.sequences[i] <= sequence, 'records reach the index in sequence')
      if (piece.sequences[i] === 0) {
        piece.count++
        this.#size++
      }
      piece.sequences[i] = sequence
      piece.groups[i] = group
      piece.pages[i] = at
    }
  }

  /** Forgets the page; nothing happens where it isn't here. */
  delete(page: number): void {
    if (this.#size === 0) return
    const vBlock = Math.floor(page / pagesPerVBlock)
    const piece = this.#pieces.get(vBlock)
    const i = page % pagesPerVBlock
    if (piece === undefined || piece.sequences[i] === 0) return
    piece.sequences[i] = 0
    this.#size--
    if (--piece.count === 0) this.#pieces.delete(vBlock)
  }

  /** Forgets the pages from `from` to `past`, not included: as many steps as there are vBlocks there, or here, whichever are fewer. */
  deleteRange(from: number, past: number): void {
    const [first, last] = [Math.floor(from / pagesPerVBlock), Math.floor((past - 1) / pagesPerVBlock)]
    if (last - first < this.#pieces.size)
      for (let vBlock = first; vBlock <= last; vBlock++) this.#deleteIn(vBlock, from, past)
    else for (const vBlock of [...this.#pieces.keys()]) this.#deleteIn(vBlock, from, past)
  }

  /** In no order. */
  *keys(): Generator<number> {
    for (const [vBlock, { sequences }] of this.#pieces)
      for (let i = 0; i < pagesPerVBlock; i++) if (sequences[i] !== 0) yield vBlock * pagesPerVBlock + i
  }

  #deleteIn(vBlock: number, from: number, past: number): void {
    const first = vBlock * pagesPerVBlock
    if (!this.#pieces.has(vBlock)) return
    for (let page = Math.max(from, first); page < Math.min(past, first + pagesPerVBlock); page++)
      this.delete(page)
  }

  #piece(vBlock: number): Piece {
    let piece = this.#pieces.get(vBlock)
    if (piece === undefined) this.#pieces.set(vBlock, (piece = new Piece()))
    return piece
  }
}
