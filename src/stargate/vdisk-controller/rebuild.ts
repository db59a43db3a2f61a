/**
 * What the disks alone say of a vDisk, as the rows that Medusa had of it (M11, docs/decisions/0014): pure, and the same for any store.
 *
 *  1. Of each page the newest fact counts: what a trailer has of it, or says is zeros, under the highest sequence of the log.
 *  2. The rows are a checkpoint at `drained`, which is never above what was drained: all that the logs hold beyond is replayed by the vDisk's
 *     next owner, as at any takeover. The map may be ahead of it, as behind a drain that was cut short.
 *  3. Its epoch is the highest that any group, log or row of it bears: whoever claims it comes out above all, and replicas take his word (I4).
 *  4. Every file stands in the index of groups, so that what the map does not name is freed by the owner, in its order (I7).
 *
 * Not here: reading disks and backups, names and files, writing the rows.
 */
import { assert } from '../../base/assert.ts'
import type {
  DiskRef,
  EpisodeId,
  Epoch,
  GroupId,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import { partOfGroupId, sameDisk } from '../../base/ids.ts'
import { mapPartitionBytes, pageBytes, pagesPerVBlock, vBlocksPerPartition } from '../../base/units.ts'
import type { Tier } from '../../disk/disk.ts'
import { changeBytesMax, type PartitionName, type Row } from '../../medusa/medusa.ts'
import type { CopyRef, Extent, Trailer } from '../extent-store/extent-store.ts'
import { diskOf } from './group-copies.ts'
import { emptyVBlock, encodeOwnRow, hole } from './map-row.ts'
import {
  encodeGroupRow,
  encodeLeftBehind,
  encodePlannedCopies,
  encodeVDiskState,
  type Episode,
  groupPartition,
  groupsOfPartition,
  leftBehindRowKey,
  mapPartition,
  type PlannedCopy,
  partRowKey,
  stateRowKey,
  vdiskPartition,
  type VDiskState,
} from './rows.ts'
import { digestKey, encodeDigest } from './map-digest.ts'
import { vBlockKey } from './vdisk-map.ts'

/**
 * A file of a group. `whole`: it has its trailer. `unfinished`: it has none, as its write or its drain never ended. `damaged`: there is one
 * that can't be read, or is another copy's.
 */
export interface CopyOnDisk extends CopyRef {
  readonly tier: Tier
  readonly state: 'whole' | 'unfinished' | 'damaged'
}

export interface GroupOnDisks {
  readonly group: GroupId
  readonly copies: readonly CopyOnDisk[]
  /** Of a whole copy: all of them say the same. */
  readonly trailer?: Trailer
}

/** What one log disk has of one episode. */
export interface EpisodeOnDisk {
  readonly id: EpisodeId
  readonly disk: DiskRef
  /** The first sequence of the episode, and which of them are here. */
  readonly episodeFirst: Sequence
  readonly first: Sequence
  readonly last: Sequence
  /** Its `open` record is here: without one no row has ever named it. */
  readonly hasOpen: boolean
}

/** What all logs say of one vDisk. */
export interface LogsOnDisks {
  /** The highest epoch in any of them. */
  readonly epoch: Epoch
  /** All up to here was drained; above every sequence: it was deleted. */
  readonly freed: Sequence
  readonly episodes: readonly EpisodeOnDisk[]
  /** The end of what their records wrote, in bytes. */
  readonly endBytes: number
  /** The newest record that says a size; 0: none does. */
  readonly resized: Sequence
  /**
   * Records that name a group which was freed: no disk has a file of it, though those are here that it was written to, and no disk is missing
   * that it may have been moved to.
   */
  readonly ofFreedGroups: readonly { readonly episode: EpisodeId; readonly sequence: Sequence }[]
}

export interface VDiskOnDisks {
  readonly groups: readonly GroupOnDisks[]
  readonly logs?: LogsOnDisks
  /** As the last backup has its row. */
  readonly saved?: { readonly epoch: Epoch; readonly state: VDiskState }
  /** What it is called where nothing says so. */
  readonly nameless: string
  /** A disk of another node than these, which is not there: a copy that nobody has is said to be on it, so that repair makes it. */
  readonly lostDisk: (besides: readonly NodeId[]) => DiskRef | undefined
}

export interface RebuiltVDisk {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly state: VDiskState
  /** What is not certain, a sentence each. */
  readonly notes: readonly string[]
  /** Groups whose row is made; files of groups that nobody can read any more are left alone. */
  readonly groups: number
  readonly leftAlone: readonly GroupId[]
  /** In the order in which they are to be written: what is named before what names it, the vDisk's own last (I3). Once. */
  readonly partitions: Iterable<RebuiltPartition>
}

/** A partition that is not there yet, in as many changes as its rows need: its version is their number. */
export interface RebuiltPartition {
  readonly name: PartitionName
  readonly epoch: Epoch
  readonly changes: readonly (readonly Row[])[]
}

const pagesPerPartition = mapPartitionBytes / pageBytes
/** Far below what one change takes. */
const changeBytesUsual = changeBytesMax / 2
const layer = 1 as LayerId

/** Undefined where there is nothing to bring back: some unfinished files, or a log of attempts, and no more. */
export function rebuildVDisk(vdisk: VDiskId, found: VDiskOnDisks): RebuiltVDisk | undefined {
  const { groups, saved, nameless, lostDisk } = found
  const notes: string[] = []
  // Of those that say the same the one with the most copies counts: a write that failed on one disk was made again on others.
  const whole = groups
    .filter((group): group is WholeGroup => group.trailer !== undefined)
    .sort((a, b) => wholeCopies(a) - wholeCopies(b))
  const trailers = whole.map(({ trailer }) => trailer)
  const standings = trailers.flatMap(({ standing }) => (standing === undefined ? [] : [standing]))
  const log = logOf(found, trailers)
  if (saved === undefined && whole.length === 0 && log.episodes.length === 0) return undefined
  notes.push(...log.notes)

  const isDeleted = saved?.state.state === 'deleted' || found.logs?.freed === Number.MAX_SAFE_INTEGER
  const epoch = highest(
    saved?.epoch ?? 0,
    found.logs?.epoch ?? 0,
    ...groups.map(({ group }) => partOfGroupId(group, 1)),
  ) as Epoch
  const newest = standings.reduce<(typeof standings)[number] | undefined>(
    (best, one) => (best === undefined || one.through > best.through ? one : best),
    undefined,
  )
  const isNewer = newest !== undefined && newest.through >= (saved?.state.drained ?? 0)
  const said = isNewer ? newest : saved?.state
  if (said === undefined) notes.push('its size is not known: it ends behind the last page that was found')
  // The log says what it is at its end. Where it has to, the row must not know that yet: what a record cuts off is zeroed only where the vDisk
  // was larger before it (M5).
  const isSaidLater = (found.logs?.resized ?? 0) > log.drained
  const sizeBytes = isSaidLater
    ? highest(
        endOf(trailers, found.logs),
        saved?.state.sizeBytes ?? 0,
        ...standings.map((one) => one.sizeBytes),
      )
    : (said?.sizeBytes ?? endOf(trailers, found.logs))
  const modifiedAt = Math.max(newest?.modifiedAt ?? 0, saved?.state.modifiedAt ?? 0)
  const youngest = trailers.reduce<Trailer | undefined>(
    (best, one) => (best === undefined || newestOf(one) > newestOf(best) ? one : best),
    undefined,
  )
  const state: VDiskState = {
    name: saved?.state.name ?? youngest?.container ?? nameless,
    state: isDeleted ? 'deleted' : 'live',
    copies: saved?.state.copies ?? ((youngest?.copies ?? 2) as VDiskState['copies']),
    sizeBytes,
    ...(modifiedAt > 0 ? { modifiedAt } : {}),
    layer,
    drained: log.drained,
    episodes: isDeleted ? [] : log.episodes,
    clients: saved?.state.clients ?? {},
  }
  const readable = Math.ceil(Math.max(sizeBytes, found.logs?.endBytes ?? 0) / pageBytes)
  const named = whole.map((group) => ({ ...group, named: namedCopies(group, state.copies, lostDisk) }))
  const short = named.filter(
    ({ trailer, named: copies, copies: there }) =>
      copies.some((copy) => !there.some((one) => one.number === copy.number)) ||
      copies.length < trailer.copies,
  ).length
  if (short > 0) notes.push(`${short} of its extent groups lack a copy, which is made anew`)
  const leftAlone = groups
    .filter(({ trailer, copies }) => trailer === undefined && copies.some((copy) => copy.state === 'damaged'))
    .map(({ group }) => group)
  if (leftAlone.length > 0)
    notes.push(
      `${leftAlone.length} extent groups have no copy with a whole trailer: what they hold is missing, their files are left alone`,
    )

  function* partitions(): Generator<RebuiltPartition> {
    for (const some of Map.groupBy(named, ({ group }) => groupPartition(group).key).values()) {
      const rows = some.map(({ group, trailer, copies, named: namesCopies }): Row => {
        const tiers = new Set(copies.map(({ tier }) => tier))
        const { extents, checksums, zeros } = trailer
        const value = encodeGroupRow({
          layer,
          tier: tiers.has('hdd') ? 'hdd' : 'flash',
          ...(tiers.size > 1 ? { mixed: true } : {}),
          state: 'whole',
          copies: namesCopies.map(refOf),
          extents,
          checksums,
          ...(zeros.length > 0 ? { zeros } : {}),
        })
        return { key: group, value }
      })
      yield { name: groupPartition(some[0].group), epoch, changes: inChanges(rows) }
    }
    const namedOf = new Map(named.map((one) => [one.group, one.named]))
    const unnamed: DiskRef[] = []
    const index: Row[] = []
    for (const { group, copies } of groups) {
      if (leftAlone.includes(group)) continue
      const isNamed = namedOf.get(group)
      const isLeft = (copy: CopyRef): boolean =>
        isNamed !== undefined && isNamed.every(({ number }) => number !== copy.number)
      const lost = isNamed?.filter(({ number }) => copies.every((copy) => copy.number !== number)) ?? []
      const planned: PlannedCopy[] = [...copies, ...lost].map((copy) => ({
        ...refOf(copy),
        ...(isLeft(copy) ? { left: true } : {}),
      }))
      index.push({ key: group, value: encodePlannedCopies(planned) })
      for (const copy of copies.filter(isLeft))
        if (!unnamed.some((disk) => sameDisk(disk, copy))) unnamed.push(diskOf(copy))
    }
    if (unnamed.length > 0) index.push({ key: leftBehindRowKey, value: encodeLeftBehind(unnamed) })
    if (index.length > 0) yield { name: groupsOfPartition(vdisk), epoch, changes: inChanges(index) }
    const least: Row[] = []
    if (!isDeleted)
      for (const { number, rows } of mapOf(whole, readable)) {
        const changes = inChanges(rows)
        yield { name: mapPartition(vdisk, layer, number), epoch, changes }
        const version = Buffer.alloc(8)
        version.writeBigUInt64LE(BigInt(changes.length))
        least.push({ key: partRowKey(layer, number), value: version })
      }
    // The state in the last one: until it is there nobody finds a vDisk.
    yield {
      name: vdiskPartition(vdisk),
      epoch,
      changes: inChanges([...least, { key: stateRowKey, value: encodeVDiskState(state) }]),
    }
  }
  return { vdisk, epoch, state, notes, groups: whole.length, leftAlone, partitions: partitions() }
}

type WholeGroup = GroupOnDisks & { readonly trailer: Trailer }

const wholeCopies = ({ copies }: GroupOnDisks): number =>
  copies.reduce((count, { state }) => count + (state === 'whole' ? 1 : 0), 0)

const highest = (...numbers: readonly number[]): number => numbers.reduce((a, b) => Math.max(a, b), 0)

/** The newest sequence that the trailer knows of. */
const newestOf = ({ extents, zeros, standing }: Trailer): number =>
  [...extents, ...zeros].reduce((most, { sequence }) => Math.max(most, sequence), standing?.through ?? 0)

function endOf(trailers: readonly Trailer[], logs: LogsOnDisks | undefined): number {
  let end = logs?.endBytes ?? 0
  for (const { extents } of trailers)
    for (const { page, count } of extents) end = Math.max(end, (page + count) * pageBytes)
  return end
}

/**
 * The copies that the group's row names: of whole ones, on distinct nodes (I1), the youngest first, for an old one was replaced because it
 * was bad or gone. Then files whose trailer alone may be damaged, and at last disks that are not there.
 */
function namedCopies(
  { copies, trailer }: WholeGroup,
  asked: number,
  lostDisk: VDiskOnDisks['lostDisk'],
): readonly CopyRef[] {
  const wanted = Math.max(asked, trailer.copies)
  const named: CopyRef[] = []
  const there = copies.toSorted((a, b) => b.number - a.number)
  for (const state of ['whole', 'damaged'] as const)
    for (const copy of there)
      if (copy.state === state && named.length < wanted && !named.some(({ node }) => node === copy.node))
        named.push(copy)
  for (let number = highest(...copies.map((one) => one.number)) + 1; named.length < wanted; number++) {
    const disk = lostDisk(named.map(({ node }) => node))
    if (disk === undefined) break
    named.push({ ...disk, number: number as CopyRef['number'] })
  }
  return named
}

const refOf = ({ node, disk, incarnation, number }: CopyRef): CopyRef => ({ node, disk, incarnation, number })

// ---- the log ----

interface RebuiltLog {
  readonly drained: Sequence
  readonly episodes: readonly Episode[]
  readonly notes: readonly string[]
}

interface Stretch {
  readonly id: EpisodeId
  readonly first: number
  /** The last sequence that counts. */
  readonly end: number
  readonly disks: readonly EpisodeOnDisk[]
}

/**
 * Which episodes the row is to name, and from where on they are to be replayed. A later episode ends those before it where it begins,
 * as its row did: what they have beyond was never acknowledged, or lies in the later one too.
 */
function logOf({ logs, saved }: VDiskOnDisks, trailers: readonly Trailer[]): RebuiltLog {
  const freed = logs === undefined || logs.freed === Number.MAX_SAFE_INTEGER ? 0 : logs.freed
  const all = stretchesOf(logs?.episodes ?? [])
  const proven = highest(
    freed,
    drainedByFreedGroups(all, logs?.ofFreedGroups ?? []),
    saved?.state.drained ?? 0,
    ...trailers.map(({ standing }) => standing?.drained ?? 0),
  )
  const known = highest(proven, ...trailers.map(newestOf))
  const stretches = all.filter(({ end }) => end > proven)
  // Backwards from the newest, as far as each goes on where the one after it begins.
  let from = (stretches.at(-1)?.end ?? proven) + 1
  let kept = stretches.length
  for (; kept > 0 && from > proven + 1; kept--) {
    const { first, end, disks } = stretches[kept - 1]
    if (end < from - 1 || !disks.some(({ last }) => last >= end)) break
    const begins = Math.min(...disks.filter(({ last }) => last >= end).map((disk) => disk.first))
    from = Math.max(begins, first)
    if (from > first) {
      kept--
      break
    }
  }
  const last = stretches.at(-1)?.end ?? proven
  // Later records were drained, at least in part: what is left of the log is from before, and replayed it would hide them.
  if (last < known) {
    const notes = [
      `its log is known up to ${last}, and its extent groups up to ${known}: what was written last may be missing`,
    ]
    return { drained: known as Sequence, episodes: [], notes: known > proven ? notes : [] }
  }
  const drained = Math.max(proven, from - 1)
  const notes =
    drained > proven
      ? [`records ${proven + 1} to ${drained} of its log are on no disk: they were drained, or are lost`]
      : []
  const episodes = stretches
    .filter(({ end }) => end > drained)
    .map(({ id, first, end, disks }, i, all): Episode => ({
      id,
      first: first as Sequence,
      ...(i === all.length - 1 ? {} : { end: end as Sequence }),
      replicas: disks.map(({ disk }) => disk),
    }))
  return { drained: drained as Sequence, episodes, notes }
}

/**
 * A group that an undrained record names is never freed (I7): where it is on no disk the row said that the record was drained. Trailers may say
 * less: what died with one drain is freed before the next one says that this one went through.
 */
function drainedByFreedGroups(stretches: readonly Stretch[], records: LogsOnDisks['ofFreedGroups']): number {
  const byId = new Map(stretches.map((stretch) => [stretch.id, stretch]))
  let drained = 0
  for (const { episode, sequence } of records) {
    // Of an attempt, or beyond an episode's end, it never counted, and neither did its group.
    const stretch = byId.get(episode)
    if (stretch !== undefined && sequence >= stretch.first && sequence <= stretch.end)
      drained = Math.max(drained, sequence)
  }
  return drained
}

function stretchesOf(found: readonly EpisodeOnDisk[]): Stretch[] {
  const byId = new Map<EpisodeId, EpisodeOnDisk[]>()
  for (const one of found) byId.set(one.id, [...(byId.get(one.id) ?? []), one])
  const stretches: Stretch[] = []
  for (const [id, disks] of [...byId].sort(([a], [b]) => b - a)) {
    const first = disks[0].episodeFirst
    // Without its `open` record it was an attempt; unless that was drained, and freed.
    if (!disks.some((one) => one.hasOpen || one.first > first)) continue
    const next = stretches[0]
    const last = highest(...disks.map((one) => one.last))
    const end = next === undefined ? last : Math.min(last, next.first - 1)
    if (end >= first) stretches.unshift({ id, first, end, disks })
  }
  return stretches
}

// ---- the map ----

interface Placed {
  readonly extent: Extent
  /** From 1: what the map's rows are encoded with. */
  readonly handle: number
}

/** The partitions of the map that name something; nothing past `endPage`. */
function* mapOf(
  groups: readonly WholeGroup[],
  endPage: number,
): Generator<{ readonly number: number; readonly rows: readonly Row[] }> {
  const byPartition = new Map<number, Placed[]>()
  groups.forEach(({ trailer }, i) => {
    for (const extent of trailer.extents) {
      const end = Math.min(extent.page + extent.count, endPage)
      for (
        let number = Math.floor(extent.page / pagesPerPartition);
        number * pagesPerPartition < end;
        number++
      ) {
        const placed = byPartition.get(number)
        if (placed === undefined) byPartition.set(number, [{ extent, handle: i + 1 }])
        else placed.push({ extent, handle: i + 1 })
      }
    }
  })
  const zeros = groups.flatMap(({ trailer }) => trailer.zeros)
  const sequences = new Float64Array(pagesPerPartition)
  const handles = new Uint32Array(pagesPerPartition)
  const places = new Uint16Array(pagesPerPartition)
  for (const number of [...byPartition.keys()].sort((a, b) => a - b)) {
    const from = number * pagesPerPartition
    const to = Math.min(from + pagesPerPartition, endPage)
    sequences.fill(0)
    handles.fill(hole)
    for (const { page, count, sequence } of zeros)
      for (let at = Math.max(page, from); at < Math.min(page + count, to); at++)
        if (sequences[at - from] < sequence) sequences[at - from] = sequence
    for (const { extent, handle } of byPartition.get(number)!)
      for (let at = Math.max(extent.page, from); at < Math.min(extent.page + extent.count, to); at++) {
        // Of one sequence all have the same bytes; zeros that stand beside them are theirs.
        if (sequences[at - from] > extent.sequence) continue
        sequences[at - from] = extent.sequence
        handles[at - from] = handle
        places[at - from] = extent.at + at - extent.page
      }
    const idOf = (handle: number): GroupId => groups[handle - 1].group
    const rows = rowsOf(number, handles, places, idOf)
    if (rows.length > 0) yield { number, rows }
  }
}

function rowsOf(
  number: number,
  handles: Uint32Array,
  places: Uint16Array,
  idOf: (handle: number) => GroupId,
): Row[] {
  const digest = new Uint32Array(vBlocksPerPartition)
  const rows: Row[] = []
  for (let i = 0; i < vBlocksPerPartition; i++) {
    const [at, end] = [i * pagesPerVBlock, (i + 1) * pagesPerVBlock]
    const block = emptyVBlock()
    block.groups.set(handles.subarray(at, end))
    if (block.groups.every((group) => group === hole)) continue
    block.pages.set(places.subarray(at, end))
    digest[i] = 1
    rows.push({
      key: vBlockKey(number * vBlocksPerPartition + i),
      value: encodeOwnRow(block, digest[i], idOf),
    })
  }
  return rows.length === 0 ? [] : [...rows, { key: digestKey, value: encodeDigest(digest, []) }]
}

function inChanges(rows: readonly Row[]): Row[][] {
  const changes: Row[][] = [[]]
  let bytes = 0
  for (const row of rows) {
    if (bytes > 0 && bytes + row.key.length + row.value.length > changeBytesUsual) {
      changes.push([])
      bytes = 0
    }
    bytes += row.key.length + row.value.length
    assert(bytes <= changeBytesMax, 'a row larger than a change takes')
    changes.at(-1)!.push(row)
  }
  return changes
}
