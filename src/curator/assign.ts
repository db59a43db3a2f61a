/**
 * Which live node shall own which vDisk that has nobody. Pure, and the same on every node that sees the same.
 */
import type { Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { Owner } from '../zeus/zeus.ts'

export interface OwnerlessView {
  readonly owners: ReadonlyMap<VDiskId, Owner>
  readonly liveNodes: () => readonly NodeId[]
  readonly lives: (node: NodeId, incarnation: Incarnation) => boolean
}

/**
 * What Zeus shows as this process's own, and what it does not hold: its claim was granted, and it never heard so. Nobody else
 * takes the vDisk while the process lives, so it claims it again.
 */
export function unheardOf(
  view: OwnerlessView,
  node: NodeId,
  holds: (vdisk: VDiskId) => boolean,
): readonly VDiskId[] {
  const ours = [...view.owners].filter(
    ([vdisk, owner]) =>
      owner.node === node && owner.released !== true && view.lives(node, owner.incarnation) && !holds(vdisk),
  )
  return ours.map(([vdisk]) => vdisk)
}

/**
 * Released in order, and to nobody: drained and sealed, needs no owner. Handed to a node (`next`) that hasn't taken it, or
 * held by a process that is gone: goes to `next` where that lives, else to the node that the vDisk's number points at, so that
 * a dead node's vDisks are spread over all others.
 */
export function assignments(view: OwnerlessView): Map<VDiskId, NodeId> {
  const nodes = [...view.liveNodes()].sort()
  const plan = new Map<VDiskId, NodeId>()
  if (nodes.length === 0) return plan
  for (const [vdisk, owner] of view.owners) {
    if (owner.released === true ? owner.next === undefined : view.lives(owner.node, owner.incarnation))
      continue
    const next =
      owner.next !== undefined && nodes.includes(owner.next) ? owner.next : nodes[vdisk % nodes.length]
    plan.set(vdisk, next)
  }
  return plan
}

/** Of those that were released in order and to nobody, the ones that this node looks after. */
export function idle(view: OwnerlessView, node: NodeId): VDiskId[] {
  const nodes = [...view.liveNodes()].sort()
  return [...view.owners].flatMap(([vdisk, { released, next }]) =>
    released === true && next === undefined && nodes[vdisk % nodes.length] === node ? [vdisk] : [],
  )
}
