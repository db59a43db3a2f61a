/**
 * A copy that somebody found to be wrong gets to the owner of its vDisk, who alone changes its row (I4), and makes it anew as one that a
 * read met. A vDisk that nobody owns is claimed for that, and given up again when it is idle.
 */
import { decodeControl, encodeControl } from './base/control.ts'
import type { GroupId, NodeId, VDiskId } from './base/ids.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Medusa } from './medusa/medusa.ts'
import type { Peers } from './peer/peer.ts'
import type { CopyRef } from './stargate/extent-store/extent-store.ts'
import { namesNow } from './stargate/vdisk-controller/copy-check.ts'
import { readGroupRow } from './stargate/vdisk-controller/group-rows.ts'
import type { VDiskHost } from './stargate/vdisk-controller/vdisk-host.ts'

export interface WrongCopiesOptions {
  readonly node: NodeId
  readonly view: ClusterView
  readonly peers: Peers
  readonly medusa: Medusa
  readonly controller: VDiskHost
}

export interface WrongCopy {
  readonly vdisk: VDiskId
  readonly group: GroupId
  readonly copy: CopyRef
  readonly reason: string
}

/** A copy is read from one disk and written to another, behind others that are. */
const repairTimeoutMs = 120_000

export class WrongCopies {
  readonly #options: WrongCopiesOptions

  constructor(options: WrongCopiesOptions) {
    this.#options = options
    options.peers.handle('vdisk.repair-copy', 'forward', async ({ body }) => {
      const { vdisk, group, copy, reason } = decodeControl<WrongCopy>(body)
      await options.controller.repairCopy(vdisk, group, copy, reason)
      return []
    })
  }

  /** True: the row doesn't name it any more. Rejects where no owner could be asked, or had. */
  async repair(wrong: WrongCopy): Promise<boolean> {
    const { node, view, peers, medusa, controller } = this.#options
    const { vdisk, group, copy, reason } = wrong
    const owner = view.owner(vdisk)
    if (owner !== undefined && owner.released !== true && view.lives(owner.node, owner.incarnation))
      if (owner.node !== node) {
        const options = { lane: 'forward', timeoutMs: repairTimeoutMs } as const
        await peers.call(owner.node, 'vdisk.repair-copy', [encodeControl(wrong)], options)
        return !namesNow(await readGroupRow(medusa, group), copy)
      }
    await controller.claim(vdisk, 'free')
    await controller.repairCopy(vdisk, group, copy, reason)
    return !namesNow(await readGroupRow(medusa, group), copy)
  }
}
