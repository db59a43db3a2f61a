/**
 * The files and directories of one container, as rows in Medusa that every node may change (R1, R10). docs/nfs.md, "Namespace", has the
 * rows and the order of each operation's steps.
 *
 *  1. An inode has an id that is never used twice. Odd ones are directories'.
 *  2. An inode lists the names that it has; an entry of a directory counts only where the inode that it names lists it back (M7). So each
 *     operation takes effect in one conditional change of one partition, and a crash between its steps leaves entries that count for
 *     nothing, which whoever meets them clears away.
 *  3. When a method resolves its change is durable, and every node sees it. When it rejects with a FileError nothing was changed; with an
 *     NdfsError whose outcome may be unknown (PEER_UNREACHABLE, TIMED_OUT, UNAVAILABLE) it may have been.
 *  4. Files below 512 KiB lie here, checksummed. What becomes of longer ones is the caller's: an inode then names a vDisk.
 *
 * Not here: who may do what (permissions), file handles, protocols, what a vDisk holds.
 */
import type { VDiskId } from '../../base/ids.ts'
import { KiB } from '../../base/units.ts'
import type { Maybe } from '../io/io.ts'

declare const inodeIdKind: unique symbol
/** Below 2^53. Odd: a directory. */
export type InodeId = number & { readonly [inodeIdKind]: true }

export const isDirectoryId = (id: InodeId): boolean => id % 2 === 1

/** Bytes of a name, and of a symbolic link's target. */
export const nameBytesMax = 255
export const linkBytesMax = 4096
/** Names of one file. */
export const linksMax = 1024
/** A file of this size, or longer, is a vDisk. */
export const inlineBytesMax = 512 * KiB

export type InodeType = 'file' | 'directory' | 'link' | 'block' | 'character' | 'socket' | 'fifo'

/** Since 1970, in nanoseconds. */
export type FileTime = bigint

/** Of microseconds since 1970, as vDisks' owners tell them. */
export const fileTimeAt = (microseconds: number): FileTime => BigInt(microseconds) * 1000n

export interface Inode {
  readonly id: InodeId
  readonly type: InodeType
  /** Permission bits: the lowest twelve. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Names that a file has; of a directory 2 and one for each directory in it. */
  readonly links: number
  /** Of a file that is a vDisk: as it was when it became one; size and times are the owner's since (M6). Of a directory: 4,096. */
  readonly sizeBytes: number
  readonly accessTime: FileTime
  readonly modifyTime: FileTime
  readonly changeTime: FileTime
  readonly device?: { readonly major: number; readonly minor: number }
  /** Of a symbolic link. */
  readonly target?: Buffer
  /** Of a file. */
  readonly content?: Content
  /**
   * Of a vDisk's file whose `modifyTime` a client has set: when the vDisk was changed last before that, as its owner tells it. What the
   * owner tells of later changes counts again.
   */
  readonly modifySetOver?: number
  /** What an exclusive creation brought along, 8 bytes, until attributes are set. */
  readonly verifier?: Buffer
}

/**
 *  inline    → promoting  it grew to `inlineBytesMax`: a new vDisk is being filled with it   [beginPromotion]
 *  promoting → vdisk      the vDisk holds all that the file does                             [endPromotion]
 *  promoting → inline     it was given up, and the vDisk will be deleted                     [undoPromotion]
 * While it is promoting nobody writes to the file. A vDisk's file stays one, also when it shrinks.
 */
export type Content =
  | { readonly kind: 'inline' }
  /** `filler`: 1, and one more each time that another goes on with it. */
  | { readonly kind: 'promoting'; readonly vdisk: VDiskId; readonly filler: number }
  | { readonly kind: 'vdisk'; readonly vdisk: VDiskId }

export type FileErrorCode =
  /** There is no such name. */
  | 'NOENT'
  | 'EXIST'
  | 'NOTDIR'
  | 'ISDIR'
  | 'NOTEMPTY'
  /** The inode is gone. */
  | 'STALE'
  | 'NAMETOOLONG'
  | 'INVAL'
  | 'MLINK'
  /** The file is longer than what lies here. */
  | 'FBIG'
  /** The file is promoting, or not inline any more: look again. */
  | 'CHANGED'

export class FileError extends Error {
  readonly code: FileErrorCode
  constructor(code: FileErrorCode, message: string) {
    super(message)
    this.name = 'FileError'
    this.code = code
  }
}

/** An inode around a change of it: nothing else changed it in between. */
export interface Around {
  readonly before: Inode
  readonly after: Inode
}

export interface NewInode {
  readonly type: InodeType
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly device?: { readonly major: number; readonly minor: number }
  readonly target?: Buffer
  readonly verifier?: Buffer
}

export interface AttributeChange {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  /** `now`: the time of the change. */
  readonly accessTime?: FileTime | 'now'
  readonly modifyTime?: FileTime | 'now'
  /** Of a vDisk's file: when the vDisk was changed last, as its owner tells it; this change is later. */
  readonly modifiedAt?: number
  /** Of an inline file: cut, or grown with zeros. */
  readonly sizeBytes?: number
}

export interface DirectoryEntry {
  readonly name: Buffer
  /** Where a listing goes on behind it: from 3 on, below 2^63, the same for as long as the entry is there, whatever happens to others. */
  readonly cookie: bigint
  readonly inode: Inode
}

/**
 *   damaged file   an inode or its bytes are not what was written, or the vDisk that holds them is not there
 *   wrong name     an entry and an inode that must name one another do not; nothing leads from the root to an inode; a count is wrong
 */
export type FileFindingKind = 'damaged file' | 'wrong name'

export interface FileFinding {
  readonly kind: FileFindingKind
  /** A sentence, with the path where one is known. */
  readonly what: string
  readonly inode: InodeId
}

