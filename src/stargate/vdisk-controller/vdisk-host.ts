/**
 * All vDisks that this node owns: claiming them, giving them up, and what concerns them all (grants, lost nodes, log pressure).
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type {
  DiskRef,
  Epoch,
  GroupId,
  Incarnation,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Platform } from '../../platform/platform.ts'
import type { ClaimReason, Zeus } from '../../zeus/zeus.ts'
import type { ExtentCache } from '../extent-cache/extent-cache.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import type { OplogReplica, Oplogs } from '../oplog/oplog.ts'
import { GroupIndex } from './group-index.ts'
import { type LogCandidate, placeLog, Suspects } from './group-place.ts'
import { GroupTable } from './group-table.ts'
import { type HostedContext, HostedVDiskController } from './hosted-vdisk.ts'
import type { MedusaAccess } from './owned-partition.ts'
import { freeEverything } from './reclaim.ts'
import { recoverLog } from './takeover.ts'
import type { HostedVDisk, VDiskController, VDiskControllerStatistics } from './vdisk-controller.ts'
import type { VDiskState } from './rows.ts'
import { VDiskRow } from './vdisk-row.ts'
import { WriteGate } from './write-gate.ts'

export interface VDiskHostOptions {
  readonly platform: Platform
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly zeus: Zeus
  readonly medusa: Medusa
  readonly oplogs: Oplogs
  /** This node's own log disks. */
  readonly replicas: readonly OplogReplica[]
  readonly extents: ExtentStore
  readonly cache: ExtentCache
  readonly writeWaitMaxMs: number
  /** Undrained bytes of all vDisks in this node's memory. */
  readonly undrainedBytesMax: number
  /** Disks that may hold logs now: flash disks in service, of nodes that live. */
  readonly logCandidates: () => readonly LogCandidate[]
  readonly admitMaintenance: HostedContext['admitMaintenance']
}

/** Claims of one vDisk in one go: each met a row whose epoch had been raised meanwhile. */
const claimAttemptsMax = 8

/** Above every sequence: of a deleted vDisk no record is needed. */
const everything = Number.MAX_SAFE_INTEGER as Sequence

