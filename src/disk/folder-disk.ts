/**
 * A disk as a folder of a file system: the superblock at its root, files in subfolders that are made when they are needed.
 *
 * What fails here and what follows from it:
 *
 *   write, sync, create, unlink or folder sync failed      the disk leaves service for good in this process (I6)
 *   no room in the file system under it, before any sync   OUT_OF_SPACE, and the disk goes on: nothing that was
 *                                                          written before is touched, and the caller knows
 *   no room, found out by a sync                           as any failed sync: what was written may be gone
 *   read or open failed                                    DISK_FAILED to the caller alone: another copy answers (I5)
 *   no file descriptor left                                UNAVAILABLE: this process is short of them, not the disk
 */
import { assert } from '../base/assert.ts'
import { NdfsError, messageOf } from '../base/errors.ts'
import type { DiskId, DiskRef, Incarnation, NodeId } from '../base/ids.ts'
import { formatSize } from '../base/units.ts'
import type { File, Files, Platform } from '../platform/platform.ts'
import type { DiskFile, DiskSpace, OpenOptions, SpacePurpose, Tier, WatchedDisk } from './disk.ts'
import { DiskIdentity } from './disk-identity.ts'
import { SpaceCount } from './disk-space.ts'
import { LatencyMeter, openMeasured } from './latency.ts'
import { selfTest } from './self-test.ts'
import { decodeSuperblock, encodeSuperblock, refused, superblockName } from './superblock.ts'
import type { Superblock } from './superblock.ts'

export interface FormatOptions {
  readonly path: string
  readonly cluster: string
  readonly disk: DiskId
  readonly tier: Tier
  readonly capacityBytes: number
}

export interface DiskOptions {
  readonly path: string
  readonly node: NodeId
  /** What the superblock must say. */
  readonly cluster: string
  readonly disk: DiskId
}

/** What lies in a disk's root and isn't its own: what a file system puts there by itself, and the copy of the store. */
const isNotOurs = (name: string): boolean => name === 'lost+found' || name.startsWith('store-copy-')
/** Files looked at together when the disk is scanned: keeps the thread pool busy without holding many descriptors. */
const scannedAtOnce = 16

/** Makes an empty folder, or one that isn't there yet, a disk with a new incarnation; durable when it resolves. */
export async function formatDisk(platform: Platform, options: FormatOptions): Promise<Superblock> {
  const { path, cluster, disk, tier, capacityBytes } = options
  const { files } = platform
  const present = await files.list(path)
  if (present?.includes(superblockName))
    throw new NdfsError(
      'ALREADY_EXISTS',
      `Cannot format ${path}: it is an NDFS disk already. To use it anew, move its files away first.`,
      { path },
    )
  const foreign = present?.filter((name) => !isNotOurs(name) && !isLeftover(name)) ?? []
  if (foreign.length > 0)
    throw new NdfsError(
      'REFUSED',
      `Cannot format ${path}: it is not empty (${foreign.slice(0, 3).join(', ')}). Choose an empty folder.`,
      { path },
    )
  if (!Number.isSafeInteger(capacityBytes) || capacityBytes <= 0)
    throw new NdfsError('REFUSED', `Cannot format ${path}: its capacity must be a whole number of bytes.`, {
      path,
    })
  await files.makeDirectory(path)
  const incarnation = platform.chance.bytes(8).toString('hex') as Incarnation
  const superblock: Superblock = { cluster, disk, incarnation, tier, capacityBytes }
  await files.replaceWhole(`${path}/${superblockName}`, encodeSuperblock(superblock))
  await files.syncDirectory(parentOf(path))
  return superblock
}

/** Takes the disk into use, or refuses it with a sentence that says what to do. */
export async function openDisk(platform: Platform, options: DiskOptions): Promise<WatchedDisk> {
  const { path, node } = options
  const { files } = platform
  const superblock = await readSuperblock(files, options)
  const lock = await files.lock(path)
  if (lock === undefined)
    throw new NdfsError(
      'IN_USE',
      `Cannot use the disk at ${path}: another process has it in use. Stop that process, or give this node another folder.`,
      { path },
    )
  try {
    const usedBytes = await usedBytesIn(files, path)
    const ref = { node, disk: superblock.disk, incarnation: superblock.incarnation }
    platform.log.info('A disk is in use', { ...ref, path, used: formatSize(usedBytes) })
    const disk = new FolderDisk(platform, path, ref, superblock, usedBytes, lock)
    await keepSuperblock(files, path).catch((error: unknown) => disk.fail(error as Error))
    return disk
  } catch (error) {
    await lock.release()
    throw error
  }
}

