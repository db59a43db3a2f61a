/**
 * The rows of the namespace in Medusa (docs/nfs.md, "Namespace"): their keys and shapes. A row is an array of CBOR, its version first: listings
 * read millions of them, and a map's words are most of what reading one costs. What few inodes have is a map at its end, left out where it is empty.
 *
 *   inode/ID       inode        attributes, names, content, checksums of the data rows     | a tombstone
 *                  d00 … d15    32 KiB each of a file that is inline; fewer bytes where zeros follow; none where all are zeros
 *   directory/ID   inode        attributes, parent and name, number of subdirectories      | a tombstone
 *                  e + cookie   an entry: its name, and the inodes that it may name
 *
 * The checksums of the data rows stand in the row `inode`, not before the bytes: so it also shows itself when a row is absent that should
 * be there, is there but should not, or is an older one.
 */
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { VDiskId } from '../../base/ids.ts'
import { KiB } from '../../base/units.ts'
import type { PartitionName } from '../../medusa/medusa.ts'
import {
  type Content,
  type FileTime,
  type Inode,
  type InodeId,
  type InodeType,
  isDirectoryId,
} from './namespace.ts'

const types: ReadonlySet<string> = new Set<InodeType>([
  'file',
  'directory',
  'link',
  'block',
  'character',
  'socket',
  'fifo',
])

/** Rises when a row's shape changes so that older code can't read it. Version 1, of before the first release, had maps, and took more than twice as long to read. */
const rowVersion = 2

export const inodeRowKey = 'inode'
export const dataRowBytes = 32 * KiB
export const dataRowKey = (index: number): string => `d${String(index).padStart(2, '0')}`

export const partitionOf = (id: InodeId): PartitionName => ({
  table: isDirectoryId(id) ? 'directory' : 'inode',
  key: String(id),
})

export interface Name {
  readonly directory: InodeId
  readonly name: Buffer
}

interface Common {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly accessTime: FileTime
  readonly modifyTime: FileTime
  readonly changeTime: FileTime
  /**
   * Random, and another one whenever the inode's names change, or whenever somebody makes the change of its names impossible that another
   * has prepared: each such change is on condition of the generation that was read before it was prepared.
   */
  readonly generation: number
  readonly verifier?: Buffer
}

export interface FileRow extends Common {
  readonly type: Exclude<InodeType, 'directory'>
  readonly names: readonly Name[]
  readonly sizeBytes: number
  readonly device?: { readonly major: number; readonly minor: number }
  readonly target?: Buffer
  readonly content?: Content
  /** crc32c of each data row, by its number; null: there is none. */
  readonly checksums?: readonly (number | null)[]
  /** Of a vDisk's file: when the vDisk was changed last, by its owner's word, as a client set `modifyTime`. */
  readonly modifySetOver?: number
  /** Only a vDisk of a higher number may become the file's: those up to this one may have been deleted, as the file did not name them. */
  readonly vdisksAbove?: VDiskId
}

export interface DirectoryRow extends Common {
  readonly type: 'directory'
  readonly parent: InodeId
  readonly name: Buffer
  /** Entries whose first candidate is a directory. */
  readonly subdirectories: number
  /** It is empty and stays so while that directory may take its place: nothing is entered. */
  readonly closedFor?: { readonly directory: InodeId; readonly generation: number }
}

/** There is no inode of that id, and never will be again. */
export interface Tombstone {
  readonly type: 'removed'
  /** It was made impossible before it was made. */
  readonly never: boolean
  readonly vdisk?: VDiskId
}

export type LiveRow = FileRow | DirectoryRow
export type InodeRow = LiveRow | Tombstone

export interface Entry {
  readonly name: Buffer
  /** Newest first. */
  readonly candidates: readonly InodeId[]
  /** The version of the directory's partition that wrote it. The same stamp: nobody has written it since. */
  readonly stamp: number
}

/** What few inodes have: a map at the row's end, where there is any of it. */
type RareOfFile = Pick<FileRow, 'verifier' | 'device' | 'target' | 'modifySetOver' | 'vdisksAbove'>
type RareOfDirectory = Pick<DirectoryRow, 'verifier' | 'closedFor'>

type CommonFields = [
  ...[mode: number, uid: number, gid: number],
  ...[accessTime: FileTime, modifyTime: FileTime, changeTime: FileTime],
  generation: number,
]
type FileFields = [
  type: FileRow['type'],
  ...CommonFields,
  sizeBytes: number,
  names: (readonly [directory: InodeId, name: Buffer])[],
  content: Content | 'inline' | null,
  checksums: FileRow['checksums'] | null,
  rare?: RareOfFile,
]
type DirectoryFields = [
  type: 'directory',
  ...CommonFields,
  ...[parent: InodeId, name: Buffer, subdirectories: number],
  rare?: RareOfDirectory,
]
type TombstoneFields = [type: 'removed', never: boolean, vdisk?: VDiskId]
type InodeFields = FileFields | DirectoryFields | TombstoneFields
type EntryFields = [name: Buffer, candidates: readonly InodeId[], stamp: number]

type Versioned<Fields extends unknown[]> = readonly [version: number, ...Fields]

const wrap = (fields: InodeFields | EntryFields): Buffer => encodeControl([rowVersion, ...fields])

