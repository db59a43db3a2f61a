/**
 * Sequential writes go straight to extent groups (R20, R22): the whole pages to all copies, synced; then one `extent`
 * record through the log says so, and supersedes older bytes because it comes later in the one order.
 *
 * Payloads are given back for reuse once their record is acknowledged: then nothing needs them any more, unless an attempt was given up.
 *
 * Writes that follow each other and wait are merged, up to a group's size: one group, one sync, one record. So a
 * group belongs to exactly one record, and is complete when that is drained (M3, C6). Groups are registered ahead,
 * in the index, before any byte is written.
 */
import { messageOf, NdfsError } from '../../base/errors.ts'
import { cut } from '../../base/joined.ts'
import { giveBack } from '../../base/large-buffers.ts'
import { groupBytesMax, groupPage, pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import type { Log } from '../../platform/platform.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import { encodeExtentPayload, type ExtentPayload } from './extent-payload.ts'
import type { GroupIndex, RegisteredGroup } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import type { Placement } from '../extent-store/extent-store.ts'
import type { VDiskRow } from './vdisk-row.ts'

/** Groups registered at once, and how few may be left before more are: 32 MiB ahead of a stream. */
const registerCount = 8
const spareMin = 4

/** Groups that are written at once. */
const groupsAtOnceMax = 4

/** Attempts on other disks before the write goes through the log instead. */
const attemptsMax = 2

export interface StreamWriterContext {
  readonly log: Log
  readonly row: VDiskRow
  readonly index: GroupIndex
  readonly ledger: GroupLedger
  readonly groups: GroupTable
  readonly extents: ExtentStore
  /** Disks for a group that guests fill. */
  readonly place: () => Placement
  readonly suspect: (disk: string) => void
  /** Puts the record into the order; resolves when it is acknowledged. */
  readonly append: (
    kind: 'extent' | 'data',
    offset: number,
    length: number,
    payload: readonly Buffer[],
  ) => Promise<void>
}

interface Waiting {
  readonly offset: number
  readonly payload: Buffer
  /** Rejects what must not get a place in the order any more. */
  readonly stillWanted: () => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class StreamWriter {
  readonly #context: StreamWriterContext
  #waiting: Waiting[] = []
  #spare: RegisteredGroup[] = []
  #registering: Promise<void> | undefined
  #writing = 0
  readonly #idle: (() => void)[] = []

  constructor(context: StreamWriterContext) {
    this.#context = context
  }

  /** Resolves when the write is acknowledged. `stillWanted` throws where its sender has begun a newer session. */
  write(offset: number, payload: Buffer, stillWanted: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ offset, payload, stillWanted, resolve, reject })
      this.#pump()
    })
  }

  /** Resolves when nothing is under way, groups being registered included. */
  async settled(): Promise<void> {
    while (this.#writing > 0 || this.#registering !== undefined) {
      await this.#registering?.catch(() => undefined)
      if (this.#writing > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
    }
  }

  #pump(): void {
    while (this.#writing < groupsAtOnceMax) {
      const run = this.#takeRun(this.#writing > 0)
      if (run === undefined) return
      this.#writing++
      this.#writeRun(run)
        .then(
          () => run.forEach((write) => write.resolve()),
          (error: unknown) => run.forEach((write) => write.reject(error)),
        )
        .finally(() => {
          this.#writing--
          this.#pump()
          if (this.#writing === 0) for (const resolve of this.#idle.splice(0)) resolve()
        })
    }
  }

  /**
   * The oldest waiting write and those that follow it without a gap, as far as one group goes. A group costs some ten syncs and changes of metadata,
   * however full it is: so beside another it is begun only when it is full, and else what waits is gathered; undefined then.
   */
  #takeRun(onlyFull: boolean): Waiting[] | undefined {
    if (this.#waiting.length === 0) return undefined
    const rest = [...this.#waiting]
    const run = [rest.shift()!]
    let end = run[0].offset + run[0].payload.length
    let bytes = run[0].payload.length
    let isFull = false
    while (!isFull) {
      const next = rest.findIndex((write) => write.offset === end)
      isFull = bytes + (rest[next]?.payload.length ?? 1) > groupBytesMax
      if (next < 0 || isFull) break
      const [write] = rest.splice(next, 1)
      run.push(write)
      end += write.payload.length
      bytes += write.payload.length
    }
    if (onlyFull && !isFull) return undefined
    this.#waiting = rest
    return run
  }

  async #writeRun(run: readonly Waiting[]): Promise<void> {
    const offset = run[0].offset
    const parts = run.map((write) => write.payload)
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    let payload: ExtentPayload
    let used: RegisteredGroup[]
    let attempts: number
    try {
      ;({ payload, used, attempts } = await this.#writePages(offset, length, parts))
    } catch (error) {
      this.#context.log.debug('a stream goes through the log', { reason: messageOf(error) })
      for (const write of run) write.stillWanted()
      await Promise.all(
        run.map((write) => this.#context.append('data', write.offset, write.payload.length, [write.payload])),
      )
      return
    }
    try {
      for (const write of run) write.stillWanted()
    } catch (error) {
      for (const group of used) this.#giveUp(group)
      throw error
    }
    // From here on the record keeps its groups: the pins are its own until it is drained.
    await this.#context.append('extent', offset, length, encodeExtentPayload(payload))
    // What was given up may still send, or write, from there.
    if (attempts === payload.pieces.length) for (const part of parts) giveBack(part)
  }

  async #writePages(
    offset: number,
    length: number,
    parts: readonly Buffer[],
  ): Promise<{ payload: ExtentPayload; used: RegisteredGroup[]; attempts: number }> {
    const firstWhole = Math.ceil(offset / pageBytes)
    const pastWhole = Math.floor((offset + length) / pageBytes)
    const bytes = wholePages(offset, parts)
    // Copies: the record keeps them until it is drained, and must not keep the pages in memory with them (I9).
    const head = Buffer.concat(cut(bytes, 0, firstWhole * pageBytes - offset))
    const tail = Buffer.concat(cut(bytes, pastWhole * pageBytes - offset, length))
    const used: RegisteredGroup[] = []
    const pieces: Promise<{ piece: ExtentPayload['pieces'][number]; attempts: number }>[] = []
    for (let page = firstWhole; page < pastWhole; page += pagesPerGroupMax) {
      const past = Math.min(page + pagesPerGroupMax, pastWhole)
      pieces.push(
        this.#writeGroup(page, cut(bytes, page * pageBytes - offset, past * pageBytes - offset), used),
      )
    }
    const results = await Promise.allSettled(pieces)
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) {
      for (const group of used) this.#giveUp(group)
      throw failed.reason
    }
    const written = await Promise.all(pieces)
    const attempts = written.reduce((sum, one) => sum + one.attempts, 0)
    return { payload: { head, tail, pieces: written.map(({ piece }) => piece) }, used, attempts }
  }

  async #writeGroup(
    page: number,
    pages: readonly Buffer[],
    used: RegisteredGroup[],
  ): Promise<{ piece: ExtentPayload['pieces'][number]; attempts: number }> {
    for (let attempt = 1; ; attempt++) {
      const group = await this.#takeSpare()
      try {
        const checksums = await this.#context.extents.write(
          {
            group: group.id,
            vdisk: this.#context.row.vdisk,
            epoch: this.#context.row.epoch,
            copies: group.copies,
          },
          groupPage(0),
          pages,
          'guest',
        )
        used.push(group)
        this.#context.groups.hold(group.handle, { copies: group.copies, checksums })
        return { piece: { group: group.id, copies: group.copies, page, at: 0, checksums }, attempts: attempt }
      } catch (error) {
        this.#giveUp(group)
        if (error instanceof NdfsError && typeof error.facts.disk === 'string')
          this.#context.suspect(error.facts.disk)
        // What was registered ahead may name the same disk.
        for (const spare of this.#spare.splice(0)) this.#giveUp(spare)
        if (attempt === attemptsMax) throw error
      }
    }
  }

  async #takeSpare(): Promise<RegisteredGroup> {
    while (this.#spare.length === 0) await this.#register()
    const group = this.#spare.shift()!
    if (this.#spare.length < spareMin) this.#register().catch(() => undefined) // the next that needs one tries again
    return group
  }

  #register(): Promise<void> {
    this.#registering ??= this.#registerNow().finally(() => (this.#registering = undefined))
    return this.#registering
  }

  async #registerNow(): Promise<void> {
    const placements = Array.from({ length: registerCount }, () => this.#context.place().disks)
    const registered = await this.#context.index.register(placements)
    this.#spare.push(...registered)
  }

  #giveUp(group: RegisteredGroup): void {
    this.#context.groups.release(group.handle)
    this.#context.ledger.unpin(group.handle)
  }
}

/** The bytes as buffers of whole pages, where they come so (a guest's large writes mostly do); else as one. */
function wholePages(offset: number, parts: readonly Buffer[]): readonly Buffer[] {
  const whole = offset % pageBytes === 0 && parts.slice(0, -1).every((part) => part.length % pageBytes === 0)
  return whole ? parts : [Buffer.concat(parts)]
}
