/**
 * Draining moves a prefix of the log into extent groups and the map forward (R25), in the order of I3:
 *
 *   index rows → files on all copies, synced → group rows → map → row: drained sequence → memory → replicas free
 *
 * A crash anywhere, and a second drain by whomever, with a longer or shorter prefix, gives the same vDisk: the log
 * still holds what the row does not say is drained, and hides maps that are ahead.
 *
 * Deciding which page comes from where (`planDrain`) changes nothing; the rest carries it out.
 */
import { assert } from '../../base/assert.ts'
import { atOnce } from '../../base/at-once.ts'
import { checksumsOfPages } from '../../base/crc32c.ts'
import { hasCode, messageOf, type NdfsErrorCode } from '../../base/errors.ts'
import type { GroupId, Sequence } from '../../base/ids.ts'
import { inTurns, othersTurn } from '../../base/in-turns.ts'
import { joined } from '../../base/joined.ts'
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import {
  type GroupPage,
  groupPage,
  MiB,
  pageBytes,
  pagesPerGroupMax,
  pagesPerVBlock,
  vDiskPage,
} from '../../base/units.ts'
import type { Tier } from '../../disk/disk.ts'
import type { Row } from '../../medusa/medusa.ts'
import type { Clock, Log } from '../../platform/platform.ts'
import type {
  Extent,
  ExtentStore,
  Placement,
  Standing,
  Trailer,
  ZeroRun,
} from '../extent-store/extent-store.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { applyRecord, groupsNamedBy, modifiedAfter } from './apply-record.ts'
import type { ExtentPiece } from './extent-payload.ts'
import type { GroupIndex, RegisteredGroup } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import { tierOf } from './group-place.ts'
import type { GroupTable } from './group-table.ts'
import type { GroupRow, VDiskState } from './rows.ts'
import { coversPage, type Fragment, fragmentsOldestFirst, LogIndex } from './log-index.ts'
import { bad, hole } from './map-row.ts'
import { type PagePlan, planPage } from './page-plan.ts'
import type { PageFetch, PageReader } from './page-reader.ts'
import { paint } from './paint.ts'
import type { LogEntry } from './vdisk-log.ts'
import { type MapEntry, vBlockOf, type VDiskMap } from './vdisk-map.ts'
import type { VDiskRow } from './vdisk-row.ts'
import { bearingPage, zeroRunsPerGroupMax, zerosToTell } from './zero-runs.ts'

/**
 * What the records of one prefix hold, in the log or in groups that they name, in bytes. Longer ones write less metadata for each byte
 * (M18); this much is planned in some milliseconds, and packed in a second or two.
 */
export const drainPrefixBytesMax = 64 * MiB

/**
 * What they say zeros of, in vBlocks that they touch: a guest that discards a large vDisk gets its log back while that goes on. The map of so much
 * is in memory at once, of 8 GiB that lie side by side: it is looked through before anything is written, and changed afterwards.
 */
export const drainPrefixZeroVBlocksMax = 8 * 1024

/** Pages that are planned in one turn of the loop: a millisecond or two. And those that are painted in one. */
const plannedInATurn = 1000
const paintedInATurn = 512

/** Versions of the map's partitions that go into one change of the vDisk's row: some 100 KB. */
const leastAtOnce = 4096

/** Pages of ranges of zeros that one change of the map takes: of a hundred vBlocks and more. */
const holesAtOnce = 32 * 1024
/** And of so many vBlocks at most: they are changed while they are in memory yet. */
const stretchesAtOnce = 4096

/** Groups of streams finished at once: their syncs share commits of the file system's journal. */
const finishedAtOnceMax = 8

/** Attempts on other disks before the drain gives up for now. */
const attemptsMax = 3

export interface DrainContext {
  readonly clock: Clock
  readonly log: Log
  readonly row: VDiskRow
  readonly map: VDiskMap
  readonly index: GroupIndex
  readonly ledger: GroupLedger
  readonly groups: GroupTable
  readonly extents: ExtentStore
  readonly reader: PageReader
  readonly place: (bytes: number) => Placement
  readonly suspect: (disk: string) => void
  /** Waits its turn among what the node does; call the result when done. */
  readonly admit: (bytes: number) => Promise<() => void>
}

