/**
 * I3: metadata names only what is durable already: extent group files, then their row, then the map, then the drained sequence,
 * then log space is freed.
 *
 *  1. When a group's row comes to name a copy, the file lies on that disk, by a name and with bytes that a power cut leaves,
 *     and its first and last page are what the row says.
 *  2. When the map comes to name a group, the group has a row that says `whole`. A vBlock's versions follow one another, and one that is written
 *     down again is as it was.
 *  3. A vDisk's drained sequence never goes back, and the least version that its row demands of a map partition is one that
 *     the partition has reached.
 *  4. No replica of an episode has freed records above the drained sequence.
 *
 * What a disk has damaged, and what is gone with its disk, is excused: that is what the other copies are for.
 */
import { type Epoch, type GroupId, sameDisk, type VDiskId } from '../../src/base/ids.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import type { Holding } from '../../src/stargate/oplog/oplog.ts'
import {
  type GroupRow,
  mapPartition,
  partRowKey,
  stateRowKey,
  type VDiskState,
  vdiskPartition,
} from '../../src/stargate/vdisk-controller/rows.ts'
import type { SimDisk } from '../sim-disk.ts'
import { copyFaultOn, holdsDisk, placeOfCopy } from './copy-files.ts'
import type { GroupChange, MadeChange, MapRow, MetadataShadow } from './metadata-shadow.ts'

export class DurableFirst {
  readonly #metadata: MetadataShadow
  readonly #diskOf: (node: string) => SimDisk

  constructor(metadata: MetadataShadow, diskOf: (node: string) => SimDisk) {
    this.#metadata = metadata
    this.#diskOf = diskOf
  }

  /** What is wrong with a change that is about to count. */
  changed(made: MadeChange): string | undefined {
    for (const group of made.groups) {
      const fault = this.#groupFault(group, made.change.epoch)
      if (fault !== undefined) return fault
    }
    return this.#mapFault(made) ?? this.#drainedFault(made)
  }

  #groupFault({ id, before, after }: GroupChange, epoch: Epoch): string | undefined {
    if (after?.state !== 'whole' || this.#isForgotten(id, epoch)) return undefined
    for (const copy of after.copies) {
      const known = before?.copies.some((one) => sameDisk(one, copy) && one.number === copy.number)
      const fault = known === true ? undefined : this.#copyFault(id, copy, after)
      if (fault !== undefined)
        return `the row of group ${id} names its copy ${copy.number} on ${copy.disk}, ${fault}`
    }
    return undefined
  }

  /**
   * The row comes from an owner that was followed by another, which has freed the group and forgotten it: nothing names the
   * row, and nothing ever will (docs/vdisk-protocol.md, "Known limits").
   */
  #isForgotten(id: GroupId, epoch: Epoch): boolean {
    const vdisk = Number(id.split('-')[0]) as VDiskId
    return !this.#metadata.planned.has(id) && this.#metadata.static(vdiskPartition(vdisk)).epoch > epoch
  }

  #copyFault(id: GroupId, copy: CopyRef, row: GroupRow): string | undefined {
    const disk = this.#diskOf(copy.node)
    const { root, path } = placeOfCopy(id, copy)
    const fault = copyFaultOn(disk, path, row)
    return fault !== undefined && holdsDisk(disk, root, copy) ? fault : undefined
  }

  #mapFault({ partition, map }: MadeChange): string | undefined {
    for (const { vdisk, vBlock, before, after } of map) {
      if (this.#metadata.states.get(vdisk)?.state !== 'live') continue
      const was = before?.version ?? 0
      if (after.version === was ? !isSame(before!.pages, after.pages) : after.version !== was + 1)
        return `row ${vBlock} of map ${partition.key} becomes another in version ${after.version}, and was at ${was}`
      for (const id of after.groups) {
        if (before?.groups.has(id) === true) continue
        const state = this.#metadata.groups.get(id)?.state
        if (state !== 'whole')
          return `row ${vBlock} of map ${partition.key} names group ${id}, which ${state === undefined ? 'has no row' : `is ${state}`}`
      }
    }
    return undefined
  }

  #drainedFault({ partition: { table, key }, change, state }: MadeChange): string | undefined {
    if (table !== 'vdisk') return undefined
    if (state?.before !== undefined && state.after.drained < state.before.drained)
      return `vDisk ${key} was drained to ${state.before.drained}, and now to ${state.after.drained}`
    const vdisk = Number(key) as VDiskId
    const layer = state?.after.layer ?? this.#metadata.states.get(vdisk)?.layer
    for (const row of change.put ?? []) {
      if (layer === undefined || row.key === stateRowKey) continue
      const gib = Number(row.key.slice(row.key.lastIndexOf('/') + 1))
      if (row.key !== partRowKey(layer, gib)) continue
      const { buffer, byteOffset } = row.value
      const least = Number(new DataView(buffer, byteOffset).getBigUint64(0, true))
      const { version } = this.#metadata.static(mapPartition(vdisk, layer, gib))
      if (version < least)
        return `vDisk ${key} demands version ${least} of map partition ${gib}, which has ${version}`
    }
    return undefined
  }
}

/** What a replica has freed of a vDisk's log though it is not drained; undefined where all is right. */
export function freedTooEarly(state: VDiskState, { episodes }: Holding): string | undefined {
  for (const episode of state.episodes) {
    const kept = episodes.find(({ episode: id }) => id === episode.id)
    const needed = Math.max(state.drained + 1, episode.first)
    if (kept === undefined || needed > (episode.end ?? Infinity) || kept.first <= needed) continue
    return `has freed episode ${episode.id} up to ${kept.first - 1}, and the vDisk is drained to ${state.drained}`
  }
  return undefined
}

const isSame = (before: MapRow['pages'], after: MapRow['pages']): boolean =>
  before.every((group, page) => group === after[page])
