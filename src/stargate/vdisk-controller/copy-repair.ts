/**
 * A copy of an extent group is bad, gone, or on a disk that is being left: another is made under a number of its own, verified and
 * synced, the row is swapped to it, and only then the old one is unlinked (I5, I7, M4). A bad one is made anew on its own disk, the
 * others where placement says.
 * docs/vdisk-protocol.md, "Repair", has each step, and what a crash behind it leaves.
 *
 * The index knows of the new copy before its first byte is written, so that it is found again, by whoever owns the vDisk
 * then, where this repair ends in the middle. One repair of a group at a time: two at once would each judge the other's row.
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { CopyNumber, DiskRef, GroupId } from '../../base/ids.ts'
import { pageBytes } from '../../base/units.ts'
import type { Tier } from '../../disk/disk.ts'
import type { Chance, Log } from '../../platform/platform.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { namesCopy } from './group-copies.ts'
import type { Leaving } from './leaving.ts'
import type { GroupIndex } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import type { GroupRow, PlannedCopy } from './rows.ts'
import type { VDiskRow } from './vdisk-row.ts'

export interface CopyRepairContext {
  readonly chance: Chance
  readonly log: Log
  readonly row: VDiskRow
  readonly index: GroupIndex
  readonly ledger: GroupLedger
  readonly groups: GroupTable
  readonly extents: ExtentStore
  /** See gone-disks.ts: the disk is not there, as far as this node has heard. */
  readonly isGone: (disk: DiskRef) => boolean
  /** It is being left, in order: what is there counts, and is wanted elsewhere. */
  readonly isLeaving: (disk: DiskRef) => boolean
  /** The one of a group's copies that should be in another block. */
  readonly misplacedAmong: Leaving['misplacedAmong']
  /** It never comes back. */
  readonly isRemoved: (disk: DiskRef) => boolean
  /** A disk for another copy beside these, for this cause. Throws where there is none with room. */
  readonly placeCopy: (beside: readonly DiskRef[], bytes: number, tier: Tier, cause: Cause) => Target
  /** The node of this disk failed a write a moment ago. */
  readonly suspect: (disk: string) => void
  readonly admit: (bytes: number) => Promise<() => void>
  readonly repaired: (what: Cause, bytes: number) => void
}

/** Why another copy is made. */
export type Cause = 'bad' | 'gone' | 'leaving' | 'misplaced'

export interface Target {
  readonly disk: DiskRef
  readonly tier: Tier
  /** The copy is written, or given up. */
  readonly done: () => void
}

/** The old copy is as good as the new one. */
export const isMove = (cause: Cause): boolean => cause === 'leaving' || cause === 'misplaced'

/** Numbers are drawn at random above those that are known, so that what a repair that failed left behind is in nobody's way. */
const numberStepMax = 2 ** 20
/** Attempts on other disks before a group is set aside. */
const attemptsMax = 3

export class CopyRepair {
  readonly #context: CopyRepairContext
  readonly #underWay = new Map<GroupId, Promise<unknown>>()
  #stopped = false

  constructor(context: CopyRepairContext) {
    this.#context = context
  }

  /** Nothing is begun any more. */
  stop(): void {
    this.#stopped = true
  }

