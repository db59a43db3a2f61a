/**
 * The rows that a vDisk's owner keeps in Medusa (DESIGN section 8, docs/vdisk-protocol.md): their keys and shapes.
 * Rows are CBOR; the map's and the groups' large parts are packed (map-row.ts, checksums as little-endian words).
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import {
  type DiskRef,
  type EpisodeId,
  type GroupId,
  groupIdOf,
  type LayerId,
  partsOfGroupId,
  type Sequence,
  type VDiskId,
} from '../../base/ids.ts'
import type { PartitionName } from '../../medusa/medusa.ts'
import type { CopyRef, Extent, Standing, ZeroRun } from '../extent-store/extent-store.ts'
import type { Tier } from '../../disk/disk.ts'

/** Rises when a row's shape changes so that older code can't read it. */
const rowVersion = 1

export interface Episode {
  readonly id: EpisodeId
  readonly first: Sequence
  /** The last sequence of a sealed episode (first - 1: it is empty). Only the newest may be without. */
  readonly end?: Sequence
  readonly replicas: readonly DiskRef[]
}

export interface VDiskState {
  readonly name: string
  readonly state: 'live' | 'deleted'
  readonly copies: 1 | 2 | 3
  /** At the drained sequence. */
  readonly sizeBytes: number
  /** The time of the newest drained record that changed the vDisk, microseconds since 1970; absent: none was drained yet. */
  readonly modifiedAt?: number
  readonly layer: LayerId
  readonly drained: Sequence
  /** In order; all whose records are not all drained, and the newest. */
  readonly episodes: readonly Episode[]
  /** The newest session number of each client that may repeat its requests (F3). */
  readonly clients: Readonly<Record<string, number>>
}

export interface GroupRow {
  readonly layer: LayerId
  readonly tier: Tier
  readonly state: 'whole' | 'deleting'
  /** The copies are not all on one tier: it was full elsewhere (I8). */
  readonly mixed?: boolean
  readonly copies: readonly CopyRef[]
  readonly extents: readonly Extent[]
  /** crc32c of each page, in group order. */
  readonly checksums: Uint32Array
  /** As in its trailers: they are handed on before the group goes (kept-zeros.ts). */
  readonly zeros?: readonly ZeroRun[]
}

/** A copy in the index of groups: planned before its first byte is written. */
export interface PlannedCopy extends CopyRef {
  /** The group's row doesn't name it, and never will: it waits to be unlinked. */
  readonly left?: true
}

/** What trailers say of the vDisk. */
export const standingOf = ({ drained, sizeBytes, modifiedAt = 0 }: VDiskState): Standing => ({
  drained,
  through: drained,
  sizeBytes,
  modifiedAt,
})

export const vdiskPartition = (vdisk: VDiskId): PartitionName => ({ table: 'vdisk', key: String(vdisk) })
/** Groups whose rows share a partition: those that were registered one after the other. */
const groupsPerPartition = 16
/** It is named by the first of them, which has a counter of 1 and more; the keys of its rows are the groups' ids. */
export function groupPartition(group: GroupId): PartitionName {
  const { vdisk, epoch, counter } = partsOfGroupId(group)
  return { table: 'group', key: groupIdOf(vdisk, epoch, counter - ((counter - 1) % groupsPerPartition)) }
}
/** All that share a partition with it, itself included. */
export function groupsBeside(group: GroupId): readonly GroupId[] {
  const { vdisk, epoch, counter } = partsOfGroupId(groupPartition(group).key as GroupId)
  return Array.from({ length: groupsPerPartition }, (_, i) => groupIdOf(vdisk, epoch, counter + i))
}
export const groupsOfPartition = (vdisk: VDiskId): PartitionName => ({
  table: 'groups-of',
  key: String(vdisk),
})
export const mapPartition = (vdisk: VDiskId, layer: LayerId, gib: number): PartitionName => ({
  table: 'map',
  key: `${vdisk}.${layer}.${gib}`,
})

export const stateRowKey = 'state'
/** Above every group's key in the index of groups. */
export const groupKeysEnd = '~'
/** In the index of groups, behind all of them: disks that may hold copies which no group's row names. */
export const leftBehindRowKey = '~left'
/** The least version that a map partition may have: lower or absent is damage (I5, F12). */
export const partRowKey = (layer: LayerId, gib: number): string =>
  `part/${layer}/${String(gib).padStart(8, '0')}`

function decodeRow<T>(bytes: Buffer, what: string): T {
  const row = decodeControl<{ version: number; row: T }>(bytes)
  if (row.version !== rowVersion)
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read ${what}: it has version ${row.version}, and this NDFS knows ${rowVersion}`,
      {
        version: row.version,
      },
    )
  return row.row
}

export const encodeVDiskState = (state: VDiskState): Buffer =>
  encodeControl({ version: rowVersion, row: state })
export const decodeVDiskState = (bytes: Buffer): VDiskState => decodeRow(bytes, "a vDisk's row")

export const encodePlannedCopies = (copies: readonly PlannedCopy[]): Buffer =>
  encodeControl({ version: rowVersion, row: copies })
export const decodePlannedCopies = (bytes: Buffer): PlannedCopy[] =>
  decodeRow(bytes, 'a row of the index of groups')

export const encodeLeftBehind = (disks: readonly DiskRef[]): Buffer =>
  encodeControl({ version: rowVersion, row: disks })
export const decodeLeftBehind = (bytes: Buffer): DiskRef[] =>
  decodeRow(bytes, 'what repairs have left behind')

export const encodeGroupRow = (row: GroupRow): Buffer =>
  encodeControl({
    version: rowVersion,
    row: {
      ...row,
      extents: row.extents.map((extent) => [extent.page, extent.count, extent.at, extent.sequence]),
      checksums: checksumBytes(row.checksums),
      ...(row.zeros === undefined
        ? {}
        : { zeros: row.zeros.map(({ page, count, sequence }) => [page, count, sequence]) }),
    },
  })

export function decodeGroupRow(bytes: Buffer): GroupRow {
  const row = decodeRow<
    Omit<GroupRow, 'extents' | 'checksums' | 'zeros'> & {
      extents: number[][]
      checksums: Uint8Array
      zeros?: number[][]
    }
  >(bytes, "an extent group's row")
  const { zeros, ...rest } = row
  return {
    ...rest,
    extents: row.extents.map(([page, count, at, sequence]) => ({ page, count, at, sequence }) as Extent),
    checksums: checksumsFrom(row.checksums),
    ...(zeros === undefined
      ? {}
      : { zeros: zeros.map(([page, count, sequence]) => ({ page, count, sequence }) as ZeroRun) }),
  }
}

export const checksumBytes = (checksums: Uint32Array): Buffer =>
  Buffer.from(checksums.buffer, checksums.byteOffset, checksums.byteLength)

/** Copies, because the bytes may lie at any address. */
export function checksumsFrom(bytes: Uint8Array): Uint32Array {
  const checksums = new Uint32Array(bytes.length / 4)
  new Uint8Array(checksums.buffer).set(bytes)
  return checksums
}
