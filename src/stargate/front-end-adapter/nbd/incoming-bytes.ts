/**
 * The bytes of one connection in order, whatever pieces they arrive in.
 *
 *  1. What lies whole in one piece is never copied: it is a window on that piece.
 *  2. What lies across pieces is put together once, in memory of its own; of a long payload all but its beginning is read there
 *     by the socket itself.
 *  3. Beside what is being put together only the newest piece is held. So who can't go on pauses the socket first.
 */
import { assert } from '../../../base/assert.ts'
import { takeLarge } from '../../../base/large-buffers.ts'
import { readIntoBytesMin } from '../../../platform/platform.ts'

const nothing = Buffer.alloc(0)

export class IncomingBytes {
  /** After `consume`: the buffer in which the bytes lie, and where they begin. */
  bytes: Buffer = nothing
  start = 0

  #piece: Buffer = nothing
  #next = 0
  #joined: Buffer | undefined
  #joinedBytes = 0

  push(piece: Buffer): void {
    assert(this.#next === this.#piece.length, 'a piece of the stream came before the last one was used up')
    this.#piece = piece
    this.#next = 0
  }

  /** Where the next bytes of the stream belong: the part of a long payload that is still to come. */
  room(): Uint8Array | undefined {
    const joined = this.#joined
    if (joined === undefined || joined.length - this.#joinedBytes < readIntoBytesMin) return undefined
    return joined.subarray(this.#joinedBytes)
  }

  /** So many bytes were written where `room` said. */
  filled(bytes: number): void {
    assert(this.#joined !== undefined, 'what nobody waits for was filled')
    this.#joinedBytes += bytes
  }

  get atEndOfPiece(): boolean {
    return this.#next === this.#piece.length
  }

  /**
   * True: the next `count` bytes are used up and lie at `bytes`, `start`, until the next call; who keeps them longer
   * takes a window. False: they are not all here; push more and ask for the same count again.
   */
  consume(count: number): boolean {
    if (this.#joined === undefined) {
      if (this.#piece.length - this.#next >= count) {
        this.bytes = this.#piece
        this.start = this.#next
        this.#next += count
        return true
      }
      if (this.atEndOfPiece) {
        // No payload is kept for a connection that is silent: the last one may have been large.
        this.bytes = this.#piece = nothing
        this.start = this.#next = 0
        return false
      }
      // Not zeroed, and fresh memory is taken from the system only as it is filled: a client that announces 32 MiB and
      // falls silent costs what it sent. Only the vDisk gives it back: it may hold the payload in its log, also after
      // a write that failed.
      this.#joined = takeLarge(count)
      this.#joinedBytes = 0
    }
    const joined = this.#joined
    assert(joined.length === count, 'the count changed while the bytes were put together')
    const here = Math.min(count - this.#joinedBytes, this.#piece.length - this.#next)
    this.#piece.copy(joined, this.#joinedBytes, this.#next, this.#next + here)
    this.#next += here
    this.#joinedBytes += here
    if (this.#joinedBytes < count) return false
    this.bytes = joined
    this.start = 0
    this.#joined = undefined
    return true
  }

  /** Drops up to `count` bytes; tells how many there were to drop. */
  skip(count: number): number {
    assert(this.#joined === undefined, 'bytes that are being put together were to be skipped')
    const here = Math.min(count, this.#piece.length - this.#next)
    this.#next += here
    return here
  }

  /** How many bytes the piece has in which the consumed ones lie: what a window on them keeps in memory. */
  get pinnedBytes(): number {
    return this.bytes.buffer.byteLength
  }
}
