/**
 * One vDisk that this node owns: its requests on one side; its log, index, map and groups on the other.
 *
 *   write ─▶ homeOf ─┬─ random ─────▶ log ──acknowledged──▶ index ─▶ guest
 *                    └─ sequential ─▶ stream writer ─▶ log (an `extent` record) ──▶ …
 *   log ─▶ drain schedule ─▶ extent groups ─▶ map ─▶ log trimmed ─▶ dead groups freed
 *   read ─▶ vDisk reads: index ─▶ map ─▶ cache ─▶ extent store
 *
 *   opening ──open()──▶ serving ──leave()──▶ leaving ──▶ over
 *      │                   ├────delete()──▶ deleting ──▶ over
 *      └────lost, fenced───┴────────────────────────────▶ over
 *
 * Only while it is `serving` is anything answered: before, what recovery kept behind the mark may have been acknowledged, and
 * is not published yet.
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef, Epoch, GroupId, NodeId, Sequence, VDiskId } from '../../base/ids.ts'
import { groupBytesMax, mapPartitionBytes, MiB, type VDiskOffset } from '../../base/units.ts'
import { giveBack } from '../../base/large-buffers.ts'
import type { Tier } from '../../disk/disk.ts'
import type { Platform, Timer } from '../../platform/platform.ts'
import type { ExtentCache } from '../extent-cache/extent-cache.ts'
import type { CopyRef, ExtentStore, Placement } from '../extent-store/extent-store.ts'
import type { Maybe, Run } from '../io/io.ts'
import type { Granted, GrantWanted, Oplogs } from '../oplog/oplog.ts'
import { applyRecord, groupsNamedBy, modifiedAfter } from './apply-record.ts'
import { type Cause, CopyRepair, isMove, type Target } from './copy-repair.ts'
import type { DrainContext } from './drain.ts'
import { DrainSchedule } from './drain-schedule.ts'
import { GroupIndex } from './group-index.ts'
import { GroupLedger } from './group-ledger.ts'
import { placeCopy, placeGroup, spaceLeft, type Suspects } from './group-place.ts'
import type { GroupTable } from './group-table.ts'
import type { Leaving } from './leaving.ts'
import { LogIndex } from './log-index.ts'
import type { MedusaAccess } from './owned-partition.ts'
import type { Pace } from './pace.ts'
import { PageReader } from './page-reader.ts'
import { ReadLease } from './read-lease.ts'
import { handOn } from './hand-on-zeros.ts'
import { freeEverything, Reclaimer } from './reclaim.ts'
import type { RepairLine, RepairSource } from './repair-line.ts'
import type { Episode } from './rows.ts'
import { SenderSessions } from './sender-sessions.ts'
import { StreamWriter } from './stream-writer.ts'
import type { Recovered } from './takeover.ts'
import type { HostedDescription, HostedVDisk, RepairList, Sender } from './vdisk-controller.ts'
import { type LogEntry, VDiskLog } from './vdisk-log.ts'
import { VDiskMap } from './vdisk-map.ts'
import { VDiskReads } from './vdisk-reads.ts'
import { VDiskRepair } from './vdisk-repair.ts'
import type { VDiskRow } from './vdisk-row.ts'
import type { HeldByLog } from './vdisk-survey.ts'
import { SpaceWait, type SpaceWaiting } from './space-wait.ts'
import type { WriteGate } from './write-gate.ts'
import { homeOf, WriteStreams } from './write-home.ts'

/** What a prefetch brings into the cache at most: it is a hint, and must not push everything else out. */
const prefetchBytesMax = 4 * MiB
/** How often and how long giving up waits for requests that are under way to end. */
const leavePauseMs = 100
const leaveTriesMax = 20
/** Before a log that can't leave a disk looks again whether another can be had. */
const moveLogAgainMs = 5000
/** How long reads wait for the first episode, whose replicas' grants make them cheap. */
const openWaitMs = 1000

