/**
 * The platform's files for one simulated process: each call takes its time, has its effect at some instant in between,
 * and is answered later; operations under way at once end in any order.
 *
 * The effect is the machine's, the answer is the process's: a frozen process's write still reaches the disk. A kill
 * lets each operation under way have its effect at once, a write perhaps only in part, or never; what is written then can be
 * read, and nothing has synced it, O_DSYNC or not. Buffers being written must not change: what was handed in is compared
 * with what was there when the call was made.
 */
import { posix } from 'node:path'
import { assert, AssertionFailure } from '../src/base/assert.ts'
import { pageBytes } from '../src/base/units.ts'
import { alignedBuffer, isAligned } from '../src/base/aligned-memory.ts'
import type { File, Files, Timer } from '../src/platform/platform.ts'
import { digestOf, type Schedule } from './schedule.ts'
import type { SeededChance } from './seeded-chance.ts'
import type { DiskFault, OperationKind, SimDisk, SimFile } from './sim-disk.ts'
import type { FlyingWrite } from './sim-file-content.ts'
import { asError, never, systemError, type SimProcess } from './sim-process.ts'

export interface DiskTiming {
  readonly leastMs: number
  readonly mostMs: number
  readonly bytesPerMs: number
}

export const diskTimingDefault: DiskTiming = { leastMs: 0.03, mostMs: 0.4, bytesPerMs: 500_000 }

export class SimFiles implements Files {
  readonly schedule: Schedule
  readonly process: SimProcess
  readonly disk: SimDisk
  readonly chance: SeededChance
  readonly #timing: DiskTiming
  readonly #locks: Map<string, SimProcess>
  readonly #underWay = new Set<UnderWay>()
  #temporaryFiles = 0

  /** `locks`: those of the node, by path. */
  constructor(
    schedule: Schedule,
    process: SimProcess,
    disk: SimDisk,
    chance: SeededChance,
    timing: DiskTiming,
    locks: Map<string, SimProcess>,
  ) {
    this.schedule = schedule
    this.process = process
    this.disk = disk
    this.chance = chance
    this.#timing = timing
    this.#locks = locks
  }

  open(
    path: string,
    options: { create?: boolean; writable?: boolean; direct?: boolean; durable?: boolean } = {},
  ): Promise<File> {
    const effect = (): File => {
      const file = options.create ? this.disk.create(path) : this.disk.findFile(path)
      return new SimFileHandle(this, path, file, {
        writable: options.create === true || options.writable === true,
        direct: options.direct === true,
        durable: options.durable === true,
      })
    }
    return this.operate('open', path, effect, { atOnce: options.create !== true })
  }

  makeDirectory(path: string): Promise<void> {
    return this.operate('names', path, () => this.disk.makeDirectory(path), { atOnce: true })
  }

  list(path: string): Promise<string[] | undefined> {
    return this.operate(
      'names',
      path,
      () => {
        const node = this.disk.find(path)
        return node?.kind === 'directory' ? [...node.names.keys()].sort() : undefined
      },
      { atOnce: true },
    )
  }

  readWhole(path: string): Promise<Buffer | undefined> {
    const effect = (): Buffer | undefined => {
      if (!this.disk.find(path)) return undefined
      const { content } = this.disk.findFile(path)
      const bytes = Buffer.alloc(content.size)
      content.read(bytes, 0)
      return bytes
    }
    return this.operate('read', path, effect, { atOnce: true })
  }

  /** Step by step, as the real one: a crash may leave its temporary file behind. */
  async replaceWhole(path: string, bytes: Uint8Array, _mode?: number): Promise<void> {
    const temporary = `${path}.${this.process.incarnation}-${++this.#temporaryFiles}.tmp`
    const file = await this.open(temporary, { create: true })
    try {
      await file.write([bytes], 0)
      await file.sync()
      await file.close()
      await this.operate('names', path, () => this.disk.rename(temporary, path))
    } catch (error) {
      await this.remove(temporary).catch(() => undefined)
      throw error
    }
    await this.syncDirectory(parentOf(path))
  }

  async rename(from: string, to: string): Promise<void> {
    await this.operate('names', to, () => this.disk.rename(from, to))
    await this.syncDirectory(parentOf(to))
    if (parentOf(from) !== parentOf(to)) await this.syncDirectory(parentOf(from))
  }

  remove(path: string): Promise<void> {
    return this.operate('names', path, () => this.disk.remove(path))
  }

