/**
 * The rows of the namespace in Medusa (docs/nfs.md, "Namespace"): their keys and shapes. Rows are CBOR.
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

/** Rises when a row's shape changes so that older code can't read it. */
const rowVersion = 1

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

const wrap = (row: unknown): Buffer => encodeControl({ version: rowVersion, row })

function unwrap<T>(bytes: Buffer, what: string): T {
  const { version, row } = decodeControl<{ version: number; row: T }>(bytes)
  if (version !== rowVersion)
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read ${what}: it has version ${version}, and this NDFS knows ${rowVersion}`,
      { version },
    )
  return row
}

type Encoded<Row> = Omit<Row, 'names'> & { readonly names?: readonly (readonly [number, Uint8Array])[] }

export const encodeInodeRow = (row: InodeRow): Buffer =>
  wrap('names' in row ? { ...row, names: row.names.map(({ directory, name }) => [directory, name]) } : row)

/** DAMAGED_METADATA where the bytes are none that were ever written. */
function readable<T>(what: string, decode: () => T): T {
  try {
    return decode()
  } catch (error) {
    if (error instanceof NdfsError) throw error
    throw new NdfsError(
      'DAMAGED_METADATA',
      `Cannot read ${what}: it holds something else`,
      {},
      { cause: error },
    )
  }
}

export const decodeInodeRow = (bytes: Buffer): InodeRow =>
  readable("an inode's row", () => decodeInode(unwrap<Encoded<InodeRow>>(bytes, "an inode's row")))

function decodeInode(row: Encoded<InodeRow>): InodeRow {
  if (row.type === 'removed') return row as Tombstone
  if (!types.has(row.type)) throw new Error(`there is no type ${row.type}`)
  const live = row as Encoded<LiveRow> & Common
  const times = {
    accessTime: BigInt(live.accessTime),
    modifyTime: BigInt(live.modifyTime),
    changeTime: BigInt(live.changeTime),
    ...bufferOf(live, 'verifier'),
  }
  if (live.type === 'directory') {
    const directory = row as DirectoryRow
    return { ...directory, ...times, name: Buffer.from(directory.name) }
  }
  const file = row as unknown as FileRow
  return {
    ...file,
    ...times,
    ...bufferOf(file, 'target'),
    names: (live.names ?? []).map(([directory, name]) => ({
      directory: directory as InodeId,
      name: Buffer.from(name),
    })),
  }
}

const bufferOf = <K extends string>(row: { readonly [key in K]?: Uint8Array }, key: K) =>
  row[key] === undefined ? {} : { [key]: Buffer.from(row[key]) }

export const encodeEntry = ({ name, candidates, stamp }: Entry): Buffer => wrap([name, candidates, stamp])

export const decodeEntry = (bytes: Buffer): Entry =>
  readable('an entry of a directory', () => {
    const [name, candidates, stamp] = unwrap<[Uint8Array, InodeId[], number]>(
      bytes,
      'an entry of a directory',
    )
    return { name: Buffer.from(name), candidates: Array.from(candidates), stamp }
  })

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
