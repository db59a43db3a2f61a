/**
 * XDR (RFC 4506): how numbers, byte strings and lists lie in the messages of ONC RPC. All is big-endian, and all takes a whole number of
 * 4-byte words; what is shorter is padded.
 *
 *   uint32, bool, enumeration        uint64                   opaque<max>, string<max>
 *
 *   0        4                       0                 8      0        4              4+length
 *   ┌────────┐                       ┌─────────────────┐      ┌────────┬── ─ ─ ─ ──┬─────────┐
 *   │ number │                       │ number          │      │ length │ bytes     │ padding │   opaque[n] has no length
 *   └────────┘                       └─────────────────┘      └────────┴── ─ ─ ─ ──┴─────────┘
 *
 * 64-bit numbers come in two kinds:
 *  - what counts bytes (sizes, offsets) is a `number`: from 2^53 on it is rounded, and still larger than any size that we have, so the
 *    check against sizes refuses it in the words of the protocol. Of 2^53 bytes and more we have nothing to tell.
 *  - what only has to come back as it was (cookies, file ids), or where each byte counts (ranges of locks), is a `bigint`. Verifiers are
 *    8 raw bytes.
 *
 * Strings are bytes to us: text of names of hosts is read as latin1, which loses nothing.
 */
import { assert } from '../../../base/assert.ts'

/** The bytes are not what they should be. Whoever decodes arguments answers it with GARBAGE_ARGS. */
export class XdrError extends Error {
  override name = 'XdrError'
}

const wordBytes = 4
const none = Buffer.alloc(0)
const paddingOf = (bytes: number): number => (wordBytes - (bytes % wordBytes)) % wordBytes

/**
 * Reads one message after its beginning, in one buffer or cut into several anywhere. All that it gives out are windows on these buffers;
 * only what is asked for in one piece, and lies across two, is copied. Each method throws XdrError where the message is at its end or
 * breaks a bound. What padding holds is not looked at: as in other servers, and nothing depends on it.
 */
export class XdrReader {
  #left: number
  #bytes: Buffer
  #at = 0
  readonly #others: Buffer[]

  constructor(buffers: readonly Buffer[]) {
    this.#bytes = buffers.length > 0 ? buffers[0] : none
    this.#others = buffers.length > 1 ? buffers.slice(1).reverse() : []
    this.#left =
      buffers.length > 1 ? buffers.reduce((sum, { length }) => sum + length, 0) : this.#bytes.length
  }

  /** Bytes that are still to be read. */
  get left(): number {
    return this.#left
  }

  uint32(): number {
    const at = this.#at
    if (this.#bytes.length - at < wordBytes) return this.#window(wordBytes).readUInt32BE(0)
    this.#at = at + wordBytes
    this.#left -= wordBytes
    return this.#bytes.readUInt32BE(at)
  }

  int32(): number {
    return this.uint32() | 0
  }

  /** Anything but 0 is true, as in other servers. */
  bool(): boolean {
    return this.uint32() !== 0
  }

  /** From 2^53 on it is rounded. */
  uint64(): number {
    const high = this.uint32()
    return high * 2 ** 32 + this.uint32()
  }

  bigUint64(): bigint {
    const high = this.uint32()
    return (BigInt(high) << 32n) | BigInt(this.uint32())
  }

  /** The word that stands at the number that is read; the first is number 0. */
  oneOf<T extends string>(words: readonly T[]): T {
    const number = this.uint32()
    if (number >= words.length) throw new XdrError(`${number} is none of ${words.join(', ')}`)
    return words[number]
  }

  /** opaque[count], and its padding. */
  fixed(count: number): Buffer {
    const bytes = this.#window(count)
    this.#skip(paddingOf(count))
    return bytes
  }

  /** opaque<max>, in one piece. */
  opaque(max: number): Buffer {
    return this.fixed(this.#length(max))
  }

  /** string<max>, one character for each byte. */
  text(max: number): string {
    return this.opaque(max).toString('latin1')
  }

  /** opaque<max>, in the pieces in which it lies: nothing is copied. None is empty. */
  pieces(max: number): Buffer[] {
    const length = this.#length(max)
    this.#need(length + paddingOf(length))
    const pieces: Buffer[] = []
    for (let left = length; left > 0;) {
      this.#nextIfUsed()
      const piece = this.#bytes.subarray(this.#at, this.#at + left)
      pieces.push(piece)
      this.#at += piece.length
      this.#left -= piece.length
      left -= piece.length
    }
    this.#skip(paddingOf(length))
    return pieces
  }

  /** A list with its count in front. A count that lies runs out of bytes, never out of memory. */
  array<T>(max: number, item: (reader: this) => T): T[] {
    const length = this.#length(max)
    const items: T[] = []
    for (let index = 0; index < length; index += 1) items.push(item(this))
    return items
  }

  /** A value that may be missing: a bool says whether it is there. */
  optional<T>(item: (reader: this) => T): T | undefined {
    return this.bool() ? item(this) : undefined
  }

  /** All that is left, in one piece. */
  rest(): Buffer {
    return this.#window(this.#left)
  }

  #length(max: number): number {
    const length = this.uint32()
    if (length > max) throw new XdrError(`${length} is more than the ${max} that may be here`)
    return length
  }

  #need(bytes: number): void {
    if (bytes > this.#left) throw new XdrError(`The message ends ${bytes - this.#left} bytes too early`)
  }

  #nextIfUsed(): void {
    while (this.#at === this.#bytes.length) {
      const next = this.#others.pop()
      assert(next !== undefined, 'bytes were read behind the end of a message')
      this.#bytes = next
      this.#at = 0
    }
  }

