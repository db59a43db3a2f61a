/**
 * Locks of byte ranges of files, as rows in Medusa that every node may change. docs/nfs.md, "Locks", has the rows and why they are so.
 *
 *  1. Two owners never have overlapping ranges of a file unless both have them shared, whichever nodes were asked. Of one owner the newest
 *     word counts: its ranges split, merge, and go from shared to exclusive and back, each in one conditional change of one partition.
 *  2. When a method resolves its change is durable, and every node sees it: no death of a node loses a lock. When it rejects with an
 *     NdfsError it may have been made; all may be asked again, and are done once.
 *  3. A client that has started again, or has given all up, loses all that it had in one change (its era ends), however many files that
 *     are. Whoever meets such a lock later takes no notice of it.
 *  4. What is bounded: locks of one file (`locksMax`, `lockBytesMax`), clients at one address (`clientsMax`).
 *
 * Not here: who waits for a lock and is told (front-end-adapter/nfs/lock-waiters.ts), protocols, who may lock what, whether there is such a
 * file. Two owners who wait for each other are not noticed.
 */

/** One machine that locks, by the address from which it comes and its own name. What it says of itself it can say of itself only. */
export interface LockClient {
  readonly host: string
  /** At most 255 characters. */
  readonly name: string
}

/** A process of a client, or what else it tells apart. */
export interface LockOwner {
  readonly client: LockClient
  readonly svid: number
  readonly owner: Buffer
}

/** Offsets go up to here; a range that ends here goes to the end of the file, however it grows. */
export const endOfFile = 2n ** 64n

/** Not empty. */
export interface ByteRange {
  readonly start: bigint
  /** The first byte behind it; `endOfFile` at most. */
  readonly end: bigint
}

export interface FileLock {
  readonly owner: LockOwner
  readonly exclusive: boolean
  readonly range: ByteRange
}

export const isSameClient = (a: LockClient, b: LockClient): boolean => a.host === b.host && a.name === b.name

export const isSameOwner = (a: LockOwner, b: LockOwner): boolean =>
  a.svid === b.svid && isSameClient(a.client, b.client) && a.owner.equals(b.owner)

/** Another for each owner in each file. */
export const ownerInFile = (file: string, { client, svid, owner }: LockOwner): string =>
  `${file} ${client.host} ${svid} ${owner.toString('hex')} ${client.name}`

export const isSameRange = (a: ByteRange, b: ByteRange): boolean => a.start === b.start && a.end === b.end

export const isSameLock = (a: FileLock, b: FileLock): boolean =>
  a.exclusive === b.exclusive && isSameRange(a.range, b.range) && isSameOwner(a.owner, b.owner)

export const overlap = (a: ByteRange, b: ByteRange): boolean => a.start < b.end && b.start < a.end

/** Not both can be had. */
export const excludeEachOther = (a: FileLock, b: FileLock): boolean =>
  (a.exclusive || b.exclusive) && overlap(a.range, b.range) && !isSameOwner(a.owner, b.owner)

/** Of one file, offers among them. More than the processes of a busy database have. */
export const locksMax = 1000
/** Of their row: each change of a file's locks writes all of it. */
export const lockBytesMax = 256 * 1024
/** Names under which clients at one address are known: as many machines may stand behind one router. */
export const clientsMax = 4096

/**
 *  (none)  → offered   the lock was taken for an owner that waits, and may not know yet    [lock, with an offer]
 *  offered → offered   the owner has heard: what else it had there gives way               [accept]
 *  offered → held      the owner asks again by itself                                      [lock]
 *  offered → (none)    the owner was not told, or does not want it any more                [withdraw, cancel, unlock]
 * An offered lock keeps others out like any other.
 */
export type OfferId = string

export type LockAnswer =
  | { readonly outcome: 'granted' }
  /** By `holder`, among others perhaps. */
  | { readonly outcome: 'denied'; readonly holder: FileLock }
  /** The file has as many locks as it may. */
  | { readonly outcome: 'full' }
  /** The client lost all that it had while this was asked for: it has nothing, and may ask again. */
  | { readonly outcome: 'released' }

export interface LockOptions {
  /**
   * Of the client's status monitor, where it is known (not 0): with a newer one the client has started again. With an older one it is
   * `released`: that was asked for in a former life. Only who asks again after seconds is believed to live, and gets it in the present era.
   */
  readonly state?: number
  readonly offer?: OfferId
  /** Where it is denied: this node is to hear (`onFreed`) of what gets free in that file. */
  readonly waits?: boolean
}

/** `file`: a name that is never another file's. */
export interface FileLocks {
  /** Who has what stands in the way of a lock. */
  test(file: string, wanted: FileLock): Promise<FileLock | undefined>
  lock(file: string, wanted: FileLock, options?: LockOptions): Promise<LockAnswer>
  /**
   * Nothing happens to what it does not have. What was asked for before, and may still be under way, is made impossible, so by `cancel` too,
   * where it was asked of this node, or of one that has died. Another that lives may still take the lock after this.
   * OUT_OF_SPACE where it would leave a hole in a lock, and the file has as many as it may.
   */
  unlock(file: string, owner: LockOwner, range: ByteRange): Promise<void>
  /** Takes back what was offered to that owner for just that range. */
  cancel(file: string, wanted: FileLock): Promise<void>
  accept(file: string, offer: OfferId): Promise<void>
  withdraw(file: string, offer: OfferId): Promise<void>
  /** The client has started again, in this state: unless that is known already it loses all that it had before. */
  started(client: LockClient, state: number): Promise<void>
  /** The client loses all that it has. */
  release(client: LockClient): Promise<void>
  /**
   * Called when, after a denial with `waits`, something of the file may have got free: mostly at once, not at all where a client was
   * released, or where the node died on which it got free. So whoever waits looks by itself from time to time, too.
   */
  onFreed: (file: string) => void
}
