/**
 * What is still on disks that were drained, counted from the rows in the store's database, and from the files and logs on the simulated
 * disks: what `status` says of them is held against it. Of the code that is judged it uses the shapes of rows, and nothing else.
 */
import type { DiskRef, NodeId } from '../src/base/ids.ts'
import { decodeGroupRow, groupRowKey } from '../src/stargate/vdisk-controller/rows.ts'
import type { Cluster } from './cluster.ts'
import { vDiskStates } from './metadata-check.ts'

/** One line for each thing that rows name on a disk of which `is` says yes. */
export function findOnDisks(cluster: Cluster, is: (disk: DiskRef) => boolean): string[] {
  const faults: string[] = []
  for (const { name, state, episodes, drained } of vDiskStates(cluster.database).values())
    for (const { id, end, replicas } of episodes)
      if (state === 'live' && (end === undefined || end > drained) && replicas.some(is))
        faults.push(`episode ${id} of ${name} lies on ${replicas.map(({ disk }) => disk).join(', ')}`)
  const rows = cluster.database
    .prepare<[string], { partition: string; value: Buffer }>(
      `SELECT p.key AS partition, r.value AS value FROM medusa_partitions p
       JOIN medusa_rows r ON r.partition = p.id WHERE p.table_name = 'group' AND r.key = ?`,
    )
    .all(groupRowKey)
  for (const { partition, value } of rows) {
    const { state, copies } = decodeGroupRow(value)
    if (state === 'whole' && copies.some(is))
      faults.push(`group ${partition} lies on ${copies.map(({ disk }) => disk).join(', ')}`)
  }
  return faults
}

/** Nodes that a vDisk is served by. */
export const owners = (cluster: Cluster): NodeId[] =>
  cluster.serving().filter((node) =>
    cluster
      .node(node)!
      .controller.all()
      .some(({ stopped }) => stopped === undefined),
  )
