/**
 * Record marking (RFC 5531, section 11): where in a stream of bytes one RPC message ends and the next begins. A record is one fragment or
 * several; before each stands a word, whose highest bit says that it is the record's last, and whose other bits are its length.
 *
 *   0              4                4+length
 *   ┌─────────────┬── ─ ─ ─ ─ ─ ──┬─────────────┬── ─ ─ ──┐
 *   │ 0 │ length  │ bytes         │ 1 │ length  │ bytes   │
 *   └─────────────┴── ─ ─ ─ ─ ─ ──┴─────────────┴── ─ ─ ──┘
 *
 *  1. A fragment that lies whole in one piece of the stream is a window on it. Any other is put together in memory of its own; of a long
 *     one, all but its beginning is read there by the socket itself.
 *  2. That memory is never more than `aheadFactor` times what has come of the fragment, or `aheadBytesMin`: an announcement costs nothing.
 *  3. A record has at most `recordBytesMax` bytes and `fragmentsMax` fragments; whoever sends more has no way back into the stream.
 *  4. Beside the record that comes only the newest piece is held. So who can't go on pauses the socket first.
 */
import { assert } from '../../../base/assert.ts'
import { takeLarge } from '../../../base/large-buffers.ts'
import { KiB, MiB } from '../../../base/units.ts'
import { readIntoBytesMin } from '../../../platform/platform.ts'
import { XdrWriter } from './xdr.ts'

/** A WRITE of the largest size, and what stands around its data. */
export const recordBytesMax = 1 * MiB + 64 * KiB
/** What stands before each fragment. */
export const recordMarkBytes = 4
/** Some clients send what their buffer holds, 4000 bytes and up, as a fragment; Linux, ESXi and libnfs send whole records. */
export const fragmentsMax = 1024

const nothing = Buffer.alloc(0)
const lastFragment = 0x8000_0000
const aheadFactor = 16
const aheadBytesMin = 64 * KiB
/**
 * A record in a piece of the stream keeps all of the piece in memory. One that is smaller than this share of it is copied instead; a
 * WRITE of 4 KiB never is, since pieces have at most 64 KiB.
 */
const pinnedShareMax = 16

/** What stands before a message that is sent as one fragment. */
export const recordMark = (bytes: number): number => (lastFragment | bytes) >>> 0

/** A message and its mark, as a record of one fragment. Its buffers stay as they are until it was sent. */
export function encodeRecord(encode: (writer: XdrWriter) => void): Buffer[] {
  const writer = new XdrWriter()
  writer.uint32(0)
  encode(writer)
  const mark = recordMark(writer.length - recordMarkBytes)
  const record = writer.finish()
  record[0].writeUInt32BE(mark)
  return record
}

/** The stream can't be understood any more. */
export class RecordError extends Error {
  override name = 'RecordError'
}

export class RecordReader {
  #piece: Buffer = nothing
  #next = 0
  #mark = 0
  #markBytes = 0
  /** The fragment that comes, once its mark is here. */
  #fragment: { readonly length: number; readonly isLast: boolean } | undefined
  #joined: Buffer | undefined
  #joinedBytes = 0
  /** Of the record that comes. */
  #fragments: Buffer[] = []
  #fragmentCount = 0
  #recordBytes = 0

  push(piece: Buffer): void {
    assert(this.#next === this.#piece.length, 'a piece of the stream came before the last one was used up')
    this.#piece = piece
    this.#next = 0
  }

  /** Where the next bytes of the stream belong: the part of a long fragment that is still to come. */
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

  /** The next record, in its fragments, of which none is empty; `undefined` until more was pushed. Throws RecordError. */
  next(): Buffer[] | undefined {
    for (;;) {
      this.#fragment ??= this.#readMark()
      if (this.#fragment === undefined) break
      const bytes = this.#read(this.#fragment.length)
      if (bytes === undefined) break
      if (bytes.length > 0) this.#fragments.push(bytes)
      const { isLast } = this.#fragment
      this.#fragment = undefined
      if (!isLast) continue
      const record = this.#fragments
      this.#fragments = []
      this.#fragmentCount = this.#recordBytes = 0
      return record
    }
    // Nothing is kept for a connection that is silent: the last record may have been large.
    if (this.#next === this.#piece.length) {
      this.#piece = nothing
      this.#next = 0
    }
    return undefined
  }

  #readMark(): { length: number; isLast: boolean } | undefined {
    while (this.#markBytes < recordMarkBytes) {
      if (this.#next === this.#piece.length) return undefined
      this.#mark = ((this.#mark << 8) | this.#piece[this.#next++]) >>> 0
      this.#markBytes += 1
    }
    const length = this.#mark & ~lastFragment
    const isLast = this.#mark >= lastFragment
    this.#mark = this.#markBytes = 0
    this.#recordBytes += length
    this.#fragmentCount += 1
    if (this.#recordBytes > recordBytesMax)
      throw new RecordError(`a record has ${this.#recordBytes} bytes or more`)
    if (this.#fragmentCount > fragmentsMax) throw new RecordError('a record has too many fragments')
    return { length, isLast }
  }

  #read(length: number): Buffer | undefined {
    const joined = this.#joined
    if (joined === undefined && this.#piece.length - this.#next >= length) {
      const window = this.#piece.subarray(this.#next, this.#next + length)
      this.#next += length
      return length * pinnedShareMax < this.#piece.buffer.byteLength ? Buffer.from(window) : window
    }
    while (this.#joinedBytes < length) {
      const here = this.#piece.length - this.#next
      if (here === 0 && (this.#joined === undefined || this.#joinedBytes < this.#joined.length))
        return undefined
      this.#makeRoom(length, here)
      const count = this.#piece.copy(this.#joined!, this.#joinedBytes, this.#next)
      this.#next += count
      this.#joinedBytes += count
      if (this.#next === this.#piece.length && this.#joinedBytes < this.#joined!.length) return undefined
    }
    const whole = this.#joined!
    this.#joined = undefined
    this.#joinedBytes = 0
    return whole
  }

  /** Memory for the fragment, of which `joinedBytes` and `here` have come: all of it, or as much as that justifies. */
  #makeRoom(length: number, here: number): void {
    const joined = this.#joined
    if (joined !== undefined && this.#joinedBytes < joined.length) return
    const justified = Math.max(aheadBytesMin, aheadFactor * (this.#joinedBytes + here))
    // Not zeroed. Nobody gives it back: after a write that failed, whoever has the payload may send it once more.
    const larger = takeLarge(Math.min(length, justified))
    joined?.copy(larger, 0, 0, this.#joinedBytes)
    this.#joined = larger
  }
}
