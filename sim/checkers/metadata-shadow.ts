/**
 * What Medusa holds, decoded: built from each change as the store makes it, so that checkers see every state that there ever
 * was, and pay only for what changed. Whoever looks on is told before the change counts, and again once it does.
 *
 * It begins with an empty Medusa: attach it before the first vDisk is made. Not here: what the changes may be.
 */
import type { Epoch, GroupId, VDiskId } from '../../src/base/ids.ts'
import type { Change, PartitionName, Row, Static } from '../../src/medusa/medusa.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import { deltaKeysBegin, deltaKeysEnd, MapDelta } from '../../src/stargate/vdisk-controller/map-delta.ts'
import {
  bad,
  decodeOwnRow,
  emptyVBlock,
  hole,
  type VBlock,
} from '../../src/stargate/vdisk-controller/map-row.ts'
import {
  decodeGroupRow,
  decodePlannedCopies,
  decodeVDiskState,
  groupPartition,
  type GroupRow,
  leftBehindRowKey,
  stateRowKey,
  type VDiskState,
} from '../../src/stargate/vdisk-controller/rows.ts'
import { vBlockKey } from '../../src/stargate/vdisk-controller/vdisk-map.ts'

/** One change that was made. */
export interface MadeChange {
  readonly partition: PartitionName
  readonly change: Change
  readonly before: Static
  readonly after: Static
  /** The state row of a vDisk, where the change puts it. */
  readonly state?: {
    readonly vdisk: VDiskId
    readonly before: VDiskState | undefined
    readonly after: VDiskState
  }
  /** The rows of groups that the change puts, and of those that it removes. */
  readonly groups: readonly GroupChange[]
  /** The vBlocks that the change makes something else of, or writes down as they are. */
  readonly map: readonly MapRowChange[]
}

export interface GroupChange {
  readonly id: GroupId
  readonly before: GroupRow | undefined
  /** Undefined: the row goes. */
  readonly after: GroupRow | undefined
}

export interface MapRowChange {
  readonly vdisk: VDiskId
  readonly vBlock: string
  readonly before: MapRow | undefined
  readonly after: MapRow
}

export interface MapRow {
  readonly groups: ReadonlySet<GroupId>
  /** For each page of the vBlock the group that holds it; undefined: a hole. */
  readonly pages: readonly (GroupId | 'bad' | undefined)[]
  readonly version: number
}

const neverChanged: Static = { epoch: 0 as Epoch, version: 0, changeId: '' }

export class MetadataShadow {
  readonly states = new Map<VDiskId, VDiskState>()
  readonly groups = new Map<GroupId, GroupRow>()
  /** The index of groups: the copies as they were planned. */
  readonly planned = new Map<GroupId, readonly CopyRef[]>()
  readonly #statics = new Map<string, Static>()
  readonly #map = new Map<string, Map<string, MapRow>>()
  /** By how many rows of the map a group is named. */
  readonly #named = new Map<GroupId, number>()

  isNamed(group: GroupId): boolean {
    return this.#named.has(group)
  }

  static(partition: PartitionName): Static {
    return this.#statics.get(nameOf(partition)) ?? neverChanged
  }

  /** The group or hole behind each page of a vBlock; undefined where the map has no row of it. */
  mapRow(partitionKey: string, rowKey: string): MapRow | undefined {
    return this.#map.get(partitionKey)?.get(rowKey)
  }

