/**
 * Directories come to an end when they are empty: by removal, or because another one is renamed over them.
 *
 * Removal is one change of the directory's partition, on condition of the version at which nothing in it counted: so it and a creation
 * exclude each other. To be renamed over, it is first closed in the same manner: nothing is entered any more. Then the other takes its
 * name, which is the moment; then it goes. Who wants to enter something in a closed directory finds out whether that moment was, and if it
 * was not, makes it impossible and opens the directory again.
 */
import { entriesBegin, entriesEnd } from './cookies.ts'
import { FileError, type InodeId } from './namespace.ts'
import { asDirectory, changeRow, newGeneration, type Parts, putRow, readRow } from './parts.ts'
import type { PartitionView } from '../partition-changes/partition-changes.ts'
import { Again } from './retries.ts'
import { decodeEntry, type DirectoryRow, type Entry, isLive, lists, partitionOf } from './rows.ts'
import { type Current, settle } from './settle.ts'

const entriesAtOnce = 256
/** Who has closed a directory is given this long to take its place. */
const patienceMs = 100

/** Removes an empty directory, of which `current` was the row when its name was settled. */
export const removeEmpty = (parts: Parts, current: Current): Promise<void> =>
  whileEmpty(parts, current, (view) => putRow(view, { type: 'removed', never: false }))

/** Closes an empty directory so that another one, at that generation, may take its place. */
export const close = (
  parts: Parts,
  current: Current,
  forWhom: NonNullable<DirectoryRow['closedFor']>,
): Promise<void> =>
  whileEmpty(parts, current, (view, row) =>
    putRow(view, { ...row, closedFor: forWhom, subdirectories: 0, generation: newGeneration(parts) }),
  )

async function whileEmpty(parts: Parts, current: Current, then: Ending): Promise<void> {
  try {
    await endWhileEmpty(parts, current, then)
  } catch (error) {
    if (!(error instanceof FileError)) throw error
    // Another one has removed it: what the name stands for now is another question.
    if (error.code === 'STALE') throw new Again('the directory has gone')
    // So it is of one that was moved away, and filled there.
    if (error.code === 'NOTEMPTY' && !(await isStillNamed(parts, current)))
      throw new Again('the directory was given another name')
    throw error
  }
}

async function isStillNamed(parts: Parts, { id, row: seen }: Current): Promise<boolean> {
  const row = await readRow(parts, id)
  return isLive(row) && row.generation === seen.generation
}

type Ending = (view: PartitionView, row: DirectoryRow) => void

async function endWhileEmpty(parts: Parts, { id, row: seen }: Current, then: Ending): Promise<void> {
  for (;;) {
    const { static: at, rows } = await parts.medusa.scan(partitionOf(id), {
      after: entriesBegin,
      before: entriesEnd,
      limit: entriesAtOnce,
    })
    const dead = rows.map(({ key, value }) => ({ key, entry: decodeEntry(value) }))
    await checkDead(
      parts,
      id,
      dead.map(({ entry }) => entry),
    )
    const last = dead.length < entriesAtOnce
    await changeRow(parts, id, (now, view) => {
      const row = asDirectory(id, now)
      if (row.generation !== seen.generation) throw new Again('the directory was given another name')
      if (!view.untouched || view.nextVersion !== at.version + 1) throw new Again('the directory has changed')
      for (const { key } of dead) view.remove(key)
      if (last) then(view, row)
      else putRow(view, { ...row, subdirectories: row.subdirectories - dead.filter(isSubdirectory).length })
    })
    if (last) return
  }
}

const isSubdirectory = ({ entry }: { readonly entry: Entry }): boolean => entry.candidates[0] % 2 === 1

async function checkDead(parts: Parts, directory: InodeId, entries: readonly Entry[]): Promise<void> {
  const notEmpty = () => new FileError('NOTEMPTY', `Directory ${directory} is not empty`)
  // What lives shows itself at once; only what seems dead is waited for.
  for (const { name, candidates } of entries)
    if (lists(await readRow(parts, candidates[0]), directory, name)) throw notEmpty()
  for (const entry of entries)
    if ((await settle(parts, { directory, name: entry.name }, entry)) !== undefined) throw notEmpty()
}

/** Opens a closed directory again, unless its place was taken: then it is gone. */
export async function reopen(parts: Parts, id: InodeId, closed: DirectoryRow): Promise<void> {
  const { closedFor } = closed
  if (closedFor === undefined) return
  await parts.platform.clock.sleep(patienceMs)
  const taken = await changeRow(parts, closedFor.directory, (row, view) => {
    if (!isLive(row) || row.type !== 'directory') return false
    if (lists(row, closed.parent, closed.name)) return true
    if (row.generation === closedFor.generation) putRow(view, { ...row, generation: newGeneration(parts) })
    return false
  })
  await changeRow(parts, id, (row, view) => {
    const now = asDirectory(id, row)
    if (now.generation !== closed.generation || now.closedFor?.generation !== closedFor.generation) return
    if (taken) putRow(view, { type: 'removed', never: false })
    else putRow(view, withoutClosing(now))
  })
}

export function withoutClosing(row: DirectoryRow): DirectoryRow {
  const { closedFor: _, ...open } = row
  return open
}