/** What a check of a container's files is given, and whom it tells. */
export interface FileCheckContext {
  /** What is wrong with a vDisk that this inode names, or was made for it; undefined: it is there. */
  readonly faultOfVDisk: (vdisk: VDiskId, file: InodeId) => Promise<string | undefined>
  /** Those that were made for files of this container, and for which, some minutes ago at least. */
  readonly vdisks: readonly { readonly name: string; readonly vdisk: VDiskId; readonly file: InodeId }[]
  /** Before so many bytes are read. */
  readonly admit: (bytes: number) => Promise<() => void>
  readonly found: (finding: FileFinding) => void
  /** A file that was read, and its bytes that lie here; or a directory. It goes on when that resolves. */
  readonly checked: (what: 'file' | 'directory', bytes: number) => Maybe<void>
  /** What somebody left who died at work, or is at work now: it does no harm, and is cleared away. */
  readonly leftOver: (what: 'entry' | 'vdisk', sentence: string) => void
  readonly unfinished: (what: string) => void
  readonly stopped: () => boolean
}

export interface Namespace {
  readonly root: InodeId
  /** STALE where there is none. */
  inode(id: InodeId): Promise<Inode>
  /** NOENT; NOTDIR; STALE. `.` and `..` are the directory itself and its parent (of the root: the root). */
  lookup(directory: InodeId, name: Buffer): Promise<Inode>
  /** The directory that a directory is in; the root's is the root. */
  parent(directory: InodeId): Promise<InodeId>

  /**
   * Makes an inode under a name. `existed`: there was one of that name before, whatever it is, which is then answered, and nothing was
   * changed: the caller decides whether that is an error. (Of an exclusive creation that is repeated it bears the same verifier.)
   */
  create(
    directory: InodeId,
    name: Buffer,
    inode: NewInode,
  ): Promise<{ readonly inode: Inode; readonly directory: Around; readonly existed: boolean }>
  /** Of anything but a directory. `gone`: it had no other name, and is no more; its vDisk is the caller's to delete. */
  remove(
    directory: InodeId,
    name: Buffer,
  ): Promise<{ readonly directory: Around; readonly inode: Inode; readonly gone: boolean }>
  removeDirectory(directory: InodeId, name: Buffer): Promise<{ readonly directory: Around }>
  /**
   * One step for whoever looks: before it the old name is there, after it the new one, and in place of what was there under the new name
   * it stands at once. A directory replaces only an empty directory, anything else no directory. INVAL into itself.
   */
  rename(
    from: InodeId,
    name: Buffer,
    to: InodeId,
    newName: Buffer,
  ): Promise<{
    readonly from: Around
    readonly to: Around
    readonly replaced?: Inode
    readonly gone: boolean
  }>
  /** Another name for what is no directory. */
  link(
    id: InodeId,
    directory: InodeId,
    name: Buffer,
  ): Promise<{ readonly directory: Around; readonly inode: Inode }>

  /** `ifChangedAt`: CHANGED unless the inode's change time is that. */
  setAttributes(id: InodeId, change: AttributeChange, ifChangedAt?: FileTime): Promise<Around>

  /**
   * Entries behind the cookie (0: from the beginning), in the order of cookies, `.` and `..` not among them, at most `limit` of them.
   * `done`: there is none behind the last one.
   */
  list(
    directory: InodeId,
    after: bigint,
    limit: number,
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly done: boolean }>

  /**
   * As `list`, all entries behind the cookie, in parts as they are found: those that have `room` are read while the ones before them are put to
   * use. A part may be empty; the last one is `done`. Each part is as of a moment after the one before was asked for.
   */
  listAhead(
    directory: InodeId,
    after: bigint,
    room: () => number,
  ): AsyncIterable<{ readonly entries: readonly DirectoryEntry[]; readonly done: boolean }>

  /** Bytes of a file that lies here, inline or promoting, from `offset`, fewer at its end. CHANGED where it is a vDisk. */
  read(
    id: InodeId,
    offset: number,
    length: number,
  ): Promise<{ readonly bytes: Buffer; readonly inode: Inode }>
  /** Durable when it resolves. FBIG where the file would reach `inlineBytesMax`; CHANGED where it is not inline. */
  write(id: InodeId, offset: number, bytes: Buffer): Promise<Around>

  beginPromotion(id: InodeId, vdisk: VDiskId): Promise<Inode>
  /** Raises `filler` by one, on condition that it is this: whoever had it before can't end the promotion any more. */
  takePromotion(id: InodeId, vdisk: VDiskId, filler: number): Promise<Inode>
  /** CHANGED unless it is promoting to this vDisk by this filler. */
  endPromotion(id: InodeId, vdisk: VDiskId, filler: number): Promise<Inode>
  undoPromotion(id: InodeId, vdisk: VDiskId): Promise<Inode>
  /**
   * Whether the inode names this vDisk. Where it doesn't (`never`), it never will: `beginPromotion` to that one, or to one of a lower
   * number, is CHANGED from then on, however long ago it was sent. `missing`: there is no such file, and no sign that there was.
   */
  disown(id: InodeId, vdisk: VDiskId): Promise<'named' | 'never' | 'missing'>
  /**
   * Reads everything that can be reached from the root and holds it against each other; changes nothing. What changes meanwhile is no
   * finding, and may be passed by. Memory: some KiB for each directory on the way from the root to where it is.
   */
  check(context: FileCheckContext): Promise<void>
  /**
   * Takes everything away, the root too: of a container that is being deleted, in which nobody makes anything any more. `gone`: told of
   * each file that is no more. Interrupted, it goes on where it is called again. False: something stays, for it can't be read, or somebody
   * was still at work.
   */
  clear(gone: (inode: Inode) => Promise<void>): Promise<boolean>
}
