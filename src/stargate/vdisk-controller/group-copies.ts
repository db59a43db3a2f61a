/**
 * On which disks the copies of a vDisk's extent groups lie, in memory: so that whoever hears of a disk's death knows at once
 * what it took. From one scan of the index after the claim, and then from the owner's own changes.
 *
 *  (none)    → unsettled   the index names more copies than asked for, and the row has to say which count   [surveyed]
 *  (none)    → known       [surveyed, known]
 *  unsettled → known       the row was read                                                                 [known]
 *  any       → (none)      it is freed, or turned out to have no row                                        [forget]
 *
 * Groups that are open are not here: their undrained records know where they lie. A group costs a few numbers: groups on the same
 * disks share what says so.
 */
import { type DiskRef, sameDisk } from '../../base/ids.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import type { PlannedCopy } from './rows.ts'

/** Copies of a group are gone. */
export interface Loss {
  /** Copies that are there. */
  readonly left: number
  /** Some copy may be read, if only from a disk that has failed. */
  readonly isReadable: boolean
}

export interface Endangered extends Loss {
  readonly group: GroupHandle
}

export class GroupCopies {
  readonly #placements: (readonly DiskRef[])[] = []
  readonly #placementOf = new Map<string, number>()
  readonly #known = new Map<GroupHandle, number>()
  readonly #unsettled = new Set<GroupHandle>()
  /** Copies that no row names, and that could not be unlinked yet. */
  readonly #leftBehind = new Map<GroupHandle, readonly DiskRef[]>()

  has(group: GroupHandle): boolean {
    return this.#known.has(group) || this.#unsettled.has(group)
  }

  /** As the index has it. What the owner knows already from the row stands. */
  surveyed(group: GroupHandle, planned: readonly PlannedCopy[], copiesWanted: number): void {
    if (this.has(group)) return
    const named = planned.filter(({ left }) => left !== true)
    if (named.length > copiesWanted) this.#unsettled.add(group)
    else
      this.known(
        group,
        named,
        planned.filter(({ left }) => left === true),
      )
  }

  /** As the row has it; `leftBehind`: copies in the index that it doesn't name. */
  known(group: GroupHandle, copies: readonly DiskRef[], leftBehind: readonly DiskRef[] = []): void {
    this.#unsettled.delete(group)
    this.#known.set(group, this.#placement(copies))
    if (leftBehind.length > 0) this.#leftBehind.set(group, leftBehind)
    else this.#leftBehind.delete(group)
  }

  /** A copy is about to be made that the row doesn't name yet: whatever becomes of that, the row has to be read. */
  unsettle(group: GroupHandle): void {
    this.#unsettled.add(group)
  }

  isUnsettled(group: GroupHandle): boolean {
    return this.#unsettled.has(group)
  }

  forget(group: GroupHandle): void {
    this.#known.delete(group)
    this.#unsettled.delete(group)
    this.#leftBehind.delete(group)
  }

  /** Groups that have lost copies. */
  endangered(isGone: (disk: DiskRef) => boolean, mayBeRead: (disk: DiskRef) => boolean): Endangered[] {
    const seen = this.#placements.map((disks) => lossOf(disks, isGone, mayBeRead))
    const endangered: Endangered[] = []
    for (const [group, placement] of this.#known) {
      const loss = seen[placement]
      if (loss !== undefined) endangered.push({ group, ...loss })
    }
    return endangered
  }

  /** What the group has lost; undefined where that is nothing. */
  lossOf(
    group: GroupHandle,
    isGone: (disk: DiskRef) => boolean,
    mayBeRead: (disk: DiskRef) => boolean,
  ): Loss | undefined {
    const placement = this.#known.get(group)
    return placement === undefined ? undefined : lossOf(this.#placements[placement], isGone, mayBeRead)
  }

  /** Groups that are to move, as `lineOf` says of the disks that their copies are on: undefined where they stay. */
  toMove(
    lineOf: (disks: readonly DiskRef[]) => number | undefined,
  ): { readonly group: GroupHandle; readonly line: number }[] {
    const lines = this.#placements.map(lineOf)
    return [...this.#known].flatMap(([group, placement]) => {
      const line = lines[placement]
      return line === undefined ? [] : [{ group, line }]
    })
  }

  /** Where the group's copies lie, as its row had it; undefined where that is not known. */
  disksOf(group: GroupHandle): readonly DiskRef[] | undefined {
    const placement = this.#known.get(group)
    return placement === undefined ? undefined : this.#placements[placement]
  }

  /** Groups whose index row says more than their row does, and something can be done about it. */
  toSettle(isGone: (disk: DiskRef) => boolean): GroupHandle[] {
    const back = [...this.#leftBehind.keys()].filter(
      (group) => !this.#unsettled.has(group) && this.isToSettle(group, isGone),
    )
    return [...this.#unsettled, ...back]
  }

  isToSettle(group: GroupHandle, isGone: (disk: DiskRef) => boolean): boolean {
    return this.#unsettled.has(group) || this.#leftBehind.get(group)?.every(isGone) === false
  }

  /** Disks that may hold copies which no row names; undefined while that is not known. */
  disksLeftBehind(): DiskRef[] | undefined {
    if (this.#unsettled.size > 0) return undefined
    const disks: DiskRef[] = []
    for (const left of this.#leftBehind.values())
      for (const disk of left) if (!disks.some((one) => sameDisk(one, disk))) disks.push(diskOf(disk))
    return disks
  }

  #placement(copies: readonly DiskRef[]): number {
    const disks = copies.map(diskOf)
    const key = disks.map(({ node, disk, incarnation }) => `${node} ${disk} ${incarnation}`).join(' ')
    let placement = this.#placementOf.get(key)
    if (placement === undefined) {
      placement = this.#placements.length
      this.#placements.push(disks)
      this.#placementOf.set(key, placement)
    }
    return placement
  }
}

function lossOf(
  disks: readonly DiskRef[],
  isGone: (disk: DiskRef) => boolean,
  mayBeRead: (disk: DiskRef) => boolean,
): Loss | undefined {
  const left = disks.filter((disk) => !isGone(disk)).length
  return left === disks.length ? undefined : { left, isReadable: left > 0 || disks.some(mayBeRead) }
}

export const diskOf = ({ node, disk, incarnation }: DiskRef): DiskRef => ({ node, disk, incarnation })

export const namesCopy = (copies: readonly CopyRef[], copy: CopyRef): boolean =>
  copies.some((one) => sameDisk(one, copy) && one.number === copy.number)
