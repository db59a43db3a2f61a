/** Bytes at any position, zeroes where nothing was written; memory only for chunks that were. */
export const chunkBytes = 16 * 1024

export class SparseBytes {
  readonly #chunks = new Map<number, Buffer>()

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
      if (!this.#chunks.has(chunk)) this.#chunks.set(chunk, Buffer.alloc(chunkBytes))
  }

  write(bytes: Uint8Array, position: number): void {
    this.allocate(position, bytes.length)
    this.#pieces(position, bytes.length, (chunk, from, at, length) => {
      chunk?.set(bytes.subarray(at, at + length), from)
    })
  }

  zero(position: number, length: number): void {
    this.#pieces(position, length, (chunk, from, _at, count) => chunk?.fill(0, from, from + count))
  }

  read(target: Uint8Array, position: number): void {
    this.#pieces(position, target.length, (chunk, from, at, length) => {
      if (chunk) target.set(chunk.subarray(from, from + length), at)
      else target.fill(0, at, at + length)
    })
  }

  #pieces(
    position: number,
    length: number,
    each: (chunk: Buffer | undefined, from: number, at: number, length: number) => void,
  ): void {
    for (let at = 0; at < length;) {
      const chunk = Math.floor((position + at) / chunkBytes)
      const from = (position + at) % chunkBytes
      const count = Math.min(length - at, chunkBytes - from)
      each(this.#chunks.get(chunk), from, at, count)
      at += count
    }
  }
}
