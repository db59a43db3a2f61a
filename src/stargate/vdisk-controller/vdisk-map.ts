/**
 * The map of one live layer, as its owner sees it: a cache over Medusa that can't go stale, since the owner raises a
 * partition's epoch before it first reads it, and is the only one that changes it (DESIGN section 7, "fence, then read").
 *
 * Each partition (1 GiB) has a row per vBlock and one row `digest`: the version of each vBlock's row, so that one that
 * is absent or old shows itself as damage and not as a hole (I5, F12). The vDisk's row keeps, per partition, the least
 * version that it may have.
 */
import { NdfsError } from '../../base/errors.ts'
import type { GroupId, LayerId } from '../../base/ids.ts'
import { mapPartitionBytes, pagesPerVBlock, vBlockBytes } from '../../base/units.ts'
import { changeBytesMax, type Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { GroupTable } from './group-table.ts'
import { copyOfVBlock, decodeVBlock, emptyVBlock, encodeVBlock, hole, type VBlock } from './map-row.ts'
import { mapPartition, partRowKey } from './rows.ts'
import { type MedusaAccess, OwnedPartition } from './owned-partition.ts'
import type { VDiskRow } from './vdisk-row.ts'

const vBlocksPerPartition = mapPartitionBytes / vBlockBytes
export const digestKey = 'digest'
export const vBlockKey = (vBlock: number): string =>
  `v${String(vBlock % vBlocksPerPartition).padStart(4, '0')}`

/** vBlocks that one vDisk keeps in memory: 1.5 KiB each, so 24 MiB, which cover 16 GiB. */
const vBlocksMax = 16 * 1024

/** One change of the map holds rows of about so many bytes, far below what Medusa takes in one: each is synced on two disks, and costs the more, the fewer it holds. */
const changeBytesUsual = changeBytesMax / 2

/** Where a page shall point from now on. */
export interface MapEntry {
  readonly page: number
  /** `hole`, `bad`, or a group. */
  readonly group: GroupHandle
  readonly at: number
}

interface Partition {
  readonly rows: OwnedPartition
  /** Version of each vBlock's row, 0 where there is none. */
  readonly digest: Uint32Array
}

export class VDiskMap {
  readonly #access: MedusaAccess
  readonly #row: VDiskRow
  readonly #layer: LayerId
  readonly #groups: GroupTable
  readonly #partitions = new Map<number, Promise<Partition>>()
  readonly #vBlocks = new Map<number, VBlock>()
  readonly #loading = new Map<number, Promise<void>>()
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
   * Points pages elsewhere, durably, partition by partition; idempotent. Resolves to the least versions that the vDisk's row must
   * keep from now on. Afterwards, and not before, `peek` shows the new entries. `entries` are sorted by page.
   */
  async change(entries: readonly MapEntry[]): Promise<Row[]> {
    const byVBlock = new Map<number, MapEntry[]>()
    for (const entry of entries) {
      const vBlock = Math.floor(entry.page / pagesPerVBlock)
      const list = byVBlock.get(vBlock)
      if (list === undefined) byVBlock.set(vBlock, [entry])
      else list.push(entry)
    }
    const byPartition = new Map<number, number[]>()
    for (const vBlock of byVBlock.keys()) {
      const number = Math.floor(vBlock / vBlocksPerPartition)
      const list = byPartition.get(number)
      if (list === undefined) byPartition.set(number, [vBlock])
      else list.push(vBlock)
    }
    const least: Row[] = []
    for (const [number, vBlocks] of byPartition) {
      const partition = await this.#partition(number)
      for (let changed = 0; changed < vBlocks.length;)
        changed += await partition.rows.serial.run(() =>
          this.#changeVBlocks(partition, vBlocks.slice(changed), byVBlock),
        )
      const version = Buffer.alloc(8)
      version.writeBigUInt64LE(BigInt(partition.rows.version))
      least.push({ key: partRowKey(this.#layer, number), value: version })
    }
    return least
  }

  /**
   * Calls `visit` with every vBlock of one partition that has a row, and then `done`, in one step: no change of the
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
      const missing = new Set<number>()
      partition.digest.forEach((version, i) => version > 0 && missing.add(i))
      for await (const row of partition.rows.scan('v', 'w')) {
        const i = Number(row.key.slice(1))
        if (row.value.readUInt32LE(0) !== partition.digest[i]) throw this.#damaged(partition, row.key)
        missing.delete(i)
        visit(number * vBlocksPerPartition + i, this.#decode(row.value))
      }
      for (const i of missing) throw this.#damaged(partition, vBlockKey(i))
      done()
    })
  }

  /** Pages of the range that are not holes, in order; vBlocks without a row are passed over without reading. */
  async *mappedPages(from: number, to: number): AsyncGenerator<number> {
    for (let vBlock = Math.floor(from / pagesPerVBlock); vBlock * pagesPerVBlock < to; vBlock++) {
      const partition = await this.#partition(Math.floor(vBlock / vBlocksPerPartition))
      if (partition.digest[vBlock % vBlocksPerPartition] === 0) continue
      const block = await this.loaded(vBlock)
      for (let i = 0; i < pagesPerVBlock; i++) {
        const page = vBlock * pagesPerVBlock + i
        if (page >= from && page < to && block.groups[i] !== hole) yield page
      }
    }
  }

  async #load(vBlock: number): Promise<void> {
    const partition = await this.#partition(Math.floor(vBlock / vBlocksPerPartition))
    await partition.rows.serial.run(async () => {
      if (this.#vBlocks.has(vBlock)) return
      this.#remember(vBlock, await this.#read(partition, vBlock))
    })
  }

  async #read(partition: Partition, vBlock: number): Promise<VBlock> {
    const expected = partition.digest[vBlock % vBlocksPerPartition]
    if (expected === 0) return emptyVBlock()
    const key = vBlockKey(vBlock)
    const [row] = await partition.rows.read([key])
    if (row === undefined || row.value.readUInt32LE(0) !== expected) throw this.#damaged(partition, key)
    return this.#decode(row.value)
  }

  #damaged(partition: Partition, key: string): NdfsError {
    return new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read the map of vDisk ${this.#row.vdisk}: row ${key} is missing or old`,
      { partition: partition.rows.name.key, row: key },
    )
  }

  #decode(value: Buffer): VBlock {
    return decodeVBlock(value.subarray(4), (id) => this.#groups.handleOf(id))
  }

  /** Changes the first of these, as many as go into one change; tells how many. */
  async #changeVBlocks(
    partition: Partition,
    vBlocks: readonly number[],
    entries: ReadonlyMap<number, readonly MapEntry[]>,
  ): Promise<number> {
    const changed: { vBlock: number; before: VBlock; after: VBlock }[] = []
    const digest = partition.digest.slice()
    const put: Row[] = []
    let bytes = 0
    const idOf = (handle: GroupHandle): GroupId => this.#groups.idOf(handle)
    for (const vBlock of vBlocks) {
      const before = this.#vBlocks.get(vBlock) ?? (await this.#read(partition, vBlock))
      const after = copyOfVBlock(before)
      for (const entry of entries.get(vBlock)!) {
        after.groups[entry.page % pagesPerVBlock] = entry.group
        after.pages[entry.page % pagesPerVBlock] = entry.at
      }
      changed.push({ vBlock, before, after })
      const version = ++digest[vBlock % vBlocksPerPartition]
      const value = encodeVBlock(after, idOf, 4)
      value.writeUInt32LE(version)
      put.push({ key: vBlockKey(vBlock), value })
      bytes += value.length
      if (bytes >= changeBytesUsual) break
    }
    put.push({ key: digestKey, value: Buffer.from(digest.buffer) })
    await partition.rows.change(put)
    partition.digest.set(digest)
    for (const { vBlock, before, after } of changed) {
      this.#remember(vBlock, after)
      for (let i = 0; i < pagesPerVBlock; i++)
        if (before.groups[i] !== after.groups[i]) this.onChanged(vBlock, before.groups[i], after.groups[i])
    }
    return changed.length
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
    const digest = new Uint32Array(vBlocksPerPartition)
    if (digestRow !== undefined) new Uint8Array(digest.buffer).set(digestRow.value)
    return { rows, digest }
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
