/**
 * Renaming S from one name to another, which T may have:
 *
 *  1. both entries are settled; a directory that goes to another parent waits for its turn (moves.ts);
 *  2. the new entry: S first, then T;
 *  3. T, on condition of its generation in 1., gets another one; a directory T is closed so, on condition that it is empty (closing.ts);
 *  4. one change of S, old name out and new name in, on condition of its generation in 1.: the moment;
 *  5. T loses the name;
 *  6. the old entry goes, of the new one S stays.
 *
 * Until 4. T has the name still, for S does not list it. After that S has it, for it stands first, and the old entry counts for nothing.
 */
import { hasCode } from '../../base/errors.ts'
import { close, reopen, withoutClosing } from './closing.ts'
import { aroundBoth, directoryAsItIs, enter, find, leave } from './entries.ts'
import { type Around, FileError, type Inode, type InodeId } from './namespace.ts'
import {
  changeRow,
  changeTimeAfter,
  checkOwnName,
  checkDirectory,
  missing,
  newGeneration,
  type Parts,
  printed,
  putRow,
} from './parts.ts'
import { findSettled } from './remove.ts'
import { Again, tryAgain } from './retries.ts'
import { type Entry, lists, type LiveRow, type Name } from './rows.ts'
import { type Current, settle, takeReplaced } from './settle.ts'
import type { Moves } from './moves.ts'

export interface Renamed {
  readonly from: Around
  readonly to: Around
  readonly replaced?: Inode
  readonly gone: boolean
}

export async function rename(parts: Parts, moves: Moves, from: Name, to: Name): Promise<Renamed> {
  checkOwnName(from.name)
  checkOwnName(to.name)
  return tryAgain(parts.platform, `rename ${printed(from.name)} to ${printed(to.name)}`, async () => {
    await checkDirectory(parts, to.directory)
    const source = await findSettled(parts, from.directory, from.name)
    if (source === undefined) throw missing(from.name)
    const make = () => renameSettled(parts, from, source, to)
    const { id, row } = source.current
    if (row.type !== 'directory' || from.directory === to.directory) return make()
    return moves.inTurn(id, row.generation, to.directory, make)
  })
}

async function renameSettled(
  parts: Parts,
  from: Name,
  source: { readonly entry: Entry; readonly current: Current },
  to: Name,
): Promise<Renamed> {
  const { id, row } = source.current
  const { entry: over } = await find(parts, to.directory, to.name)
  const target = over && (await settle(parts, to, over, id))
  if (target?.id === id) {
    // It may also have lost the old name meanwhile, to somebody who renames the same.
    if (!lists(target.row, from.directory, from.name)) throw new Again('its names have changed')
    return unchanged(parts, from, to)
  }
  if (target) checkKinds(source.current, target)
  const entered = await enter(parts, to.directory, to.name, target ? [id, target.id] : [id], over?.stamp)
  switch (entered.state) {
    case 'closed':
      await reopen(parts, to.directory, entered.directory)
      throw new Again('the directory was about to be replaced')
    case 'other':
      throw new Again('an entry was written over')
    case 'entered':
      break
    default:
      return entered satisfies never
  }
  try {
    if (target) await hold(parts, source.current, target, to)
    await moveName(parts, id, row.generation, from, to)
  } catch (error) {
    if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE'))
      await leave(parts, to.directory, [
        { name: to.name, stamp: entered.stamp, stays: over?.candidates ?? [], restored: over?.stamp },
      ])
    throw error
  }
  const taken = target && (await takeReplaced(parts, target.id, to, id))
  const out = { name: from.name, stamp: source.entry.stamp, stays: [] }
  const put = target ? { name: to.name, stamp: entered.stamp, stays: [id] } : { name: to.name, stays: [] }
  const lastIn = (directory: InodeId, around: Around | undefined) => around ?? asIs(parts, directory)
  const replaced = { ...(taken && { replaced: taken.inode }), gone: taken?.gone ?? false }
  if (from.directory === to.directory) {
    const around = aroundBoth(entered.around, await leave(parts, to.directory, [out, put]))
    return { from: around, to: around, ...replaced }
  }
  const [left, arrived] = await Promise.all([
    leave(parts, from.directory, [out]),
    leave(parts, to.directory, [put]),
  ])
  return {
    from: await lastIn(from.directory, left),
    to: aroundBoth(entered.around, arrived),
    ...replaced,
  }
}

/** Both names are of one inode: nothing is to be done. */
async function unchanged(parts: Parts, from: Name, to: Name): Promise<Renamed> {
  return { from: await asIs(parts, from.directory), to: await asIs(parts, to.directory), gone: false }
}

async function asIs(parts: Parts, directory: InodeId): Promise<Around> {
  const as = await directoryAsItIs(parts, directory)
  return { before: as, after: as }
}

function checkKinds(source: Current, target: Current): void {
  const isDirectory = source.row.type === 'directory'
  if (target.row.type !== 'directory') {
    if (isDirectory) throw new FileError('NOTDIR', 'A directory replaces only a directory')
  } else if (!isDirectory) throw new FileError('ISDIR', 'Only a directory replaces a directory')
}

/**
 * What will be replaced gets another generation while it has the name: whoever prepared to take it elsewhere before the new entry was there
 * begins anew, and sees that entry. (Else two files that are renamed to each other's names could both do it.)
 */
async function hold(parts: Parts, source: Current, target: Current, to: Name): Promise<void> {
  if (target.row.type === 'directory')
    return close(parts, target, { directory: source.id, generation: source.row.generation })
  const mark = newGeneration(parts)
  return changeRow(parts, target.id, (row, view) => {
    // Made already, which was not known at once.
    if (row?.type !== 'removed' && row?.generation === mark) return
    if (!lists(row, to.directory, to.name) || row.generation !== target.row.generation)
      throw new Again('what was to be replaced has other names')
    putRow(view, { ...row, generation: mark })
  })
}

async function moveName(parts: Parts, id: InodeId, generation: number, from: Name, to: Name): Promise<void> {
  const mark = newGeneration(parts)
  await changeRow(parts, id, (row, view) => {
    // Made already, which was not known at once.
    if (row?.type !== 'removed' && row?.generation === mark) return
    if (!lists(row, from.directory, from.name) || row.generation !== generation)
      throw new Again('its names have changed')
    putRow(view, { ...renamed(row, from, to), changeTime: changeTimeAfter(parts, row), generation: mark })
  })
}

function renamed(row: LiveRow, from: Name, to: Name): LiveRow {
  if (row.type === 'directory') return { ...withoutClosing(row), parent: to.directory, name: to.name }
  const others = row.names.filter((has) => !(has.directory === from.directory && has.name.equals(from.name)))
  return { ...row, names: [...others, to] }
}
