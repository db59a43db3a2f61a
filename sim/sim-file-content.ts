/**
 * What a simulated file holds: bytes on the platters, and above them the writes that only the page cache has.
 *
 *  1. Reads see all completed writes, in their order.
 *  2. A sync makes durable what was completed when it was called. A failed sync makes nothing durable, and what it
 *     should have made durable stays volatile for good: later syncs pass it over, as Linux does.
 *  3. A power cut leaves in each 512-byte sector any version that it had since the last sync, each sector for itself,
 *     with or without the writes still in flight; the file's size is any that it had since. Where it tears, the write
 *     that would have come next in a sector is there from some byte to another: harsher than disks promise.
 *
 * Not here: names (sim-disk.ts), time (sim-files.ts).
 */
import { assert } from '../src/base/assert.ts'
import { SparseBytes } from './sparse-bytes.ts'
import type { SeededChance } from './seeded-chance.ts'

export const sectorBytes = 512

type Stretch = Pick<VolatileWrite, 'position' | 'length'>

/** A write that completed, or is in flight; without bytes, the zeroes that shrinking leaves. */
interface VolatileWrite {
  readonly sequence: number
  readonly position: number
  readonly length: number
  readonly bytes: Uint8Array | undefined
  /** A sync that should have covered it failed. */
  readonly abandoned?: boolean
}

interface SizeChange {
  readonly sequence: number
  readonly size: number
}

/** A write that was begun and has not ended. */
export interface FlyingWrite {
  readonly position: number
  bytes: Uint8Array
  /** Its process has ended before it was done. */
  cutShort?: boolean
}

export class FileContent {
  /** The disk has lied about it, or it rots: what it holds is not what it was told to hold. */
  damaged = false
  /** Sees bytes that have reached the platters. */
  readonly #onDurable: (content: FileContent, position: number, bytes: Uint8Array) => void
  readonly #durable = new SparseBytes()
  #durableSize = 0
  #sequence = 0
  #volatile: VolatileWrite[] = []
  #sizes: SizeChange[] = []
  readonly #flying = new Set<FlyingWrite>()

  constructor(
    onDurable: (content: FileContent, position: number, bytes: Uint8Array) => void = () => undefined,
  ) {
    this.#onDurable = onDurable
  }

  get size(): number {
    return this.#sizes.at(-1)?.size ?? this.#durableSize
  }

  get allocatedBytes(): number {
    return this.#durable.allocatedBytes
  }

  missingBytes(position: number, length: number): number {
    return this.#durable.missingBytes(position, length)
  }

  allocate(position: number, length: number): void {
    this.#durable.allocate(position, length)
  }

