/**
 * One log on one flash disk: records of all vDisks, one after the other, in preallocated segments.
 *
 *  1. `append` calls `placed` for a record, in order, when it and everything before it in this log is on stable media:
 *     only one write is under way at a time, and what arrives meanwhile goes into the next (group commit, C4).
 *  2. A failed write ends the log's service: all that waits is refused with DISK_FAILED, and so is all that comes (I6).
 *     Reads are still tried.
 *  3. `freed` segments are used again only when a table that says so is on stable media.
 *  4. When nothing was written for a moment, an empty batch follows: it says that what is before it was synced. From then on
 *     a batch that is rotten or gone is damage that is told of, and not taken for the end of the log (F7).
 *  5. Bounded: `waitingBytesMax` of records that wait, one batch buffer, `segmentsMax` segments and two more.
 *  6. A full log takes fences and restarts, however often, also on a full disk (I10): they need two segments, one that they begin,
 *     and one more while a table says that the one before it holds nothing. So records are taken while there are two beside those in
 *     use, as files or as room on the disk that nobody else is given; and guests' leave another to copies, which empty the log.
 *
 * Not here: epochs, episodes, which records still count (replica-log.ts).
 *
 * A segment's moves:
 *
 *   (none)  → preparing   a file is made and filled with zeroes, so that later writes change no metadata  [#createSlot]
 *   free    → preparing   [#takeFree]
 *   preparing → next      both headers are written                                                       [#prepare]
 *   next    → active      two tables are written                                                         [#switchSegment]
 *   active  → live        it is full; it holds records that count                                        [#switchSegment]
 *   live    → freed       no record in it counts                                                         [free, setFreed]
 *   freed   → free        a table without it is on stable media                                          [#writeTable]
 *   (found) → lost        the file can't be read as a segment; it is never used again                    [#adopt]
 */
import { assert, AssertionFailure } from '../../base/assert.ts'
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { Sequence, VDiskId } from '../../base/ids.ts'
import { GiB, MiB, roundDown, roundUp } from '../../base/units.ts'
import type { Disk, DiskFile } from '../../disk/disk.ts'
import type { Platform, Timer } from '../../platform/platform.ts'
import {
  batchBytesFor,
  batchEntriesMax,
  encodeBatch,
  noBatch,
  type BatchPlace,
  type BatchTrace,
} from './batch.ts'
import { oplogShare } from './oplog.ts'
import type { EncodedRecord } from './record.ts'
import {
  findSegments,
  logFolder,
  openSegment,
  replay,
  segmentName,
  type FoundSegment,
  type Replayed,
  type ReplayVisitor,
} from './replay.ts'
import { blockBytes, encodeSegmentHeader, firstBatchOffset } from './segment.ts'
import { encodeTable, tableBytesFor, type TableVDisk } from './table.ts'

const segmentBytesUsual = 64 * MiB
/** Holds the largest record and the tables around it; what disks below 4 GiB get, to have more than a handful. */
const segmentBytesMin = 40 * MiB
/** One active, one being made ready, one that drains, one in reserve. Disks below 640 MiB give more than their share. */
const segmentsMin = 4
/** A log is read whole at a restart, and a guest's stall must stay short: more than this is no use. */
const logBytesMax = 16 * GiB
/** Copying this much takes about as long as syncing it; larger batches would only make those who wait wait longer. */
const batchBytesUsual = 4 * MiB
/** Two of the largest requests: what one disk can take within the second in which its peers still believe in it. */
const waitingBytesMax = 64 * MiB
/** What new segments are filled with, piece by piece. */
const zeroes = Buffer.alloc(1 * MiB)
/** After so long without a write the last batch is marked as synced: not sooner, or each write of a slow guest would cost two. */
const markAfterMs = 10
const readBufferBytes = 1 * MiB
/** What fences and restarts may use beyond what holds records, so that a full log can be emptied. */
const segmentsExtra = 2
/** Tables grow by 24 bytes a vDisk; room for those that come while a segment fills. */
const tableGrowth = 1000

/** Guests' appends leave one segment to copies, which empty the log. */
export type LogPurpose = 'guest' | 'copy'
/** What a segment is begun for; tables are what fences and restarts write. */
type SegmentPurpose = LogPurpose | 'table'

