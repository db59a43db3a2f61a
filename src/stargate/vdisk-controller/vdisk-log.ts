/**
 * The owner's side of one vDisk's log: sequences, episodes, acknowledging, and going on when a replica fails
 * (DESIGN 5.4–5.6, docs/vdisk-protocol.md "Write" and "A replica fails").
 *
 *   open ──a replica fails──▶ reopening ──row names the new episode──▶ open
 *     │                           └──fenced──▶ stopped ◀──fenced──┘
 *     └──seal() ──▶ sealed ──append()──▶ reopening
 *
 *  1. A record is acknowledged when it **and every record before it** is synced on every replica of the open, named
 *     episode (I1, C4). First it is published, then its promise resolves, in sequence.
 *  2. Records after the acknowledged mark go to the new episode under their old sequences before the row names it;
 *     nothing of it is acknowledged before that (M1).
 *  3. While the row is being changed no read may be served (F2): `lease` is suspended from before the update is sent.
 *
 * What waits is bounded by the caller, which admits writes by the bytes that are undrained.
 */
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef, EpisodeId, Epoch, NodeId, Sequence } from '../../base/ids.ts'
import { vBlockBytes, vDiskOffset } from '../../base/units.ts'
import type { Clock, Log, Timer } from '../../platform/platform.ts'
import {
  type EncodedRecord,
  encodeRecord,
  type Granted,
  type Oplogs,
  type RecordHeader,
} from '../oplog/oplog.ts'
import { LogMemory } from './log-memory.ts'
import type { ReadLease } from './read-lease.ts'
import type { Episode, VDiskState } from './rows.ts'
import { isOwnershipOver, type VDiskRow } from './vdisk-row.ts'
import type { HeldByLog } from './vdisk-survey.ts'

/** What the owner knows of one undrained record. */
export interface LogEntry extends Omit<RecordHeader, 'epoch' | 'episode' | 'episodeFirst' | 'acknowledged'> {
  readonly payload: readonly Buffer[]
  readonly payloadBytes: number
  /** On the owner's clock; what `writeWaitMaxMs` is counted from. */
  readonly arrivedAt: number
  settle: ((error?: Error) => void) | undefined
}

export interface VDiskLogContext {
  readonly clock: Clock
  readonly log: Log
  readonly oplogs: Oplogs
  readonly row: VDiskRow
  readonly lease: ReadLease
  readonly node: NodeId
  readonly writeWaitMaxMs: number
  /** Chooses the replicas of a new episode: as many as copies, on distinct nodes; fewer where there are too few. */
  readonly placeLog: (copies: number) => readonly DiskRef[]
  /** A replica failed: chosen last for a while (F10). */
  readonly suspect: (replica: DiskRef) => void
  /** The log holds so many bytes more, or fewer. */
  readonly held: (bytes: number) => void
  /** Another episode is open than before, and was named: what the one before held may be short of a copy. */
  readonly reopened: () => void
  /** The record is acknowledged: readers may see it from now on. Called in sequence, before its guest is told. */
  readonly publish: (entry: LogEntry) => void
  /** Ownership is over, or the log can't go on: the vDisk is no longer served here. */
  readonly stopped: (error: Error) => void
}

interface ReplicaLink {
  readonly ref: DiskRef
  synced: number
  /** Since when it owes an answer; undefined while it owes none. */
  owesSince: number | undefined
}

/** One attempt at an episode: its replicas and what they have synced. Ids are never used for a second attempt. */
interface OpenEpisode {
  readonly id: EpisodeId
  readonly first: Sequence
  readonly links: readonly ReplicaLink[]
  /** The highest sequence handed to the replicas. */
  sent: number
  /** The row names it. */
  named: boolean
  failed: Error | undefined
  onProgress: () => void
}

/** How long the log waits before it asks placement again when there are too few disks, and between failed attempts. */
const placementRetryMs = 200
const attemptPauseMsMax = 5000

/** A replica that hasn't answered an append for so long has failed, also our own (F10). */
const appendTimeoutMs = 2000

/** Sealed episodes that the row may hold: a flapping peer must not make it grow; then the log waits for a drain (m6). */
const sealedEpisodesMax = 16

/** What a record takes in memory besides its payload. */
const entryBytes = 256