  read(target: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.size - position))
    const view = target.subarray(0, length)
    this.#durable.read(view, position)
    for (const write of this.#volatile) {
      const from = Math.max(position, write.position)
      const to = Math.min(position + length, write.position + write.length)
      if (from >= to) continue
      if (write.bytes)
        view.set(write.bytes.subarray(from - write.position, to - write.position), from - position)
      else view.fill(0, from - position, to - position)
    }
    return length
  }

  /** What would be there after a power cut now, if nothing else of it survived. */
  readDurable(target: Uint8Array, position: number): void {
    this.#durable.read(target, position)
  }

  /** All bytes up to `end` have reached the platters, and the size too. */
  isDurable(end: number): boolean {
    return this.#durableSize >= end && this.#volatile.every(({ position }) => position >= end)
  }

  begin(write: FlyingWrite): void {
    this.#flying.add(write)
  }

  /** The write is under way no more; what of it reached the file has to `land`. */
  end(write: FlyingWrite): void {
    this.#flying.delete(write)
  }

  land(position: number, bytes: Uint8Array, durable: boolean): void {
    if (bytes.length === 0) return
    const done: VolatileWrite = { sequence: ++this.#sequence, position, length: bytes.length, bytes }
    if (position + bytes.length > this.size)
      this.#sizes.push({ sequence: done.sequence, size: position + bytes.length })
    if (durable) this.#commit([done])
    else this.#volatile.push(done)
  }

  /** What a lost write leaves: the file system has counted it, the disk has not got it. */
  grow(size: number): void {
    if (size > this.size) this.#sizes.push({ sequence: ++this.#sequence, size })
  }

  truncate(size: number): void {
    const sequence = ++this.#sequence
    if (size < this.size)
      this.#volatile.push({ sequence, position: size, length: this.size - size, bytes: undefined })
    this.#sizes.push({ sequence, size })
  }

  /** What a sync called now has to cover. */
  get mark(): number {
    return this.#sequence
  }

  sync(mark: number): void {
    const covered = this.#volatile.filter((write) => write.sequence <= mark && !write.abandoned)
    this.#volatile = this.#volatile.filter((write) => write.sequence > mark || write.abandoned)
    this.#commit(covered)
    this.#commitSizes(mark)
  }

  syncFailed(mark: number): void {
    this.#volatile = this.#volatile.map((write) =>
      write.sequence <= mark ? { ...write, abandoned: true } : write,
    )
  }

  flipByte(position: number): void {
    assert(position < this.size, 'rot is asked for past the end of the file')
    const byte = new Uint8Array(1)
    this.#durable.read(byte, position)
    byte[0] ^= 0xff
    this.#durable.write(byte, position)
    this.damaged = true
    this.#volatile = this.#volatile.map((write) => {
      const at = position - write.position
      if (write.bytes === undefined || at < 0 || at >= write.length) return write
      const bytes = Buffer.from(write.bytes)
      bytes[at] ^= 0xff
      return { ...write, bytes }
    })
  }

  /** Damage: other bytes are there now, for whatever reason; of those past the end nothing is there. */
  overwrite(position: number, bytes: Uint8Array): void {
    this.damaged = true
    const there = bytes.subarray(0, Math.max(0, this.size - position))
    this.#durable.write(there, position)
    this.#volatile = this.#volatile.flatMap((write) => without(write, { position, length: there.length }))
  }

  /** Returns how many sectors it has torn. */
  powerCut(chance: SeededChance, tears = false): number {
    let torn = 0
    // Now and then all or nothing: the likeliest states of a real disk, and rare among independent coins.
    const kept = [0, 1, chance.between(0, 1)][chance.below(3)]
    const sizes = this.#sizes.slice(0, pick(this.#sizes.length, kept, chance))
    const sizeMark = sizes.at(-1)?.sequence ?? 0
    const flying = [...this.#flying].map(({ position, bytes }): VolatileWrite => ({
      sequence: Number.POSITIVE_INFINITY,
      position,
      length: bytes.length,
      bytes,
    }))
    const perSector = new Map<number, VolatileWrite[]>()
    for (const write of [...this.#volatile, ...flying])
      for (const sector of sectorsOf(write)) {
        const writes = perSector.get(sector)
        if (writes) writes.push(write)
        else perSector.set(sector, [write])
      }
    for (const [sector, writes] of perSector) {
      const done = writes.filter((write) => write.sequence !== Number.POSITIVE_INFINITY)
      // Shrinking is one step of the file system's journal: lost with its size, and a floor where its size survives.
      const possible = done.filter((write) => write.bytes || write.sequence <= sizeMark)
      const floor = possible.findLastIndex((write) => !write.bytes) + 1
      const count = floor + pick(possible.length - floor, kept, chance)
      for (const write of possible.slice(0, count)) this.#applyToSector(write, sector)
      let next = possible.at(count)
      for (const write of writes)
        if (write.sequence === Number.POSITIVE_INFINITY)
          if (chance.happens(kept === 0 ? 0.1 : kept)) this.#applyToSector(write, sector)
          else next ??= write
      if (tears && next?.bytes && chance.happens(0.5)) torn += this.#tear(next, sector, chance)
    }
    for (const { position, length } of [...this.#volatile, ...flying]) {
      const survived = Buffer.allocUnsafe(length)
      this.#durable.read(survived, position)
      this.#onDurable(this, position, survived)
    }
    this.#durableSize = sizes.at(-1)?.size ?? this.#durableSize
    // A write in flight that would have made the file longer may have done so.
    for (const write of flying)
      if (chance.happens(kept)) this.#durableSize = Math.max(this.#durableSize, write.position + write.length)
    this.#volatile = []
    this.#sizes = []
    this.#flying.clear()
    return torn
  }

  /** Of what the write has in the sector, the bytes from one to another; 1 where that is not all. */
  #tear(write: VolatileWrite, sector: number, chance: SeededChance): number {
    const start = Math.max(write.position, sector * sectorBytes)
    const end = Math.min(write.position + write.length, (sector + 1) * sectorBytes)
    const from = chance.happens(0.5) ? start : start + chance.below(end - start)
    const to = from + 1 + chance.below(end - from)
    this.#apply(write, from, to)
    return from > start || to < end ? 1 : 0
  }

  /** Puts writes on the platters; older volatile ones beneath them can't come back up. */
  #commit(writes: readonly VolatileWrite[]): void {
    for (const write of writes) {
      this.#apply(write, write.position, write.position + write.length)
      if (write.bytes) this.#onDurable(this, write.position, write.bytes)
      if (this.#volatile.some((other) => other.sequence < write.sequence && overlap(other, write)))
        this.#volatile = this.#volatile.flatMap((other) =>
          other.sequence < write.sequence ? without(other, write) : [other],
        )
    }
    const last = writes.at(-1)
    if (last) this.#commitSizes(last.sequence)
  }

  #commitSizes(mark: number): void {
    for (const change of this.#sizes) if (change.sequence <= mark) this.#durableSize = change.size
    this.#sizes = this.#sizes.filter((change) => change.sequence > mark)
  }

  #applyToSector(write: VolatileWrite, sector: number): void {
    const start = sector * sectorBytes
    this.#apply(
      write,
      Math.max(write.position, start),
      Math.min(write.position + write.length, start + sectorBytes),
    )
  }

  #apply(write: VolatileWrite, from: number, to: number): void {
    if (write.bytes)
      this.#durable.write(write.bytes.subarray(from - write.position, to - write.position), from)
    else this.#durable.zero(from, to - from)
  }
}

/** How many of `count` steps happened: each only after the one before it. */
function pick(count: number, share: number, chance: SeededChance): number {
  if (share === 0) return 0
  if (share === 1) return count
  return chance.below(count + 1)
}

function* sectorsOf(write: VolatileWrite): Generator<number> {
  const last = Math.floor((write.position + write.length - 1) / sectorBytes)
  for (let sector = Math.floor(write.position / sectorBytes); sector <= last; sector++) yield sector
}

const overlap = (a: Stretch, b: Stretch): boolean =>
  a.position < b.position + b.length && b.position < a.position + a.length

/** What is left of a write outside another. */
function without(write: VolatileWrite, other: Stretch): VolatileWrite[] {
  if (!overlap(write, other)) return [write]
  const end = write.position + write.length
  const otherEnd = other.position + other.length
  const part = (from: number, to: number): VolatileWrite[] =>
    from < to
      ? [
          {
            ...write,
            position: from,
            length: to - from,
            bytes: write.bytes?.subarray(from - write.position, to - write.position),
          },
        ]
      : []
  return [
    ...part(write.position, Math.min(end, other.position)),
    ...part(Math.max(write.position, otherEnd), end),
  ]
}
