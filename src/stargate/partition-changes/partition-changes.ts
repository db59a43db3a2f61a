/**
 * Changes of partitions that any node may change. What waits for one partition on this node is gathered: while a change is under way, all
 * that comes meanwhile goes into the next one.
 *
 *  1. A task is told its rows as they are, with what the tasks before it in the same change have done, and decides. It may be asked again,
 *     and must touch nothing but the view.
 *  2. It is answered once its change is applied; or, where none of them changed anything, once it was read.
 *  3. A conflict: another node was there in between; the rows are read again and all tasks decide anew.
 *  4. An outcome that isn't known is found out for `knownWithinMs`; then the error is passed on. A task that decides anew after that, and finds
 *     that it can't be made, may have been made already and seen by others: it is told that its outcome is unknown.
 */
import { NdfsError } from '../../base/errors.ts'
import type { Epoch } from '../../base/ids.ts'
import {
  type Change,
  changeBytesMax,
  changeForCertain,
  type Medusa,
  neverChanged,
  newChangeId,
  type Partition,
  type PartitionName,
} from '../../medusa/medusa.ts'
import type { Chance, Clock } from '../../platform/platform.ts'

/** Longer than a restart of a metadata node takes, shorter than what clients wait. */
const knownWithinMs = 10_000
/** More conflicts than this in a row are met only where many nodes storm one directory. */
const conflictsMax = 30
/** Tasks in one change: with an entry of 300 bytes each, a quarter of what a change may hold. */
const tasksPerChangeMax = 512
/** Tasks that wait for one partition; each holds a request of a client. */
const tasksWaitingMax = 16_384
const emptyTaskBytes = 1024
/** No partition here has an owner. */
const epoch = 0 as Epoch

export interface PartitionView {
  /** Of the partition once this is applied. */
  readonly nextVersion: number
  /** Nothing was put or removed yet since it was read. */
  readonly untouched: boolean
  /** This task was sent before, and may have been made: what stands there now came on top of it then. */
  readonly unsure: boolean
  get(key: string): Buffer | undefined
  put(key: string, value: Buffer): void
  remove(key: string): void
}

export interface PartitionTask<T> {
  /** The rows that it looks at. */
  readonly keys: readonly string[]
  /** About what it puts. */
  readonly bytes?: number
  /** The partition was hardly ever changed before: it is read only where it turns out that it was. */
  readonly isNew?: boolean
  decide(view: PartitionView): T
}

const isNotThere: Partition = { static: neverChanged, rows: [] }
const pauseMsMax = 128

/** Before whatever is tried again: longer with each attempt, and by chance, so that those who met do not meet again. */
export const randomPause = ({ clock, chance }: MedusaAccess['platform'], attempt: number): Promise<void> =>
  clock.sleep(chance.below(Math.min(2 ** attempt, pauseMsMax) + 1))

interface Waiting {
  readonly task: PartitionTask<unknown>
  readonly bytes: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** It was sent, with an outcome that wasn't known, and may have been made. */
  unsure: boolean
}

type Outcome =
  | { readonly ok: true; readonly value: unknown; readonly changes: boolean }
  | { readonly ok: false; readonly error: unknown }

export interface MedusaAccess {
  readonly medusa: Medusa
  readonly platform: { readonly clock: Clock; readonly chance: Chance }
}

export class PartitionChanges {
  readonly #access: MedusaAccess
  readonly #lines = new Map<string, Waiting[]>()

  constructor(access: MedusaAccess) {
    this.#access = access
  }

  change<T>(partition: PartitionName, task: PartitionTask<T>): Promise<T> {
    const key = `${partition.table}/${partition.key}`
    const line = this.#lines.get(key)
    if (line !== undefined && line.length >= tasksWaitingMax)
      return Promise.reject(
        new NdfsError('UNAVAILABLE', `Cannot change ${key}: ${line.length} changes of it wait already`, {
          key,
        }),
      )
    return new Promise<T>((resolve, reject) => {
      const waiting: Waiting = {
        task,
        bytes: emptyTaskBytes + (task.bytes ?? 0),
        resolve: resolve as (value: unknown) => void,
        reject,
        unsure: false,
      }
      if (line !== undefined) {
        line.push(waiting)
        return
      }
      const begun = [waiting]
      this.#lines.set(key, begun)
      this.#access.platform.clock.soon(() => void this.#work(partition, key, begun))
    })
  }

