/** What the tests of the oplog are built on: a small disk over real files, a clock that is moved by hand, records. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { NdfsError } from '../../base/errors.ts'
import type {
  DiskId,
  DiskRef,
  EpisodeId,
  Epoch,
  Incarnation,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import { GiB, MiB, vDiskOffset, type Millis } from '../../base/units.ts'
import type { Disk, DiskFile, OpenOptions } from '../../disk/disk.ts'
import { nodePlatform } from '../../platform/node-platform.ts'
import type { Clock, File, Log, Platform, Timer } from '../../platform/platform.ts'
import { decodeRecord, encodeRecord, type EncodedRecord, type LogRecord } from './record.ts'

export const quietLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => quietLog,
}

const node = nodePlatform({ level: 'silent' } as never)

/** Real files; time only moves when told to; `soon` is real. */
export class ManualClock implements Clock {
  #now = 0
  readonly #waiting: { at: number; callback: () => void; cancelled: boolean }[] = []

  now(): Millis {
    return this.#now as Millis
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.#now
  }

  after(ms: number, callback: () => void): Timer {
    const entry = { at: this.#now + ms, callback, cancelled: false }
    this.#waiting.push(entry)
    return { cancel: () => (entry.cancelled = true) }
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }

  soon(callback: () => void): void {
    node.clock.soon(callback)
  }

  get timers(): number {
    return this.#waiting.filter(({ cancelled }) => !cancelled).length
  }

  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const due = this.#waiting.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#waiting.splice(this.#waiting.indexOf(due), 1)
      this.#now = Math.max(this.#now, due.at)
      if (!due.cancelled) due.callback()
    }
    this.#now = until
  }
}

export function platformWith(clock: Clock): Platform {
  return { ...node, clock, log: quietLog }
}

/** Time as it is. */
export const realPlatform: Platform = { ...node, log: quietLog }

export async function temporaryFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'ndfs-oplog-'))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** A disk over real files, with faults. */
export class TestDisk implements Disk {
  readonly ref: DiskRef
  readonly tier = 'flash'
  readonly path: string
  state: 'online' | 'failed' = 'online'
  onFailed: (error: Error) => void = () => undefined
  readonly capacityBytes: number
  usedBytes = 0
  asideBytes = 0
  keptBytes = 0
  /** The last write of a batch that succeeded. */
  lastWrite = { name: '', position: 0, end: 0 }
  /** Runs before each write; what it throws is the write's failure. */
  beforeWrite: (name: string, position: number, buffers: readonly Uint8Array[]) => void = () => undefined
  /** Runs before each read; what it throws is the read's failure. */
  beforeRead: (name: string, position: number) => void = () => undefined

  constructor(path: string, capacityBytes: number = 1 * GiB, incarnation = '00112233aabbccdd') {
    this.path = path
    this.capacityBytes = capacityBytes
    this.ref = {
      node: 'n1' as NodeId,
      disk: 'n1-flash-0' as DiskId,
      incarnation: incarnation as Incarnation,
    }
  }

  space() {
    const { capacityBytes, usedBytes } = this
    const freeBytes = capacityBytes - usedBytes
    return {
      ...{ capacityBytes, usedBytes },
      guestFreeBytes: Math.max(0, freeBytes - this.asideBytes),
      maintenanceFreeBytes: Math.max(0, freeBytes - this.keptBytes),
    }
  }

  setAside(bytes: number, keptBytes: number): void {
    this.asideBytes = bytes
    this.keptBytes = keptBytes
  }

  async create(name: string, bytes: number, _purpose: unknown, options: OpenOptions = {}) {
    if (this.usedBytes + bytes > this.capacityBytes)
      throw new NdfsError('OUT_OF_SPACE', 'the test disk is full')
    this.usedBytes += bytes
    await node.files.makeDirectory(join(this.path, name, '..'))
    return this.#file(
      name,
      await node.files.open(this.#at(name), { create: true, writable: true, ...options }),
      options,
    )
  }

