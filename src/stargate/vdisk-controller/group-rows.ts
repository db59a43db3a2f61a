/**
 * The rows of a vDisk's extent groups, as its owner reads and changes them. Sixteen groups that were registered one after the other share a
 * partition of Medusa: much of what happens to one happens to its neighbours at the same time, and then it is one change
 * (docs/decisions/0022).
 *
 *  1. Each is an `OwnedPartition`: raised, and only then read. One whose groups this ownership registers is its own from the start.
 *  2. What waits for a partition is gathered, and one change is under way at a time.
 *  3. A partition is dropped when none of its groups is in the index any more, and none will be: a change that was sent twice may arrive after the
 *     drop, and must not meet versions of before.
 */
import { atOnce } from '../../base/at-once.ts'
import type { GroupId } from '../../base/ids.ts'
import { changeBytesMax, type Medusa, type Row } from '../../medusa/medusa.ts'
import { type MedusaAccess, OwnedPartition, type Ownership } from './owned-partition.ts'
import { decodeGroupRow, encodeGroupRow, groupPartition, type GroupRow } from './rows.ts'

/** A row, or that there is none, and the version of its partition when that was so. */
export interface SeenRow {
  readonly row: GroupRow | undefined
  readonly version: number
}

/** From the row as it is, to the row as it is to be. The same one: nothing is changed. */
export type Decide = (row: GroupRow | undefined) => GroupRow | undefined

/**
 * Asked when it is the row's turn: what is known of it. 'none': it has none, for it was registered under this ownership and its completion was
 * never begun. Undefined, or a row of before the last change: it is read.
 */
export type Seen = () => SeenRow | 'none' | undefined

interface Step {
  readonly id: GroupId
  readonly seen: Seen
  readonly decide: Decide
  readonly resolve: (row: GroupRow | undefined) => void
  readonly reject: (error: unknown) => void
}

interface Held {
  readonly partition: Promise<OwnedPartition>
  waiting: Step[]
  users: number
}

/** Partitions that are held while nobody uses them; each is some hundred bytes. */
const idleHeldMax = 512
/** A row has 110 KiB at most, and a change 1 MiB. */
const rowBytesPerChange = changeBytesMax / 2
/** Partitions that are read at once. */
const readsAtOnce = 8

export class GroupRows {
  readonly #access: MedusaAccess
  readonly #ownership: Ownership
  /** By key, least recently used first. One for each partition at most: two would not know of each other's changes. */
  readonly #held = new Map<string, Held>()

  constructor(access: MedusaAccess, ownership: Ownership) {
    this.#access = access
    this.#ownership = ownership
  }

  /** The first group of a partition is about to be registered under this ownership: no other has changed it. */
  begin(first: GroupId): void {
    const name = groupPartition(first)
    this.#hold(name.key, Promise.resolve(OwnedPartition.begin(this.#access, name, this.#ownership)))
  }

