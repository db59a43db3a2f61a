/**
 * What one vDisk's owner has to repair: its extent groups with copies on disks that are gone, the most endangered first, and copies
 * that no row names any more, on disks that are there (I1, I7, DESIGN section 9). And behind all that, on all of the node's vDisks, what it
 * has to move: full groups with copies on disks that are being left, and, last of all, those that could lie in more blocks.
 *
 *   what is gone has changed, or a group became whole too late ─▶ look ─▶ the list, made anew ─▶ repair line ─▶ workOne, one by one
 *   a group can't be repaired now ─▶ set aside; looked at again after a growing pause, and whenever anything changes
 *
 * The list is in memory alone: it is read off from where the copies lie, and whoever owns the vDisk next reads it off again. Without anything
 * gone, or being left, there is no list, and nothing is looked at.
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { DiskRef } from '../../base/ids.ts'
import { pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import type { Clock, Log, Timer } from '../../platform/platform.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRepair } from './copy-repair.ts'
import type { Loss } from './group-copies.ts'
import type { GroupIndex } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import type { Leaving } from './leaving.ts'
import type { RepairList } from './vdisk-controller.ts'
import type { VDiskRow } from './vdisk-row.ts'

/** What is set aside waits, the first time and at most. */
const retryMs = 1000
const retryMsMax = 30_000

const unreachable = 'no copy of some can be reached. Start nodes that are down'

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
  /** It is being left, in order. */
  readonly isLeaving: (disk: DiskRef) => boolean
  /** The one of a group's copies that should be in another block. */
  readonly misplacedAmong: Leaving['misplacedAmong']
  /** It never comes back: what is left behind there is as good as unlinked. */
  readonly isRemoved: (disk: DiskRef) => boolean
  /** Some disk of the cluster is gone, or being left, or may be in another block than it was. */
  readonly isAnyGone: () => boolean
  /** There is work: see `next`. */
  readonly wake: () => void
  /** A group that died while it was repaired is freed. */
  readonly freeDead: () => void
  /** The ownership is over. */
  readonly over: (error: Error) => void
}

/** Lines behind this one are of full groups: as many of their copies are to move. More than there ever are copies. */
const moveLine = 8
/** Behind all others those that only should lie in more blocks. */
const misplacedLine = 16

interface Wanted {
  /** Copies that are there; as many as asked for where only something is to be unlinked; else the line of those that are to move. */
  readonly left: number
  /** Zero where only something is to be unlinked. */
  readonly bytes: number
}

export class VDiskRepair {
  readonly #context: VDiskRepairContext
  readonly #wanted = new Map<GroupHandle, Wanted>()
  /** Those of them that can be begun, by copies left; the last one first. */
  #lines: GroupHandle[][] = []
  /** Those of them that could not be repaired a moment ago. */
  readonly #aside = new Set<GroupHandle>()
  /** Work on them was begun, and has not ended; lists made meanwhile leave them to it. */
  readonly #underWay = new Set<GroupHandle>()
  #survey: Promise<void> | undefined
  #surveyed = false
  #looking = false
  /** The last look failed: nobody knows whether there is something to do. */
  #unknown = false
  #lookAgain = false
  #timer: Timer | undefined
  #pauseMs = 0
  #noRoom = false
  /** Why the last group that was set aside was. */
  #reason: string | undefined
  #stopped = false

  constructor(context: VDiskRepairContext) {
    this.#context = context
  }