/** DAMAGED_METADATA where the bytes are none that were ever written, or of another version. */
function unwrap<Fields extends unknown[], Row>(
  bytes: Buffer,
  what: string,
  rowOf: (fields: Versioned<Fields>) => Row,
): Row {
  let version: number
  try {
    const fields = decodeControl<Versioned<Fields>>(bytes)
    version = fields[0]
    if (version === rowVersion) return rowOf(fields)
    if (!Number.isSafeInteger(version)) throw new Error('it has no version')
  } catch (error) {
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read ${what}: it holds something else`,
      {},
      { cause: error },
    )
  }
  throw new NdfsError(
    'DAMAGED_METADATA',
    `Cannot read ${what}: it has version ${version}, and this NDFS knows ${rowVersion}`,
    { version },
  )
}

export function encodeInodeRow(row: InodeRow): Buffer {
  if (row.type === 'removed')
    return wrap(row.vdisk === undefined ? ['removed', row.never] : ['removed', row.never, row.vdisk])
  const { mode, uid, gid, accessTime, modifyTime, changeTime, generation, ...own } = row
  const common: CommonFields = [mode, uid, gid, accessTime, modifyTime, changeTime, generation]
  if (own.type === 'directory') {
    const { type, parent, name, subdirectories, ...rare } = own
    return wrap([type, ...common, parent, name, subdirectories, ...rareOf<RareOfDirectory>(rare)])
  }
  const { type, sizeBytes, names, content = null, checksums = null, ...rare } = own
  return wrap([
    type,
    ...common,
    sizeBytes,
    names.map(({ directory, name }) => [directory, name] as const),
    content?.kind === 'inline' ? 'inline' : content,
    checksums,
    ...rareOf<RareOfFile>(rare),
  ])
}

/** What is there of it; nothing where there is none. A field that a later release has brought stays. */
function rareOf<Rare extends object>(rare: Rare): [] | [Rare] {
  const there = Object.entries(rare).filter(([, value]) => value !== undefined)
  return there.length === 0 ? [] : [Object.fromEntries(there) as Rare]
}

export const decodeInodeRow = (bytes: Buffer): InodeRow =>
  unwrap<InodeFields, InodeRow>(bytes, "an inode's row", (fields) => {
    const [, type] = fields
    if (type === 'removed') return tombstoneOf(fields)
    if (type === 'directory') return directoryOf(fields)
    if (!types.has(type)) throw new Error(`there is no type ${type}`)
    return fileOf(fields)
  })

function tombstoneOf([, type, never, vdisk]: Versioned<TombstoneFields>): Tombstone {
  if (typeof never !== 'boolean') throw new Error('it does not say whether there ever was one')
  return { type, never, ...(vdisk === undefined ? {} : { vdisk }) }
}

function directoryOf(fields: Versioned<DirectoryFields>): DirectoryRow {
  const [, type, , , , , , , , parent, name, subdirectories, rare] = fields
  return { ...withBuffers(rare), type, ...commonOf(fields), parent, name: Buffer.from(name), subdirectories }
}

function fileOf(fields: Versioned<FileFields>): FileRow {
  const [, type, , , , , , , , sizeBytes, names, content, checksums, rare] = fields
  return {
    ...withBuffers(rare),
    ...{ type, ...commonOf(fields), sizeBytes },
    names: names.map(([directory, name]) => ({ directory, name: Buffer.from(name) })),
    ...(content === null ? {} : { content: content === 'inline' ? { kind: content } : content }),
    ...(checksums === null ? {} : { checksums }),
  }
}

const commonOf = (fields: Versioned<FileFields | DirectoryFields>) => ({
  ...{ mode: fields[2], uid: fields[3], gid: fields[4] },
  // What fits into 53 bits comes back as a number.
  ...{ accessTime: BigInt(fields[5]), modifyTime: BigInt(fields[6]), changeTime: BigInt(fields[7]) },
  generation: fields[8],
})

const withBuffers = <Rare extends { readonly verifier?: Buffer; readonly target?: Buffer }>(
  rare: Rare | undefined,
): Rare | undefined => rare && { ...rare, ...bufferOf(rare, 'verifier'), ...bufferOf(rare, 'target') }

const bufferOf = <K extends string>(row: { readonly [key in K]?: Uint8Array }, key: K) =>
  row[key] === undefined ? {} : { [key]: Buffer.from(row[key]) }

export const encodeEntry = ({ name, candidates, stamp }: Entry): Buffer => wrap([name, candidates, stamp])

export const decodeEntry = (bytes: Buffer): Entry =>
  unwrap<EntryFields, Entry>(bytes, 'an entry of a directory', ([, name, candidates, stamp]) => ({
    ...{ name: Buffer.from(name), candidates: Array.from(candidates), stamp },
  }))

declare const listing: unique symbol
/** A live row may well not list a name: without this the compiler would take what doesn't for no live row. */
type Listing = LiveRow & { readonly [listing]: true }

/** Whether the inode lists the name: only then an entry of it counts. */
export function lists(row: InodeRow | undefined, directory: InodeId, name: Buffer): row is Listing {
  if (row === undefined || row.type === 'removed') return false
  if (row.type === 'directory') return row.parent === directory && row.name.equals(name)
  return row.names.some((has) => has.directory === directory && has.name.equals(name))
}

export const isLive = (row: InodeRow | undefined): row is LiveRow =>
  row !== undefined && row.type !== 'removed'

const directoryBytes = 4096

/** What the contract shows of a row. */
export function inodeOf(id: InodeId, row: LiveRow): Inode {
  const { type, mode, uid, gid, accessTime, modifyTime, changeTime, verifier } = row
  const common = {
    id,
    type,
    mode,
    uid,
    gid,
    accessTime,
    modifyTime,
    changeTime,
    ...(verifier && { verifier }),
  }
  if (row.type === 'directory') return { ...common, links: 2 + row.subdirectories, sizeBytes: directoryBytes }
  const { device, target, content, names, sizeBytes, modifySetOver } = row
  return {
    ...common,
    links: names.length,
    sizeBytes,
    ...(device && { device }),
    ...(target && { target }),
    ...(content && { content }),
    ...(modifySetOver !== undefined && { modifySetOver }),
  }
}
