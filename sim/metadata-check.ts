/**
 * Holds a vDisk's map, its extent groups, their index and the files on all disks against each other, in a cluster at rest.
 *
 *  1. What the map names is there: a row that says `whole`, a row in the index, as many copies as asked for on distinct
 *     nodes that are left, and in each file pages whose checksums are the row's (I1, I3, I5).
 *  2. What is there is named: no group, planned or whole, no file, that the map does not name (I7: freed in the end).
 *
 * On a node that is gone for good, or a disk that was replaced, nothing is looked at, and what had a copy there can't be
 * freed: but nothing that is named has a copy there any more, for enough nodes are left. A copy that was hurt on purpose, on a bad machine, may be bad until somebody reads it: the others are whole.
 */
import type Database from 'better-sqlite3'
import { crc32c } from '../src/base/crc32c.ts'
import { type DiskRef, type GroupId, partsOfGroupId, sameDisk, type VDiskId } from '../src/base/ids.ts'
import { pageBytes } from '../src/base/units.ts'
import type { CopyRef } from '../src/stargate/extent-store/extent-store.ts'
import { groupFileName, groupsFolder } from '../src/stargate/extent-store/group-file.ts'
import { namesCopy } from '../src/stargate/vdisk-controller/group-copies.ts'
import { bad } from '../src/stargate/vdisk-controller/map-row.ts'
import { PartitionRows } from '../src/stargate/vdisk-controller/partition-rows.ts'
import {
  decodeGroupRow,
  decodeLeftBehind,
  decodePlannedCopies,
  decodeVDiskState,
  type GroupRow,
  leftBehindRowKey,
  stateRowKey,
  type VDiskState,
} from '../src/stargate/vdisk-controller/rows.ts'
import type { Invariant } from './checkers/invariant-violation.ts'
import { type Cluster, disksOfNode, pathOfDisk } from './cluster.ts'
import type { Damage } from './faults/damage.ts'
import type { SimNode } from './sim-disk.ts'

export interface StoredRow {
  readonly partition: string
  readonly key: string
  readonly value: Buffer
}

export const rowsOf = (database: Database.Database, table: string): StoredRow[] =>
  database
    .prepare<[string], StoredRow>(
      `SELECT p.key AS partition, r.key AS key, r.value AS value FROM medusa_partitions p
       JOIN medusa_rows r ON r.partition = p.id WHERE p.table_name = ? ORDER BY p.key, r.key`,
    )
    .all(table)

export function vDiskStates(database: Database.Database): Map<VDiskId, VDiskState> {
  const states = rowsOf(database, 'vdisk').filter(({ key }) => key === stateRowKey)
  return new Map(
    states.map(({ partition, value }) => [Number(partition) as VDiskId, decodeVDiskState(value)]),
  )
}

/** The rows of groups that say `whole`, and that the index has. */
export function groupsInIndex(database: Database.Database): Map<GroupId, GroupRow> {
  const inIndex = new Set(rowsOf(database, 'groups-of').map(({ key }) => key))
  const rows = new Map<GroupId, GroupRow>()
  for (const { key, value } of rowsOf(database, 'group')) {
    if (!inIndex.has(key)) continue
    const row = decodeGroupRow(value)
    if (row.state === 'whole') rows.set(key as GroupId, row)
  }
  return rows
}

