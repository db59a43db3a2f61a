/**
 * Names of things, each with its kind.
 */
import type { Tagged } from './units.ts'

/** A node, as the operator knows it: `n1`. At most 32 characters of `[a-z0-9-]`. */
export type NodeId = Tagged<string, 'NodeId'>
/** A chassis: a failure domain that holds nodes. */
export type BlockId = Tagged<string, 'BlockId'>
/** A physical disk: `n1-flash-0`. With its incarnation it names one set of platters for ever. */
export type DiskId = Tagged<string, 'DiskId'>
/** Random, new for each start of a node's process, or for each formatting of a disk. 16 hex digits. */
export type Incarnation = Tagged<string, 'Incarnation'>
/** A vDisk: a number from a counter in Zeus, from 1, never used twice. */
export type VDiskId = Tagged<number, 'VDiskId'>
/** Who may act for a vDisk: grows with each ownership, 1 to 2^32 - 1. */
export type Epoch = Tagged<number, 'Epoch'>
/** The place of a record in a vDisk's one order of writes, from 1. */
export type Sequence = Tagged<number, 'Sequence'>
/** A stretch of a vDisk's log with one fixed set of replicas, from 1 per vDisk. */
export type EpisodeId = Tagged<number, 'EpisodeId'>
/** A vDisk's bytes between two snapshots, from 1 per vDisk. */
export type LayerId = Tagged<number, 'LayerId'>
/** `vdisk-epoch-counter` in decimal: contains the epoch and is never used twice. */
export type GroupId = Tagged<string, 'GroupId'>
/** The number of one placed copy of an extent group, from 1 per group, never used twice. */
export type CopyNumber = Tagged<number, 'CopyNumber'>

/** A disk with its incarnation, and the node that it is in. A blank disk under an old name is another disk (M2). */
export interface DiskRef {
  readonly node: NodeId
  readonly disk: DiskId
  readonly incarnation: Incarnation
}

export const sameDisk = (a: DiskRef, b: DiskRef): boolean =>
  a.disk === b.disk && a.incarnation === b.incarnation

/** As Zeus has a disk below its node, in configuration, session and settings. */
export interface ShownDisk {
  readonly id: string
  readonly incarnation: string
}

/**
 * Of a disk that is nowhere: no superblock bears it. A rebuild of the metadata names such for a copy that is to be made anew; what no row
 * names there is as good as unlinked.
 */
export const noIncarnation = '0'.repeat(16) as Incarnation

export const isThatDisk = (shown: ShownDisk, { disk, incarnation }: DiskRef): boolean =>
  shown.id === disk && shown.incarnation === incarnation

export function groupIdOf(vdisk: VDiskId, epoch: Epoch, counter: number): GroupId {
  return `${vdisk}-${epoch}-${counter}` as GroupId
}

export const partsOfGroupId = (id: GroupId): { vdisk: VDiskId; epoch: Epoch; counter: number } => ({
  vdisk: partOfGroupId(id, 0) as VDiskId,
  epoch: partOfGroupId(id, 1) as Epoch,
  counter: partOfGroupId(id, 2),
})

const zero = '0'.charCodeAt(0)

/** Its vDisk, epoch or counter. Without an object or a string for it: a row of the map names hundreds of groups. */
export function partOfGroupId(id: GroupId, part: 0 | 1 | 2): number {
  let value = 0
  for (let i = 0, at = 0; i < id.length && at <= part; i++) {
    const digit = id.charCodeAt(i) - zero
    if (digit < 0) at++
    else if (at === part) value = value * 10 + digit
  }
  return value
}
