/**
 * Reads pages of a group from whichever of its copies has them right.
 *
 * Each copy in turn is asked for what is still missing. What doesn't match its checksum, or can't be read, is reported
 * once and asked of the next copy; so a page is lost only where it is bad in every copy, whatever else is. A copy that
 * could not be asked is not bad: while there is one, nobody may conclude that the bytes are gone (F9).
 */
import { hasCode, messageOf, NdfsError } from '../../base/errors.ts'
import { groupPage, type GroupPage } from '../../base/units.ts'
import { badRuns, pagesOf, type PageRun } from './checksums.ts'
import type { CopyRef, GroupAccess } from './extent-store.ts'

export interface CopyReader {
  /**
   * Fills the target from `at` on, or resolves to other memory that holds what belongs there, and is the caller's. Rejects with the codes
   * that local-extents.ts promises, or as peers do.
   */
  readCopy(access: GroupAccess, copy: CopyRef, at: GroupPage, target: Buffer): Promise<Buffer | void>
  badCopy(access: GroupAccess, copy: CopyRef, pages: number, reason: string): void
}

export interface WantedPages {
  readonly at: GroupPage
  readonly count: number
  readonly checksums: Uint32Array
  /** Where the pages are in the end. Other memory takes its place where all of them were read into that at once. */
  target: Buffer
}

interface Attempt {
  /** What the copy did not give. */
  readonly left: PageRun[]
  /** Runs that the disk failed to read as a whole: single pages of them may be readable. */
  readonly unreadable: PageRun[]
  readonly missing: boolean
  readonly unreachable?: unknown
}

/**
 * Asks the copies in the order given. Resolves to whether the first of them gave all of it: only then is it certain that nobody writes
 * to the target any more, for a read that was given up may yet do so.
 */
export async function readVerified(
  reader: CopyReader,
  access: GroupAccess,
  copies: readonly CopyRef[],
  wanted: WantedPages,
): Promise<boolean> {
  const first = await readRuns(reader, access, copies[0], [{ first: 0, count: wanted.count }], wanted)
  if (first.left.length === 0) return true
  await readFromOthers(reader, access, copies, first, wanted)
  return false
}

/** What the first copy did not give; apart from it, as that is hardly ever needed, and its locals cost every read. */
async function readFromOthers(
  reader: CopyReader,
  access: GroupAccess,
  copies: readonly CopyRef[],
  first: Attempt,
  wanted: WantedPages,
): Promise<void> {
  let { left } = first
  let missing = 0
  let unreachable: unknown
  const unreadable: { copy: CopyRef; runs: PageRun[] }[] = []
  for (const copy of copies) {
    const attempt = copy === copies[0] ? first : await readRuns(reader, access, copy, left, wanted)
    left = attempt.left
    if (left.length === 0) return
    if (attempt.missing) missing++
    unreachable ??= attempt.unreachable
    if (attempt.unreadable.length > 0) unreadable.push({ copy, runs: attempt.unreadable })
  }
  for (const { copy, runs } of unreadable)
    left = await readSinglePages(reader, access, copy, runs, left, wanted)
  if (left.length === 0) return

  const facts = { group: access.group, pages: left.map((run) => describe(wanted.at, run)), missing }
  if (unreachable !== undefined)
    throw new NdfsError(
      'PEER_UNREACHABLE',
      `Cannot read ${facts.pages.join(', ')} of extent group ${access.group} now: ${messageOf(unreachable)}`,
      facts,
      { cause: unreachable },
    )
  throw new NdfsError(
    'CORRUPT_EXTENT',
    `Cannot read ${facts.pages.join(', ')} of extent group ${access.group}: each of its ${copies.length} copies ` +
      `was asked, and is bad there or gone`,
    facts,
  )
}

async function readRuns(
  reader: CopyReader,
  access: GroupAccess,
  copy: CopyRef,
  runs: readonly PageRun[],
  wanted: WantedPages,
): Promise<Attempt> {
  const left: PageRun[] = []
  const unreadable: PageRun[] = []
  for (let index = 0; index < runs.length; index++) {
    const run = runs[index]
    try {
      const elsewhere = await readRun(reader, access, copy, run, wanted)
      if (elsewhere !== undefined) place(elsewhere, run, wanted)
      for (const bad of badRuns(wanted.target, run, wanted.checksums)) {
        left.push(bad)
        reader.badCopy(access, copy, bad.count, `${describe(wanted.at, bad)}: checksum mismatch`)
      }
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      if (hasCode(error, 'NOT_FOUND')) {
        reader.badCopy(access, copy, run.count, `${describe(wanted.at, run)}: the copy is not there`)
        return { left: [...left, ...runs.slice(index)], unreadable, missing: true }
      }
      if (!hasCode(error, 'DISK_FAILED'))
        return { left: [...left, ...runs.slice(index)], unreadable, missing: false, unreachable: error }
      left.push(run)
      unreadable.push(run)
      reader.badCopy(access, copy, run.count, `${describe(wanted.at, run)}: ${messageOf(error)}`)
    }
  }
  return { left, unreadable, missing: false }
}

/** The last resort: one bad sector fails a long read, and its neighbours may be the only good ones left. */
async function readSinglePages(
  reader: CopyReader,
  access: GroupAccess,
  copy: CopyRef,
  unreadable: readonly PageRun[],
  wantedRuns: readonly PageRun[],
  wanted: WantedPages,
): Promise<PageRun[]> {
  const left: PageRun[] = []
  for (const { first, count } of wantedRuns)
    for (let page = first; page < first + count; page++) {
      const single = { first: page, count: 1 }
      const worthTrying = unreadable.some((run) => run.count > 1 && holds(run, page))
      if (!worthTrying || !(await readSinglePage(reader, access, copy, single, wanted))) left.push(single)
    }
  return left
}

async function readSinglePage(
  reader: CopyReader,
  access: GroupAccess,
  copy: CopyRef,
  page: PageRun,
  wanted: WantedPages,
): Promise<boolean> {
  try {
    const elsewhere = await readRun(reader, access, copy, page, wanted)
    if (elsewhere !== undefined) place(elsewhere, page, wanted)
  } catch {
    // The copy was reported when the long read failed.
    return false
  }
  return badRuns(wanted.target, page, wanted.checksums).length === 0
}

const readRun = (
  reader: CopyReader,
  access: GroupAccess,
  copy: CopyRef,
  { first, count }: PageRun,
  { at, target }: WantedPages,
): Promise<Buffer | void> =>
  reader.readCopy(access, copy, groupPage(at + first), pagesOf(target, first, count))

/** What was read elsewhere. */
function place(read: Buffer, { first, count }: PageRun, wanted: WantedPages): void {
  if (count === wanted.count) wanted.target = read
  else read.copy(pagesOf(wanted.target, first, count))
}

const holds = ({ first, count }: PageRun, page: number): boolean => page >= first && page < first + count

function describe(at: GroupPage, { first, count }: PageRun): string {
  return count === 1 ? `page ${at + first}` : `pages ${at + first} to ${at + first + count - 1}`
}
