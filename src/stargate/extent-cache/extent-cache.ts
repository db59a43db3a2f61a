/**
 * The extent cache holds the most recently returned reads in this node's memory (R28).
 *
 *  1. A page is named by (group handle, page in the group). Groups are immutable and handles are never used again
 *     in a process, so nothing here ever needs invalidating.
 *  2. Only verified bytes come in.
 *  3. Memory is taken as it fills, up to `limitBytes`, and given back when the limit falls; the limit may be changed
 *     at any time.
 *  4. `get` copies and returns at once: no promise, no allocation.
 *  5. What is lent stays as it is until it was given back, whatever becomes of the limit, and its pages stay here. At most half of the cache is
 *     lent; where the limit falls meanwhile, memory of which something is lent is given back after that.
 */
export interface ExtentCache {
  /**
   * Copies up to `length` bytes to `target` at `at`, from byte `from` of the page on, and says how many: 0 where the page is not here, else
   * all that are asked for of this page. Of the group's pages behind it those that lie behind it in memory, too.
   */
  get(group: GroupHandle, page: number, target: Buffer, at: number, from: number, length: number): number
  /**
   * As `get`, without a copy: a view of the page as it lies in memory, and of those of the group that lie behind it. It is only read, and
   * given back (`giveBack` in large-buffers.ts) once, when nobody reads it any more. Undefined also where too much is lent.
   */
  lend(group: GroupHandle, page: number, from: number, length: number): Buffer | undefined
  /** Takes a copy of so many pages, which lie one after the other in the group, and from `at` on in `source`. */
  put(group: GroupHandle, page: number, source: Buffer, at: number, pages?: number): void
  has(group: GroupHandle, page: number): boolean
  /** How many of so many pages of the group, from this one on, are missing before one is here. They count as misses. */
  missing(group: GroupHandle, page: number, pages: number): number
  limitBytes: number
  statistics(): ExtentCacheStatistics
}

/** A small number that stands for a group id in this process; from 1, below 2^40. */
export type GroupHandle = number

export interface ExtentCacheStatistics {
  readonly limitBytes: number
  readonly usedBytes: number
  readonly pages: number
  readonly hits: number
  readonly misses: number
  /** Of pages that are lent; where the limit fell meanwhile these may be more than `usedBytes`. */
  readonly lentBytes: number
}
