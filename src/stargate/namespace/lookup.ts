/**
 * Looking a name up, without changing anything: the directory's entry, then its candidates, newest first.
 *
 * The first candidate that lists the name has it: it stood first when the entry was read, and either it had the name then, or came to have it
 * since. One further behind has it only if the entry is the same still: else it was perhaps replaced long ago, and by one that is not
 * in the entry as it was read. And that none has it is believed of several only when it is found twice: the name may have passed
 * from one that was not read yet to one that was read already.
 */
import { find } from './entries.ts'
import type { Inode, InodeId } from './namespace.ts'
import { checkName, dots, missing, type Parts, readRow, readLive } from './parts.ts'
import { randomPause } from '../partition-changes/partition-changes.ts'
import { type DirectoryRow, type Entry, inodeOf, lists } from './rows.ts'
import { asDirectory, checkDirectory } from './parts.ts'
import type { Current } from './settle.ts'
import { NdfsError } from '../../base/errors.ts'

const looksMax = 100

export async function lookup(parts: Parts, id: InodeId, name: Buffer): Promise<Inode> {
  checkName(name)
  const self = dots(name)
  if (self) {
    const target = self === 'self' ? id : await parentOf(parts, id)
    return inodeOf(target, asDirectory(target, await readLive(parts, target)))
  }
  const current = await currentOf(parts, id, name)
  if (current === undefined) throw missing(name)
  return inodeOf(current.id, current.row)
}

export async function parentOf(parts: Parts, id: InodeId): Promise<InodeId> {
  await checkDirectory(parts, id)
  return asDirectory(id, await readLive(parts, id)).parent
}

/** What has the name now. */
export async function currentOf(parts: Parts, id: InodeId, name: Buffer): Promise<Current | undefined> {
  let seen: { readonly stamp: number; readonly current?: InodeId } | undefined
  for (let looks = 0; looks < looksMax; looks++) {
    const { entry } = await find(parts, id, name)
    if (entry === undefined) return undefined
    const current = await firstThatLists(parts, id, entry)
    if (current?.id === entry.candidates[0]) return current
    if (seen?.stamp === entry.stamp && seen.current === current?.id) return current
    seen = { stamp: entry.stamp, current: current?.id }
    if (looks > 3) await randomPause(parts.platform, looks)
  }
  throw new NdfsError(
    'UNAVAILABLE',
    'Cannot look a name up: it passes from one to the other all the time. Try again',
  )
}

async function firstThatLists(parts: Parts, directory: InodeId, entry: Entry): Promise<Current | undefined> {
  for (const id of entry.candidates) {
    const row = await readRow(parts, id)
    if (lists(row, directory, entry.name)) return { id, row }
  }
  return undefined
}

/** From a directory up to the root, itself first. */
export async function* upwards(parts: Parts, from: InodeId): AsyncGenerator<InodeId> {
  for (let id = from; ;) {
    yield id
    if (id === parts.root) return
    const row: DirectoryRow = asDirectory(id, await readLive(parts, id))
    id = row.parent
  }
}
