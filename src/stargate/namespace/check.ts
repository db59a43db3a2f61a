/**
 * All files and directories of a container, held against each other while they change: directory by directory from the root, and then the
 * vDisks that were made for files.
 *
 *   entry ─▶ its candidates' rows: the first that lists the name back has it ─▶ the inode's bytes or vDisk ─▶ the entries of all its names
 *
 *  1. What is on its way is no finding. Each finding rests on what no order of sound changes shows: on rows that were read at one version;
 *     or on an inode that had the same generation before and after something was looked at that its names call for. A generation never comes
 *     twice, and is another with each change of names.
 *  2. An entry that counts for nothing is what a crash leaves, and is told apart; but whatever it names and is live must be found elsewhere.
 *  3. A file with several names is read where its first name is met.
 *
 * Small files that no entry names any more, and names that nobody has, can't be found so: Medusa has no list of partitions.
 */
import { atOnce } from '../../base/at-once.ts'
import type { VDiskId } from '../../base/ids.ts'
import { checkData } from './content.ts'
import { entriesBegin, entriesEnd } from './cookies.ts'
import { keysOf } from './entries.ts'
import { type FileCheckContext, type FileFindingKind, type InodeId, isDirectoryId } from './namespace.ts'
import { asFile, findRow, type Parts, soundly } from './parts.ts'
import {
  dataRowBytes,
  decodeEntry,
  decodeInodeRow,
  type Entry,
  type FileRow,
  inodeRowKey,
  isLive,
  lists,
  type LiveRow,
  type Name,
  partitionOf,
} from './rows.ts'
import { depthMax, pathOf, printable, type Walked, walkDirectories } from './walk.ts'

const entriesAtOnce = 256
/** Inodes read at once, each with up to 512 KiB. */
const inodesAtOnce = 8
/** Entries that counted for nothing when they were met: more than these are looked at again at once. */
const suspectsMax = 10_000
/** Longer than an operation takes on a calm day. */
const lookAgainAfterMs = 1000
/** Of a directory that changes each time: then its count is passed by. */
const countsMax = 4

/** An entry that counted for nothing. */
interface Suspect {
  readonly path: string
  readonly directory: InodeId
  readonly key: string
  readonly stamp: number
}

interface Seen {
  readonly id: InodeId
  readonly path: string
}

/** Directories in a directory. */
interface Counted {
  /** Counted at one version. */
  readonly isOne: boolean
  readonly subdirectories: number
  /** What its row says, where that can be read. */
  readonly said?: number
}

export class ContainerCheck {
  readonly #parts: Parts
  readonly #context: FileCheckContext
  readonly #suspects: Suspect[] = []

  constructor(parts: Parts, context: FileCheckContext) {
    this.#parts = parts
    this.#context = context
  }

