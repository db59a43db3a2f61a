/**
 * Taking a name away:
 *
 *  1. the entry is settled, so that nothing comes to light behind it;
 *  2. the inode's change that takes the name: the moment. Without any name it goes in the same change; a directory, on condition that it is
 *     empty, with its only one;
 *  3. the entry goes, with the directory's times.
 */
import { find, leave } from './entries.ts'
import { type Around, FileError, type Inode, type InodeId } from './namespace.ts'
import { removeEmpty } from './closing.ts'
import { asFile, changeRow, checkName, checkOwnName, dots, missing, type Parts, printed } from './parts.ts'
import { Again, tryAgain } from './retries.ts'
import { type Entry, lists } from './rows.ts'
import { type Current, settle, takeName } from './settle.ts'
import { directoryAsItIs } from './entries.ts'

export interface Found {
  readonly entry: Entry
  readonly current: Current
}

/** What has a name, settled. An entry of which nothing counts is cleared away. `Again` where another was written over it meanwhile. */
export async function findSettled(
  parts: Parts,
  directory: InodeId,
  name: Buffer,
): Promise<Found | undefined> {
  const { entry } = await find(parts, directory, name)
  if (entry === undefined) return undefined
  const current = await settle(parts, { directory, name }, entry)
  if (current) return { entry, current }
  await leave(parts, directory, [{ name, stamp: entry.stamp, stays: [] }])
  // Its candidates may be gone because one of a newer entry has replaced them: the name was never without one.
  const { entry: now } = await find(parts, directory, name)
  if (now !== undefined) throw new Again('an entry was written over')
  return undefined
}

async function mustFind(parts: Parts, directory: InodeId, name: Buffer): Promise<Found> {
  const found = await findSettled(parts, directory, name)
  if (found === undefined) throw missing(name)
  return found
}

/** Takes the entry out after the moment. The directory itself may have gone meanwhile; how it was last is not known then. */
async function takeOut(parts: Parts, directory: InodeId, { name, stamp }: Entry): Promise<Around> {
  const around = await leave(parts, directory, [{ name, stamp, stays: [] }])
  if (around) return around
  const as = await directoryAsItIs(parts, directory)
  return { before: as, after: as }
}

export async function remove(
  parts: Parts,
  directory: InodeId,
  name: Buffer,
): Promise<{ readonly directory: Around; readonly inode: Inode; readonly gone: boolean }> {
  checkName(name)
  if (dots(name)) throw new FileError('ISDIR', `${printed(name)} is a directory`)
  return tryAgain(parts.platform, `remove ${printed(name)}`, async () => {
    const { entry, current } = await mustFind(parts, directory, name)
    asFile(current.id, current.row)
    const at = { directory, name }
    const taken = await changeRow(parts, current.id, (row, view) => {
      if (!lists(row, directory, name) || row.generation !== current.row.generation)
        throw new Again('its names have changed')
      return takeName(parts, current.id, asFile(current.id, row), at, view)
    })
    return { ...taken, directory: await takeOut(parts, directory, entry) }
  })
}

export async function removeDirectory(
  parts: Parts,
  directory: InodeId,
  name: Buffer,
): Promise<{ readonly directory: Around }> {
  checkName(name)
  if (dots(name) === 'parent') throw new FileError('NOTEMPTY', 'The parent of a directory is not empty')
  checkOwnName(name)
  return tryAgain(parts.platform, `remove directory ${printed(name)}`, async () => {
    const { entry, current } = await mustFind(parts, directory, name)
    if (current.row.type !== 'directory') throw new FileError('NOTDIR', `${printed(name)} is no directory`)
    await removeEmpty(parts, current)
    return { directory: await takeOut(parts, directory, entry) }
  })
}
