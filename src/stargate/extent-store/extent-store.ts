/**
 * The extent store keeps data at rest: extent groups, files of at most 4 MiB on each disk that holds a copy,
 * written once and then immutable (R12, R26).
 *
 *  1. When `write` resolves, the pages are on stable media on every copy named, and read back with the checksums given.
 *  2. A group id is never used twice, and each placed copy has a number of its own, in the row and in the file's
 *     name: files are created exclusively, and a late command for a copy that is gone touches no other (M4).
 *  3. `read` returns only bytes whose checksums match those that the caller took from Medusa. A copy that doesn't match
 *     is reported by `onBadCopy` and the next is tried: local first, then peers. When all fail: CORRUPT_EXTENT if each
 *     was read and is bad, else PEER_UNREACHABLE (I5, F9).
 *  4. A finished copy ends in a trailer from which the metadata can be rebuilt (M11; trailer.ts has the picture).
 *  5. Every call is preceded by a metadata query: `GroupAccess` is made only from a row that the caller has read or
 *     registered in its epoch (R27), which is asserted.
 *
 * Not here: rows (vDisk controller writes them, in its order: files, row, map), what a page belongs to, caching.
 */
import type {
  CopyNumber,
  DiskRef,
  Epoch,
  GroupId,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import type { GroupPage, VDiskPage } from '../../base/units.ts'
import type { Disk, DiskSpace, SpacePurpose, Tier } from '../../disk/disk.ts'

/** One placed copy. */
export interface CopyRef extends DiskRef {
  readonly number: CopyNumber
}

/** What a caller proves before it touches a group: the row as read or registered in its epoch. */
export interface GroupAccess {
  readonly group: GroupId
  readonly vdisk: VDiskId
  /** The epoch under which the caller read or registered the row. */
  readonly epoch: Epoch
  readonly copies: readonly CopyRef[]
}

/** A run of whole pages of the layer, and where it lies in the group. */
export interface Extent {
  readonly page: VDiskPage
  readonly count: number
  readonly at: GroupPage
  /** The log sequence of its bytes (of the newest, where coalesced): kept through compaction and moves. */
  readonly sequence: Sequence
}

export interface Trailer {
  readonly container: string
  readonly layer: LayerId
  readonly copies: number
  readonly extents: readonly Extent[]
  /** crc32c of each page, in group order. */
  readonly checksums: Uint32Array
  /** Ranges of the prefix that read as zeros from `sequence` on. */
  readonly zeros: readonly { page: VDiskPage; count: number; sequence: Sequence }[]
}

export interface ExtentStore {
  /**
   * Writes whole pages at a place of the group that nothing was written to before, on all copies in parallel, synced.
   * `trailer`: the last write of the group; nothing can be written to it afterwards. Rejects with OUT_OF_SPACE, DISK_FAILED,
   * PEER_UNREACHABLE or TIMED_OUT, facts `disk`: the copies then hold anything or nothing, and the group is given up.
   */
  write(
    access: GroupAccess,
    at: GroupPage,
    pages: readonly Buffer[],
    purpose: SpacePurpose,
    trailer?: Trailer,
  ): Promise<void>
  /** Writes the trailer of a group whose pages all lie there (a sequential stream's). */
  finish(access: GroupAccess, trailer: Trailer): Promise<void>
  /** Fills `target` with `count` pages from `at`; `checksums`: theirs, from the row. */
  read(
    access: GroupAccess,
    at: GroupPage,
    count: number,
    checksums: Uint32Array,
    target: Buffer,
  ): Promise<void>
  /**
   * Puts a bad copy right in place: reads the whole copy's pages from the good ones, verified, writes a new copy file beside
   * the bad one on the same disk under `newNumber`, synced. The caller then swaps the row and removes the old copy.
   */
  rebuildCopy(access: GroupAccess, bad: CopyRef, newNumber: CopyNumber, trailer: Trailer): Promise<CopyRef>
  /** Unlinks exactly that copy, durable when it resolves; resolves also where it is not there. */
  remove(group: GroupId, copy: CopyRef): Promise<void>
  /** What lies on this node's disks: for `ndfs check`, orphans, rebuilding. */
  inventory(disk: DiskRef): Promise<readonly { group: GroupId; number: CopyNumber; bytes: number }[]>
  /** All extent disks of the cluster as last heard: what placement chooses from. */
  candidates(): readonly Candidate[]
  /** This node's disks in service. */
  local(): readonly Disk[]
  onBadCopy: (access: GroupAccess, copy: CopyRef, reason: string) => void
  statistics(): ExtentStoreStatistics
}

export interface Candidate {
  readonly ref: DiskRef
  readonly block: string
  readonly tier: Tier
  readonly space: DiskSpace
  readonly live: boolean
}

export interface PlacementRequest {
  readonly copies: number
  readonly tier: Tier
  readonly bytes: number
  readonly purpose: SpacePurpose
  /** The first copy goes here where there is room (R6). */
  readonly owner: NodeId
  /** Chosen last: they failed a moment ago (F10). */
  readonly avoid: readonly NodeId[]
}

export interface ExtentStoreStatistics {
  readonly pagesRead: number
  readonly pagesReadFromPeers: number
  readonly pagesWritten: number
  readonly badPages: number
  readonly copiesRebuilt: number
}