export interface DrainResult {
  readonly drained: Sequence
  readonly sizeBytes: number
  /** Pages whose fragments up to `drained` can be forgotten. */
  readonly pages: Iterable<number>
  readonly bytes: number
}

/** A page that is written to a new group: its address, and where its bytes come from. */
interface PageToPack {
  readonly page: number
  readonly plan: PagePlan
  readonly sequence: Sequence
}

/** A stream's group that the map shall name: pages of it that no later record of the prefix covers. */
interface KeptExtent {
  readonly piece: ExtentPiece
  readonly sequence: Sequence
  readonly pages: { readonly page: number; readonly at: number }[]
}

/** A copy could not be written where it was placed; another disk may do. */
const copyFailed: NdfsErrorCode[] = [
  'OUT_OF_SPACE',
  'DISK_FAILED',
  'PEER_UNREACHABLE',
  'TIMED_OUT',
  'NOT_FOUND',
  'UNAVAILABLE',
]

/** Drains `prefix`, which begins right after the drained sequence. Nothing in memory is changed but caches; see DrainResult. */
export async function drainPrefix(context: DrainContext, prefix: readonly LogEntry[]): Promise<DrainResult> {
  const { clock, row, map, groups, ledger } = context
  const state = row.state
  assert(
    prefix.length > 0 && prefix[0].sequence === state.drained + 1,
    'a drain takes the log from its beginning',
  )
  const drained = prefix.at(-1)!.sequence

  const coalesced = new LogIndex()
  let { sizeBytes, modifiedAt = 0 } = state
  let touched = 0
  for (const entry of prefix) {
    sizeBytes = applyRecord(coalesced, groups, entry, sizeBytes)
    modifiedAt = modifiedAfter(entry, modifiedAt)
    touched += 1 + entry.length / pageBytes
    if (touched < plannedInATurn) continue
    touched = 0
    await othersTurn(clock)
  }

  const standing: Standing = { drained: state.drained, through: drained, sizeBytes, modifiedAt }
  const { pack, kept, holes, zeros: found } = await planDrain(context, coalesced, prefix)
  const zeros = zerosToTell(found, standing)
  const packed: WrittenGroup[] = []
  const entries: MapEntry[] = []
  try {
    const { repacked, finished } = await finishExtents(context, kept, standing, entries)
    const pages = [...pack, ...repacked].sort((a, b) => a.page - b.page)
    // One that was completed before says what was so then.
    const saysSize = finished.length > 0 || sizeBytes === state.sizeBytes
    const loads = loadsOf(pages, zeros, saysSize)
    for (const load of loads)
      if (load.pages.length === 0) {
        load.pages = await bearerOf(context, coalesced, load.zeros, standing)
        load.isBorne = true
      }
    const written = new Set(loads.flatMap((load) => load.pages.map(({ page }) => page)))
    for (const one of holes) if (!written.has(one.page)) entries.push(one)
    await packPages(context, loads, standing, entries, packed)
    await completeGroups(context, [...finished, ...packed])

    await changeMap(map, entries, coalesced, written)
    const least = map.leastVersions()
    const tell = async (decide: (now: VDiskState) => VDiskState, some: readonly Row[]): Promise<void> => {
      await row.update(decide, some)
      map.leastVersionsTold(some)
    }
    // The map has these versions already; that it has later ones than the row says is nothing new.
    while (least.length > leastAtOnce) await tell((now) => now, least.splice(0, leastAtOnce))
    await tell(
      (now) => ({
        ...now,
        drained,
        sizeBytes,
        modifiedAt,
        episodes: now.episodes.filter((one) => (one.end ?? Infinity) > drained),
      }),
      least,
    )
  } finally {
    // What the map doesn't name is dead from here on, also what a drain that failed wrote in vain.
    for (const { id } of packed) ledger.unpin(groups.handleOf(id))
  }

  // The map as recorded names what it shall.
  for (const entry of prefix)
    for (const piece of groupsNamedBy(entry)) {
      groups.release(groups.handleOf(piece.group))
      ledger.unpin(groups.handleOf(piece.group))
    }
  return {
    drained,
    sizeBytes,
    pages: coalesced.pages(),
    bytes: prefix.reduce((sum, entry) => sum + entry.payloadBytes, 0),
  }
}

