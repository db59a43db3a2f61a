/** CRC-32C (Castagnoli), the checksum of every page, record and header. */
import { crc32c as crc32cOf } from '@node-rs/crc32'
import { assert } from './assert.ts'
import { pageBytes } from './units.ts'

/** The checksum of `bytes`, going on from `initial` (the checksum of what comes before). */
export const crc32c = (bytes: Uint8Array, initial?: number): number => crc32cOf(bytes, initial)

/** The crc32c of each page; each buffer holds one page or several. */
export function checksumsOfPages(pages: readonly Uint8Array[]): Uint32Array {
  const bytes = pages.reduce((sum, part) => sum + part.length, 0)
  const checksums = new Uint32Array(bytes / pageBytes)
  let page = 0
  for (const part of pages) {
    assert(part.length > 0 && part.length % pageBytes === 0, () => `${part.length} bytes are no whole pages`)
    for (let at = 0; at < part.length; at += pageBytes)
      checksums[page++] = crc32c(part.subarray(at, at + pageBytes))
  }
  return checksums
}

/**
 * The checksum of what comes before, followed by pages whose checksums these are: no byte of them is read again. (A checksum is a remainder
 * of polynomials: that of A and B is that of A, shifted by the length of B, plus that of B.)
 */
export function crc32cOfPages(checksums: Uint32Array, initial = 0): number {
  let crc = initial
  for (const checksum of checksums) crc = shifted(crc) ^ checksum
  return crc >>> 0
}

/** The checksum of so many whole pages alone, where that of what comes before them is `before`, and that of both is `both`. */
export function crc32cOfLastPages(pages: number, both: number, before: number): number {
  let crc = before
  for (let page = 0; page < pages; page++) crc = shifted(crc)
  return (both ^ crc) >>> 0
}

/** A checksum behind which a page of zeroes comes. */
const shifted = (crc: number): number =>
  shift[0][crc & 0xff] ^ shift[1][(crc >>> 8) & 0xff] ^ shift[2][(crc >>> 16) & 0xff] ^ shift[3][crc >>> 24]

const known = new WeakMap<Uint8Array, Uint32Array>()

/**
 * The checksums of these whole pages have just been computed or verified, and who sends them need not compute them again. What changes in
 * them afterwards is noticed by whoever receives them.
 */
export function noteChecksums(pages: Uint8Array, checksums: Uint32Array): void {
  assert(pages.length === checksums.length * pageBytes, 'checksums of other pages')
  known.set(pages, checksums)
}

/** As `crc32c`, by what was noted of this very buffer where there is anything. To be sent along with it, never to verify it. */
export function crc32cToSend(bytes: Uint8Array, initial?: number): number {
  const checksums = known.get(bytes)
  return checksums === undefined ? crc32c(bytes, initial) : crc32cOfPages(checksums, initial)
}

/** What a checksum becomes by a page of zeroes behind its bytes: for each of its four bytes, as it is a sum over its bits. */
const shift = shiftedByPage()

function shiftedByPage(): Uint32Array[] {
  const reflectedPolynomial = 0x82f63b78
  // By one bit: the lowest falls out, and leaves the polynomial.
  let columns = Uint32Array.from({ length: 32 }, (_, bit) =>
    bit === 0 ? reflectedPolynomial : 2 ** (bit - 1),
  )
  for (let bits = 1; bits < pageBytes * 8; bits *= 2)
    columns = columns.map((column) => times(columns, column))
  return [0, 1, 2, 3].map((byte) =>
    Uint32Array.from({ length: 256 }, (_, value) => times(columns, (value << (8 * byte)) >>> 0)),
  )
}

function times(columns: Uint32Array, crc: number): number {
  let product = 0
  for (let bit = 0; crc !== 0; bit++, crc >>>= 1) if ((crc & 1) !== 0) product ^= columns[bit]
  return product >>> 0
}
