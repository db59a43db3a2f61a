/**
 * The rows of a vDisk's extent groups in Medusa, in the order that keeps I3 and I7:
 *
 *   index row (the copies planned) → files → group row `whole` → map
 *   group row `deleting` → grace → files gone → group row gone → index row gone
 *   a copy is bad or gone: index row (and the new copy) → its file → group row (and not the old one) → files that it doesn't name gone
 *
 * A row in the index without a group row is an *open* group, its owner's alone (M3).
 */
import { assert } from '../../base/assert.ts'
import { atOnce } from '../../base/at-once.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import {
  type CopyNumber,
  type DiskRef,
  groupIdOf,
  type GroupId,
  partsOfGroupId,
  sameDisk,
} from '../../base/ids.ts'
import type { Tier } from '../../disk/disk.ts'
import type { Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { diskOf, GroupCopies, namesCopy } from './group-copies.ts'
import type { GroupLedger } from './group-ledger.ts'
import {
  byPartition,
  type Decide,
  GroupRows,
  readGroupRow,
  readGroupRows,
  type SeenRow,
} from './group-rows.ts'
import type { GroupTable } from './group-table.ts'
import { type MedusaAccess, OwnedPartition } from './owned-partition.ts'
import {
  decodeLeftBehind,
  decodePlannedCopies,
  encodeLeftBehind,
  encodePlannedCopies,
  groupKeysEnd,
  groupPartition,
  type GroupRow,
  groupsBeside,
  groupsOfPartition,
  leftBehindRowKey,
  type PlannedCopy,
} from './rows.ts'
import type { VDiskRow } from './vdisk-row.ts'

/** A registered group: its row is in the index, so its files can be found whatever happens. */
export interface RegisteredGroup {
  readonly id: GroupId
  readonly handle: GroupHandle
  readonly copies: readonly CopyRef[]
}

/** A change of what the index says of one group, which waits for the one before. */
interface Plan {
  readonly id: GroupId
  readonly next: (planned: readonly PlannedCopy[]) => readonly PlannedCopy[]
  readonly unnamed: readonly DiskRef[]
  readonly resolve: (planned: readonly PlannedCopy[] | undefined) => void
  readonly reject: (error: unknown) => void
}

export class GroupIndex {
  readonly #access: MedusaAccess
  readonly #row: VDiskRow
  readonly #groups: GroupTable
  readonly #extents: ExtentStore
  readonly #ledger: GroupLedger
  readonly #rows: GroupRows
  /** Where the copies of whole groups lie. */
  readonly copies = new GroupCopies()
  /** A group has become whole, with these copies. */
  onWhole: (copies: readonly CopyRef[]) => void = () => undefined
  #partition: Promise<OwnedPartition> | undefined
  /** What the row says of disks with copies that no group's row names; undefined: it was not read yet. */
  #left: readonly DiskRef[] | undefined
  #plans: Plan[] = []
  #counter = 0
  /** Up to here registering was ended, well or not. */
  #registered = 0
  /** Registered here, and their completion was not begun. */
  readonly #open = new Set<GroupId>()

  constructor(
    access: MedusaAccess,
    row: VDiskRow,
    groups: GroupTable,
    ledger: GroupLedger,
    extents: ExtentStore,
  ) {
    this.#ledger = ledger
    this.#access = access
    this.#row = row
    this.#groups = groups
    this.#extents = extents
    this.#rows = new GroupRows(access, row)
  }

  /** Registers groups on these disks, durably, before their first byte is written. Each comes pinned: its user unpins it. */
  async register(placements: readonly (readonly DiskRef[])[]): Promise<RegisteredGroup[]> {
    const registered = placements.map((disks) => {
      const id = groupIdOf(this.#row.vdisk, this.#row.epoch, ++this.#counter)
      if (groupPartition(id).key === id) this.#rows.begin(id)
      const copies = disks.map(({ node, disk, incarnation }, i) => ({
        node,
        disk,
        incarnation,
        number: (i + 1) as CopyNumber,
      }))
      return { id, handle: this.#groups.handleOf(id), copies }
    })
    const through = this.#counter
    // Before the row can be seen: whoever counts groups meanwhile must not take them for dead.
    for (const { handle } of registered) {
      this.#ledger.registered(handle)
      this.#ledger.pin(handle)
    }
    try {
      const partition = await this.#owned()
      await partition.serial.run(() =>
        partition.change(
          registered.map(({ id, copies }) => ({ key: id, value: encodePlannedCopies(copies) })),
        ),
      )
    } catch (error) {
      for (const { handle } of registered) this.#ledger.unpin(handle)
      throw error
    } finally {
      // One after the other, as the index is changed.
      this.#registered = through
    }
    for (const { id } of registered) this.#open.add(id)
    return registered
  }

  /** Nobody under this ownership or an earlier one can have completed the group: it was registered here, and its completion was not begun. */
  isOpen(id: GroupId): boolean {
    return this.#open.has(id)
  }

  /** The group is on stable media as the row says. Inserted once. */
  async complete(id: GroupId, row: GroupRow): Promise<void> {
    // Whole already: this drain was begun before, by us or by an earlier owner whose record we drain again. Its copies may have been moved
    // since: what the row says holds, not what the record said.
    const now = await this.#rows.change(
      id,
      (there) => there ?? row,
      () => (this.#open.delete(id) ? 'none' : undefined),
    )
    // Or it was found dead: nothing may name it (M3).
    if (now?.state !== 'whole')
      throw new NdfsError('FENCED', `Cannot complete group ${id}: it was given up, and is being deleted`, {
        epoch: this.#row.epoch,
        group: id,
      })
    const handle = this.#groups.handleOf(id)
    this.#groups.remember(handle, now)
    this.copies.known(handle, now.copies)
    this.onWhole(now.copies)
  }

  /** The copies that the index knows of, also those of repairs that came to nothing; undefined where it has no such group. */
  async planned(id: GroupId): Promise<readonly PlannedCopy[] | undefined> {
    return (await this.#plannedOf([id])).get(id)
  }

  async #plannedOf(ids: readonly GroupId[]): Promise<ReadonlyMap<string, readonly PlannedCopy[]>> {
    if (ids.length === 0) return new Map()
    const partition = await this.#owned()
    const rows: readonly Row[] = await partition.read(ids)
    return new Map(rows.map(({ key, value }) => [key, decodePlannedCopies(value)]))
  }

  /**
   * Says which copies the group has or is about to have, durably: before the first byte of a new one. `next`: from those that are planned
   * now. `unnamed`: the disks of those that its row does not name, or soon will not. Resolves to what is planned then; undefined where the
   * group is gone. What comes while another change is under way is written together.
   */
  plan(
    id: GroupId,
    next: Plan['next'],
    unnamed: readonly DiskRef[] = [],
  ): Promise<readonly PlannedCopy[] | undefined> {
    return new Promise((resolve, reject) => {
      this.#plans.push({ id, next, unnamed, resolve, reject })
      if (this.#plans.length === 1) void this.#writePlans()
    })
  }

  async #writePlans(): Promise<void> {
    let plans: Plan[] = []
    try {
      const partition = await this.#owned()
      const planned = await partition.serial.run(() => {
        plans = this.#plans
        this.#plans = []
        return this.#writeTogether(partition, plans)
      })
      for (const { id, resolve } of plans) resolve(planned.get(id))
    } catch (error) {
      // Before it was their turn they wait still.
      if (plans.length === 0) plans = this.#plans.splice(0)
      for (const { reject } of plans) reject(error)
    }
  }

  async #writeTogether(
    partition: OwnedPartition,
    plans: readonly Plan[],
  ): Promise<ReadonlyMap<string, readonly PlannedCopy[]>> {
    const ids = [...new Set(plans.map(({ id }) => id))]
    const rows = await partition.read(this.#left === undefined ? [...ids, leftBehindRowKey] : ids)
    this.#sawLeft(rows)
    const planned = new Map<string, readonly PlannedCopy[]>()
    for (const { key, value } of rows)
      if (key !== leftBehindRowKey) planned.set(key, decodePlannedCopies(value))
    const before = this.#left ?? []
    const left = [...before]
    for (const { id, next, unnamed } of plans) {
      const copies = planned.get(id)
      if (copies === undefined) continue
      planned.set(id, next(copies))
      for (const disk of unnamed) if (!left.some((one) => sameDisk(one, disk))) left.push(diskOf(disk))
    }
    if (planned.size === 0) return planned
    await partition.change([
      ...[...planned].map(([key, copies]) => ({ key, value: encodePlannedCopies(copies) })),
      ...(left.length > before.length ? [{ key: leftBehindRowKey, value: encodeLeftBehind(left) }] : []),
    ])
    this.#left = left
    return planned
  }

  /** Disks that may hold copies which no row names, to be told to whoever looks without owning the vDisk. */
  async leaveBehind(disks: readonly DiskRef[]): Promise<void> {
    const partition = await this.#owned()
    await partition.serial.run(async () => {
      if (this.#left === undefined) this.#sawLeft(await partition.read([leftBehindRowKey]))
      const before = this.#left ?? []
      const same =
        before.length === disks.length && disks.every((disk) => before.some((one) => sameDisk(one, disk)))
      if (same) return
      if (disks.length === 0) await partition.change([], [leftBehindRowKey])
      else await partition.change([{ key: leftBehindRowKey, value: encodeLeftBehind(disks) }])
      this.#left = [...disks]
    })
  }

  #sawLeft(rows: readonly Row[]): void {
    if (this.#left !== undefined) return
    const row = rows.find(({ key }) => key === leftBehindRowKey)
    this.#left = row === undefined ? [] : decodeLeftBehind(row.value)
  }

  /** Every group with a row in the index, and its copies there, in pages. */
  async *all(): AsyncGenerator<{ readonly id: GroupId; readonly copies: readonly PlannedCopy[] }> {
    const partition = await this.#owned()
    for await (const row of partition.scan('', groupKeysEnd))
      yield { id: row.key as GroupId, copies: decodePlannedCopies(row.value) }
  }

  /** Rows of groups that are to be freed, as they stay until they are marked: nobody under an earlier epoch changes them any more, or puts one. */
  rowsToFree(ids: Iterable<GroupId>): Promise<ReadonlyMap<GroupId, SeenRow>> {
    return this.#rows.readToPut(ids)
  }

  /** The first step of deletion, of groups whose rows are as they were seen (`rowsToFree`). Nothing where no row names one any more. */
  async markDeleting(seen: ReadonlyMap<GroupId, SeenRow>): Promise<void> {
    const planned = await this.#plannedOf(
      [...seen].flatMap(([id, { row }]) => (row === undefined ? [id] : [])),
    )
    const { layer } = this.#row.state
    const none = { layer, tier: 'flash', extents: [], checksums: new Uint32Array(0) } as const
    await atOnce([...seen], seen.size, async ([id, one]) => {
      this.#open.delete(id)
      const marked: Decide = (row) => {
        if (row?.state === 'deleting') return row
        const copies = row?.copies ?? planned.get(id)
        return copies && { ...none, ...row, copies, state: 'deleting' }
      }
      await this.#rows.change(id, marked, () => one)
    })
  }

  /**
   * The last steps, after the grace: reads again, serially, that the rows still are as we marked them, unlinks exactly their copies, then
   * removes the rows. What has a copy that could not be reached is not in the answer: its rows stay, and it is tried again later.
   */
  async finishDeletion(ids: readonly GroupId[]): Promise<GroupId[]> {
    const gone: GroupId[] = []
    const registered = this.#registered
    const partitions = byPartition(ids)
    // Also what repairs that came to nothing have left; and who else is in the partition.
    const planned = await this.#plannedOf(partitions.flatMap(([one]) => groupsBeside(one)))
    try {
      for (const some of partitions) {
        const seen = await this.#rows.readToPut(some)
        const unlinked: GroupId[] = []
        for (const id of some) {
          const row = seen.get(id)?.row
          // Without a row, and yet with copies: another owner has unlinked what it knew of. They are marked anew.
          if (row === undefined && !planned.has(id)) gone.push(id)
          if (row?.state === 'deleting' && (await this.#unlink(id, row.copies, planned.get(id) ?? [])))
            unlinked.push(id)
        }
        if (unlinked.length === 0) continue
        const beside = groupsBeside(some[0])
        const areLast = beside.every((id) => !planned.has(id) || unlinked.includes(id))
        await this.#rows.remove(unlinked, areLast && this.#isFinished(beside.at(-1)!, registered))
        gone.push(...unlinked)
      }
    } finally {
      // Also where the rest failed: what is in the index is marked again, and a partition that was dropped must not come again under its name.
      await this.#forget(gone)
    }
    return gone
  }

  async #forget(gone: readonly GroupId[]): Promise<void> {
    if (gone.length === 0) return
    const partition = await this.#owned()
    await partition.serial.run(() => partition.change([], gone))
    for (const id of gone) {
      this.copies.forget(this.#groups.handleOf(id))
      this.#open.delete(id)
    }
  }

  /** No group up to this one, the last of a partition, will be registered that was not when the index was read; `registered`: how far that was. */
  #isFinished(last: GroupId, registered: number): boolean {
    const { epoch, counter } = partsOfGroupId(last)
    if (epoch < this.#row.epoch || counter <= registered) return true
    if (this.#counter > registered) return false
    // So that the partition goes, and doesn't stay behind without rows if this ownership ends here.
    this.#counter = this.#registered = counter
    return true
  }

  /** Every copy that its row or the index names; false where one can't be reached. */
  async #unlink(id: GroupId, named: readonly CopyRef[], planned: readonly CopyRef[]): Promise<boolean> {
    const copies = [...named, ...planned.filter((copy) => !namesCopy(named, copy))]
    const removed = await Promise.allSettled(
      copies.map((copy) => this.#extents.remove(id, copy, this.#row.epoch)),
    )
    const failed = removed.find((result) => result.status === 'rejected')
    if (failed === undefined) return true
    this.#access.platform.log.debug(`group ${id} is not freed yet`, { reason: messageOf(failed.reason) })
    return false
  }

  /**
   * Swaps one copy, which is bad or gone, for another on this tier, in the row and on condition that it is as it was seen. The row as it
   * is then; undefined where it has moved on.
   */
  async swapCopy(
    id: GroupId,
    seen: SeenRow,
    old: CopyRef,
    rebuilt: CopyRef,
    tier: Tier,
  ): Promise<GroupRow | undefined> {
    const copies = seen.row?.copies ?? []
    assert(
      seen.row?.state === 'whole' && namesCopy(copies, old),
      () => `a copy of group ${id} is swapped that its row does not name`,
    )
    const swapped = copies.map((copy) => (namesCopy([old], copy) ? rebuilt : copy))
    assert(
      new Set(swapped.map(({ node }) => node)).size === swapped.length,
      () => `two copies of group ${id} on one node (I1)`,
    )
    let isSwapped = false
    const now = await this.#rows.change(
      id,
      (row) => {
        isSwapped = row?.state === 'whole' && row.copies.every((copy) => namesCopy(copies, copy))
        if (row === undefined || !isSwapped) return row
        // Copies come before tiers (I8).
        return { ...row, copies: swapped, ...(tier === row.tier ? {} : { tier: 'hdd', mixed: true }) }
      },
      () => seen,
    )
    if (now === undefined || !isSwapped) return undefined
    this.#groups.remember(this.#groups.handleOf(id), now)
    return now
  }

  /**
   * The group's row, which nobody under an earlier epoch changes any more: what is unlinked on its word was not named by a change that
   * is still on its way.
   */
  readFenced(id: GroupId): Promise<SeenRow> {
    return this.#rows.readFenced(id)
  }

  /** The group's row, read now. */
  read(id: GroupId): Promise<GroupRow | undefined> {
    return readGroupRow(this.#access.medusa, id)
  }

  /** The same of many. */
  readAll(ids: readonly GroupId[]): Promise<ReadonlyMap<GroupId, GroupRow>> {
    return readGroupRows(this.#access.medusa, ids)
  }

  #owned(): Promise<OwnedPartition> {
    this.#partition ??= OwnedPartition.raise(this.#access, groupsOfPartition(this.#row.vdisk), this.#row)
    this.#partition.catch(() => (this.#partition = undefined))
    return this.#partition
  }
}
