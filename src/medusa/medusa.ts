/**
 * Medusa holds the metadata of all data, as rows with versions, in front of a store (R3).
 *
 *  1. A partition is named (table, key). It has a static part { epoch, version, changeId } and rows, each a key and
 *     bytes. A partition that was never changed has epoch 0, version 0 and no rows.
 *  2. `change` is one conditional batch in one partition: all of it or nothing, on condition of epoch and version as
 *     given; it raises the version by one. It is the only way to change anything (C2, I4).
 *  3. `get`, `scan` and `getOfMany` are serial reads: they see every change that resolved before they began, and one
 *     partition at one version.
 *  4. When `change` resolves with `applied` it is durable. When it rejects with PEER_UNREACHABLE, TIMED_OUT or
 *     UNAVAILABLE its outcome is unknown: `changeForCertain` (below) finds it out; never a new change before that.
 *
 * Not here: what the rows mean. The tables are those of DESIGN section 8.
 */
import { hasCode, NdfsError } from '../base/errors.ts'
import type { Epoch } from '../base/ids.ts'
import type { Chance, Clock } from '../platform/platform.ts'

/**
 * `vdisk`: a vDisk's state. `map`: a GiB of a layer's map. `group`: an extent group. `groups-of`: index, by vDisk. `inode`: a file, link or
 * special file. `directory`: a directory with its entries. `lock`: the locks of a file, or what is known of the clients at one address.
 */
export type Table = 'vdisk' | 'map' | 'group' | 'groups-of' | 'inode' | 'directory' | 'lock'

export interface PartitionName {
  readonly table: Table
  readonly key: string
}

export interface Static {
  readonly epoch: Epoch
  readonly version: number
  /** The id of the change that made this version; '' at version 0. */
  readonly changeId: string
}

export const neverChanged: Static = { epoch: 0 as Epoch, version: 0, changeId: '' }

export interface Row {
  readonly key: string
  readonly value: Buffer
}

export interface Partition {
  readonly static: Static
  /** Those asked for and present, sorted by key. */
  readonly rows: readonly Row[]
}

export interface Change {
  /** Unique: 16 random bytes in hex, made once for each change, also when it is sent again. */
  readonly id: string
  /** The partition must be exactly here. */
  readonly expected: { readonly epoch: Epoch; readonly version: number }
  /** The epoch afterwards; not below the expected one. */
  readonly epoch: Epoch
  readonly put?: readonly Row[]
  readonly delete?: readonly string[]
  /**
   * Removes the partition whole, static part and all: afterwards it is as if it had never been (version 0). Only for
   * partitions whose names are never used again (extent groups): else versions would begin anew.
   */
  readonly drop?: true
}

export type ChangeResult =
  | { readonly outcome: 'applied'; readonly static: Static }
  /** Nothing was changed; the partition stands where `static` says. */
  | { readonly outcome: 'conflict'; readonly static: Static }

export interface Medusa {
  /** Rows of one partition: those named, or all where none are named (use `scan` where there may be thousands). */
  get(partition: PartitionName, rowKeys?: readonly string[]): Promise<Partition>
  /** Rows with `after` < key, and key < `before` where given, in key order, at most `limit` (1,000 where not said). */
  scan(
    partition: PartitionName,
    options?: { readonly after?: string; readonly before?: string; readonly limit?: number },
  ): Promise<Partition>
  /**
   * One row of each of many partitions of a table, in the order of their keys; undefined where there is none. Each is read as `get` reads
   * it, all of them after the call: but not at one moment.
   */
  getOfMany(table: Table, keys: readonly string[], rowKey: string): Promise<readonly (Buffer | undefined)[]>
  change(partition: PartitionName, change: Change): Promise<ChangeResult>
  close(): Promise<void>
}

/** A batch holds at most this many bytes of keys and values (DESIGN section 8). */
export const changeBytesMax = 1024 * 1024

export const newChangeId = (chance: Chance): string => chance.bytes(16).toString('hex')

/**
 * Makes a change and finds out for certain whether it was made (C2, F6): while its outcome is unknown it reads the
 * partition serially, sends the same change again where it was not made yet, and gives up, with the last error, when
 * `keepTrying` says so; the outcome is then unknown still.
 *
 * `conflict` means: decide anew from the rows. After an unknown outcome the change may have been made before whatever
 * stands there now was made on top of it.
 */
export async function changeForCertain(
  medusa: Pick<Medusa, 'get' | 'change'>,
  clock: Clock,
  partition: PartitionName,
  change: Change,
  keepTrying: () => boolean,
): Promise<ChangeResult> {
  let mayHaveBeenMade = false
  for (let pauseMs = 50; ; pauseMs = Math.min(2 * pauseMs, 1000)) {
    try {
      if (mayHaveBeenMade) {
        const { static: now } = await medusa.get(partition, [])
        const known = outcomeOf(change, now)
        if (known !== 'not yet') return { outcome: known, static: now }
      }
      const result = await medusa.change(partition, change)
      if (result.outcome === 'applied') return result
      // A conflict may be with the change itself, sent earlier and made late, or made by a server that finished it for another.
      const isOurs = mayHaveBeenMade
        ? outcomeOf(change, result.static) === 'applied'
        : result.static.changeId === change.id
      if (isOurs) return { outcome: 'applied', static: result.static }
      return result
    } catch (error) {
      const unknown = hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')
      // Refused for good, and never sent before: nothing was made. After an unknown outcome no refusal proves
      // anything about the first sending.
      if (!unknown && !(mayHaveBeenMade && error instanceof NdfsError)) throw error
      mayHaveBeenMade = true
      if (!keepTrying()) throw error
    }
    await clock.sleep(pauseMs)
  }
}

/** What a serial read, begun after a change was sent, says about it. */
function outcomeOf(change: Change, now: Static): 'applied' | 'not yet' | 'conflict' {
  if (now.changeId === change.id) return 'applied'
  // A dropped partition has no change id. Its name is never used again, so only a drop made it vanish.
  if (change.drop && change.expected.version > 0 && now.version === 0) return 'applied'
  if (now.epoch === change.expected.epoch && now.version === change.expected.version) return 'not yet'
  return 'conflict'
}
