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
import type { SeenRow } from './group-rows.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import { type GroupRow, type PlannedCopy, standingOf } from './rows.ts'
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

type SeenWhole = SeenRow & { readonly row: GroupRow }
const isWhole = (seen: SeenRow): seen is SeenWhole => seen.row?.state === 'whole'

/** The old copy is as good as the new one. */
export const isMove = (cause: Cause): boolean => cause === 'leaving' || cause === 'misplaced'

/** Numbers are drawn at random above those that are known, so that what a repair that failed left behind is in nobody's way. */
const numberStepMax = 2 ** 20
/** Attempts on other disks before a group is set aside. */
const attemptsMax = 3

export class CopyRepair {
  readonly #context: CopyRepairContext
  readonly #underWay = new Map<GroupId, Promise<unknown>>()
  /** Repairs that were asked for and wait, or are under way; by group and number of the copy. */
  readonly #inTurn = new Map<string, Promise<void>>()
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
   * gone is made anew elsewhere, as all are there. Nothing where a repair of the group is under way: that one meets its bad copies itself, and
   * would be told of them without end.
   */
  async repair(group: GroupId, copy: CopyRef): Promise<void> {
    if (this.#context.isGone(copy)) return
    try {
      await this.#alone(group, async () => {
        const seen = await this.#context.index.readFenced(group)
        if (!isWhole(seen) || !namesCopy(seen.row.copies, copy)) return
        const done = (): void => undefined
        await this.#replace(group, seen, copy, { disk: copy, tier: seen.row.tier, done }, 'bad')
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
   * The same for whoever looked for bad copies, and tells of each once: a copy that is being repaired already is waited for, and another one of a
   * group waits for its turn. Resolves when no more is to come of it.
   */
  repairInTurn(group: GroupId, copy: CopyRef): Promise<void> {
    const key = `${group}.${copy.number}`
    const begun = this.#inTurn.get(key)
    if (begun !== undefined) return begun
    const repair = this.#repairAfterOthers(group, copy).finally(() => this.#inTurn.delete(key))
    this.#inTurn.set(key, repair)
    return repair
  }

  async #repairAfterOthers(group: GroupId, copy: CopyRef): Promise<void> {
    for (let other = this.#underWay.get(group); other !== undefined; other = this.#underWay.get(group))
      await other.catch(() => undefined) // whoever began it is told
    await this.repair(group, copy)
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
      const seen = await index.readFenced(group)
      if (!isWhole(seen)) return index.copies.forget(groups.handleOf(group))
      const { copies } = seen.row
      const gone = copies.find(isGone)
      const leaving = copies.find(isLeaving)
      const misplaced = misplacedAmong(copies)
      if (gone !== undefined) await this.#replaceElsewhere(group, seen, gone, 'gone')
      else if (leaving !== undefined) await this.#replaceElsewhere(group, seen, leaving, 'leaving')
      else if (misplaced !== undefined) await this.#replaceElsewhere(group, seen, misplaced, 'misplaced')
      else await this.#settle(group)
    })
  }

  async #replaceElsewhere(
    group: GroupId,
    seen: SeenWhole,
    old: CopyRef,
    what: Exclude<Cause, 'bad'>,
  ): Promise<void> {
    const { placeCopy, suspect } = this.#context
    const { row } = seen
    const beside = row.copies.filter((copy) => copy !== old)
    for (let attempt = 1; ; attempt++) {
      const target = placeCopy(beside, row.checksums.length * pageBytes, row.tier, what)
      try {
        return await this.#replace(group, seen, old, target, what)
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

  async #replace(group: GroupId, seen: SeenWhole, old: CopyRef, target: Target, what: Cause): Promise<void> {
    const { log, row: owned, index, extents, isGone, admit, repaired } = this.#context
    const { layer, extents: runs, checksums, copies } = seen.row
    const bytes = checksums.length * pageBytes
    const trailer = {
      container: owned.state.name,
      layer,
      copies: owned.state.copies,
      extents: runs,
      checksums,
      zeros: seen.row.zeros ?? [],
      standing: standingOf(owned.state),
    }
    const leave = await admit(bytes)
    try {
      const access = { group, vdisk: owned.vdisk, epoch: owned.epoch, copies }
      const last = copies.filter((copy) => namesCopy([old], copy) || isGone(copy))
      let planned: readonly PlannedCopy[] = []
      const arriving = async (): Promise<CopyRef | undefined> => {
        const arrival = await this.#plan(group, copies, target.disk, old)
        if (arrival !== undefined) planned = arrival.planned
        return arrival?.rebuilt
      }
      const rebuilt = await extents.rebuildCopy(access, last, trailer, arriving)
      if (rebuilt === undefined) return
      // The old one is as good as ever: it goes out of the row only for one that is there.
      if (isMove(what) && isGone(rebuilt)) return await this.#settle(group)
      const row = await index.swapCopy(group, seen, old, rebuilt, target.tier)
      if (row === undefined) return await this.#settle(group)
      await this.#settleFrom(group, row, planned)
      repaired(what, bytes)
      if (what === 'bad')
        log.warn(`a bad copy of extent group ${group} was repaired`, { disk: old.disk, node: old.node })
    } finally {
      leave()
    }
  }

  /** The index is to know of a copy on this disk, beside all that it knows of; undefined where the group is gone. */
  async #plan(
    group: GroupId,
    copies: readonly CopyRef[],
    { node, disk, incarnation }: DiskRef,
    old: CopyRef,
  ): Promise<{ readonly rebuilt: CopyRef; readonly planned: readonly PlannedCopy[] } | undefined> {
    const { chance, index, groups } = this.#context
    index.copies.unsettle(groups.handleOf(group))
    let rebuilt: CopyRef | undefined
    const withAnother = (planned: readonly PlannedCopy[]): readonly PlannedCopy[] => {
      const highest = Math.max(...[...planned, ...copies].map(({ number }) => number))
      const number = (highest + 1 + chance.below(numberStepMax)) as CopyNumber
      rebuilt = { node, disk, incarnation, number }
      return [...planned, rebuilt]
    }
    const planned = await index.plan(group, withAnother, [{ node, disk, incarnation }, old])
    return planned === undefined || rebuilt === undefined ? undefined : { rebuilt, planned }
  }

  /** As row and index say, read now: for whoever does not know what became of a repair. */
  async #settle(group: GroupId): Promise<void> {
    const { index, groups } = this.#context
    const { row } = await index.readFenced(group)
    if (row?.state !== 'whole') return index.copies.forget(groups.handleOf(group))
    await this.#settleFrom(group, row, (await index.planned(group)) ?? [])
  }

  /**
   * Unlinks every copy that the index knows of and the row does not name, whoever planned it. What can't be reached stays in the
   * index: it is unlinked when its disk is back. Nobody but us changes either: the row is as we wrote or fenced it, and the group is pinned.
   */
  async #settleFrom(group: GroupId, row: GroupRow, planned: readonly PlannedCopy[]): Promise<void> {
    const { index, groups, isGone, isRemoved } = this.#context
    const handle = groups.handleOf(group)
    const left: PlannedCopy[] = []
    for (const copy of planned) {
      if (namesCopy(row.copies, copy)) continue
      if (isRemoved(copy)) continue
      if (isGone(copy) || !(await this.#unlinked(group, copy))) left.push({ ...copy, left: true })
    }
    const unnamed = planned.length - row.copies.length
    const isNews =
      unnamed !== left.length || planned.some((copy) => !namesCopy(row.copies, copy) && copy.left !== true)
    if (isNews) await index.plan(group, () => [...row.copies, ...left], left)
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
