/** Checksums of pages: made before a page leaves its owner, checked after it was read, wherever from (I5). */
import { crc32c, crc32cOfPages } from '../../base/crc32c.ts'
import { pageBytes } from '../../base/units.ts'

/** A run of pages of one read, counted from its first page. */
export interface PageRun {
  readonly first: number
  readonly count: number
}

/** So many pages of the buffer. Itself, where it has no others: a view costs as much as copying a page. */
export const pagesOf = (bytes: Buffer, first: number, count: number): Buffer =>
  bytes.length === count * pageBytes ? bytes : bytes.subarray(first * pageBytes, (first + count) * pageBytes)

/** The runs of those of `run`'s pages in `bytes` whose checksums are not the given ones. */
export function badRuns(bytes: Buffer, run: PageRun, checksums: Uint32Array): PageRun[] {
  const bad: { first: number; count: number }[] = []
  // One checksum of all of them costs half as much as one of each, and tells what those would.
  if (run.count > 1) {
    const expected = crc32cOfPages(checksums.subarray(run.first, run.first + run.count))
    if (crc32c(pagesOf(bytes, run.first, run.count)) === expected) return bad
  }
  for (let page = run.first; page < run.first + run.count; page++) {
    if (crc32c(pagesOf(bytes, page, 1)) === checksums[page]) continue
    const last = bad.at(-1)
    if (last !== undefined && last.first + last.count === page) last.count++
    else bad.push({ first: page, count: 1 })
  }
  return bad
}
