/**
 * The replies of one connection, on their way from the place that was reserved for them to the socket.
 *
 *   reserved → queued     it is filled: it leaves with all others that are, in one write     [send]
 *   reserved → (none)     it will not be filled                                              [abandon]
 *   queued → written      handed to the socket; the place must stay as it is                 [flush]
 *   written → (none)      the system has it; the place is free                               (whenSent)
 *
 * What lies side by side in a slab travels as one buffer. What others have lent follows the place of its reply's header, and is given back
 * (large-buffers.ts) when it was sent, or never will be.
 */
import { giveBack } from '../../../base/large-buffers.ts'
import type { Socket } from '../../../platform/platform.ts'
import type { ReplySlabs, Slab } from './reply-slabs.ts'

/** A place for a reply, or for several side by side. It holds one pin of its slab. */
export interface Place {
  readonly slab: Slab
  readonly start: number
  end: number
  /** What is sent behind it. */
  lent?: readonly Buffer[]
}

export class ReplyQueue {
  /** Bytes of the slabs that this connection holds, and of what is lent to it. */
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

  /** So many bytes will be lent to this connection: `send` is told of them, or `holdNot`. */
  hold(bytes: number): void {
    this.heldBytes += bytes
    this.#slabs.heldBytes += bytes
  }

  /** They will not, or were sent. */
  holdNot(bytes: number): void {
    this.heldBytes -= bytes
    this.#slabs.heldBytes -= bytes
  }

  /** The place is filled: the next `flush` takes it along, and what was lent for it, which is held already. */
  send(place: Place, lent?: readonly Buffer[]): void {
    if (this.#closed) return lent?.forEach(giveBack)
    if (lent !== undefined) {
      place.lent = lent
      this.#queued.push(place)
      return
    }
    const last = this.#queued.at(-1)
    if (
      last !== undefined &&
      last.lent === undefined &&
      last.slab === place.slab &&
      last.end === place.start
    ) {
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
    const buffers: Buffer[] = []
    for (const { slab, start, end, lent } of places) {
      buffers.push(slab.buffer.subarray(start, end))
      if (lent !== undefined) buffers.push(...lent)
    }
    this.#socket.write(buffers)
    this.#socket.whenSent(() => {
      for (const place of places) this.#sent(place)
    })
  }

  #sent({ slab, lent }: Place): void {
    // A view may have no length any more once it was given back.
    const lentBytes = lent?.reduce((sum, { length }) => sum + length, 0) ?? 0
    lent?.forEach(giveBack)
    if (this.#closed) return
    this.#unpin(slab)
    if (lent === undefined) return
    this.holdNot(lentBytes)
    this.#roomMade()
  }

  /** The connection is gone: nothing is sent any more. The socket may still hold the slabs, so they aren't lent again. */
  disconnect(): void {
    this.#closed = true
    for (const { lent } of this.#queued) lent?.forEach(giveBack)
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
