/**
 * Where what a socket reads is written: into memory that its user waits to have filled, so that a large body is neither copied nor
 * held twice; else into chunks, of which each piece is handed on as a view.
 */
import type { OnReadOpts } from 'node:net'
import { KiB } from '../base/units.ts'

/** A chunk grows from one to the next, so that a connection that says little holds little. */
const chunkBytesMin = 4 * KiB
const chunkBytesMax = 64 * KiB
/** With less than this part of a chunk left the next one is begun: reads of a few bytes cost as much as long ones. */
const leastPart = 4

/** Who reads: see `Socket`. */
export interface Reader {
  readonly room: () => Uint8Array | undefined
  readonly onFilled: (bytes: number) => void
  readonly onData: (bytes: Buffer) => void
}

/** For one socket, as Node.js' `onread` asks for it: a place before each read, then how much was written there. */
export class SocketReads {
  /** Set in the turn in which the socket comes: nothing is read before. */
  reader: Reader | undefined
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  #chunkBytes = chunkBytesMin / 2
  /** The next read goes to the reader's own memory. */
  #isRooms = false

  readonly onread: OnReadOpts = {
    buffer: () => this.#next(),
    callback: (count) => {
      this.#arrived(count)
      return true
    },
  }

  #next(): Uint8Array {
    const room = this.reader?.room()
    this.#isRooms = room !== undefined
    if (room !== undefined) return room
    if (this.#chunk.length - this.#at < this.#chunkBytes / leastPart || this.#chunk.length === 0) {
      this.#chunkBytes = Math.min(2 * this.#chunkBytes, chunkBytesMax)
      this.#chunk = Buffer.allocUnsafeSlow(this.#chunkBytes)
      this.#at = 0
    }
    return this.#chunk.subarray(this.#at)
  }

  #arrived(count: number): void {
    if (this.#isRooms) return this.reader?.onFilled(count)
    const piece = this.#chunk.subarray(this.#at, this.#at + count)
    this.#at += count
    this.reader?.onData(piece)
  }
}
