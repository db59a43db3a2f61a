/**
 * The rows of a vDisk's extent groups in Medusa, in the order that keeps I3 and I7:
 *
 *   index row (the copies planned) → files → group row `whole` → map
 *   group row `deleting` → grace → files gone → group row dropped → index row gone
 *   a copy is bad or gone: index row (and the new copy) → its file → group row (and not the old one) → files that it doesn't name gone
 *
 * A row in the index without a group row is an *open* group, its owner's alone (M3).
 */
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { type CopyNumber, type DiskRef, groupIdOf, type GroupId, sameDisk } from '../../base/ids.ts'
import type { Tier } from '../../disk/disk.ts'
import { type Change, changeForCertain, newChangeId, type Row } from '../../medusa/medusa.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { diskOf, GroupCopies, namesCopy } from './group-copies.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { GroupTable } from './group-table.ts'
import { type MedusaAccess, OwnedPartition } from './owned-partition.ts'
import {
  decodeGroupRow,
  decodeLeftBehind,
  decodePlannedCopies,
  encodeGroupRow,
  encodeLeftBehind,
  encodePlannedCopies,
  groupKeysEnd,
  groupPartition,
  groupRowKey,
  type GroupRow,
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

/** A row, and what a change of it is on condition of. */
export interface SeenRow {
  readonly row: GroupRow
  readonly epoch: VDiskRow['epoch']
  readonly version: number
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
  /** Where the copies of whole groups lie. */
  readonly copies = new GroupCopies()
  /** A group has become whole, with these copies. */
  onWhole: (copies: readonly CopyRef[]) => void = () => undefined
  #partition: Promise<OwnedPartition> | undefined
  /** What the row says of disks with copies that no group's row names; undefined: it was not read yet. */
  #left: readonly DiskRef[] | undefined
  #plans: Plan[] = []
  #counter = 0
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
  }

  /** Registers groups on these disks, durably, before their first byte is written. Each comes pinned: its user unpins it. */
  async register(placements: readonly (readonly DiskRef[])[]): Promise<RegisteredGroup[]> {
    const registered = placements.map((disks) => {
      const id = groupIdOf(this.#row.vdisk, this.#row.epoch, ++this.#counter)
      const copies = disks.map(({ node, disk, incarnation }, i) => ({
        node,
        disk,
        incarnation,
        number: (i + 1) as CopyNumber,
      }))
      return { id, handle: this.#groups.handleOf(id), copies }
    })
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
    }
    for (const { id } of registered) this.#open.add(id)
    return registered
  }

  /** Nobody under this ownership or an earlier one can have completed the group: it was registered here, and its completion was not begun. */
  isOpen(id: GroupId): boolean {
    return this.#open.has(id)
  }

  /** The group is on stable media as the row says. Inserted once: version 0 → 1. */
  async complete(id: GroupId, row: GroupRow): Promise<void> {
    this.#open.delete(id)
    const result = await this.#change(id, undefined, {
      put: [{ key: groupRowKey, value: encodeGroupRow(row) }],
    })
    // Whole already: this drain was begun before, by us or by an earlier owner whose record we drain again.
    if (result.outcome === 'conflict') {
      const seen = await this.#readRow(id)
      // Or a later owner has found it dead: nothing under this epoch may name it (M3).
      if (seen?.row.state !== 'whole')
        throw new NdfsError(
          'FENCED',
          `Epoch ${this.#row.epoch} is over: group ${id} was given up by a later owner`,
          {
            epoch: this.#row.epoch,
            group: id,
          },
        )
      // Its copies may have been moved since: what the row says holds, not what the record said.
      row = seen.row
    }
    const handle = this.#groups.handleOf(id)
    this.#groups.remember(handle, row)
    this.copies.known(handle, row.copies)
    this.onWhole(row.copies)
  }

  /** The copies that the index knows of, also those of repairs that came to nothing; undefined where it has no such group. */
  async planned(id: GroupId): Promise<readonly PlannedCopy[] | undefined> {
    return (await this.#plannedOf([id])).get(id)
  }

  async #plannedOf(ids: readonly GroupId[]): Promise<ReadonlyMap<string, readonly PlannedCopy[]>> {
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

  /**
   * The first step of deletion, on condition that the group's row is as it was seen, or that there was none. Nothing where no row names the
   * group any more, or a late completion or a repair came in between: it is dead still, and is found again.
   */
  async markDeleting(id: GroupId, seen: SeenRow | undefined): Promise<void> {
    const copies = seen?.row.copies ?? (await this.planned(id))
    if (copies === undefined) return
    if (seen?.row.state === 'deleting' && seen.epoch === this.#row.epoch) return
    const row: GroupRow = seen?.row ?? {
      layer: this.#row.state.layer,
      tier: 'flash',
      state: 'deleting',
      copies,
      extents: [],
      checksums: new Uint32Array(0),
    }
    await this.#change(id, seen, {
      put: [{ key: groupRowKey, value: encodeGroupRow({ ...row, state: 'deleting' }) }],
    })
  }

  /**
   * The last steps, after the grace: reads again, serially, that the row still is as we marked it, unlinks exactly its copies,
   * then drops the rows. False: a copy could not be reached; the rows stay and it is tried again later.
   */
  async finishDeletion(ids: readonly GroupId[]): Promise<GroupId[]> {
    const gone: GroupId[] = []
    // Also what repairs that came to nothing have left.
    const planned = await this.#plannedOf(ids)
    for (const id of ids) {
      const seen = await this.#readRow(id)
      // Without a row, and yet with copies: another owner has unlinked what it knew of. They are marked anew.
      if (seen === undefined && planned.has(id)) continue
      if (seen !== undefined) {
        if (seen.row.state !== 'deleting' || seen.epoch !== this.#row.epoch) continue
        const left = (planned.get(id) ?? []).filter((copy) => !namesCopy(seen.row.copies, copy))
        const copies = [...seen.row.copies, ...left]
        const removed = await Promise.allSettled(
          copies.map((copy) => this.#extents.remove(id, copy, this.#row.epoch)),
        )
        const failed = removed.find((result) => result.status === 'rejected')
        if (failed !== undefined) {
          this.#access.platform.log.debug(`group ${id} is not freed yet`, {
            reason: messageOf(failed.reason),
          })
          continue
        }
        await this.#change(id, seen, { epoch: seen.epoch, drop: true })
      }
      gone.push(id)
    }
    if (gone.length > 0) {
      const partition = await this.#owned()
      await partition.serial.run(() => partition.change([], gone))
      for (const id of gone) {
        this.copies.forget(this.#groups.handleOf(id))
        this.#open.delete(id)
      }
    }
    return gone
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
    assert(
      seen.row.state === 'whole' && namesCopy(seen.row.copies, old),
      () => `a copy of group ${id} is swapped that its row does not name`,
    )
    const copies = seen.row.copies.map((copy) => (namesCopy([old], copy) ? rebuilt : copy))
    assert(
      new Set(copies.map(({ node }) => node)).size === copies.length,
      () => `two copies of group ${id} on one node (I1)`,
    )
    const row: GroupRow = {
      ...seen.row,
      copies,
      // Copies come before tiers (I8).
      ...(tier === seen.row.tier ? {} : { tier: 'hdd', mixed: true }),
    }
    const result = await this.#change(id, seen, { put: [{ key: groupRowKey, value: encodeGroupRow(row) }] })
    if (result.outcome !== 'applied') return undefined
    this.#groups.remember(this.#groups.handleOf(id), row)
    return row
  }

  /**
   * The group's row, which nobody under an earlier epoch changes any more: what is unlinked on its word was not named by a change that
   * is still on its way.
   */
  async readFenced(id: GroupId): Promise<GroupRow | undefined> {
    for (;;) {
      const seen = await this.readToChange(id)
      if (seen === undefined || seen.epoch === this.#row.epoch) return seen?.row
      await this.#change(id, seen)
    }
  }

  /** The group's row, read now. */
  async read(id: GroupId): Promise<GroupRow | undefined> {
    return (await this.#readRow(id))?.row
  }

  /** For whoever is about to change it: a later owner, who has changed it already, must not be overruled (I4). */
  async readToChange(id: GroupId): Promise<SeenRow | undefined> {
    const seen = await this.#readRow(id)
    if (seen !== undefined && seen.epoch > this.#row.epoch)
      throw new NdfsError(
        'FENCED',
        `Epoch ${this.#row.epoch} is over: group ${id} has epoch ${seen.epoch} of a later owner`,
        { epoch: this.#row.epoch, seen: seen.epoch, group: id },
      )
    return seen
  }

  /** On condition that its row is as it was seen, or that it has had none yet. */
  #change(
    id: GroupId,
    seen: SeenRow | undefined,
    change: Partial<Pick<Change, 'epoch' | 'put' | 'drop'>> = {},
  ): ReturnType<typeof changeForCertain> {
    const { medusa, platform } = this.#access
    const { epoch, version } = seen ?? { epoch: 0 as VDiskRow['epoch'], version: 0 }
    return changeForCertain(
      medusa,
      platform.clock,
      groupPartition(id),
      { id: newChangeId(platform.chance), expected: { epoch, version }, epoch: this.#row.epoch, ...change },
      () => this.#row.alive,
    )
  }

  async #readRow(id: GroupId): Promise<SeenRow | undefined> {
    const seen = await this.#access.medusa.get(groupPartition(id), [groupRowKey])
    if (seen.rows.length === 0) return undefined
    return { row: decodeGroupRow(seen.rows[0].value), epoch: seen.static.epoch, version: seen.static.version }
  }

  #owned(): Promise<OwnedPartition> {
    this.#partition ??= OwnedPartition.raise(this.#access, groupsOfPartition(this.#row.vdisk), this.#row)
    this.#partition.catch(() => (this.#partition = undefined))
    return this.#partition
  }
}
