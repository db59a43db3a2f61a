/**
 * Zeros, as trailers say them: without them a rebuild of the metadata (M11) would bring back the bytes that were there before, which lie on in
 * groups that live by other pages.
 *
 * A zero run is said by the trailer of the group that its prefix was drained into. When nothing names that group any more, what is still
 * true of its runs is handed on to another one before it is freed (hand-on-zeros.ts). So each page that the map has as a hole, and some group once held,
 * stands in a trailer with a sequence above that group's.
 */
import type { Sequence } from '../../base/ids.ts'
import { pageBytes, vDiskPage, type VDiskPage } from '../../base/units.ts'
import type { Standing, ZeroRun } from '../extent-store/extent-store.ts'

/** So that trailer and row stay far below what one message or one change may hold: some 100 KB. */
export const zeroRunsPerGroupMax = 4096
/** What lies past a vDisk's end is one run, to here: above every page of the largest. */
export const pastAllPages = 2 ** 44

/** In order, neighbours with one sequence together, and what lies past the end as one run: all of it reads as zeros then (M5). */
export function zerosToTell(zeros: readonly ZeroRun[], { through, sizeBytes }: Standing): ZeroRun[] {
  const endPage = vDiskPage(Math.ceil(sizeBytes / pageBytes))
  const runs: ZeroRun[] = []
  let isCut = false
  for (const run of zeros.toSorted((a, b) => a.page - b.page)) {
    const end = run.page + run.count
    isCut ||= end > endPage
    if (run.page >= endPage) continue
    const count = Math.min(end, endPage) - run.page
    const last = runs.at(-1)
    if (last !== undefined && last.page + last.count === run.page && last.sequence === run.sequence)
      runs[runs.length - 1] = { ...last, count: last.count + count }
    else runs.push({ ...run, count })
  }
  if (isCut) runs.push({ page: endPage, count: pastAllPages - endPage, sequence: through })
  return runs
}

/** The same pages in as few runs as there can be, in order, all with this sequence: what is told again and again doesn't become more. */
export function united(zeros: readonly ZeroRun[], sequence: Sequence): ZeroRun[] {
  const runs: ZeroRun[] = []
  for (const { page, count } of zeros.toSorted((a, b) => a.page - b.page)) {
    const last = runs.at(-1)
    if (last !== undefined && page <= last.page + last.count)
      runs[runs.length - 1] = { ...last, count: Math.max(last.count, page + count - last.page) }
    else runs.push({ page, count, sequence })
  }
  return runs
}

/**
 * The page that a group of these is written with where it has no other: inside the vDisk, for past its end nobody counts. The last one of a run,
 * as guests fill what is free from its beginning, and a bearer goes with its page.
 */
export function bearingPage(zeros: readonly ZeroRun[], sizeBytes: number): VDiskPage {
  const endPage = Math.ceil(sizeBytes / pageBytes)
  const inside = zeros.find(({ page }) => page < endPage)
  return vDiskPage(
    Math.max(0, inside === undefined ? endPage - 1 : Math.min(inside.page + inside.count, endPage) - 1),
  )
}
