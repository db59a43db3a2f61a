/**
 * What one vDisk's owner has to repair: its extent groups with copies on disks that are gone, the most endangered first, and copies
 * that no row names any more, on disks that are there (I1, I7, DESIGN section 9).
 *
 *   what is gone has changed, or a group became whole too late ─▶ look ─▶ the list, made anew ─▶ repair line ─▶ workOne, one by one
 *   a group can't be repaired now ─▶ set aside; looked at again after a growing pause, and whenever anything changes
 *
 * The list is in memory alone: it is read off from where the copies lie, and whoever owns the vDisk next reads it off again. Without anything
 * gone there is no list, and nothing is looked at.
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef } from '../../base/ids.ts'
import { pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import type { Clock, Log, Timer } from '../../platform/platform.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRepair } from './copy-repair.ts'
import type { GroupIndex } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import type { RepairList } from './vdisk-controller.ts'
import type { VDiskRow } from './vdisk-row.ts'

/** What is set aside waits, the first time and at most. */
const retryMs = 1000
const retryMsMax = 30_000

export interface VDiskRepairContext {
  readonly clock: Clock
  readonly log: Log
  readonly row: VDiskRow
  readonly index: GroupIndex
  readonly ledger: GroupLedger
  readonly groups: GroupTable
  readonly copies: CopyRepair
  readonly isGone: (disk: DiskRef) => boolean
  /** It is gone, and may be read all the same. */
  readonly mayBeRead: (disk: DiskRef) => boolean
  /** Some disk of the cluster is gone. */
  readonly isAnyGone: () => boolean
  /** There is work: see `next`. */
  readonly wake: () => void
  /** A group that died while it was repaired is freed. */
  readonly freeDead: () => void
  /** The ownership is over. */
  readonly over: (error: Error) => void
}

interface Wanted {
  /** Copies that are there; as many as asked for where only something is to be unlinked. */
  readonly left: number
  readonly bytes: number
}

export class VDiskRepair {
  readonly #context: VDiskRepairContext
  /** By copies left; the last one first. What is taken off is still in `#wanted`. */
  #lines: GroupHandle[][] = []
  #wanted = new Map<GroupHandle, Wanted>()
  /** They could not be repaired now. */
  readonly #aside = new Set<GroupHandle>()
  #underWay = 0
  #survey: Promise<void> | undefined
  #surveyed = false
  #looking = false
  /** The last look failed: nobody knows whether there is something to do. */
  #unknown = false
  #lookAgain = false
  #timer: Timer | undefined
  #pauseMs = 0
  #noRoom = false
  #waitsFor: string | undefined
  #stopped = false

  constructor(context: VDiskRepairContext) {
    this.#context = context
  }

