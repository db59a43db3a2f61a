/**
 * Frees extent groups to which nothing points any more, in I7's way: counted by a complete scan, marked in the row, read again,
 * unlinked by copy number, and only then forgotten.
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import type { GroupId } from '../../base/ids.ts'
import type { Clock, Log, Platform } from '../../platform/platform.ts'
import type { ZeroRun } from '../extent-store/extent-store.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { GroupIndex } from './group-index.ts'
import type { GroupLedger } from './group-ledger.ts'
import type { SeenRow } from './group-rows.ts'
import type { GroupTable } from './group-table.ts'
import type { VBlock } from './map-row.ts'
import type { Pace } from './pace.ts'
import type { PageReader } from './page-reader.ts'
import type { VDiskMap } from './vdisk-map.ts'
import type { VDiskRow } from './vdisk-row.ts'
import { zeroRunsPerGroupMax } from './zero-runs.ts'

/** Groups freed together: one grace for all of them. */
const groupsAtOnceMax = 256
/** Between marking and unlinking, beside waiting for every read that was under way: for messages that are. */
export const graceMs = 2000

export interface ReclaimContext {
  readonly clock: Clock
  readonly log: Log
  readonly pace: Pace
  readonly map: VDiskMap
  readonly index: GroupIndex
  /** Has other groups' trailers say what those of groups that go say of zeros. */
  readonly handOn: (zeros: readonly ZeroRun[]) => Promise<void>
  /** Has the ledger know every group in the index. */
  readonly survey: () => Promise<void>
  readonly ledger: GroupLedger
  readonly groups: GroupTable
  readonly reader: PageReader
  /** Partitions of the layer's map, by the largest size that it may have had since it was last drained. */
  readonly partitions: () => number
  readonly alive: () => boolean
  readonly freed: (count: number) => void
}

export class Reclaimer {
  readonly #context: ReclaimContext
  #counting: Promise<void> | undefined
  #freeing: Promise<void> | undefined
  /** Resolves to how many groups of those that go together now are gone; rejects for a bug alone. */
  #pass: Promise<number> | undefined
  /** Groups that wait to be tried again. */
  #waiting = 0
  #partitionsCounted = 0

  constructor(context: ReclaimContext) {
    this.#context = context
  }

  /** Counts what the map names, once; resolves when that is complete. */
  count(): Promise<void> {
    this.#counting ??= this.#count().catch((error: unknown) => {
      this.#counting = undefined
      throw error
    })
    return this.#counting
  }

  async #count(): Promise<void> {
    const { ledger, map, partitions, survey } = this.#context
    await survey()
    while (this.#partitionsCounted < partitions()) {
      const blocks: VBlock[] = []
      await map.scan(
        this.#partitionsCounted,
        (_, block) => blocks.push(block),
        () => {
          // Not before all of it was seen: a scan that broke off is begun anew, and nothing is counted twice.
          for (const block of blocks) ledger.countVBlock(block)
          this.#partitionsCounted++
          ledger.countedPartition()
        },
      )
    }
    ledger.countedAll()
  }

  /** Something dead is being freed, or waits to be tried again. */
  get isFreeing(): boolean {
    return this.#freeing !== undefined || this.#waiting > 0
  }

  /** Dead groups with a copy that could not be reached: those that could be are gone, and no more comes of them for now. */
  get waiting(): number {
    return this.#waiting
  }

  /** Resolves when nothing is being freed. Of an ownership that goes on that may take for ever. */
  async ended(): Promise<void> {
    await this.#freeing
  }

  /** Frees what is dead now, in the background, some at a time, until nothing is. */
  freeDead(): void {
    this.#freeing ??= this.#freeWhileDead().finally(() => (this.#freeing = undefined))
  }

  /** Frees what is dead, and resolves to how many of the groups that go together next are gone. 0: none is dead, or they can't be freed for now. */
  async freedNext(): Promise<number> {
    this.freeDead()
    return (await this.#pass) ?? 0
  }

  async #freeWhileDead(): Promise<void> {
    const { ledger, alive } = this.#context
    while (alive()) {
      const dead = ledger.takeDead(groupsAtOnceMax)
      if (dead.length === 0) return
      this.#pass = this.#freed(dead)
      await this.#pass
      this.#pass = undefined
    }
  }

  async #freed(dead: readonly GroupHandle[]): Promise<number> {
    const { ledger, log, freed } = this.#context
    let left = { tried: dead, untried: [] as readonly GroupHandle[] }
    try {
      left = await this.#free(dead)
    } catch (error) {
      // Ownership is over, or Medusa can't be reached: whoever owns the vDisk then finds them again.
      if (!(error instanceof NdfsError)) throw error
      log.debug('groups are not freed now', { reason: messageOf(error) })
    }
    for (const group of left.untried) ledger.spared(group)
    if (left.tried.length > 0) this.#tryAgain(left.tried)
    const gone = dead.length - left.tried.length - left.untried.length
    freed(gone)
    return gone
  }

  /** In a while: a copy could not be reached. What dies meanwhile is not held up by that. */
  #tryAgain(groups: readonly GroupHandle[]): void {
    const { ledger, clock, pace, alive } = this.#context
    if (!alive()) return
    this.#waiting += groups.length
    clock.after(pace.freeAgainMs, () => {
      this.#waiting -= groups.length
      for (const group of groups) ledger.spared(group)
      if (alive()) this.freeDead()
    })
  }

  /** What is left of them: that could not be freed, and that was not tried. */
  async #free(dead: readonly GroupHandle[]): Promise<{ tried: GroupHandle[]; untried: GroupHandle[] }> {
    const { index, ledger, groups, reader, clock, alive } = this.#context
    const rows = await index.rowsToFree(dead.map((handle) => groups.idOf(handle)))
    const { ids, later } = await this.#withoutZeros(rows)
    await index.markDeleting(new Map(ids.map((id) => [id, rows.get(id)!])))
    // Whoever found them in the map before they were marked has read what it wanted by now.
    await Promise.all([reader.settled(), clock.sleep(graceMs)])
    const gone = alive() ? await index.finishDeletion(ids) : []
    const left = new Set(dead)
    for (const id of gone) {
      const handle = groups.handleOf(id)
      left.delete(handle)
      ledger.freed(handle)
      groups.forget(handle)
    }
    const untried = later.map((id) => groups.handleOf(id))
    for (const group of untried) left.delete(group)
    return { tried: [...left], untried }
  }

  /** Those of which nothing is left to be said of zeros, and those whose turn comes next. Where it can't be handed on now, they stay, and the others go. */
  async #withoutZeros(
    rows: ReadonlyMap<GroupId, SeenRow>,
  ): Promise<{ readonly ids: readonly GroupId[]; readonly later: readonly GroupId[] }> {
    const { handOn, log } = this.#context
    const ids = [...rows.keys()]
    const zeros = zerosOf(rows)
    if (zeros.size === 0) return { ids, later: [] }
    // As many as one new group takes, or a little more: drains wait meanwhile. The others are dead still, and come next.
    const now = new Set<GroupId>()
    const runs: ZeroRun[] = []
    for (const [id, some] of zeros) {
      if (runs.length >= zeroRunsPerGroupMax) break
      now.add(id)
      for (const run of some) runs.push(run)
    }
    const others = ids.filter((id) => !zeros.has(id))
    try {
      await handOn(runs)
      return { ids: [...others, ...now], later: ids.filter((id) => zeros.has(id) && !now.has(id)) }
    } catch (error) {
      if (!(error instanceof NdfsError) || hasCode(error, 'FENCED', 'NOT_OWNER')) throw error
      log.debug('zeros are not handed on now', { reason: messageOf(error) })
      return { ids: others, later: [] }
    }
  }
}