async function planDrain(
  context: DrainContext,
  coalesced: LogIndex,
  prefix: readonly LogEntry[],
): Promise<{ pack: PageToPack[]; kept: KeptExtent[]; holes: MapEntry[]; zeros: ZeroRun[] }> {
  const { clock, map, groups } = context
  const pages = Float64Array.from(coalesced.pages()).sort()
  await map.loadAll([...new Set(pages.map(vBlockOf))])
  // What of the map is damaged shows before a byte is written: a drain that fails is tried again and again, and would write it all each time.
  for await (const _ of map.mappedPages(coalesced.ranges()));

  const keptByGroup = new Map<GroupHandle, KeptExtent>()
  for (const entry of prefix)
    for (const piece of groupsNamedBy(entry))
      keptByGroup.set(groups.handleOf(piece.group), { piece, sequence: entry.sequence, pages: [] })

  const pack: PageToPack[] = []
  const holes: MapEntry[] = []
  const zeros: ZeroRun[] = coalesced
    .ranges()
    .map(({ page, end, sequence }) => ({ page: vDiskPage(page), count: end - page, sequence }))
  for await (const some of inTurns(clock, pages, plannedInATurn)) {
    // The ranges' map may have put these out of memory again.
    await map.loadAll([...new Set(Array.from(some, vBlockOf))])
    for (const page of some) {
      const head = coalesced.get(page)!
      if (head.source.kind === 'extent') {
        keptByGroup.get(head.source.group)!.pages.push({ page, at: head.source.page })
        continue
      }
      const block = map.peek(vBlockOf(page)) ?? (await map.loaded(vBlockOf(page)))
      const mapped = { group: block.groups[page % pagesPerVBlock], at: block.pages[page % pagesPerVBlock] }
      const plan = planPage(head, () => mapped)
      const isHole = plan.base === hole && plan.paint.every((fragment) => fragment.source.kind === 'zero')
      if (isHole || isAllZero(head)) zeros.push({ page: vDiskPage(page), count: 1, sequence: head.sequence })
      if (isHole) {
        if (mapped.group !== hole) holes.push({ page, group: hole, at: 0 })
      } else pack.push({ page, plan, sequence: head.sequence })
    }
  }
  const kept = [...keptByGroup.values()].filter((extent) => extent.pages.length > 0)
  return { pack, kept, holes, zeros }
}

/** Points the map at what was written, and at nothing where the prefix says zeros. */
async function changeMap(
  map: VDiskMap,
  entries: MapEntry[],
  coalesced: LogIndex,
  written: ReadonlySet<number>,
): Promise<void> {
  if (entries.length > 0) await map.change(entries.sort((a, b) => a.page - b.page))
  for await (const holes of holesOfRanges(map, coalesced))
    await map.change(holes.filter(({ page }) => !written.has(page)))
}

/**
 * Pages in ranges of zeros that the map names yet, sorted, some at a time: whoever has them changes the map before it asks for more. A guest
 * may discard all of a large vDisk with one request, and all at once they would be more than there is memory for; or thousands of small
 * stretches, and a change of the map for each would take minutes.
 */
async function* holesOfRanges(map: VDiskMap, coalesced: LogIndex): AsyncGenerator<readonly MapEntry[]> {
  let holes: MapEntry[] = []
  let stretches = 0
  for await (const pages of map.mappedPages(coalesced.ranges())) {
    for (const page of pages) if (isAllZero(coalesced.get(page))) holes.push({ page, group: hole, at: 0 })
    if (holes.length < holesAtOnce && ++stretches < stretchesAtOnce) continue
    yield holes
    holes = []
    stretches = 0
  }
  yield holes
}

/** What one new group takes: pages by address, and the zeros that its trailer says. */
interface Load {
  pages: readonly PageToPack[]
  /** Its page was not written: it stays what it is where it can't be read. */
  isBorne: boolean
  readonly zeros: readonly ZeroRun[]
}

