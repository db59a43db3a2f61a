/**
 * What a cluster must come to by itself, in bounded time, once nothing goes wrong any more: one owner for each vDisk in use (I4),
 * and nothing left in the logs once it is idle (I1, I10). What the map, extent groups and files must be then is
 * metadata-check.ts's. Each fault is a line that begins with the promise that is broken.
 */
import type { NodeId, VDiskId } from '../../src/base/ids.ts'
import type { HostedVDisk } from '../../src/stargate/vdisk-controller/vdisk-controller.ts'
import type { OplogReplica } from '../../src/stargate/oplog/oplog.ts'
import type { VDiskState } from '../../src/stargate/vdisk-controller/rows.ts'

/** What is asked of the cluster: its nodes that serve. */
export interface ServingNodes {
  serving(): readonly NodeId[]
  node(name: NodeId):
    | {
        readonly controller: { all(): readonly Pick<HostedVDisk, 'id' | 'stopped'>[] }
        readonly replicas: readonly Pick<OplogReplica, 'holdings'>[]
      }
    | undefined
}

/** Of vDisks that have been used a moment ago: those that have no owner, or several. */
export function findOwnerFaults(cluster: ServingNodes, states: ReadonlyMap<VDiskId, VDiskState>): string[] {
  const faults: string[] = []
  for (const [vdisk, { name, state }] of states) {
    if (state !== 'live') continue
    const owners = cluster.serving().filter((node) =>
      cluster
        .node(node)!
        .controller.all()
        .some(({ id, stopped }) => id === vdisk && stopped === undefined),
    )
    if (owners.length !== 1)
      faults.push(`I4: ${name} has ${owners.length} owners: ${owners.join(', ') || 'none'}`)
  }
  return faults
}

/** Of idle vDisks: episodes that their rows still name, and records that replicas still keep. */
export function findWhatLogsKeep(cluster: ServingNodes, states: ReadonlyMap<VDiskId, VDiskState>): string[] {
  const faults: string[] = []
  for (const { name, state, episodes, drained } of states.values())
    if (state === 'live' && episodes.length > 0)
      faults.push(`I1: ${name} has ${episodes.length} episodes, drained to ${drained}`)
  for (const node of cluster.serving())
    for (const replica of cluster.node(node)!.replicas)
      for (const { vdisk, bytes } of replica.holdings())
        if (bytes > 0) faults.push(`I10: ${node} keeps ${bytes} bytes of the log of vDisk ${vdisk}`)
  return faults
}
