/**
 * Big buffers for replies, used again and again: a read fills its place in one directly, and many replies leave in one
 * write. A new buffer for each reply cost half of the throughput (big allocations are zeroed and collected).
 *
 * A slab is lent to one connection at a time. It is pinned once for each place in it that waits to be filled or to be
 * sent, and comes back when the last pin is gone.
 */
import { KiB, MiB } from '../../../base/units.ts'

export interface Slab {
  readonly buffer: Buffer
  /** From here on it is free. */
  used: number
  pins: number
  /** It may still be written into by a read that failed: it is dropped, never lent again. */
  spoiled: boolean
}

/** Room for a reply of 1 MiB, the largest that Linux asks for unless told otherwise, with its header and some small ones. */
const slabBytes = 1 * MiB + 4 * KiB
/** What is kept for later. More than this is in use only for moments. */
const idleBytesMax = 64 * MiB

export class ReplySlabs {
  /** Bytes of slabs lent, and of payloads that connections report: what all of them hold together. */
  heldBytes = 0
  readonly #idle = new Map<number, Slab[]>()
  #idleBytes = 0

  /** A slab with room for `bytes`, of 1, 2, 4, … MiB and a little. */
  take(bytes: number): Slab {
    let size = slabBytes
    while (size < bytes) size *= 2
    const slab = this.#idle.get(size)?.pop()
    this.heldBytes += size
    if (slab === undefined) return { buffer: Buffer.allocUnsafeSlow(size), used: 0, pins: 0, spoiled: false }
    this.#idleBytes -= size
    slab.used = 0
    return slab
  }

  /** What is kept for later is left to the garbage collector. */
  dropIdle(): void {
    this.#idle.clear()
    this.#idleBytes = 0
  }

  /** Takes a slab back. */
  give(slab: Slab): void {
    const size = slab.buffer.length
    this.heldBytes -= size
    if (slab.spoiled || this.#idleBytes + size > idleBytesMax) return
    this.#idleBytes += size
    const idle = this.#idle.get(size)
    if (idle === undefined) this.#idle.set(size, [slab])
    else idle.push(slab)
  }
}