  syncDirectory(path: string): Promise<void> {
    const { mark } = this.disk
    return this.operate('sync', path, () => this.disk.syncDirectory(this.disk.findDirectory(path), mark))
  }

  freeBytes(path: string): Promise<number> {
    return this.operate('names', path, () => this.disk.freeBytes(path), { atOnce: true })
  }

  lock(path: string): Promise<{ release(): Promise<void> } | undefined> {
    return this.operate('names', path, () => {
      if (!this.disk.find(path)) throw systemError('ENOENT', `no such file or directory: ${path}`)
      if (this.#locks.get(path)?.alive) return undefined
      this.#locks.set(path, this.process)
      return { release: () => this.operate('names', path, () => void this.#locks.delete(path)) }
    })
  }

  alignedBuffer(bytes: number): Buffer {
    return alignedBuffer(bytes)
  }

  /** All operations under way have their effect now, or never; after a power cut none does. */
  processEnded(): void {
    for (const { write, leaves, timer, act } of this.#underWay) {
      timer.cancel()
      if (write) {
        const some = this.chance.below(write.bytes.length + 1)
        const drawn = [0, write.bytes.length, some][this.chance.below(3)]
        write.bytes = write.bytes.subarray(0, leaves ?? drawn)
        write.cutShort = true
        act()
      } else if (this.chance.happens(0.5)) act()
    }
    this.#underWay.clear()
  }

  operate<T>(
    kind: OperationKind,
    path: string,
    effect: (fault: DiskFault | undefined) => T,
    { position = 0, bytes = 0, failed, write, atOnce = false }: OperationDetails = {},
  ): Promise<T> {
    if (!this.process.alive) return never()
    const fault = this.disk.onOperation({ kind, path, position, bytes })
    const { leastMs, mostMs, bytesPerMs } = this.#timing
    const duration = this.chance.between(leastMs, mostMs) + bytes / bytesPerMs + (fault?.delayMs ?? 0)
    if (atOnce) return this.#atOnce(kind, path, duration, fault, effect)
    const untilEffect = this.chance.between(0, duration)
    const { powerCycle } = this.disk
    return new Promise<T>((resolve, reject) => {
      const act = (): void => {
        this.#underWay.delete(underWay)
        if (this.disk.powerCycle !== powerCycle) return
        let answer: () => void
        try {
          if (fault?.fail !== undefined) {
            failed?.()
            throw systemError(fault.fail, `${kind} of ${path} failed`)
          }
          const value = effect(fault)
          answer = () => resolve(value)
        } catch (error) {
          if (error instanceof AssertionFailure) throw error
          answer = () => {
            if (fault?.fail !== undefined)
              this.disk.observer.failed?.(this.process.name, kind, path, fault.fail)
            reject(asError(error))
          }
        }
        this.schedule.record(kind, path, position)
        this.schedule.inProcess(this.process, duration - untilEffect, `${kind} done`, answer)
      }
      const timer = this.schedule.after(untilEffect, `disk ${kind}`, act)
      const underWay: UnderWay = { write, leaves: fault?.leaves, timer, act }
      this.#underWay.add(underWay)
      this.disk.observer.began?.(this.process.name, kind, path, this.#underWay.size)
    })
  }

  /** One event: the effect comes with the answer, and neither where the process ends before. */
  #atOnce<T>(
    kind: OperationKind,
    path: string,
    duration: number,
    fault: DiskFault | undefined,
    effect: (fault: DiskFault | undefined) => T,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.schedule.inProcess(this.process, duration, kind, () => {
        try {
          if (fault?.fail !== undefined) throw systemError(fault.fail, `${kind} of ${path} failed`)
          resolve(effect(fault))
        } catch (error) {
          if (error instanceof AssertionFailure) throw error
          reject(asError(error))
        }
      })
    })
  }
}

interface UnderWay {
  readonly write: FlyingWrite | undefined
  readonly leaves: number | undefined
  readonly timer: Timer
  readonly act: () => void
}

interface OperationDetails {
  readonly position?: number
  readonly bytes?: number
  /** What a failure that the hook asks for leaves behind. */
  readonly failed?: () => void
  readonly write?: FlyingWrite
  /** It changes nothing, or nothing that a process which ends before the answer could tell from not having happened. */
  readonly atOnce?: boolean
}

const parentOf = (path: string): string => posix.dirname(path)

interface HandleOptions {
  readonly writable: boolean
  readonly direct: boolean
  readonly durable: boolean
}

class SimFileHandle implements File {
  readonly #files: SimFiles
  readonly #path: string
  readonly #file: SimFile
  readonly #options: HandleOptions
  #closing = false
  #underWay = 0
  #onIdle: (() => void) | undefined

