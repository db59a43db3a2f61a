/**
 * Listing a directory: its entries by cookie, some at a time, and of each the inode that has the name. An entry whose first candidate does
 * not list its name is looked up with care, and left out where nothing has the name.
 */
import { KiB } from '../../base/units.ts'
import { cookieOf, entriesEnd, entryKey } from './cookies.ts'
import { currentOf } from './lookup.ts'
import type { DirectoryEntry, InodeId } from './namespace.ts'
import { asDirectory, checkDirectory, type Parts, readRow } from './parts.ts'
import { decodeEntry, type Entry, inodeOf, lists, partitionOf } from './rows.ts'

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
  const rows = await Promise.all(read.map(({ entry }) => readRow(parts, entry.candidates[0])))
  const entries: DirectoryEntry[] = []
  for (const [i, { cookie, entry }] of read.entries()) {
    const [first] = entry.candidates
    const { name } = entry
    const row = rows[i]
    if (lists(row, directory, name)) entries.push({ name, cookie, inode: inodeOf(first, row) })
    else {
      const current = await currentOf(parts, directory, name)
      if (current) entries.push({ name, cookie, inode: inodeOf(current.id, current.row) })
    }
  }
  return entries
}
