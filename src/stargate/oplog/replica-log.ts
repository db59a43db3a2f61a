/**
 * The replica's side of the oplog (oplog.ts is its contract): which records of which vDisk lie in this disk's physical
 * log, who may append to it, and what it has promised about reads.
 *
 * What it keeps in memory is rebuilt from the log at a restart: per vDisk the highest epoch and how far it was freed
 * (from the newest table and the records), per episode where its records lie. What it doesn't keep: seals (the row
 * has them, and repeats them by freeing) and grants; therefore a replica just started waits before it agrees to a fence (F1).
 */
import { assert } from '../../base/assert.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { DiskRef, EpisodeId, Epoch, Sequence, VDiskId } from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { Disk } from '../../disk/disk.ts'
import type { Platform } from '../../platform/platform.ts'
import { EpisodeRecords } from './episode.ts'
import {
  leaseMarginMs,
  leaseMs,
  type EncodedRecords,
  type Holding,
  type OplogReplica,
  type OplogStatistics,
  type Tail,
} from './oplog.ts'
import { PhysicalLog, type LogRequest } from './physical-log.ts'
import { decodeRecord, headerAt, recordHeaderBytes, type EncodedRecord } from './record.ts'
import type { ReplayVisitor } from './replay.ts'
import type { TableVDisk } from './table.ts'

/** Read at once for `read` and for copying: the log's own read buffer. */
const readWindowBytes = 1 * MiB - 8192
/** Copied forward between two looks at what is still needed. */
const copyBytes = 4 * MiB

export interface OplogReplicaOptions {
  readonly platform: Pick<Platform, 'clock' | 'files' | 'log'>
  readonly disk: Disk
  /** 64 MiB, or 40 on a small disk. A segment must hold the largest record that is appended. */
  readonly segmentBytes?: number
  /** The share of the disk's capacity that the log takes: `oplogShare` where nothing else is said. */
  readonly share?: number
  readonly segmentsMax?: number
}

interface VDiskLog {
  /** The highest epoch seen. */
  epoch: Epoch
  /** The highest epoch whose fence is on stable media. */
  fenced: Epoch
  freed: Sequence
  acknowledged: Sequence
  /** When, by our clock, read grants were last given: under the highest epoch that got any, and under lower ones. */
  grantedEpoch: Epoch
  grantedAt: number
  grantedLowerAt: number
  readonly episodes: Map<EpisodeId, EpisodeRecords>
}

export async function openOplogReplica(options: OplogReplicaOptions): Promise<OplogReplica> {
  const replica = new ReplicaLog(options)
  await replica.open()
  return replica
}

class ReplicaLog implements OplogReplica {
  readonly ref: DiskRef
  onFenced: OplogReplica['onFenced'] = () => undefined
  onPressure: OplogReplica['onPressure'] = () => undefined
  readonly #platform: OplogReplicaOptions['platform']
  readonly #disk: Disk
  readonly #log: PhysicalLog
  readonly #vdisks = new Map<VDiskId, VDiskLog>()
  readonly #startedAt: number
  #copying: Promise<void> | undefined
  /** No closed segment is mostly empty, until something is freed or another is closed. */
  #nothingToCopy = false
  /** Generations that hold records which can't be read. */
  readonly #damaged = new Set<number>()
  #closed = false