  #skip(bytes: number): void {
    if (bytes > 0) this.#window(bytes)
  }

  #window(bytes: number): Buffer {
    this.#need(bytes)
    this.#left -= bytes
    const end = this.#at + bytes
    if (end <= this.#bytes.length) {
      const window = this.#bytes.subarray(this.#at, end)
      this.#at = end
      return window
    }
    const joined = Buffer.allocUnsafe(bytes)
    for (let done = 0; done < bytes;) {
      this.#nextIfUsed()
      const count = this.#bytes.copy(
        joined,
        done,
        this.#at,
        Math.min(this.#bytes.length, this.#at + bytes - done),
      )
      this.#at += count
      done += count
    }
    return joined
  }
}

/** Below it a copy costs less than one buffer more to send. */
const copiedBytesMax = 1024

/** Writes one message. It grows without a copy of what is there: at its end it is a list of buffers, to be sent in order. */
export class XdrWriter {
  readonly #done: Buffer[] = []
  #doneBytes = 0
  #bytes: Buffer
  #from = 0
  #at = 0

  /** `bytes`: about how long the message will be. */
  constructor(bytes = 256) {
    this.#bytes = Buffer.allocUnsafe(bytes)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#doneBytes + this.#at - this.#from
  }

  /** The message; nothing is written after it. Its buffers stay as they are until it was sent. */
  finish(): Buffer[] {
    this.#cut()
    return this.#done
  }

  uint32(value: number): void {
    const at = this.#room(wordBytes)
    this.#bytes.writeUInt32BE(value, at)
  }

  int32(value: number): void {
    this.uint32(value >>> 0)
  }

  bool(value: boolean): void {
    this.uint32(value ? 1 : 0)
  }

  uint64(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0, () => `${value} is no number of bytes`)
    const at = this.#room(2 * wordBytes)
    this.#bytes.writeUInt32BE(Math.floor(value / 2 ** 32), at)
    this.#bytes.writeUInt32BE(value % 2 ** 32, at + wordBytes)
  }

  bigUint64(value: bigint): void {
    const at = this.#room(2 * wordBytes)
    this.#bytes.writeBigUInt64BE(value, at)
  }

  oneOf<T extends string>(words: readonly T[], word: T): void {
    const number = words.indexOf(word)
    assert(number >= 0, () => `${word} is none of ${words.join(', ')}`)
    this.uint32(number)
  }

  /** opaque[…]: no length in front; padded. */
  fixed(bytes: Uint8Array): void {
    const padding = paddingOf(bytes.length)
    const at = this.#room(bytes.length + padding)
    this.#bytes.set(bytes, at)
    if (padding > 0) this.#bytes.fill(0, at + bytes.length, at + bytes.length + padding)
  }

  /** opaque<>, copied: for what is short. */
  opaque(bytes: Uint8Array): void {
    this.uint32(bytes.length)
    this.fixed(bytes)
  }

  /** string<>, one byte for each character. */
  text(text: string): void {
    this.opaque(Buffer.from(text, 'latin1'))
  }

  /**
   * opaque<> whose bytes lie in several pieces. None is copied, however short: each is a buffer of the message, by which whoever sent it
   * gives back what was lent for it.
   */
  pieces(pieces: readonly Buffer[]): void {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
    this.uint32(length)
    for (const piece of pieces) if (piece.length > 0) this.#push(piece)
    const padding = paddingOf(length)
    if (padding === 0) return
    const at = this.#room(padding)
    this.#bytes.fill(0, at, at + padding)
  }

  /** What was encoded before, as it is; what is long is not copied. */
  append(encoded: readonly Buffer[]): void {
    for (const bytes of encoded)
      if (bytes.length <= copiedBytesMax) {
        const at = this.#room(bytes.length)
        this.#bytes.set(bytes, at)
      } else this.#push(bytes)
  }

  #push(bytes: Buffer): void {
    this.#cut()
    this.#done.push(bytes)
    this.#doneBytes += bytes.length
  }

  /** A list with its count in front. */
  array<T>(items: readonly T[], item: (writer: this, item: T) => void): void {
    this.uint32(items.length)
    for (const each of items) item(this, each)
  }

  /** A value that may be missing: a bool says whether it is there. */
  optional<T>(value: T | undefined, item: (writer: this, value: T) => void): void {
    this.bool(value !== undefined)
    if (value !== undefined) item(this, value)
  }

  /** A list as XDR draws it by pointers: true before each item, false at the end. */
  chain<T>(items: readonly T[], item: (writer: this, item: T) => void): void {
    for (const each of items) {
      this.bool(true)
      item(this, each)
    }
    this.bool(false)
  }

  #room(bytes: number): number {
    if (this.#bytes.length - this.#at < bytes) {
      this.#cut()
      this.#bytes = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, bytes))
      this.#from = this.#at = 0
    }
    const at = this.#at
    this.#at += bytes
    return at
  }

  #cut(): void {
    if (this.#at === this.#from) return
    this.#done.push(this.#bytes.subarray(this.#from, this.#at))
    this.#doneBytes += this.#at - this.#from
    this.#from = this.#at
  }
}
