/**
 * This node's disks, and the node itself, leave service when an operator has removed them (docs/vdisk-protocol.md, "Orderly change"): a
 * disk at once, as one that has failed; the process when the cluster has forgotten its node. What is removed stays so at every start.
 */
import { NdfsError } from './base/errors.ts'
import type { NodeId } from './base/ids.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Disk } from './disk/disk.ts'
import type { LeavingDisks } from './leaving-disks.ts'
import type { SettingValue, Zeus } from './zeus/zeus.ts'

export interface RetirementContext {
  readonly node: NodeId
  readonly disks: readonly Disk[]
  readonly leaving: LeavingDisks
  readonly view: ClusterView
  /** The node is no part of the cluster any more, and its process shall end. */
  readonly removed: () => void
}

export class Retirement {
  readonly #context: RetirementContext
  #waits = false

  constructor(context: RetirementContext) {
    this.#context = context
  }

  /** An operator has set something for this node, or what was set is known now. */
  look(): void {
    const { node, disks, leaving } = this.#context
    for (const disk of disks)
      if (disk.state !== 'failed' && leaving.isRemoved(disk.ref))
        disk.fail(
          new NdfsError(
            'REFUSED',
            `it was removed from the cluster. Take it out of ${node}'s configuration`,
            {
              disk: disk.ref.disk,
            },
          ),
        )
    if (leaving.modeOf(node) !== 'removed' || this.#waits) return
    this.#waits = true
    void this.#untilForgotten()
  }

  async #untilForgotten(): Promise<void> {
    const { node, view, removed } = this.#context
    while (view.nodes.has(node)) await view.changed()
    removed()
  }
}

/** Why a process of this node may not take part; undefined where it may. */
export async function whyNotToStart(zeus: Zeus, node: NodeId): Promise<NdfsError | undefined> {
  const setting = (await zeus.get(`setting/${node}`))?.value as SettingValue | undefined
  return setting?.mode === 'removed' ? removedNode(node) : undefined
}

/** Facts `removed`: whoever starts processes need not start this one again. */
export const removedNode = (node: NodeId): NdfsError =>
  new NdfsError(
    'REFUSED',
    `${node} was removed from this cluster, and what lies on its disks is no part of it any more. Add another node instead: \`ndfs node add\``,
    { node, removed: true },
  )