  async run(): Promise<void> {
    const { unfinished, stopped, vdisks } = this.#context
    const { root } = this.#parts
    const found = await findRow(this.#parts, root)
    // The container was deleted.
    if (found.state === 'found' && found.row.type === 'removed') return
    if (found.state !== 'found' || found.row.type !== 'directory')
      return this.#found(
        'damaged file',
        root,
        `the root of ${this.#parts.container} is not there, or can't be read`,
      )
    const tooDeep = (directory: Walked): void =>
      unfinished(`${pathOf(this.#parts, directory)} lies deeper than ${depthMax} directories`)
    for await (const directory of walkDirectories(this.#parts, tooDeep)) {
      if (stopped()) return
      await this.#checkDirectory(directory)
    }
    if (this.#suspects.length > 0) await this.#parts.platform.clock.sleep(lookAgainAfterMs)
    for (const suspect of this.#suspects) if (!stopped()) await this.#lookAgain(suspect)
    await atOnce(vdisks, inodesAtOnce, async (vdisk) => {
      if (!stopped()) await this.#checkVDisk(vdisk)
    })
  }

  #found(kind: FileFindingKind, inode: InodeId, what: string): void {
    this.#context.found({ kind, inode, what })
  }

  async #checkDirectory(directory: Walked): Promise<void> {
    const { id } = directory
    const { checked, stopped } = this.#context
    const counted = await this.#pages(id, (rows) =>
      atOnce(rows, inodesAtOnce, async ({ key, value }) => {
        if (stopped()) return
        const entry = soundly(() => decodeEntry(value))
        if ('value' in entry) await this.#checkEntry(directory, key, entry.value)
        else
          this.#found(
            'wrong name',
            id,
            `an entry of ${pathOf(this.#parts, directory)} can't be read: ${entry.why}`,
          )
      }),
    )
    await checked('directory', 0)
    await this.#checkCount(directory, counted)
  }

  /** Its entries, page by page; then how many count as directories at one version, and how many its row says. */
  async #pages(
    id: InodeId,
    look: (rows: readonly { readonly key: string; readonly value: Buffer }[]) => Promise<void>,
  ): Promise<Counted> {
    const { medusa } = this.#parts
    const partition = partitionOf(id)
    const versions = new Set<number>()
    let subdirectories = 0
    for (let after: string | undefined = entriesBegin; after !== undefined;) {
      const { static: at, rows } = await medusa.scan(partition, {
        after,
        before: entriesEnd,
        limit: entriesAtOnce,
      })
      versions.add(at.version)
      await look(rows)
      for (const { value } of rows) {
        const entry = soundly(() => decodeEntry(value))
        if ('value' in entry && isDirectoryId(entry.value.candidates[0])) subdirectories++
      }
      after = rows.length < entriesAtOnce ? undefined : rows[rows.length - 1].key
    }
    const { static: at, rows } = await medusa.get(partition, [inodeRowKey])
    versions.add(at.version)
    const row = rows.length > 0 ? soundly(() => decodeInodeRow(rows[0].value)) : undefined
    const said =
      row && 'value' in row && row.value.type === 'directory' ? row.value.subdirectories : undefined
    return { isOne: versions.size === 1, subdirectories, ...(said === undefined ? {} : { said }) }
  }

  async #checkCount(directory: Walked, counted: Counted): Promise<void> {
    for (let counts = 1; !counted.isOne; counts++) {
      if (counts >= countsMax) return
      counted = await this.#pages(directory.id, async () => undefined)
    }
    const { said, subdirectories } = counted
    if (said === undefined || said === subdirectories) return
    this.#found(
      'wrong name',
      directory.id,
      `${pathOf(this.#parts, directory)} says that it holds ${said} directories, and has entries of ${subdirectories}`,
    )
  }

  async #checkEntry(directory: Walked, key: string, entry: Entry): Promise<void> {
    const { name, candidates } = entry
    const path = pathOf(this.#parts, directory, name)
    if (!keysOf(this.#parts, name).includes(key))
      this.#found(
        'wrong name',
        directory.id,
        `${path} stands in its directory where nobody looks for it, under ${key}`,
      )
    for (const id of candidates) {
      const found = await findRow(this.#parts, id)
      if (found.state === 'damaged')
        this.#found('damaged file', id, `${path}: inode ${id} can't be read: ${found.why}`)
      if (found.state !== 'found') continue
      const { row } = found
      if (lists(row, directory.id, name))
        return this.#checkInode({ id, path }, row, { directory: directory.id, name })
      if (isLive(row)) await this.#checkNames({ id, path }, row)
    }
    const suspect = { path, key, directory: directory.id, stamp: entry.stamp }
    if (this.#suspects.length < suspectsMax) this.#suspects.push(suspect)
    else await this.#lookAgain(suspect)
  }

  /** Whoever was at work on it has come further by now. */
  async #lookAgain({ path, key, directory, stamp }: Suspect): Promise<void> {
    const { rows } = await this.#parts.medusa.get(partitionOf(directory), [key])
    const entry = rows.length > 0 ? soundly(() => decodeEntry(rows[0].value)) : undefined
    if (entry === undefined || 'why' in entry || entry.value.stamp !== stamp) return
    const { name, candidates } = entry.value
    for (const id of candidates) {
      const found = await findRow(this.#parts, id)
      if (found.state === 'damaged' || (found.state === 'found' && lists(found.row, directory, name))) return
    }
    this.#context.leftOver('entry', `${path}: its entry counts for nothing`)
  }

  async #checkInode(seen: Seen, row: LiveRow, at: Name): Promise<void> {
    if (row.type === 'directory') return
    const [first, ...others] = row.names
    if (first.directory !== at.directory || !first.name.equals(at.name)) return
    const bytes = await this.#checkContent(seen, row)
    await this.#context.checked('file', bytes)
    for (const name of others) await this.#checkName(seen, row, name)
  }

  async #checkContent({ id, path }: Seen, row: FileRow): Promise<number> {
    const { admit } = this.#context
    const expected = (row.checksums ?? []).filter((checksum) => checksum !== null).length * dataRowBytes
    const leave = expected > 0 ? await admit(expected) : () => undefined
    try {
      const { rows } = await this.#parts.medusa.get(partitionOf(id))
      const own = rows.find(({ key }) => key === inodeRowKey)
      const read = soundly(() => {
        const now = own && decodeInodeRow(own.value)
        return isLive(now) ? { now: asFile(id, now), bytes: checkData(id, asFile(id, now), rows) } : undefined
      })
      if ('why' in read) {
        this.#found('damaged file', id, `${path}: ${read.why}`)
        return 0
      }
      if (read.value === undefined) return 0
      const { now, bytes } = read.value
      if (now.content !== undefined && now.content.kind !== 'inline')
        await this.#checkVDiskOf({ id, path }, now.content.vdisk)
      return bytes
    } finally {
      leave()
    }
  }

  async #checkVDiskOf({ id, path }: Seen, vdisk: VDiskId): Promise<void> {
    const fault = await this.#context.faultOfVDisk(vdisk, id)
    // What an inode ceases to name goes after that, and is never named again.
    if (fault !== undefined && (await this.#names(id, vdisk)) === 'named')
      this.#found('damaged file', id, `${path}: its bytes are in vDisk ${vdisk}: ${fault}`)
  }

  async #names(id: InodeId, vdisk: VDiskId): Promise<'named' | 'not named' | 'none' | 'damaged'> {
    const found = await findRow(this.#parts, id)
    if (found.state !== 'found') return found.state
    const { row } = found
    if (row.type !== 'file' || row.content === undefined || row.content.kind === 'inline') return 'not named'
    return row.content.vdisk === vdisk ? 'named' : 'not named'
  }

  /** All its names have entries, and the way from there leads to the root. */
  async #checkNames(seen: Seen, row: LiveRow): Promise<void> {
    if (row.type === 'directory') return this.#checkName(seen, row, { directory: row.parent, name: row.name })
    for (const name of row.names) await this.#checkName(seen, row, name)
  }

  async #checkName({ id, path }: Seen, row: LiveRow, at: Name): Promise<void> {
    const wrong = (await this.#faultOfName(id, at)) ?? (await this.#faultOfWay(at.directory))
    if (wrong === undefined) return
    const found = await findRow(this.#parts, id)
    if (found.state !== 'found' || !isLive(found.row) || found.row.generation !== row.generation) return
    this.#found(
      'wrong name',
      id,
      `${path}: inode ${id} is called "${printable(at.name)}" in directory ${at.directory}, and ${wrong}`,
    )
  }

  async #faultOfName(id: InodeId, { directory, name }: Name): Promise<string | undefined> {
    const keys = keysOf(this.#parts, name)
    const { rows } = await this.#parts.medusa.get(partitionOf(directory), [inodeRowKey, ...keys])
    const entries = rows.filter(({ key }) => key !== inodeRowKey)
    if (entries.length === rows.length) return 'there is no such directory'
    const own = entries.some(({ value }) => {
      const entry = soundly(() => decodeEntry(value))
      return 'value' in entry && entry.value.name.equals(name) && entry.value.candidates.includes(id)
    })
    return own ? undefined : 'that has no such entry'
  }

  /** Why the way up from a directory does not lead to the root: the same, over the same names, twice in a row. */
  async #faultOfWay(from: InodeId): Promise<string | undefined> {
    const [first, second] = [await this.#climb(from), await this.#climb(from)]
    return first.fault !== undefined && first.fault === second.fault && first.way === second.way
      ? first.fault
      : undefined
  }

  async #climb(from: InodeId): Promise<{ readonly fault?: string; readonly way: string }> {
    const way: string[] = []
    const passed = new Set<InodeId>()
    for (let id = from; ;) {
      if (id === this.#parts.root) return { way: way.join() }
      if (passed.has(id)) return { way: way.join(), fault: 'the way up from there is a circle' }
      const found = await findRow(this.#parts, id)
      if (found.state !== 'found' || found.row.type !== 'directory')
        return { way: way.join(), fault: `the way up from there ends at ${id}, which is no directory` }
      passed.add(id)
      way.push(`${id} ${found.row.generation}`)
      // So many are never entered by the walk either.
      if (passed.size > depthMax) return { way: way.join() }
      id = found.row.parent
    }
  }

  /** Of a vDisk that was made for a file: it names it, or never will. */
  async #checkVDisk({ name, vdisk, file }: FileCheckContext['vdisks'][number]): Promise<void> {
    const { faultOfVDisk, leftOver } = this.#context
    const found = await findRow(this.#parts, file)
    if (found.state === 'found' && (await this.#names(file, vdisk)) === 'named') {
      if (isLive(found.row)) await this.#checkNames({ id: file, path: name }, found.row)
      return
    }
    // It was deleted meanwhile, with its file.
    if ((await faultOfVDisk(vdisk, file)) !== undefined) return
    const of = `vDisk ${name} was made for file ${file}`
    if (found.state === 'none') this.#found('damaged file', file, `${of}, and there is none, and never was`)
    else if (found.state === 'damaged')
      this.#found('damaged file', file, `${of}, which can't be read: ${found.why}`)
    else if (found.row.type !== 'file' && found.row.type !== 'removed')
      this.#found('damaged file', file, `${of}, which is a ${found.row.type}`)
    else leftOver('vdisk', `${of}, which does not name it`)
  }
}