  /** It is gone, and may come back with what was left behind there. */
  readonly #isAway = (disk: DiskRef): boolean => this.#context.isGone(disk) && !this.#context.isRemoved(disk)

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
    const { index } = this.#context
    if (index.copies.toSettle(this.#isAway).length > 0) this.look()
  }

  /** What is gone has changed, or may have: the list is made anew. */
  look(): void {
    this.#pauseMs = 0
    this.#beginLook()
  }

  #beginLook(): void {
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
    const { index, row, isGone, mayBeRead } = this.#context
    this.#wanted.clear()
    this.#lines = []
    this.#aside.clear()
    this.#noRoom = false
    for (const { group, left, isReadable } of index.copies.endangered(isGone, mayBeRead))
      this.#add(group, left, this.#bytesOf(group), isReadable)
    for (const group of index.copies.toSettle(this.#isAway))
      if (!this.#wanted.has(group)) this.#add(group, row.state.copies, 0, true)
    for (const { group, line } of index.copies.toMove(this.#moveLineOf))
      if (!this.#wanted.has(group)) this.#add(group, line, this.#bytesOf(group), true)
  }

  /** None while a copy is gone: another is made first. */
  readonly #moveLineOf = (disks: readonly DiskRef[]): number | undefined => {
    const { isGone, isLeaving, misplacedAmong } = this.#context
    if (disks.some(isGone)) return undefined
    const leaving = disks.filter(isLeaving).length
    if (leaving > 0) return moveLine + leaving
    return misplacedAmong(disks) === undefined ? undefined : misplacedLine
  }

  /** One of which no copy can be read is tried when a node is back: then what is gone has changed. */
  #add(group: GroupHandle, left: number, bytes: number, isReadable: boolean): void {
    if (this.#context.ledger.isFreeing(group)) return
    this.#wanted.set(group, { left, bytes })
    if (isReadable && !this.#underWay.has(group)) (this.#lines[left] ??= []).push(group)
  }

  /** As the row says, where it was read lately; else as many pages as the map names; else as many as there may be. */
  #bytesOf(group: GroupHandle): number {
    const { groups, ledger } = this.#context
    const pages = groups.peek(group)?.checksums.length ?? ledger.pagesNamed(group)
    return (pages > 0 ? pages : pagesPerGroupMax) * pageBytes
  }

  /** Copies left of the most endangered group that can be worked on now, more where none is; undefined where there is none. */
  get next(): number | undefined {
    if (this.#stopped || this.#noRoom) return undefined
    for (let left = 0; left < this.#lines.length; left++)
      if ((this.#lines[left]?.length ?? 0) > 0) return left
    return undefined
  }

  /** Repairs the most endangered group. Never rejects but for a bug. */
  async workOne(): Promise<void> {
    const group = this.#lines[this.next ?? 0]?.pop()
    if (group === undefined) return
    this.#underWay.add(group)
    const begun = this.#wanted.get(group)
    const error = await this.#work(group).catch((reason: unknown) => {
      if (reason instanceof NdfsError) return reason
      throw reason
    })
    this.#underWay.delete(group)
    if (hasCode(error, 'FENCED', 'NOT_OWNER')) return this.#context.over(error)
    if (error === undefined) this.#worked(group, begun)
    else this.#setAside(group, error)
    if (this.#stopped || this.#looking || this.#isBusy) return
    if (this.#aside.size > 0) this.#retry()
    else await this.#done().catch((reason: unknown) => this.#failed(reason as Error))
  }

  async #work(group: GroupHandle): Promise<undefined> {
    const { copies, groups, index } = this.#context
    // One that was freed since has no name any more.
    if (index.copies.has(group)) await copies.makeCopy(groups.idOf(group))
  }

  /** What is gone may have changed meanwhile, or one of several copies was made: where it stands now counts. */
  #worked(group: GroupHandle, begun: Wanted | undefined): void {
    const { index, row } = this.#context
    const before = this.#wanted.get(group)
    this.#wanted.delete(group)
    const loss = this.#lossOf(group)
    if (loss !== undefined) {
      // Or what it was begun for was something else: it was to move, and a copy died meanwhile.
      const isMade = loss.left !== before?.left || begun?.left !== before.left
      this.#add(group, loss.left, this.#bytesOf(group), isMade && loss.isReadable)
      // Nothing has come of it: it is being freed, or made anew already because it was found to be bad.
      if (!isMade) this.#aside.add(group)
    } else if (index.copies.isToSettle(group, this.#isAway)) {
      this.#add(group, row.state.copies, 0, false)
      this.#aside.add(group)
    }
  }

  #lossOf(group: GroupHandle): Loss | undefined {
    const { index, isGone, mayBeRead } = this.#context
    const loss = index.copies.lossOf(group, isGone, mayBeRead)
    if (loss !== undefined) return loss
    const disks = index.copies.disksOf(group)
    const line = disks === undefined ? undefined : this.#moveLineOf(disks)
    return line === undefined ? undefined : { left: line, isReadable: true }
  }

  #setAside(group: GroupHandle, error: NdfsError): void {
    const { groups, index, log, row } = this.#context
    this.#aside.add(group)
    const id = index.copies.has(group) ? groups.idOf(group) : undefined
    log.debug(`extent group ${id} is not on full copies yet`, { reason: messageOf(error) })
    if (this.#reason === undefined)
      log.warn(`repair of vDisk ${row.vdisk} waits`, { reason: messageOf(error) })
    this.#reason = messageOf(error)
    // What stands in this one's way stands in the way of all; others may have copies that can be read.
    if (hasCode(error, 'OUT_OF_SPACE', 'TOO_FEW_REPLICAS')) this.#noRoom = true
  }

  /** Something is under way, or can be begun. */
  get #isBusy(): boolean {
    return this.#underWay.size > 0 || this.next !== undefined
  }

  /** Nothing is left to do: whoever looks without owning the vDisk is told so. */
  async #done(): Promise<void> {
    const { index, freeDead } = this.#context
    if (this.#underWay.size > 0) return
    freeDead()
    this.#reason = undefined
    const left = index.copies.disksLeftBehind()
    if (left === undefined || index.copies.toSettle(this.#isAway).length > 0) return this.#retry()
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
      this.#beginLook()
    })
  }

  /** Groups have fewer copies than asked for, or some to move, or it is not known yet: the vDisk needs its owner. */
  get isNeeded(): boolean {
    if (this.#looking || this.#unknown || this.#underWay.size > 0) return true
    for (const { left, bytes } of this.#wanted.values())
      if (bytes > 0 && !(left === misplacedLine && this.#noRoom)) return true
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
    const moving = { groups: 0, bytes: 0 }
    for (const { left, bytes } of this.#wanted.values()) {
      if (bytes === 0) continue
      if (left > moveLine) {
        moving.groups++
        moving.bytes += left === misplacedLine ? bytes : bytes * (left - moveLine)
        continue
      }
      let sum = byCopies.find((one) => one.left === left)
      if (sum === undefined) byCopies.push((sum = { left, groups: 0, bytes: 0 }))
      sum.groups++
      sum.bytes += bytes * (asked - left)
    }
    if (byCopies.length === 0 && moving.groups === 0) return undefined
    const waitsFor = this.#isBusy ? undefined : this.#aside.size > 0 ? this.#reason : unreachable
    return {
      copies: asked,
      endangered: byCopies.sort((a, b) => a.left - b.left),
      ...(moving.groups === 0 ? {} : { moving }),
      ...(waitsFor === undefined ? {} : { waitsFor }),
    }
  }

  /** Nothing is begun any more. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#context.copies.stop()
  }
}
