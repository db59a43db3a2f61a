/**
 * Listing a directory: its entries by cookie, some at a time, and of each the inode that has the name. An entry whose first candidate does
 * not list its name is looked up with care, and left out where nothing has the name.
 */
import { KiB } from '../../base/units.ts'
import { cookieOf, entriesEnd, entryKey } from './cookies.ts'
import { currentOf } from './lookup.ts'
import type { DirectoryEntry, InodeId } from './namespace.ts'
import { asDirectory, type Parts, readRow, readRows } from './parts.ts'
import { decodeEntry, type Entry, inodeOf, lists, partitionOf } from './rows.ts'

const rowsPerScanMax = 1 * KiB
/** In a listing that goes on: so few that the store finds some while those before them are looked through and sent, so many that asking costs little. */
const rowsPerPart = 256
/** Entries of a listing that goes on which are being read, or wait to be taken. */
const rowsAheadMax = 3 * rowsPerPart

export interface Listed {
  readonly entries: readonly DirectoryEntry[]
  readonly done: boolean
}

export async function list(parts: Parts, id: InodeId, after: bigint, limit: number): Promise<Listed> {
  const entries: DirectoryEntry[] = []
  for (let key = entryKey(after); ;) {
    const { read, last, done } = await find(parts, id, key, Math.min(limit - entries.length, rowsPerScanMax))
    entries.push(...(await withInodes(parts, id, read)))
    if (done || entries.length >= limit) return { entries, done }
    key = last
  }
}

/**
 * See `Namespace.listAhead`. Each part is looked for as soon as it is known where it begins, and its inodes are read beside that: the store and this
 * node work at once. `run`: waits for a turn.
 */
export async function* listAhead(
  parts: Parts,
  id: InodeId,
  after: bigint,
  room: () => number,
  run: <T>(task: () => Promise<T>) => Promise<T>,
): AsyncGenerator<Listed> {
  const ahead: Promise<Listed & { readonly found: number }>[] = []
  let outstanding = 0
  /** Behind it the next part begins; undefined while that is not known. */
  let key: string | undefined = entryKey(after)
  let isWanted = true
  const goOn = (atLeast = 0): void => {
    const wanted = Math.max(atLeast, Math.ceil(Math.min(room(), rowsAheadMax) - outstanding))
    if (key === undefined || !isWanted || wanted <= 0) return
    const limit = Math.min(wanted, rowsPerPart)
    const from = key
    const finding = run(() => find(parts, id, from, limit))
    key = undefined
    outstanding += limit
    const reading = finding.then(async ({ read, last, done }) => {
      outstanding -= limit - read.length
      if (!done) {
        key = last
        goOn()
      }
      // The store answers together what comes together, and the part behind this one is not to wait for these inodes.
      await new Promise<void>((resolve) => parts.platform.clock.soon(resolve))
      const entries = isWanted ? await run(() => withInodes(parts, id, read)) : []
      return { entries, done, found: read.length }
    })
    // What it fails with is met in its turn, if that comes.
    reading.catch(() => undefined)
    ahead.push(reading)
  }
  try {
    for (;;) {
      if (ahead.length === 0) goOn(1)
      const { entries, done, found } = await ahead.shift()!
      outstanding -= found
      yield { entries, done }
      if (done) return
      goOn()
    }
  } finally {
    isWanted = false
  }
}

/** Entries behind the key, at most so many; `last`: the key of the last one. */
interface Found {
  readonly read: readonly ReadEntry[]
  readonly last: string
  readonly done: boolean
}

async function find(parts: Parts, id: InodeId, after: string, wanted: number): Promise<Found> {
  // One more, to know whether there is any behind them. The two reads may be of two versions: removal empties a directory first.
  const [row, { rows }] = await Promise.all([
    readRow(parts, id),
    parts.medusa.scan(partitionOf(id), { after, before: entriesEnd, limit: wanted + 1 }),
  ])
  asDirectory(id, row)
  const taken = rows.slice(0, wanted)
  const read = taken.map((found) => ({ cookie: cookieOf(found.key), entry: decodeEntry(found.value) }))
  return { read, last: taken.at(-1)?.key ?? after, done: rows.length <= wanted }
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
  const rows = await readRows(
    parts,
    read.map(({ entry }) => entry.candidates[0]),
  )
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
