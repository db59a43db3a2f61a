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
import type { CopyNumber, DiskRef, Epoch, GroupId, LayerId, Sequence, VDiskId } from '../../base/ids.ts'
import { KiB, type GroupPage, type VDiskPage } from '../../base/units.ts'
import type { Disk, SpacePurpose, Tier } from '../../disk/disk.ts'
import type { Candidate, CopyPlacementRequest, Placement, PlacementRequest } from './placement.ts'

// Where copies go is part of this contract: a pure function of candidates.
export * from './placement.ts'

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

/** Pages that read as zeros from `sequence` on, until something newer says otherwise. */
export interface ZeroRun {
  readonly page: VDiskPage
  readonly count: number
  readonly sequence: Sequence
}

/** How the vDisk stood when a group was written. */
export interface Standing {
  /** What its row said then. */
  readonly drained: Sequence
  /** The end of the prefix that was being drained; else `drained`. Size and time are as of here. */
  readonly through: Sequence
  readonly sizeBytes: number
  /** Microseconds since 1970; 0: nothing was changed yet. */
  readonly modifiedAt: number
}

export interface Trailer {
  /** The vDisk's whole name: `container/vdisk`. */
  readonly container: string
  readonly layer: LayerId
  readonly copies: number
  readonly extents: readonly Extent[]
  /** crc32c of each page, in group order. */
  readonly checksums: Uint32Array
  /** Of the prefix that was drained into this group, or handed on by a group that was freed. */
  readonly zeros: readonly ZeroRun[]
  /** Absent in those that were written before there was such a part. */
  readonly standing?: Standing
}

export interface ExtentStore {
  /**
   * Writes whole pages at a place of the group that nothing was written to before, on all copies in parallel, synced;
   * resolves to their checksums, and nobody uses the buffers any more. Each buffer is one page or several. The write at page 0 is called
   * first, and creates the files with room for `pagesMax` pages (those of this write where nothing is said). `trailer`: the last write of
   * the group; nothing can be written to it afterwards. Rejects, when each copy was written or given up (which may use the buffers yet),
   * with OUT_OF_SPACE, DISK_FAILED, PEER_UNREACHABLE or TIMED_OUT, facts `node` and `disk` (of the first that failed) and `failures`
   * (all): the copies then hold anything or nothing, and the group is given up.
   */
  write(
    access: GroupAccess,
    at: GroupPage,
    pages: readonly Buffer[],
    purpose: SpacePurpose,
    trailer?: Trailer,
    pagesMax?: number,
  ): Promise<Uint32Array>
  /** Writes the trailer of a group whose pages all lie there (a sequential stream's). May be repeated, also by a later owner. */
  finish(access: GroupAccess, trailer: Trailer): Promise<void>
  /**
   * Fills `target` with `count` pages from `at`; `checksums`: theirs, from the row. When it rejects, `target` holds anything.
   * Facts of CORRUPT_EXTENT: `missing`, how many copies were not there at all: read the row again, they may have moved.
   */
  read(
    access: GroupAccess,
    at: GroupPage,
    count: number,
    checksums: Uint32Array,
    target: Buffer,
  ): Promise<void>
  /** As `read`, into memory that the caller may give back (large-buffers.ts): of many pages, one copy of them less. */
  take(access: GroupAccess, at: GroupPage, count: number, checksums: Uint32Array): Promise<Buffer>
  /**
   * Makes another copy: reads all pages of the group from those that there are, verified, and writes them. `last`: copies that are
   * bad or gone, and are asked last; not never, for a page of one of them may be the only good one. `arriving` is awaited when all
   * pages were read, and says which copy is written; undefined ends it there. Resolves to that copy when it is durable, and the caller
   * swaps the row. Rejects as `read` and `write` do, facts `node` and `disk` where the new copy could not be written.
   */
  rebuildCopy(
    access: GroupAccess,
    last: readonly CopyRef[],
    trailer: Trailer,
    arriving: () => Promise<CopyRef | undefined>,
  ): Promise<CopyRef | undefined>
  /**
   * Unlinks exactly that copy, durable when it resolves; resolves also where it is not there, or its disk is no disk of the cluster any
   * more. Nothing that was written under
   * an earlier epoch makes it anew afterwards: such a write is refused with FENCED.
   */
  remove(group: GroupId, copy: CopyRef, epoch: Epoch): Promise<void>
  /**
   * Reads the whole copy from the disk, where it lies, and holds each page against these checksums, those of its group's row, and the
   * trailer against its own: no byte of it travels, and nothing is told to anybody. Whoever acts on what is wrong reads the row again
   * first: the copy may have been swapped for another, or freed. Rejects, as peers do, where it could not be looked at.
   */
  verify(group: GroupId, copy: CopyRef, checksums: Uint32Array): Promise<CopyVerdict>
  /** The copies that one of `inventoryFolders` folders of the disk holds: for `ndfs check`. Complete, or it rejects (I7). */
  inventory(disk: DiskRef, folder: number): Promise<readonly FoundCopy[]>
  /** All extent disks of the cluster as last heard: what placement chooses from. */
  candidates(): readonly Candidate[]
  /** Asks all nodes what room their disks have, which `candidates` may say as it was a second ago; resolves when each has answered or failed. */
  hearOfSpace(): Promise<void>
  /** Chooses disks for the copies of a new group from `candidates()`: see `place`. */
  place(request: PlacementRequest): Placement
  /** Chooses a disk for one more copy: see `placeCopy`. */
  placeCopy(request: CopyPlacementRequest): Candidate | undefined
  /** Of any disk of the cluster, also one that is no candidate now; undefined where this node has not heard of it yet. */
  tierOf(disk: DiskRef): Tier | undefined
  /** This node's disks in service. */
  local(): readonly Disk[]
  /** Called once per copy and run of pages of a read that it could not serve. A copy that can't be reached is not bad. */
  onBadCopy: (access: GroupAccess, copy: CopyRef, reason: string) => void
  statistics(): ExtentStoreStatistics
  close(): Promise<void>
}

/** The folders of a disk that its extent groups are spread over. */
export const inventoryFolders = 256

/** A file that lies on a disk, as its name says. */
export interface FoundCopy {
  readonly group: GroupId
  readonly number: CopyNumber
  readonly bytes: number
}

/**
 * `missing`: there is no such file; `short`: it ends before its pages do; `unreadable`: the disk failed a read; `bad`: its bytes are other
 * ones. `reason` goes on a sentence that begins with the copy.
 */
export type CopyVerdict = { readonly state: 'right' } | { readonly state: CopyFault; readonly reason: string }
export type CopyFault = 'missing' | 'short' | 'unreadable' | 'bad'

export interface ExtentStoreStatistics {
  readonly pagesRead: number
  readonly pagesReadFromPeers: number
  readonly pagesWritten: number
  readonly badPages: number
  readonly copiesRebuilt: number
}

/** What a trailer takes at most behind the pages of a group, zero runs aside: for `PlacementRequest.bytes`. */
export const trailerRoomBytes = 32 * KiB
