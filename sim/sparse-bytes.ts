/**
 * Bytes at any position, zeroes where nothing was written. Space is taken in chunks, as a file system does; memory only
 * by chunks that hold more than zeroes, so that a log preallocated with zeroes costs none.
 */
export const chunkBytes = 16 * 1024

const zeroes = Buffer.alloc(chunkBytes)

/** Chunks are cut from larger pieces: a run needs thousands, and they all go together. */
const slabBytes = 64 * chunkBytes
let slab = Buffer.alloc(0)

function newChunk(): Buffer {
  if (slab.length === 0) slab = Buffer.alloc(slabBytes)
  const chunk = slab.subarray(0, chunkBytes)
  slab = slab.subarray(chunkBytes)
  return chunk
}

export class SparseBytes {
  /** Chunks that take space; `undefined` while they hold zeroes. */
  readonly #chunks = new Map<number, Buffer | undefined>()

  get allocatedBytes(): number {
    return this.#chunks.size * chunkBytes
  }

  /** What writing there would allocate. */
  missingBytes(position: number, length: number): number {
    let missing = 0
    for (let chunk = Math.floor(position / chunkBytes); chunk * chunkBytes < position + length; chunk++)
      if (!this.#chunks.has(chunk)) missing += chunkBytes
    return missing
  }

  allocate(position: number, length: number): void {
    for (let chunk = Math.floor(position / chunkBytes); chunk * chunkBytes < position + length; chunk++)
      if (!this.#chunks.has(chunk)) this.#chunks.set(chunk, undefined)
  }

  write(bytes: Uint8Array, position: number): void {
    let written = 0
    for (const { number, from, length } of pieces(position, bytes.length)) {
      const piece = bytes.subarray(written, written + length)
      written += length
      let chunk = this.#chunks.get(number)
      if (chunk === undefined) {
        if (zeroes.compare(piece, 0, length, 0, length) === 0) {
          this.#chunks.set(number, undefined)
          continue
        }
        chunk = newChunk()
        this.#chunks.set(number, chunk)
      }
      chunk.set(piece, from)
    }
  }

  zero(position: number, length: number): void {
    for (const { number, from, length: count } of pieces(position, length))
      this.#chunks.get(number)?.fill(0, from, from + count)
  }

  read(target: Uint8Array, position: number): void {
    let read = 0
    for (const { number, from, length } of pieces(position, target.length)) {
      const chunk = this.#chunks.get(number)
      if (chunk) target.set(chunk.subarray(from, from + length), read)
      else target.fill(0, read, read + length)
      read += length
    }
  }
}

interface Piece {
  /** Of the chunk. */
  readonly number: number
  readonly from: number
  readonly length: number
}

function pieces(position: number, length: number): Piece[] {
  const found: Piece[] = []
  for (let at = position; at < position + length;) {
    const number = Math.floor(at / chunkBytes)
    const from = at % chunkBytes
    const count = Math.min(position + length - at, chunkBytes - from)
    found.push({ number, from, length: count })
    at += count
  }
  return found
}