  /** Where all copies lie: one scan of the index for as long as this node owns the vDisk. */
  survey(): Promise<void> {
    this.#survey ??= this.#scan().catch((error: unknown) => {
      this.#survey = undefined
      throw error
    })
    return this.#survey
  }

  async #scan(): Promise<void> {
    const { index, groups, ledger, row } = this.#context
    for await (const { id, copies } of index.all()) {
      const handle = groups.handleOf(id)
      ledger.registered(handle)
      index.copies.surveyed(handle, copies, row.state.copies)
    }
    this.#surveyed = true
    this.look()
  }

  /** A repair has failed, and may have left something behind. */
  lookIfUnsettled(): void {
    const { index, isGone } = this.#context
    if (index.copies.toSettle(isGone).length > 0) this.look()
  }

  /** What is gone has changed, or may have: the list is made anew. */
  look(): void {
    if (this.#stopped) return
    if (this.#looking) {
      this.#lookAgain = true
      return
    }
    if (!this.#surveyed && !this.#context.isAnyGone()) return
    this.#looking = true
    void this.#look()
  }

  async #look(): Promise<void> {
    const { wake } = this.#context
    this.#timer?.cancel()
    this.#timer = undefined
    try {
      do {
        this.#lookAgain = false
        await this.survey()
        this.#unknown = false
        this.#list()
      } while (this.#lookAgain)
      this.#looking = false
      wake()
      if (this.#wanted.size === 0) await this.#done()
    } catch (error) {
      this.#looking = false
      if (!(error instanceof NdfsError)) throw error
      this.#failed(error)
    }
  }

  #list(): void {
    const { index, ledger, row, isGone, mayBeRead, wake } = this.#context
    const { copies } = index
    this.#wanted = new Map()
    this.#lines = []
    this.#aside.clear()
    this.#noRoom = false
    for (const { group, left, isReadable } of copies.endangered(isGone, mayBeRead)) {
      if (ledger.isFreeing(group)) continue
      // Tried when a node is back: that is a change of what is gone.
      if (!isReadable) this.#waitsFor ??= 'no copy of some can be reached. Start nodes that are down'
      this.#add(group, left, this.#bytesOf(group), isReadable)
    }
    for (const group of copies.toSettle(isGone))
      if (!this.#wanted.has(group)) this.#add(group, row.state.copies, 0)
    wake()
  }

  #add(group: GroupHandle, left: number, bytes: number, mayBegin = true): void {
    this.#wanted.set(group, { left, bytes })
    if (mayBegin) (this.#lines[left] ??= []).push(group)
  }

  /** As the row says, where it was read lately; else as many pages as the map names; else as many as there may be. */
  #bytesOf(group: GroupHandle): number {
    const { groups, ledger } = this.#context
    const pages = groups.peek(group)?.checksums.length ?? ledger.pagesNamed(group)
    return (pages > 0 ? pages : pagesPerGroupMax) * pageBytes
  }

  /** Copies left of the most endangered group that can be worked on now; undefined where there is none. */
  get next(): number | undefined {
    if (this.#stopped || this.#noRoom) return undefined
    for (let left = 0; left < this.#lines.length; left++)
      if ((this.#lines[left]?.length ?? 0) > 0) return left
    return undefined
  }

  /** Repairs the most endangered group. Never rejects but for a bug. */
  async workOne(): Promise<void> {
    const { copies, groups, index, log, over, row } = this.#context
    const group = this.#lines[this.next ?? 0]?.pop()
    if (group === undefined) return
    const wanted = this.#wanted
    // One that was freed since has no name any more.
    const id = index.copies.has(group) ? groups.idOf(group) : undefined
    this.#underWay++
    try {
      const gone = id === undefined ? 0 : await copies.makeCopy(id)
      if (gone === undefined) this.#aside.add(group)
      else {
        this.#waitsFor = undefined
        wanted.delete(group)
        // One copy more, and in line with those that have as many.
        if (gone > 0 && wanted === this.#wanted)
          this.#add(group, row.state.copies - gone, this.#bytesOf(group))
      }
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      if (hasCode(error, 'FENCED', 'NOT_OWNER')) return over(error)
      log.debug(`extent group ${id} is not on full copies yet`, { reason: messageOf(error) })
      if (this.#waitsFor === undefined)
        log.warn(`repair of vDisk ${row.vdisk} waits`, { reason: messageOf(error) })
      this.#waitsFor = messageOf(error)
      this.#aside.add(group)
      // What stands in this one's way stands in the way of all; others may have copies that can be read.
      if (hasCode(error, 'OUT_OF_SPACE', 'TOO_FEW_REPLICAS')) this.#noRoom = true
    } finally {
      this.#underWay--
    }
    // The list was made anew meanwhile, and may have this group on it.
    if (wanted !== this.#wanted) return this.look()
    if (this.#stopped || this.#underWay > 0 || this.next !== undefined || this.#looking) return
    if (this.#aside.size > 0) this.#retry()
    else await this.#done().catch((error: unknown) => this.#failed(error as Error))
  }

  /** Nothing is left to do: whoever looks without owning the vDisk is told so. */
  async #done(): Promise<void> {
    const { index, freeDead, isGone } = this.#context
    if (this.#underWay > 0) return
    freeDead()
    this.#waitsFor = undefined
    const left = index.copies.disksLeftBehind()
    if (left === undefined || index.copies.toSettle(isGone).length > 0) return this.#retry()
    this.#pauseMs = 0
    await index.leaveBehind(left)
  }

  #failed(error: Error): void {
    const { over, log, row } = this.#context
    if (hasCode(error, 'FENCED', 'NOT_OWNER')) return over(error)
    if (!(error instanceof NdfsError)) throw error
    this.#unknown = true
    log.debug(`what is to be repaired of vDisk ${row.vdisk} is not known yet`, { reason: messageOf(error) })
    this.#retry()
  }

  #retry(): void {
    if (this.#stopped || this.#timer !== undefined) return
    this.#pauseMs = Math.min(retryMsMax, Math.max(retryMs, 2 * this.#pauseMs))
    this.#timer = this.#context.clock.after(this.#pauseMs, () => {
      this.#timer = undefined
      this.look()
    })
  }

  /** Groups have fewer copies than asked for, or it is not known yet: the vDisk needs its owner. */
  get isNeeded(): boolean {
    if (this.#looking || this.#unknown || this.#underWay > 0) return true
    for (const { bytes } of this.#wanted.values()) if (bytes > 0) return true
    return false
  }

  /** Copies wait to be unlinked. */
  get isUnsettled(): boolean {
    return this.#wanted.size > 0
  }

  /** What is left to do; undefined where nothing is. */
  describe(): RepairList | undefined {
    const asked = this.#context.row.state.copies
    const byCopies: { left: number; groups: number; bytes: number }[] = []
    for (const { left, bytes } of this.#wanted.values()) {
      if (bytes === 0) continue
      let sum = byCopies.find((one) => one.left === left)
      if (sum === undefined) byCopies.push((sum = { left, groups: 0, bytes: 0 }))
      sum.groups++
      sum.bytes += bytes * (asked - left)
    }
    if (byCopies.length === 0) return undefined
    return {
      copies: asked,
      endangered: byCopies.sort((a, b) => a.left - b.left),
      ...(this.#waitsFor === undefined ? {} : { waitsFor: this.#waitsFor }),
    }
  }

  /** Nothing is begun any more. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#context.copies.stop()
  }
}
