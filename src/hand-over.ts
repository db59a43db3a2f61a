/**
 * A node that is being left, or is in maintenance, owns nothing: it gives its vDisks up, drained and sealed, to nodes that stay, and sends
 * there what its guests ask for (docs/vdisk-protocol.md, "Orderly change").
 *
 *  1. A vDisk is given up only to a node that has just said that it would take it, and that is asked to at once: guests wait for a seal and
 *     a claim. Where there is none it stays here, and is served.
 *  2. Whoever must own a vDisk here all the same (nobody else answers) does; it is given up again later.
 */
import { atOnce } from './base/at-once.ts'
import { decodeControl, encodeControl } from './base/control.ts'
import { hasCode, messageOf, NdfsError } from './base/errors.ts'
import type { NodeId, VDiskId } from './base/ids.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock, Log, Timer } from './platform/platform.ts'
import type { HostedVDisk, VDiskController } from './stargate/vdisk-controller/vdisk-controller.ts'

export interface HandOverContext {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  readonly peers: Peers
  readonly controller: VDiskController
  readonly liveNodes: () => readonly NodeId[]
  /** As far as this node has heard: it is no node that is being left. */
  readonly mayOwn: (node: NodeId) => boolean
}

interface Asked {
  readonly vdisk: VDiskId
  /** Only whether it would. */
  readonly wouldYou?: boolean
}

/** vDisks given up at once: each drains what it has. */
const atOnceMax = 4
const askTimeoutMs = 2000
/** A claim may have to recover a log. */
const takeTimeoutMs = 10_000
/** Between looks, while some could not be given up. */
const againMs = 5000
/** A node that refused, or did not answer, is not asked for so long. */
const avoidMs = 30_000

export class HandOver {
  readonly #context: HandOverContext
  readonly #avoided = new Map<NodeId, number>()
  #giving = false
  #again = false
  #timer: Timer | undefined
  #stopped = false

  constructor(context: HandOverContext) {
    this.#context = context
    const { peers, node, mayOwn, controller } = context
    peers.handle('vdisk.take', 'forward', async (request) => {
      const { vdisk, wouldYou } = decodeControl<Asked>(request.body)
      if (!mayOwn(node) || this.#stopped)
        throw new NdfsError('UNAVAILABLE', `${node} is being left: it takes no vDisks`, { node })
      if (wouldYou !== true) await controller.claim(vdisk, 'free')
      return []
    })
  }

  /** A mode has changed, or a vDisk is served here that was not. */
  look(): void {
    const { node, mayOwn } = this.#context
    if (this.#stopped || mayOwn(node)) return
    this.#again = this.#giving
    if (this.#giving) return
    this.#giving = true
    this.#timer?.cancel()
    this.#timer = undefined
    void this.#giveAll()
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  /**
   * Has a node that stays own the vDisk, where this one shall not; false where that is for this node to do. Rejects with NOT_FOUND where
   * there is no such vDisk any more.
   */
  async sendHome(vdisk: VDiskId): Promise<boolean> {
    const { node, mayOwn } = this.#context
    if (mayOwn(node)) return false
    const home = this.#homesFor(vdisk)[0]
    return home !== undefined && (await this.#ask(home, { vdisk }, takeTimeoutMs))
  }

  async #giveAll(): Promise<void> {
    const { clock, node, controller, mayOwn } = this.#context
    do {
      this.#again = false
      const served = controller.all().filter(({ stopped }) => stopped === undefined)
      await atOnce(served, atOnceMax, (vdisk) => this.#give(vdisk))
    } while (this.#again && !this.#stopped)
    this.#giving = false
    const isLeft = controller.all().some(({ stopped }) => stopped === undefined)
    if (isLeft && !mayOwn(node) && !this.#stopped) this.#timer = clock.after(againMs, () => this.look())
  }

  async #give(vdisk: HostedVDisk): Promise<void> {
    const { node, controller, log, mayOwn } = this.#context
    const { id } = vdisk
    const preferred = vdisk.describe().episode?.replicas.map((replica) => replica.node) ?? []
    for (const home of this.#homesFor(id, preferred)) {
      if (mayOwn(node) || this.#stopped || vdisk.stopped !== undefined) return
      if (!(await this.#ask(home, { vdisk: id, wouldYou: true }, askTimeoutMs))) continue
      log.info(`vDisk ${id} goes to ${home}: this node is being left`)
      await controller.release(id, home)
      await this.#ask(home, { vdisk: id }, takeTimeoutMs)
      return
    }
  }

  async #ask(home: NodeId, asked: Asked, timeoutMs: number): Promise<boolean> {
    const { clock, log, peers } = this.#context
    try {
      await peers.call(home, 'vdisk.take', [encodeControl(asked)], { lane: 'forward', timeoutMs })
      return true
    } catch (error) {
      if (!(error instanceof NdfsError) || hasCode(error, 'NOT_FOUND')) throw error
      // Somebody else was faster: as good.
      if (hasCode(error, 'IN_USE')) return true
      this.#avoided.set(home, clock.now() + avoidMs)
      log.debug(`vDisk ${asked.vdisk} is not taken by ${home}`, { reason: messageOf(error) })
      return false
    }
  }

  /** Nodes that live and stay: of those that hold its log first, then as its number points. */
  #homesFor(vdisk: VDiskId, preferred: readonly NodeId[] = []): NodeId[] {
    const { clock, node, liveNodes, mayOwn } = this.#context
    for (const [home, until] of this.#avoided) if (until <= clock.now()) this.#avoided.delete(home)
    const homes = [...liveNodes()]
      .sort()
      .filter((one) => one !== node && mayOwn(one) && !this.#avoided.has(one))
    const from = homes.length === 0 ? 0 : vdisk % homes.length
    const turned = [...homes.slice(from), ...homes.slice(0, from)]
    return [
      ...turned.filter((one) => preferred.includes(one)),
      ...turned.filter((one) => !preferred.includes(one)),
    ]
  }
}