  /** What the change means, against what is here now. */
  read(partition: PartitionName, change: Change, after: Static): MadeChange {
    const { table, key } = partition
    const put = change.put ?? []
    const before = this.static(partition)
    const made = { partition, change, before, after, groups: [], map: [] }
    if (table === 'vdisk') {
      const row = put.find((one) => one.key === stateRowKey)
      if (row === undefined) return made
      const vdisk = Number(key) as VDiskId
      return { ...made, state: { vdisk, before: this.states.get(vdisk), after: decodeVDiskState(row.value) } }
    }
    if (table === 'group') return { ...made, groups: this.#readGroups(key, change) }
    if (table !== 'map') return made
    return { ...made, map: this.#readMap(Number(key.split('.')[0]) as VDiskId, key, put) }
  }

  /** The change counts from now on. */
  apply({ partition, change, after, state, groups, map }: MadeChange): void {
    const { table, key } = partition
    if (change.drop === true) this.#statics.delete(nameOf(partition))
    else this.#statics.set(nameOf(partition), after)
    if (state !== undefined) this.states.set(state.vdisk, state.after)
    for (const { id, after: row } of groups)
      if (row === undefined) this.groups.delete(id)
      else this.groups.set(id, row)
    if (table === 'groups-of') {
      for (const row of change.delete ?? []) this.planned.delete(row as GroupId)
      for (const row of change.put ?? [])
        if (row.key !== leftBehindRowKey) this.planned.set(row.key as GroupId, decodePlannedCopies(row.value))
    }
    if (table !== 'map') return
    for (const row of map) this.#putMapRow(key, row.vBlock, row.after)
  }

  #readGroups(partitionKey: string, { put = [], delete: deleted = [], drop }: Change): GroupChange[] {
    const removed = drop
      ? [...this.groups.keys()].filter((id) => groupPartition(id).key === partitionKey)
      : (deleted as GroupId[])
    return [
      ...removed.map((id) => ({ id, before: this.groups.get(id), after: undefined })),
      ...put.map(({ key, value }) => ({
        id: key as GroupId,
        before: this.groups.get(key as GroupId),
        after: decodeGroupRow(value),
      })),
    ]
  }

  /** What becomes of each vBlock: by its own row, or by a delta upon what it was. */
  #readMap(vdisk: VDiskId, partitionKey: string, put: readonly Row[]): MapRowChange[] {
    const changes: MapRowChange[] = []
    const add = (vBlock: string, after: MapRow): void =>
      void changes.push({ vdisk, vBlock, before: this.mapRow(partitionKey, vBlock), after })
    for (const row of put)
      if (row.key.startsWith('v')) add(row.key, decodeMapRow(row.value))
      else if (row.key > deltaKeysBegin && row.key < deltaKeysEnd)
        for (const [vBlock, after] of this.#decodeDelta(partitionKey, row)) add(vBlock, after)
    return changes
  }

  #decodeDelta(partitionKey: string, row: Row): [vBlock: string, after: MapRow][] {
    const ids: GroupId[] = []
    const handleOf = (id: GroupId): number => ids.push(id)
    const delta = new MapDelta({ key: row.key, value: asBuffer(row.value) })
    return [...delta.indexes].map((index) => {
      const vBlock = vBlockKey(index)
      const block = emptyVBlock()
      this.mapRow(partitionKey, vBlock)?.pages.forEach((group, page) => {
        block.groups[page] = group === undefined ? hole : group === 'bad' ? bad : handleOf(group)
      })
      delta.applyTo(index, block, handleOf)
      return [vBlock, mapRowOf(block, ids, delta.versionOf(index))]
    })
  }

  #putMapRow(partitionKey: string, key: string, row: MapRow): void {
    let rows = this.#map.get(partitionKey)
    if (rows === undefined) this.#map.set(partitionKey, (rows = new Map<string, MapRow>()))
    for (const id of row.groups) this.#named.set(id, (this.#named.get(id) ?? 0) + 1)
    for (const id of rows.get(key)?.groups ?? []) {
      const count = (this.#named.get(id) ?? 0) - 1
      if (count > 0) this.#named.set(id, count)
      else this.#named.delete(id)
    }
    rows.set(key, row)
  }
}

const nameOf = ({ table, key }: PartitionName): string => `${table}/${key}`

function decodeMapRow(value: Uint8Array): MapRow {
  const ids: GroupId[] = []
  const bytes = asBuffer(value)
  const { block, version } = decodeOwnRow(bytes, (id) => ids.push(id))
  return mapRowOf(block, ids, version)
}

function mapRowOf(block: VBlock, ids: readonly GroupId[], version: number): MapRow {
  const pages = Array.from(block.groups, (handle) =>
    handle === hole ? undefined : handle === bad ? ('bad' as const) : ids[handle - 1],
  )
  const groups = new Set(pages.filter((group): group is GroupId => group !== undefined && group !== 'bad'))
  return { groups, pages, version }
}

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