export interface HostedContext {
  readonly platform: Platform
  readonly access: MedusaAccess
  readonly oplogs: Oplogs
  readonly extents: ExtentStore
  readonly cache: ExtentCache
  /** The groups of this vDisk. */
  readonly groups: GroupTable
  readonly node: NodeId
  readonly writeWaitMaxMs: number
  readonly pace: Pace
  readonly suspects: Suspects
  readonly gate: WriteGate
  /** Of all vDisks of this node. */
  readonly waitingForSpace: SpaceWaiting
  /** vDisks of this node that are compacting now. */
  readonly compacting: Set<VDiskId>
  readonly placeLog: (vdisk: VDiskId, copies: number) => readonly DiskRef[]
  readonly admitMaintenance: (work: 'drain' | 'repair', bytes: number) => Promise<() => void>
  /** The disk is not there, as far as this node has heard: its node has no session, or shows it no more, or as failed. */
  readonly isGone: (disk: DiskRef) => boolean
  /** It is gone, but its node is there: what a failed disk holds may be read. */
  readonly mayBeRead: (disk: DiskRef) => boolean
  readonly leaving: Leaving
  /** Some disk of the cluster is gone, or being left, or may be in another block than it was. */
  readonly isAnyGone: () => boolean
  /** Of all vDisks that this node owns. */
  readonly repairs: RepairLine
  /** Grants are wanted that were not before. */
  readonly wakeGrants: () => void
  readonly count: (what: HostedCount, by: number) => void
  /** Nobody has used it for a while, and its log is empty. */
  readonly idle: (vdisk: HostedVDiskController) => void
  /** It was deleted, and holds nothing any more. */
  readonly freed: (vdisk: HostedVDiskController) => void
  /** The vDisk is no longer served here, for good. */
  readonly over: (vdisk: HostedVDiskController, error: Error) => void
}

export type HostedCount =
  | 'drains'
  | 'drainedBytes'
  | 'reopenedEpisodes'
  | 'streamWrites'
  | 'logWrites'
  | 'groupsFreed'
  | 'copiesRepaired'
  | 'copiesReplaced'
  | 'repairedBytes'
  | 'copiesMoved'
  | 'movedBytes'
  | 'compactedBytes'

const countOf: Readonly<Record<Cause, HostedCount>> = {
  bad: 'copiesRepaired',
  gone: 'copiesReplaced',
  leaving: 'copiesMoved',
  misplaced: 'copiesMoved',
}

export class HostedVDiskController implements HostedVDisk {
  readonly id: VDiskId
  readonly epoch: Epoch
  readonly #context: HostedContext
  readonly #row: VDiskRow
  readonly #log: VDiskLog
  readonly #lease = new ReadLease()
  readonly #index = new LogIndex()
  readonly #groupIndex: GroupIndex
  readonly #reader: PageReader
  readonly #reads: VDiskReads
  readonly #ledger = new GroupLedger()
  readonly #streams = new WriteStreams()
  readonly #streamWriter: StreamWriter
  readonly #drains: DrainSchedule
  readonly #spaceWait: SpaceWait
  readonly #copies: CopyRepair
  readonly #reclaimer: Reclaimer
  readonly #repair: VDiskRepair
  readonly #sessions: SenderSessions
  readonly #leaveGate: (error: Error) => void
  #phase: 'opening' | 'serving' | 'leaving' | 'deleting' | 'over' = 'opening'
  /** What requests are told in every phase but `serving`. */
  #refusal: Error
  #sizeBytes: number
  #modifiedAt: number
  /** The newest size that is in the log's order, acknowledged or not; undefined: none since this ownership began. */
  #lastSize:
    { readonly sizeBytes: number; readonly sequence: Sequence; readonly done: Promise<void> } | undefined
  #lastUsedAt: number
  #moveLogTimer: Timer | undefined

