/** Checksums of pages: made before a page leaves its owner, checked after it was read, wherever from (I5). */
import { assert } from '../../base/assert.ts'
import { crc32c } from '../../base/crc32c.ts'
import { pageBytes } from '../../base/units.ts'

/** A run of pages of one read, counted from its first page. */
export interface PageRun {
  readonly first: number
  readonly count: number
}

/** The crc32c of each page; each buffer holds one page or several. */
export function checksumsOf(pages: readonly Buffer[]): Uint32Array {
  const bytes = pages.reduce((sum, part) => sum + part.length, 0)
  const checksums = new Uint32Array(bytes / pageBytes)
  let page = 0
  for (const part of pages) {
    assert(part.length > 0 && part.length % pageBytes === 0, () => `${part.length} bytes are no whole pages`)
    for (let at = 0; at < part.length; at += pageBytes)
      checksums[page++] = crc32c(part.subarray(at, at + pageBytes))
  }
  return checksums
}

/** The runs of those of `run`'s pages in `bytes` whose checksums are not the given ones. */
export function badRuns(bytes: Buffer, run: PageRun, checksums: Uint32Array): PageRun[] {
  const bad: { first: number; count: number }[] = []
  for (let page = run.first; page < run.first + run.count; page++) {
    if (crc32c(bytes.subarray(page * pageBytes, (page + 1) * pageBytes)) === checksums[page]) continue
    const last = bad.at(-1)
    if (last !== undefined && last.first + last.count === page) last.count++
    else bad.push({ first: page, count: 1 })
  }
  return bad
}