/** Frees all groups of a deleted vDisk; true when none is left, false when ownership ended first. */
export async function freeEverything(context: {
  readonly platform: Pick<Platform, 'clock' | 'log'>
  readonly pace: Pace
  readonly row: VDiskRow
  readonly index: GroupIndex
  readonly settled: () => Promise<void>
}): Promise<boolean> {
  const { platform, pace, row, index, settled } = context
  let emptyOnce = false
  while (row.alive) {
    try {
      let found = 0
      let freed = 0
      // All of them, whatever becomes of the first ones: copies that can't be reached stand in nobody else's way.
      for await (const ids of inBatches(index.all(), groupsAtOnceMax)) {
        found += ids.length
        await index.markDeleting(await index.rowsToFree(ids))
        await Promise.all([settled(), platform.clock.sleep(graceMs)])
        freed += (await index.finishDeletion(ids)).length
      }
      if (found > 0) {
        emptyOnce = false
        if (freed === 0) await platform.clock.sleep(pace.freeAgainMs)
        continue
      }
      // What was on its way when it was deleted has arrived by the second look.
      if (emptyOnce) return true
      emptyOnce = true
      await settled()
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      if (hasCode(error, 'FENCED', 'NOT_OWNER')) return false
      platform.log.debug(`groups of deleted vDisk ${row.vdisk} are not freed now`, {
        reason: messageOf(error),
      })
      await platform.clock.sleep(pace.freeAgainMs)
    }
  }
  return false
}

/** What the groups' rows say of zeros, of those that were not handed on before. */
function zerosOf(rows: ReadonlyMap<GroupId, SeenRow>): ReadonlyMap<GroupId, readonly ZeroRun[]> {
  const found = new Map<GroupId, readonly ZeroRun[]>()
  for (const [id, seen] of rows)
    // Marked as being deleted: whoever did that has handed them on.
    if (seen.row?.state === 'whole' && seen.row.zeros !== undefined) found.set(id, seen.row.zeros)
  return found
}

async function* inBatches(
  groups: AsyncIterable<{ readonly id: GroupId }>,
  most: number,
): AsyncGenerator<GroupId[]> {
  let batch: GroupId[] = []
  for await (const { id } of groups) {
    batch.push(id)
    if (batch.length < most) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
