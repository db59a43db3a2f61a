/**
 * The extent cache holds the most recently returned reads in this node's memory (R28).
 *
 *  1. A page is named by (group handle, page in the group). Groups are immutable and handles are never used again
 *     in a process, so nothing here ever needs invalidating.
 *  2. Only verified bytes come in.
 *  3. Memory is taken as it fills, up to `limitBytes`, and given back when the limit falls; the limit may be changed
 *     at any time.
 *  4. `get` copies and returns at once: no promise, no allocation.
 */
export interface ExtentCache {
  /**
   * Copies up to `length` bytes to `target` at `at`, from byte `from` of the page on, and says how many: 0 where the page is not here, else
   * all that are asked for of this page. Of the group's pages behind it those that lie behind it in memory, too.
   */
  get(group: GroupHandle, page: number, target: Buffer, at: number, from: number, length: number): number
  /** Takes a copy of the page that begins at `at` in `source`. */
  put(group: GroupHandle, page: number, source: Buffer, at: number): void
  has(group: GroupHandle, page: number): boolean
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
}