/** `isSaid`: what trailers are to say of the prefix, zeros aside, stands in one of them, or needs not. A load without pages gets a bearer. */
function loadsOf(pages: readonly PageToPack[], zeros: readonly ZeroRun[], isSaid: boolean): Load[] {
  const needed = (items: readonly unknown[], most: number): number => Math.ceil(items.length / most)
  const count = Math.max(needed(pages, pagesPerGroupMax), needed(zeros, zeroRunsPerGroupMax), isSaid ? 0 : 1)
  return Array.from({ length: count }, (_, i) => ({
    pages: pages.slice(i * pagesPerGroupMax, (i + 1) * pagesPerGroupMax),
    isBorne: false,
    zeros: zeros.slice(i * zeroRunsPerGroupMax, (i + 1) * zeroRunsPerGroupMax),
  }))
}

/**
 * The page that a group is written with which has none, only something to say in its trailer: zeros, or a size, without which a rebuild of
 * the metadata would bring back what is gone (M11). It lives as long as the map names that page. None where it can't be read.
 */
async function bearerOf(
  { map }: DrainContext,
  coalesced: LogIndex,
  zeros: readonly ZeroRun[],
  { through, sizeBytes }: Standing,
): Promise<PageToPack[]> {
  const page = bearingPage(zeros, sizeBytes)
  const { groups, pages } = await map.loaded(vBlockOf(page))
  const mapped = { group: groups[page % pagesPerVBlock], at: pages[page % pagesPerVBlock] }
  const plan = planPage(coalesced.get(page), () => mapped)
  return plan.base === bad ? [] : [{ page, plan, sequence: through }]
}

/**
 * Finishes the files of streams' groups: the trailer on every copy. One that has lost a copy meanwhile is packed again on full copies, from
 * what is left of it (F11).
 */
async function finishExtents(
  context: DrainContext,
  kept: readonly KeptExtent[],
  standing: Standing,
  entries: MapEntry[],
): Promise<{ readonly repacked: PageToPack[]; readonly finished: WrittenGroup[] }> {
  const repacked: PageToPack[] = []
  const finished: WrittenGroup[] = []
  await atOnce(kept, finishedAtOnceMax, async (extent) => {
    const { piece, sequence, pages } = extent
    const group = context.groups.handleOf(piece.group)
    const already = context.index.isOpen(piece.group) ? undefined : await context.index.read(piece.group)
    // Where that is not known yet, no copy has failed: the drain waits.
    const tier = tierOf(context.extents, piece.copies)
    try {
      if (already === undefined) finished.push(await finishExtent(context, extent, standing, tier))
      for (const { page, at } of pages) entries.push({ page, group, at })
    } catch (error) {
      if (!hasCode(error, ...copyFailed)) throw error
      context.log.info(`extent group ${piece.group} has lost a copy and is written again`, {
        reason: messageOf(error),
      })
      for (const { page, at } of pages)
        repacked.push({ page, sequence, plan: { base: group, at, paint: [] } })
    }
  })
  return { repacked, finished }
}

async function finishExtent(
  context: DrainContext,
  { piece, sequence }: KeptExtent,
  standing: Standing,
  tier: Tier,
): Promise<WrittenGroup> {
  const { extents, row } = context
  const extent: Extent = {
    page: vDiskPage(piece.page),
    count: piece.checksums.length,
    at: groupPage(piece.at),
    sequence,
  }
  const access = { group: piece.group, vdisk: row.vdisk, epoch: row.epoch, copies: piece.copies }
  await extents.finish(access, trailerOf(context, standing, [extent], piece.checksums))
  return {
    id: piece.group,
    row: {
      layer: row.state.layer,
      tier,
      // Where it was placed is known from its copies alone: groups are asked for on flash.
      ...(tier === 'flash' ? {} : { mixed: true }),
      state: 'whole',
      copies: piece.copies,
      extents: [extent],
      checksums: piece.checksums,
    },
  }
}