  async #work(partition: PartitionName, key: string, line: Waiting[]): Promise<void> {
    while (line.length > 0) {
      const batch = takeFrom(line)
      try {
        await this.#make(partition, batch)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#lines.delete(key)
  }

  async #make(partition: PartitionName, batch: readonly Waiting[]): Promise<void> {
    const { medusa, platform } = this.#access
    const keys = [...new Set(batch.flatMap(({ task }) => task.keys))]
    for (let conflicts = 0; conflicts < conflictsMax; conflicts++) {
      const isNew = conflicts === 0 && batch.every(({ task }) => task.isNew)
      const view = new GatheredView(isNew ? isNotThere : await medusa.get(partition, keys))
      const outcomes = batch.map((waiting) => decide(waiting, view))
      if (view.untouched) return settle(batch, outcomes)
      let unsure = false
      const watched: Pick<Medusa, 'get' | 'change'> = {
        get: (...asks) => medusa.get(...asks),
        change: (...asks) =>
          medusa.change(...asks).catch((error: unknown) => {
            unsure = true
            throw error
          }),
      }
      const until = platform.clock.now() + knownWithinMs
      const change = view.change(newChangeId(platform.chance))
      const more = () => platform.clock.now() < until
      const result = await changeForCertain(watched, platform.clock, partition, change, more)
      if (result.outcome === 'applied') return settle(batch, outcomes)
      if (unsure)
        for (const [i, outcome] of outcomes.entries())
          if (outcome.ok && outcome.changes) batch[i].unsure = true
      await randomPause(platform, conflicts)
    }
    throw new NdfsError(
      'UNAVAILABLE',
      `Cannot change ${partition.table} ${partition.key}: others changed it ${conflictsMax} times in between. Try again`,
      { partition },
    )
  }
}

function takeFrom(line: Waiting[]): Waiting[] {
  let count = 0
  let bytes = 0
  // The first always goes, and room is left for keys and for the inode's row.
  while (
    count < Math.min(line.length, tasksPerChangeMax) &&
    (count === 0 || bytes + line[count].bytes < changeBytesMax * 0.6)
  )
    bytes += line[count++].bytes
  return line.splice(0, count)
}

function decide({ task, unsure }: Waiting, view: GatheredView): Outcome {
  view.begin(unsure)
  try {
    const value = task.decide(view)
    return { ok: true, value, changes: view.keep() }
  } catch (error) {
    if (!unsure) return { ok: false, error }
    return {
      ok: false,
      error: new NdfsError(
        'UNAVAILABLE',
        'Cannot tell whether a change was made: others have changed the same since',
        {},
        { cause: error },
      ),
    }
  }
}

function settle(batch: readonly Waiting[], outcomes: readonly Outcome[]): void {
  for (const [i, outcome] of outcomes.entries())
    if (outcome.ok) batch[i].resolve(outcome.value)
    else batch[i].reject(outcome.error)
}

/** The rows with what the tasks so far have done; what the present task does is kept apart until it has succeeded. */
class GatheredView implements PartitionView {
  readonly #read: Partition
  readonly #rows: ReadonlyMap<string, Buffer>
  readonly #changed = new Map<string, Buffer | undefined>()
  #now = new Map<string, Buffer | undefined>()
  unsure = false

  constructor(read: Partition) {
    this.#read = read
    this.#rows = new Map(read.rows.map(({ key, value }) => [key, value]))
  }

  get nextVersion(): number {
    return this.#read.static.version + 1
  }

  get untouched(): boolean {
    return this.#changed.size === 0 && this.#now.size === 0
  }

  get(key: string): Buffer | undefined {
    if (this.#now.has(key)) return this.#now.get(key)
    return this.#changed.has(key) ? this.#changed.get(key) : this.#rows.get(key)
  }

  put(key: string, value: Buffer): void {
    this.#now.set(key, value)
  }

  remove(key: string): void {
    this.#now.set(key, undefined)
  }

  begin(unsure: boolean): void {
    this.#now = new Map()
    this.unsure = unsure
  }

  /** Whether there was anything. */
  keep(): boolean {
    const kept = this.#now.size > 0
    for (const [key, value] of this.#now) this.#changed.set(key, value)
    this.#now = new Map()
    return kept
  }

  change(id: string): Change {
    const changed = [...this.#changed]
    return {
      id,
      expected: { epoch, version: this.#read.static.version },
      epoch,
      put: changed.flatMap(([key, value]) => (value === undefined ? [] : [{ key, value }])),
      delete: changed.flatMap(([key, value]) => (value === undefined ? [key] : [])),
    }
  }
}