export class VDiskHost implements VDiskController {
  readonly #options: VDiskHostOptions
  readonly #access: MedusaAccess
  readonly #groups: GroupTable
  readonly #gate: WriteGate
  readonly #suspects = new Suspects()
  readonly #hosted = new Map<VDiskId, HostedVDiskController>()
  readonly #claims = new Map<VDiskId, Promise<HostedVDisk>>()
  readonly #counts = {
    drains: 0,
    drainedBytes: 0,
    takeovers: 0,
    reopenedEpisodes: 0,
    streamWrites: 0,
    logWrites: 0,
    groupsFreed: 0,
    copiesRepaired: 0,
    compactedBytes: 0,
  }
  #closed = false

  constructor(options: VDiskHostOptions) {
    const { platform, medusa, oplogs, extents } = options
    this.#options = options
    this.#access = { platform, medusa }
    this.#groups = new GroupTable(medusa)
    this.#gate = new WriteGate(platform.clock, options.undrainedBytesMax, options.writeWaitMaxMs)
    extents.onBadCopy = (access, copy, reason) => this.#badCopy(access.vdisk, access.group, copy, reason)
    oplogs.keepGranted(
      () => [...this.#hosted.values()].flatMap((vdisk) => vdisk.wanted() ?? []),
      (grant) => {
        const vdisk = this.#hosted.get(grant.vdisk)
        if (vdisk?.epoch === grant.epoch) vdisk.granted(grant)
      },
    )
  }

  hosted(vdisk: VDiskId): HostedVDisk | undefined {
    const hosted = this.#hosted.get(vdisk)
    return hosted?.stopped === undefined ? hosted : undefined
  }

  all(): readonly HostedVDisk[] {
    return [...this.#hosted.values()]
  }

  async create(vdisk: VDiskId, name: string, sizeBytes: number, copies: 1 | 2 | 3): Promise<void> {
    await VDiskRow.create(this.#access, vdisk, {
      name,
      state: 'live',
      copies,
      sizeBytes,
      layer: 1 as LayerId,
      drained: 0 as Sequence,
      episodes: [],
      clients: {},
    })
  }

  claim(vdisk: VDiskId, reason: ClaimReason): Promise<HostedVDisk> {
    const hosted = this.hosted(vdisk)
    if (hosted !== undefined) return Promise.resolve(hosted)
    let claim = this.#claims.get(vdisk)
    if (claim === undefined) {
      claim = this.#claim(vdisk, reason).finally(() => this.#claims.delete(vdisk))
      this.#claims.set(vdisk, claim)
    }
    return claim
  }

  async #claim(vdisk: VDiskId, reason: ClaimReason): Promise<HostedVDisk> {
    const { zeus, node, incarnation, platform, oplogs } = this.#options
    let atLeast = 1
    for (let attempt = 1; ; attempt++) {
      if (this.#closed) throw new NdfsError('UNAVAILABLE', 'This node is shutting down')
      const { epoch } = await zeus.claim(vdisk, { node, incarnation }, reason, atLeast as Epoch)
      try {
        const row = await VDiskRow.raise(this.#access, vdisk, epoch)
        if (row.state.state === 'deleted') {
          this.#finishDeletion(row)
          throw new NdfsError('NOT_FOUND', `vDisk ${vdisk} was deleted`, { vdisk })
        }
        const begun = platform.clock.now()
        const recovered = await recoverLog(
          { clock: platform.clock, log: platform.log, oplogs },
          vdisk,
          epoch,
          row.state,
        )
        const hosted = new HostedVDiskController(this.#contextFor(), row, recovered)
        this.#hosted.set(vdisk, hosted)
        await hosted.open()
        this.#counts.takeovers++
        platform.log.info(`vDisk ${vdisk} (${row.state.name}) is served here`, {
          epoch,
          recoveredRecords: recovered.entries.length,
          tookMs: Math.round(platform.clock.now() - begun),
        })
        return hosted
      } catch (error) {
        if (
          hasCode(error, 'CONFLICT') &&
          typeof error.facts.epoch === 'number' &&
          attempt < claimAttemptsMax
        ) {
          atLeast = error.facts.epoch + 1
          continue
        }
        if (!(error instanceof NdfsError)) throw error
        // Whoever can may try; deletion goes on under this epoch.
        if (!hasCode(error, 'NOT_FOUND')) await zeus.release(vdisk, epoch).catch(() => undefined)
        throw error
      }
    }
  }

  #contextFor(): HostedContext {
    const { platform, oplogs, extents, cache, node, writeWaitMaxMs, logCandidates, admitMaintenance } =
      this.#options
    return {
      platform,
      access: this.#access,
      oplogs,
      extents,
      cache,
      groups: this.#groups,
      node,
      writeWaitMaxMs,
      suspects: this.#suspects,
      gate: this.#gate,
      placeLog: (vdisk, copies) =>
        placeLog(copies, vdisk, node, logCandidates(), this.#suspects.now(platform.clock.now())),
      admitMaintenance,
      count: (what, by) => {
        this.#counts[what] += by
      },
      idle: (vdisk) =>
        void this.release(vdisk.id).catch((error: unknown) => this.#logFailure('release', vdisk.id, error)),
      over: (vdisk) => {
        if (this.#hosted.get(vdisk.id) !== vdisk) return
        this.#hosted.delete(vdisk.id)
        this.#groups.forgetAllOf(vdisk.id)
      },
    }
  }

  async delete(vdisk: VDiskId): Promise<void> {
    await this.claim(vdisk, 'free')
    await this.#hosted.get(vdisk)!.delete()
  }

  /** A deleted vDisk whose owner died before it had freed everything. */
  #finishDeletion(row: VDiskRow): void {
    const { platform, extents, zeus } = this.#options
    const index = new GroupIndex(this.#access, row, this.#groups, extents)
    void freeEverything({ platform, row, index, settled: () => Promise.resolve() })
      .then(async (complete) => {
        if (complete) await zeus.release(row.vdisk, row.epoch)
      })
      .catch((error: unknown) => this.#logFailure('free', row.vdisk, error))
  }

  async release(vdisk: VDiskId, next?: NodeId): Promise<void> {
    const hosted = this.#hosted.get(vdisk)
    if (hosted === undefined) return
    await hosted.close({ drain: true })
    await this.#options.zeus.release(vdisk, hosted.epoch, next)
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled([...this.#claims.values()])
    await Promise.allSettled([...this.#hosted.values()].map((vdisk) => vdisk.close({ drain: false })))
  }

  /** A fence was accepted by a log disk of this node: an ownership under a lower epoch ends at once (DESIGN section 7). */
  fenced(vdisk: VDiskId, epoch: Epoch): void {
    const hosted = this.#hosted.get(vdisk)
    if (hosted !== undefined && hosted.epoch < epoch)
      hosted.lost(
        new NdfsError(
          'FENCED',
          `vDisk ${vdisk} was taken over: epoch ${epoch} fenced epoch ${hosted.epoch}`,
          { epoch },
        ),
      )
  }

  /** A node's session ended, or a disk of it left service: every log that has a replica there goes on elsewhere. */
  replicasLost(matches: (ref: DiskRef) => boolean, cause: Error): void {
    for (const vdisk of this.#hosted.values()) vdisk.replicaLost(matches, cause)
  }

  /** A log disk runs short of room, and these vDisks' records hold its oldest segments. */
  drainNow(vdisks: readonly VDiskId[]): void {
    for (const vdisk of vdisks) this.#hosted.get(vdisk)?.startDrain()
  }

  /**
   * Frees what the log disks of this node keep though the rows say that it is drained: its owner may have told others, or may be
   * gone (a replica that was away, an attempt at an episode that no row names). A row that can't be found frees nothing (I7).
   */
  async freeDrained(): Promise<void> {
    for (const replica of this.#options.replicas)
      for (const { vdisk } of replica.holdings()) {
        const state = await VDiskRow.peek(this.#access, vdisk)
        if (state !== undefined) replica.free(vdisk, state.state === 'deleted' ? everything : state.drained)
      }
  }

  /** What the row says of a vDisk that nobody needs to own for that. */
  async peek(vdisk: VDiskId): Promise<VDiskState | undefined> {
    return VDiskRow.peek(this.#access, vdisk)
  }

  statistics(): VDiskControllerStatistics {
    return {
      hosted: this.#hosted.size,
      undrainedBytes: this.#gate.undrainedBytes,
      undrainedBytesMax: this.#gate.bytesMax,
      ...this.#counts,
    }
  }

  #badCopy(vdisk: VDiskId, group: GroupId, copy: CopyRef, reason: string): void {
    this.#options.platform.log.warn(`a copy of extent group ${group} is bad`, {
      disk: copy.disk,
      node: copy.node,
      reason,
    })
    const hosted = this.#hosted.get(vdisk)
    if (hosted !== undefined) void hosted.repairCopy(this.#groups.handleOf(group), copy)
  }

  #logFailure(what: string, vdisk: VDiskId, error: unknown): void {
    this.#options.platform.log.warn(`could not ${what} vDisk ${vdisk}`, { reason: messageOf(error) })
  }
}