  /** Resolves when what is under way now has ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#underWay.values())
  }

  /**
   * Repairs a bad copy where the row still names it. What fails is logged, and done when the copy is next met; one on a disk that is
   * gone is made anew elsewhere, as all are there.
   */
  async repair(group: GroupId, copy: CopyRef): Promise<void> {
    if (this.#context.isGone(copy)) return
    try {
      await this.#alone(group, async () => {
        const row = await this.#context.index.read(group)
        if (row?.state !== 'whole' || !namesCopy(row.copies, copy)) return
        const done = (): void => undefined
        await this.#replace(group, row, copy, { disk: copy, tier: row.tier, done }, 'bad')
      })
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      this.#context.log.error(`a bad copy of extent group ${group} could not be repaired`, {
        disk: copy.disk,
        reason: messageOf(error),
      })
    }
  }

  /**
   * Makes one of the group's copies that are gone anew, on a disk that is there, and unlinks what its row doesn't name; where none is
   * gone, one on a disk that is being left, or one that should be in another block. Nothing where it has no row that says `whole`, where a repair of it is under way already,
   * and where it is being freed. Rejects with what stands in the way.
   */
  async makeCopy(group: GroupId): Promise<void> {
    const { index, isGone, isLeaving, misplacedAmong, groups } = this.#context
    await this.#alone(group, async () => {
      // What an attempt before this one left goes first: there are never more than a few.
      if (index.copies.isUnsettled(groups.handleOf(group))) await this.#settle(group)
      const row = await index.read(group)
      if (row?.state !== 'whole') return index.copies.forget(groups.handleOf(group))
      const gone = row.copies.find(isGone)
      const leaving = row.copies.find(isLeaving)
      const misplaced = misplacedAmong(row.copies)
      if (gone !== undefined) await this.#replaceElsewhere(group, row, gone, 'gone')
      else if (leaving !== undefined) await this.#replaceElsewhere(group, row, leaving, 'leaving')
      else if (misplaced !== undefined) await this.#replaceElsewhere(group, row, misplaced, 'misplaced')
      else await this.#settle(group)
    })
  }

  async #replaceElsewhere(
    group: GroupId,
    row: GroupRow,
    old: CopyRef,
    what: Exclude<Cause, 'bad'>,
  ): Promise<void> {
    const { placeCopy, suspect } = this.#context
    const beside = row.copies.filter((copy) => copy !== old)
    for (let attempt = 1; ; attempt++) {
      const target = placeCopy(beside, row.checksums.length * pageBytes, row.tier, what)
      try {
        return await this.#replace(group, row, old, target, what)
      } catch (error) {
        const isTargets = error instanceof NdfsError && error.facts.disk === target.disk.disk
        if (!isTargets || attempt === attemptsMax) throw error
        suspect(target.disk.disk)
      } finally {
        target.done()
      }
    }
  }

  async #alone(group: GroupId, work: () => Promise<void>): Promise<void> {
    const { ledger, groups } = this.#context
    const handle = groups.handleOf(group)
    if (this.#stopped || this.#underWay.has(group) || ledger.isFreeing(handle)) return
    // Else it might be freed meanwhile, by a look at the index before the new copy was in it.
    ledger.pin(handle)
    const done = work().finally(() => {
      this.#underWay.delete(group)
      ledger.unpin(handle)
    })
    this.#underWay.set(group, done)
    await done
  }

  async #replace(group: GroupId, row: GroupRow, old: CopyRef, target: Target, what: Cause): Promise<void> {
    const { chance, log, row: owned, index, groups, extents, isGone, admit, repaired } = this.#context
    const { layer, extents: runs, checksums, copies } = row
    const bytes = checksums.length * pageBytes
    const trailer = {
      container: owned.state.name,
      layer,
      copies: owned.state.copies,
      extents: runs,
      checksums,
      zeros: [],
    }
    const leave = await admit(bytes)
    try {
      const planned = await index.planned(group)
      if (planned === undefined) return
      const highest = Math.max(...[...planned, ...copies].map(({ number }) => number))
      const number = (highest + 1 + chance.below(numberStepMax)) as CopyNumber
      const { node, disk, incarnation } = target.disk
      const rebuilt: CopyRef = { node, disk, incarnation, number }
      const access = { group, vdisk: owned.vdisk, epoch: owned.epoch, copies }
      const last = copies.filter((copy) => namesCopy([old], copy) || isGone(copy))
      const arriving = (): Promise<boolean> => {
        index.copies.unsettle(groups.handleOf(group))
        return index.plan(group, [...planned, rebuilt], [rebuilt, old])
      }
      if (!(await extents.rebuildCopy(access, rebuilt, last, trailer, arriving))) return
      // The old one is as good as ever: it goes out of the row only for one that is there.
      if (isMove(what) && isGone(rebuilt)) return await this.#settle(group)
      const swapped = await index.swapCopy(group, old, rebuilt, target.tier)
      await this.#settle(group)
      if (!swapped) return
      repaired(what, bytes)
      if (what === 'bad')
        log.warn(`a bad copy of extent group ${group} was repaired`, { disk: old.disk, node: old.node })
    } finally {
      leave()
    }
  }

  /**
   * Unlinks every copy that the index knows of and the row does not name, whoever planned it. What can't be reached stays in the
   * index: it is unlinked when its disk is back.
   */
  async #settle(group: GroupId): Promise<void> {
    const { index, groups, isGone, isRemoved } = this.#context
    const handle = groups.handleOf(group)
    const row = await index.readFenced(group)
    if (row?.state !== 'whole') return index.copies.forget(handle)
    const planned = (await index.planned(group)) ?? []
    const left: PlannedCopy[] = []
    for (const copy of planned) {
      if (namesCopy(row.copies, copy)) continue
      if (isRemoved(copy)) continue
      if (isGone(copy) || !(await this.#unlinked(group, copy))) left.push({ ...copy, left: true })
    }
    const unnamed = planned.length - row.copies.length
    const isNews =
      unnamed !== left.length || planned.some((copy) => !namesCopy(row.copies, copy) && copy.left !== true)
    if (isNews) await index.plan(group, [...row.copies, ...left], left)
    index.copies.known(handle, row.copies, left)
  }

  async #unlinked(group: GroupId, copy: CopyRef): Promise<boolean> {
    const { extents, log, row } = this.#context
    try {
      await extents.remove(group, copy, row.epoch)
      return true
    } catch (error) {
      if (!(error instanceof NdfsError) || hasCode(error, 'FENCED', 'NOT_OWNER')) throw error
      log.debug(`a copy of extent group ${group} that counts no more is not unlinked yet`, {
        disk: copy.disk,
        reason: messageOf(error),
      })
      return false
    }
  }
}