/** Something to be appended, and who is told. */
export interface LogRequest {
  readonly purpose: LogPurpose
  readonly records: readonly EncodedRecord[]
  /** The record and everything before it in this log is on stable media. */
  placed(record: EncodedRecord, position: number): void
  /** All are placed. */
  done(): void
  /** Those not placed will not be. */
  failed(error: NdfsError): void
}

export interface PhysicalLogOptions {
  readonly platform: Pick<Platform, 'clock' | 'files' | 'log'>
  readonly disk: Disk
  readonly segmentBytes?: number
  readonly segmentsMax?: number
  readonly share?: number
  /** What tables say of vDisks, and of how many. */
  readonly vdisks: () => TableVDisk[]
  readonly vdiskCount: () => number
  /** Called when a segment was `begun`, and when guests' appends were refused for want of room. */
  readonly onShort: (begun: boolean) => void
}

type SlotState = 'preparing' | 'next' | 'active' | 'live' | 'freed' | 'free' | 'lost'

interface Slot {
  readonly number: number
  /** None while it is being made. */
  file?: DiskFile
  state: SlotState
  generation: number
  end: number
  /** The newest sequence of each vDisk that has records here. */
  readonly newest: Map<VDiskId, Sequence>
}

/** A closed segment, for whoever frees and copies. */
export interface LiveSegment {
  readonly generation: number
  readonly newest: ReadonlyMap<VDiskId, Sequence>
}

interface Waiting {
  readonly request: LogRequest
  /** The first record that is not in a batch yet. */
  begun: number
  written: number
}

interface TableWaiter {
  /** How many requests must have ended before: those that came earlier. */
  readonly after: number
  /** It waits so that a segment becomes free, and can do without. */
  readonly forRoom: boolean
  resolve(): void
  reject(error: Error): void
}

const closing = new NdfsError('UNAVAILABLE', 'Cannot append to the log: it is being closed')

function fileOf(slot: Slot): DiskFile {
  assert(slot.file !== undefined, 'a segment that is still being made is neither read nor written')
  return slot.file
}

/** How a log divides its disk's capacity. */
export function sizeOfLog(
  capacityBytes: number,
  shareOfDisk = oplogShare,
): { segmentBytes: number; segmentsMax: number } {
  const share = Math.min(capacityBytes * shareOfDisk, logBytesMax)
  const segmentBytes = share >= 1 * GiB ? segmentBytesUsual : segmentBytesMin
  return { segmentBytes, segmentsMax: Math.max(segmentsMin, Math.floor(share / segmentBytes)) }
}

export class PhysicalLog {
  readonly #platform: PhysicalLogOptions['platform']
  readonly #disk: Disk
  readonly #vdisks: () => TableVDisk[]
  readonly #vdiskCount: () => number
  readonly #onShort: (begun: boolean) => void
  readonly #buffer: Buffer
  readonly #readBuffer: Buffer
  readonly #slots: Slot[] = []
  readonly #byGeneration = new Map<number, Slot>()
  #generation = 0

  #active: Slot | undefined
  #number = 0
  /** The end of the log, and its last batch. */
  #end = 0
  #last: BatchTrace = noBatch
  #previousEnd = 0
  #next: Promise<Slot | undefined> | undefined

  #queue: Waiting[] = []
  #queueHead = 0
  #waitingBytes = 0
  #tableWaiters: TableWaiter[] = []
  /** Requests that came, and those of them that ended, one way or another. */
  #came = 0
  #ended = 0
  #writing = false
  #onIdle: (() => void) | undefined
  #closed = false
  #marking: Timer | undefined
  #failed: NdfsError | undefined
  #reading: Promise<unknown> = Promise.resolve()
  #syncs = 0
  #bytesWritten = 0
  segmentBytes: number
  segmentsMax: number
  /** Set while records are copied forward: what the copies take of the reserve comes back, so guests are not refused for it. */
  copying = false

