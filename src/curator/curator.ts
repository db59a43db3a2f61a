/**
 * Curator does the background work (DESIGN section 9). Today that is this: no vDisk that needs an owner is left without.
 *
 *  1. When a node's session ends, each of its vDisks is given to a live node at once, traffic or not (F11, C12): its log is then
 *     drained, and its copies are looked after.
 *  2. At start, when nodes have come, and every minute, the same for every vDisk whose owner is gone, or that was handed to a node that
 *     never took it, or was granted to this node when the answer was lost. And what this node's logs keep of vDisks that are drained, or
 *     deleted, is freed.
 *  3. vDisks that nobody owns are looked at when disks are gone or back, and given an owner where copies have to be made or
 *     unlinked (idle-repair.ts).
 *  4. Plans are pure functions of what was read (`assign.ts`): every node makes the same plan and carries out its own part, so there is
 *     no leader to lose; where two disagree, the claim decides.
 *
 * Not here: taking over (vDisk controller), who owns what (Zeus).
 */
import { atOnce } from '../base/at-once.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/ids.ts'
import type { Clock, Log, Timer } from '../platform/platform.ts'
import { assignments, type OwnerlessView, unheardOf } from './assign.ts'
import { IdleRepair, type IdleRepairContext } from './idle-repair.ts'

export interface CuratorContext {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  /** Between one look and the next. */
  readonly sweepMs: number
  readonly view: OwnerlessView
  /** This node serves it, or is about to, or has not told Zeus yet that it gave it up. */
  readonly holds: (vdisk: VDiskId) => boolean
  /** Takes the vDisk over; rejects where another node did. */
  readonly claim: (vdisk: VDiskId) => Promise<void>
  /** Frees what this node's logs keep though it is drained: nobody may have been there to tell. */
  readonly tidy: () => Promise<void>
  readonly needsRepair: IdleRepairContext['needsRepair']
}

/** How long a sweep waits for one takeover before it goes on with the next. */
const claimWaitMs = 10_000
/** Takeovers under way at once: each reads its vDisk's undrained log into memory. */
const claimsAtOnceMax = 4
/** Behind a node that comes: others follow it when a cluster starts, and those that came by then are one reason to look. */
const settleMs = 1000

export class Curator {
  readonly #context: CuratorContext
  readonly #idleRepair: IdleRepair
  #timer: Timer | undefined
  /** A node came: the sweep that follows it. */
  #settling: Timer | undefined
  #sweeping = false
  #again = false
  #tidying = false
  #stopped = false

  constructor(context: CuratorContext) {
    this.#context = context
    this.#idleRepair = new IdleRepair(context)
  }

  /** Looks now, and from then on every `sweepMs`. */
  start(): void {
    this.sweep()
  }

  /** A session ended: what it owned is looked after at once. While a sweep goes on it is repeated, once for all who asked meanwhile. */
  sweep(): void {
    if (this.#stopped) return
    if (this.#sweeping) {
      this.#again = true
      return
    }
    this.#sweeping = true
    this.#timer?.cancel()
    void this.#sweep()
  }

  /**
   * A node came. While not all were seen, each node may have left a vDisk to another one, and who was to take it may not have
   * reached its log: what has nobody yet is looked after soon.
   */
  nodeCame(): void {
    if (this.#stopped) return
    this.#settling ??= this.#context.clock.after(settleMs, () => {
      this.#settling = undefined
      this.sweep()
    })
  }

  /** vDisks that nobody owns, which this node has yet to look at since more was gone. */
  get vDisksToLookAt(): number {
    return this.#idleRepair.toLookAt
  }

  /** Disks are gone that were there (`losses`), or there that were gone. */
  disksChanged(losses: boolean): void {
    this.#idleRepair.changed(losses)
  }

  stop(): void {
    this.#stopped = true
    this.#idleRepair.stop()
    this.#timer?.cancel()
    this.#settling?.cancel()
  }

  async #sweep(): Promise<void> {
    const { clock, log, node, sweepMs, view, holds, claim } = this.#context
    do {
      this.#again = false
      const given = [...assignments(view)].flatMap(([vdisk, to]) => (to === node ? [vdisk] : []))
      const mine = [...given, ...unheardOf(view, node, holds)]
      await atOnce(mine, claimsAtOnceMax, async (vdisk) => {
        if (this.#stopped) return
        // Another node was faster, or its log can't be had now: the next sweep looks again. One that waits for nodes
        // to come goes on by itself.
        await Promise.race([claim(vdisk), clock.sleep(claimWaitMs)]).catch((error: unknown) => {
          if (!(error instanceof NdfsError)) throw error
          log.debug(`vDisk ${vdisk} was not taken over`, { reason: messageOf(error) })
        })
      })
    } while (this.#again && !this.#stopped)
    this.#sweeping = false
    if (this.#stopped) return
    this.#timer = clock.after(sweepMs, () => this.sweep())
    this.#idleRepair.look()
    void this.#tidy()
  }

  /** Beside sweeps: a disk that gives no answer must not keep vDisks without an owner. */
  async #tidy(): Promise<void> {
    if (this.#tidying) return
    this.#tidying = true
    const { log, tidy } = this.#context
    await tidy().catch((error: unknown) => {
      if (!(error instanceof NdfsError)) throw error
      log.debug('the logs were not tidied', { reason: messageOf(error) })
    })
    this.#tidying = false
  }
}
