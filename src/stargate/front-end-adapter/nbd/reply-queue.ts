/**
 * The replies of one connection, on their way from the place that was reserved for them to the socket.
 *
 *   reserved → queued     it is filled: it leaves with all others that are, in one write     [send]
 *   reserved → (none)     it will not be filled                                              [abandon]
 *   queued → written      handed to the socket; the place must stay as it is                 [flush]
 *   written → (none)      the system has it; the place is free                               (whenSent)
 *
 * What lies side by side in a slab travels as one buffer.
 */
import type { Socket } from '../../../platform/platform.ts'
import type { ReplySlabs, Slab } from './reply-slabs.ts'

/** A place for a reply, or for several side by side. It holds one pin of its slab. */
export interface Place {
  readonly slab: Slab
  readonly start: number
  end: number
}

export class ReplyQueue {
  /** Bytes of the slabs that this connection holds. */
  heldBytes = 0
  readonly #socket: Socket
  readonly #slabs: ReplySlabs
  readonly #roomMade: () => void
  #current: Slab | undefined
  #queued: Place[] = []
  #closed = false

  /** `roomMade` is called when a slab went back. */
  constructor(socket: Socket, slabs: ReplySlabs, roomMade: () => void) {
    this.#socket = socket
    this.#slabs = slabs
    this.#roomMade = roomMade
  }

  /** A place of `bytes`; it ends in `send` or `abandon`. */
  reserve(bytes: number): Place {
    let slab = this.#current
    if (slab === undefined || slab.used + bytes > slab.buffer.length) {
      slab = this.#slabs.take(bytes)
      this.heldBytes += slab.buffer.length
      this.#current = slab
    }
    const start = slab.used
    slab.used += bytes
    slab.pins += 1
    return { slab, start, end: slab.used }
  }

  /** The place is filled: the next `flush` takes it along. */
  send(place: Place): void {
    if (this.#closed) return
    const last = this.#queued.at(-1)
    if (last !== undefined && last.slab === place.slab && last.end === place.start) {
      last.end = place.end
      place.slab.pins -= 1
    } else this.#queued.push(place)
  }

  /** `spoiled`: someone may still write into it. */
  abandon(place: Place, spoiled: boolean): void {
    if (this.#closed) return
    if (spoiled) place.slab.spoiled = true
    this.#unpin(place.slab)
  }

  flush(): void {
    if (this.#closed || this.#queued.length === 0) return
    const places = this.#queued
    this.#queued = []
    // What `write` answers is of no use here: replies are bounded by the slabs that they lie in.
    this.#socket.write(places.map(({ slab, start, end }) => slab.buffer.subarray(start, end)))
    this.#socket.whenSent(() => {
      if (this.#closed) return
      for (const { slab } of places) this.#unpin(slab)
    })
  }

  /** The connection is gone: nothing is sent any more. The socket may still hold the slabs, so they aren't lent again. */
  disconnect(): void {
    this.#closed = true
    this.#queued = []
    this.#current = undefined
  }

  /** And nobody fills a place any more: what was held is memory no longer. */
  forget(): void {
    this.#slabs.heldBytes -= this.heldBytes
    this.heldBytes = 0
  }

  #unpin(slab: Slab): void {
    slab.pins -= 1
    if (slab.pins > 0) return
    // An idle connection keeps no slab: most connections are idle most of the time.
    if (slab === this.#current) this.#current = undefined
    this.heldBytes -= slab.buffer.length
    this.#slabs.give(slab)
    this.#roomMade()
  }
}
