/**
 * All vDisks that this node owns: claiming them, giving them up, and what concerns them all (grants, lost nodes, log pressure).
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import { Limit } from '../../base/limit.ts'
import type {
  DiskRef,
  EpisodeId,
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
import type { OplogReplica, Oplogs, Tail } from '../oplog/oplog.ts'
import { BadCopies } from './bad-copies.ts'
import type { CopySurvey } from './copy-levels.ts'
import { GroupIndex } from './group-index.ts'
import { type LogCandidate, placeLog, Suspects } from './group-place.ts'
import { GroupLedger } from './group-ledger.ts'
import { GroupPlaces, GroupTable } from './group-table.ts'
import { type HostedContext, HostedVDiskController } from './hosted-vdisk.ts'
import type { MedusaAccess } from './owned-partition.ts'
import type { Pace } from './pace.ts'
import { freeEverything } from './reclaim.ts'
import { type Guests, RepairLine, type RepairSource } from './repair-line.ts'
import { looksForRepair, sumOfRepairs } from './repair-looks.ts'
import { recoverLog } from './takeover.ts'
import type { HostedVDisk, VDiskController, VDiskControllerStatistics } from './vdisk-controller.ts'
import type { VDiskState } from './rows.ts'
import { epochOfEpisode } from './vdisk-log.ts'
import { VDiskRow } from './vdisk-row.ts'
import type { LeftOverJudge } from './vdisk-check.ts'
import { type SurveyQuestion, VDiskSurveys } from './vdisk-survey.ts'
import { SpaceWaiting } from './space-wait.ts'
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
  readonly pace: Pace
  /** Undrained bytes of all vDisks in this node's memory. */
  readonly undrainedBytesMax: number
  /** Disks that may hold logs now: flash disks in service, of nodes that live. */
  readonly logCandidates: () => readonly LogCandidate[]
  readonly admitMaintenance: HostedContext['admitMaintenance']
  readonly isGone: HostedContext['isGone']
  readonly mayBeRead: HostedContext['mayBeRead']
  readonly leaving: HostedContext['leaving']
  readonly isAnyGone: HostedContext['isAnyGone']
  /** Work that nobody waits for makes way for them. */
  readonly guests?: () => Guests
  /** A vDisk is served here from now on. */
  readonly served?: (vdisk: VDiskId) => void
}

/** Claims of one vDisk in one go: each met a row whose epoch had been raised meanwhile. */
const claimAttemptsMax = 8

/** How long a node that shuts down tries to seal what it serves. */
const closeWaitMaxMs = 5000

/** Between attempts to tell Zeus that a vDisk is given up. */
const releaseRetryMs = 1000

/** Recoveries at once: each reads up to a vDisk's share of undrained bytes into memory (write-gate.ts). */
const recoveriesAtOnceMax = 4

/** Above every sequence: of a deleted vDisk no record is needed. */
const everything = Number.MAX_SAFE_INTEGER as Sequence

