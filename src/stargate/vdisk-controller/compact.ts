/**
 * Compaction gives back what dead pages hold: it copies the live pages of groups that are mostly dead, or small, into new ones.
 *
 * It does not pass through the log: the vDisk's owner is its map's only writer, and replaces **only those entries that
 * still name the victim** (C5). It runs between drains, never beside one. Which groups are copied: compaction-victims.ts.
 */
import { hasCode } from '../../base/errors.ts'
import type { Sequence } from '../../base/ids.ts'
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import { pageBytes, pagesPerGroupMax, pagesPerVBlock } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import {
  completeGroups,
  type DrainContext,
  type PageToWrite,
  type WrittenGroup,
  writeGroup,
} from './drain.ts'
import { standingOf } from './rows.ts'
import { type MapEntry, vBlockOf } from './vdisk-map.ts'

interface LivePage {
  readonly page: number
  readonly sequence: Sequence
  readonly group: GroupHandle
  readonly at: number
}

export interface Compacted {
  readonly bytes: number
  /** Victims with pages that can't be read now: those stay where they are, for compaction loses nothing. */
  readonly unread: readonly GroupHandle[]
}

/** Copies what is live of the victims and points the map there; they are dead afterwards. */
export async function compact(context: DrainContext, victims: readonly GroupHandle[]): Promise<Compacted> {
  const { map, groups, index, ledger } = context
  const live: LivePage[] = []
  const rows = await index.readAll(victims.map((victim) => groups.idOf(victim)))
  for (const victim of victims) {
    const victimRow = rows.get(groups.idOf(victim))
    if (victimRow?.state !== 'whole') continue
    for (const extent of victimRow.extents)
      for (let i = 0; i < extent.count; i++) {
        const page = extent.page + i
        const vBlock = vBlockOf(page)
        const block = map.peek(vBlock) ?? (await map.loaded(vBlock))
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
  let unread: readonly GroupHandle[]
  try {
    unread = await pack(context, live, entries, packed)
    await completeGroups(context, packed)
    if (entries.length > 0) await map.change(entries)
  } finally {
    // The map names them now; or it doesn't, and they are dead.
    for (const { id } of packed) ledger.unpin(groups.handleOf(id))
  }
  return { bytes: entries.length * pageBytes, unread }
}

/** Copies what is live into new groups, as far as it can be read: one is read while the one before it is written. Resolves to what was not read. */
async function pack(
  context: DrainContext,
  live: readonly LivePage[],
  entries: MapEntry[],
  packed: WrittenGroup[],
): Promise<readonly GroupHandle[]> {
  const standing = standingOf(context.row.state)
  const unread = new Set<GroupHandle>()
  const chunks = Array.from({ length: Math.ceil(live.length / pagesPerGroupMax) }, (_, i) =>
    live.slice(i * pagesPerGroupMax, (i + 1) * pagesPerGroupMax),
  )
  let reading = chunks.length > 0 ? readPages(context, chunks[0]) : undefined
  try {
    for (const [i, chunk] of chunks.entries()) {
      const read = await reading
      reading = i + 1 < chunks.length ? readPages(context, chunks[i + 1]) : undefined
      // What it fails with is met in its turn, if that comes.
      reading?.catch(() => undefined)
      if (read === undefined) {
        for (const { group } of chunk) unread.add(group)
        continue
      }
      const leave = await context.admit(read.memory.length)
      const toWrite = { pages: read.pages, zeros: [], standing }
      try {
        const { group, firstTry } = await writeGroup(context, toWrite, packed)
        chunk.forEach(({ page }, at) => entries.push({ page, group: group.handle, at }))
        if (firstTry) giveBack(read.memory)
      } finally {
        leave()
      }
    }
  } finally {
    // Nothing of it is under way when the map's next change begins.
    await reading?.catch(() => undefined)
  }
  return [...unread]
}

interface ReadPages {
  readonly memory: Buffer
  readonly pages: readonly PageToWrite[]
}

/** Undefined where some of them can't be read now. */
async function readPages(context: DrainContext, chunk: readonly LivePage[]): Promise<ReadPages | undefined> {
  const { reader, row } = context
  const leave = await context.admit(chunk.length * pageBytes)
  const memory = takeLarge(chunk.length * pageBytes)
  const pages = chunk.map(({ page, sequence }, at) => ({
    ...{ page, sequence },
    bytes: memory.subarray(at * pageBytes, (at + 1) * pageBytes),
  }))
  const fetches = chunk.map(({ group, at }, i) => ({ group, at, target: pages[i].bytes }))
  try {
    await reader.fetchAcrossGaps(row.vdisk, row.epoch, fetches).catch((error: unknown) => {
      // It may be one that is dead.
      if (!hasCode(error, 'CORRUPT_EXTENT')) throw error
      return reader.fetch(row.vdisk, row.epoch, fetches)
    })
    return { memory, pages }
  } catch (error) {
    if (hasCode(error, 'CORRUPT_EXTENT', 'PEER_UNREACHABLE')) return undefined
    throw error
  } finally {
    leave()
  }
}
