/**
 * Settling an entry: what everyone does before he writes over one, or takes a name away. Its candidates, newest first:
 *
 *  1. Those before the first that lists the name back. Somebody is about to make such a one count, or has died over it. He is given a little
 *     time; then it is made impossible: what does not exist gets a tombstone, what exists another generation. (Whoever prepared it finds that
 *     out by the condition of his change, and begins anew.)
 *  2. The first that lists the name back has it.
 *  3. Those behind it were replaced by it. The name is taken from each that has it still.
 *
 * So no operation that was prepared on an older state can take effect afterwards, and nothing behind comes to light when the name is taken
 * from the one that has it.
 */
import { find } from './entries.ts'
import type { Inode, InodeId } from './namespace.ts'
import { changeRow, newGeneration, type Parts, putRow, readRow } from './parts.ts'
import type { PartitionView } from '../partition-changes/partition-changes.ts'
import { Again } from './retries.ts'
import { changeTimeAfter } from './parts.ts'
import {
  dataRowKey,
  type Entry,
  type FileRow,
  inodeOf,
  type InodeRow,
  isLive,
  lists,
  type LiveRow,
  type Name,
} from './rows.ts'

/** Who has prepared something is given this long to end it; ten times what the changes take on a calm day. */
const patienceMs = [5, 15, 40, 60]

export interface Current {
  readonly id: InodeId
  readonly row: LiveRow
}

/** Throws `Again` when the entry was written meanwhile. `but`: the caller's own candidate, whose change is on condition of its generation. */
export async function settle(
  parts: Parts,
  at: Name,
  entry: Entry,
  but?: InodeId,
): Promise<Current | undefined> {
  let current: Current | undefined
  for (const id of entry.candidates)
    if (current === undefined) {
      const row = await listedOrNeverMore(parts, at, entry, id, id === but)
      if (row) current = { id, row }
    } else await finishReplacing(parts, at, entry, id, current.id)
  return current
}

async function listedOrNeverMore(
  parts: Parts,
  at: Name,
  entry: Entry,
  id: InodeId,
  own: boolean,
): Promise<LiveRow | undefined> {
  for (const pauseMs of [0, ...(own ? [] : patienceMs)]) {
    if (pauseMs > 0) await waitWhile(parts, at, entry, pauseMs)
    const row = await readRow(parts, id)
    if (lists(row, at.directory, at.name)) return row
    if (row?.type === 'removed') return undefined
  }
  return own ? undefined : fence(parts, id, at)
}

async function waitWhile(parts: Parts, at: Name, entry: Entry, pauseMs: number): Promise<void> {
  await parts.platform.clock.sleep(pauseMs)
  const { entry: now } = await find(parts, at.directory, at.name)
  if (now?.stamp !== entry.stamp) throw new Again('an entry was written over')
}

/** Makes it impossible that the inode comes to list the name by what was prepared until now. Its row, where it has come to. */
function fence(parts: Parts, id: InodeId, at: Name): Promise<LiveRow | undefined> {
  return changeRow(parts, id, (row, view) => {
    if (lists(row, at.directory, at.name)) return row
    if (row === undefined) putRow(view, { type: 'removed', never: true })
    else if (isLive(row)) putRow(view, { ...row, generation: newGeneration(parts) })
    return undefined
  })
}

async function finishReplacing(
  parts: Parts,
  at: Name,
  entry: Entry,
  id: InodeId,
  by: InodeId,
): Promise<void> {
  for (const pauseMs of [0, ...patienceMs]) {
    if (pauseMs > 0) await waitWhile(parts, at, entry, pauseMs)
    if (!lists(await readRow(parts, id), at.directory, at.name)) return
  }
  const taken = await takeReplaced(parts, id, at, by)
  if (taken?.gone) parts.ended(taken.inode)
}

export interface Taken {
  readonly inode: Inode
  /** It has no name left, and is no more. */
  readonly gone: boolean
}

/** Takes its name from what was replaced, where it has it still. A directory was emptied and closed before. */
export const takeReplaced = (parts: Parts, id: InodeId, at: Name, by: InodeId): Promise<Taken | undefined> =>
  changeRow(
    parts,
    id,
    (row, view) => {
      if (!lists(row, at.directory, at.name)) return undefined
      if (row.type !== 'directory') return takeName(parts, id, row, at, view)
      if (row.closedFor?.directory !== by) return undefined
      putRow(view, { type: 'removed', never: false })
      return { inode: { ...inodeOf(id, row), links: 0 }, gone: true }
    },
    [],
  )

/** Takes a name from what is no directory. Without any it goes, with all of its rows but a tombstone. */
export function takeName(parts: Parts, id: InodeId, row: FileRow, at: Name, view: PartitionView): Taken {
  const names = row.names.filter((has) => !(has.directory === at.directory && has.name.equals(at.name)))
  const changed: FileRow = {
    ...row,
    names,
    changeTime: changeTimeAfter(parts, row),
    generation: newGeneration(parts),
  }
  if (names.length > 0) {
    putRow(view, changed)
    return { inode: inodeOf(id, changed), gone: false }
  }
  putRow(view, tombstoneOf(row))
  for (const [index, checksum] of (row.checksums ?? []).entries())
    if (checksum !== null) view.remove(dataRowKey(index))
  return { inode: inodeOf(id, changed), gone: true }
}

/** It keeps the name of the vDisk: who took the last name away may have died before he deleted it. */
function tombstoneOf(row: FileRow): InodeRow {
  const { content } = row
  const vdisk = content === undefined || content.kind === 'inline' ? {} : { vdisk: content.vdisk }
  return { type: 'removed', never: false, ...vdisk }
}