  constructor(options: OplogReplicaOptions) {
    this.ref = options.disk.ref
    this.#platform = options.platform
    this.#disk = options.disk
    this.#startedAt = options.platform.clock.now()
    this.#log = new PhysicalLog({
      ...options,
      vdisks: () => this.#tableRows(),
      vdiskCount: () => this.#vdisks.size,
      onShort: (begun) => this.#onShort(begun),
    })
  }

  // ---- opening ----

  async open(): Promise<void> {
    const lost: { position: number; id: VDiskId; episode: EpisodeRecords; sequence: Sequence }[] = []
    const firsts = new Map<EpisodeRecords, Sequence>()
    const visitor: ReplayVisitor = {
      table: (table) => {
        for (const { vdisk, epoch, freed } of table.vdisks) {
          const known = this.#vdisk(vdisk)
          known.epoch = epoch
          known.fenced = epoch
          known.freed = freed
        }
      },
      record: (position, bytes, header) => {
        const vdisk = this.#vdisk(header.vdisk)
        vdisk.epoch = Math.max(vdisk.epoch, header.epoch) as Epoch
        vdisk.acknowledged = Math.max(vdisk.acknowledged, header.acknowledged) as Sequence
        if (header.sequence <= vdisk.freed) return
        const episode = episodeOf(vdisk, header.episode, header.epoch, header.sequence)
        firsts.set(episode, header.episodeFirst)
        episode.place(header.sequence, position, bytes)
      },
      lost: (position, { vdisk: id, episode: episodeId, sequence }) => {
        const vdisk = this.#vdisk(id)
        if (sequence <= vdisk.freed) return
        // Its epoch is unknown; where no other record of the episode tells it, that is the vDisk's.
        const episode = episodeOf(vdisk, episodeId, vdisk.epoch, sequence)
        if (episode.positionOf(sequence) === 0) episode.expect(sequence)
        lost.push({ position, id, episode, sequence })
      },
    }
    const replayed = await this.#log.open(visitor)
    for (const [episode, first] of firsts) {
      const vdisk = this.#vdiskOf(episode)
      // What is missing at the front was neither freed nor is it here.
      const expected = Math.max(first, vdisk.freed + 1) as Sequence
      if (expected < episode.first) episode.expect(expected)
    }
    for (const [id, vdisk] of this.#vdisks)
      for (const episode of vdisk.episodes.values()) {
        for (let sequence = episode.first; sequence <= episode.last; sequence++) {
          const position = episode.positionOf(sequence)
          if (position > 0) this.#log.count(position, id, sequence)
        }
        const damage = episode.damage()
        if (damage.length > 0)
          this.#platform.log.error('records of a log can not be read', {
            disk: this.ref.disk,
            vdisk: id,
            episode: episode.id,
            sequences: damage.slice(0, 20),
            count: damage.length,
          })
      }
    // A segment stays until what it lost is freed too: used again, the loss of an episode's last record would be forgotten.
    for (const { position, id, episode, sequence } of lost)
      if (episode.positionOf(sequence) === 0) {
        this.#log.count(position, id, sequence)
        this.#damaged.add(Math.floor(position / this.#log.segmentBytes))
      }
    this.#platform.log.info('log opened', {
      disk: this.ref.disk,
      vdisks: this.#vdisks.size,
      end: replayed.end,
      cutBytes: replayed.cutBytes,
    })
    this.#log.start()
  }

  #vdiskOf(episode: EpisodeRecords): VDiskLog {
    for (const vdisk of this.#vdisks.values()) if (vdisk.episodes.get(episode.id) === episode) return vdisk
    assert(false, 'an episode of no vDisk')
  }

  #vdisk(id: VDiskId): VDiskLog {
    let vdisk = this.#vdisks.get(id)
    if (vdisk === undefined) {
      const never = Number.NEGATIVE_INFINITY
      vdisk = {
        epoch: 0 as Epoch,
        fenced: 0 as Epoch,
        freed: 0 as Sequence,
        acknowledged: 0 as Sequence,
        grantedEpoch: 0 as Epoch,
        grantedAt: never,
        grantedLowerAt: never,
        episodes: new Map(),
      }
      this.#vdisks.set(id, vdisk)
    }
    return vdisk
  }

  #tableRows(): TableVDisk[] {
    const rows: TableVDisk[] = []
    for (const [vdisk, { epoch, freed }] of this.#vdisks)
      if (epoch > 0 || freed > 0) rows.push({ vdisk, epoch, freed })
    return rows
  }

  // ---- appending ----

  get inService(): boolean {
    return this.#log.failed === undefined && !this.#closed && this.#disk.state === 'online'
  }

  async append(
    id: VDiskId,
    epoch: Epoch,
    episodeId: EpisodeId,
    records: readonly EncodedRecord[],
  ): Promise<void> {
    if (records.length === 0) return
    if (this.#log.failed !== undefined) throw this.#log.failed
    const known = this.#vdisks.get(id)
    if (known !== undefined && epoch < known.epoch) throw fencedError(id, epoch, known.epoch)

    const first = headerAt(records[0].header, 0)
    const episode = known?.episodes.get(episodeId)
    this.#checkContinues(id, epoch, episodeId, episode, first.sequence, first.episodeFirst)
    let acknowledged = 0
    let bytes = 0
    for (let index = 0; index < records.length; index++) {
      const header = index === 0 ? first : headerAt(records[index].header, 0)
      if (
        header.vdisk !== id ||
        header.epoch !== epoch ||
        header.episode !== episodeId ||
        header.sequence !== first.sequence + index ||
        records[index].bytes > this.#log.recordBytesMax
      )
        throw new NdfsError(
          'REFUSED',
          `Cannot append records to the log: one is not what the request says, or larger than ${this.#log.recordBytesMax} bytes`,
          { vdisk: id, episode: episodeId, sequence: header.sequence, bytes: records[index].bytes },
        )
      acknowledged = Math.max(acknowledged, header.acknowledged)
      bytes += records[index].bytes
    }
    if (!this.#log.accepts(bytes))
      throw new NdfsError(
        'UNAVAILABLE',
        `Cannot append to the log of disk ${this.ref.disk}: too much waits for it already`,
        { disk: this.ref.disk },
      )

    const vdisk = known ?? this.#vdisk(id)
    this.#raise(id, vdisk, epoch)
    const target = episodeOf(vdisk, episodeId, epoch, first.sequence)
    target.accepted = first.sequence + records.length - 1
    return new Promise((resolve, reject) => {
      this.#log.append(
        new AppendRequest(this.#log, id, vdisk, target, records, acknowledged, resolve, reject),
      )
    })
  }

  #checkContinues(
    id: VDiskId,
    epoch: Epoch,
    episodeId: EpisodeId,
    episode: EpisodeRecords | undefined,
    sequence: Sequence,
    episodeFirst: Sequence,
  ): void {
    if (episode === undefined) {
      if (sequence === episodeFirst) return
    } else if (episode.epoch === epoch && episode.sealedAt === undefined && sequence === episode.accepted + 1)
      return
    const last = episode?.accepted ?? 0
    throw new NdfsError(
      'CONFLICT',
      `Cannot append record ${sequence} of vDisk ${id} in episode ${episodeId}: ` +
        (episode === undefined ? 'nothing before it is here' : `the last one here is ${last}`),
      { vdisk: id, episode: episodeId, sequence, last },
    )
  }

  /** From now on nothing below `epoch` is accepted; and if our own node owned the vDisk under less, it does no longer (I4). */
  #raise(id: VDiskId, vdisk: VDiskLog, epoch: Epoch): void {
    if (epoch <= vdisk.epoch) return
    vdisk.epoch = epoch
    this.onFenced(id, epoch)
  }

  // ---- fencing and granting ----

  async fence(id: VDiskId, epoch: Epoch): Promise<Tail[]> {
    if (this.#log.failed !== undefined) throw this.#log.failed
    const vdisk = this.#vdisk(id)
    if (epoch < vdisk.epoch) throw fencedError(id, epoch, vdisk.epoch)
    this.#raise(id, vdisk, epoch)
    if (vdisk.fenced < epoch) {
      await this.#log.persistTable()
      vdisk.fenced = Math.max(vdisk.fenced, epoch) as Epoch
    }
    // No grant of a lower epoch was given since `raise`, so the last one is known; what an earlier process gave is not.
    const lowerGrantAt = vdisk.grantedEpoch < epoch ? vdisk.grantedAt : vdisk.grantedLowerAt
    const runsOutAt = Math.max(lowerGrantAt, this.#startedAt) + leaseMs + leaseMarginMs
    const waitMs = runsOutAt - this.#platform.clock.now()
    if (waitMs > 0) await this.#platform.clock.sleep(waitMs)
    if (epoch < vdisk.epoch) throw fencedError(id, epoch, vdisk.epoch)
    // Appends under older epochs were written before the table or were refused, so this changes no more (promise 4).
    return tailsOf(vdisk)
  }

  grant(id: VDiskId, epoch: Epoch, episodeId: EpisodeId): { last: Sequence } | undefined {
    if (!this.inService) return undefined
    const vdisk = this.#vdisks.get(id)
    const episode = vdisk?.episodes.get(episodeId)
    if (vdisk === undefined || episode === undefined) return undefined
    if (epoch < vdisk.epoch || episode.epoch !== epoch || episode.sealedAt !== undefined) return undefined
    this.#remember(vdisk, epoch)
    return { last: episode.wholeUpTo }
  }

  #remember(vdisk: VDiskLog, epoch: Epoch): void {
    const now = this.#platform.clock.now()
    if (epoch > vdisk.grantedEpoch) {
      vdisk.grantedLowerAt = vdisk.grantedAt
      vdisk.grantedEpoch = epoch
    }
    if (epoch === vdisk.grantedEpoch) vdisk.grantedAt = now
    else vdisk.grantedLowerAt = now
  }

  // ---- reading ----

  async read(id: VDiskId, episodeId: EpisodeId, from: Sequence, bytesMax: number): Promise<EncodedRecords> {
    const episode = this.#vdisks.get(id)?.episodes.get(episodeId)
    if (episode === undefined) return Buffer.alloc(0)
    const parts: Buffer[] = []
    let bytes = 0
    let next = Math.max(from, episode.first) as Sequence
    while (next <= episode.last && bytes < bytesMax) {
      const records = await this.#readRun(id, episode, next, bytesMax - bytes)
      if (records.length === 0) {
        // It was freed or moved while we read; or it is damage.
        if (next < episode.first) {
          next = episode.first
          continue
        }
        if (parts.length > 0) break
        throw damageError(this.ref, id, episodeId, next)
      }
      for (const record of records) bytes += record.length
      parts.push(...records)
      next = (next + records.length) as Sequence
    }
    return Buffer.concat(parts, bytes)
  }

  /** Records from `from` on that lie near one another, read at once, each verified. None: the first can't be read. */
  async #readRun(id: VDiskId, episode: EpisodeRecords, from: Sequence, bytesMax: number): Promise<Buffer[]> {
    for (;;) {
      const start = episode.positionOf(from)
      if (start === 0) return []
      const positions = [start]
      let end = start + episode.bytesOf(from)
      for (let sequence = from + 1; sequence <= episode.last; sequence++) {
        const position = episode.positionOf(sequence as Sequence)
        const recordEnd = position + episode.bytesOf(sequence as Sequence)
        const near = position >= end && recordEnd - start <= Math.min(readWindowBytes, Math.max(bytesMax, 0))
        if (
          !near ||
          Math.floor(position / this.#log.segmentBytes) !== Math.floor(start / this.#log.segmentBytes)
        )
          break
        positions.push(position)
        end = recordEnd
      }
      const records = await this.#log
        .read(start, end - start, (bytes) =>
          positions.map((position, index) => recordIn(bytes, position - start, id, episode.id, from + index)),
        )
        .catch((error: unknown) => {
          if (hasCode(error, 'CORRUPT_EXTENT')) throw error
          throw readError(this.ref, id, episode.id, from, error)
        })
      const firstBad = records.findIndex((record) => record === undefined)
      const whole = (firstBad < 0 ? records : records.slice(0, firstBad)) as Buffer[]
      if (whole.length > 0) return whole
      // Bad where it should be: damage. Elsewhere by now: it was freed or copied forward, and its place used again.
      if (episode.positionOf(from) === start) {
        episode.lose(from)
        this.#damaged.add(Math.floor(start / this.#log.segmentBytes))
        this.#platform.log.error('a record of a log can not be read', {
          disk: this.ref.disk,
          vdisk: id,
          episode: episode.id,
          sequence: from,
        })
        return []
      }
    }
  }

  // ---- freeing ----

  free(id: VDiskId, upTo: Sequence): void {
    const vdisk = this.#vdisks.get(id)
    if (vdisk === undefined || upTo <= vdisk.freed) return
    vdisk.freed = upTo
    this.#nothingToCopy = false
    for (const episode of vdisk.episodes.values()) episode.freeUpTo(upTo)
    this.#log.free(id, upTo)
    // The newest episode is kept, for what may still be appended to it.
    const newest = Math.max(...vdisk.episodes.keys())
    for (const [episodeId, episode] of vdisk.episodes)
      if (episode.empty && episode.accepted === episode.last && episodeId !== newest)
        vdisk.episodes.delete(episodeId)
  }

  seal(id: VDiskId, episodeId: EpisodeId, end: Sequence): void {
    const episode = this.#vdisks.get(id)?.episodes.get(episodeId)
    if (episode === undefined) return
    episode.seal(end)
    // What was cut holds no segment any more: one that was full may be mostly empty now.
    this.#nothingToCopy = false
  }

  #onShort(begun: boolean): void {
    if (begun) this.#nothingToCopy = false
    const left = this.#log.segmentsLeft
    const max = this.#log.segmentsForRecords
    // A small log has few segments: with two left it is as pressing as with a quarter of many.
    if (left > Math.max(2, Math.floor(max / 4))) return
    const oldest = this.#log.liveSegments().slice(0, Math.max(1, Math.floor(max / 4)))
    const vdisks = new Set(oldest.flatMap(({ newest }) => [...newest.keys()]))
    if (vdisks.size > 0) this.onPressure([...vdisks])
    if (left > this.#segmentsLeftMin || this.#copying !== undefined || this.#log.copyMost.bytes === 0) return
    this.#log.copying = true
    this.#copying = this.#copyForward()
      .catch((error: unknown) => {
        if (!(error instanceof NdfsError)) throw error
        this.#platform.log.warn('records were not copied forward', {
          disk: this.ref.disk,
          error: error.message,
        })
      })
      .finally(() => {
        this.#copying = undefined
        this.#log.copying = false
      })
  }

  /**
   * Moves what is left in the oldest segments that are mostly empty to the log's head, so that one vDisk that can't drain
   * doesn't hold the space of all (M8). The old place is given up when the new one is on stable media, and written over
   * only after a table has said so: in between both count, and are the same. A segment with damage stays where it is.
   */
  async #copyForward(): Promise<void> {
    while (this.#log.segmentsLeft <= this.#segmentsLeftMin && !this.#closed) {
      const segment = this.#segmentToCopy()
      if (segment === undefined) return
      const { generation, left } = segment
      for (let at = 0; at < left.length;) at = await this.#copy(left, at)
      if (this.#damaged.has(generation)) continue
      this.#log.setFreed(generation)
      this.#platform.log.info('records were copied forward', { disk: this.ref.disk, records: left.length })
    }
  }

  #segmentToCopy(): { generation: number; left: KeptRecord[] } | undefined {
    if (this.#nothingToCopy) return undefined
    const most = this.#log.copyMost
    for (const { generation, newest } of this.#log.liveSegments()) {
      if (this.#damaged.has(generation)) continue
      const left = this.#recordsIn(generation, newest.keys())
      let bytes = 0
      for (const { episode, sequence } of left) bytes += episode.bytesOf(sequence)
      if (bytes <= most.bytes && left.length <= most.records) return { generation, left }
    }
    this.#nothingToCopy = true
    return undefined
  }

  /** With fewer segments left than this, records are copied forward. */
  get #segmentsLeftMin(): number {
    return Math.max(1, Math.floor(this.#log.segmentsForRecords / 10))
  }

  #recordsIn(generation: number, vdisks: Iterable<VDiskId>): KeptRecord[] {
    const from = generation * this.#log.segmentBytes
    const kept: KeptRecord[] = []
    for (const id of vdisks) {
      const vdisk = this.#vdisks.get(id)
      assert(vdisk !== undefined, 'a segment holds records of an unknown vDisk')
      for (const episode of vdisk.episodes.values())
        for (let sequence = episode.first; sequence <= episode.last; sequence++) {
          const position = episode.positionOf(sequence)
          if (position >= from && position < from + this.#log.segmentBytes)
            kept.push({ id, episode, sequence, position })
        }
    }
    return kept
  }

  /** Copies some of these, from the one at `at`; resolves, when they are on stable media, to the next one. */
  async #copy(kept: readonly KeptRecord[], at: number): Promise<number> {
    const copies = new Map<EncodedRecord, KeptRecord>()
    for (let bytes = 0; at < kept.length && bytes < copyBytes;) {
      const { id, episode, sequence } = kept[at]
      const run = isWhereItWas(kept[at]) ? await this.#readRun(id, episode, sequence, readWindowBytes) : []
      let copied = 0
      for (; copied < run.length && at + copied < kept.length; copied++) {
        const record = kept[at + copied]
        if (record.episode !== episode || record.sequence !== sequence + copied) break
        copies.set(encodedAs(run[copied]), record)
        bytes += run[copied].length
      }
      at += Math.max(copied, 1)
    }
    if (copies.size === 0) return at
    await new Promise<void>((resolve, reject) =>
      this.#log.append({
        purpose: 'copy',
        records: [...copies.keys()],
        placed: (copy, position) => {
          const record = copies.get(copy)
          assert(record !== undefined, 'a copy of no record')
          // Freed or cut meanwhile: the copy counts for nothing.
          if (!isWhereItWas(record)) return
          record.episode.place(record.sequence, position, copy.bytes)
          this.#log.count(position, record.id, record.sequence)
        },
        done: resolve,
        failed: reject,
      }),
    )
    return at
  }

  // ---- telling ----

  holdings(): readonly Holding[] {
    const holdings: Holding[] = []
    for (const [vdisk, log] of this.#vdisks) {
      if (log.episodes.size === 0) continue
      let bytes = 0
      for (const episode of log.episodes.values()) bytes += episode.bytesKept()
      holdings.push({ vdisk, epoch: log.epoch, bytes, episodes: tailsOf(log) })
    }
    return holdings
  }

  statistics(): OplogStatistics {
    let records = 0
    for (const { episodes } of this.#vdisks.values())
      for (const episode of episodes.values()) records += episode.records
    return { ...this.#log.statistics(), records }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#copying?.catch(() => undefined)
    await this.#log.close()
  }
}

interface KeptRecord {
  readonly id: VDiskId
  readonly episode: EpisodeRecords
  readonly sequence: Sequence
  readonly position: number
}

const isWhereItWas = ({ episode, sequence, position }: KeptRecord): boolean =>
  episode.positionOf(sequence) === position

const encodedAs = (bytes: Buffer): EncodedRecord => ({
  header: bytes.subarray(0, recordHeaderBytes),
  payload: [bytes.subarray(recordHeaderBytes)],
  bytes: bytes.length,
})

/** One append on its way: a class, since there are tens of thousands a second. */
class AppendRequest implements LogRequest {
  readonly purpose = 'guest'
  readonly records: readonly EncodedRecord[]
  readonly done: () => void
  readonly #log: PhysicalLog
  readonly #id: VDiskId
  readonly #vdisk: VDiskLog
  readonly #episode: EpisodeRecords
  readonly #acknowledged: number
  readonly #reject: (error: Error) => void
  #next: number

  constructor(
    log: PhysicalLog,
    id: VDiskId,
    vdisk: VDiskLog,
    episode: EpisodeRecords,
    records: readonly EncodedRecord[],
    acknowledged: number,
    resolve: () => void,
    reject: (error: Error) => void,
  ) {
    this.records = records
    this.done = resolve
    this.#log = log
    this.#id = id
    this.#vdisk = vdisk
    this.#episode = episode
    this.#acknowledged = acknowledged
    this.#reject = reject
    this.#next = episode.accepted - records.length + 1
  }

  placed(record: EncodedRecord, position: number): void {
    const sequence = this.#next++ as Sequence
    if (this.#acknowledged > this.#vdisk.acknowledged)
      this.#vdisk.acknowledged = this.#acknowledged as Sequence
    if (this.#episode.sealedAt !== undefined && sequence > this.#episode.sealedAt) return
    if (sequence <= this.#vdisk.freed) return this.#episode.skip(sequence)
    this.#episode.place(sequence, position, record.bytes)
    this.#log.count(position, this.#id, sequence)
  }

  failed(error: NdfsError): void {
    // All that waited of this episode is refused in the same breath, so what was placed is where it goes on.
    this.#episode.accepted = this.#episode.last
    this.#reject(error)
  }
}

function episodeOf(vdisk: VDiskLog, id: EpisodeId, epoch: Epoch, first: Sequence): EpisodeRecords {
  let episode = vdisk.episodes.get(id)
  if (episode === undefined) {
    episode = new EpisodeRecords(id, epoch, first)
    vdisk.episodes.set(id, episode)
  }
  return episode
}

function tailsOf(vdisk: VDiskLog): Tail[] {
  const tails: Tail[] = []
  for (const episode of vdisk.episodes.values()) {
    const damage = episode.damage()
    tails.push({
      episode: episode.id,
      first: episode.first,
      last: episode.last,
      acknowledged: vdisk.acknowledged,
      damage: damage.length > 0 ? damage : undefined,
    })
  }
  return tails
}

/** A copy of the record's bytes, or undefined where they aren't that record's. */
function recordIn(
  bytes: Buffer,
  at: number,
  vdisk: VDiskId,
  episode: EpisodeId,
  sequence: number,
): Buffer | undefined {
  const decoded = at < bytes.length ? decodeRecord(bytes, at) : undefined
  if (decoded === undefined) return undefined
  const { record } = decoded
  if (record.vdisk !== vdisk || record.episode !== episode || record.sequence !== sequence) return undefined
  return Buffer.from(bytes.subarray(at, decoded.end))
}

function fencedError(vdisk: VDiskId, epoch: Epoch, highest: Epoch): NdfsError {
  return new NdfsError(
    'FENCED',
    `Cannot act for vDisk ${vdisk} under epoch ${epoch}: epoch ${highest} was seen here`,
    {
      vdisk,
      epoch: highest,
    },
  )
}

function damageError(ref: DiskRef, vdisk: VDiskId, episode: EpisodeId, sequence: Sequence): NdfsError {
  return new NdfsError(
    'CORRUPT_EXTENT',
    `Cannot read record ${sequence} of vDisk ${vdisk}, episode ${episode}, from the log of disk ${ref.disk}: ` +
      'it is not what was written. Another replica of the episode has it',
    { vdisk, episode, sequence, disk: ref.disk },
  )
}

function readError(
  ref: DiskRef,
  vdisk: VDiskId,
  episode: EpisodeId,
  sequence: Sequence,
  cause: unknown,
): NdfsError {
  return new NdfsError(
    'DISK_FAILED',
    `Cannot read record ${sequence} of vDisk ${vdisk} from the log of disk ${ref.disk}: the disk fails`,
    { vdisk, episode, sequence, disk: ref.disk },
    { cause },
  )
}
