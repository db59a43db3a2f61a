/**
 * The open files of one disk's extent groups; the most recently used stay open.
 *
 *  (none) → in use   created, or opened                       [create, acquire]
 *  in use → idle     its last user is done                    [release]
 *  idle   → in use   asked for again                          [acquire]
 *  idle   → (none)   others were used more recently           [release]
 *  any    → (none)   its file is removed; closed once unused  [forget]
 *
 * Whoever comes while a file is being created waits for that: requests of one group start in the order in which its
 * owner sent them, and the first one creates. Whoever removes waits too, however often it is asked: a creation that
 * hangs is over before anybody hears that there is no such file.
 */
import { assert } from '../../base/assert.ts'
import type { CopyNumber, GroupId } from '../../base/ids.ts'
import type { Disk, DiskFile, SpacePurpose } from '../../disk/disk.ts'
import { folderOf, groupFileName, isFinished } from './group-file.ts'

/**
 * Enough for random reads over 4 GiB a disk without opening a file for each (an open costs as much as the read): an
 * eighth of what `ndfs doctor` asks a process to be allowed, so that a node may have several disks, and files a second descriptor to be read and written by.
 */
const openFilesMax = 1024

export interface OpenFile {
  readonly key: string
  readonly name: string
  /** Rejects where the file could not be opened; `release` is due all the same. */
  readonly opening: Promise<OpenedFile>
  users: number
  forgotten: boolean
}

export interface OpenedFile {
  readonly file: DiskFile
  /** A trailer is there, or on its way: nothing may be written. */
  finished: boolean
  /** Its name is durable: a write of it is so only when this has resolved too. */
  readonly named: Promise<void>
}

export class OpenFiles {
  readonly #disk: Disk
  readonly #filesMax: number
  /** By copy, in the order of last use. */
  readonly #files = new Map<string, OpenFile>()
  /** Those that are being created, also the forgotten ones; they resolve when that has gone well or failed. */
  readonly #creating = new Map<string, Promise<void>>()

  constructor(disk: Disk, filesMax = openFilesMax) {
    this.#disk = disk
    this.#filesMax = filesMax
  }

  get count(): number {
    return this.#files.size
  }

  /** Creates the file, exclusively, once it `may`: its name counts as being created from now on. */
  create(
    group: GroupId,
    number: CopyNumber,
    bytes: number,
    purpose: SpacePurpose,
    may: Promise<void> = Promise.resolve(),
  ): OpenFile {
    const key = keyOf(group, number)
    const name = groupFileName(group, number)
    const opening = this.#create(name, folderOf(group), bytes, purpose, may)
    this.#noteCreation(key, opening)
    // A file that is open here exists: Disk.create will say so, and the open one stays as it is.
    if (this.#files.has(key)) return { key, name, opening, users: 1, forgotten: true }
    return this.#add(key, name, opening)
  }

  /** Opens the file where it isn't open. */
  acquire(group: GroupId, number: CopyNumber): OpenFile {
    const key = keyOf(group, number)
    const open = this.#files.get(key)
    if (open === undefined) {
      const name = groupFileName(group, number)
      return this.#add(key, name, this.#open(name))
    }
    open.users++
    this.#files.delete(key)
    this.#files.set(key, open)
    return open
  }

  /** Once for each `create` and `acquire`. */
  release(open: OpenFile): void {
    assert(open.users > 0, () => `${open.name} was released too often`)
    open.users--
    if (open.users > 0) return
    if (open.forgotten) close(open)
    else this.#closeIdle()
  }

  /** The file is about to be removed: nobody gets it any more. Resolves when it is not being created any more. */
  async forget(group: GroupId, number: CopyNumber): Promise<void> {
    const key = keyOf(group, number)
    const open = this.#files.get(key)
    if (open !== undefined) this.#forget(open)
    await this.#creating.get(key)
  }

  close(): void {
    for (const open of [...this.#files.values()]) this.#forget(open)
  }

  #forget(open: OpenFile): void {
    this.#files.delete(open.key)
    open.forgotten = true
    if (open.users === 0) close(open)
  }

  async #create(
    name: string,
    folder: string,
    bytes: number,
    purpose: SpacePurpose,
    may: Promise<void>,
  ): Promise<OpenedFile> {
    await may
    const file = await this.#disk.create(name, bytes, purpose)
    // Beside the first write, not before it: one commit of the file system's journal then serves both.
    const named = this.#disk.syncNames(folder)
    named.catch(() => undefined)
    return { file, finished: false, named }
  }

  #noteCreation(key: string, opening: Promise<OpenedFile>): void {
    const over = opening.then(
      () => undefined,
      () => undefined,
    )
    const creating = Promise.all([this.#creating.get(key), over]).then(() => {
      if (this.#creating.get(key) === creating) this.#creating.delete(key)
    })
    this.#creating.set(key, creating)
  }

  async #open(name: string): Promise<OpenedFile> {
    const file = await this.#disk.open(name)
    return orClose(file, async () => ({ file, finished: await isFinished(file), named: Promise.resolve() }))
  }

  #add(key: string, name: string, opening: Promise<OpenedFile>): OpenFile {
    const open: OpenFile = { key, name, opening, users: 1, forgotten: false }
    this.#files.set(key, open)
    opening.catch(() => {
      open.forgotten = true
      if (this.#files.get(key) === open) this.#files.delete(key)
    })
    return open
  }

  #closeIdle(): void {
    if (this.#files.size <= this.#filesMax) return
    for (const open of this.#files.values())
      if (open.users === 0) {
        this.#forget(open)
        if (this.#files.size <= this.#filesMax) return
      }
  }
}

/** Of a copy, on its disk. Not its file's name, which takes a checksum to make: every read asks for it. */
const keyOf = (group: GroupId, number: CopyNumber): string => `${group}.${number}`

/** Nothing hangs on a close: each write was synced by its own request before it was answered. */
function close(open: OpenFile): void {
  open.opening.then(({ file }) => file.close()).catch(() => undefined)
}

async function orClose<T>(file: DiskFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await file.close().catch(() => undefined)
    throw error
  }
}
