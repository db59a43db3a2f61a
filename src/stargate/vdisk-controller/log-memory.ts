/**
 * Where the undrained log keeps the payloads of short writes: copied one after the other, in their order, into slabs that are used again
 * when all of their records are drained.
 *
 * A copy of 4 KiB costs less than what it saves: without it each payload keeps the memory that its request came in, as long as it is
 * undrained, and all of that memory is new garbage every second, for which V8 looks through the whole heap.
 *
 * A slab is used again only where nobody reads it any more: no read keeps a view over an await (vdisk-reads.ts), and its records were sent
 * to replicas of one episode alone, by whom all of them are acknowledged. Where they were sent to others before, a socket or a log may
 * still hold them: the garbage collector gets the slab then (`abandon`).
 */
import { assert } from '../../base/assert.ts'
import { giveBack, takeLarge } from '../../base/large-buffers.ts'
import { KiB } from '../../base/units.ts'

/** Less than what begins on a page, which has addresses reserved for it: there may be a slab for each of a node's vDisks. */
const slabBytes = 128 * KiB
/** Where nothing is undrained: many vDisks write little. */
const firstSlabBytes = 16 * KiB
/** Longer payloads stay where they came: memory of their own. */
const copiedBytesMax = 64 * KiB

interface Slab {
  readonly memory: Buffer
  usedBytes: number
  /** Of the last record in it. */
  last: number
}

export class LogMemory {
  /** Oldest first; the last one is being filled. */
  #slabs: Slab[] = []

  /** The payload as it is to be kept until `drained` is told of `sequence`. Sequences only grow. */
  keep(sequence: number, payload: Buffer): Buffer {
    if (payload.length >= copiedBytesMax || payload.length === 0) return payload
    const slab = this.#slabWith(payload.length)
    assert(sequence > slab.last, 'payloads are kept in the order of their records')
    const at = slab.usedBytes
    payload.copy(slab.memory, at)
    slab.usedBytes += payload.length
    slab.last = sequence
    return slab.memory.subarray(at, slab.usedBytes)
  }

  /** Nobody reads what was kept for records up to there any more. */
  drained(through: number): void {
    const slabs = this.#slabs
    let count = 0
    while (count < slabs.length && slabs[count].last <= through) giveBack(slabs[count++].memory)
    slabs.splice(0, count)
  }

  /** Something may read what is kept now beyond its drain: it is left to the garbage collector. */
  abandon(): void {
    this.#slabs = []
  }

  #slabWith(bytes: number): Slab {
    const newest = this.#slabs.at(-1)
    if (newest !== undefined && newest.usedBytes + bytes <= newest.memory.length) return newest
    const size = newest === undefined && bytes <= firstSlabBytes ? firstSlabBytes : slabBytes
    const slab = { memory: takeLarge(size), usedBytes: 0, last: 0 }
    this.#slabs.push(slab)
    return slab
  }
}
