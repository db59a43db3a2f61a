/**
 * When a hosted vDisk's log is drained, and what follows a drain: compaction, freeing, and giving up a vDisk that nobody uses.
 *
 *   a record is acknowledged ─▶ much is undrained? now. Else when the oldest is `drainAgeMs` old.
 *   a drain failed ─▶ again, after a growing pause
 *   drained ─▶ dead groups freed, mostly dead ones compacted ─▶ idle for `idleReleaseMs`? given up
 *   room gets scarce ─▶ a drain waits until what the one before took is given back, as far as it can be
 *   a guest finds no room ─▶ drained, compacted and freed, before it is told so (space-wait.ts)
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { Sequence, VDiskId } from '../../base/ids.ts'
import { Serial } from '../../base/serial.ts'
import { KiB, pageBytes } from '../../base/units.ts'
import type { Clock, Log, Timer } from '../../platform/platform.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { compact } from './compact.ts'
import { scarcity, type SpaceLeft, victimsAmong } from './compaction-victims.ts'
import { type DrainContext, drainPrefix, drainPrefixBytesMax, drainPrefixZeroVBlocksMax } from './drain.ts'
import type { GroupLedger, LiveGroups } from './group-ledger.ts'
import type { LogIndex } from './log-index.ts'
import type { Pace } from './pace.ts'
import type { Reclaimer } from './reclaim.ts'
import type { VDiskLog } from './vdisk-log.ts'

/** Records, or entries of the index, at which a drain begins, however few bytes they hold. */
const drainBeginsAtEntries = 64 * KiB
/** Pages of streams at which it begins, as many as one drain takes: until then what they overwrite takes room on the disks beside them. */
const drainBeginsAtStreamPages = drainPrefixBytesMax / pageBytes
/** What a large discard gives up is given back in one go of drains, not in one for each time that a drain falls due. */
const drainBeginsAtZeroVBlocks = drainPrefixZeroVBlocksMax
/** As many times as long, where it has something left to free. */
const idleReleasesWaited = 10
/** What a failed drain waits before it is tried again: the first time, and at most. */
const retryMs = 1000
const retryMsMax = 30_000
/** Goes of compaction after the first, between two drains, where there is no room left: guests' writes wait for those when the log is full. */
const goesMoreMax = 7
/** Before a group is looked at again whose pages could not be read. */
const unreadAgainMs = 60_000
/** What a drain takes while compaction has to keep up with it, so that guests wait the shorter. */
const drainPrefixBytesScarce = drainPrefixBytesMax / 4

export interface DrainScheduleContext {
  readonly vdisk: VDiskId
  readonly clock: Clock
  readonly log: Log
  readonly pace: Pace
  readonly drain: DrainContext
  readonly vdiskLog: VDiskLog
  readonly index: LogIndex
  readonly ledger: GroupLedger
  readonly reclaimer: Reclaimer
  /** What recovery kept: nothing is freed before it is drained under this epoch, for until then the map may be ahead of the row. */
  readonly keptThrough: Sequence
  /** A guest waits for room in memory. */
  readonly isWaitedFor: () => boolean
  /** Of the disks that its groups go to, as last heard. */
  readonly space: () => SpaceLeft
  /** vDisks of this node that are compacting now. */
  readonly compacting: Set<VDiskId>
  /** The vDisks of this node hold half of what they may, together. */
  readonly isCrowded: () => boolean
  readonly lastUsedAt: () => number
  readonly repair: { readonly isNeeded: boolean; readonly isUnsettled: boolean }
  readonly drained: (bytes: number) => void
  readonly compacted: (bytes: number) => void
  readonly idle: () => void
}

export class DrainSchedule {
  readonly #context: DrainScheduleContext
  /** Drains and compactions: whoever changes the map. */
  readonly mapChanges = new Serial()
  #timer: Timer | undefined
  #idleTimer: Timer | undefined
  #draining: Promise<void> | undefined
  #cleaning: Promise<void> | undefined
  #cleanUpFailed = false
  /** Compaction has to keep up with drains. */
  #isScarce = false
  #compacts = true
  /** Groups that compaction passes over, and until when. */
  readonly #unread = new Map<GroupHandle, number>()
  #stopped = false
  #pauseMs = 0
  #grownAt = 0
  #failure: NdfsError | undefined

  constructor(context: DrainScheduleContext) {
    this.#context = context
  }

  /** Why the last drain failed; undefined where it didn't. */
  get failure(): NdfsError | undefined {
    return this.#failure
  }

