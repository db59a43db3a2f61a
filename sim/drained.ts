/**
 * What is still on disks that were drained, counted from the rows in the store's database, and from the files and logs on the simulated
 * disks: what `status` says of them is held against it. Of the code that is judged it uses the shapes of rows, and nothing else.
 */
import type { DiskRef, NodeId } from '../src/base/ids.ts'
import { decodeGroupRow } from '../src/stargate/vdisk-controller/rows.ts'
import type { Cluster } from './cluster.ts'
import { rowsOf, vDiskStates } from './metadata-check.ts'

/** One line for each thing that rows name on a disk of which `is` says yes. */
export function findOnDisks(cluster: Cluster, is: (disk: DiskRef) => boolean): string[] {
  const faults: string[] = []
  for (const { name, state, episodes, drained } of vDiskStates(cluster.database).values())
    for (const { id, end, replicas } of episodes)
      if (state === 'live' && (end === undefined || end > drained) && replicas.some(is))
        faults.push(`episode ${id} of ${name} lies on ${replicas.map(({ disk }) => disk).join(', ')}`)
  for (const { key, value } of rowsOf(cluster.database, 'group')) {
    const { state, copies } = decodeGroupRow(value)
    if (state === 'whole' && copies.some(is))
      faults.push(`group ${key} lies on ${copies.map(({ disk }) => disk).join(', ')}`)
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
