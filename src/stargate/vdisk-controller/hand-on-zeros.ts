/**
 * What groups say of zeros is handed on before they are freed (zero-runs.ts): the last step before the first one of their deletion.
 */
import { pageBytes, pagesPerVBlock, vDiskPage, type VDiskPage } from '../../base/units.ts'
import type { Standing, ZeroRun } from '../extent-store/extent-store.ts'
import { completeGroups, type DrainContext, type WrittenGroup, writeGroup } from './drain.ts'
import { bad, hole } from './map-row.ts'
import { standingOf } from './rows.ts'
import { type MapEntry, vBlockOf } from './vdisk-map.ts'
import { bearingPage, pastAllPages, united, zeroRunsPerGroupMax, zerosToTell } from './zero-runs.ts'

/**
 * Has the trailers of new groups say what is still true of these runs, durably: then the groups that said it may go. No drain and no
 * compaction may be under way: what the map names is what the row says is drained, or newer.
 */
export async function handOn(context: DrainContext, zeros: readonly ZeroRun[]): Promise<void> {
  const { row, map, groups, ledger } = context
  const standing = standingOf(row.state)
  const runs = await stillZero(context, zeros, standing)
  const packed: WrittenGroup[] = []
  const entries: MapEntry[] = []
  try {
    for (let at = 0; at < runs.length; at += zeroRunsPerGroupMax) {
      const some = runs.slice(at, at + zeroRunsPerGroupMax)
      const page = bearingPage(some, standing.sizeBytes)
      const bytes = await bytesOf(context, page)
      if (bytes === undefined) continue
      const pages = [{ page, sequence: standing.drained, bytes }]
      const { group } = await writeGroup(context, { pages, zeros: some, standing }, packed)
      entries.push({ page, group: group.handle, at: 0 })
    }
    await completeGroups(context, packed)
    if (entries.length > 0) await map.change(entries)
  } finally {
    for (const { id } of packed) ledger.unpin(groups.handleOf(id))
  }
}

/** What of the runs the map has as holes, as of what is drained; nothing where a group that lives says so already. */
async function stillZero(
  context: DrainContext,
  zeros: readonly ZeroRun[],
  standing: Standing,
): Promise<ZeroRun[]> {
  const { drained, sizeBytes } = standing
  const runs: ZeroRun[] = []
  const add = (page: number, end: number): void => {
    if (end > page) runs.push({ page: vDiskPage(page), count: end - page, sequence: drained })
  }
  let past: ZeroRun | undefined
  for (const run of zerosToTell(united(zeros, drained), standing)) {
    if (run.page * pageBytes >= sizeBytes) {
      past = run
      continue
    }
    let from: number = run.page
    for await (const pages of context.map.mappedPages([{ page: run.page, end: run.page + run.count }]))
      for (const page of pages) {
        add(from, page)
        from = page + 1
      }
    add(from, run.page + run.count)
  }
  if (past === undefined) return runs
  // Its bearer is one certain page where nothing else is to be said, and a new one takes that page from the one before.
  if (runs.length === 0 && (await bearsPast(context, past, zeros, sizeBytes))) return []
  return [...runs, past]
}

/** Whether that page is borne by a group that says it of all pages past the end, and not of an earlier time than these. */
async function bearsPast(
  { map, groups, index }: DrainContext,
  past: ZeroRun,
  zeros: readonly ZeroRun[],
  sizeBytes: number,
): Promise<boolean> {
  const page = bearingPage([], sizeBytes)
  const group = (await map.loaded(vBlockOf(page))).groups[page % pagesPerVBlock]
  if (group === hole || group === bad) return false
  const newest = zeros.reduce(
    (most, { page: from, count, sequence }) => (from + count > past.page ? Math.max(most, sequence) : most),
    0,
  )
  const bearer = await index.read(groups.idOf(group))
  return (
    bearer?.zeros?.some(
      ({ page: from, count, sequence }) =>
        from <= past.page && from + count >= pastAllPages && sequence >= newest,
    ) === true
  )
}

async function bytesOf({ map, reader, row }: DrainContext, page: VDiskPage): Promise<Buffer | undefined> {
  const block = await map.loaded(vBlockOf(page))
  const [group, at] = [block.groups[page % pagesPerVBlock], block.pages[page % pagesPerVBlock]]
  const bytes = Buffer.alloc(pageBytes)
  if (group === bad) return undefined
  if (group !== hole) await reader.fetch(row.vdisk, row.epoch, [{ group, at, target: bytes }])
  return bytes
}