  /** What is held by its number: many records of one page are one entry of the index. */
  get entries(): number {
    return Math.max(this.#context.index.size, this.#context.vdiskLog.undrainedRecords)
  }

  /** Nothing is being drained, compacted or freed, or waits to be tried again. */
  get isTidy(): boolean {
    const { reclaimer } = this.#context
    return !this.#draining && !this.#cleaning && !this.#cleanUpFailed && !reclaimer.isFreeing
  }

  /** A record was acknowledged: drains now where much is undrained, else in time. */
  plan(): void {
    if (this.#draining || this.#stopped) return
    if (this.#isMuch() && this.#pauseMs === 0) return this.start()
    const { clock, pace } = this.#context
    this.#timer ??= clock.after(this.#pauseMs > 0 ? this.#pauseMs : pace.drainAgeMs, () => {
      this.#timer = undefined
      this.start()
    })
  }

  /** Drains what there is, now. */
  start(): void {
    if (this.#draining || this.#stopped) return
    this.#timer?.cancel()
    this.#timer = undefined
    this.#draining = this.#run()
  }

  /** Resolves when all that was acknowledged at the call is drained; rejects with what stands in the way. */
  async drainAll(): Promise<void> {
    const { vdiskLog } = this.#context
    const upTo = vdiskLog.acknowledged
    while (vdiskLog.drained < upTo && !this.#stopped) await this.mapChanges.run(() => this.#drainOnce())
  }

  /** Gives back what can be, now: frees what is dead; or, where nothing is, drains, compacts what is not quite alive, and frees that. */
  async makeRoom(): Promise<void> {
    const { reclaimer, space } = this.#context
    if (this.#stopped || (await reclaimer.freedNext()) > 0) return
    // What is under way may have begun before what fills the disks was there.
    await this.#draining
    this.start()
    await this.#draining
    await this.#cleaning
    await this.#cleanUp(() => ({ ...space(), taken: 1 }))
    if (!this.#stopped) await reclaimer.freedNext()
  }

  /** Nothing is compacted any more: the vDisk is being given up, and drained before. */
  endCompaction(): void {
    this.#compacts = false
  }

  /** Nothing is begun any more. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#idleTimer?.cancel()
  }

  #isMuch(): boolean {
    const { vdiskLog, index, pace, isWaitedFor, isCrowded } = this.#context
    const { drainBeginsAtBytes } = pace
    return (
      vdiskLog.undrainedBytes >= (isCrowded() ? drainBeginsAtBytes / 2 : drainBeginsAtBytes) ||
      index.streamPages >= drainBeginsAtStreamPages ||
      index.zeroVBlocks >= drainBeginsAtZeroVBlocks ||
      this.entries >= drainBeginsAtEntries ||
      isWaitedFor()
    )
  }

  async #run(): Promise<void> {
    const { vdisk, log, vdiskLog, ledger, space } = this.#context
    try {
      // Ends when nothing is left that was acknowledged: the next acknowledgement plans again.
      for (let isMore = true; isMore;) {
        const drained = await this.mapChanges.run(() => this.#drainOnce())
        this.#pauseMs = 0
        this.#failure = undefined
        isMore = drained && !this.#stopped && this.#isMuch()
        // Not for the count of the map: that may take long.
        if (isMore && ledger.complete && scarcity(space()) > 0) await this.#cleanUp()
      }
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error // a bug: it stops the process
      if (hasCode(error, 'FENCED', 'NOT_OWNER')) return vdiskLog.stop(error)
      this.#growPause()
      if (this.#failure === undefined) log.warn(`draining vDisk ${vdisk} waits`, { reason: messageOf(error) })
      this.#failure = error
    } finally {
      this.#draining = undefined
    }
    void this.#cleanUp()
    // What waits for replicas can't be drained, however much it is: planning for it would never end.
    if (vdiskLog.acknowledged > vdiskLog.drained) this.plan()
    else if (vdiskLog.undrainedRecords === 0) this.#planRelease()
  }

  /** By time, not by attempts: each guest that finds no room begins one, and many come at once. */
  #growPause(): void {
    const now = this.#context.clock.now()
    if (now - this.#grownAt < this.#pauseMs) return
    this.#grownAt = now
    this.#pauseMs = Math.min(retryMsMax, Math.max(retryMs, 2 * this.#pauseMs))
  }

  /** False where there was nothing to drain. */
  async #drainOnce(): Promise<boolean> {
    const { drain, vdiskLog, index, drained } = this.#context
    const prefix = vdiskLog.prefix(
      this.#isScarce ? drainPrefixBytesScarce : drainPrefixBytesMax,
      drainPrefixZeroVBlocksMax,
    )
    if (prefix.length === 0 || this.#stopped) return false
    const episodes = drain.row.state.episodes
    const result = await drainPrefix(drain, prefix)
    // One step: no read sees the index without what it held, and the map without what it took over.
    index.trim(result.pages, result.drained)
    vdiskLog.drainedTo(result.drained, episodes)
    drained(result.bytes)
    return true
  }

  /** Compacts and frees. No drain waits for it but for a compaction's change of the map, and where room is scarce. */
  #cleanUp(space = this.#context.space): Promise<void> {
    this.#cleaning ??= this.#cleanUpBy(space).finally(() => (this.#cleaning = undefined))
    return this.#cleaning
  }

  async #cleanUpBy(space: () => SpaceLeft): Promise<void> {
    const { vdiskLog, reclaimer, keptThrough, log, vdisk } = this.#context
    if (this.#stopped || vdiskLog.drained < keptThrough) return
    this.#cleanUpFailed = false
    try {
      await reclaimer.count()
      // Before what needs room: where there is none, this makes it (I10).
      if (!this.#stopped) reclaimer.freeDead()
      if (!this.#stopped) await this.#compact(space)
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      if (hasCode(error, 'FENCED', 'NOT_OWNER')) vdiskLog.stop(error)
      else {
        this.#cleanUpFailed = true
        log.debug(`cleaning up behind vDisk ${vdisk} waits`, { reason: messageOf(error) })
      }
    } finally {
      // What compaction left, and what one that failed wrote in vain.
      if (!this.#stopped) reclaimer.freeDead()
    }
  }

  /** One go where there is room; the scarcer it is the more, but for a drain in between. */
  async #compact(space: () => SpaceLeft): Promise<void> {
    const { drain, reclaimer, compacted, clock, compacting, vdisk } = this.#context
    this.#isScarce = false
    for (const [group, until] of this.#unread) if (until <= clock.now()) this.#unread.delete(group)
    compacting.add(vdisk)
    try {
      for (let goes = 0; ; goes++) {
        const scarce = scarcity(space())
        if (goes > scarce * goesMoreMax) return
        const { bytes, unread } = await this.mapChanges.run(async () => {
          // Chosen in its turn: while it waited some may have died, and be gone.
          const victims = this.#compacts && !this.#stopped ? this.#victims(space()) : []
          return victims.length === 0 ? { bytes: 0, unread: [] } : compact(drain, victims)
        })
        for (const group of unread) this.#unread.set(group, clock.now() + unreadAgainMs)
        // Behind those that can't be read there may be others.
        if (bytes === 0 && unread.length === 0) return
        compacted(bytes)
        this.#isScarce = scarce > 0
        if (!this.#stopped) reclaimer.freeDead()
      }
    } finally {
      compacting.delete(vdisk)
    }
  }

  #victims(left: SpaceLeft): GroupHandle[] {
    const live = this.#context.ledger.liveGroups()
    const unread = this.#unread
    return victimsAmong(unread.size === 0 ? live : without(live, unread), left)
  }

  /**
   * An idle vDisk whose log is empty is given up: only then no episode is open, and no peer is asked for grants. What is
   * dead is freed before, for nobody would come to look for it; but where a copy can't be reached, not for ever. One whose
   * extent groups lack copies keeps its owner, who makes them anew and says why where that has to wait.
   */
  #planRelease(): void {
    const { clock, vdiskLog, lastUsedAt, repair, idle } = this.#context
    const { idleReleaseMs } = this.#context.pace
    if (this.#stopped) return
    this.#idleTimer ??= clock.after(idleReleaseMs, () => {
      this.#idleTimer = undefined
      if (this.#stopped || vdiskLog.undrainedRecords > 0) return
      const idleMs = clock.now() - lastUsedAt()
      const isClean = this.isTidy && !repair.isUnsettled
      const isLong = idleMs >= idleReleasesWaited * idleReleaseMs
      if (idleMs >= idleReleaseMs && (isClean || isLong) && !repair.isNeeded) return idle()
      if (this.#cleanUpFailed) void this.#cleanUp()
      this.#planRelease()
    })
  }
}

const without = (live: LiveGroups, groups: ReadonlyMap<GroupHandle, unknown>): LiveGroups => ({
  ...live,
  *each() {
    for (const one of live.each()) if (!groups.has(one[0])) yield one
  },
})