export class VDiskHost implements VDiskController {
  readonly #options: VDiskHostOptions
  readonly #access: MedusaAccess
  readonly #surveys: VDiskSurveys
  /** Of vDisks that are hosted here. */
  readonly #badCopies = new Map<VDiskId, BadCopies>()
  readonly #places = new GroupPlaces()
  readonly #grants: { wake(): void }
  /** Recoveries under way: each reads a whole undrained log into memory. */
  readonly #recoveries = new Limit(recoveriesAtOnceMax)
  readonly #gate: WriteGate
  readonly #waitingForSpace = new SpaceWaiting()
  readonly #compacting = new Set<VDiskId>()
  readonly #suspects = new Suspects()
  readonly #repairs: RepairLine
  readonly #hosted = new Map<VDiskId, HostedVDiskController>()
  readonly #claims = new Map<VDiskId, Promise<HostedVDisk>>()
  /** Being given up: whoever wants it here waits until that is done. */
  readonly #leaving = new Map<VDiskId, Promise<void>>()
  /** Deleted, and not all freed: nobody is served, and nobody claims it anew. */
  readonly #deleting = new Set<VDiskId>()
  /** Over here, and Zeus has not been told yet. */
  readonly #givingUp = new Map<VDiskId, Promise<void>>()
  readonly #counts = {
    drains: 0,
    drainedBytes: 0,
    takeovers: 0,
    reopenedEpisodes: 0,
    streamWrites: 0,
    logWrites: 0,
    groupsFreed: 0,
    copiesRepaired: 0,
    copiesReplaced: 0,
    repairedBytes: 0,
    copiesMoved: 0,
    movedBytes: 0,
    compactedBytes: 0,
  }
  #freeingDrained: Promise<void> | undefined
  /** No vDisk is claimed any more. */
  #closed = false
  /** Nothing is tried any more, also no change whose outcome is not known. */
  #gone = false

  constructor(options: VDiskHostOptions) {
    const { platform, medusa, oplogs, extents } = options
    this.#options = options
    this.#access = { platform, medusa }
    this.#surveys = new VDiskSurveys(medusa, platform.clock)
    this.#gate = new WriteGate(platform.clock, options.undrainedBytesMax, options.writeWaitMaxMs)
    this.#repairs = new RepairLine(
      platform.clock,
      () => this.#repairSources(),
      options.guests ?? (() => ({ underWay: 0, begun: 0 })),
    )
    extents.onBadCopy = (access, copy, reason) => {
      void this.#badCopy(access.vdisk, access.group, copy, reason, 'met')
    }
    this.#grants = oplogs.keepGranted(
      () => [...this.#hosted.values()].flatMap((vdisk) => vdisk.wanted() ?? []),
      (grant) => {
        const vdisk = this.#hosted.get(grant.vdisk)
        if (vdisk?.epoch === grant.epoch) vdisk.granted(grant)
      },
    )
  }

  hosted(vdisk: VDiskId): HostedVDisk | undefined {
    const hosted = this.#hosted.get(vdisk)
    return hosted?.serving === true ? hosted : undefined
  }

  all(): readonly HostedVDisk[] {
    return [...this.#hosted.values()]
  }

  holds(vdisk: VDiskId): boolean {
    return [this.#hosted, this.#claims, this.#leaving, this.#deleting, this.#givingUp].some((held) =>
      held.has(vdisk),
    )
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
    const { zeus, node, incarnation } = this.#options
    await this.#leaving.get(vdisk)
    let atLeast = 1
    for (let attempt = 1; ; attempt++) {
      if (this.#closed) throw new NdfsError('UNAVAILABLE', 'This node is shutting down')
      if (this.#deleting.has(vdisk)) throw new NdfsError('NOT_FOUND', `vDisk ${vdisk} was deleted`, { vdisk })
      const { epoch } = await zeus.claim(vdisk, { node, incarnation }, reason, atLeast as Epoch)
      try {
        return await this.#takeOver(vdisk, epoch)
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        // Somebody raised the row between Zeus's grant and our look at it.
        if (
          hasCode(error, 'CONFLICT') &&
          typeof error.facts.epoch === 'number' &&
          attempt < claimAttemptsMax
        ) {
          atLeast = error.facts.epoch + 1
          continue
        }
        // Its log may need an owner: this node tries again every minute, and whoever is asked for it may be faster.
        if (!this.#deleting.has(vdisk) && !this.#hosted.has(vdisk)) this.#giveUp(vdisk, epoch, node)
        throw hasCode(error, 'CONFLICT')
          ? new NdfsError(
              'UNAVAILABLE',
              `vDisk ${vdisk} is being claimed by several nodes`,
              { vdisk },
              { cause: error },
            )
          : error
      }
    }
  }

  async #takeOver(vdisk: VDiskId, epoch: Epoch): Promise<HostedVDisk> {
    const { platform } = this.#options
    const begun = platform.clock.now()
    // Nobody waits behind one that finds no room for its first episode: others may drain what fills the logs.
    const { hosted, name, records } = await this.#recoveries.run(() => this.#recover(vdisk, epoch))
    await hosted.open()
    this.#counts.takeovers++
    platform.log.info(`vDisk ${vdisk} (${name}) is served here`, {
      epoch,
      recoveredRecords: records,
      tookMs: Math.round(platform.clock.now() - begun),
    })
    this.#options.served?.(vdisk)
    return hosted
  }

  async #recover(
    vdisk: VDiskId,
    epoch: Epoch,
  ): Promise<{ hosted: HostedVDiskController; name: string; records: number }> {
    const { platform, oplogs } = this.#options
    const row = await VDiskRow.raise(this.#access, vdisk, epoch, () => !this.#gone)
    if (row.state.state === 'deleted') {
      this.#finishDeletion(row)
      throw new NdfsError('NOT_FOUND', `vDisk ${vdisk} was deleted`, { vdisk })
    }
    const recovered = await recoverLog(
      { clock: platform.clock, log: platform.log, oplogs },
      vdisk,
      epoch,
      row.state,
    )
    const hosted = new HostedVDiskController(this.#contextFor(), row, recovered)
    this.#hosted.set(vdisk, hosted)
    return { hosted, name: row.state.name, records: recovered.entries.length }
  }

  /** Tells Zeus, as long as it takes: while it shows a process that lives as the owner, nobody else takes the vDisk. */
  #giveUp(vdisk: VDiskId, epoch: Epoch, next: NodeId | undefined): void {
    const { zeus, platform } = this.#options
    const tell = async (): Promise<void> => {
      while (!this.#closed)
        try {
          return await zeus.release(vdisk, epoch, next)
        } catch (error) {
          if (!(error instanceof NdfsError)) throw error
          platform.log.debug(`vDisk ${vdisk} is not given up yet`, { reason: messageOf(error) })
          await platform.clock.sleep(releaseRetryMs)
        }
    }
    const told = tell().finally(() => {
      if (this.#givingUp.get(vdisk) === told) this.#givingUp.delete(vdisk)
    })
    this.#givingUp.set(vdisk, told)
  }

  #contextFor(): HostedContext {
    const {
      platform,
      medusa,
      oplogs,
      extents,
      cache,
      node,
      writeWaitMaxMs,
      pace,
      logCandidates,
      admitMaintenance,
      isGone,
      mayBeRead,
      leaving,
      isAnyGone,
    } = this.#options
    return {
      platform,
      access: this.#access,
      oplogs,
      extents,
      cache,
      groups: new GroupTable(medusa, this.#places),
      node,
      writeWaitMaxMs,
      pace,
      suspects: this.#suspects,
      gate: this.#gate,
      waitingForSpace: this.#waitingForSpace,
      compacting: this.#compacting,
      placeLog: (vdisk, copies) =>
        placeLog(copies, vdisk, node, logCandidates(), this.#suspects.now(platform.clock.now())),
      admitMaintenance,
      isGone,
      mayBeRead,
      leaving,
      isAnyGone,
      repairs: this.#repairs,
      wakeGrants: () => this.#grants.wake(),
      count: (what, by) => {
        this.#counts[what] += by
      },
      idle: (vdisk) => void this.release(vdisk.id),
      over: (vdisk, error) => {
        if (this.#hosted.get(vdisk.id) === vdisk) {
          this.#hosted.delete(vdisk.id)
          this.#badCopies.delete(vdisk.id)
          this.#deleting.delete(vdisk.id)
        }
        // Nobody has taken it, and it isn't being given up in order: it needs an owner, here as well as anywhere.
        if (!this.#leaving.has(vdisk.id) && !hasCode(error, 'FENCED'))
          this.#giveUp(vdisk.id, vdisk.epoch, node)
      },
      freed: (vdisk) => {
        this.#deleting.delete(vdisk.id)
        void this.release(vdisk.id)
      },
    }
  }

  async delete(vdisk: VDiskId): Promise<void> {
    await this.claim(vdisk, 'free')
    const hosted = this.#hosted.get(vdisk)
    if (hosted?.serving !== true) throw new NdfsError('NOT_OWNER', `vDisk ${vdisk} was taken over`, { vdisk })
    this.#deleting.add(vdisk)
    await hosted.delete().catch((error: unknown) => {
      this.#deleting.delete(vdisk)
      throw error
    })
  }

  /** A deleted vDisk whose owner died before it had freed everything. */
  #finishDeletion(row: VDiskRow): void {
    const { platform, pace, extents, medusa } = this.#options
    const groups = new GroupTable(medusa, this.#places)
    const index = new GroupIndex(this.#access, row, groups, new GroupLedger(), extents)
    this.#deleting.add(row.vdisk)
    void freeEverything({ platform, pace, row, index, settled: () => Promise.resolve() }).then((complete) => {
      this.#deleting.delete(row.vdisk)
      if (complete) this.#giveUp(row.vdisk, row.epoch, undefined)
    })
  }

  /** Gives the vDisk up, drained and sealed as far as that can be; nothing happens where it isn't served here. */
  release(vdisk: VDiskId, next?: NodeId): Promise<void> {
    const hosted = this.#hosted.get(vdisk)
    const already = this.#leaving.get(vdisk)
    if (hosted === undefined || already !== undefined) return already ?? Promise.resolve()
    const leaving = hosted
      .leave()
      .then((clean) => this.#giveUp(vdisk, hosted.epoch, next ?? (clean ? undefined : this.#options.node)))
      .finally(() => this.#leaving.delete(vdisk))
    this.#leaving.set(vdisk, leaving)
    return leaving
  }

  async close(): Promise<void> {
    this.#closed = true
    const gone = new NdfsError('UNAVAILABLE', 'This node is shutting down')
    // What isn't open yet may wait for nodes that don't come.
    for (const vdisk of this.#hosted.values()) if (!vdisk.serving) vdisk.lost(gone)
    const sealAll = async (): Promise<void> => {
      await Promise.allSettled([...this.#claims.values(), ...this.#leaving.values()])
      await Promise.allSettled([...this.#hosted.values()].map((vdisk) => vdisk.seal()))
    }
    // Medusa may not answer: what is not sealed by then is taken over as it is.
    await new Promise<void>((resolve) => {
      const timer = this.#options.platform.clock.after(closeWaitMaxMs, resolve)
      void sealAll().then(() => {
        timer.cancel()
        resolve()
      })
    })
    this.#gone = true
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

  /**
   * What is gone, or being left, has changed (`isGone`, `leaving`): what has lost copies gets full ones again, what has more than its rows
   * name loses those, and what lies where it shall not stay moves.
   */
  disksChanged(): void {
    for (const vdisk of this.#hosted.values()) vdisk.disksChanged()
  }

  *#repairSources(): Generator<RepairSource> {
    for (const vdisk of this.#hosted.values()) yield vdisk.repair
  }

  /**
   * Whether an owner of the vDisk would have something to repair: for vDisks that nobody owns. Changes nothing. `losses`: more is gone
   * than when this was last asked.
   */
  needsRepair(vdisk: VDiskId, losses: boolean): Promise<boolean> {
    const { medusa, isGone, leaving } = this.#options
    return looksForRepair(medusa, vdisk, isGone, leaving, losses)
  }

  /** A log disk runs short of room, and these vDisks' records hold its oldest segments. */
  drainNow(vdisks: readonly VDiskId[]): void {
    for (const vdisk of vdisks) this.#hosted.get(vdisk)?.startDrain()
  }

  /**
   * Frees what the log disks of this node keep though the rows say that it is drained: its owner may have told others, or may be
   * gone (a replica that was away). And attempts at an episode of owners that are gone: the row doesn't name them, and now that
   * its epoch is a higher one it never will. A row that can't be found frees nothing (I7).
   */
  freeDrained(): Promise<void> {
    this.#freeingDrained ??= this.#freeDrained().finally(() => (this.#freeingDrained = undefined))
    return this.#freeingDrained
  }

  async #freeDrained(): Promise<void> {
    for (const replica of this.#options.replicas)
      for (const { vdisk, episodes } of replica.holdings()) {
        const seen = await VDiskRow.peekWithEpoch(this.#access, vdisk).catch((error: unknown) => {
          this.#logFailure('look at the row of', vdisk, error)
          return undefined
        })
        if (seen === undefined) continue
        const { epoch, state } = seen
        for (const { id, end } of neverNamed(episodes, epoch, state)) replica.seal(vdisk, id, end)
        replica.free(vdisk, state.state === 'deleted' ? everything : state.drained)
      }
  }

  /** The epoch that the vDisk's row has now. */
  async epochOf(vdisk: VDiskId): Promise<Epoch | undefined> {
    return (await VDiskRow.peekWithEpoch(this.#access, vdisk))?.epoch
  }

  /**
   * What the row says of a vDisk that nobody needs to own for that; `newest` where no log can hold more. A row that names an
   * episode which is open, or not drained to its end, is only a checkpoint.
   */
  async peek(vdisk: VDiskId): Promise<{ state: VDiskState; newest: boolean } | undefined> {
    const state = await VDiskRow.peek(this.#access, vdisk)
    if (state === undefined) return undefined
    const newest = state.episodes.every(({ end }) => end !== undefined && end <= state.drained)
    return { state, newest }
  }

  /** What would be left of the vDisk after which losses: see vdisk-survey.ts. Whoever owns it. */
  survey(vdisk: VDiskId, question: SurveyQuestion): Promise<CopySurvey> {
    const hosted = this.#hosted.get(vdisk)
    const bad = this.#badCopies.get(vdisk)
    const told =
      hosted === undefined
        ? undefined
        : { epoch: hosted.epoch, held: hosted.held(), ...(bad === undefined ? {} : { bad }) }
    return this.#surveys.survey(vdisk, question, told)
  }

  /** What `ndfs check` asks of a vDisk's owner. */
  leftOverJudge(vdisk: VDiskId): LeftOverJudge | undefined {
    return this.#hosted.get(vdisk)
  }

  /**
   * A copy was found to be wrong by somebody who looked for that: it is made anew where the row still names it. Resolves when that was tried.
   * NOT_OWNER where the vDisk isn't served here.
   */
  async repairCopy(vdisk: VDiskId, group: GroupId, copy: CopyRef, reason: string): Promise<void> {
    const repairing = this.#badCopy(vdisk, group, copy, reason, 'looked for')
    if (repairing === undefined)
      throw new NdfsError('NOT_OWNER', `vDisk ${vdisk} is not served here`, { vdisk })
    await repairing
  }

  statistics(): VDiskControllerStatistics {
    return {
      hosted: this.#hosted.size,
      undrainedBytes: this.#gate.undrainedBytes,
      undrainedBytesMax: this.#gate.bytesMax,
      ...this.#counts,
      repairBytesPerSecond: this.#repairs.bytesPerSecond,
      repairs: sumOfRepairs([...this.#hosted.values()].flatMap((vdisk) => vdisk.repairList ?? [])),
    }
  }

  /** Undefined where the vDisk isn't served here. */
  #badCopy(
    vdisk: VDiskId,
    group: GroupId,
    copy: CopyRef,
    reason: string,
    found: 'met' | 'looked for',
  ): Promise<void> | undefined {
    this.#options.platform.log.warn(`a copy of extent group ${group} is bad`, {
      disk: copy.disk,
      node: copy.node,
      reason,
    })
    const hosted = this.#hosted.get(vdisk)
    if (hosted === undefined) return undefined
    let bad = this.#badCopies.get(vdisk)
    if (bad === undefined) this.#badCopies.set(vdisk, (bad = new BadCopies()))
    bad.add(group, copy)
    return hosted.repairCopy(group, copy, found)
  }

  #logFailure(what: string, vdisk: VDiskId, error: unknown): void {
    this.#options.platform.log.warn(`could not ${what} vDisk ${vdisk}`, { reason: messageOf(error) })
  }
}

/** Episodes of epochs that are over which the row doesn't name, and where to cut them: before their first record. */
function neverNamed(
  held: readonly Tail[],
  epoch: Epoch,
  { episodes }: VDiskState,
): { id: EpisodeId; end: Sequence }[] {
  return held
    .filter((tail) => epochOfEpisode(tail.episode) < epoch && !episodes.some(({ id }) => id === tail.episode))
    .map((tail) => ({ id: tail.episode, end: (tail.first - 1) as Sequence }))
}
