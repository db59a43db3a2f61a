/**
 * vDisks in memory, for the tests and benches of adapters. They do what io.ts promises, at once or after as long as a
 * test wants, and they check what it asks of adapters.
 */
import { assert } from '../../../base/assert.ts'
import { NdfsError } from '../../../base/errors.ts'
import { lendViewsOf } from '../../../base/large-buffers.ts'
import { pageBytes } from '../../../base/units.ts'
import {
  lendBytesMin,
  requestBytesMax,
  type ClientSession,
  type Exports,
  type Maybe,
  type OpenVDisk,
  type Run,
} from '../../io/io.ts'

export type Operation = 'read' | 'write' | 'zero' | 'discard' | 'flush' | 'prefetch' | 'status'

export class MemoryVDisk {
  bytes: Buffer
  /** One byte for each page: 1 where bytes are stored. */
  readonly stored: Uint8Array
  /** What an operation waits for before it does anything; it may reject. Without it all is done at once. */
  before: ((operation: Operation, offset: number, length: number) => Promise<void> | undefined) | undefined
  readonly sessions: (ClientSession | undefined)[] = []
  openNow = 0
  underWay = 0
  underWayMost = 0
  keptSpace = 0
  /** Long reads are lent, in pieces. */
  lends = false
  /** Pieces that were lent and not given back. */
  lent = 0
  readonly prefetched: [offset: number, length: number][] = []

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes)
    this.stored = new Uint8Array(Math.ceil(sizeBytes / pageBytes))
  }

  resize(sizeBytes: number): void {
    assert(sizeBytes <= this.bytes.length, 'a vDisk in memory can only shrink')
    this.bytes = this.bytes.subarray(0, sizeBytes)
  }
}

export class MemoryExports implements Exports {
  readonly vdisks: ReadonlyMap<string, MemoryVDisk>
  /** What `open` waits for; it may reject. */
  beforeOpen: (() => Promise<void>) | undefined

  constructor(sizes: Readonly<Record<string, number>>) {
    this.vdisks = new Map(Object.entries(sizes).map(([name, size]) => [name, new MemoryVDisk(size)]))
  }

  vdisk(name: string): MemoryVDisk {
    const vdisk = this.vdisks.get(name)
    assert(vdisk, () => `there is no vDisk ${name} in memory`)
    return vdisk
  }

  async list(): Promise<readonly string[]> {
    return [...this.vdisks.keys()].sort()
  }

  async open(name: string, session?: ClientSession): Promise<OpenVDisk> {
    await this.beforeOpen?.()
    const vdisk = this.vdisks.get(name)
    if (!vdisk) throw new NdfsError('NOT_FOUND', `Cannot open ${name} as there is no such vDisk`)
    vdisk.sessions.push(session)
    vdisk.openNow += 1
    return new OpenMemoryVDisk(vdisk)
  }
}

class OpenMemoryVDisk implements OpenVDisk {
  onResize: (sizeBytes: number) => void = () => {}
  readonly #vdisk: MemoryVDisk
  #closed = false

  constructor(vdisk: MemoryVDisk) {
    this.#vdisk = vdisk
  }

  get sizeBytes(): number {
    return this.#vdisk.bytes.length
  }

  read(offset: number, target: Buffer): Promise<void> | undefined {
    return this.#do('read', offset, target.length, () => {
      this.#vdisk.bytes.copy(target, 0, offset, offset + target.length)
    })
  }

  lend(offset: number, length: number): Maybe<readonly Buffer[]> | undefined {
    if (!this.#vdisk.lends || length < lendBytesMin) return undefined
    const pieces: Buffer[] = []
    const done = this.#do('read', offset, length, () => {
      for (const [from, to] of [
        [0, 1000],
        [1000, length - 1],
        [length - 1, length],
      ])
        pieces.push(this.#lendOne(offset + from, to - from))
    })
    return done === undefined ? pieces : done.then(() => pieces)
  }

  /** A view that has other bytes as soon as it is given back, and then none. */
  #lendOne(offset: number, length: number): Buffer {
    const vdisk = this.#vdisk
    const memory = new ArrayBuffer(length)
    const view = Buffer.from(memory)
    vdisk.bytes.copy(view, 0, offset, offset + length)
    vdisk.lent += 1
    lendViewsOf(memory, () => {
      view.fill(0xdb)
      memory.transfer(0)
      vdisk.lent -= 1
    })
    return view
  }

  write(offset: number, payload: Buffer): Promise<void> | undefined {
    return this.#do('write', offset, payload.length, () => {
      payload.copy(this.#vdisk.bytes, offset)
      this.#vdisk.stored.fill(
        1,
        Math.floor(offset / pageBytes),
        Math.ceil((offset + payload.length) / pageBytes),
      )
    })
  }

  zero(offset: number, length: number, keepSpace: boolean): Promise<void> | undefined {
    if (keepSpace) this.#vdisk.keptSpace += 1
    return this.#do('zero', offset, length, () => this.#clear(offset, length))
  }

  discard(offset: number, length: number): Promise<void> | undefined {
    return this.#do('discard', offset, length, () => this.#clear(offset, length))
  }

  flush(): Promise<void> | undefined {
    return this.#do('flush', 0, 0, () => {})
  }

  prefetch(offset: number, length: number): Promise<void> | undefined {
    return this.#do('prefetch', offset, length, () => void this.#vdisk.prefetched.push([offset, length]))
  }

  async status(offset: number, length: number, runsMax: number): Promise<readonly Run[]> {
    const runs: Run[] = []
    await this.#do('status', offset, length, () => {
      for (let at = offset; at < offset + length && runs.length < runsMax;) {
        const stored = this.#vdisk.stored[Math.floor(at / pageBytes)]
        let end = at
        while (end < offset + length && this.#vdisk.stored[Math.floor(end / pageBytes)] === stored)
          end = Math.min(offset + length, (Math.floor(end / pageBytes) + 1) * pageBytes)
        runs.push({ length: end - at, kind: stored ? 'data' : 'zero' })
        at = end
      }
    })
    return runs
  }

  close(): void {
    assert(!this.#closed, 'a vDisk was closed twice')
    assert(
      this.#vdisk.underWay === 0 || this.#vdisk.openNow > 1,
      'a vDisk was closed with requests under way',
    )
    this.#closed = true
    this.#vdisk.openNow -= 1
  }

  #do(operation: Operation, offset: number, length: number, act: () => void): Promise<void> | undefined {
    const vdisk = this.#vdisk
    assert(!this.#closed, () => `${operation} on a closed vDisk`)
    assert(
      operation === 'flush' || (length >= 1 && length <= requestBytesMax),
      () => `${operation} of ${length} bytes`,
    )
    assert(offset >= 0 && offset + length <= vdisk.bytes.length, () => `${operation} past the end: ${offset}`)
    const waiting = vdisk.before?.(operation, offset, length)
    if (waiting === undefined) {
      act()
      return undefined
    }
    vdisk.underWay += 1
    vdisk.underWayMost = Math.max(vdisk.underWayMost, vdisk.underWay)
    return waiting.then(act).finally(() => (vdisk.underWay -= 1))
  }

  #clear(offset: number, length: number): void {
    this.#vdisk.bytes.fill(0, offset, offset + length)
    this.#vdisk.stored.fill(0, Math.ceil(offset / pageBytes), Math.floor((offset + length) / pageBytes))
  }
}
