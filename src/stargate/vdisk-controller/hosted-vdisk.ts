/**
 * One vDisk that this node owns: its requests on one side; its log, index, map and groups on the other.
 *
 *   write ─▶ homeOf ─┬─ random ─────▶ log ──acknowledged──▶ index ─▶ guest
 *                    └─ sequential ─▶ stream writer ─▶ log (an `extent` record) ──▶ …
 *   log ─▶ drain ─▶ extent groups ─▶ map ─▶ log trimmed ─▶ dead groups freed
 *   read ─▶ index ─▶ map ─▶ cache ─▶ extent store
 */
import { assert } from '../../base/assert.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef, Epoch, NodeId, VDiskId } from '../../base/ids.ts'
import { Serial } from '../../base/serial.ts'
import {
  GiB,
  KiB,
  mapPartitionBytes,
  MiB,
  pageBytes,
  pagesPerVBlock,
  vBlockBytes,
  type VDiskOffset,
} from '../../base/units.ts'
import type { Platform, Timer } from '../../platform/platform.ts'
import type { ExtentCache, GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import type { Maybe, Run } from '../io/io.ts'
import type { Granted, GrantWanted, Oplogs } from '../oplog/oplog.ts'
import { applyRecord, groupsNamedBy } from './apply-record.ts'
import { compact, victimsAmong } from './compact.ts'
import { type DrainContext, drainPrefix, drainPrefixBytesMax } from './drain.ts'
import { GroupIndex } from './group-index.ts'
import { GroupLedger } from './group-ledger.ts'
import { placeGroup, type Suspects } from './group-place.ts'
import type { GroupTable } from './group-table.ts'
import { coversPage, LogIndex } from './log-index.ts'
import { bad, hole } from './map-row.ts'
import type { MedusaAccess } from './owned-partition.ts'
import { type PagePlan, planPage } from './page-plan.ts'
import { type PageFetch, PageReader } from './page-reader.ts'
import { paint } from './paint.ts'
import { ReadLease } from './read-lease.ts'
import { freeEverything, Reclaimer } from './reclaim.ts'
import { StreamWriter } from './stream-writer.ts'
import type { Recovered } from './takeover.ts'
import type { HostedDescription, HostedVDisk, Sender } from './vdisk-controller.ts'
import { type LogEntry, VDiskLog } from './vdisk-log.ts'
import { VDiskMap } from './vdisk-map.ts'
import type { VDiskRow } from './vdisk-row.ts'
import type { WriteGate } from './write-gate.ts'
import { homeOf, WriteStreams } from './write-home.ts'

/** Undrained bytes at which a drain begins: long prefixes write less metadata for each byte (M18). */
const drainBeginsAtBytes = 32 * MiB
/** Entries of the index at which a drain begins, however few bytes they hold: each takes about 200 bytes of memory. */
const drainBeginsAtEntries = 64 * KiB
/** An undrained record is drained when it is this old (I1 asks for five minutes). */
const drainAgeMs = 20_000
/** A vDisk that nobody has used for so long is given up, once drained. */
const idleReleaseMs = 60_000
/** What a failed drain waits before it is tried again. */
const drainRetryMs = 1000
/** Block status looks at no more than this in one request: a client asks again where the answer ends. */
const statusBytesMax = 1 * GiB

export interface HostedContext {
  readonly platform: Platform
  readonly access: MedusaAccess
  readonly oplogs: Oplogs
  readonly extents: ExtentStore
  readonly cache: ExtentCache
  readonly groups: GroupTable
  readonly node: NodeId
  readonly writeWaitMaxMs: number
  readonly suspects: Suspects
  readonly gate: WriteGate
  readonly placeLog: (vdisk: VDiskId, copies: number) => readonly DiskRef[]
  readonly admitMaintenance: (work: 'drain' | 'repair', bytes: number) => Promise<() => void>
  readonly count: (what: HostedCount, by: number) => void
  /** Nobody has used it for a while, and its log is empty. */
  readonly idle: (vdisk: HostedVDiskController) => void
  /** The vDisk is no longer served here. */
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
  | 'compactedBytes'

export class HostedVDiskController implements HostedVDisk {
  readonly id: VDiskId
  readonly epoch: Epoch
  readonly #context: HostedContext
  readonly #row: VDiskRow
  readonly #log: VDiskLog
  readonly #lease = new ReadLease()
  readonly #index = new LogIndex()
  readonly #map: VDiskMap
  readonly #groupIndex: GroupIndex
  readonly #ledger = new GroupLedger()
  readonly #reader: PageReader
  readonly #streams = new WriteStreams()
  readonly #streamWriter: StreamWriter
  readonly #drainContext: DrainContext
  readonly #reclaimer: Reclaimer
  /** Newest session numbers of senders, in memory; clients' also stand in the row. */
  readonly #sessions = new Map<string, number>()
  /** Drains and compactions: whoever changes the map. */
  readonly #mapChanges = new Serial()
  readonly #repairing = new Set<string>()
  /** What recovery kept; nothing is freed before it is drained under this epoch: the map may be ahead of the row until then. */
  readonly #keptThrough: number
  #sizeBytes: number
  #stopped: Error | undefined
  /** Ownership is over, or given up: nothing of the vDisk is changed any more. */
  #ended = false
  #deleted = false
  #drainTimer: Timer | undefined
  #idleTimer: Timer | undefined
  #draining = false
  #drainWaitsFor: string | undefined
  #lastUsedAt: number

  /** `recovered`: the undrained log as takeover found it. `open` must be awaited before anything is served. */
  constructor(context: HostedContext, row: VDiskRow, recovered: Recovered) {
    const { platform, access, extents, cache, groups } = context
    this.#context = context
    this.#row = row
    this.id = row.vdisk
    this.epoch = row.epoch
    this.#sizeBytes = row.state.sizeBytes
    this.#lastUsedAt = platform.clock.now()
    for (const [client, number] of Object.entries(row.state.clients)) this.#sessions.set(client, number)
    this.#map = new VDiskMap(access, row, row.state.layer, groups)
    this.#map.onChanged = (vBlock, before, after) => this.#ledger.changed(vBlock, before, after)
    this.#groupIndex = new GroupIndex(access, row, groups, extents)
    this.#reader = new PageReader(extents, cache, groups)
    for (const entry of recovered.entries) {
      for (const piece of groupsNamedBy(entry)) {
        const handle = groups.handleOf(piece.group)
        groups.hold(handle, { copies: piece.copies, checksums: piece.checksums })
        this.#ledger.pin(handle)
      }
      if (entry.sequence <= recovered.mark) this.#apply(entry)
    }
    this.#keptThrough = recovered.entries.at(-1)?.sequence ?? row.state.drained
    this.#log = new VDiskLog(
      {
        clock: platform.clock,
        log: platform.log,
        oplogs: context.oplogs,
        row,
        lease: this.#lease,
        node: context.node,
        writeWaitMaxMs: context.writeWaitMaxMs,
        placeLog: (copies) => context.placeLog(this.id, copies),
        suspect: (replica) => this.#suspect(replica.node),
        held: (bytes) => context.gate.held(bytes),
        publish: (entry) => this.#publish(entry),
        stopped: (error) => this.#stop(error),
      },
      row.state,
      recovered.entries,
      recovered.mark,
    )
    this.#drainContext = {
      clock: platform.clock,
      log: platform.log,
      row,
      map: this.#map,
      index: this.#groupIndex,
      ledger: this.#ledger,
      groups,
      extents,
      reader: this.#reader,
      place: (bytes) => this.#placeGroup(bytes, 'maintenance'),
      suspect: (disk) => this.#suspectDisk(disk),
      admit: (bytes) => context.admitMaintenance('drain', bytes),
    }
    this.#streamWriter = new StreamWriter({
      log: platform.log,
      row,
      index: this.#groupIndex,
      ledger: this.#ledger,
      groups,
      extents,
      place: () => this.#placeGroup(4 * MiB, 'guest'),
      suspect: (disk) => this.#suspectDisk(disk),
      append: (kind, offset, length, payload) => this.#append(kind, offset, length, payload),
    })
    this.#reclaimer = new Reclaimer({
      clock: platform.clock,
      log: platform.log,
      map: this.#map,
      index: this.#groupIndex,
      ledger: this.#ledger,
      groups,
      reader: this.#reader,
      partitions: () =>
        Math.max(1, Math.ceil(Math.max(this.#sizeBytes, row.state.sizeBytes) / mapPartitionBytes)),
      alive: () => this.#stopped === undefined,
      freed: (count) => context.count('groupsFreed', count),
    })
    context.gate.opened(
      this.id,
      () => ({ bytes: this.#log.undrainedBytes, entries: this.#index.size }),
      () => this.#startDrain(),
    )
  }

  /** Names the first episode of this epoch: from then on the vDisk is served here. */
  async open(): Promise<void> {
    await this.#log.open('the vDisk was claimed')
    if (this.#log.undrainedRecords > 0) this.#planDrain()
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }
  get stopped(): Error | undefined {
    return this.#stopped
  }
  get lastUsedAt(): number {
    return this.#lastUsedAt
  }
  get copies(): number {
    return this.#row.state.copies
  }

  // --- reading ---------------------------------------------------------------------------------------------------

  read(offset: VDiskOffset, target: Buffer): Maybe<void> {
    this.#assertServing()
    assert(offset + target.length <= this.#sizeBytes, 'the adapter let a read past the end through')
    const now = this.#context.platform.clock.now()
    this.#lastUsedAt = now
    if (this.#lease.holds(now) && this.#readFromMemory(offset, target)) return undefined
    return this.#readSlowly(offset, target)
  }

  /** True where every byte is in the index, a hole, or in the cache. */
  #readFromMemory(offset: number, target: Buffer): boolean {
    const { cache } = this.#context
    for (let at = 0; at < target.length;) {
      const page = Math.floor((offset + at) / pageBytes)
      const from = offset + at - page * pageBytes
      const length = Math.min(pageBytes - from, target.length - at)
      const head = this.#index.get(page)
      if (head !== undefined) {
        if (!coversPage(head)) return false
        const { source } = head
        if (source.kind === 'data') source.bytes.copy(target, at, source.at + from, source.at + from + length)
        else if (source.kind === 'zero') target.fill(0, at, at + length)
        else if (!cache.get(source.group, source.page, target, at, from, length)) return false
      } else {
        const block = this.#map.peek(Math.floor(page / pagesPerVBlock))
        if (block === undefined) return false
        const group = block.groups[page % pagesPerVBlock]
        if (group === hole) target.fill(0, at, at + length)
        else if (
          group === bad ||
          !cache.get(group, block.pages[page % pagesPerVBlock], target, at, from, length)
        )
          return false
      }
      at += length
    }
    return true
  }

  async #readSlowly(offset: number, target: Buffer): Promise<void> {
    const firstPage = Math.floor(offset / pageBytes)
    const pastPage = Math.ceil((offset + target.length) / pageBytes)
    await this.#loadVBlocks(firstPage, pastPage)
    // From here to the fetch nothing is awaited: index and map are of one instant.
    const plans: PagePlan[] = []
    for (let page = firstPage; page < pastPage; page++)
      plans.push(
        planPage(this.#index.get(page), () => {
          const block = this.#map.peek(Math.floor(page / pagesPerVBlock))
          assert(block !== undefined, 'the map of what is read was loaded')
          return { group: block.groups[page % pagesPerVBlock], at: block.pages[page % pagesPerVBlock] }
        }),
      )
    const pages = plans.map((_, i) => {
      const at = (firstPage + i) * pageBytes - offset
      return at >= 0 && at + pageBytes <= target.length
        ? target.subarray(at, at + pageBytes)
        : Buffer.allocUnsafe(pageBytes)
    })
    const fetches: PageFetch[] = []
    plans.forEach(({ base, at }, i) => {
      if (base === hole) pages[i].fill(0)
      else fetches.push({ group: base, at, target: pages[i] })
    })
    if (fetches.length > 0) await this.#reader.fetch(this.id, this.epoch, fetches)
    plans.forEach((plan, i) => paint(pages[i], plan.paint))
    for (const i of new Set([0, pages.length - 1]))
      this.#copyEdge(pages[i], (firstPage + i) * pageBytes, offset, target)
    await this.#proveOwnership()
  }

  /** A page that the request covers in part was read beside the target. */
  #copyEdge(page: Buffer, pageOffset: number, offset: number, target: Buffer): void {
    if (pageOffset >= offset && pageOffset + pageBytes <= offset + target.length) return
    const from = Math.max(0, offset - pageOffset)
    const to = Math.min(pageBytes, offset + target.length - pageOffset)
    page.copy(target, pageOffset + from - offset, from, to)
  }

  async #loadVBlocks(firstPage: number, pastPage: number): Promise<void> {
    for (;;) {
      const missing: Promise<void>[] = []
      for (let vBlock = Math.floor(firstPage / pagesPerVBlock); vBlock * pagesPerVBlock < pastPage; vBlock++)
        if (this.#map.peek(vBlock) === undefined) missing.push(this.#map.load(vBlock))
      if (missing.length === 0) return
      await Promise.all(missing)
    }
  }

  /** The bytes may be told: every other replica has granted it, or the row shows that the vDisk is ours still (C11, F10). */
  async #proveOwnership(): Promise<void> {
    this.#assertServing()
    if (this.#lease.holds(this.#context.platform.clock.now())) return
    await this.#row.proveOwnership().catch((error: unknown) => {
      if (hasCode(error, 'FENCED')) this.#log.stop(error)
      throw error
    })
    this.#assertServing()
  }

  prefetch(offset: VDiskOffset, length: number): Maybe<void> {
    this.#assertServing()
    return this.#readSlowly(offset, Buffer.allocUnsafe(Math.min(length, 4 * MiB)))
  }

  async status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]> {
    const runs: { length: number; kind: Run['kind'] }[] = []
    const end = offset + Math.min(length, statusBytesMax)
    for (let at: number = offset; at < end;) {
      const vBlock = Math.floor(at / vBlockBytes)
      const block = await this.#map.loaded(vBlock)
      for (const vBlockEnd = Math.min(end, (vBlock + 1) * vBlockBytes); at < vBlockEnd;) {
        const page = Math.floor(at / pageBytes)
        const next = Math.min(vBlockEnd, (page + 1) * pageBytes)
        const head = this.#index.get(page)
        const zero =
          head === undefined
            ? block.groups[page % pagesPerVBlock] === hole
            : coversPage(head) && head.source.kind === 'zero'
        const kind = zero ? 'zero' : 'data'
        const last = runs.at(-1)
        if (last?.kind === kind) last.length += next - at
        else if (runs.length === runsMax) return runs
        else runs.push({ length: next - at, kind })
        at = next
      }
    }
    await this.#proveOwnership()
    return runs
  }

  // --- writing ---------------------------------------------------------------------------------------------------

  async write(offset: VDiskOffset, payload: Buffer, senders: readonly Sender[]): Promise<void> {
    assert(offset + payload.length <= this.#sizeBytes, 'the adapter let a write past the end through')
    const stream = this.#streams.arrived(offset, payload.length)
    try {
      await this.#enter(senders, payload.length)
      if (homeOf(offset, payload.length, stream) === 'extent-store') {
        this.#context.count('streamWrites', 1)
        await this.#streamWriter.write(offset, payload, () => this.#assertNewest(senders))
      } else {
        this.#context.count('logWrites', 1)
        await this.#append('data', offset, payload.length, [payload])
      }
    } finally {
      this.#streams.done(stream, payload.length)
    }
  }

  zero(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void> {
    return this.#enterAndAppend('zero', offset, length, senders)
  }

  discard(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void> {
    return this.#enterAndAppend('discard', offset, length, senders)
  }

  resize(sizeBytes: number, senders: readonly Sender[]): Promise<void> {
    return this.#enterAndAppend('size', 0, sizeBytes, senders)
  }

  async #enterAndAppend(
    kind: 'zero' | 'discard' | 'size',
    offset: number,
    length: number,
    senders: readonly Sender[],
  ): Promise<void> {
    assert(
      kind === 'size' || offset + length <= this.#sizeBytes,
      'the adapter let a request past the end through',
    )
    await this.#enter(senders, 0)
    await this.#append(kind, offset, length, [])
  }

  /** What a request waits for before it gets its place in the order: room, and that nothing newer came from its sender. */
  async #enter(senders: readonly Sender[], bytes: number): Promise<void> {
    this.#assertServing()
    for (const sender of senders)
      if (sender.name.startsWith('client/') && sender.number > (this.#sessions.get(sender.name) ?? 0))
        await this.admitClient(sender)
    this.#assertNewest(senders)
    this.#lastUsedAt = this.#context.platform.clock.now()
    if (bytes > 0) this.#assertSpace()
    const waiting = this.#context.gate.enter(this.id)
    if (waiting === undefined) return
    this.#startDrain()
    await waiting
    this.#assertServing()
    this.#assertNewest(senders)
  }

  #assertServing(): void {
    if (this.#stopped !== undefined) throw this.#stopped
  }

  #append(kind: LogEntry['kind'], offset: number, length: number, payload: readonly Buffer[]): Promise<void> {
    const layer = this.#row.state.layer
    return this.#log.append({ kind, vdisk: this.id, layer, offset: offset as VDiskOffset, length, payload })
      .done
  }

  /** The record is acknowledged: from now on it is what readers see. */
  #publish(entry: LogEntry): void {
    this.#apply(entry)
    this.#planDrain()
  }

  #apply(entry: LogEntry): void {
    this.#sizeBytes = applyRecord(this.#index, this.#context.groups, entry, this.#sizeBytes)
  }

  #assertNewest(senders: readonly Sender[]): void {
    for (const { name, number } of senders) {
      const newest = this.#sessions.get(name)
      if (newest === undefined || number > newest) this.#sessions.set(name, number)
      else if (number < newest)
        throw new NdfsError(
          'STALE_SESSION',
          `This request is of session ${number} of ${name}, which has begun session ${newest}`,
          {
            sender: name,
            number,
            newest,
          },
        )
    }
  }

  async admitClient(sender: Sender): Promise<void> {
    const newest = this.#sessions.get(sender.name) ?? 0
    if (sender.number === newest) return
    if (sender.number < newest)
      throw new NdfsError(
        'STALE_SESSION',
        `${sender.name} has begun session ${newest}: this is ${sender.number}`,
        { newest },
      )
    // In memory first: older requests that have no place yet lose it now. Then in the row, before anything newer is served.
    this.#sessions.set(sender.name, sender.number)
    const clientsMax = 64
    await this.#row.update((state) => {
      const others = Object.entries(state.clients).filter(([name]) => name !== sender.name)
      return {
        ...state,
        clients: Object.fromEntries([...others.slice(1 - clientsMax), [sender.name, sender.number]]),
      }
    })
  }

  #assertSpace(): void {
    try {
      this.#context.gate.assertSpace(() =>
        this.#placeGroup(4 * MiB + this.#context.gate.undrainedBytes, 'guest'),
      )
    } catch (error) {
      // With too few nodes the log waits for them, as long as it may.
      if (!hasCode(error, 'TOO_FEW_REPLICAS')) throw error
    }
  }

  #placeGroup(bytes: number, purpose: 'guest' | 'maintenance'): ReturnType<typeof placeGroup> {
    const { extents, node, suspects, platform } = this.#context
    return placeGroup(extents, {
      copies: this.#row.state.copies,
      bytes,
      purpose,
      owner: node,
      avoid: suspects.now(platform.clock.now()),
    })
  }

  // --- draining --------------------------------------------------------------------------------------------------

  async drain(): Promise<void> {
    const upTo = this.#log.acknowledged
    while (this.#log.drained < upTo) {
      if (this.#ended)
        throw this.#stopped ?? new NdfsError('NOT_OWNER', `vDisk ${this.id} is not served here`)
      await this.#mapChanges.run(() => this.#drainOnce())
    }
  }

  /** Something is undrained: begins now where it is much, else when it is old enough. */
  #planDrain(): void {
    if (this.#draining || this.#ended) return
    if (this.#log.undrainedBytes >= drainBeginsAtBytes || this.#index.size >= drainBeginsAtEntries)
      return this.#startDrain()
    this.#drainTimer ??= this.#context.platform.clock.after(drainAgeMs, () => {
      this.#drainTimer = undefined
      this.#startDrain()
    })
  }

  /** Drains what is there, now. */
  startDrain(): void {
    this.#startDrain()
  }

  #startDrain(): void {
    if (this.#draining || this.#ended) return
    this.#draining = true
    this.#drainTimer?.cancel()
    this.#drainTimer = undefined
    void this.#drainWhileNeeded()
  }

  async #drainWhileNeeded(): Promise<void> {
    try {
      do {
        await this.#mapChanges.run(() => this.#drainOnce())
      } while (
        !this.#ended &&
        (this.#log.undrainedBytes >= drainBeginsAtBytes || this.#context.gate.isWaiting(this.id))
      )
      this.#drainWaitsFor = undefined
      await this.#cleanUp()
    } catch (error) {
      if (hasCode(error, 'FENCED', 'NOT_OWNER')) this.#log.stop(error)
      else if (error instanceof NdfsError) {
        if (this.#drainWaitsFor === undefined)
          this.#context.platform.log.warn(`draining vDisk ${this.id} waits`, { reason: messageOf(error) })
        this.#drainWaitsFor = messageOf(error)
        await this.#context.platform.clock.sleep(drainRetryMs)
      } else throw error // a bug: it stops the process
    } finally {
      this.#draining = false
      if (!this.#ended && this.#log.undrainedRecords > 0) this.#planDrain()
      if (!this.#ended && this.#log.undrainedRecords === 0) this.#planRelease()
    }
  }

  /** An idle vDisk whose log is empty is given up: only then no episode is open, and no peer is asked for grants. */
  #planRelease(): void {
    const { clock } = this.#context.platform
    this.#idleTimer ??= clock.after(idleReleaseMs, () => {
      this.#idleTimer = undefined
      if (this.#ended || this.#log.undrainedRecords > 0) return
      if (clock.now() - this.#lastUsedAt >= idleReleaseMs) this.#context.idle(this)
      else this.#planRelease()
    })
  }

  async #drainOnce(): Promise<void> {
    const prefix = this.#log.prefix(drainPrefixBytesMax)
    if (prefix.length === 0 || this.#ended || this.#deleted) return
    const episodes = this.#row.state.episodes
    const result = await drainPrefix(this.#drainContext, prefix)
    // One step: no read sees the index without what it held, and the map without what it took over.
    this.#index.trim(result.pages, result.drained)
    this.#log.drainedTo(result.drained, episodes)
    this.#context.gate.left()
    this.#context.count('drains', 1)
    this.#context.count('drainedBytes', result.bytes)
  }

  /** Compacts and frees; only once all that takeover recovered is drained, for until then the map may be ahead of the row. */
  async #cleanUp(): Promise<void> {
    if (this.#log.drained < this.#keptThrough || this.#stopped !== undefined) return
    await this.#reclaimer.count()
    const victims = victimsAmong(this.#ledger.liveGroups())
    if (victims.length > 0) {
      const bytes = await this.#mapChanges.run(() => compact(this.#drainContext, victims))
      this.#context.count('compactedBytes', bytes)
    }
    this.#reclaimer.freeDead()
  }

  // --- failures --------------------------------------------------------------------------------------------------

  /** A disk or a node is gone: the log goes on elsewhere without waiting for an append to find out. */
  replicaLost(matches: (ref: DiskRef) => boolean, cause: Error): void {
    this.#log.replicaLost(matches, cause)
  }

  /** Somebody else owns the vDisk now. */
  lost(error: Error): void {
    this.#log.stop(error)
  }

  granted(grant: Granted): void {
    this.#log.granted(grant)
  }

  /** The grants that reads need now; nothing where no episode is open, or it has no replica elsewhere. */
  wanted(): GrantWanted | undefined {
    const episode = this.#log.openEpisode
    if (episode === undefined || this.#stopped !== undefined) return undefined
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

  /** A copy of one of this vDisk's groups is bad: a good one is made on its disk, and the row is swapped to it (I5). */
  async repairCopy(group: GroupHandle, copy: CopyRef): Promise<void> {
    const id = this.#context.groups.idOf(group)
    const key = `${id} ${copy.disk} ${copy.number}`
    if (this.#repairing.has(key)) return
    this.#repairing.add(key)
    const { platform, extents } = this.#context
    try {
      const row = await this.#groupIndex.read(id)
      if (
        row?.state !== 'whole' ||
        !row.copies.some((one) => one.disk === copy.disk && one.number === copy.number)
      )
        return
      const number = (Math.max(...row.copies.map((one) => one.number)) + 1) as CopyRef['number']
      const { layer, extents: runs, checksums, copies } = row
      const access = { group: id, vdisk: this.id, epoch: this.epoch, copies }
      const leave = await this.#context.admitMaintenance('repair', checksums.length * pageBytes)
      try {
        const state = this.#row.state
        const trailer = {
          container: state.name,
          layer,
          copies: state.copies,
          extents: runs,
          checksums,
          zeros: [],
        }
        const rebuilt = await extents.rebuildCopy(access, copy, number, trailer)
        const swapped = await this.#groupIndex.swapCopy(id, copy, rebuilt)
        await extents.remove(id, swapped ? copy : rebuilt)
        if (swapped) {
          this.#context.count('copiesRepaired', 1)
          platform.log.warn(`a bad copy of extent group ${id} was repaired`, {
            disk: copy.disk,
            node: copy.node,
          })
        }
      } finally {
        leave()
      }
    } catch (error) {
      platform.log.error(`a bad copy of extent group ${id} could not be repaired`, {
        disk: copy.disk,
        reason: messageOf(error),
      })
    } finally {
      this.#repairing.delete(key)
    }
  }

  /**
   * Ends serving in order: nothing new is taken, what is under way ends, the log is drained (where asked for) and sealed. What
   * can't be stays in the log, for the next owner.
   */
  async close(how: { drain: boolean }): Promise<void> {
    const gone = new NdfsError('NOT_OWNER', `vDisk ${this.id} is being given up`, { vdisk: this.id })
    this.#stopped ??= gone
    try {
      if (how.drain && !this.#deleted) await this.drain()
      if (!this.#deleted) await this.#mapChanges.run(() => this.#log.seal())
    } catch (error) {
      this.#context.platform.log.debug(`vDisk ${this.id} is given up with its log open`, {
        reason: messageOf(error),
      })
    } finally {
      this.#log.stop(gone)
    }
  }

  /** Marks the vDisk as deleted, durably: no owner serves it from then on. Its groups are freed by `freeEverything`. */
  async delete(): Promise<void> {
    this.#stopped = new NdfsError('NOT_FOUND', `vDisk ${this.id} was deleted`, { vdisk: this.id })
    this.#lease.suspend()
    this.#deleted = true
    await this.#mapChanges.run(async () => {
      const replicas = this.#row.state.episodes.flatMap((episode) => episode.replicas)
      // What is written until the row says so is nobody's any more: the log's end is where it is known to end.
      const state = await this.#row.update((now) => ({
        ...now,
        state: 'deleted',
        drained: this.#log.acknowledged,
        episodes: [],
      }))
      this.#context.oplogs.free(replicas, this.id, state.drained)
    })
    const { platform, access, groups, extents } = this.#context
    const row = this.#row
    void freeEverything({
      platform,
      row,
      index: new GroupIndex(access, row, groups, extents),
      settled: () => this.#reader.settled(),
    })
      .then((complete) => {
        if (complete) this.#context.idle(this)
      })
      .finally(() => groups.forgetAllOf(this.id))
  }

  #suspect(node: NodeId): void {
    this.#context.suspects.add(node, this.#context.platform.clock.now())
  }

  #suspectDisk(disk: string): void {
    const candidate = this.#context.extents.candidates().find(({ ref }) => ref.disk === disk)
    if (candidate !== undefined) this.#suspect(candidate.ref.node)
  }

  #stop(error: Error): void {
    this.#drainTimer?.cancel()
    this.#idleTimer?.cancel()
    this.#ended = true
    const first = this.#stopped === undefined
    this.#stopped ??= error
    this.#lease.suspend()
    this.#row.giveUp()
    this.#context.gate.closed(this.id, this.#stopped)
    if (first)
      this.#context.platform.log.info(`vDisk ${this.id} is no longer served here`, {
        epoch: this.epoch,
        reason: messageOf(error),
      })
    this.#context.over(this, error)
  }

  describe(): HostedDescription {
    const state = this.#row.state
    const waitsFor = this.#log.waitsFor ?? this.#drainWaitsFor
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
    }
  }
}