async function readSuperblock(files: Files, { path, cluster, disk }: DiskOptions): Promise<Superblock> {
  const bytes = await files.readWhole(`${path}/${superblockName}`)
  if (bytes === undefined)
    throw refused(
      path,
      'it has no superblock',
      'Is the file system mounted? A new disk must be formatted first',
    )
  const superblock = decodeSuperblock(bytes, path)
  if (superblock.cluster !== cluster)
    throw refused(
      path,
      `it belongs to cluster ${superblock.cluster}, and this node to ${cluster}`,
      'Give this node a folder of its own cluster, or an empty one',
    )
  if (superblock.disk !== disk)
    throw refused(
      path,
      `it is the disk ${superblock.disk}, and the configuration says ${disk}`,
      'Put the paths of the disks right in the configuration',
    )
  return superblock
}

/**
 * Puts the superblock on stable media. It may have been read without lying there, after a format that a crash cut short or
 * whose last sync failed; and without it all that the disk is about to promise would be lost with its name.
 */
async function keepSuperblock(files: Files, path: string): Promise<void> {
  const file = await files.open(`${path}/${superblockName}`)
  await file.sync().finally(() => file.close())
  await files.syncDirectory(path)
  await files.syncDirectory(parentOf(path))
}

/** The bytes of all files. Leftovers of a replacement that a crash interrupted are removed: no name was ever given to them. */
async function usedBytesIn(files: Files, root: string): Promise<number> {
  let usedBytes = 0
  const visit = async (path: string): Promise<void> => {
    const names = await files.list(path)
    if (names === undefined) {
      const file = await files.open(path)
      // In a line of its own: others add to the sum while this one waits.
      const bytes = await file.size()
      usedBytes += bytes
      return file.close()
    }
    const inUse = path === root ? names.filter((name) => name !== superblockName && !isNotOurs(name)) : names
    for (let at = 0; at < inUse.length; at += scannedAtOnce)
      await Promise.all(
        inUse
          .slice(at, at + scannedAtOnce)
          .map((name) =>
            path === root && isLeftover(name) ? files.remove(`${path}/${name}`) : visit(`${path}/${name}`),
          ),
      )
  }
  await visit(root)
  return usedBytes
}

const isLeftover = (name: string): boolean => name.startsWith(`${superblockName}.`) && name.endsWith('.tmp')