/** What is wrong, one line each, which begins with the promise that it breaks. */
export function findMetadataFaults(cluster: Cluster, damage?: Damage): string[] {
  const { database } = cluster
  const faults: string[] = []
  const fault = (invariant: Invariant, what: string): void => void faults.push(`${invariant}: ${what}`)
  const lost = new Set(cluster.names.filter((name) => !cluster.notLost().includes(name)))
  const isGone = ({ node, incarnation }: CopyRef): boolean =>
    lost.has(node) || damage?.isGone(incarnation) === true
  const isHurt = ({ node }: CopyRef, path: string): boolean => damage?.isHurt(node, path) === true
  const touchesLost = (copies: readonly CopyRef[]): boolean => copies.some(isGone)

  const states = vDiskStates(database)
  const rows = new Map<GroupId, GroupRow>()
  for (const { key, value } of rowsOf(database, 'group')) rows.set(key as GroupId, decodeGroupRow(value))
  const index = new Map<GroupId, readonly CopyRef[]>()
  const leftBehind = new Map<VDiskId, readonly DiskRef[]>()
  for (const { partition, key, value } of rowsOf(database, 'groups-of'))
    if (key === leftBehindRowKey) leftBehind.set(Number(partition) as VDiskId, decodeLeftBehind(value))
    else index.set(key as GroupId, decodePlannedCopies(value))

  const named = new Map<GroupId, number>()
  for (const [partition, mapRows] of Map.groupBy(rowsOf(database, 'map'), ({ partition }) => partition)) {
    const vdisk = Number(partition.split('.')[0]) as VDiskId
    if (states.get(vdisk)?.state !== 'live') continue
    const read = new PartitionRows(mapRows)
    for (const [index, version] of read.digest?.entries() ?? []) {
      if (version === 0) continue
      const block = read.vBlock(index)
      if (block === undefined) fault('I5', `vBlock ${index} of ${partition} is not whole`)
      block?.groups.forEach((handle, page) => {
        if (handle === bad) fault('I5', `page ${page} of vBlock ${index} of ${partition} is bad`)
        const id = read.idOf(handle)
        if (id !== undefined) named.set(id, Math.max(named.get(id) ?? 0, block.pages[page]))
      })
    }
  }

  const present: [GroupId, GroupRow][] = []
  for (const [id, lastPage] of named) {
    const row = rows.get(id)
    if (row?.state !== 'whole')
      fault('I3', `the map names group ${id}, which is ${row?.state ?? 'not there'}`)
    else if (!index.has(id)) fault('I3', `the map names group ${id}, which is not in the index`)
    else if (lastPage >= row.checksums.length)
      fault('I3', `the map names page ${lastPage} of group ${id}, which has ${row.checksums.length}`)
    else present.push([id, row])
  }
  for (const [id, { state, copies }] of rows)
    if (!named.has(id) && index.has(id) && !touchesLost([...copies, ...index.get(id)!]))
      fault('I7', `nothing names group ${id}, and it is still ${state}`)
  for (const [id, copies] of index)
    if (!named.has(id) && !rows.has(id) && !touchesLost(copies) && !isSpare(cluster, id, copies))
      fault('I7', `group ${id} was planned, and is left over`)

  const kept = new Set(
    [
      ...[...rows].map(([id, { copies }]) => ({ id, copies })),
      ...[...index].map(([id, copies]) => ({ id, copies })),
    ].flatMap(({ id, copies }) => copies.map((copy) => `${copy.disk} ${groupFileName(id, copy.number)}`)),
  )
  for (const name of cluster.notLost())
    for (const tier of disksOfNode)
      for (const file of filesUnder(
        cluster.world.disk(name).find(`${pathOfDisk(tier)}/${groupsFolder}`),
        groupsFolder,
      ))
        if (!kept.has(`${name}-${tier}-0 ${file}`)) fault('I7', `no row knows of ${file} on ${name}, ${tier}`)
  for (const [id, copies] of index) {
    const { vdisk } = partsOfGroupId(id)
    const row = rows.get(id)
    if (row?.state !== 'whole' || !named.has(id)) continue
    for (const copy of copies) {
      if (namesCopy(row.copies, copy)) continue
      if (!isGone(copy))
        fault('I7', `copy ${copy.number} of group ${id} is left on ${copy.disk}, and its row names others`)
      else if (leftBehind.get(vdisk)?.some((disk) => sameDisk(disk, copy)) !== true)
        fault('I7', `nobody will look for copy ${copy.number} of group ${id} when ${copy.disk} is back`)
    }
  }
  // Every page is read last: while the rest does not agree it is not settled what has to be there.
  return faults.length > 0
    ? faults
    : present.flatMap(([id, row]) => copiesFaults(cluster, id, row, states, isGone, isHurt))
}

/** Registered ahead of a stream by an owner that still serves, and never written to: it is used, or goes with the ownership. */
function isSpare(cluster: Cluster, id: GroupId, copies: readonly CopyRef[]): boolean {
  const { vdisk, epoch } = partsOfGroupId(id)
  const isServed = cluster
    .serving()
    .some((name) => cluster.node(name)!.controller.hosted(vdisk)?.epoch === epoch)
  const isWritten = ({ node, disk, number }: CopyRef): boolean =>
    disksOfNode.some(
      (tier) =>
        disk.split('-')[1] === tier &&
        cluster.world.disk(node).find(`${pathOfDisk(tier)}/${groupFileName(id, number)}`) !== undefined,
    )
  return isServed && !copies.some(isWritten)
}

function copiesFaults(
  cluster: Cluster,
  id: GroupId,
  row: GroupRow,
  states: ReadonlyMap<VDiskId, VDiskState>,
  isGone: (copy: CopyRef) => boolean,
  isHurt: (copy: CopyRef, path: string) => boolean,
): string[] {
  const faults: string[] = []
  const fault = (invariant: Invariant, what: string): void => void faults.push(`${invariant}: ${what}`)
  const wanted = states.get(Number(id.split('-')[0]) as VDiskId)?.copies
  const nodes = new Set(row.copies.map(({ node }) => node))
  if (nodes.size !== wanted)
    fault('I1', `group ${id} has copies on ${nodes.size} nodes, and ${wanted} are asked for`)
  for (const copy of row.copies) {
    const { node, disk, number } = copy
    if (isGone(copy)) {
      fault('I1', `copy ${copy.number} of group ${id} is on ${copy.disk}, which is gone`)
      continue
    }
    const tier = disk.split('-')[1] as (typeof disksOfNode)[number]
    const path = `${pathOfDisk(tier)}/${groupFileName(id, number)}`
    if (isHurt(copy, path)) continue
    const file = cluster.world.disk(node).find(path)
    if (file?.kind !== 'file') {
      fault('I3', `copy ${number} of group ${id} is not on ${disk}`)
      continue
    }
    const bytes = Buffer.alloc(pageBytes)
    row.checksums.forEach((checksum, page) => {
      file.content.read(bytes, page * pageBytes)
      if (crc32c(bytes) !== checksum)
        fault('I5', `page ${page} of copy ${number} of group ${id} on ${disk} is not what it should be`)
    })
  }
  return faults
}

/** Most of a disk's folders are empty: nothing is made for those. */
function filesUnder(node: SimNode | undefined, path: string, found: string[] = []): string[] {
  if (node?.kind === 'file') found.push(path)
  else if (node !== undefined && node.names.size > 0)
    for (const [name, inside] of node.names)
      if (inside.kind === 'file' || inside.names.size > 0) filesUnder(inside, `${path}/${name}`, found)
  return found
}