  constructor(files: SimFiles, path: string, file: SimFile, options: HandleOptions) {
    this.#files = files
    this.#path = path
    this.#file = file
    this.#options = options
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#assertAligned(target, position)
    return this.#start(
      'read',
      () => {
        const count = this.#file.content.read(target, position)
        this.#files.schedule.record('bytes read', this.#path, digestOf(target.subarray(0, count)))
        return count
      },
      { position, bytes: target.length, atOnce: true },
    )
  }

  async write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    let length = 0
    for (const buffer of buffers) {
      this.#assertAligned(buffer, position + length)
      length += buffer.length
    }
    if (!this.#options.writable) throw systemError('EBADF', `not open for writing: ${this.#path}`)
    if (!this.#files.process.alive) return never()
    const { content } = this.#file
    this.#files.disk.allocate(this.#path, content, position, length)
    const copy = copyOf(buffers, length)
    const write: FlyingWrite = { position, bytes: copy }
    content.begin(write)
    return this.#start(
      'write',
      (fault) => {
        assert(!changed(buffers, copy), `what was being written to ${this.#path} changed meanwhile`)
        content.end(write)
        this.#files.schedule.record('bytes written', this.#path, digestOf(write.bytes))
        this.#land(write, fault)
      },
      {
        position,
        bytes: length,
        write,
        failed: () => {
          content.end(write)
          if (this.#files.chance.happens(0.5)) content.land(position, write.bytes, false)
        },
      },
    )
  }

  #land({ position, bytes, cutShort }: FlyingWrite, fault: DiskFault | undefined): void {
    const { content } = this.#file
    const { disk } = this.#files
    if (fault?.lost || fault?.misdirectedTo !== undefined) {
      disk.lied(content, position, bytes)
      const other = fault.misdirectedToFile === undefined ? this.#file : disk.find(fault.misdirectedToFile)
      if (fault.misdirectedTo !== undefined && other?.kind === 'file') {
        other.content.damaged = true
        other.content.overwrite(fault.misdirectedTo, bytes)
      }
      content.grow(position + bytes.length)
      fault.happened?.()
    } else content.land(position, bytes, this.#options.durable && cutShort !== true)
  }

  sync(): Promise<void> {
    const { content } = this.#file
    const { mark } = content
    const sync = (): void => {
      content.sync(mark)
      this.#files.disk.observer.synced?.(this.#path, content)
    }
    return this.#start('sync', sync, { failed: () => content.syncFailed(mark) })
  }

  size(): Promise<number> {
    return this.#start('names', () => this.#file.content.size, { atOnce: true })
  }

  truncate(bytes: number): Promise<void> {
    return this.#start('truncate', () => this.#file.content.truncate(bytes), { position: bytes })
  }

  async close(): Promise<void> {
    assert(!this.#closing, 'a file closed twice')
    this.#closing = true
    if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve))
    await this.#files.operate('names', this.#path, () => undefined, { atOnce: true })
  }

  async #start<T>(
    kind: OperationKind,
    effect: (fault: DiskFault | undefined) => T,
    details: OperationDetails = {},
  ): Promise<T> {
    assert(!this.#closing, 'a file used after it was closed')
    this.#underWay++
    try {
      return await this.#files.operate(kind, this.#path, effect, details)
    } finally {
      if (--this.#underWay === 0) this.#onIdle?.()
    }
  }

  #assertAligned(bytes: Uint8Array, position: number): void {
    if (!this.#options.direct) return
    assert(position % pageBytes === 0, 'a position between pages in a direct file')
    assert(isAligned(bytes), 'a direct file needs whole pages of memory from alignedBuffer')
  }
}

/** Zeroes need no memory of their own: segments of logs are filled with them. */
function copyOf(buffers: readonly Uint8Array[], length: number): Buffer {
  const [first] = buffers
  const isZero =
    buffers.length === 1 && length <= zeroes.length && zeroes.compare(first, 0, length, 0, length) === 0
  return isZero ? zeroes.subarray(0, length) : Buffer.concat(buffers)
}

const zeroes = Buffer.alloc(1024 * 1024)

function changed(buffers: readonly Uint8Array[], copy: Buffer): boolean {
  let at = 0
  for (const buffer of buffers) {
    if (copy.compare(buffer, 0, buffer.length, at, at + buffer.length) !== 0) return true
    at += buffer.length
  }
  return false
}