  /** `recovered`: the undrained log as takeover found it. `open` must be awaited before anything is served. */
  constructor(context: HostedContext, row: VDiskRow, recovered: Recovered) {
    const { platform, access, extents, cache, groups, pace } = context
    const { clock, log, chance } = platform
    this.#context = context
    this.#row = row
    this.id = row.vdisk
    this.epoch = row.epoch
    this.#refusal = new NdfsError('UNAVAILABLE', `vDisk ${this.id} is being taken over`, { vdisk: this.id })
    this.#sizeBytes = row.state.sizeBytes
    this.#modifiedAt = row.state.modifiedAt ?? 0
    this.#lastUsedAt = clock.now()
    this.#sessions = new SenderSessions(row)

    const map = new VDiskMap(access, row, row.state.layer, groups)
    map.onChanged = (vBlock, before, after) => this.#ledger.changed(vBlock, before, after)
    this.#groupIndex = new GroupIndex(access, row, groups, this.#ledger, extents)
    this.#reader = new PageReader(extents, cache, groups)
    this.#reads = new VDiskReads({
      vdisk: this.id,
      epoch: this.epoch,
      index: this.#index,
      map,
      cache,
      reader: this.#reader,
    })
    for (const entry of recovered.entries) {
      for (const piece of groupsNamedBy(entry)) {
        const handle = groups.handleOf(piece.group)
        groups.hold(handle, { copies: piece.copies, checksums: piece.checksums })
        this.#ledger.pin(handle)
      }
      if (entry.sequence <= recovered.mark) this.#apply(entry)
    }

    this.#log = new VDiskLog(
      {
        clock,
        log,
        oplogs: context.oplogs,
        row,
        lease: this.#lease,
        node: context.node,
        writeWaitMaxMs: context.writeWaitMaxMs,
        placeLog: (copies) => context.placeLog(this.id, copies),
        suspect: (replica) => this.#suspect(replica.node),
        held: (bytes) => context.gate.held(bytes),
        // What the episode before held may be short of a copy now: it is drained before all else (DESIGN 5.6).
        reopened: () => {
          context.count('reopenedEpisodes', 1)
          context.wakeGrants()
          this.#drains.start()
        },
        publish: (entry) => {
          this.#apply(entry)
          this.#drains.plan()
        },
        stopped: (error) => this.#end(error),
      },
      row.state,
      recovered.entries,
      recovered.mark,
    )
    const shared = {
      clock,
      log,
      row,
      map,
      index: this.#groupIndex,
      ledger: this.#ledger,
      groups,
      extents,
      reader: this.#reader,
    }
    const suspect = (disk: string): void => this.#suspectDisk(disk)
    const drain: DrainContext = {
      ...shared,
      suspect,
      place: (bytes) => this.#placeGroup(bytes, 'maintenance', chance.below(2 ** 32)),
      admit: (bytes) => context.admitMaintenance('drain', bytes),
    }
    this.#streamWriter = new StreamWriter({
      ...shared,
      suspect,
      place: () => this.#placeGroup(groupBytesMax, 'guest', chance.below(2 ** 32)),
      append: (kind, offset, length, payload) => this.#append(kind, offset, length, payload),
    })
    const reclaimer = new Reclaimer({
      ...shared,
      pace,
      survey: () => this.#repair.survey(),
      // Alone: what the map names meanwhile is nobody else's to change.
      handOn: (zeros) =>
        this.#drains.mapChanges.run(() => {
          if (this.#phase !== 'serving')
            throw new NdfsError('NOT_OWNER', `vDisk ${this.id} is given up`, { vdisk: this.id })
          return handOn(drain, zeros)
        }),
      partitions: () =>
        Math.max(1, Math.ceil(Math.max(this.#sizeBytes, row.state.sizeBytes) / mapPartitionBytes)),
      alive: () => this.#phase === 'serving',
      freed: (count) => context.count('groupsFreed', count),
    })
    this.#reclaimer = reclaimer
    this.#copies = new CopyRepair({
      ...shared,
      chance,
      isGone: context.isGone,
      isLeaving: context.leaving.isLeaving,
      isRemoved: context.leaving.isRemoved,
      misplacedAmong: (copies) => context.leaving.misplacedAmong(copies),
      suspect,
      placeCopy: (beside, bytes, tier, cause) => this.#placeCopy(beside, bytes, tier, cause),
      admit: (bytes) => context.admitMaintenance('repair', bytes),
      repaired: (what, bytes) => {
        context.count(countOf[what], 1)
        context.count(isMove(what) ? 'movedBytes' : 'repairedBytes', bytes)
        context.repairs.repaired(bytes)
      },
    })
    this.#repair = new VDiskRepair({
      ...shared,
      copies: this.#copies,
      isGone: context.isGone,
      isLeaving: context.leaving.isLeaving,
      isRemoved: context.leaving.isRemoved,
      misplacedAmong: (copies) => context.leaving.misplacedAmong(copies),
      mayBeRead: context.mayBeRead,
      isAnyGone: context.isAnyGone,
      wake: () => context.repairs.wake(),
      freeDead: () => reclaimer.freeDead(),
      over: (error) => this.#log.stop(error),
    })
    this.#groupIndex.onWhole = (copies) => {
      const { isLeaving, misplacedAmong } = context.leaving
      const isWork = (copy: DiskRef): boolean => context.isGone(copy) || isLeaving(copy)
      // Placed while other blocks seemed to be away: whoever looked at the list before it was whole has not seen it.
      if (copies.some(isWork) || misplacedAmong(copies) !== undefined) this.#repair.look()
    }
    this.#drains = new DrainSchedule({
      vdisk: this.id,
      clock,
      log,
      pace,
      drain,
      vdiskLog: this.#log,
      index: this.#index,
      ledger: this.#ledger,
      reclaimer,
      keptThrough: recovered.entries.at(-1)?.sequence ?? row.state.drained,
      space: () =>
        spaceLeft(extents.candidates(), {
          copies: row.state.copies,
          deadBytes: Math.max(0, this.#ledger.dead - reclaimer.waiting) * groupBytesMax,
          compacting: context.compacting.size,
        }),
      compacting: context.compacting,
      isWaitedFor: () => context.gate.isWaiting(this.id),
      isCrowded: () => context.gate.isCrowded,
      lastUsedAt: () => this.#lastUsedAt,
      repair: this.#repair,
      drained: (bytes) => {
        context.gate.left()
        context.count('drains', 1)
        context.count('drainedBytes', bytes)
      },
      compacted: (bytes) => context.count('compactedBytes', bytes),
      idle: () => context.idle(this),
    })
    this.#spaceWait = new SpaceWait({
      clock,
      waiting: context.waitingForSpace,
      lacking: () => this.#lackOfSpace(),
      taken: () => ({
        liveBytes: this.#ledger.live * groupBytesMax + this.#log.undrainedBytes,
        dead: this.#ledger.dead,
      }),
      makeRoom: () => this.#drains.makeRoom(),
      hear: async () => {
        await extents.hearOfSpace()
        context.gate.spaceChanged()
      },
    })
    this.#leaveGate = context.gate.opened(this.id, {
      held: () => ({ bytes: this.#log.undrainedBytes, entries: this.#drains.entries }),
      drain: () => this.#drains.start(),
      failure: () => this.#drains.failure,
    })
  }

  /**
   * Names the first episode of this epoch: from then on the vDisk is served here. What was acknowledged is drained meanwhile, for logs that are
   * full of it have no room for that episode (I10). And where nothing lies behind the mark, a log that waits for room holds up no reads:
   * they are proved by the row, and writes wait, as after the loss of a replica.
   */
  async open(): Promise<void> {
    const isCertain = this.#log.acknowledged === this.#log.last
    const opened = this.#log.open('the vDisk was claimed')
    this.#drains.plan()
    await (isCertain ? Promise.race([opened, this.#context.platform.clock.sleep(openWaitMs)]) : opened)
    if (this.#phase !== 'opening') throw this.#refusal
    this.#phase = 'serving'
    this.#drains.plan()
    if (this.#context.isAnyGone()) this.disksChanged()
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }
  get modifiedAt(): number {
    return this.#modifiedAt
  }
  get serving(): boolean {
    return this.#phase === 'serving'
  }
  get stopped(): Error | undefined {
    return this.serving ? undefined : this.#refusal
  }

  // --- requests --------------------------------------------------------------------------------------------------

  read(offset: VDiskOffset, target: Buffer): Maybe<void> {
    this.#assertServing()
    this.#assertInside(offset, target.length)
    const now = this.#context.platform.clock.now()
    this.#lastUsedAt = now
    if (this.#lease.holds(now) && this.#reads.fromMemory(offset, target)) return undefined
    return this.#proven(this.#reads.read(offset, target))
  }

  lend(offset: VDiskOffset, length: number): Maybe<readonly Buffer[]> | undefined {
    if (this.#phase !== 'serving' || offset + length > this.#sizeBytes) return undefined
    const now = this.#context.platform.clock.now()
    this.#lastUsedAt = now
    const lent = this.#lease.holds(now) ? this.#reads.lend(offset, length) : undefined
    return lent instanceof Promise ? this.#lentProven(lent) : lent
  }

  async #lentProven(reading: Promise<readonly Buffer[]>): Promise<readonly Buffer[]> {
    try {
      return await this.#proven(reading)
    } catch (error) {
      reading.then((pieces) => pieces.forEach(giveBack)).catch(() => undefined)
      throw error
    }
  }

  prefetch(offset: VDiskOffset, length: number): Maybe<void> {
    this.#assertServing()
    this.#assertInside(offset, length)
    return this.#reads.read(offset, Buffer.allocUnsafe(Math.min(length, prefetchBytesMax)))
  }

  async status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]> {
    this.#assertServing()
    this.#assertInside(offset, length)
    return this.#proven(this.#reads.status(offset, length, runsMax))
  }

  async write(offset: VDiskOffset, payload: Buffer, senders: readonly Sender[]): Promise<void> {
    const { clock } = this.#context.platform
    const arrivedAt = clock.now()
    const stream = this.#streams.arrived(offset, payload.length, arrivedAt)
    try {
      await this.#inRoom(senders, payload.length, (taken) => {
        this.#assertInside(offset, payload.length)
        if (homeOf(offset, payload.length, stream, arrivedAt) === 'extent-store') {
          this.#context.count('streamWrites', 1)
          // Its room stays its own until it is acknowledged: it may yet have to go through the log.
          return this.#streamWriter.write(offset, payload, () => {
            this.#assertServing()
            this.#sessions.assertNewest(senders)
          })
        }
        this.#context.count('logWrites', 1)
        const done = this.#append('data', offset, payload.length, [payload])
        taken()
        return done
      })
    } finally {
      this.#streams.done(stream, payload.length, clock.now())
    }
  }

  zero(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void> {
    return this.#inRoom(senders, 0, () => {
      this.#assertInside(offset, length)
      return this.#append('zero', offset, length, [])
    })
  }

  discard(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void> {
    return this.#inRoom(senders, 0, () => {
      this.#assertInside(offset, length)
      return this.#append('discard', offset, length, [])
    })
  }

  resize(sizeBytes: number, senders: readonly Sender[]): Promise<void> {
    return this.#inRoom(senders, 0, () => this.#appendSize(sizeBytes))
  }

  grow(sizeBytes: number, senders: readonly Sender[]): Promise<void> {
    return this.#inRoom(senders, 0, async () => {
      const last = this.#lastSize
      if (sizeBytes > (last?.sizeBytes ?? this.#sizeBytes)) return this.#appendSize(sizeBytes)
      // What made it so long may not be durable yet; or it waited too long for that once, and is by now.
      if (last !== undefined && last.sequence > this.#log.acknowledged) return last.done
      // No record says that this is the owner still.
      await this.#prove()
    })
  }

  #appendSize(sizeBytes: number): Promise<void> {
    const { sequence, done } = this.#appended('size', 0, sizeBytes, [])
    this.#lastSize = { sizeBytes, sequence, done }
    return done
  }

  async admit(senders: readonly Sender[]): Promise<void> {
    this.#assertServing()
    for (const sender of senders) await this.#sessions.admit(sender)
    // Its answer shows the size, and that there is such a vDisk: as much a read as any.
    await this.#proven(Promise.resolve())
  }

  drain(): Promise<void> {
    return this.#drains.drainAll()
  }

  /** What a change waits for before it gets its place in the order: room, and that nothing newer came from its sender. */
  async #inRoom(
    senders: readonly Sender[],
    bytes: number,
    change: (taken: () => void) => Promise<void>,
  ): Promise<void> {
    this.#assertServing()
    const admitted = this.#sessions.admitted(senders)
    if (admitted !== undefined) await admitted
    this.#sessions.assertNewest(senders)
    this.#lastUsedAt = this.#context.platform.clock.now()
    const lacking = bytes > 0 ? this.#lackOfSpace() : undefined
    if (lacking !== undefined)
      await this.#spaceWait.wait(bytes, lacking).catch((error: unknown) => {
        // Who gave the vDisk up meanwhile says so: another owner may find room.
        this.#assertServing()
        throw error
      })
    const entered = this.#context.gate.enter(this.id, bytes)
    if (entered instanceof Promise) this.#drains.start()
    const room = entered instanceof Promise ? await entered : entered
    try {
      this.#assertServing()
      this.#sessions.assertNewest(senders)
      await change(() => room?.taken())
    } finally {
      room?.leave()
    }
  }

  #append(kind: LogEntry['kind'], offset: number, length: number, payload: readonly Buffer[]): Promise<void> {
    return this.#appended(kind, offset, length, payload).done
  }

  #appended(
    kind: LogEntry['kind'],
    offset: number,
    length: number,
    payload: readonly Buffer[],
  ): ReturnType<VDiskLog['append']> {
    const layer = this.#row.state.layer
    return this.#log.append({ kind, vdisk: this.id, layer, offset: offset as VDiskOffset, length, payload })
  }

  /** The record is acknowledged: from now on it is what readers see. */
  #apply(entry: LogEntry): void {
    this.#sizeBytes = applyRecord(this.#index, this.#context.groups, entry, this.#sizeBytes)
    this.#modifiedAt = modifiedAfter(entry, this.#modifiedAt)
  }

  /** What was read may be told: every other replica has granted it, or the row shows that the vDisk is ours still (C11, F10). */
  async #proven<T>(reading: Promise<T>): Promise<T> {
    let result: T
    try {
      result = await reading
    } catch (error) {
      // That bytes are lost is told like any bytes: a later owner may have freed what this one looks for.
      if (hasCode(error, 'CORRUPT_EXTENT', 'DAMAGED_METADATA')) await this.#prove()
      throw error
    }
    const proving = this.#prove()
    if (proving !== undefined) await proving
    return result
  }

  /** Without a promise where the lease holds. */
  #prove(): Maybe<void> {
    this.#assertServing()
    if (!this.#lease.holds(this.#context.platform.clock.now())) return this.#proveByRow()
  }

  async #proveByRow(): Promise<void> {
    await this.#row.proveOwnership().catch((error: unknown) => {
      if (hasCode(error, 'FENCED')) this.#log.stop(error)
      throw error
    })
    this.#assertServing()
  }

  #assertServing(): void {
    if (this.#phase !== 'serving') throw this.#refusal
  }

  /** The adapter has checked against the size that it knew, which may be old: it may have been on another node. */
  #assertInside(offset: number, length: number): void {
    if (offset + length > this.#sizeBytes)
      throw new NdfsError(
        'REFUSED',
        `The range ${offset}+${length} does not lie in vDisk ${this.id} of ${this.#sizeBytes} bytes`,
        {
          sizeBytes: this.#sizeBytes,
        },
      )
  }

  /** Why guests' bytes have no room. With too few nodes the log waits for them, as long as it may. */
  #lackOfSpace(): NdfsError | undefined {
    const { gate } = this.#context
    const place = (): unknown => this.#placeGroup(groupBytesMax + gate.spokenForBytes, 'guest')
    const lacking = gate.lackOfSpace(this.#row.state.copies, place)
    return hasCode(lacking, 'TOO_FEW_REPLICAS') ? undefined : lacking
  }

  #placeCopy(beside: readonly DiskRef[], bytes: number, tier: Tier, cause: Cause): Target {
    const { extents, node, suspects, platform, repairs } = this.#context
    const avoid = suspects.now(platform.clock.now())
    const underWay = (disk: DiskRef): number => repairs.onTheWay(disk)
    const wish = { stays: isMove(cause), inOtherBlock: cause === 'misplaced' }
    const placed = placeCopy(extents, { tier, bytes, owner: node, avoid, beside, underWay, ...wish })
    return { disk: placed.ref, tier: placed.tier, done: repairs.sends(placed.ref, bytes) }
  }

  #placeGroup(bytes: number, purpose: 'guest' | 'maintenance', draw?: number): Placement {
    const { extents, node, suspects, platform } = this.#context
    const avoid = suspects.now(platform.clock.now())
    const wish = { copies: this.#row.state.copies, bytes, purpose, owner: node, avoid }
    return placeGroup(extents, draw === undefined ? wish : { ...wish, draw })
  }

  // --- replicas, copies ------------------------------------------------------------------------------------------

  /** A disk or a node is gone: the log goes on elsewhere at once, and what lay there is drained to full copies before all else (F11). */
  replicaLost(matches: (ref: DiskRef) => boolean, cause: Error): void {
    this.#log.replicaLost(matches, cause)
    this.#drainWhere(matches)
  }

  /**
   * What is gone, or being left, has changed: the log leaves what it can leave, what it names is drained to full copies, and what is
   * drained already is repaired, or moves.
   */
  disksChanged(): void {
    if (this.#phase !== 'serving') return
    const { isGone, leaving } = this.#context
    this.#drainWhere((disk) => isGone(disk) || leaving.isPassedOver(disk))
    this.#moveLog()
    this.#repair.look()
  }

  #moveLog(): void {
    const { platform, leaving } = this.#context
    this.#moveLogTimer?.cancel()
    this.#moveLogTimer = undefined
    if (this.#phase !== 'serving' || this.#log.moveOff(leaving.isPassedOver)) return
    this.#moveLogTimer = platform.clock.after(moveLogAgainMs, () => this.#moveLog())
  }

  #drainWhere(matches: (ref: DiskRef) => boolean): void {
    const isSealed = ({ end, replicas }: Episode): boolean => end !== undefined && replicas.some(matches)
    const sealed = this.#row.state.episodes.some(isSealed)
    const extents = (): boolean =>
      this.#log.undrained().some((entry) => groupsNamedBy(entry).some(({ copies }) => copies.some(matches)))
    if (sealed || extents()) this.#drains.start()
  }

  granted(grant: Granted): void {
    this.#log.granted(grant)
  }

  /** The grants that reads need now; nothing where no episode is open, or it has no replica elsewhere. */
  wanted(): GrantWanted | undefined {
    const episode = this.#log.openEpisode
    if (episode === undefined || this.#phase === 'over') return undefined
    const replicas = episode.replicas.filter((ref) => ref.node !== this.#context.node)
    if (replicas.length === 0) return undefined
    return {
      vdisk: this.id,
      epoch: this.epoch,
      episode: episode.id,
      replicas,
      acknowledged: this.#log.acknowledged,
    }
  }

  /** A log runs short of room for what this vDisk has there. */
  startDrain(): void {
    this.#drains.start()
  }

  /** `met`: by a read; else somebody looked for bad copies, and is to hear when it was tried. */
  async repairCopy(group: GroupId, copy: CopyRef, found: 'met' | 'looked for'): Promise<void> {
    await (found === 'met' ? this.#copies.repair(group, copy) : this.#copies.repairInTurn(group, copy))
    this.#repair.lookIfUnsettled()
  }

  /** Of a group in its index: nothing points to it, and nobody is about to free it; false while that is not known. */
  isLeftOver(group: GroupId): boolean {
    const handle = this.#context.groups.knownHandleOf(group)
    return this.serving && this.#drains.isTidy && handle !== undefined && this.#ledger.isDead(handle)
  }

  /** No copy of its groups waits to be made, or unlinked. */
  isSettled(): boolean {
    return this.serving && !this.#repair.isUnsettled
  }

  /** What is left to repair; undefined where nothing is. */
  get repairList(): RepairList | undefined {
    return this.#repair.describe()
  }

  get repair(): RepairSource {
    return this.#repair
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /**
   * Gives the vDisk up in order: drains while it still serves; then nothing new is taken, what is under way ends, and the log is
   * sealed. True: nothing is left in the log, and nobody needs to own the vDisk.
   */
  async leave(): Promise<boolean> {
    try {
      this.#drains.endCompaction()
      if (this.#phase === 'serving') await this.#drains.drainAll()
    } catch (error) {
      this.#context.platform.log.debug(`vDisk ${this.id} is given up undrained`, { reason: messageOf(error) })
    }
    return this.seal()
  }

  /** The second half of `leave`, for an owner in a hurry: what is undrained is the next owner's. */
  async seal(): Promise<boolean> {
    const gone = new NdfsError('NOT_OWNER', `vDisk ${this.id} is being given up`, { vdisk: this.id })
    const deleted = this.#phase === 'deleting'
    let sealed = false
    try {
      if (this.#phase === 'serving') {
        this.#phase = 'leaving'
        this.#refusal = gone
        this.#drains.endCompaction()
        this.#spaceWait.end()
        for (let tries = 0; !sealed && tries < leaveTriesMax; tries++) {
          sealed = await this.#drains.mapChanges.run(() => this.#log.seal())
          if (!sealed) await this.#context.platform.clock.sleep(leavePauseMs)
        }
      }
    } catch (error) {
      this.#context.platform.log.debug(`vDisk ${this.id} is given up with its log open`, {
        reason: messageOf(error),
      })
    }
    const clean = deleted || (sealed && this.#log.undrainedRecords === 0)
    this.#log.stop(gone)
    return clean
  }

  /** Marks the vDisk as deleted, durably: nobody serves it from then on. What it held is freed behind that; `freed` is then called. */
  async delete(): Promise<void> {
    this.#assertServing()
    this.#phase = 'deleting'
    this.#refusal = new NdfsError('NOT_FOUND', `vDisk ${this.id} was deleted`, { vdisk: this.id })
    this.#lease.suspend()
    this.#drains.stop()
    this.#spaceWait.end()
    this.#repair.stop()
    const replicas = this.#row.state.episodes.flatMap((episode) => episode.replicas)
    await this.#drains.mapChanges
      .run(() =>
        // The log's end is where it is known to end: what comes behind it was never acknowledged, and is nobody's.
        this.#row.update((now) => ({
          ...now,
          state: 'deleted',
          drained: this.#log.acknowledged,
          episodes: [],
        })),
      )
      .catch((error: unknown) => {
        this.#log.stop(error as Error)
        throw error
      })
    this.#context.oplogs.free(replicas, this.id, this.#row.state.drained)
    const { platform, pace } = this.#context
    const settled = async (): Promise<void> => {
      await Promise.all([this.#reader.settled(), this.#streamWriter.settled(), this.#copies.settled()])
    }
    const free = async (): Promise<void> => {
      // Both would drop the same partitions.
      await this.#reclaimer.ended()
      const row = this.#row
      if (await freeEverything({ platform, pace, row, index: this.#groupIndex, settled }))
        return this.#context.freed(this)
      this.lost(
        new NdfsError('FENCED', `Deleted vDisk ${this.id} has another owner, who frees the rest`, {
          vdisk: this.id,
        }),
      )
    }
    void free()
  }

  /** Somebody else owns the vDisk now, or this process ends. */
  lost(error: Error): void {
    this.#log.stop(error)
  }

  #end(error: Error): void {
    if (this.#phase === 'over') return
    const announced = this.#phase === 'leaving' || this.#phase === 'deleting'
    this.#phase = 'over'
    if (!announced) this.#refusal = error
    this.#drains.stop()
    this.#spaceWait.end()
    this.#repair.stop()
    this.#moveLogTimer?.cancel()
    this.#lease.suspend()
    this.#row.giveUp()
    this.#leaveGate(this.#refusal)
    if (!announced)
      this.#context.platform.log.info(`vDisk ${this.id} is no longer served here`, {
        epoch: this.epoch,
        reason: messageOf(error),
      })
    this.#context.over(this, error)
  }

  #suspect(node: NodeId): void {
    this.#context.suspects.add(node, this.#context.platform.clock.now())
  }

  #suspectDisk(disk: string): void {
    const candidate = this.#context.extents.candidates().find(({ ref }) => ref.disk === disk)
    if (candidate !== undefined) this.#suspect(candidate.ref.node)
  }

  /** What only its log holds, and where. */
  held(): readonly HeldByLog[] {
    return this.#log.held()
  }

  describe(): HostedDescription {
    const state = this.#row.state
    const waitsFor = this.#log.waitsFor ?? this.#drains.failure?.message
    const repair = this.#repair.describe()
    return {
      id: this.id,
      epoch: this.epoch,
      sizeBytes: this.#sizeBytes,
      copies: state.copies,
      acknowledged: this.#log.acknowledged,
      drained: this.#log.drained,
      undrainedBytes: this.#log.undrainedBytes,
      episode: this.#log.openEpisode,
      sealedEpisodes: state.episodes.filter((episode) => episode.end !== undefined).length,
      liveGroups: this.#ledger.complete ? this.#ledger.live : undefined,
      ...(waitsFor === undefined ? {} : { waitsFor }),
      ...(repair === undefined ? {} : { repair }),
    }
  }
}
