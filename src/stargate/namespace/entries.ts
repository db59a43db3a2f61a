/**
 * Entries of directories: found, put in, and taken out or put right. All of it rests on an entry's stamp: who has seen an entry may write
 * over it only while nobody else has, and each change of it is also a change of the directory's times.
 *
 * What an operation does before its moment (`enter`) and after it (`leave`) are two changes of the directory. The second shows the
 * directory's times to be new to whoever looked between the two, and saw nothing of the operation yet.
 */
import { NdfsError } from '../../base/errors.ts'
import { cookiesOf, entryKey } from './cookies.ts'
import { type Around, FileError, type Inode, type InodeId } from './namespace.ts'
import {
  asDirectory,
  changeRow,
  checkDirectory,
  modified,
  type Parts,
  printed,
  putRow,
  stale,
} from './parts.ts'
import type { PartitionView } from '../partition-changes/partition-changes.ts'
import {
  decodeInodeRow,
  decodeEntry,
  type DirectoryRow,
  encodeEntry,
  type Entry,
  inodeOf,
  inodeRowKey,
  isLive,
} from './rows.ts'
import { isDirectoryId } from './namespace.ts'
import { partitionOf } from './rows.ts'

const entryBytes = 700

/** The keys under which a name's entry may stand. */
export const keysOf = ({ hash }: Parts, name: Buffer): readonly string[] =>
  cookiesOf(hash(name)).map(entryKey)

interface Place {
  readonly key?: string
  readonly entry?: Entry
  readonly free?: string
}

function placeIn(get: (key: string) => Buffer | undefined, keys: readonly string[], name: Buffer): Place {
  let free: string | undefined
  for (const key of keys) {
    const bytes = get(key)
    if (bytes === undefined) {
      free ??= key
      continue
    }
    const entry = decodeEntry(bytes)
    if (entry.name.equals(name)) return { key, entry, free }
  }
  return { free }
}

/** A live directory with what it has under a name. */
export async function find(
  parts: Parts,
  id: InodeId,
  name: Buffer,
): Promise<{ readonly directory: DirectoryRow; readonly entry?: Entry }> {
  await checkDirectory(parts, id)
  const keys = keysOf(parts, name)
  const { rows } = await parts.medusa.get(partitionOf(id), [inodeRowKey, ...keys])
  const values = new Map(rows.map(({ key, value }) => [key, value]))
  const bytes = values.get(inodeRowKey)
  const directory = asDirectory(id, bytes && decodeInodeRow(bytes))
  return { directory, entry: placeIn((key) => values.get(key), keys, name).entry }
}

export type Entered =
  /** It stands in the directory, with that stamp. */
  | { readonly state: 'entered'; readonly stamp: number; readonly around: Around }
  /** Another one stands there, not the one that was seen. */
  | { readonly state: 'other'; readonly entry: Entry; readonly directory: Inode }
  /** Nothing is entered while the directory may be replaced. */
  | { readonly state: 'closed'; readonly directory: DirectoryRow }

/** Puts an entry where there is none, or over the one of that stamp. */
export async function enter(
  parts: Parts,
  id: InodeId,
  name: Buffer,
  candidates: readonly InodeId[],
  over?: number,
): Promise<Entered> {
  await checkDirectory(parts, id)
  const keys = keysOf(parts, name)
  return changeRow<Entered>(
    parts,
    id,
    (row, view) => {
      const directory = asDirectory(id, row)
      if (directory.closedFor) return { state: 'closed', directory }
      const { key, entry, free } = placeIn((at) => view.get(at), keys, name)
      const before = inodeOf(id, directory)
      if (entry && entry.stamp !== over) return { state: 'other', entry, directory: before }
      const at = key ?? free
      if (at === undefined)
        throw new NdfsError(
          'REFUSED',
          `Cannot enter ${printed(name)}: its places are taken by names of the same hash`,
        )
      const stamp = view.nextVersion
      view.put(at, encodeEntry({ name, candidates, stamp }))
      const counted =
        directory.subdirectories + isSubdirectory(candidates) - isSubdirectory(entry?.candidates)
      const changed = modified(parts, { ...directory, subdirectories: counted })
      putRow(view, changed)
      return { state: 'entered', stamp, around: { before, after: inodeOf(id, changed) } }
    },
    keys,
    entryBytes,
  )
}

export interface Leaving {
  readonly name: Buffer
  /** Only where the entry has this stamp still: else somebody else has put it right. */
  readonly stamp?: number
  /** What stays; nothing: the entry goes. */
  readonly stays: readonly InodeId[]
  /** The entry is as it was under this stamp: who has seen it then, and is about to take it out, finds it so again. */
  readonly restored?: number
}

/**
 * What there is to do in a directory after an operation's moment. Its times change in any case. `undefined`: the directory has gone meanwhile.
 */
export async function leave(
  parts: Parts,
  id: InodeId,
  leaving: readonly Leaving[],
): Promise<Around | undefined> {
  const keys = leaving.flatMap(({ name, stamp }) => (stamp === undefined ? [] : keysOf(parts, name)))
  return changeRow(
    parts,
    id,
    (row, view) => {
      if (!isLive(row)) return undefined
      const directory = asDirectory(id, row)
      const counted = leaving.reduce((sum, one) => sum + leaveOne(parts, view, one), directory.subdirectories)
      const changed = modified(parts, { ...directory, subdirectories: counted })
      putRow(view, changed)
      return { before: inodeOf(id, directory), after: inodeOf(id, changed) }
    },
    keys,
    entryBytes * leaving.length,
  )
}

/** By how much the number of subdirectories changes. */
function leaveOne(parts: Parts, view: PartitionView, { name, stamp, stays, restored }: Leaving): number {
  if (stamp === undefined) return 0
  const { key, entry } = placeIn((at) => view.get(at), keysOf(parts, name), name)
  if (key === undefined || entry?.stamp !== stamp) return 0
  if (stays.length === 0) view.remove(key)
  else view.put(key, encodeEntry({ name, candidates: stays, stamp: restored ?? view.nextVersion }))
  return isSubdirectory(stays) - isSubdirectory(entry.candidates)
}

const isSubdirectory = (candidates: readonly InodeId[] = []): number =>
  candidates.length > 0 && isDirectoryId(candidates[0]) ? 1 : 0

/** What a caller is told of the directory: from before the first change where nothing came between the two. */
export function aroundBoth(first: Around | undefined, last: Around | undefined): Around {
  const around = last ?? first
  if (around === undefined) throw new FileError('STALE', 'The directory has gone')
  if (first && last && first.after.changeTime === last.before.changeTime)
    return { before: first.before, after: last.after }
  return around
}

export async function directoryAsItIs(parts: Parts, id: InodeId): Promise<Inode> {
  const { rows } = await parts.medusa.get(partitionOf(id), [inodeRowKey])
  if (rows.length === 0) throw stale(id)
  return inodeOf(id, asDirectory(id, decodeInodeRow(rows[0].value)))
}
