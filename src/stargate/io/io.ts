/**
 * The words of one request on its way from an adapter to the disk, and the door between the adapters and what is
 * behind them. No behaviour.
 */
import { KiB, type VDiskOffset } from '../../base/units.ts'

/** Done at once, or a promise of it: what is served from memory costs no promise. */
export type Maybe<T> = T | Promise<T>

/**
 * Who sends: a client that may repeat its requests over another node says a number that grows with each of its
 * connections (F3). Plain protocol clients have none.
 */
export interface ClientSession {
  /** At most 64 characters of `[A-Za-z0-9._-]`. */
  readonly client: string
  readonly number: number
}

/** A vDisk as its owner has it at one moment. */
export interface VDiskNow {
  readonly sizeBytes: number
  /** The time of the newest acknowledged change, microseconds since 1970; each change has a later one (M6). 0: it was never changed. */
  readonly modifiedAt: number
}

/** A run of bytes of a vDisk and what is known of it, for block status. */
export interface Run {
  readonly length: number
  /** `data`: bytes are stored. `zero`: reads as zeros and takes no space. */
  readonly kind: 'data' | 'zero'
}

/**
 * An open vDisk, as an adapter sees it, wherever its owner is. The adapter has checked that every range lies inside
 * `sizeBytes`; lengths are from 1 byte to 32 MiB; any alignment is fine.
 *
 *  1. When `write`, `zero` or `discard` resolves, the change is on stable media on every copy that the container asks
 *     for, and so is every change that was acknowledged before it. So `flush` has nothing left to do.
 *  2. `read` fills the target with the last acknowledged bytes, or with a newer write's that was in flight.
 *  3. A rejection is an NdfsError; what it did is unknown only for PEER_UNREACHABLE, TIMED_OUT and UNAVAILABLE.
 */
export interface OpenVDisk {
  readonly sizeBytes: number
  read(offset: VDiskOffset, target: Buffer): Maybe<void>
  /**
   * As `read`, without a copy of most: the bytes as they lie in this node's memory, or as they came from its disks, in pieces. They are only
   * read, and given back (`giveBack` in large-buffers.ts, once for each) together, when nobody reads any of them any more. Undefined where that can't be done,
   * or would not pay, as below `lendBytesMin`: `read` does it, or says why not.
   */
  lend?(offset: VDiskOffset, length: number): Maybe<readonly Buffer[]> | undefined
  /**
   * The payload is the callee's: it may be kept in the log, or, once it has resolved, given back to be used again (large-buffers.ts).
   * While it is under way, and after it failed, it stays as it is: the caller may repeat it.
   */
  write(offset: VDiskOffset, payload: Buffer): Maybe<void>
  /** Afterwards the range reads as zeros. `keepSpace`: the caller asks that later writes there do not fail for space (a hint). */
  zero(offset: VDiskOffset, length: number, keepSpace: boolean): Maybe<void>
  /** The range may read as zeros afterwards, and here always does. */
  discard(offset: VDiskOffset, length: number): Maybe<void>
  flush(): Maybe<void>
  /** Brings the range into the cache; it is a hint. */
  prefetch(offset: VDiskOffset, length: number): Maybe<void>
  /** Runs that cover the range from its start, at least one, perhaps not to its end; at most `runsMax`. */
  status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]>
  /** Called when the size changed. */
  onResize: (sizeBytes: number) => void
  /** After this the adapter calls nothing more. */
  close(): void
}

/** What an adapter may open. Names are `container/vdisk`. */
export interface Exports {
  /** Sorted names of all vDisks. */
  list(): Promise<readonly string[]>
  /** The one that is meant where a client names none; a node has none such. */
  readonly defaultName?: string
  /** Rejects with NOT_FOUND; with UNAVAILABLE while the parts are not up. */
  open(name: string, session?: ClientSession): Promise<OpenVDisk>
}

/** Why a piece of work is done: what admission control shares the machine by. */
export type WorkClass = 'guest' | 'drain' | 'repair' | 'scrub' | 'tier'

/** Shorter reads are copied for less than it costs to send their pieces from where they lie. */
export const lendBytesMin = 64 * KiB

/** The largest request that an adapter lets in, in bytes: the protocol document's default maximum for NBD. */
export const requestBytesMax = 32 * 1024 * 1024
