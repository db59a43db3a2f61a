/**
 * The checkers of I1 to I10 (DESIGN section 4), joined and attached to a running cluster: from then on each looks at what the
 * disks, the store and the clients show, when it changes, and the first broken promise ends the run.
 *
 *  1. They look on from outside: nothing that runs in the world is changed, no event added, no chance drawn.
 *  2. They pay for what changes, not for what there is: no look goes over whole disks, but the last (health.ts).
 *
 * I2 and I5 are judged by what clients read: sector-history.ts, sector-stamps.ts, workload.ts.
 */
import { decodeControl } from '../../src/base/control.ts'
import type { NodeId, VDiskId } from '../../src/base/ids.ts'
import type { Change } from '../../src/medusa/medusa.ts'
import type { MedusaCalls } from '../../src/medusa/medusa-requests.ts'
import type { InodeId } from '../../src/stargate/namespace/namespace.ts'
import { decodeInodeRow, inodeRowKey } from '../../src/stargate/namespace/rows.ts'
import type { ZeusCalls } from '../../src/zeus/zeus-requests.ts'
import { type Cluster, disksOfNode, pathOfDisk } from '../cluster.ts'
import type { SectorHistory, SectorWrite } from '../sector-history.ts'
import type { DiskObserver, SimDirectory } from '../sim-disk.ts'
import type { ClientObserver } from '../workload.ts'
import { badPageFault } from './bad-pages.ts'
import { logFault, operationsFault, socketFault, undrainedFault } from './bounds.ts'
import { DeletionFirst } from './deletion-first.ts'
import { copyAt, tierOfPath } from './disk-paths.ts'
import { DurableCopies } from './durable-copies.ts'
import { DurableFirst, freedTooEarly } from './durable-first.ts'
import { FailedDisks } from './failed-disks.ts'
import { type Invariant, InvariantViolation } from './invariant-violation.ts'
import { MetadataShadow } from './metadata-shadow.ts'
import { namedCopiesFault } from './named-copies.ts'
import { OneOwner } from './one-owner.ts'
import { tierFault } from './one-tier.ts'
import { PromotedOnce } from './promoted-once.ts'
import { SpaceReserve } from './space-reserve.ts'

export interface CheckersOptions {
  /** How many copies the vDisks' container asks for. */
  readonly copies: number
  readonly oplogSegmentBytes: number
  /** The largest that a client sends. */
  readonly requestBytesMax: number
}

export class Checkers {
  readonly #cluster: Cluster
  readonly #options: CheckersOptions
  readonly #metadata = new MetadataShadow()
  readonly #durableCopies = new DurableCopies()
  readonly #oneOwner = new OneOwner()
  readonly #durableFirst: DurableFirst
  readonly #failedDisks = new FailedDisks()
  readonly #deletionFirst: DeletionFirst
  readonly #promotedOnce = new PromotedOnce()

  constructor(cluster: Cluster, options: CheckersOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#durableFirst = new DurableFirst(this.#metadata, (node) => cluster.world.disk(node))
    this.#deletionFirst = new DeletionFirst(this.#metadata)
    cluster.onStoreRequest = (kind, body, answer) => this.#storeAnswered(kind, body, answer)
    cluster.world.network.onWaiting = (from, to, bytes) => this.#judge('I9', socketFault(from, to, bytes))
    for (const node of cluster.names) cluster.world.disk(node).observer = this.#observerOf(node)
  }

