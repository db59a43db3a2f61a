/**
 * One physical disk: a folder on a file system of its own (or a share of one), with a name that it never loses.
 *
 *  1. A superblock holds cluster, disk id and incarnation, tier, capacity. A disk of another cluster, of an unknown
 *     version, or in use by another process is refused with a sentence that says what to do.
 *  2. A failed write or sync takes the disk out of service for good in this process (I6): later writes reject with
 *     DISK_FAILED, reads are still tried, `onFailed` is called once. It is never retried into success.
 *     A file system without room is no failure, unless a sync finds out: the create or write rejects with OUT_OF_SPACE,
 *     the range written holds anything, and the disk goes on.
 *  3. A disk that is told to be slow takes no new data where others place it, and does all that is asked of it: whoever measures
 *     (`latency`) decides, and takes it back.
 *  4. A folder that is this disk no more (deleted, unmounted, exchanged) is noticed within a second of writing to it, or by `confirm`,
 *     and leaves service: open files would go on for ever.
 *  5. Space is counted by what files were given, not by asking the file system at each write. `reserve` fails with
 *     OUT_OF_SPACE where the purpose may not use what is left: guests stop before drain and repair do, and those before
 *     the log, without which nobody could take over what is to be drained (I10).
 *
 * Not here: what the bytes mean, vDisks, the network.
 */
import type { DiskRef } from '../base/ids.ts'
import type { LatencyMeter } from './latency.ts'

export type Tier = 'flash' | 'hdd'

/**
 * Who asks for space. `guest` may fill to `guestShare` of the capacity, and leaves what is set aside; `maintenance` leaves what is
 * kept for the log, which alone may fill to the brim.
 */
export type SpacePurpose = 'guest' | 'maintenance'

export interface DiskSpace {
  readonly capacityBytes: number
  readonly usedBytes: number
  /** What `guest` may still take. */
  readonly guestFreeBytes: number
  /** What `maintenance` may still take: never less than guests may. */
  readonly maintenanceFreeBytes: number
}

export interface Disk {
  readonly ref: DiskRef
  readonly tier: Tier
  readonly path: string
  readonly state: 'online' | 'slow' | 'failed'
  space(): DiskSpace
  /**
   * From now on so many bytes of what is free are not for guests, and `keptBytes` of them not for maintenance: the log's, which says
   * smaller numbers when it takes some. Where less is free than that, all of it.
   */
  setAside(bytes: number, keptBytes: number): void
  /** Set by whoever joins the parts; called once, when the disk leaves service. */
  onFailed: (error: Error) => void

  /** Creates a file, exclusively, and reserves its bytes. The name may contain `/`. Durable after `sync` and `syncNames`. */
  create(name: string, bytes: number, purpose: SpacePurpose | 'log', options?: OpenOptions): Promise<DiskFile>
  open(name: string, options?: OpenOptions): Promise<DiskFile>
  /** Unlinks and gives the space back. Nothing happens where there is no such file. */
  remove(name: string): Promise<void>
  /** Names of the files in one folder of the disk, sorted. */
  list(folder: string): Promise<string[]>
  /** Makes folders inside one folder, those that are there left as they are; all durable when it resolves, by one sync. */
  makeFolders(folder: string, names: readonly string[]): Promise<void>
  /** Directory entries made or removed in this folder before the call are durable when it resolves. */
  syncNames(folder: string): Promise<void>
  /** Looks whether its folder still is this disk; one that isn't leaves service. Never rejects. */
  confirm(): Promise<void>
  /** Takes the disk out of service, as a failed sync would. */
  fail(error: Error): void
  close(): Promise<void>
}

/** A disk as who watches over its health sees it (src/slow-disks.ts). */
export interface WatchedDisk extends Disk {
  /** Why it is out of service; undefined while it isn't. */
  readonly reason: string | undefined
  readonly latency: LatencyMeter
  /** From now on it is slow, until `beWell`; a disk that failed stays failed. */
  beSlow(reason: string): void
  beWell(): void
  /** Writes, syncs and reads back in a scratch file. Resolves to what is wrong, or to nothing. */
  selfTest(limitMs: number): Promise<string | undefined>
}

export interface OpenOptions {
  /** Around the page cache: aligned buffers only. */
  readonly direct?: boolean
  /** Each write is on stable media when it resolves. */
  readonly durable?: boolean
}

export interface DiskFile {
  readonly name: string
  read(target: Uint8Array, position: number): Promise<number>
  write(buffers: readonly Uint8Array[], position: number): Promise<void>
  sync(): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}
