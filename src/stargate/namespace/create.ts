/**
 * Making an inode under a name:
 *
 *  1. the entry, with a new id as its only candidate, where there is none that counts;
 *  2. the inode itself, inserted where its partition was never changed: from here on it exists, and has the name;
 *  3. the directory's times.
 *
 * And giving what is no directory another name: the same, but 2. is a change of the inode's names.
 */
import { hasCode } from '../../base/errors.ts'
import { aroundBoth, directoryAsItIs, enter, type Entered, leave } from './entries.ts'
import { reopen } from './closing.ts'
import { currentOf } from './lookup.ts'
import {
  type Around,
  FileError,
  type Inode,
  type InodeId,
  linkBytesMax,
  linksMax,
  type NewInode,
} from './namespace.ts'
import {
  asFile,
  changeRow,
  changeTimeAfter,
  checkName,
  dots,
  newGeneration,
  newId,
  type Parts,
  printed,
  putRow,
  readLive,
  rowIn,
  wallTime,
} from './parts.ts'
import { Again, tryAgain } from './retries.ts'
import { type Entry, inodeOf, inodeRowKey, isLive, type LiveRow, type Name, partitionOf } from './rows.ts'
import { type Current, settle } from './settle.ts'
import { asDirectory } from './parts.ts'

export interface Created {
  readonly inode: Inode
  readonly directory: Around
  readonly existed: boolean
}

export async function create(
  parts: Parts,
  directory: InodeId,
  name: Buffer,
  wanted: NewInode,
): Promise<Created> {
  checkName(name)
  checkNew(wanted)
  const at: Name = { directory, name }
  if (dots(name)) {
    const id =
      dots(name) === 'self' ? directory : asDirectory(directory, await readLive(parts, directory)).parent
    return existing(parts, at, { id, row: await readLive(parts, id) })
  }
  let place: Name | undefined = at
  return tryAgain(parts.platform, `create ${printed(name)}`, async () => {
    const id = newId(parts, wanted.type === 'directory' ? 'directory' : 'other', place)
    place = undefined
    const entered = await enterNew(parts, at, id)
    if ('current' in entered) return existing(parts, at, entered.current)
    const row = newRow(parts, at, wanted)
    if (!(await insert(parts, id, row))) throw new Again('another one took the name')
    const around = aroundBoth(entered.around, await leave(parts, directory, []))
    return { inode: inodeOf(id, row), directory: around, existed: false }
  })
}

async function existing(parts: Parts, { directory }: Name, { id, row }: Current): Promise<Created> {
  const as = await directoryAsItIs(parts, directory)
  return { inode: inodeOf(id, row), directory: { before: as, after: as }, existed: true }
}

type EnteredNew =
  /** `over`: what stood there before, and counted for nothing. */
  | (Extract<Entered, { state: 'entered' }> & { readonly over: readonly InodeId[] })
  | { readonly current: Current }

/** Puts a candidate where nothing counts, or finds out what does. */
async function enterNew(parts: Parts, at: Name, id: InodeId): Promise<EnteredNew> {
  let over: Entry | undefined
  let candidate = await enter(parts, at.directory, at.name, [id])
  for (;;)
    switch (candidate.state) {
      case 'entered':
        return { ...candidate, over: over?.candidates ?? [] }
      case 'closed':
        await reopen(parts, at.directory, candidate.directory)
        throw new Again('the directory was about to be replaced')
      case 'other': {
        if (over !== undefined) throw new Again('an entry was written over')
        const current = await currentOf(parts, at.directory, at.name)
        if (current) return { current }
        if ((await settle(parts, at, candidate.entry, id)) !== undefined)
          throw new Again('the name was just given')
        over = candidate.entry
        candidate = await enter(parts, at.directory, at.name, [id], over.stamp)
        break
      }
      default:
        return candidate satisfies never
    }
}