const parentOf = (path: string): string => {
  const end = path.replace(/\/+$/, '').lastIndexOf('/')
  return end > 0 ? path.slice(0, end) : end === 0 ? '/' : '.'
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code
const isFull = (error: unknown): boolean => ['ENOSPC', 'EDQUOT'].includes(String(codeOf(error)))
export const isShortOfDescriptors = (error: unknown): boolean =>
  ['EMFILE', 'ENFILE'].includes(String(codeOf(error)))

class FolderDisk implements WatchedDisk {
  readonly ref: DiskRef
  readonly tier: Tier
  readonly path: string
  onFailed: (error: Error) => void = () => undefined
  readonly latency: LatencyMeter
  readonly #files: Files
  readonly #platform: Pick<Platform, 'clock' | 'files'>
  readonly #count: SpaceCount
  readonly #lock: { release(): Promise<void> }
  readonly #identity: DiskIdentity
  readonly #openFiles = new Set<FolderDiskFile>()
  /** Folders known to exist durably, or being made. */
  readonly #folders = new Map<string, Promise<void>>()
  readonly #removals = new Map<string, Promise<void>>()
  /** Changes under way: they are over for those who wait when the disk fails, whatever becomes of them. */
  readonly #changing = new Set<(failure: NdfsError) => void>()
  #failure: NdfsError | undefined
  #slowness: string | undefined
  #closed = false

  constructor(
    platform: Pick<Platform, 'clock' | 'files'>,
    path: string,
    ref: DiskRef,
    superblock: Superblock,
    usedBytes: number,
    lock: { release(): Promise<void> },
  ) {
    this.#platform = platform
    this.latency = new LatencyMeter(platform.clock)
    this.#files = platform.files
    this.path = path
    this.ref = ref
    this.tier = superblock.tier
    this.#count = new SpaceCount(superblock.capacityBytes, usedBytes)
    this.#lock = lock
    this.#identity = new DiskIdentity(platform.files, platform.clock, path, superblock.incarnation)
  }

  get state(): 'online' | 'slow' | 'failed' {
    if (this.#failure !== undefined) return 'failed'
    return this.#slowness === undefined ? 'online' : 'slow'
  }

  get reason(): string | undefined {
    return this.#failure?.message ?? this.#slowness
  }

  beSlow(reason: string): void {
    this.#slowness = reason
  }

  beWell(): void {
    this.#slowness = undefined
  }

  selfTest(limitMs: number): Promise<string | undefined> {
    const { files, clock } = this.#platform
    return selfTest(files, clock, `${this.path}/${superblockName}.self-test.tmp`, limitMs)
  }

  space(): DiskSpace {
    return this.#count.space()
  }

  setAside(bytes: number, keptBytes: number): void {
    this.#count.setAside(bytes, keptBytes)
  }

  async create(
    name: string,
    bytes: number,
    purpose: SpacePurpose | 'log',
    options: OpenOptions = {},
  ): Promise<DiskFile> {
    this.assertName(name)
    this.assertInService()
    // Twice under one name: the second must not take the first one's share along when it fails.
    if (this.#count.isKnown(name)) throw this.#exists(name)
    this.#count.reserve(name, bytes, purpose)
    try {
      const parent = name.lastIndexOf('/')
      if (parent > 0) await this.#makeFolder(name.slice(0, parent))
      const opening = this.#openMeasured(name, { ...options, create: true })
      const file = await this.whileInService(opening)
      return this.#opened(name, file)
    } catch (error) {
      this.#count.release(name, bytes)
      if (codeOf(error) === 'EEXIST') throw this.#exists(name)
      throw this.failedToChange(error, `create ${name}`)
    }
  }

  async open(name: string, options: OpenOptions = {}): Promise<DiskFile> {
    this.assertName(name)
    this.#assertOpen()
    try {
      return this.#opened(name, await this.#openForService(name, options))
    } catch (error) {
      // One file may be gone, or all of them.
      if (codeOf(error) === 'ENOENT') await this.confirm()
      throw this.failedToRead(error, `open ${name}`)
    }
  }

  /** A file system that an error made read-only still lets us read: all that a failed disk is for. */
  #openForService(name: string, options: OpenOptions): Promise<File> {
    const writable = this.#failure === undefined
    return this.#openMeasured(name, { ...options, writable })
  }

  #watched<T>(change: Promise<T>): Promise<T> {
    return this.whileInService(this.latency.watch(change))
  }

  #openMeasured(name: string, options: Parameters<Files['open']>[1]): Promise<File> {
    return openMeasured(this.#files, this.latency, `${this.path}/${name}`, options)
  }

  /** Two who remove one file at once share the work: its space is given back once. */
  remove(name: string): Promise<void> {
    this.assertName(name)
    const underWay = this.#removals.get(name)
    if (underWay !== undefined) return underWay
    const removal = this.#remove(name).finally(() => this.#removals.delete(name))
    this.#removals.set(name, removal)
    return removal
  }

  async #remove(name: string): Promise<void> {
    this.assertInService()
    const path = `${this.path}/${name}`
    try {
      const file = await this.#files.open(path)
      const bytes = await file.size().finally(() => file.close())
      await this.#files.remove(path)
      this.#count.release(name, bytes)
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return
      throw this.failedToChange(error, `remove ${name}`)
    }
  }

  async list(folder: string): Promise<string[]> {
    this.#assertOpen()
    try {
      const names = (await this.#files.list(this.#pathOf(folder))) ?? []
      return folder === '' ? names.filter((name) => name !== superblockName && !isNotOurs(name)) : names
    } catch (error) {
      throw this.failedToRead(error, `list ${folder}`)
    }
  }

  async syncNames(folder: string): Promise<void> {
    this.assertInService()
    try {
      await this.#watched(this.#files.syncDirectory(this.#pathOf(folder)))
    } catch (error) {
      // Nothing was ever made in a folder that isn't there: what should be durable is.
      if (codeOf(error) === 'ENOENT') return
      throw this.#failedToSyncNames(error, `sync the names in ${folder}`)
    }
  }

  async confirm(): Promise<void> {
    if (this.#closed || this.#failure !== undefined) return
    const wrong = await this.#identity.look()
    if (wrong !== undefined) this.fail(new Error(wrong))
  }

  /** Beside a write: undefined mostly. */
  confirmNowAndThen(): Promise<void> | undefined {
    return this.#identity.isDue ? this.confirm() : undefined
  }

  fail(error: Error): void {
    if (this.#failure !== undefined || this.#closed) return
    this.#failure = new NdfsError(
      'DISK_FAILED',
      `The disk ${this.ref.disk} at ${this.path} is out of service: ${messageOf(error)}. Its copies are being made anew ` +
        'elsewhere; replace the disk, or restart the node once its cause is gone.',
      { disk: this.ref },
      { cause: error },
    )
    for (const giveUp of this.#changing) giveUp(this.#failure)
    this.#changing.clear()
    this.onFailed(this.#failure)
  }

  /** A change, waited for until the disk fails: one that hangs holds nobody up for longer than that. */
  whileInService<T>(change: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#changing.add(reject)
      change.then(resolve, reject).finally(() => this.#changing.delete(reject))
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.latency.stop()
    // The lock goes last: until then a write under way may still reach the disk.
    const closed = await Promise.allSettled([...this.#openFiles].map((file) => file.close()))
    await this.#lock.release()
    for (const file of closed) if (file.status === 'rejected') throw file.reason
  }

  #opened(name: string, file: File): DiskFile {
    const diskFile = new FolderDiskFile(this, this.#count, name, file, () => this.#openFiles.delete(diskFile))
    this.#openFiles.add(diskFile)
    return diskFile
  }

  async makeFolders(folder: string, names: readonly string[]): Promise<void> {
    this.assertInService()
    try {
      await this.#makeFolder(folder)
      const there = new Set(await this.#files.list(this.#pathOf(folder)))
      const missing = names.filter((name) => !there.has(name))
      await this.#watched(
        Promise.all(missing.map((name) => this.#files.makeDirectory(this.#pathOf(`${folder}/${name}`)))),
      )
      this.assertInService()
      // Those that were there, too: whoever made them may have been cut short before their names were durable.
      await this.#watched(this.#files.syncDirectory(this.#pathOf(folder)))
    } catch (error) {
      throw this.failedToChange(error, `make folders in ${folder}`)
    }
    for (const name of names) this.#folders.set(`${folder}/${name}`, Promise.resolve())
  }

  /** Makes a folder and those above it, each durable before anything is made in it. */
  #makeFolder(folder: string): Promise<void> {
    const known = this.#folders.get(folder)
    if (known !== undefined) return known
    const made = this.#makeFolderDurably(folder)
    this.#folders.set(folder, made)
    made.catch(() => this.#folders.delete(folder))
    return made
  }

  async #makeFolderDurably(folder: string): Promise<void> {
    const parent = folder.lastIndexOf('/')
    if (parent > 0) await this.#makeFolder(folder.slice(0, parent))
    await this.#watched(this.#files.makeDirectory(this.#pathOf(folder)))
    // It may have failed meanwhile: nothing is synced there any more (I6).
    this.assertInService()
    try {
      await this.#watched(this.#files.syncDirectory(this.#pathOf(folder.slice(0, Math.max(parent, 0)))))
    } catch (error) {
      throw this.#failedToSyncNames(error, `sync the folder above ${folder}`)
    }
  }

  #pathOf(folder: string): string {
    return folder === '' ? this.path : `${this.path}/${folder}`
  }

  /** I6: what fails to change the disk takes it out of service; no room is no failure. */
  failedToChange(error: unknown, what: string): NdfsError {
    if (error instanceof NdfsError) return error
    if (isFull(error))
      return new NdfsError(
        'OUT_OF_SPACE',
        `Cannot ${what} on ${this.ref.disk}: the file system at ${this.path} is full, though the disk was given ` +
          `${formatSize(this.space().capacityBytes)}. Make room in that file system.`,
        { disk: this.ref },
        { cause: error },
      )
    if (isShortOfDescriptors(error)) return this.#unavailable(error, what)
    return this.#failedForGood(error, what)
  }

  /** What was to be durable may be gone, for whatever reason: never tried again. */
  failedToSync(error: unknown, what: string): NdfsError {
    return this.#failedForGood(error, what)
  }

  failedToRead(error: unknown, what: string): NdfsError {
    if (error instanceof NdfsError) return error
    if (codeOf(error) === 'ENOENT')
      return new NdfsError('NOT_FOUND', `Cannot ${what}: there is no such file on ${this.ref.disk}`, {
        disk: this.ref,
      })
    if (isShortOfDescriptors(error)) return this.#unavailable(error, what)
    if (codeOf(error) === undefined) throw error
    return new NdfsError(
      'DISK_FAILED',
      `Cannot ${what} on ${this.ref.disk}: ${messageOf(error)}`,
      { disk: this.ref },
      { cause: error },
    )
  }

  #failedForGood(error: unknown, what: string): NdfsError {
    // Without a system's code it is no disk's fault but ours, and must be seen as that.
    if (codeOf(error) === undefined) throw error
    this.fail(new Error(`it could not ${what}: ${messageOf(error)}`, { cause: error }))
    return this.#failure ?? this.#unavailable(error, what)
  }

  /** Without a descriptor for the folder nothing was synced, and nothing has failed to be. */
  #failedToSyncNames(error: unknown, what: string): NdfsError {
    return isShortOfDescriptors(error) ? this.#unavailable(error, what) : this.#failedForGood(error, what)
  }

  #unavailable(error: unknown, what: string): NdfsError {
    return new NdfsError(
      'UNAVAILABLE',
      `Cannot ${what} on ${this.ref.disk}: ${messageOf(error)}`,
      { disk: this.ref },
      { cause: error },
    )
  }

  #exists(name: string): NdfsError {
    return new NdfsError('ALREADY_EXISTS', `Cannot create ${name}: it is on ${this.ref.disk} already`, {
      disk: this.ref,
    })
  }

  assertInService(): void {
    this.#assertOpen()
    if (this.#failure !== undefined) throw this.#failure
  }

  #assertOpen(): void {
    if (this.#closed)
      throw new NdfsError('UNAVAILABLE', `The disk ${this.ref.disk} was closed`, { disk: this.ref })
  }

  assertName(name: string): void {
    assert(
      /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/.test(name) && name !== superblockName,
      () => `no name for a file on a disk: ${name}`,
    )
  }
}

class FolderDiskFile implements DiskFile {
  readonly name: string
  readonly #disk: FolderDisk
  readonly #count: SpaceCount
  readonly #file: File
  readonly #onClosed: () => void
  #writtenEnd = 0
  #closed: Promise<void> | undefined

  constructor(disk: FolderDisk, count: SpaceCount, name: string, file: File, onClosed: () => void) {
    this.#disk = disk
    this.#count = count
    this.name = name
    this.#file = file
    this.#onClosed = onClosed
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    try {
      return await this.#file.read(target, position)
    } catch (error) {
      throw this.#disk.failedToRead(error, `read ${this.name}`)
    }
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    let end = position
    for (const buffer of buffers) end += buffer.length
    if (!this.#count.isKnown(this.name)) this.#count.learn(this.name, await this.size())
    // I6: from here nothing is waited for, until the write has begun.
    this.#disk.assertInService()
    this.#count.growTo(this.name, end)
    const confirmed = this.#disk.confirmNowAndThen()
    try {
      await this.#disk.whileInService(this.#file.write(buffers, position))
    } catch (error) {
      throw this.#disk.failedToChange(error, `write ${this.name}`)
    }
    if (confirmed !== undefined) await confirmed
    // I6: a write that resolves after its disk has failed is not vouched for.
    this.#disk.assertInService()
    if (end > this.#writtenEnd) this.#writtenEnd = end
  }

  async sync(): Promise<void> {
    this.#disk.assertInService()
    try {
      await this.#disk.whileInService(this.#file.sync())
    } catch (error) {
      throw this.#disk.failedToSync(error, `sync ${this.name}`)
    }
    // I6: the sync of another file may have failed meanwhile, and taken the word of this one with it.
    this.#disk.assertInService()
  }

  async size(): Promise<number> {
    try {
      return await this.#file.size()
    } catch (error) {
      throw this.#disk.failedToRead(error, `read the size of ${this.name}`)
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#count.forget(this.name, this.#writtenEnd)
    this.#onClosed()
    try {
      await this.#file.close()
    } catch (error) {
      throw this.#disk.failedToSync(error, `close ${this.name}`)
    }
  }
}
