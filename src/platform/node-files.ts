/**
 * Files by Node.js: its callback calls, which run in the thread pool, each wrapped in one promise.
 *
 * (`fs/promises` reaches two thirds of the rate for cached 4 KiB reads at depth 32: a FileHandle costs several promises
 * a call.) A file system without O_DIRECT is read and written through the page cache; the rules for buffers and positions
 * are asserted all the same, so that what runs on one file system runs on all.
 *
 * Reads into aligned memory, and long writes of it, go around the page cache by themselves: the copy that the system would make costs
 * more than all else that is done with the bytes, and memory that guests could use. What is read and written through the page cache
 * beside them stays right: the system writes out before such a read, and drops from its cache after such a write, what lies there.
 */
import * as fs from 'node:fs'
import { dirname } from 'node:path'
import { assert } from '../base/assert.ts'
import { KiB, pageBytes } from '../base/units.ts'
import { alignedBuffer, isAligned } from '../base/aligned-memory.ts'
import { lockPath } from './node-lock.ts'
import type { File, Files } from './platform.ts'

const { O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_RDONLY, O_RDWR } = fs.constants

/** From here on a write goes around the page cache. Opening a file once more, where there is no descriptor to be kept, costs as much as copying this. */
const aroundCacheBytesMin = 256 * KiB
/** Second descriptors that files keep to be read and written by, all together. Without one a file is read through the page cache. */
const aroundMax = 1024

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

/** One promise for one call of the system. */
const call = <T = void>(start: (done: Done<T>) => void): Promise<T> =>
  new Promise((resolve, reject) => start((error, value) => (error ? reject(error) : resolve(value))))

const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException).code

let temporaryFiles = 0
let aroundCount = 0

