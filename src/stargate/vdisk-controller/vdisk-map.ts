/**
 * The map of one live layer, as its owner sees it: a cache over Medusa that can't go stale, since the owner raises a
 * partition's epoch before it first reads it, and is the only one that changes it (DESIGN section 7, "fence, then read").
 *
 * Each partition (1 GiB) has a row per vBlock, some deltas upon them (map-delta.ts), and one row `digest`: the version of each vBlock, so
 * that a row or delta that is absent or old shows itself as damage and not as a hole (I5, F12). The vDisk's row keeps, per partition, the
 * least version that it may have.
 *
 *   change ─▶ of vBlocks that change little: one delta for all; of others: their rows
 *          └▶ some vBlocks that the oldest delta names are folded: their rows as they are now. A delta that nobody needs any more goes
 *
 * Every change folds its part, so that no more than about `deltasMax` are ever there, and none has to fold them all.
 */
import { assert } from '../../base/assert.ts'
import { atOnce } from '../../base/at-once.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { GroupId, LayerId } from '../../base/ids.ts'
import { othersTurn } from '../../base/in-turns.ts'
import { KiB, MiB, pagesPerVBlock, vBlocksPerPartition } from '../../base/units.ts'
import { changeBytesMax, type Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { GroupTable } from './group-table.ts'
import {
  applyDeltas,
  type ChangedVBlock,
  deltaKey,
  deltaKeysEnd,
  encodeMapDelta,
  keyBefore,
  MapDelta,
  runBytesMax,
  runsOf,
} from './map-delta.ts'
import { decodeDigest, digestKey, encodeDigest } from './map-digest.ts'
import { bad, copyOfVBlock, decodeOwnRow, emptyVBlock, encodeOwnRow, hole, type VBlock } from './map-row.ts'
import { mapPartition, partRowKey } from './rows.ts'
import { type MedusaAccess, OwnedPartition } from './owned-partition.ts'
import type { VDiskRow } from './vdisk-row.ts'

export const vBlockOf = (page: number): number => Math.floor(page / pagesPerVBlock)

export const vBlockKey = (vBlock: number): string =>
  `v${String(vBlock % vBlocksPerPartition).padStart(4, '0')}`

/** vBlocks that one vDisk keeps in memory: 1.5 KiB each, so 24 MiB, which cover 16 GiB. */
const vBlocksMax = 16 * 1024

/** One change of the map holds rows of about so many bytes, far below what Medusa takes in one: each is synced on two disks, and costs the more, the fewer it holds. */
const changeBytesUsual = changeBytesMax / 2
/** Of one partition, and their bytes: what is read to read one of its vBlocks, where they are not in memory. */
const deltasMax = 16
const deltaBytesMax = 512 * KiB
/** Of all of the vDisk's partitions, in memory. */
const deltaBytesKeptMax = 32 * MiB
/** Of rows that one change folds, beside its own. */
const foldBytesMax = (3 * changeBytesMax) / 8
const foldsMax = 128
/** That change in one turn of the loop: about a millisecond. */
const vBlocksInATurn = 100
/** Of an empty stretch, before others have their turn: some 100 µs. And of one whose vBlocks are in memory, with what is done with each of their pages. */
const partitionsInOneGo = 64
const vBlocksInOneGo = 32
/** Of a stretch, where they are not in memory: half a MiB at most, as each is 1.5 KiB and rarely more. */
const vBlocksReadAtOnce = 128
const readsAtOnceMax = 16

/** Where a page shall point from now on. */
export interface MapEntry {
  readonly page: number
  /** `hole`, `bad`, or a group. */
  readonly group: GroupHandle
  readonly at: number
}

/** Pages from inclusive to exclusive. */
export interface PageRange {
  readonly page: number
  readonly end: number
}

interface Partition {
  readonly rows: OwnedPartition
  /** Version of each vBlock, 0 where it never changed. */
  readonly digest: Uint32Array
  /** The key of the oldest delta that is needed; older ones came back from the dead. Undefined: none is. */
  oldest: string | undefined
  /** In their order; undefined where they are not in memory. Touched only with `rows.serial` held, but to forget them. */
  deltas: readonly MapDelta[] | undefined
  /** Version of each vBlock's own row, as far as it was read or written by this owner: deltas up to it count for nothing. */
  readonly folded: Uint32Array
  /** vBlocks that could not be folded: what is left of them stays as it is. */
  readonly damaged: Set<number>
}

export class VDiskMap {
  readonly #access: MedusaAccess
  readonly #row: VDiskRow
  readonly #layer: LayerId
  readonly #groups: GroupTable
  readonly #partitions = new Map<number, Promise<Partition>>()
  readonly #vBlocks = new Map<number, VBlock>()
  readonly #loading = new Map<number, Promise<void>>()
  /** Partitions whose deltas are in memory, the one that was used last behind all others; and the bytes of them all. */
  readonly #withDeltas = new Set<Partition>()
  #deltaBytes = 0
  /** Partitions, and the version that the vDisk's row is to be told of each. */
  readonly #untold = new Map<number, number>()
  /** Told of each page whose entry changed, after the change is durable: what counts references. */
  onChanged: (vBlock: number, before: GroupHandle, after: GroupHandle) => void = () => undefined

  constructor(access: MedusaAccess, row: VDiskRow, layer: LayerId, groups: GroupTable) {
    this.#access = access
    this.#row = row
    this.#layer = layer
    this.#groups = groups
  }

  /** The vBlock's entries if they are in memory. Look again after any await. */
  peek(vBlock: number): VBlock | undefined {
    return this.#vBlocks.get(vBlock)
  }

  /** Brings the vBlock into memory. FENCED where ownership is over, DAMAGED_METADATA where a row is missing. */
  load(vBlock: number): Promise<void> {
    if (this.#vBlocks.has(vBlock)) return Promise.resolve()
    let loading = this.#loading.get(vBlock)
    if (loading === undefined) {
      loading = this.#load(vBlock).finally(() => this.#loading.delete(vBlock))
      this.#loading.set(vBlock, loading)
    }
    return loading
  }

  /** The vBlock's entries as they are at some moment after the call. */
  async loaded(vBlock: number): Promise<VBlock> {
    for (;;) {
      const block = this.peek(vBlock)
      if (block !== undefined) return block
      await this.load(vBlock)
    }
  }

  /**
   * Points pages elsewhere, durably, partition by partition; idempotent. Afterwards, and not before, `peek` shows the new entries, and
   * `leastVersions` has what the vDisk's row must keep from now on. `entries` are sorted by page.
   */
  async change(entries: readonly MapEntry[]): Promise<void> {
    const byVBlock = new Map<number, MapEntry[]>()
    for (const entry of entries) {
      const vBlock = vBlockOf(entry.page)
      const list = byVBlock.get(vBlock)
      if (list === undefined) byVBlock.set(vBlock, [entry])
      else list.push(entry)
    }
    const byPartition = new Map<number, number[]>()
    for (const vBlock of byVBlock.keys()) {
      const number = partitionOf(vBlock)
      const list = byPartition.get(number)
      if (list === undefined) byPartition.set(number, [vBlock])
      else list.push(vBlock)
    }
    for (const [number, vBlocks] of byPartition) {
      const partition = await this.#partition(number)
      for (let changed = 0; changed < vBlocks.length;)
        changed += await partition.rows.serial.run(() =>
          this.#changeVBlocks(partition, vBlocks.slice(changed), byVBlock),
        )
    }
  }

  /**
   * Of each partition that has a version which the vDisk's row may not have been told: the row to put there (I5, M10). A change that went through while
   * what was to follow it did not is among them for as long as nobody was told, also one by an earlier owner.
   */
  leastVersions(): Row[] {
    return Array.from(this.#untold, ([number, version]) => {
      const value = Buffer.alloc(8)
      value.writeBigUInt64LE(BigInt(version))
      return { key: partRowKey(this.#layer, number), value }
    })
  }

  /** The vDisk's row has these, durably. */
  leastVersionsTold(rows: readonly Row[]): void {
    const told = new Map(rows.map(({ key, value }) => [key, Number(value.readBigUInt64LE(0))]))
    for (const [number, version] of this.#untold)
      if ((told.get(partRowKey(this.#layer, number)) ?? -1) >= version) this.#untold.delete(number)
  }

  /**
   * Calls `visit` with every vBlock of one partition that is not empty, and then `done`, in one step: no change of the
   * partition comes in between, and what changes later is told by `onChanged`. DAMAGED_METADATA where a row is missing: what
   * is counted from less than all rows would free what they name (I7).
   */
  async scan(
    number: number,
    visit: (vBlock: number, block: VBlock) => void,
    done: () => void,
  ): Promise<void> {
    const partition = await this.#partition(number)
    await partition.rows.serial.run(async () => {
      const deltas = await this.#deltas(partition)
      const left = new Set<number>()
      partition.digest.forEach((version, i) => version > 0 && left.add(i))
      for await (const row of partition.rows.scan('v', 'w')) {
        const i = Number(row.key.slice(1))
        visit(number * vBlocksPerPartition + i, this.#decode(partition, deltas, i, row))
        left.delete(i)
      }
      for (const i of left)
        visit(number * vBlocksPerPartition + i, this.#decode(partition, deltas, i, undefined))
      done()
    })
  }

  /** Brings these vBlocks into memory, sorted as they are: those of one partition with few reads. They are the last to be forgotten. As `load`. */
  async loadAll(vBlocks: readonly number[]): Promise<void> {
    const away = vBlocks.filter((vBlock) => !this.#touch(vBlock))
    const batches: number[][] = []
    for (const vBlock of away) {
      const batch = batches.at(-1)
      if (
        batch !== undefined &&
        batch.length < vBlocksReadAtOnce &&
        partitionOf(batch[0]) === partitionOf(vBlock)
      )
        batch.push(vBlock)
      else batches.push([vBlock])
    }
    await atOnce(batches, readsAtOnceMax, async (batch) => {
      const partition = await this.#partition(partitionOf(batch[0]))
      await partition.rows.serial.run(() => this.#bring(partition, batch))
    })
  }

  /**
   * Pages of the ranges that are not holes, in order, those of one range and one vBlock at a time: as they are when they are given. `ranges` are
   * sorted, none over another. vBlocks that never changed are passed over without reading, and others are read ahead. However long the
   * ranges are, or however many, others have their turns.
   */
  async *mappedPages(ranges: readonly PageRange[]): AsyncGenerator<readonly number[]> {
    const { clock } = this.#access.platform
    let passed = 0
    for (const [at, range] of ranges.entries())
      for (let vBlock = vBlockOf(range.page); vBlock * pagesPerVBlock < range.end; vBlock++) {
        const { digest } = await this.#partition(partitionOf(vBlock))
        const index = vBlock % vBlocksPerPartition
        if (digest[index] === 0) {
          let next = index + 1
          while (next < vBlocksPerPartition && digest[next] === 0) next++
          vBlock += next - index - 1
          // A large vDisk that is empty is passed over partition by partition.
          if (++passed % partitionsInOneGo === 0) await othersTurn(clock)
          continue
        }
        if (this.peek(vBlock) === undefined) await this.#loadAhead(vBlock, ranges, at)
        else if (++passed % vBlocksInOneGo === 0) await othersTurn(clock)
        const { groups } = await this.loaded(vBlock)
        this.#touch(vBlock)
        const from = Math.max(range.page, vBlock * pagesPerVBlock)
        const to = Math.min(range.end, (vBlock + 1) * pagesPerVBlock)
        const pages: number[] = []
        for (let page = from; page < to; page++) if (groups[page % pagesPerVBlock] !== hole) pages.push(page)
        if (pages.length > 0) yield pages
      }
  }

  /** This one, and those that the ranges touch behind it in its partition and that are not in memory, with one read. */
  async #loadAhead(first: number, ranges: readonly PageRange[], at: number): Promise<void> {
    const partition = await this.#partition(partitionOf(first))
    await partition.rows.serial.run(() => {
      const away: number[] = []
      const past = (partitionOf(first) + 1) * vBlocksPerPartition
      for (let vBlock = first, i = at; i < ranges.length && away.length < vBlocksReadAtOnce; i++) {
        const { page, end } = ranges[i]
        vBlock = Math.max(vBlock, vBlockOf(page))
        if (vBlock >= past) break
        for (; vBlock < past && vBlock * pagesPerVBlock < end && away.length < vBlocksReadAtOnce; vBlock++)
          if (partition.digest[vBlock % vBlocksPerPartition] > 0 && !this.#vBlocks.has(vBlock))
            away.push(vBlock)
      }
      return this.#bring(partition, away)
    })
  }

  /** Reads those of one partition that are not in memory, with one read. With its `serial` held. */
  async #bring(partition: Partition, vBlocks: readonly number[]): Promise<void> {
    const isEmpty = (vBlock: number): boolean => partition.digest[vBlock % vBlocksPerPartition] === 0
    const away = vBlocks.filter((vBlock) => !this.#vBlocks.has(vBlock))
    const full = away.filter((vBlock) => !isEmpty(vBlock))
    if (full.length > 0) {
      const deltas = await this.#deltas(partition)
      const rows = new Map((await partition.rows.read(full.map(vBlockKey))).map((row) => [row.key, row]))
      for (const vBlock of full)
        this.#remember(
          vBlock,
          this.#decode(partition, deltas, vBlock % vBlocksPerPartition, rows.get(vBlockKey(vBlock))),
        )
    }
    for (const vBlock of away) if (isEmpty(vBlock)) this.#remember(vBlock, emptyVBlock())
  }

  async #load(vBlock: number): Promise<void> {
    const partition = await this.#partition(partitionOf(vBlock))
    await partition.rows.serial.run(() => this.#bring(partition, [vBlock]))
  }

  /** The vBlock as its own row and the deltas upon it say. Throws DAMAGED_METADATA where one is missing or old. */
  #decode(
    { rows, digest, folded, damaged }: Partition,
    deltas: readonly MapDelta[],
    index: number,
    row: Row | undefined,
  ): VBlock {
    // Groups that were overwritten since, and freed, are to get no number: they are named here until the vBlock is whole.
    const ids: GroupId[] = []
    const placeOf = (id: GroupId): number => ids.push(id)
    const { block, version: own } = decodeOwnRow(row?.value, placeOf)
    if (applyDeltas(deltas, index, block, own, placeOf) !== digest[index])
      throw this.#damaged(rows, vBlockKey(index))
    const handles = new Map<number, GroupHandle>()
    block.groups.forEach((place, i) => {
      if (place === hole || place === bad) return
      let handle = handles.get(place)
      if (handle === undefined) handles.set(place, (handle = this.#groups.handleOf(ids[place - 1])))
      block.groups[i] = handle
    })
    folded[index] = own
    damaged.delete(index)
    return block
  }

  #damaged(rows: OwnedPartition, key: string): NdfsError {
    return new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read the map of vDisk ${this.#row.vdisk}: row ${key} is missing or old, or a change upon it is`,
      { partition: rows.name.key, row: key },
    )
  }

  /** Changes the first of these, as many as go into one change; tells how many. */
  async #changeVBlocks(
    partition: Partition,
    vBlocks: readonly number[],
    entries: ReadonlyMap<number, readonly MapEntry[]>,
  ): Promise<number> {
    const { clock } = this.#access.platform
    const digest = partition.digest.slice()
    const toFold = await this.#toFold(partition, vBlocks)
    const changed: (ChangedVBlock & { readonly vBlock: number })[] = []
    const small: ChangedVBlock[] = []
    const put: Row[] = []
    let bytes = 0
    for (const [i, vBlock] of vBlocks.entries()) {
      if (i > 0 && i % vBlocksInATurn === 0) await othersTurn(clock)
      if (!this.#vBlocks.has(vBlock)) await this.#bring(partition, vBlocks.slice(i, i + vBlocksReadAtOnce))
      const before = this.#vBlocks.get(vBlock)
      assert(before !== undefined, 'what was just read is in memory')
      const after = copyOfVBlock(before)
      for (const entry of entries.get(vBlock)!) {
        after.groups[entry.page % pagesPerVBlock] = entry.group
        after.pages[entry.page % pagesPerVBlock] = entry.at
      }
      const index = vBlock % vBlocksPerPartition
      const one = { vBlock, index, version: ++digest[index], before, after }
      changed.push(one)
      const runs = runsOf(one)
      if (2 * runs.delta < runs.own && !toFold.has(index)) {
        small.push(one)
        bytes += runs.delta * runBytesMax
      } else {
        toFold.delete(index)
        bytes += this.#putRow(put, index, one.version, after)
      }
      if (bytes >= changeBytesUsual) break
    }
    bytes = 0
    for (const [index, block] of toFold) {
      if (bytes >= foldBytesMax) break
      bytes += this.#putRow(put, index, digest[index], block)
    }
    const deltas = [...(await this.#deltas(partition))]
    if (small.length > 0) {
      const key = deltaKey(partition.rows.version + 1)
      const row = { key, value: encodeMapDelta(small, (handle) => this.#groups.idOf(handle)) }
      put.push(row)
      deltas.push(new MapDelta(row))
    }
    const folded = partition.folded.slice()
    for (const { key, value } of put)
      if (key.startsWith('v')) folded[Number(key.slice(1))] = value.readUInt32LE(0)
    const [needed, gone] = split(deltas, (delta) => isNeeded(delta, folded))
    put.push({ key: digestKey, value: encodeDigest(digest, needed) })
    await partition.rows.change(
      put,
      gone.map(({ key }) => key),
    )
    this.#untold.set(partitionOf(vBlocks[0]), partition.rows.version)
    partition.digest.set(digest)
    partition.folded.set(folded)
    partition.oldest = needed[0]?.key
    this.#keepDeltas(partition, needed)
    for (const { vBlock, before, after } of changed) {
      this.#remember(vBlock, after)
      for (let i = 0; i < pagesPerVBlock; i++)
        if (before.groups[i] !== after.groups[i]) this.onChanged(vBlock, before.groups[i], after.groups[i])
    }
    return changed.length
  }

  /** Tells how many bytes it is. */
  #putRow(put: Row[], index: number, version: number, block: VBlock): number {
    const value = encodeOwnRow(block, version, (handle) => this.#groups.idOf(handle))
    put.push({ key: vBlockKey(index), value })
    return value.length
  }

  /**
   * What this change is to fold, as it is now: so much of what the oldest delta still names that it is gone before there are too many. A
   * vBlock is folded for all deltas at once, so that a round over all of them empties those that were there when it began.
   */
  async #toFold(partition: Partition, changing: readonly number[]): Promise<Map<number, VBlock>> {
    const { folded, rows } = partition
    const deltas = await this.#deltas(partition)
    const blocks = new Map<number, VBlock>()
    if (deltas.length === 0) return blocks
    const slots = Math.min(
      deltasMax - deltas.length,
      Math.floor((deltaBytesMax / bytesOf(deltas) - 1) * deltas.length),
    )
    const { damaged } = partition
    const namedBy = (delta: MapDelta): number[] =>
      [...delta.indexes].filter((index) => folded[index] < delta.versionOf(index) && !damaged.has(index))
    const named = deltas.map(namedBy).find((indexes) => indexes.length > 0) ?? []
    const first = partitionOf(changing[0]) * vBlocksPerPartition
    const count = Math.ceil(named.length / Math.max(1, slots))
    const away: number[] = []
    for (const index of named.slice(0, Math.min(count, foldsMax))) {
      const block = this.#vBlocks.get(first + index)
      if (block === undefined) away.push(index)
      else blocks.set(index, block)
    }
    if (away.length > 0) {
      const read = new Map((await rows.read(away.map(vBlockKey))).map((row) => [row.key, row]))
      for (const index of away)
        try {
          blocks.set(index, this.#decode(partition, deltas, index, read.get(vBlockKey(index))))
        } catch (error) {
          if (!hasCode(error, 'DAMAGED_METADATA')) throw error
          damaged.add(index)
        }
    }
    return blocks
  }

  #partition(number: number): Promise<Partition> {
    let partition = this.#partitions.get(number)
    if (partition === undefined) {
      partition = this.#fenceAndRead(number)
      this.#partitions.set(number, partition)
      partition.catch(() => this.#partitions.delete(number))
    }
    return partition
  }

  /** Raises the partition's epoch, and only then reads it. */
  async #fenceAndRead(number: number): Promise<Partition> {
    const rows = await OwnedPartition.raise(
      this.#access,
      mapPartition(this.#row.vdisk, this.#layer, number),
      this.#row,
    )
    const [leastRow] = await this.#row.rows([partRowKey(this.#layer, number)])
    const [digestRow] = await rows.read([digestKey])
    const least = leastRow === undefined ? 0 : Number(leastRow.value.readBigUInt64LE(0))
    if (rows.version < least || (least > 0 && digestRow === undefined))
      throw new NdfsError(
        'DAMAGED_METADATA',
        `Cannot read the map of vDisk ${this.#row.vdisk}: partition ${rows.name.key} is older than recorded`,
        { partition: rows.name.key, version: rows.version, least },
      )
    // An earlier owner may have changed it and died before it told.
    if (digestRow !== undefined && rows.versionFound > least) this.#untold.set(number, rows.version)
    const digest = new Uint32Array(vBlocksPerPartition)
    const oldest = digestRow === undefined ? undefined : decodeDigest(digestRow.value, digest)
    return {
      rows,
      digest,
      oldest,
      deltas: undefined,
      folded: new Uint32Array(vBlocksPerPartition),
      damaged: new Set(),
    }
  }

  /** The partition's deltas, read where they are not in memory. */
  async #deltas(partition: Partition): Promise<readonly MapDelta[]> {
    let { deltas } = partition
    if (deltas === undefined) {
      if (partition.oldest === undefined) return []
      const read: MapDelta[] = []
      for await (const { key, value } of partition.rows.scan(keyBefore(partition.oldest), deltaKeysEnd))
        try {
          // A row is a part of the answer that brought it: kept by itself it doesn't keep all of that.
          read.push(new MapDelta({ key, value: Buffer.from(value) }))
        } catch (error) {
          if (!hasCode(error, 'DAMAGED_METADATA')) throw error
          // What it made is missing then, and is found to be where it is needed.
          this.#access.platform.log.error(messageOf(error), { partition: partition.rows.name.key })
        }
      deltas = read
    }
    this.#keepDeltas(partition, deltas)
    return deltas
  }

  /** In memory, with those of other partitions that were used lately; none takes no room, and is never forgotten. */
  #keepDeltas(partition: Partition, deltas: readonly MapDelta[]): void {
    this.#forgetDeltas(partition)
    partition.deltas = deltas
    if (deltas.length === 0) return
    this.#withDeltas.add(partition)
    this.#deltaBytes += keptBytesOf(deltas)
    for (const other of this.#withDeltas) {
      if (this.#deltaBytes <= deltaBytesKeptMax || other === partition) break
      this.#forgetDeltas(other)
    }
  }

  #forgetDeltas(partition: Partition): void {
    if (this.#withDeltas.delete(partition)) this.#deltaBytes -= keptBytesOf(partition.deltas ?? [])
    partition.deltas = undefined
  }

  /** Makes it the last to be forgotten, as it is now; false where it is not in memory. */
  #touch(vBlock: number): boolean {
    const block = this.#vBlocks.get(vBlock)
    if (block !== undefined) this.#remember(vBlock, block)
    return block !== undefined
  }

  #remember(vBlock: number, block: VBlock): void {
    this.#vBlocks.delete(vBlock)
    this.#vBlocks.set(vBlock, block)
    if (this.#vBlocks.size > vBlocksMax)
      for (const oldest of this.#vBlocks.keys()) {
        this.#vBlocks.delete(oldest)
        break
      }
  }
}

const partitionOf = (vBlock: number): number => Math.floor(vBlock / vBlocksPerPartition)

const bytesOf = (deltas: readonly MapDelta[]): number => deltas.reduce((sum, { bytes }) => sum + bytes, 0)

const keptBytesOf = (deltas: readonly MapDelta[]): number =>
  deltas.reduce((sum, { bytesKept }) => sum + bytesKept, 0)

/** It says of some vBlock what the vBlock's own row doesn't. */
function isNeeded(delta: MapDelta, folded: Uint32Array): boolean {
  for (const index of delta.indexes) if (folded[index] < delta.versionOf(index)) return true
  return false
}

function split<T>(items: readonly T[], belongs: (item: T) => boolean): [those: T[], others: T[]] {
  const parts: [T[], T[]] = [[], []]
  for (const item of items) parts[belongs(item) ? 0 : 1].push(item)
  return parts
}
