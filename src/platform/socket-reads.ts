/**
 * Where what a socket reads is written: into memory that its user waits to have filled, so that a large body is neither copied nor
 * held twice; else into chunks, of which each piece is handed on as a view.
 *
 * A reader who pauses stops nothing at once: up to a chunk is read and held for him. So who is paused still hears that the other side
 * has broken the connection, and what was held then is nobody's: requests of a client that has gone on elsewhere must not be begun.
 */
import type { OnReadOpts } from 'node:net'
import { assert } from '../base/assert.ts'
import { KiB } from '../base/units.ts'

/** A chunk grows from one to the next, so that a connection that says little holds little. */
const chunkBytesMin = 4 * KiB
const chunkBytesMax = 64 * KiB
/** With less than this part of a chunk left the next one is begun: reads of a few bytes cost as much as long ones. */
const leastPart = 4
/** Beyond it nothing is read for a reader who has paused. */
const heldBytesMax = 64 * KiB

/** Who reads: see `Socket`. */
export interface Reader {
  readonly room: () => Uint8Array | undefined
  readonly onFilled: (bytes: number) => void
  readonly onData: (bytes: Buffer) => void
  /** All that came was handed on, or dropped. */
  readonly onNothingHeld: () => void
  /** Bytes are to be read again. */
  readonly readOn: () => void
}

/** For one socket, as Node.js' `onread` asks for it: a place before each read, then how much was written there. */
export class SocketReads {
  /** Set in the turn in which the socket comes: nothing is read before. */
  reader: Reader | undefined
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #chunkBytes = chunkBytesMin / 2
  /** The read under way goes to the reader's own memory. */
  #isRooms = false
  #paused = false
  /** In order; of what was written to the reader's memory its length. */
  #held: (Buffer | number)[] = []
  #heldBytes = 0
  #stopped = false
  #handingOn = false

  readonly onread: OnReadOpts = {
    buffer: () => this.#next(),
    callback: (count) => this.#arrived(count),
  }

  get holdsAny(): boolean {
    return this.#held.length > 0
  }

  pause(): void {
    this.#paused = true
  }

  /** What is held is handed on in a later turn. */
  resume(): void {
    this.#paused = false
    if (this.#held.length === 0) return this.#readOn()
    if (this.#handingOn) return
    this.#handingOn = true
    setImmediate(() => {
      this.#handingOn = false
      this.#handOn()
    })
  }

  /** Bytes that came in memory of their own, as those of TLS do. False: no more is to be read for now. */
  push(bytes: Buffer): boolean {
    let goOn = true
    for (let at = 0; at < bytes.length;) {
      const room = this.#room()
      const count = room === undefined ? bytes.length - at : Math.min(room.length, bytes.length - at)
      room?.set(bytes.subarray(at, at + count))
      goOn = this.#take(room === undefined ? bytes.subarray(at) : count, count)
      at += count
    }
    return goOn
  }

  /** What is held, from now on the caller's. */
  release(): Buffer {
    const held = this.#held
    this.drop()
    assert(
      held.every((piece) => typeof piece !== 'number'),
      'what a reader waited for in its own memory is not handed on',
    )
    return Buffer.concat(held)
  }

  /** What is held, and all that comes, is dropped. */
  drop(): void {
    this.reader = undefined
    this.#held = []
    this.#heldBytes = 0
    this.#paused = false
  }

  /** What is held comes first: until then the reader doesn't know how much of its memory is filled. */
  #room(): Uint8Array | undefined {
    return this.#paused || this.holdsAny ? undefined : this.reader?.room()
  }

  #next(): Uint8Array {
    const room = this.#room()
    this.#isRooms = room !== undefined
    if (room !== undefined) return room
    if (this.#chunk.length - this.#at < this.#chunkBytes / leastPart || this.#chunk.length === 0) {
      this.#chunkBytes = Math.min(2 * this.#chunkBytes, chunkBytesMax)
      this.#chunk = Buffer.allocUnsafeSlow(this.#chunkBytes)
      this.#at = 0
    }
    return this.#chunk.subarray(this.#at)
  }

  /** False: no more is to be read for now. */
  #arrived(count: number): boolean {
    let piece: Buffer | number = count
    if (!this.#isRooms) {
      piece = this.#chunk.subarray(this.#at, this.#at + count)
      this.#at += count
    }
    return this.#take(piece, count)
  }

  #take(piece: Buffer | number, count: number): boolean {
    if (!this.#paused && !this.holdsAny) {
      this.#give(piece)
      return true
    }
    if (this.reader === undefined) return true
    this.#held.push(piece)
    this.#heldBytes += count
    this.#stopped = this.#heldBytes >= heldBytesMax
    return !this.#stopped
  }

  #handOn(): void {
    while (this.#held.length > 0 && !this.#paused) {
      const piece = this.#held.shift()!
      this.#heldBytes -= typeof piece === 'number' ? piece : piece.length
      this.#give(piece)
    }
    if (this.#held.length > 0) return
    this.reader?.onNothingHeld()
    if (!this.#paused) this.#readOn()
  }

  #give(piece: Buffer | number): void {
    if (typeof piece === 'number') this.reader?.onFilled(piece)
    else this.reader?.onData(piece)
  }

  #readOn(): void {
    if (!this.#stopped) return
    this.#stopped = false
    this.reader?.readOn()
  }
}