export const nodeFiles: Files = {
  async open(path, options = {}) {
    const base = options.create || options.writable ? O_RDWR : O_RDONLY
    const create = options.create ? O_CREAT | O_EXCL : 0
    const flags = base | create | (options.durable ? O_DSYNC : 0)
    const direct = options.direct === true
    const fd = direct ? await openDirect(path, flags) : await openFd(path, flags)
    return new NodeFile(fd, base, direct, !direct && options.durable !== true)
  },

  makeDirectory: (path) => call((done) => fs.mkdir(path, { recursive: true }, (error) => done(error))),

  async list(path) {
    try {
      return (await call<string[]>((done) => fs.readdir(path, done))).sort()
    } catch (error) {
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  },

  async readWhole(path) {
    try {
      return await call<Buffer>((done) => fs.readFile(path, done))
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
  },

  async replaceWhole(path, bytes, mode = 0o666) {
    // A name of its own, so that two who replace the same file at once don't write into each other's.
    const temporary = `${path}.${process.pid}-${++temporaryFiles}.tmp`
    const fd = await openFd(temporary, O_CREAT | O_EXCL | O_RDWR, mode)
    try {
      const file = new NodeFile(fd, O_RDWR, false, false)
      try {
        await file.write([bytes], 0)
        await file.sync()
      } finally {
        await file.close()
      }
      await call((done) => fs.rename(temporary, path, done))
    } catch (error) {
      // The caller hears of the first failure; one in tidying up tells nothing more.
      await nodeFiles.remove(temporary).catch(() => undefined)
      throw error
    }
    await nodeFiles.syncDirectory(dirname(path))
  },

  async rename(from, to) {
    await call((done) => fs.rename(from, to, done))
    await nodeFiles.syncDirectory(dirname(to))
    if (dirname(from) !== dirname(to)) await nodeFiles.syncDirectory(dirname(from))
  },

  async remove(path) {
    try {
      await call((done) => fs.unlink(path, done))
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
  },

  async syncDirectory(path) {
    const fd = await openFd(path, O_RDONLY | O_DIRECTORY)
    try {
      await call((done) => fs.fsync(fd, done))
    } finally {
      await call((done) => fs.close(fd, done))
    }
  },

  async freeBytes(path) {
    const { bavail, bsize } = await call<fs.StatsFs>((done) => fs.statfs(path, done))
    return bavail * bsize
  },

  async lock(path) {
    return lockPath(await call<string>((done) => fs.realpath(path, done)))
  },

  alignedBuffer,
}

const openFd = (path: string, flags: number, mode = 0o666): Promise<number> =>
  call((done) => fs.open(path, flags, mode, done))

async function openDirect(path: string, flags: number): Promise<number> {
  try {
    return await openFd(path, flags | O_DIRECT)
  } catch (error) {
    if (codeOf(error) !== 'EINVAL') throw error
    // This file system has no O_DIRECT, and says so only after it made the file. One that was there before would have
    // been EEXIST, so without O_EXCL this opens the file just made.
    return openFd(path, flags & ~O_EXCL)
  }
}

class NodeFile implements File {
  readonly #fd: number
  readonly #access: number
  readonly #direct: boolean
  readonly #mayGoAroundCache: boolean
  /** The same file, opened around the page cache: once that was wanted. Undefined where it could not be. */
  #around: Promise<number | undefined> | undefined
  #underWay = 0
  #closing = false
  #onIdle: (() => void) | undefined

  constructor(fd: number, access: number, direct: boolean, mayGoAroundCache: boolean) {
    this.#fd = fd
    this.#access = access
    this.#direct = direct
    this.#mayGoAroundCache = mayGoAroundCache
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#assertAligned(target, position)
    this.#begin()
    try {
      const around = this.#goesAround([target], position) ? await this.#aroundFd() : undefined
      if (around === undefined) return await readAll(this.#fd, target, position, this.#direct)
      return await readAroundCache(around, this.#fd, target, position)
    } finally {
      this.#end()
    }
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    let bytes = 0
    for (const buffer of buffers) {
      this.#assertAligned(buffer, position + bytes)
      bytes += buffer.length
    }
    const goesAround = bytes >= aroundCacheBytesMin && this.#goesAround(buffers, position)
    this.#begin()
    try {
      if (goesAround) await this.#writeAroundCache(buffers, position, bytes)
      else await writeAll(this.#fd, buffers, position, bytes)
    } finally {
      this.#end()
    }
  }

  sync(): Promise<void> {
    return this.#start((done) => fs.fdatasync(this.#fd, done))
  }

  async size(): Promise<number> {
    return (await this.#start<fs.Stats>((done) => fs.fstat(this.#fd, done))).size
  }

  truncate(bytes: number): Promise<void> {
    return this.#start((done) => fs.ftruncate(this.#fd, bytes, done))
  }

  /** Waits for the calls under way: a number of a file that is closed early may name another file when they come to run. */
  async close(): Promise<void> {
    assert(!this.#closing, 'a file closed twice')
    this.#closing = true
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    const around = await this.#around
    try {
      if (around !== undefined) {
        aroundCount--
        await call((done) => fs.close(around, done))
      }
    } finally {
      await call((done) => fs.close(this.#fd, done))
    }
  }

  #goesAround(buffers: readonly Uint8Array[], position: number): boolean {
    return this.#mayGoAroundCache && position % pageBytes === 0 && buffers.every(isAligned)
  }

  #aroundFd(): Promise<number | undefined> | undefined {
    if (this.#around !== undefined || aroundCount >= aroundMax) return this.#around
    aroundCount++
    this.#around = openAround(this.#fd, this.#access).catch(() => {
      aroundCount--
      return undefined
    })
    return this.#around
  }

  async #writeAroundCache(buffers: readonly Uint8Array[], position: number, bytes: number): Promise<void> {
    const kept = await this.#aroundFd()
    const around = kept ?? (await openAround(this.#fd, this.#access).catch(() => undefined))
    if (around === undefined) return writeAll(this.#fd, buffers, position, bytes)
    try {
      await writeAround(around, this.#fd, buffers, position, bytes)
    } finally {
      if (kept === undefined) await call((done) => fs.close(around, done))
    }
  }

  #start<T = void>(start: (done: Done<T>) => void): Promise<T> {
    this.#begin()
    return new Promise((resolve, reject) =>
      start((error, value) => {
        this.#end()
        if (error) reject(error)
        else resolve(value)
      }),
    )
  }

  #begin(): void {
    assert(!this.#closing, 'a file used after it was closed')
    this.#underWay++
  }

  #end(): void {
    if (--this.#underWay === 0) this.#onIdle?.()
  }

  #assertAligned(bytes: Uint8Array, position: number): void {
    if (!this.#direct) return
    assert(position % pageBytes === 0, 'a position between pages in a direct file')
    assert(isAligned(bytes), 'a direct file needs whole pages of memory from alignedBuffer')
  }
}

/** The file itself, by whatever name it goes now, and also when it has none any more. */
const openAround = (fd: number, access: number): Promise<number> =>
  openFd(`/proc/self/fd/${fd}`, access | O_DIRECT)

/** How many bytes there were. One promise, whatever number of calls it takes. */
function readAll(fd: number, target: Uint8Array, position: number, direct: boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    const readFrom = (have: number): void =>
      fs.read(fd, target, have, target.length - have, position + have, (error, count) => {
        if (error) return reject(error)
        const now = have + count
        // From between pages another direct read would be misaligned.
        if (count === 0 || now === target.length || (direct && count % pageBytes !== 0)) resolve(now)
        else readFrom(now)
      })
    readFrom(0)
  })
}

async function readAroundCache(
  reader: number,
  fd: number,
  target: Uint8Array,
  position: number,
): Promise<number> {
  let have = 0
  try {
    have = await readAll(reader, target, position, true)
    if (have === target.length || have % pageBytes === 0) return have
  } catch (error) {
    // It asks for more than whole pages. No other failure is one to try again.
    if (codeOf(error) !== 'EINVAL') throw error
  }
  // Mostly the end of the file; but a file system may answer a direct read with less than there is.
  return have + (await readAll(fd, target.subarray(have), position + have, false))
}

async function writeAll(
  fd: number,
  buffers: readonly Uint8Array[],
  position: number,
  bytes: number,
): Promise<void> {
  let rest = buffers
  for (let left = bytes; left > 0;) {
    const written = await call<number>((done) => {
      if (rest.length === 1) fs.write(fd, rest[0], 0, rest[0].length, position, done)
      else fs.writev(fd, rest, position, done)
    })
    assert(written > 0, 'the system wrote nothing and gave no error')
    left -= written
    position += written
    if (left > 0) rest = withoutFirst(rest, written)
  }
}

/** As durable as what `writeAll` wrote: once the file was synced. Where the file system has no such direct writes it is written as any other. */
async function writeAround(
  around: number,
  fd: number,
  buffers: readonly Uint8Array[],
  position: number,
  bytes: number,
): Promise<void> {
  try {
    await writeAll(around, buffers, position, bytes)
  } catch (error) {
    // It asks for more than whole pages. No other failure is one to try again (I6).
    if (codeOf(error) !== 'EINVAL') throw error
    await writeAll(fd, buffers, position, bytes)
  }
}

function withoutFirst(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let index = 0
  while (bytes >= buffers[index].length) bytes -= buffers[index++].length
  return [buffers[index].subarray(bytes), ...buffers.slice(index + 1)]
}
