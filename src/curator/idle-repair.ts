/**
 * vDisks that nobody owns are repaired too (I1): when what is gone has changed, each is looked at once, by the node that its number
 * points at, and claimed where its owner would have something to do. That owner gives it up again when it is done.
 *
 * Every node makes the same plan and carries out its own part, as with vDisks whose owner is gone (assign.ts).
 */
import { atOnce } from '../base/at-once.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/ids.ts'
import type { Clock, Log } from '../platform/platform.ts'
import { idle, type OwnerlessView } from './assign.ts'

export interface IdleRepairContext {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  readonly view: OwnerlessView
  /** Whether an owner would have something to repair; `losses`: more is gone than when it was last asked. */
  readonly needsRepair: (vdisk: VDiskId, losses: boolean) => Promise<boolean>
  /** Takes the vDisk over; rejects where another node did. */
  readonly claim: (vdisk: VDiskId) => Promise<void>
}

/** vDisks looked at, or claimed, at once. */
const looksAtOnceMax = 8
/** How long one claim is waited for before the next vDisk is looked at; it goes on by itself. */
const claimWaitMs = 10_000

export class IdleRepair {
  readonly #context: IdleRepairContext
  /** Changes so far, and those that were losses. The start is one of both: nobody knows what was looked at before. */
  #changes = 1
  #losses = 1
  readonly #lookedAt = new Map<VDiskId, { readonly changes: number; readonly losses: number }>()
  /** Those that had nobody when more was gone. */
  readonly #toLookAt = new Set<VDiskId>()
  #looking = false
  #again = false
  #stopped = false

  constructor(context: IdleRepairContext) {
    this.#context = context
  }

  /** What is gone has changed. */
  changed(losses: boolean): void {
    this.#changes++
    if (losses) {
      this.#losses++
      for (const vdisk of idle(this.#context.view, this.#context.node)) this.#toLookAt.add(vdisk)
    }
    this.look()
  }

  /** Looks at what was not looked at since the last change: vDisks that were given to this node since, and looks that failed. */
  look(): void {
    if (this.#stopped) return
    this.#again = this.#looking
    if (this.#looking) return
    this.#looking = true
    void this.#look()
  }

  /** vDisks of this node's share that were not looked at since more was gone. */
  get toLookAt(): number {
    const { view, node } = this.#context
    return idle(view, node).filter((vdisk) => this.#toLookAt.has(vdisk)).length
  }

  stop(): void {
    this.#stopped = true
  }

  async #look(): Promise<void> {
    const { node, view } = this.#context
    do {
      this.#again = false
      const mine = idle(view, node)
      for (const vdisk of this.#lookedAt.keys()) if (!view.owners.has(vdisk)) this.#lookedAt.delete(vdisk)
      // The others have an owner, or are another node's to look at.
      const still = new Set(mine)
      for (const vdisk of this.#toLookAt) if (!still.has(vdisk)) this.#toLookAt.delete(vdisk)
      await atOnce(mine, looksAtOnceMax, (vdisk) => this.#lookAt(vdisk))
    } while (this.#again && !this.#stopped)
    this.#looking = false
  }

  async #lookAt(vdisk: VDiskId): Promise<void> {
    const { clock, log, needsRepair, claim } = this.#context
    const now = { changes: this.#changes, losses: this.#losses }
    const before = this.#lookedAt.get(vdisk)
    if (this.#stopped || before?.changes === now.changes) return
    try {
      if (await needsRepair(vdisk, before?.losses !== now.losses))
        await Promise.race([claim(vdisk), clock.sleep(claimWaitMs)])
      this.#lookedAt.set(vdisk, now)
      if (now.losses === this.#losses) this.#toLookAt.delete(vdisk)
    } catch (error) {
      // Its owner sees to it, or it is looked at again with the next sweep.
      if (!(error instanceof NdfsError)) throw error
      log.debug(`vDisk ${vdisk} was not looked at for copies that are gone`, { reason: messageOf(error) })
    }
  }
}
