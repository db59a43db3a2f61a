/** What tests of the checkers make their histories of: rows of Medusa and files on simulated disks. */
import { crc32c } from '../../src/base/crc32c.ts'
import type {
  CopyNumber,
  DiskId,
  DiskRef,
  EpisodeId,
  Epoch,
  GroupId,
  Incarnation,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../src/base/ids.ts'
import { pageBytes } from '../../src/base/units.ts'
import { formatDisk } from '../../src/disk/folder-disk.ts'
import type { Change, PartitionName } from '../../src/medusa/medusa.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import { groupFileName } from '../../src/stargate/extent-store/group-file.ts'
import { bad, emptyVBlock, encodeOwnRow } from '../../src/stargate/vdisk-controller/map-row.ts'
import {
  encodeGroupRow,
  encodePlannedCopies,
  encodeVDiskState,
  type Episode,
  groupPartition,
  type GroupRow,
  groupsOfPartition,
  mapPartition,
  stateRowKey,
  vdiskPartition,
  type VDiskState,
} from '../../src/stargate/vdisk-controller/rows.ts'
import { disksOfNode, pathOfDisk } from '../cluster.ts'
import { World } from '../world.ts'
import { type MadeChange, MetadataShadow } from './metadata-shadow.ts'

export const vdisk = 1 as VDiskId
export const layer = 1 as LayerId

export function episode(id: number, first: number, end?: number, disks = ['a', 'b']): Episode {
  const replicas = disks.map((disk): DiskRef => ({
    node: `n-${disk}` as NodeId,
    disk: disk as DiskId,
    incarnation: '0' as Incarnation,
  }))
  const sealed = end === undefined ? {} : { end: end as Sequence }
  return { id: id as EpisodeId, first: first as Sequence, ...sealed, replicas }
}

export const stateWith = (odd: Partial<VDiskState> = {}): VDiskState => ({
  name: 'c/v',
  state: 'live',
  copies: 2,
  sizeBytes: 4096,
  layer,
  drained: 0 as Sequence,
  episodes: [],
  clients: {},
  ...odd,
})

/** Medusa, changed row by row; each change is judged before it counts. */
export class MedusaStory {
  readonly shadow = new MetadataShadow()
  readonly #judge: (made: MadeChange) => string | undefined
  #changes = 0
  #mapVersion = 0

  constructor(judge: (made: MadeChange, shadow: MetadataShadow) => string | undefined = () => undefined) {
    this.#judge = (made) => judge(made, this.shadow)
  }

  change(
    partition: PartitionName,
    what: Pick<Change, 'put' | 'delete' | 'drop'>,
    odd: { epoch?: number; expected?: number; version?: number } = {},
  ): string | undefined {
    const before = this.shadow.static(partition)
    const epoch = (odd.epoch ?? before.epoch) as Epoch
    const change: Change = {
      id: String(++this.#changes),
      expected: { epoch: before.epoch, version: odd.expected ?? before.version },
      epoch,
      ...what,
    }
    const after = { epoch, version: odd.version ?? before.version + 1, changeId: change.id }
    const made = this.shadow.read(partition, change, after)
    const fault = this.#judge(made)
    this.shadow.apply(made)
    return fault
  }

  state(
    state: VDiskState,
    odd: { epoch?: number; expected?: number; version?: number } = {},
  ): string | undefined {
    return this.change(
      vdiskPartition(vdisk),
      { put: [{ key: stateRowKey, value: encodeVDiskState(state) }] },
      odd,
    )
  }

  plan(group: GroupId, copies: readonly CopyRef[]): string | undefined {
    return this.change(groupsOfPartition(vdisk), {
      put: [{ key: group, value: encodePlannedCopies(copies) }],
    })
  }

  group(group: GroupId, row: GroupRow, odd: { epoch?: number } = {}): string | undefined {
    const put = [{ key: group, value: encodeGroupRow(row) }]
    return this.change(groupPartition(group), { put }, odd)
  }

  /** The first pages of the first vBlock are those of the groups. */
  map(...groups: readonly (GroupId | 'bad')[]): string | undefined {
    const block = emptyVBlock()
    groups.forEach((group, page) => (block.groups[page] = group === 'bad' ? bad : page + 1))
    const idOf = (handle: number): GroupId => groups[handle - 1] as GroupId
    const value = encodeOwnRow(block, ++this.#mapVersion, idOf)
    return this.change(mapPartition(vdisk, layer, 0), { put: [{ key: 'v0000', value }] })
  }
}

export const groupId = (counter: number): GroupId => `${vdisk}-1-${counter}` as GroupId

/** Two nodes with formatted disks, n1 and n2. */
export async function formattedWorld(): Promise<{ world: World; copyOn: CopyOn }> {
  const world = new World({ seed: 1 })
  const disks = new Map<string, DiskRef>()
  for (const node of ['n1', 'n2'] as NodeId[]) {
    const platform = world.platform(node)
    await world.play(async () => {
      await platform.files.makeDirectory('/disks')
      await platform.files.syncDirectory('/')
      for (const tier of disksOfNode) {
        const disk = `${node}-${tier}-0` as DiskId
        const path = pathOfDisk(tier)
        const { incarnation } = await formatDisk(platform, {
          path,
          cluster: 'c',
          disk,
          tier,
          capacityBytes: 1e6,
        })
        disks.set(disk, { node, disk, incarnation })
      }
    })
  }
  return { world, copyOn: (disk, number = 1) => ({ ...disks.get(disk)!, number: number as CopyNumber }) }
}

export type CopyOn = (disk: string, number?: number) => CopyRef

export const pagesOf = (letters: string): Buffer =>
  Buffer.concat([...letters].map((letter) => Buffer.alloc(pageBytes, letter)))

/** A row for pages that are each full of one letter. */
export function groupRow(letters: string, copies: readonly CopyRef[], odd: Partial<GroupRow> = {}): GroupRow {
  const checksums = Uint32Array.from(letters, (letter) => crc32c(Buffer.alloc(pageBytes, letter)))
  return { layer, tier: 'hdd', state: 'whole', copies, extents: [], checksums, ...odd }
}

/** Puts a copy's file on its disk; what is left out may be lost at a power cut. */
export async function putCopy(
  world: World,
  copy: CopyRef,
  group: GroupId,
  bytes: Buffer,
  { syncBytes = true, syncName = true } = {},
): Promise<string> {
  const { files } = world.platform(copy.node)
  const root = pathOfDisk(copy.disk.includes('flash') ? 'flash' : 'hdd')
  const path = `${root}/${groupFileName(group, copy.number)}`
  await world.play(async () => {
    const folders = path.split('/').slice(0, -1)
    await files.makeDirectory(folders.join('/'))
    for (let length = 3; length < folders.length; length++)
      await files.syncDirectory(folders.slice(0, length).join('/'))
    const file = await files.open(path, { create: true })
    await file.write([bytes], 0)
    if (syncBytes) await file.sync()
    if (syncName) await files.syncDirectory(folders.join('/'))
  })
  return path
}