  constructor(options: PhysicalLogOptions) {
    const size = sizeOfLog(options.disk.space().capacityBytes, options.share)
    this.#platform = options.platform
    this.#disk = options.disk
    this.#vdisks = options.vdisks
    this.#vdiskCount = options.vdiskCount
    this.#onShort = options.onShort
    this.segmentBytes = options.segmentBytes ?? size.segmentBytes
    this.segmentsMax = options.segmentsMax ?? size.segmentsMax
    assert(this.segmentBytes % blockBytes === 0, 'a segment is made of whole blocks')
    assert(this.segmentsMax >= segmentsMin, 'a log needs at least four segments')
    this.#buffer = options.platform.files.alignedBuffer(
      Math.min(batchBytesFor(batchBytesUsual), this.segmentBytes),
    )
    this.#readBuffer = options.platform.files.alignedBuffer(readBufferBytes)
  }

  /** Reads what is there. To be called first, once; the visitor's records are counted to their segments. */
  async open(visitor: ReplayVisitor): Promise<Replayed> {
    let memory: Buffer = Buffer.alloc(0)
    const scratch = (bytes: number) => {
      if (memory.length < bytes) memory = this.#platform.files.alignedBuffer(bytes)
      return memory.subarray(0, bytes)
    }
    const log = this.#platform.log
    const found = await findSegments(this.#disk, scratch, log)
    if (found.segmentBytes !== undefined) this.segmentBytes = found.segmentBytes
    for (const segment of found.segments) await this.#adopt(segment)
    const place = { incarnation: this.#disk.ref.incarnation, segmentBytes: this.segmentBytes }
    const replayed = await replay(found.segments, place, scratch, log, visitor)
    this.#end = replayed.end
    this.#generation = this.#slots.reduce((newest, slot) => Math.max(newest, slot.generation), 0)
    for (const slot of this.#slots) {
      const end = replayed.ends.get(slot.generation)
      if (slot.generation === 0) continue
      this.#byGeneration.set(slot.generation, slot)
      slot.state = end === undefined ? 'free' : 'live'
      slot.end = end ?? firstBatchOffset
    }
    if (replayed.cutBytes > 0)
      log.warn('the log was cut at a write that had not ended', {
        disk: this.#disk.ref.disk,
        bytes: replayed.cutBytes,
      })
    this.#setAside()
    if (replayed.uncertain !== undefined) this.#fail(new Error(replayed.uncertain))
    else await this.#makeDurable()
    return replayed
  }

  /**
   * What was read may be the end of a write that failed, or was cut short by the end of its process: readable, and yet not on
   * stable media. It is put there before anything follows that says so.
   */
  async #makeDurable(): Promise<void> {
    if (this.#disk.state !== 'online') return
    try {
      await Promise.all(this.#slots.flatMap((slot) => (slot.file === undefined ? [] : [slot.file.sync()])))
    } catch (error) {
      this.#fail(error)
    }
  }

  /** A file without header and batches, read from end to end, is an unfinished creation: it was never a part of the log. */
  async #adopt({ slot: number, file, generation, readable }: FoundSegment): Promise<void> {
    if (generation === 0 && readable && this.#disk.state === 'online') {
      await file.close()
      await this.#disk.remove(segmentName(number))
      return
    }
    this.#slots.push({
      number,
      file,
      state: generation === 0 ? 'lost' : 'live',
      generation,
      end: firstBatchOffset,
      newest: new Map(),
    })
  }

  /** Counts a record to the segment that holds it: what `segments` tells, and what `setFreed` relies on. */
  count(position: number, vdisk: VDiskId, sequence: Sequence): void {
    const { newest } = this.#slotAt(position)
    const before = newest.get(vdisk)
    if (before === undefined || before < sequence) newest.set(vdisk, sequence)
  }

  /** To be called when all records that count were counted. Prepares the first segment, while nothing waits for it. */
  start(): void {
    for (const slot of this.#slots) if (slot.state === 'live' && slot.newest.size === 0) slot.state = 'freed'
    if (this.#failed === undefined) void this.#startPreparing('table')
  }

  get failed(): NdfsError | undefined {
    return this.#failed
  }

  /** Whether one more of these may be handed in; the queue's bound. A single one always may. */
  accepts(bytes: number): boolean {
    return this.#waitingBytes === 0 || this.#waitingBytes + bytes <= waitingBytesMax
  }

  /** The largest record that a segment holds beside its tables. */
  get recordBytesMax(): number {
    return this.segmentBytes - firstBatchOffset - 4 * this.#tableReserve() - 2 * blockBytes
  }

  append(request: LogRequest): void {
    const refusal = this.#failed ?? (this.#closed ? closing : undefined)
    if (refusal !== undefined) return request.failed(refusal)
    for (const record of request.records) this.#waitingBytes += record.bytes
    this.#queue.push({ request, begun: 0, written: 0 })
    this.#came++
    this.#kick()
  }

  /** Resolves when what `vdisks()` says now is on stable media, twice; all that was handed in before has ended then. */
  async persistTable(): Promise<void> {
    if (this.#closed) throw closing
    await this.#tableOnce(false)
    await this.#tableOnce(false)
  }

  #tableOnce(forRoom: boolean): Promise<void> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed)
    return new Promise((resolve, reject) => {
      this.#tableWaiters.push({ after: forRoom ? 0 : this.#came, forRoom, resolve, reject })
      this.#kick()
    })
  }

  /** Closed segments that hold records which count, oldest first. */
  liveSegments(): LiveSegment[] {
    return this.#slots.filter(({ state }) => state === 'live').sort((a, b) => a.generation - b.generation)
  }

  /** Forgets this vDisk's records up to a sequence in all segments; those that hold no others are freed. */
  free(vdisk: VDiskId, upTo: Sequence): void {
    for (const slot of this.#slots) {
      const newest = slot.newest.get(vdisk)
      if (newest === undefined || newest > upTo) continue
      slot.newest.delete(vdisk)
      if (slot.state === 'live' && slot.newest.size === 0) slot.state = 'freed'
    }
  }

  /** No record in that closed segment counts any more. */
  setFreed(generation: number): void {
    const slot = this.#byGeneration.get(generation)
    if (slot?.state !== 'live') return
    slot.newest.clear()
    slot.state = 'freed'
  }

  /**
   * Segments that may hold records: the log's size, or less where its disk has no room for more. Four in any case: with fewer a taker
   * may find no room for what nobody has acknowledged, and that is never drained. So a disk that was full to the brim before anything was
   * kept there may have fewer than two left for fences and restarts, as it had before, until it is given some room.
   */
  get segmentsForRecords(): number {
    const { capacityBytes, usedBytes } = this.#disk.space()
    const more = Math.floor((capacityBytes - usedBytes) / this.segmentBytes)
    return Math.min(this.segmentsMax, Math.max(segmentsMin, this.#slots.length + more - segmentsExtra))
  }

  /** Segments that records could still begin, the one for copies included. */
  get segmentsLeft(): number {
    return this.segmentsForRecords - this.#inUse()
  }

  /**
   * How much of one segment may be copied forward. Into what is kept for fences and restarts only what one batch surely holds: after
   * a power cut all of it is there, and the segment that it comes from is free; or nothing, and it has cost nothing.
   */
  get copyMost(): { readonly bytes: number; readonly records: number } {
    const beyond = this.#taken() - this.segmentsForRecords
    if (beyond <= 0) return { bytes: this.segmentBytes / 2, records: Number.POSITIVE_INFINITY }
    if (beyond > 1) return { bytes: 0, records: 0 }
    const room = Math.max(0, this.#room() - this.#tableReserve())
    return { bytes: Math.min(batchBytesUsual, room) / 2, records: batchEntriesMax }
  }

  statistics() {
    let usedBytes = 0
    for (const { state, end } of this.#slots) if (state === 'live' || state === 'active') usedBytes += end
    return {
      capacityBytes: this.segmentsMax * this.segmentBytes,
      usedBytes,
      syncs: this.#syncs,
      bytesWritten: this.#bytesWritten,
    }
  }

  /**
   * Calls `use` with the bytes from `position` on; they are good until it returns. Fewer, or others, where the segment
   * was freed meanwhile. One read at a time, since recovery is its only user, and one aligned buffer is enough for that.
   */
  read<T>(position: number, bytes: number, use: (bytes: Buffer) => T): Promise<T> {
    const result = this.#reading.then(async () => {
      const offset = position % this.segmentBytes
      const from = roundDown(offset, blockBytes)
      const length = roundUp(offset + bytes, blockBytes) - from
      const buffer =
        length <= readBufferBytes
          ? this.#readBuffer.subarray(0, length)
          : this.#platform.files.alignedBuffer(length)
      const slot = this.#byGeneration.get(Math.floor(position / this.segmentBytes))
      const read = slot === undefined ? 0 : await fileOf(slot).read(buffer, from)
      return use(buffer.subarray(0, read).subarray(offset - from, offset - from + bytes))
    })
    this.#reading = result.catch(() => undefined)
    return result
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#next?.catch(() => undefined)
    if (this.#writing) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    this.#marking?.cancel()
    if (this.#isUnmarked())
      await this.#writeBatch({ records: [] }).catch((error: unknown) => this.#fail(error))
    await this.#reading
    for (const slot of this.#slots) await slot.file?.close()
  }

  #slotAt(position: number): Slot {
    const slot = this.#byGeneration.get(Math.floor(position / this.segmentBytes))
    assert(slot !== undefined, () => `position ${position} is in no segment of this log`)
    return slot
  }

  // ---- writing ----

  #kick(): void {
    if (this.#writing) return
    this.#writing = true
    // All that arrives in this turn goes into one batch.
    this.#platform.clock.soon(() => void this.#writeAll())
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#failed === undefined && this.#wantsWrite()) await this.#writeNext()
    } catch (error) {
      this.#fail(error)
      // Our own bugs are no disk's failure: they stop the process.
      if (error instanceof AssertionFailure || error instanceof TypeError || error instanceof RangeError)
        throw error
    }
    this.#writing = false
    this.#onIdle?.()
    if (this.#isUnmarked()) this.#markSoon()
  }

  /** Nothing yet says that the last batch was synced: if it can't be read after a restart, it was a write that never ended. */
  #isUnmarked(): boolean {
    return this.#failed === undefined && this.#active !== undefined && this.#last.directory.length > 0
  }

  #markSoon(): void {
    if (this.#closed) return
    const end = this.#end
    this.#marking ??= this.#platform.clock.after(markAfterMs, () => {
      this.#marking = undefined
      if (this.#closed || this.#writing || !this.#isUnmarked()) return
      if (this.#end > end) return this.#markSoon()
      // A full segment is marked by the one after it.
      if (this.#room() - this.#tableReserve() < batchBytesFor(0)) return
      this.#writing = true
      void this.#mark()
    })
  }

  async #mark(): Promise<void> {
    await this.#writeBatch({ records: [] }).catch((error: unknown) => this.#fail(error))
    await this.#writeAll()
  }

  #wantsWrite(): boolean {
    return this.#queueHead < this.#queue.length || this.#tableWaiters.length > 0
  }

  async #writeNext(): Promise<void> {
    if (this.#tableWaiters.some(this.#isDue)) {
      if (this.#tableFits()) await this.#writeTable()
      else if (!(await this.#switchSegment('table'))) this.#refuseTables(this.#outOfSpace())
      return
    }
    const { request, begun } = this.#queue[this.#queueHead]
    const { purpose } = request
    const room = this.#room() - this.#tableReserve()
    const fits = batchBytesFor(request.records[begun].bytes) <= room
    const mayHold = this.#mayHold(request)
    if (fits && mayHold) return await this.#writeRecords(room)
    if (!fits && (mayHold || this.#costsNone())) {
      if (await this.#switchSegment(this.#costsNone() ? 'table' : purpose)) return
    } else if (this.#canFree()) return await this.#writeTable()
    this.#refuseQueued('guest')
    if (purpose === 'copy') this.#refuseQueued('copy')
  }

  /**
   * Whether to begin a segment makes one free: the active one, where it holds nothing; or others that were freed and have no room left here for the
   * table that says so.
   */
  #costsNone(): boolean {
    return this.#holdsNothing() || (!this.#tableFits() && this.#slots.some(({ state }) => state === 'freed'))
  }

  #holdsNothing(): boolean {
    return this.#active === undefined || this.#active.newest.size === 0
  }

  async #writeRecords(room: number): Promise<void> {
    const records: EncodedRecord[] = []
    const owners: Waiting[] = []
    let entryBytes = 0
    gather: for (let at = this.#queueHead; at < this.#queue.length; at++) {
      const waiting = this.#queue[at]
      const wanted = waiting.request.records
      for (; waiting.begun < wanted.length; waiting.begun++) {
        const record = wanted[waiting.begun]
        const bytes = batchBytesFor(entryBytes + record.bytes)
        if (records.length > 0 && (records.length === batchEntriesMax || bytes > batchBytesUsual))
          break gather
        if (bytes > room) break gather
        records.push(record)
        owners.push(waiting)
        entryBytes += record.bytes
      }
    }
    assert(records.length > 0, 'a record larger than a segment was let in')
    let position = await this.#writeBatch({ records })
    for (let index = 0; index < records.length; index++) {
      const owner = owners[index]
      const record = records[index]
      owner.request.placed(record, position)
      position += record.bytes
      this.#waitingBytes -= record.bytes
      owner.written++
      if (owner.written === owner.request.records.length) this.#finish(owner)
    }
  }

  readonly #isDue = ({ after }: TableWaiter): boolean => after <= this.#ended

  #finish(waiting: Waiting): void {
    assert(this.#queue[this.#queueHead] === waiting, 'requests end in the order in which they came')
    this.#queueHead++
    if (this.#queueHead === this.#queue.length || this.#queueHead > 1024) {
      this.#queue = this.#queue.slice(this.#queueHead)
      this.#queueHead = 0
    }
    this.#ended++
    waiting.request.done()
  }

  async #writeTable(): Promise<void> {
    const waiters = this.#tableWaiters.filter(this.#isDue)
    this.#tableWaiters = this.#tableWaiters.filter((waiter) => !waiters.includes(waiter))
    const freed = this.#slots.filter(({ state }) => state === 'freed')
    const table = encodeTable({
      segments: this.liveSegments().map(({ generation }) => ({
        generation,
        end: this.#byGeneration.get(generation)?.end ?? 0,
      })),
      vdisks: this.#vdisks(),
    })
    try {
      await this.#writeBatch({ table })
      // Only now no replay looks at these any more, so only now they may be written over.
      for (const slot of freed) slot.state = 'free'
      await this.#removeSurplus()
    } catch (error) {
      this.#tableWaiters.push(...waiters)
      throw error
    }
    for (const waiter of waiters) waiter.resolve()
  }

  /** Writes one batch at the end of the active segment; resolves, once it is on stable media, to its first entry's position. */
  async #writeBatch(content: { records: readonly EncodedRecord[] } | { table: Buffer }): Promise<number> {
    const slot = this.#active
    assert(slot !== undefined, 'a batch is written to an active segment')
    const entryBytes =
      'table' in content
        ? content.table.length
        : content.records.reduce((sum, record) => sum + record.bytes, 0)
    const bytes = batchBytesFor(entryBytes)
    assert(slot.end + bytes <= this.segmentBytes, 'a batch goes past the end of its segment')
    const buffer =
      bytes <= this.#buffer.length
        ? this.#buffer
        : this.#platform.files.alignedBuffer(roundUp(bytes, blockBytes))
    const base = slot.generation * this.segmentBytes
    const place: BatchPlace = {
      incarnation: this.#disk.ref.incarnation,
      generation: slot.generation,
      offset: slot.end,
      number: this.#number,
      synced: this.#end,
      previousEnd: this.#previousEnd,
      previous: this.#last,
    }
    const trace = encodeBatch(buffer, place, content)
    await fileOf(slot).write([buffer.subarray(0, bytes)], slot.end)
    // I6: meanwhile the making of the next segment may have failed, and all that waited was refused.
    if (this.#failed !== undefined) throw this.#failed
    // On stable media, as is all before it: the file is O_DSYNC, and no other write was under way (C4).
    const position = base + slot.end + blockBytes
    this.#last = trace
    this.#number++
    slot.end += bytes
    this.#end = base + slot.end
    this.#syncs++
    this.#bytesWritten += bytes
    if (this.#next === undefined && slot.end > this.segmentBytes / 2) void this.#startPreparing('guest')
    return position
  }

  #room(): number {
    return this.#active === undefined ? 0 : this.segmentBytes - this.#active.end
  }

  #tableBatchBytes(vdisksToCome: number): number {
    return batchBytesFor(tableBytesFor(this.#slots.length, this.#vdiskCount() + vdisksToCome))
  }

  #tableFits(): boolean {
    return this.#room() >= this.#tableBatchBytes(0)
  }

  /** Records leave so much of a segment that a full one can still take the table that frees another. */
  #tableReserve(): number {
    return this.#tableBatchBytes(tableGrowth)
  }

  // ---- segments ----

  #inUse(): number {
    let count = 0
    for (const { state } of this.#slots) if (state !== 'free' && state !== 'freed') count++
    return count
  }

  /** Those that no table on stable media calls free: what was freed since counts again after a power cut. */
  #taken(): number {
    let count = 0
    for (const { state } of this.#slots) if (state !== 'free') count++
    return count
  }

  #mayBegin(purpose: SegmentPurpose): boolean {
    if (purpose === 'table') return this.#inUse() < this.segmentsMax + segmentsExtra
    return this.#taken() < this.#mostFor(purpose)
  }

  /** Whether records may go into the active segment. */
  #mayHold({ purpose, records }: LogRequest): boolean {
    if (purpose === 'guest') return this.#taken() <= this.#mostFor(this.copying ? 'copy' : 'guest')
    const most = this.copyMost
    const bytes = records.reduce((sum, record) => sum + record.bytes, 0)
    return bytes <= most.bytes && records.length <= most.records
  }

  #mostFor(purpose: LogPurpose): number {
    const most = this.segmentsForRecords
    return purpose === 'copy' ? most : most - 1
  }

  /** Begins the next segment. False: there is no room for one. */
  async #switchSegment(purpose: SegmentPurpose): Promise<boolean> {
    let slot = await this.#prepared(purpose)
    // A preparation begun for guests may have met their limit.
    if (slot === undefined && purpose !== 'guest') slot = await this.#prepared(purpose)
    this.#next = undefined
    if (slot === undefined) return false
    const full = this.#active
    if (full !== undefined) full.state = full.newest.size === 0 ? 'freed' : 'live'
    slot.state = 'active'
    this.#active = slot
    this.#previousEnd = this.#end
    this.#number = 0
    // Fences must outlive the segments that they were written to, and one bad block (I4).
    await this.#writeTable()
    await this.#writeTable()
    this.#onShort(true)
    return true
  }

  async #prepared(purpose: SegmentPurpose): Promise<Slot | undefined> {
    const next = this.#next ?? this.#startPreparing(purpose)
    // It may itself wait for a table, and the writer, which is us, must not wait for it then.
    if (this.#tableWaiters.some(({ forRoom }) => forRoom) && this.#tableFits()) await this.#writeTable()
    else this.#refuseTables(this.#outOfSpace(), ({ forRoom }) => forRoom)
    return await next
  }

  #startPreparing(purpose: SegmentPurpose): Promise<Slot | undefined> {
    const next = this.#prepare(purpose)
    this.#next = next
    next.then(
      (slot) => {
        if (slot === undefined && this.#next === next) this.#next = undefined
      },
      (error: unknown) => this.#fail(error),
    )
    return next
  }

  async #prepare(purpose: SegmentPurpose): Promise<Slot | undefined> {
    if (this.#closed) return undefined
    const isFree = this.#slots.some(({ state }) => state === 'free')
    if (!(isFree && this.#mayBegin(purpose)) && this.#canFree()) {
      try {
        await this.#tableOnce(true)
      } catch (error) {
        if (!hasCode(error, 'OUT_OF_SPACE')) throw error
      }
    }
    if (!this.#mayBegin(purpose)) return undefined
    const slot = this.#takeFree() ?? (await this.#createSlot())
    if (slot === undefined) return undefined
    slot.generation = ++this.#generation
    slot.end = firstBatchOffset
    slot.newest.clear()
    this.#byGeneration.set(slot.generation, slot)
    const header = this.#platform.files.alignedBuffer(blockBytes)
    encodeSegmentHeader(header, {
      generation: slot.generation,
      segmentBytes: this.segmentBytes,
      disk: this.#disk.ref.disk,
      incarnation: this.#disk.ref.incarnation,
    })
    await fileOf(slot).write([header], 0)
    await fileOf(slot).write([header], blockBytes)
    slot.state = 'next'
    return slot
  }

  /** Whether a table, written now, would make a slot free. */
  #canFree(): boolean {
    return (
      this.#active !== undefined && this.#tableFits() && this.#slots.some(({ state }) => state === 'freed')
    )
  }

  #takeFree(): Slot | undefined {
    const slot = this.#slots.find(({ state }) => state === 'free')
    if (slot === undefined) return undefined
    slot.state = 'preparing'
    this.#byGeneration.delete(slot.generation)
    return slot
  }

  async #createSlot(): Promise<Slot | undefined> {
    const taken = new Set(this.#slots.map((slot) => slot.number))
    let number = 0
    while (taken.has(number)) number++
    const slot: Slot = {
      number,
      state: 'preparing',
      generation: 0,
      end: firstBatchOffset,
      newest: new Map(),
    }
    // It counts while it is being made.
    this.#slots.push(slot)
    this.#setAside()
    try {
      slot.file = await this.#createFile(number)
    } catch (error) {
      if (!hasCode(error, 'OUT_OF_SPACE', 'UNAVAILABLE')) throw error
      this.#platform.log.warn('a further segment of the log can not be made', {
        disk: this.#disk.ref.disk,
        error: messageOf(error),
      })
      await this.#disk.remove(segmentName(number))
    }
    if (slot.file !== undefined) return slot
    this.#slots.splice(this.#slots.indexOf(slot), 1)
    this.#setAside()
    return undefined
  }

  /** A file full of zeroes, durable by name; undefined when the log was closed meanwhile: the next start removes what is there. */
  async #createFile(number: number): Promise<DiskFile | undefined> {
    const file = await this.#disk.create(segmentName(number), this.segmentBytes, 'log')
    try {
      for (let at = 0; at < this.segmentBytes && !this.#closed; at += zeroes.length)
        await file.write([zeroes.subarray(0, Math.min(zeroes.length, this.segmentBytes - at))], at)
      if (this.#closed) return undefined
      await file.sync()
      await this.#disk.syncNames(logFolder)
      return await openSegment(this.#disk, number)
    } finally {
      await file.close()
    }
  }

  /** What a full log took beyond its size goes back, and what fences took of a full disk. */
  async #removeSurplus(): Promise<void> {
    while (this.#slots.length > this.segmentsMax || this.#isDiskShort()) {
      const index = this.#slots.findLastIndex(({ state }) => state === 'free')
      if (index < 0) return
      const [slot] = this.#slots.splice(index, 1)
      this.#byGeneration.delete(slot.generation)
      await slot.file?.close()
      this.#setAside()
      await this.#disk.remove(segmentName(slot.number))
    }
  }

  /** It has no room for what fences and restarts need; that it gets back before drains get any. */
  #isDiskShort(): boolean {
    const { capacityBytes, usedBytes } = this.#disk.space()
    return capacityBytes - usedBytes < segmentsExtra * this.segmentBytes
  }

  /**
   * What it may yet take is no room for guests: they find its disk full before that. And what fences and restarts need is nobody's
   * (I10), nor is what a small log needs to be one of four. It follows from the segments that there are: nothing of it is remembered.
   */
  #setAside(): void {
    const { length } = this.#slots
    const yet = Math.max(0, this.segmentsMax + segmentsExtra - length)
    const kept = Math.min(yet, Math.max(segmentsExtra, segmentsMin + segmentsExtra - length))
    this.#disk.setAside(yet * this.segmentBytes, kept * this.segmentBytes)
  }

  // ---- refusing ----

  #outOfSpace(): NdfsError {
    return new NdfsError(
      'OUT_OF_SPACE',
      `Cannot append to the log of disk ${this.#disk.ref.disk}: all segments that it has room for hold records that are not drained`,
      { disk: this.#disk.ref.disk },
    )
  }

  /** All of one purpose at once, so that no record is taken whose predecessor was refused. */
  #refuseQueued(purpose: LogPurpose): void {
    const error = this.#outOfSpace()
    const queued = this.#queue.slice(this.#queueHead)
    this.#queue = queued.filter(({ request }) => request.purpose !== purpose)
    this.#queueHead = 0
    for (const waiting of queued) if (waiting.request.purpose === purpose) this.#refuse(waiting, error)
    if (purpose === 'guest') this.#onShort(false)
  }

  #refuse({ request, written }: Waiting, error: NdfsError): void {
    for (const record of request.records.slice(written)) this.#waitingBytes -= record.bytes
    this.#ended++
    request.failed(error)
  }

  #refuseTables(error: NdfsError, which: (waiter: TableWaiter) => boolean = () => true): void {
    const refused = this.#tableWaiters.filter(which)
    this.#tableWaiters = this.#tableWaiters.filter((waiter) => !which(waiter))
    for (const waiter of refused) waiter.reject(error)
  }

  /** I6: nothing is acknowledged by this log again. */
  #fail(cause: unknown): void {
    // What was being written when it failed elsewhere comes back only now.
    if (this.#failed !== undefined) return this.#refuseAll(this.#failed)
    const error = new NdfsError(
      'DISK_FAILED',
      `Cannot append to the log of disk ${this.#disk.ref.disk}: ${messageOf(cause)}. ` +
        'What it holds is still read; replace the disk.',
      { disk: this.#disk.ref.disk },
      { cause },
    )
    this.#failed = error
    this.#platform.log.error('a log is out of service', {
      disk: this.#disk.ref.disk,
      error: messageOf(cause),
    })
    if (this.#disk.state !== 'failed') this.#disk.fail(cause instanceof Error ? cause : error)
    this.#refuseAll(error)
  }

  #refuseAll(error: NdfsError): void {
    const queued = this.#queue.slice(this.#queueHead)
    this.#queue = []
    this.#queueHead = 0
    for (const waiting of queued) this.#refuse(waiting, error)
    this.#refuseTables(error)
  }
}
