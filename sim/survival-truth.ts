/**
 * What data would be left after which losses, as it truly is: counted from the rows in the store's database and from the files and logs
 * on the simulated disks of nodes that run. What status says is held against it: it may say less for a while, never more.
 *
 * Of the code that is judged it uses the shapes of rows, and nothing else.
 */
import {
  type DiskRef,
  type GroupId,
  type NodeId,
  sameDisk,
  type Sequence,
  type VDiskId,
} from '../src/base/ids.ts'
import { PartitionRows } from '../src/stargate/vdisk-controller/partition-rows.ts'
import { decodeGroupRow } from '../src/stargate/vdisk-controller/rows.ts'
import { isWhole } from './checkers/copy-files.ts'
import type { Cluster } from './cluster.ts'
import { vDiskStates } from './metadata-check.ts'

/** From the worst to the best, as in the first line of status. */
export const trueLevels = ['unreadable', 'one copy', 'disk', 'node', 'block'] as const
export type TrueLevel = (typeof trueLevels)[number]

export interface Told {
  readonly id: VDiskId
  /** The highest sequence that a guest's write may have got. */
  readonly written: Sequence
}

/** The level of the weakest, and where that is; undefined where there is nothing to lose. */
export function weakestNow(
  cluster: Cluster,
  vdisks: readonly Told[],
  blockOf: (node: NodeId) => string,
): { readonly level: TrueLevel; readonly where: string } | undefined {
  let weakest: { level: TrueLevel; where: string } | undefined
  const found = (copies: readonly DiskRef[], where: string): void => {
    const level = levelOf(copies, blockOf)
    if (weakest === undefined || trueLevels.indexOf(level) < trueLevels.indexOf(weakest.level))
      weakest = { level, where: `${where} on ${copies.map(({ disk }) => disk).join(', ') || 'nothing'}` }
  }
  const states = vDiskStates(cluster.database)
  for (const { id, written } of vdisks) {
    const { state, episodes, drained } = states.get(id)!
    if (state !== 'live') continue
    for (const { id: episode, first, end = Infinity, replicas } of episodes) {
      const from = Math.max(first, drained + 1)
      const upTo = Math.min(end, written)
      if (upTo < from) continue
      const holds = (replica: DiskRef): boolean =>
        cluster
          .node(replica.node)
          ?.replicas.find(({ ref }) => sameDisk(ref, replica))
          ?.holdings()
          .find(({ vdisk }) => vdisk === id)
          ?.episodes.some((tail) => tail.episode === episode && tail.last >= upTo) === true
      found(replicas.filter(holds), `episode ${episode} of vDisk ${id}, ${from} to ${upTo},`)
    }
  }
  for (const group of groupsNamed(cluster, vdisks)) {
    const value = rowsOf(cluster, 'group', '%', group)[0]?.value
    const row = value === undefined ? undefined : decodeGroupRow(value)
    const copies = (row?.copies ?? []).filter(
      (copy) =>
        cluster.node(copy.node) !== undefined && isWhole(cluster.world.disk(copy.node), group, copy, row!),
    )
    found(copies, `group ${group}`)
  }
  return weakest
}

function levelOf(copies: readonly DiskRef[], blockOf: (node: NodeId) => string): TrueLevel {
  const distinct = (what: (copy: DiskRef) => string): number => new Set(copies.map(what)).size
  if (distinct(({ node }) => blockOf(node)) > 1) return 'block'
  if (distinct(({ node }) => node) > 1) return 'node'
  if (distinct(({ disk }) => disk) > 1) return 'disk'
  return copies.length > 0 ? 'one copy' : 'unreadable'
}

function groupsNamed(cluster: Cluster, vdisks: readonly Told[]): Set<GroupId> {
  const named = new Set<GroupId>()
  for (const [partition, rows] of Map.groupBy(rowsOf(cluster, 'map'), ({ partition }) => partition))
    if (vdisks.some(({ id }) => partition.startsWith(`${id}.`)))
      for (const group of new PartitionRows(rows).groupsNamed()) named.add(group)
  return named
}

const rowsOf = (cluster: Cluster, table: string, partition = '%', key = '%') =>
  cluster.database
    .prepare<[string, string, string], { partition: string; key: string; value: Buffer }>(
      `SELECT p.key AS partition, r.key AS key, r.value AS value FROM medusa_partitions p
       JOIN medusa_rows r ON r.partition = p.id WHERE p.table_name = ? AND p.key LIKE ? AND r.key LIKE ?`,
    )
    .all(table, partition, key)
