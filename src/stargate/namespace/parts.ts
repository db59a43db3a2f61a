/** What the operations stand on, and small things that they share. */
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Platform } from '../../platform/platform.ts'
import { nameHashBits, type NameHash } from './cookies.ts'
import {
  FileError,
  type FileTime,
  type Inode,
  type InodeId,
  isDirectoryId,
  nameBytesMax,
} from './namespace.ts'
import type { PartitionChanges, PartitionView } from '../partition-changes/partition-changes.ts'
import type { RowReads } from './row-reads.ts'
import {
  decodeInodeRow,
  type DirectoryRow,
  encodeInodeRow,
  type FileRow,
  inodeRowKey,
  type InodeRow,
  isLive,
  type LiveRow,
  type Name,
  partitionOf,
} from './rows.ts'

export interface Parts {
  readonly medusa: Medusa
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
  readonly container: string
  readonly root: InodeId
  readonly hash: NameHash
  readonly changes: PartitionChanges
  readonly reads: RowReads
  /** Told of an inode that ended while somebody else's unfinished operation was cleared away: nobody was answered so. */
  readonly ended: (inode: Inode) => void
}

export const stale = (id: InodeId): FileError => new FileError('STALE', `There is no inode ${id}`)

export async function readRow({ reads }: Parts, id: InodeId): Promise<InodeRow | undefined> {
  const bytes = await reads.read(id)
  return bytes && decodeInodeRow(bytes)
}

/** At once, for whoever has many: see `RowReads.readMany`. */
export async function readRows(
  { reads }: Parts,
  ids: readonly InodeId[],
): Promise<readonly (InodeRow | undefined)[]> {
  const rows = await reads.readMany(ids)
  return rows.map((bytes) => bytes && decodeInodeRow(bytes))
}

/** An inode's row as a check finds it: `none`, its partition was never changed. */
export type FoundRow =
  | { readonly state: 'found'; readonly row: InodeRow }
  | { readonly state: 'none' }
  | { readonly state: 'damaged'; readonly why: string }

export async function findRow({ medusa }: Pick<Parts, 'medusa'>, id: InodeId): Promise<FoundRow> {
  const { static: at, rows } = await medusa.get(partitionOf(id), [inodeRowKey])
  if (rows.length > 0) {
    const read = soundly(() => decodeInodeRow(rows[0].value))
    return 'why' in read ? { state: 'damaged', why: read.why } : { state: 'found', row: read.value }
  }
  // What was once there leaves a tombstone.
  return at.version === 0 ? { state: 'none' } : { state: 'damaged', why: 'its row is not there' }
}

/** What a row holds, or why that can't be read. */
export function soundly<T>(read: () => T): { readonly value: T } | { readonly why: string } {
  try {
    return { value: read() }
  } catch (error) {
    if (hasCode(error, 'DAMAGED_METADATA')) return { why: error.message }
    throw error
  }
}

export async function readLive(parts: Parts, id: InodeId): Promise<LiveRow> {
  const row = await readRow(parts, id)
  if (!isLive(row)) throw stale(id)
  return row
}

export const rowIn = (view: PartitionView): InodeRow | undefined => {
  const bytes = view.get(inodeRowKey)
  return bytes && decodeInodeRow(bytes)
}

export const putRow = (view: PartitionView, row: InodeRow): void => view.put(inodeRowKey, encodeInodeRow(row))

/** Changes an inode's row; `decide` gets what is there, and the view for other rows. */
export const changeRow = <T>(
  { changes }: Parts,
  id: InodeId,
  decide: (row: InodeRow | undefined, view: PartitionView) => T,
  keys: readonly string[] = [],
  bytes = 0,
): Promise<T> =>
  changes.change(partitionOf(id), {
    keys: [inodeRowKey, ...keys],
    bytes,
    decide: (view) => decide(rowIn(view), view),
  })

export function asDirectory(id: InodeId, row: InodeRow | undefined): DirectoryRow {
  if (!isLive(row)) throw stale(id)
  if (row.type !== 'directory') throw new FileError('NOTDIR', `${id} is no directory`)
  return row
}

/** Before anything is entered, or looked for, in what might be no directory. */
export async function checkDirectory(parts: Parts, id: InodeId): Promise<void> {
  if (isDirectoryId(id)) return
  asDirectory(id, await readRow(parts, id))
}

export function asFile(id: InodeId, row: InodeRow | undefined): FileRow {
  if (!isLive(row)) throw stale(id)
  if (row.type === 'directory') throw new FileError('ISDIR', `${id} is a directory`)
  return row
}

/** Since 1970, in nanoseconds. */
export const wallTime = ({ platform }: Parts): FileTime =>
  BigInt(Math.floor(platform.clock.wallTime())) * 1_000_000n

/** Now; or a moment after the inode's last change, so that each change shows itself. */
export function changeTimeAfter(parts: Parts, row: LiveRow): FileTime {
  const now = wallTime(parts)
  return now > row.changeTime ? now : row.changeTime + 1n
}

export function modified<Row extends LiveRow>(parts: Parts, row: Row): Row {
  const now = changeTimeAfter(parts, row)
  return { ...row, modifyTime: now, changeTime: now }
}

export const newGeneration = ({ platform }: Parts): number => platform.chance.bytes(6).readUIntLE(0, 6)

/** Of an id's 52 bits, beside the one that tells directories, those that go by the name. */
const placeBits = 29
const lotBits = 52 - placeBits
const places = 2 ** placeBits

/** The upper bits of an id go up with the cookies of the directory, from its own on. */
const placeOf = (hash: NameHash, { directory, name }: Name): number =>
  (Math.floor(directory / 2 ** (lotBits + 1)) + Number(hash(name) >> BigInt(nameHashBits - placeBits))) %
  places

/**
 * An id for what is to have this name: beside the ids of its neighbours in the directory's listing, for whose inodes the store is asked
 * together; else drawn by lot. What is used, or was before, fails to be inserted: that is unlikely but where one name was given again and
 * again, for which `at` is left out.
 */
export function newId({ platform, hash }: Parts, kind: 'directory' | 'other', at?: Name): InodeId {
  const place = at === undefined ? platform.chance.below(places) : placeOf(hash, at)
  const id = place * 2 ** lotBits + platform.chance.below(2 ** lotBits)
  return (id * 2 + (kind === 'directory' ? 1 : 0)) as InodeId
}

/** Names that stand for a directory itself and for its parent. */
export const dots = (name: Buffer): 'self' | 'parent' | undefined => {
  if (name.length > 2 || name.length === 0 || name.some((byte) => byte !== 0x2e)) return undefined
  return name.length === 1 ? 'self' : 'parent'
}

export function checkName(name: Buffer): void {
  if (name.length > nameBytesMax)
    throw new FileError('NAMETOOLONG', `A name of ${name.length} bytes is longer than ${nameBytesMax}`)
  if (name.length === 0) throw new FileError('INVAL', 'A name has at least one byte')
  if (name.includes(0) || name.includes(0x2f))
    throw new FileError('INVAL', 'A name holds neither a zero byte nor a slash')
}

/** A name that an operation may give or take. */
export function checkOwnName(name: Buffer): void {
  checkName(name)
  if (dots(name)) throw new FileError('INVAL', 'The names . and .. are neither given nor taken')
}

export const missing = (name: Buffer): FileError => new FileError('NOENT', `There is no ${printed(name)}`)
export const printed = (name: Buffer): string => JSON.stringify(name.toString('latin1'))

export const damaged = (id: InodeId, what: string): NdfsError =>
  new NdfsError('DAMAGED_METADATA', `Cannot read inode ${id}: ${what}`, { inode: id })