/** False: its partition has a tombstone, for somebody thought that this one would never come. */
async function insert(parts: Parts, id: InodeId, row: LiveRow): Promise<boolean> {
  return parts.changes.change(partitionOf(id), {
    keys: [inodeRowKey],
    isNew: true,
    decide: (view) => {
      const now = rowIn(view)
      if (now === undefined) {
        putRow(view, row)
        return true
      }
      // It was made, which was not known at once: nobody else inserts at this id. That it was renamed or removed since doesn't matter.
      return view.unsure && (now.type !== 'removed' || !now.never)
    },
  })
}

function checkNew({ type, target, device }: NewInode): void {
  if ((type === 'link') !== (target !== undefined))
    throw new FileError('INVAL', 'A symbolic link, and it alone, has a target')
  if (target?.length === 0)
    throw new FileError('INVAL', 'The target of a symbolic link has at least one byte')
  if (target && target.length > linkBytesMax)
    throw new FileError('NAMETOOLONG', `A target of ${target.length} bytes is longer than ${linkBytesMax}`)
  if (device && type !== 'block' && type !== 'character')
    throw new FileError('INVAL', `A ${type} has no device number`)
}

function newRow(parts: Parts, { directory, name }: Name, wanted: NewInode): LiveRow {
  const { type, mode, uid, gid, device, target, verifier } = wanted
  const now = wallTime(parts)
  const common = {
    mode: mode & 0o7777,
    uid,
    gid,
    accessTime: now,
    modifyTime: now,
    changeTime: now,
    generation: newGeneration(parts),
    ...(verifier && { verifier }),
  }
  if (type === 'directory') return { ...common, type, parent: directory, name, subdirectories: 0 }
  return {
    ...common,
    type,
    names: [{ directory, name }],
    sizeBytes: target?.length ?? 0,
    ...(device && { device }),
    ...(target && { target }),
    ...(type === 'file' && { content: { kind: 'inline' }, checksums: [] }),
  }
}

/** Makes the root where there is none. */
export async function insertRoot(parts: Parts): Promise<void> {
  await changeRow(parts, parts.root, (row, view) => {
    if (isLive(row)) return
    const made = newRow(
      parts,
      { directory: parts.root, name: Buffer.alloc(0) },
      { type: 'directory', mode: 0o755, uid: 0, gid: 0 },
    )
    putRow(view, made)
  })
}

export async function link(
  parts: Parts,
  id: InodeId,
  directory: InodeId,
  name: Buffer,
): Promise<{ readonly directory: Around; readonly inode: Inode }> {
  checkName(name)
  if (dots(name)) throw new FileError('EXIST', 'The names . and .. are taken')
  const at: Name = { directory, name }
  return tryAgain(parts.platform, `give another name to ${id}`, async () => {
    const seen = asFile(id, await readLive(parts, id))
    if (seen.names.length >= linksMax) throw tooManyNames(id)
    const entered = await enterNew(parts, at, id)
    if ('current' in entered) throw new FileError('EXIST', `There is a ${printed(name)} already`)
    const mark = newGeneration(parts)
    try {
      const inode = await changeRow(parts, id, (now, view) => {
        const row = asFile(id, now)
        // Made already, which was not known at once.
        if (row.generation === mark) return inodeOf(id, row)
        if (row.generation !== seen.generation) throw new Again('its names have changed')
        const changed = {
          ...row,
          names: [...row.names, at],
          changeTime: changeTimeAfter(parts, row),
          generation: mark,
        }
        putRow(view, changed)
        return inodeOf(id, changed)
      })
      return { inode, directory: aroundBoth(entered.around, await leave(parts, directory, [])) }
    } catch (error) {
      if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE'))
        await leave(parts, directory, [{ name, stamp: entered.stamp, stays: entered.over }])
      throw error
    }
  })
}

const tooManyNames = (id: InodeId): FileError => new FileError('MLINK', `${id} has ${linksMax} names already`)
