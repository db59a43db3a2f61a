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
import type { Disk, DiskFile, SpacePurpose } from '../../disk/disk.ts'
import { isFinished } from './group-file.ts'

/**
 * Enough for random reads over 4 GiB a disk without opening a file for each (an open costs as much as the read): an
 * eighth of what `ndfs doctor` asks a process to be allowed, so that a node may have several disks, and files a second descriptor to be read by.
 */
const openFilesMax = 1024

export interface OpenFile {
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
  /** In the order of last use. */
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
    name: string,
    folder: string,
    bytes: number,
    purpose: SpacePurpose,
    may: Promise<void> = Promise.resolve(),
  ): OpenFile {
    const opening = this.#create(name, folder, bytes, purpose, may)
    this.#noteCreation(name, opening)
    // A file that is open here exists: Disk.create will say so, and the open one stays as it is.
    return this.#files.has(name) ? { name, opening, users: 1, forgotten: true } : this.#add(name, opening)
  }

  /** Opens the file where it isn't open. */
  acquire(name: string): OpenFile {
    const open = this.#files.get(name)
    if (open === undefined) return this.#add(name, this.#open(name))
    open.users++
    this.#files.delete(name)
    this.#files.set(name, open)
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
  async forget(name: string): Promise<void> {
    const open = this.#files.get(name)
    if (open !== undefined) {
      this.#files.delete(name)
      open.forgotten = true
      if (open.users === 0) close(open)
    }
    await this.#creating.get(name)
  }

  close(): void {
    for (const name of [...this.#files.keys()]) void this.forget(name)
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

  #noteCreation(name: string, opening: Promise<OpenedFile>): void {
    const over = opening.then(
      () => undefined,
      () => undefined,
    )
    const creating = Promise.all([this.#creating.get(name), over]).then(() => {
      if (this.#creating.get(name) === creating) this.#creating.delete(name)
    })
    this.#creating.set(name, creating)
  }

  async #open(name: string): Promise<OpenedFile> {
    const file = await this.#disk.open(name)
    return orClose(file, async () => ({ file, finished: await isFinished(file), named: Promise.resolve() }))
  }

  #add(name: string, opening: Promise<OpenedFile>): OpenFile {
    const open: OpenFile = { name, opening, users: 1, forgotten: false }
    this.#files.set(name, open)
    opening.catch(() => {
      open.forgotten = true
      if (this.#files.get(name) === open) this.#files.delete(name)
    })
    return open
  }

  #closeIdle(): void {
    if (this.#files.size <= this.#filesMax) return
    for (const open of this.#files.values())
      if (open.users === 0) {
        void this.forget(open.name)
        if (this.#files.size <= this.#filesMax) return
      }
  }
}

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