/**
 * Ids of episodes are never used twice, also not by an owner that died between two attempts: each epoch has a range of
 * its own. One that has used it up gives the vDisk up, and is given it again under a new epoch.
 */
const episodesPerEpochMax = 4096

export const epochOfEpisode = (episode: EpisodeId): Epoch =>
  Math.floor(episode / episodesPerEpochMax) as Epoch

/** One append call to the replicas holds at most this much, so that a long line of records becomes durable bit by bit. */
const appendBytesMax = 8 * 1024 * 1024

export class VDiskLog {
  readonly #context: VDiskLogContext
  readonly #memory = new LogMemory()
  /** Undrained records; the first has sequence `#drained + 1`. */
  #entries: LogEntry[] = []
  #drained: number
  #acknowledged: number
  #last: number
  #lastEpisode: number
  #current: OpenEpisode | undefined
  #state: 'open' | 'reopening' | 'sealed' | 'stopped' = 'sealed'
  #stoppedBy: Error | undefined
  #flushPlanned = false
  #overdueTimer: Timer | undefined
  #waitsFor: string | undefined
  #undrainedBytes = 0
  #lastTime: number

  /** `kept`: the undrained records that takeover recovered, in sequence from `state.drained + 1`; none is open yet. */
  constructor(context: VDiskLogContext, state: VDiskState, kept: LogEntry[], acknowledged: Sequence) {
    this.#context = context
    this.#entries = kept
    this.#drained = state.drained
    this.#last = state.drained + kept.length
    this.#lastTime = kept.at(-1)?.time ?? state.modifiedAt ?? 0
    this.#acknowledged = acknowledged
    this.#lastEpisode = context.row.epoch * episodesPerEpochMax
    for (const entry of kept) this.#hold(entry.payloadBytes + entryBytes)
    assert(acknowledged >= state.drained && acknowledged <= this.#last, 'acknowledged lies in what is kept')
    kept.forEach((entry, i) =>
      assert(entry.sequence === state.drained + 1 + i, 'kept records are contiguous'),
    )
  }

  get acknowledged(): Sequence {
    return this.#acknowledged as Sequence
  }
  /** Of all that the log holds. */
  get last(): Sequence {
    return this.#last as Sequence
  }
  get drained(): Sequence {
    return this.#drained as Sequence
  }
  get undrainedBytes(): number {
    return this.#undrainedBytes
  }
  get undrainedRecords(): number {
    return this.#entries.length
  }
  get waitsFor(): string | undefined {
    return this.#waitsFor
  }
  get openEpisode(): Episode | undefined {
    const current = this.#current
    return current?.named
      ? { id: current.id, first: current.first, replicas: current.links.map((link) => link.ref) }
      : undefined
  }

  /** What no map names yet, by the replicas that all of it is on: of each episode that the row names, what it still holds. */
  held(): HeldByLog[] {
    const held: HeldByLog[] = []
    for (const { first, end, replicas } of this.#context.row.state.episodes) {
      let bytes = 0
      const from = Math.max(first, this.#drained + 1)
      for (let sequence = from; sequence <= Math.min(end ?? this.#last, this.#last); sequence++) {
        const { kind, payloadBytes } = this.#entry(sequence)
        // The first one of an episode tells nothing of the vDisk.
        if (kind !== 'open') bytes += payloadBytes + entryBytes
      }
      if (bytes > 0) held.push({ replicas, bytes })
    }
    return held
  }

  /** Gives the record the next sequence at once; resolves when it is acknowledged. */
  append(record: Pick<LogEntry, 'kind' | 'vdisk' | 'layer' | 'offset' | 'length' | 'payload'>): {
    sequence: Sequence
    done: Promise<void>
  } {
    if (this.#stoppedBy !== undefined)
      return { sequence: 0 as Sequence, done: Promise.reject(this.#stoppedBy) }
    const entry = this.#enter(record)
    const done = new Promise<void>((resolve, reject) => {
      entry.settle = (error) => (error === undefined ? resolve() : reject(error))
    })
    if (this.#state === 'sealed') void this.#reopen('the first write of an episode')
    else this.#planFlush()
    return { sequence: entry.sequence, done }
  }

  /**
   * Undrained and acknowledged records, from the oldest on, that hold at most about `bytesMax`, in the log or in groups that they name, and
   * say zeros of at most about `zeroVBlocksMax` vBlocks; at least one where there is one.
   */
  prefix(bytesMax: number, zeroVBlocksMax: number): readonly LogEntry[] {
    const prefix: LogEntry[] = []
    let bytes = 0
    let zeroVBlocks = 0
    let lastPast = 0
    for (const entry of this.#entries) {
      if (entry.sequence > this.#acknowledged) break
      const held = entry.kind === 'extent' ? entry.length : entry.payloadBytes
      if (bytes > 0 && bytes + held > bytesMax) break
      if ((entry.kind === 'zero' || entry.kind === 'discard') && entry.length > 0) {
        const first = Math.floor(entry.offset / vBlockBytes)
        const past = Math.ceil((entry.offset + entry.length) / vBlockBytes)
        // Records that follow one another within a vBlock touch it once.
        const touched = past - first - (first === lastPast - 1 ? 1 : 0)
        if (zeroVBlocks > 0 && zeroVBlocks + touched > zeroVBlocksMax) break
        zeroVBlocks += touched
        lastPast = past
      }
      bytes += held
      prefix.push(entry)
    }
    return prefix
  }

  /** Everything that the log holds, acknowledged or not. */
  undrained(): readonly LogEntry[] {
    return this.#entries
  }

  /** The row says `drained`: forgets the records, and lets every replica that may hold some forget them. Nobody reads their payloads any more. */
  drainedTo(drained: Sequence, episodes: readonly Episode[]): void {
    if (this.#stoppedBy !== undefined) return
    assert(drained <= this.#acknowledged && drained >= this.#drained, 'only acknowledged records are drained')
    const gone = this.#entries.splice(0, drained - this.#drained)
    for (const entry of gone) this.#hold(-entry.payloadBytes - entryBytes)
    this.#memory.drained(drained)
    this.#drained = drained
    const refs = new Map(
      episodes.flatMap((episode) => episode.replicas).map((ref) => [`${ref.disk} ${ref.incarnation}`, ref]),
    )
    this.#context.oplogs.free([...refs.values()], this.#context.row.vdisk, drained)
  }

  /** Names an episode where none is open: what takeover ends with, and what the first write after a seal begins with. */
  async open(reason: string): Promise<void> {
    assert(this.#state === 'sealed', 'only a sealed log is opened')
    await this.#reopen(reason)
    if (this.#stoppedBy !== undefined) throw this.#stoppedBy
  }

  /** Ends the open episode at the acknowledged mark, where nothing is under way; false where something is. */
  async seal(): Promise<boolean> {
    const current = this.#current
    if (this.#state !== 'open' || current === undefined || this.#acknowledged !== this.#last) return false
    // Writes that come from now on wait for a new episode.
    this.#state = 'reopening'
    const end = this.#acknowledged as Sequence
    this.#context.lease.suspend()
    try {
      await this.#context.row.update((state) => ({
        ...state,
        episodes: endLast(state.episodes, end).filter((episode) => episode.end! > state.drained),
      }))
    } catch (error) {
      this.stop(error as Error)
      throw error
    }
    if (this.#stoppedBy !== undefined) throw this.#stoppedBy
    this.#tellEnd(current, end)
    // A write that came meanwhile was sent to it.
    if (this.#last > this.#acknowledged) this.#memory.abandon()
    this.#current = undefined
    this.#state = 'sealed'
    if (this.#last > this.#acknowledged) void this.#reopen('a write came while it was sealed')
    return true
  }

  /** A grant told what a replica has, or refused. */
  granted(grant: Granted): void {
    const current = this.#current
    if (current === undefined || grant.episode !== current.id || !current.named) return
    const link = current.links.find(
      (one) => one.ref.disk === grant.disk && one.ref.incarnation === grant.incarnation,
    )
    if (link === undefined) return
    if (!grant.ok)
      this.#linkFailed(current, link, new NdfsError('PEER_UNREACHABLE', 'it refuses to grant reads'))
    // It restarted without something that it had synced: others have it, and the episode must not rest on it (F7).
    else if (grant.last < grant.acknowledged)
      this.#linkFailed(
        current,
        link,
        new NdfsError('DISK_FAILED', `it has lost records: it has up to ${grant.last}`),
      )
    this.#context.lease.granted(grant)
  }

  /** A disk or node is known to be gone: don't wait for an append to find out. */
  replicaLost(matches: (ref: DiskRef) => boolean, cause: Error): void {
    const current = this.#current
    for (const link of current?.links ?? []) if (matches(link.ref)) this.#linkFailed(current!, link, cause)
  }

  /**
   * The open episode goes on elsewhere where it has replicas on disks that are being left, and others can be had: as after a loss, but
   * nothing has failed. False: it has such replicas still.
   */
  moveOff(isLeaving: (disk: DiskRef) => boolean): boolean {
    const { placeLog, row } = this.#context
    const current = this.#current
    if (current === undefined || this.#state !== 'open') return this.#state !== 'reopening'
    const replicas = current.links.map(({ ref }) => ref)
    const leaving = replicas.filter(isLeaving).length
    if (leaving === 0) return true
    const others = placeLog(row.state.copies)
    if (others.length < row.state.copies || others.filter(isLeaving).length >= leaving) return false
    void this.#reopen('a log disk is being left')
    return false
  }

  /** Ownership is over. Everything that waits is told; its outcome is unknown. */
  stop(error: Error): void {
    if (this.#stoppedBy !== undefined) return
    this.#stoppedBy = error
    this.#state = 'stopped'
    this.#context.lease.suspend()
    this.#overdueTimer?.cancel()
    this.#current?.onProgress()
    this.#context.row.giveUp()
    for (const entry of this.#entries) this.#settle(entry, error)
    this.#context.held(-this.#undrainedBytes)
    this.#context.stopped(error)
  }

  // ---------------------------------------------------------------------------------------------------------------

  /** The next place in the order is the record's. */
  #enter(record: Pick<LogEntry, 'kind' | 'vdisk' | 'layer' | 'offset' | 'length' | 'payload'>): LogEntry {
    let payloadBytes = 0
    for (const part of record.payload) payloadBytes += part.length
    const sequence = ++this.#last as Sequence
    const entry: LogEntry = {
      ...record,
      payload:
        record.payload.length === 1 ? [this.#memory.keep(sequence, record.payload[0])] : record.payload,
      sequence,
      time: this.#nextTime(),
      payloadBytes,
      arrivedAt: this.#context.clock.now(),
      settle: undefined,
    }
    this.#entries.push(entry)
    this.#hold(payloadBytes + entryBytes)
    return entry
  }

  /** Never the same twice and never back, whoever owned the vDisk before: by it clients see that it has changed (M6). */
  #nextTime(): number {
    this.#lastTime = Math.max(this.#lastTime + 1, Math.floor(this.#context.clock.wallTime() * 1000))
    return this.#lastTime
  }

  #hold(bytes: number): void {
    this.#undrainedBytes += bytes
    this.#context.held(bytes)
  }

  #planFlush(): void {
    if (this.#flushPlanned) return
    this.#flushPlanned = true
    this.#context.clock.soon(() => {
      this.#flushPlanned = false
      if (this.#current !== undefined && this.#state !== 'stopped') this.#send(this.#current)
    })
  }

  /** Hands everything that the episode has not yet to its replicas. */
  #send(episode: OpenEpisode): void {
    while (episode.sent < this.#last && episode.failed === undefined) {
      const records: EncodedRecord[] = []
      let bytes = 0
      const from = episode.sent
      while (episode.sent < this.#last && bytes < appendBytesMax) {
        const entry = this.#entry(episode.sent + 1)
        const { kind, vdisk, layer, sequence, offset, length, time } = entry
        const record = encodeRecord(
          {
            kind,
            vdisk,
            layer,
            sequence,
            offset,
            length,
            time,
            acknowledged: this.#acknowledged as Sequence,
            epoch: this.#context.row.epoch,
            episode: episode.id,
            episodeFirst: episode.first,
          },
          entry.payload,
        )
        records.push(record)
        bytes += record.bytes
        episode.sent++
      }
      assert(episode.sent > from, 'an append holds records')
      const upTo = episode.sent
      const now = this.#context.clock.now()
      for (const link of episode.links) {
        link.owesSince ??= now
        this.#context.oplogs
          .replica(link.ref)
          .append(this.#context.row.vdisk, this.#context.row.epoch, episode.id, records)
          .then(
            () => {
              // Synced in order, whatever the order of the answers (C4).
              if (link.synced < upTo) link.synced = upTo
              link.owesSince = link.synced < episode.sent ? this.#context.clock.now() : undefined
              episode.onProgress()
            },
            (error: unknown) => {
              // What is no NdfsError is a bug, and stops the process.
              if (!(error instanceof NdfsError)) throw error
              this.#linkFailed(episode, link, error)
            },
          )
      }
      this.#watch()
    }
  }

  #entry(sequence: number): LogEntry {
    const entry = this.#entries[sequence - this.#drained - 1]
    assert(entry?.sequence === sequence, 'the line of undrained records has no gap')
    return entry
  }

  #advance(): void {
    const current = this.#current
    if (current === undefined || !current.named || this.#state !== 'open') return
    let synced = Number.POSITIVE_INFINITY
    for (const link of current.links) if (link.synced < synced) synced = link.synced
    while (this.#acknowledged < synced) {
      const entry = this.#entry(this.#acknowledged + 1)
      this.#acknowledged++
      this.#context.publish(entry)
      this.#settle(entry)
    }
  }

  #settle(entry: LogEntry, error?: Error): void {
    const settle = entry.settle
    entry.settle = undefined
    settle?.(error)
  }

  #linkFailed(episode: OpenEpisode, link: ReplicaLink, error: Error): void {
    if (episode.failed !== undefined || this.#state === 'stopped') return
    if (isOwnershipOver(error)) return this.stop(error)
    this.#context.log.warn(`a replica of the log of vDisk ${this.#context.row.vdisk} failed`, {
      disk: link.ref.disk,
      node: link.ref.node,
      episode: episode.id,
      reason: messageOf(error),
    })
    this.#context.suspect(link.ref)
    episode.failed = error
    episode.onProgress()
    if (episode === this.#current && this.#state === 'open') void this.#reopen(`${link.ref.disk} failed`)
  }

  async #reopen(reason: string): Promise<void> {
    const { row, lease, log, clock } = this.#context
    this.#state = 'reopening'
    this.#watch()
    const end = this.#acknowledged as Sequence
    const old = this.#current?.named ? this.#current : undefined
    let pauseMs = placementRetryMs
    // So that no replica of a named episode is without a record of it: unknown there can then only mean drained, or lost.
    this.#enter({
      kind: 'open',
      vdisk: row.vdisk,
      layer: row.state.layer,
      offset: vDiskOffset(0),
      length: 0,
      payload: [],
    })
    try {
      for (;;) {
        if (this.#lastEpisode + 1 >= (row.epoch + 1) * episodesPerEpochMax)
          throw new NdfsError(
            'NOT_OWNER',
            `vDisk ${row.vdisk} needs a new epoch: it has had ${episodesPerEpochMax} episodes`,
          )
        const replicas = await this.#replicasFor(row.state.copies)
        if (this.#stoppedBy !== undefined) return
        const episode: OpenEpisode = {
          id: ++this.#lastEpisode as EpisodeId,
          first: (end + 1) as Sequence,
          links: replicas.map((ref) => ({ ref, synced: end, owesSince: undefined })),
          sent: end,
          named: false,
          failed: undefined,
          onProgress: () => undefined,
        }
        // Whom it went to until now may be sent it yet. From here on it goes to this episode alone.
        if (this.#current !== undefined) this.#memory.abandon()
        this.#current = episode
        const kept = this.#last
        await this.#synced(episode, kept)
        if (this.#stoppedBy !== undefined) return
        if (episode.failed !== undefined) {
          // Nobody names it ever: what its replicas have of it can go, before more attempts fill their logs.
          this.#tellEnd(episode, end)
          await clock.sleep(pauseMs)
          pauseMs = Math.min(2 * pauseMs, attemptPauseMsMax)
          continue
        }
        // Every record that was there is on all of the new replicas; now one change ends the old and names the new (M1).
        lease.suspend()
        await row.update((state) => ({
          ...state,
          episodes: [
            ...endLast(state.episodes, end).filter((past) => past.end! > state.drained),
            { id: episode.id, first: episode.first, replicas },
          ],
        }))
        if (this.#stoppedBy !== undefined) return
        episode.named = true
        lease.begin(
          episode.id,
          replicas.filter((ref) => ref.node !== this.#context.node),
        )
        if (old !== undefined) this.#tellEnd(old, end)
        this.#waitsFor = undefined
        log.debug(`vDisk ${row.vdisk} opened episode ${episode.id}`, {
          reason,
          replicas: replicas.map((ref) => ref.disk),
        })
        if (episode.failed !== undefined) {
          // It failed while the row was being changed: it is the open episode now, and goes the same way.
          return await this.#reopen('a replica failed as it was named')
        }
        this.#state = 'open'
        episode.onProgress = () => this.#advance()
        this.#send(episode)
        this.#advance()
        this.#context.reopened()
        return
      }
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      this.stop(error)
    }
  }

  /** Resolves when all replicas have synced to `upTo`, or one failed, or the log was stopped. */
  #synced(episode: OpenEpisode, upTo: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (
          this.#state === 'stopped' ||
          episode.failed !== undefined ||
          episode.links.every((link) => link.synced >= upTo)
        )
          resolve()
      }
      episode.onProgress = look
      this.#send(episode)
      look()
    })
  }

  async #replicasFor(copies: number): Promise<readonly DiskRef[]> {
    for (;;) {
      const replicas = this.#context.placeLog(copies)
      assert(
        new Set(replicas.map((ref) => ref.node)).size === replicas.length,
        'copies lie on distinct nodes (I1)',
      )
      if (this.#stoppedBy !== undefined) return replicas
      const crowded = this.#context.row.state.episodes.length > sealedEpisodesMax
      if (replicas.length === copies && !crowded) return replicas
      const waitsFor = crowded
        ? `a drain of its ${this.#context.row.state.episodes.length} sealed episodes`
        : `log disks on ${copies} nodes: ${replicas.length} can be had`
      if (this.#waitsFor !== waitsFor)
        this.#context.log.warn(`writes to vDisk ${this.#context.row.vdisk} wait for ${waitsFor}`, {
          copies,
          reached: replicas.length,
        })
      this.#waitsFor = waitsFor
      await this.#context.clock.sleep(placementRetryMs)
    }
  }

  /** While anything waits: replicas that owe an answer too long have failed, and guests that waited as long as they may are told so. */
  #watch(): void {
    if (this.#overdueTimer !== undefined || this.#stoppedBy !== undefined) return
    const { clock, writeWaitMaxMs } = this.#context
    this.#overdueTimer = clock.after(Math.min(1000, writeWaitMaxMs), () => {
      this.#overdueTimer = undefined
      if (this.#stoppedBy !== undefined || this.#acknowledged === this.#last) return
      const now = clock.now()
      const current = this.#current
      for (const link of current?.links ?? [])
        if (link.owesSince !== undefined && now - link.owesSince > appendTimeoutMs)
          this.#linkFailed(
            current!,
            link,
            new NdfsError('TIMED_OUT', `it has not answered an append for ${appendTimeoutMs} ms`),
          )
      this.#refuseOverdue(now - writeWaitMaxMs)
      this.#watch()
    })
  }

  /** The record keeps its place: it may yet happen. */
  #refuseOverdue(since: number): void {
    const { row, writeWaitMaxMs } = this.#context
    for (const entry of this.#entries)
      if (entry.settle !== undefined && entry.arrivedAt <= since)
        this.#settle(
          entry,
          new NdfsError(
            'TOO_FEW_REPLICAS',
            `Cannot acknowledge a write to vDisk ${row.vdisk} as ${row.state.copies} copies are needed: ` +
              `it waited ${writeWaitMaxMs} ms for ${this.#waitsFor ?? 'a replica'}. Start nodes that are down`,
          ),
        )
  }

  #tellEnd(episode: OpenEpisode, end: Sequence): void {
    this.#context.oplogs.seal(
      episode.links.map((link) => link.ref),
      this.#context.row.vdisk,
      episode.id,
      end,
    )
  }
}

/** The episodes with the last one ended; nothing happens where it has an end. */
function endLast(episodes: readonly Episode[], end: Sequence): Episode[] {
  return episodes.map((episode, i) =>
    i === episodes.length - 1 && episode.end === undefined ? { ...episode, end } : episode,
  )
}