  async open(name: string, options: OpenOptions = {}) {
    return this.#file(name, await node.files.open(this.#at(name), { writable: true, ...options }), options)
  }

  async remove(name: string): Promise<void> {
    if (!(await this.list(dirname(name))).includes(basename(name))) return
    const file = await node.files.open(this.#at(name))
    this.usedBytes -= await file.size()
    await file.close()
    await node.files.remove(this.#at(name))
  }

  async list(folder: string): Promise<string[]> {
    return (await node.files.list(this.#at(folder))) ?? []
  }

  async makeFolders(): Promise<void> {}

  async syncNames(folder: string): Promise<void> {
    await node.files.syncDirectory(this.#at(folder))
  }

  confirm(): Promise<void> {
    return Promise.resolve()
  }

  fail(error: Error): void {
    if (this.state === 'failed') return
    this.state = 'failed'
    this.onFailed(error)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #at(name: string): string {
    return join(this.path, name)
  }

  #file(name: string, file: File, options: OpenOptions): DiskFile {
    return {
      name,
      read: async (target, position) => {
        this.beforeRead(name, position)
        return await file.read(target, position)
      },
      write: async (buffers, position) => {
        if (this.state === 'failed') throw new NdfsError('DISK_FAILED', 'the test disk has failed')
        try {
          this.beforeWrite(name, position, buffers)
          await file.write(buffers, position)
          const end = position + buffers.reduce((sum, { length }) => sum + length, 0)
          if (position >= 8192 && options.durable) this.lastWrite = { name, position, end }
        } catch (error) {
          this.fail(error as Error)
          throw error
        }
      },
      sync: () => file.sync(),
      size: () => file.size(),
      close: () => file.close(),
    }
  }
}

export const smallSegments = { segmentBytes: 1 * MiB, segmentsMax: 6 }

export const vdiskId = (id: number) => id as VDiskId
export const epochOf = (epoch: number) => epoch as Epoch
export const episodeId = (id: number) => id as EpisodeId
export const sequenceOf = (sequence: number) => sequence as Sequence

export interface RecordWanted {
  vdisk: number
  sequence: number
  epoch?: number
  episode?: number
  first?: number
  acknowledged?: number
  payload?: Buffer
}

export function makeRecord(wanted: RecordWanted): EncodedRecord {
  const payload = wanted.payload ?? Buffer.from(`vdisk ${wanted.vdisk} record ${wanted.sequence}`)
  return encodeRecord(
    {
      kind: 'data',
      vdisk: vdiskId(wanted.vdisk),
      layer: 1 as LayerId,
      sequence: sequenceOf(wanted.sequence),
      acknowledged: sequenceOf(wanted.acknowledged ?? 0),
      epoch: epochOf(wanted.epoch ?? 1),
      episode: episodeId(wanted.episode ?? 1),
      episodeFirst: sequenceOf(wanted.first ?? 1),
      offset: vDiskOffset(wanted.sequence * 4096),
      length: payload.length,
      time: 1_700_000_000_000,
    },
    [payload],
  )
}

export function recordsIn(bytes: Buffer): LogRecord[] {
  const records: LogRecord[] = []
  for (let at = 0; at < bytes.length;) {
    const decoded = decodeRecord(bytes, at)
    if (decoded === undefined) throw new Error('what was read is not a row of records')
    records.push(decoded.record)
    at = decoded.end
  }
  return records
}

/** Lets real work go on and moves the clock, until the promise is settled. */
export async function settled<T>(clock: ManualClock, promise: Promise<T>): Promise<T> {
  let done = false
  const finish = () => (done = true)
  promise.then(finish, finish)
  while (!done) {
    await new Promise((resolve) => setImmediate(resolve))
    clock.advance(100)
  }
  return await promise
}

/** A small seeded generator, so that a failing test can be run again. */
export function seeded(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return Math.floor((state / 0x1_0000_0000) * below)
  }
}