/** Packs pages by address into new groups on full copies. */
async function packPages(
  context: DrainContext,
  loads: readonly Load[],
  standing: Standing,
  entries: MapEntry[],
  packed: WrittenGroup[],
): Promise<void> {
  const full = loads.filter(({ pages: { length } }) => length > 0)
  const ahead = await register(
    context,
    full.map(({ pages: { length } }) => length * pageBytes),
  )
  try {
    // One at a time: guests' writes go through the same disks, and two groups at once would keep them from there twice as long.
    for (const load of full) {
      const leave = await context.admit(load.pages.length * pageBytes)
      try {
        await packGroup(context, load, standing, entries, packed, ahead)
      } finally {
        leave()
      }
    }
  } finally {
    giveUp(context, ahead)
  }
}

async function packGroup(
  context: DrainContext,
  { pages: chunk, zeros, isBorne }: Load,
  standing: Standing,
  entries: MapEntry[],
  packed: WrittenGroup[],
  ahead: PlacedGroup[],
): Promise<void> {
  const { clock, row, reader } = context
  const bytes = takeLarge(chunk.length * pageBytes)
  const target = (i: number): Buffer => bytes.subarray(i * pageBytes, (i + 1) * pageBytes)
  const badPages = new Set<number>()
  const fetches: PageFetch[] = []
  chunk.forEach(({ plan }, i) => {
    if (plan.base === hole) {
      const [first] = plan.paint
      if (first === undefined || !coversPage(first)) target(i).fill(0)
    } else if (plan.base === bad) badPages.add(i)
    else fetches.push({ group: plan.base, at: plan.at, target: target(i) })
  })
  try {
    await reader.fetch(row.vdisk, row.epoch, fetches)
  } catch (error) {
    if (!hasCode(error, 'CORRUPT_EXTENT')) throw error
    await fetchOneByOne(context, chunk, target, badPages)
  }
  for await (const some of inTurns(clock, [...chunk.keys()], paintedInATurn))
    for (const i of some) paint(target(i), chunk[i].plan.paint)
  const good = chunk.map((_, i) => i).filter((i) => !badPages.has(i))
  // Each copy of the base was read and failed: reads fail until it is overwritten; zeros would be a lie (F9, I5).
  if (!isBorne) for (const i of badPages) entries.push({ page: chunk[i].page, group: bad, at: 0 })
  if (good.length === 0) return
  const pages = good.map((i) => ({ page: chunk[i].page, sequence: chunk[i].sequence, bytes: target(i) }))
  const toWrite = { pages, zeros, standing }
  const { group, firstTry } = await writeGroup(context, toWrite, packed, ahead)
  pages.forEach(({ page }, at) => entries.push({ page, group: group.handle, at }))
  // A write that was given up may still use it.
  if (firstTry) giveBack(bytes)
}

/** Finds out which of the bases are bad everywhere. */
async function fetchOneByOne(
  context: DrainContext,
  chunk: readonly PageToPack[],
  target: (i: number) => Buffer,
  badPages: Set<number>,
): Promise<void> {
  const { row, reader } = context
  for (const [i, { plan }] of chunk.entries()) {
    if (plan.base === hole || plan.base === bad) continue
    try {
      await reader.fetch(row.vdisk, row.epoch, [{ group: plan.base, at: plan.at, target: target(i) }])
    } catch (error) {
      if (!hasCode(error, 'CORRUPT_EXTENT')) throw error
      context.log.error(`a page of vDisk ${row.vdisk} is lost: every copy of it is bad`, {
        page: chunk[i].page,
      })
      badPages.add(i)
    }
  }
}

/** What a new group holds, and its trailer says besides. */
export interface GroupToWrite {
  readonly pages: readonly PageToWrite[]
  readonly zeros: readonly ZeroRun[]
  readonly standing: Standing
}

/** A group whose files are on stable media, trailers included, and the row that is to say so. */
export interface WrittenGroup {
  readonly id: GroupId
  readonly row: GroupRow
}

/** A group in the index, for which there is room. */
interface PlacedGroup {
  readonly group: RegisteredGroup
  readonly placement: Placement
}

export interface PageToWrite {
  readonly page: number
  readonly sequence: Sequence
  readonly bytes: Buffer
}

/** Puts the rows of written groups: what was registered one after the other goes together. Afterwards the map may name them. */
export const completeGroups = (
  { index }: Pick<DrainContext, 'index'>,
  written: readonly WrittenGroup[],
): Promise<void> => atOnce(written, written.length, ({ id, row }) => index.complete(id, row))

