/**
 * Compaction gives back what dead pages hold: it copies the live pages of groups that are mostly dead, or small, into new ones.
 *
 * It does not pass through the log: the vDisk's owner is its map's only writer, and replaces **only those entries that
 * still name the victim** (C5). It runs between drains, never beside one.
 */
import { hasCode } from '../../base/errors.ts'
import type { Sequence } from '../../base/ids.ts'
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import { pageBytes, pagesPerGroupMax, pagesPerVBlock } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { completeGroups, type DrainContext, type WrittenGroup, writeGroup } from './drain.ts'
import { standingOf } from './rows.ts'
import type { MapEntry } from './vdisk-map.ts'

/** More groups than this many times what the live pages need is worth copying for: at most about half of the space is dead. */
const groupsPerNeededMax = 2
/** A vDisk may have this many small groups before anyone minds. */
const groupsSpare = 16
/** Live pages copied in one go: four new groups, 16 MiB. */
const pagesAtOnceMax = 4 * pagesPerGroupMax

/** The groups to compact now: those with the fewest live pages, or none where there is little to gain. `live`: pages the map names. */
export function victimsAmong(live: ReadonlyMap<GroupHandle, number>): GroupHandle[] {
  let pages = 0
  for (const count of live.values()) pages += count
  if (live.size <= groupsPerNeededMax * Math.ceil(pages / pagesPerGroupMax) + groupsSpare) return []
  const victims: GroupHandle[] = []
  let copied = 0
  for (const [group, count] of [...live].sort((a, b) => a[1] - b[1])) {
    if (count > pagesPerGroupMax / 2 || copied + count > pagesAtOnceMax) break
    copied += count
    victims.push(group)
  }
  // One new group for fewer than two old ones gains nothing.
  return victims.length < 2 * Math.ceil(copied / pagesPerGroupMax) ? [] : victims
}

interface LivePage {
  readonly page: number
  readonly sequence: Sequence
  readonly group: GroupHandle
  readonly at: number
}

/** Copies what is live of the victims and points the map there; they are dead afterwards. Resolves to the bytes copied. */
export async function compact(context: DrainContext, victims: readonly GroupHandle[]): Promise<number> {
  const { map, groups, index, ledger } = context
  const live: LivePage[] = []
  const rows = await index.readAll(victims.map((victim) => groups.idOf(victim)))
  for (const victim of victims) {
    const victimRow = rows.get(groups.idOf(victim))
    if (victimRow?.state !== 'whole') continue
    for (const extent of victimRow.extents)
      for (let i = 0; i < extent.count; i++) {
        const page = extent.page + i
        const block = await map.loaded(Math.floor(page / pagesPerVBlock))
        if (
          block.groups[page % pagesPerVBlock] !== victim ||
          block.pages[page % pagesPerVBlock] !== extent.at + i
        )
          continue
        live.push({
          page,
          sequence: extent.sequence,
          group: victim,
          at: extent.at + i,
        })
      }
  }
  live.sort((a, b) => a.page - b.page)
  const entries: MapEntry[] = []
  const packed: WrittenGroup[] = []
  try {
    await pack(context, live, entries, packed)
    await completeGroups(context, packed)
    if (entries.length > 0) await map.change(entries)
  } finally {
    // The map names them now; or it doesn't, and they are dead.
    for (const { id } of packed) ledger.unpin(groups.handleOf(id))
  }
  return entries.length * pageBytes
}

/** Copies what is live into new groups, as far as it can be read. */
async function pack(
  context: DrainContext,
  live: readonly LivePage[],
  entries: MapEntry[],
  packed: WrittenGroup[],
): Promise<void> {
  const { reader, row } = context
  for (let i = 0; i < live.length; i += pagesPerGroupMax) {
    const chunk = live.slice(i, i + pagesPerGroupMax)
    const leave = await context.admit(chunk.length * pageBytes)
    const memory = takeLarge(chunk.length * pageBytes)
    const pages = chunk.map((page, at) => ({
      ...page,
      bytes: memory.subarray(at * pageBytes, (at + 1) * pageBytes),
    }))
    try {
      await reader.fetch(
        row.vdisk,
        row.epoch,
        pages.map(({ group, at, bytes }) => ({ group, at, target: bytes })),
      )
    } catch (error) {
      // A page that can't be read stays where it is: compaction loses nothing.
      if (hasCode(error, 'CORRUPT_EXTENT', 'PEER_UNREACHABLE')) continue
      throw error
    } finally {
      leave()
    }
    const toWrite = { pages, zeros: [], standing: standingOf(row.state) }
    const { group, firstTry } = await writeGroup(context, toWrite, packed)
    chunk.forEach(({ page }, at) => entries.push({ page, group: group.handle, at }))
    if (firstTry) giveBack(memory)
  }
}
