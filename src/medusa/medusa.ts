/**
 * Medusa holds the metadata of all data, as rows with versions, in front of a store (R3).
 *
 *  1. A partition is named (table, key). It has a static part { epoch, version, changeId } and rows, each a key and
 *     bytes. A partition that was never changed has epoch 0, version 0 and no rows.
 *  2. `change` is one conditional batch in one partition: all of it or nothing, on condition of epoch and version as
 *     given; it raises the version by one. It is the only way to change anything (C2, I4).
 *  3. `get` and `scan` are serial reads: they see every change that resolved before they began, and one partition
 *     at one version.
 *  4. When `change` resolves with `applied` it is durable. When it rejects with PEER_UNREACHABLE or TIMED_OUT its
 *     outcome is unknown: `resolve` (medusa-changes.ts) finds it out; never a new change before that.
 *
 * Not here: what the rows mean. The tables are those of DESIGN section 8.
 */
import type { Epoch } from '../base/ids.ts'

/** `vdisk`: a vDisk's state. `map`: a GiB of a layer's map. `group`: an extent group. `groups-of`: index, by vDisk. */
export type Table = 'vdisk' | 'map' | 'group' | 'groups-of'

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
  change(partition: PartitionName, change: Change): Promise<ChangeResult>
  close(): Promise<void>
}

/** A batch holds at most this many bytes of keys and values (DESIGN section 8). */
export const changeBytesMax = 1024 * 1024
