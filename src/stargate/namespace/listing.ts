/**
 * Listing a directory: its entries by cookie, some at a time, and of each the inode that has the name. An entry whose first candidate does
 * not list its name is looked up with care, and left out where nothing has the name.
 */
import { KiB } from '../../base/units.ts'
import { cookieOf, entriesEnd, entryKey } from './cookies.ts'
import { currentOf } from './lookup.ts'
import type { DirectoryEntry, InodeId } from './namespace.ts'
import { asDirectory, checkDirectory, type Parts, readRow } from './parts.ts'
import { decodeEntry, type Entry, inodeOf, type InodeRow, lists, partitionOf } from './rows.ts'

/** Inodes that one listing reads at once: enough to hide the way to the metadata store, few enough that others get their turn. */
const readsAtOnce = 64
const rowsPerScanMax = 1 * KiB

export async function list(
  parts: Parts,
  id: InodeId,
  after: bigint,
  limit: number,
): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly done: boolean }> {
  await checkDirectory(parts, id)
  const entries: DirectoryEntry[] = []
  for (let key = entryKey(after); ;) {
    const wanted = Math.min(limit - entries.length, rowsPerScanMax)
    // One more, to know whether there is any behind them. The two reads may be of two versions: removal empties a directory first.
    const [row, { rows }] = await Promise.all([
      readRow(parts, id),
      parts.medusa.scan(partitionOf(id), { after: key, before: entriesEnd, limit: wanted + 1 }),
    ])
    asDirectory(id, row)
    const taken = rows.slice(0, wanted)
    const read = taken.map((found) => ({ cookie: cookieOf(found.key), entry: decodeEntry(found.value) }))
    entries.push(...(await withInodes(parts, id, read)))
    const done = rows.length <= wanted
    if (done || entries.length >= limit) return { entries, done }
    key = taken[taken.length - 1].key
  }
}

interface ReadEntry {
  readonly cookie: bigint
  readonly entry: Entry
}

async function withInodes(
  parts: Parts,
  directory: InodeId,
  read: readonly ReadEntry[],
): Promise<readonly DirectoryEntry[]> {
  const entries: DirectoryEntry[] = []
  for (let from = 0; from < read.length; from += readsAtOnce) {
    const some = read.slice(from, from + readsAtOnce)
    const rows = await readRows(
      parts,
      some.map(({ entry }) => entry.candidates[0]),
    )
    const shown = await Promise.all(some.map((one, i) => shownEntry(parts, directory, one, rows[i])))
    entries.push(...shown.filter((entry) => entry !== undefined))
  }
  return entries
}

/** The rows of many inodes. Here a read of several partitions at once would go in, once Medusa has one. */
const readRows = (parts: Parts, ids: readonly InodeId[]): Promise<readonly (InodeRow | undefined)[]> =>
  Promise.all(ids.map((id) => readRow(parts, id)))

async function shownEntry(
  parts: Parts,
  directory: InodeId,
  { cookie, entry }: ReadEntry,
  row: InodeRow | undefined,
): Promise<DirectoryEntry | undefined> {
  const [first] = entry.candidates
  const { name } = entry
  if (lists(row, directory, name)) return { name, cookie, inode: inodeOf(first, row) }
  const current = await currentOf(parts, directory, name)
  return current && { name, cookie, inode: inodeOf(current.id, current.row) }
}