  /** What the clients of one vDisk tell. */
  clientObserver(history: SectorHistory): ClientObserver {
    const { copies } = this.#options
    return {
      sent: (write) => this.#durableCopies.sent(write),
      gaveUp: (write) => this.#durableCopies.gaveUp(write),
      acknowledged: (write) =>
        this.#judge(
          'I1',
          this.#durableCopies.acknowledged(write, copies, () => isOverlapped(write, history)),
        ),
    }
  }

  /** A look at what is too dear to be looked at with each change; now and then. */
  look(): void {
    this.#lookAtOwners()
    const { requestBytesMax, oplogSegmentBytes } = this.#options
    for (const name of this.#cluster.serving()) {
      const { controller } = this.#cluster.node(name)!
      const { undrainedBytes, undrainedBytesMax: most, hosted } = controller.statistics()
      this.#judge('I9', undrainedFault(name, undrainedBytes, { most, hosted, requestBytesMax }))
      const log = this.#cluster.world.disk(name).find(`${pathOfDisk('flash')}/oplog`)
      if (log?.kind === 'directory')
        this.#judge('I9', logFault(name, bytesIn(log), this.#cluster.capacityOf('flash'), oplogSegmentBytes))
    }
    for (const vdisk of this.#metadata.states.keys()) this.#lookAtLogs(vdisk)
  }

  #observerOf(node: NodeId): DiskObserver {
    const { world } = this.#cluster
    const disk = world.disk(node)
    const reserves = new Map(
      disksOfNode.map((tier) => [
        tier,
        new SpaceReserve(`${node}, ${tier}`, this.#cluster.capacityOf(tier), (path, content) => {
          const file = disk.find(path)
          return file?.kind === 'file' && file.content === content
        }),
      ]),
    )
    const reserveAt = (path: string): SpaceReserve | undefined => {
      const tier = tierOfPath(path)
      return tier === undefined ? undefined : reserves.get(tier)
    }
    return {
      durable: (content, position, bytes) => this.#durableCopies.landed(node, content, position, bytes),
      created: (path, content) => this.#judge('I10', reserveAt(path)?.created(path, content)),
      synced: (path, content) => this.#judge('I10', reserveAt(path)?.synced(path, content)),
      removed: (path) => {
        reserveAt(path)?.removed(path)
        const copy = copyAt(path)
        if (copy === undefined) return
        this.#judge('I7', this.#deletionFirst.removed(node, copy.tier, copy.group, copy.number, world.now))
      },
      began: (process, kind, path, underWay) => {
        this.#judge('I6', this.#failedDisks.began(process, kind, path, world.now))
        this.#judge('I9', operationsFault(process, underWay))
      },
      failed: (process, kind, path, code) => this.#failedDisks.failed(process, kind, path, code, world.now),
    }
  }

  #storeAnswered(kind: string, body: Buffer, answer: Uint8Array): void {
    if (kind === 'medusa.change') this.#medusaChanged(body, answer)
    else if (kind === 'zeus.claim') {
      const { owner } = decodeControl<ZeusCalls['zeus.claim']['answer']>(answer)
      const { vdisk } = decodeControl<ZeusCalls['zeus.claim']['asks']>(body)
      this.#judge('I4', this.#oneOwner.claimed(vdisk, owner.epoch, `${owner.node} (${owner.incarnation})`))
    }
  }

  #medusaChanged(body: Buffer, answer: Uint8Array): void {
    const result = decodeControl<MedusaCalls['medusa.change']['answer']>(answer)
    if (result.outcome !== 'applied') return
    const { partition, change } = decodeControl<MedusaCalls['medusa.change']['asks']>(body)
    if (partition.table === 'inode') this.#inodeChanged(Number(partition.key) as InodeId, change)
    const made = this.#metadata.read(partition, change, result.static)
    this.#judge('I1', namedCopiesFault(made, this.#metadata))
    this.#judge('I4', this.#oneOwner.changed(made))
    this.#judge('I3', this.#durableFirst.changed(made))
    this.#judge(
      'I5',
      badPageFault(made, this.#metadata, (node) => this.#cluster.world.disk(node)),
    )
    this.#judge('I7', this.#deletionFirst.changed(made, this.#cluster.world.now))
    this.#judge('I8', tierFault(made))
    // What was freed by now was freed by what the row has said until now.
    if (made.state !== undefined) this.#lookAtLogs(made.state.vdisk)
    if (made.map.length > 0) this.#lookAtLogs(made.map[0].vdisk)
    this.#metadata.apply(made)
    if (partition.table === 'vdisk') this.#lookAtOwners()
  }

  #inodeChanged(id: InodeId, { put = [] }: Change): void {
    const bytes = put.find(({ key }) => key === inodeRowKey)?.value
    if (bytes === undefined) return
    const row = decodeInodeRow(bytes)
    this.#judge('I3', this.#promotedOnce.changed(id, row.type === 'file' ? row.content : undefined))
  }

  #lookAtOwners(): void {
    for (const name of this.#cluster.serving()) {
      const { controller, incarnation } = this.#cluster.node(name)!
      for (const { id, epoch, stopped } of controller.all())
        if (stopped === undefined)
          this.#judge('I4', this.#oneOwner.serves(id, epoch, `${name} (${incarnation})`))
    }
  }

  #lookAtLogs(vdisk: VDiskId): void {
    const state = this.#metadata.states.get(vdisk)
    if (state?.state !== 'live' || state.episodes.length === 0) return
    for (const name of this.#cluster.serving())
      for (const replica of this.#cluster.node(name)!.replicas) {
        const holding = replica.holdings().find((one) => one.vdisk === vdisk)
        const fault = holding === undefined ? undefined : freedTooEarly(state, holding)
        if (fault !== undefined) this.#judge('I3', `${replica.ref.disk} ${fault}, of vDisk ${vdisk}`)
      }
  }

  #judge(invariant: Invariant, fault: string | undefined): void {
    if (fault !== undefined) this.#cluster.world.fail(new InvariantViolation(invariant, fault))
  }
}

function bytesIn(directory: SimDirectory): number {
  let sum = 0
  for (const node of directory.names.values()) if (node.kind === 'file') sum += node.content.size
  return sum
}

/** Some other change of sectors of the write may have happened since the write was called. */
const isOverlapped = (write: SectorWrite, { writes }: SectorHistory): boolean =>
  writes.some(
    (other) =>
      other !== write &&
      other.first < write.first + write.count &&
      write.first < other.first + other.count &&
      (other.answeredAt === undefined || other.answeredAt >= write.calledAt),
  )