  /** The row, which nobody under an earlier epoch changes any more. FENCED where a later owner has raised its partition. */
  async readFenced(id: GroupId): Promise<SeenRow> {
    const name = groupPartition(id)
    // What isn't there is left so: nobody would drop what raising it makes.
    if (!this.#held.has(name.key) && (await this.#access.medusa.get(name, [])).static.version === 0)
      return { row: undefined, version: 0 }
    return (await this.readToPut([id])).get(id)!
  }

  /** The same of many, also where there is none: what is put there then comes before what an earlier owner has on its way. */
  async readToPut(ids: Iterable<GroupId>): Promise<ReadonlyMap<GroupId, SeenRow>> {
    const seen = new Map<GroupId, SeenRow>()
    for (const some of byPartition(ids))
      await this.#use(some[0], async (partition) => {
        const { rows, static: at } = await partition.readAt(some)
        const found = decoded(rows)
        for (const id of some) seen.set(id, { row: found.get(id), version: at.version })
      })
    return seen
  }

  /** Has the row become what `decide` makes of it, and resolves to it when that is durable. */
  change(id: GroupId, decide: Decide, seen: Seen = () => undefined): Promise<GroupRow | undefined> {
    return this.#use(
      id,
      (partition, held) =>
        new Promise((resolve, reject) => {
          held.waiting.push({ id, seen, decide, resolve, reject })
          if (held.waiting.length > 1) return
          this.#access.platform.clock.soon(
            () => void partition.serial.run(() => this.#makeWaiting(partition, held)),
          )
        }),
    )
  }

  /** The rows of these groups, which share a partition, go. `areLast`: of its groups none is in the index beside them, nor ever will be. */
  remove(ids: readonly GroupId[], areLast: boolean): Promise<void> {
    return this.#use(ids[0], (partition, held) =>
      partition.serial.run(async () => {
        if (!areLast) return partition.change([], ids)
        await partition.drop()
        this.#forget(partition.name.key, held)
      }),
    )
  }

  async #makeWaiting(partition: OwnedPartition, held: Held): Promise<void> {
    while (held.waiting.length > 0) {
      const steps = held.waiting
      held.waiting = []
      try {
        await this.#make(partition, held, steps)
      } catch (error) {
        for (const { reject } of steps) reject(error)
      }
    }
  }

  /** As many of the steps as one change has room for; the others wait on. */
  async #make(partition: OwnedPartition, held: Held, steps: readonly Step[]): Promise<void> {
    // It was dropped while they waited.
    if (this.#held.get(partition.name.key) !== held) {
      for (const { id, decide, resolve, reject } of steps) this.change(id, decide).then(resolve, reject)
      return
    }
    const rows = await rowsFor(partition, steps)
    const put = new Map<GroupId, Buffer>()
    let bytes = 0
    let made = 0
    for (; made < steps.length && bytes < rowBytesPerChange; made++) {
      const { id, decide } = steps[made]
      const row = decide(rows.get(id))
      if (row === undefined || row === rows.get(id)) continue
      const value = encodeGroupRow(row)
      bytes += value.length
      rows.set(id, row)
      put.set(id, value)
    }
    if (put.size > 0) await partition.change([...put].map(([key, value]) => ({ key, value })))
    for (const { id, resolve } of steps.slice(0, made)) resolve(rows.get(id))
    held.waiting.unshift(...steps.slice(made))
  }

  async #use<T>(id: GroupId, work: (partition: OwnedPartition, held: Held) => Promise<T>): Promise<T> {
    const name = groupPartition(id)
    const held =
      this.#held.get(name.key) ??
      this.#hold(name.key, OwnedPartition.raise(this.#access, name, this.#ownership))
    held.users++
    try {
      return await work(await held.partition, held)
    } finally {
      held.users--
      this.#usedLast(name.key, held)
    }
  }

  #hold(key: string, partition: Promise<OwnedPartition>): Held {
    const held: Held = { partition, waiting: [], users: 0 }
    this.#held.set(key, held)
    partition.catch(() => this.#forget(key, held))
    return held
  }

  #forget(key: string, held: Held): void {
    if (this.#held.get(key) === held) this.#held.delete(key)
  }

  #usedLast(key: string, held: Held): void {
    if (this.#held.get(key) === held) {
      this.#held.delete(key)
      this.#held.set(key, held)
    }
    if (this.#held.size <= idleHeldMax) return
    for (const [oldest, { users }] of this.#held) {
      if (users > 0) continue
      this.#held.delete(oldest)
      return
    }
  }
}

/** The rows that steps ask for, as they are: read where they are not known, or were seen before something else was changed. */
async function rowsFor(
  partition: OwnedPartition,
  steps: readonly Step[],
): Promise<Map<GroupId, GroupRow | undefined>> {
  const rows = new Map<GroupId, GroupRow | undefined>()
  const unknown = new Set<GroupId>()
  for (const { id, seen } of steps) {
    const known = seen()
    if (known === 'none') rows.set(id, undefined)
    else if (known?.version === partition.version) rows.set(id, known.row)
    else unknown.add(id)
  }
  if (unknown.size > 0) for (const [id, row] of decoded(await partition.read([...unknown]))) rows.set(id, row)
  return rows
}

const decoded = (rows: readonly Row[]): Map<GroupId, GroupRow> =>
  new Map(rows.map(({ key, value }) => [key as GroupId, decodeGroupRow(value)]))

/** The group's row as it is now, whoever may change it; undefined where it has none. */
export const readGroupRow = async (
  medusa: Pick<Medusa, 'get'>,
  group: GroupId,
): Promise<GroupRow | undefined> => (await readGroupRows(medusa, [group])).get(group)

/** The same of many: one read for those that share a partition. */
export async function readGroupRows(
  medusa: Pick<Medusa, 'get'>,
  groups: readonly GroupId[],
): Promise<ReadonlyMap<GroupId, GroupRow>> {
  const found = new Map<GroupId, GroupRow>()
  await atOnce(byPartition(groups), readsAtOnce, async (some) => {
    const { rows } = await medusa.get(groupPartition(some[0]), some)
    for (const [id, row] of decoded(rows)) found.set(id, row)
  })
  return found
}

/** Those that share a partition together, in the order of the first of each. */
export const byPartition = (ids: Iterable<GroupId>): GroupId[][] => [
  ...Map.groupBy(ids, (id) => groupPartition(id).key).values(),
]