/**
 * Writes a new group: index row, files with trailers on all copies. It is pinned, from before its first byte; in `packed` it is when it is
 * written, to be completed before the map names it. `firstTry`: the first attempt went well, and nobody uses the pages' memory any more.
 * The first of `ahead` is taken, where there is one: they were registered for this.
 */
export async function writeGroup(
  context: DrainContext,
  { pages, zeros, standing }: GroupToWrite,
  packed: WrittenGroup[],
  ahead: PlacedGroup[] = [],
): Promise<{ readonly group: RegisteredGroup; readonly firstTry: boolean }> {
  const { clock, row, extents } = context
  assert(pages.length > 0 && pages.length <= pagesPerGroupMax, 'a group holds 1 to 1,024 pages')
  const bytes = joined(pages.map((one) => one.bytes))
  await othersTurn(clock)
  const checksums = checksumsOfPages(bytes)
  await othersTurn(clock)
  const trailer = trailerOf(context, standing, extentsOf(pages), checksums, zeros)
  for (let attempt = 1; ; attempt++) {
    const placed = ahead.shift() ?? (await register(context, [pages.length * pageBytes]))[0]
    const { group, placement } = placed
    const access = { group: group.id, vdisk: row.vdisk, epoch: row.epoch, copies: group.copies }
    try {
      const tier = tierOf(extents, placement.disks)
      await extents.write(access, groupPage(0), bytes, 'maintenance', trailer)
      packed.push({
        id: group.id,
        row: {
          layer: row.state.layer,
          tier,
          ...(placement.mixed ? { mixed: true } : {}),
          state: 'whole',
          copies: group.copies,
          extents: trailer.extents,
          checksums,
          ...(zeros.length > 0 ? { zeros } : {}),
        },
      })
      return { group, firstTry: attempt === 1 }
    } catch (error) {
      // What was placed beside it may have to do with the same disk.
      giveUp(context, [placed, ...ahead.splice(0)])
      if (!hasCode(error, ...copyFailed) || attempt === attemptsMax) throw error
      if (typeof error.facts.disk === 'string') context.suspect(error.facts.disk)
    }
  }
}

/** Registers groups for so many bytes each, in one change. */
async function register(context: DrainContext, bytes: readonly number[]): Promise<PlacedGroup[]> {
  if (bytes.length === 0) return []
  const placements = bytes.map((some) => context.place(some))
  const groups = await context.index.register(placements.map(({ disks }) => disks))
  return groups.map((group, i) => ({ group, placement: placements[i] }))
}

/** Nothing names them: they will be freed. */
function giveUp({ ledger }: DrainContext, placed: readonly PlacedGroup[]): void {
  for (const { group } of placed) ledger.unpin(group.handle)
}

/** Runs of neighbouring pages, in group order. */
export function extentsOf(
  pages: readonly { readonly page: number; readonly sequence: Sequence }[],
): Extent[] {
  const extents: { page: number; count: number; at: GroupPage; sequence: Sequence }[] = []
  pages.forEach(({ page, sequence }, at) => {
    const last = extents.at(-1)
    if (last !== undefined && last.page + last.count === page && last.count < pagesPerVBlock) {
      last.count++
      if (sequence > last.sequence) last.sequence = sequence
    } else extents.push({ page, count: 1, at: groupPage(at), sequence })
  })
  return extents.map((extent) => ({ ...extent, page: vDiskPage(extent.page) }))
}

function trailerOf(
  { row: { state } }: DrainContext,
  standing: Standing,
  extents: readonly Extent[],
  checksums: Uint32Array,
  zeros: readonly ZeroRun[] = [],
): Trailer {
  const { name, layer, copies } = state
  return { container: name, layer, copies, extents, checksums, zeros, standing }
}

/** The page reads as zeros, whatever lies beneath. */
function isAllZero(head: Fragment | undefined): boolean {
  const fragments = fragmentsOldestFirst(head)
  return (
    fragments.length > 0 &&
    coversPage(fragments[0]) &&
    fragments.every(({ source }) => source.kind === 'zero')
  )
}
