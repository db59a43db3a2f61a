/**
 * Memory whose address is a multiple of 4096, which O_DIRECT asks for.
 *
 * JavaScript can't ask where an ArrayBuffer lies, but the memory of WebAssembly is mapped whole pages at a time: it
 * begins on one, is zeroed, and takes real memory only as it is touched. (Given up: an ordinary ArrayBuffer, and its
 * aligned offset found by trying direct writes. What a scratch file accepts says nothing of the disk's file system, and
 * a device that asks for less than 4096 hides where the page begins.)
 *
 * Buffers are carved out of slabs, because each such memory reserves 10 GiB of addresses. A slab is collected when none
 * of its buffers is in use any more.
 */
import { assert } from './assert.ts'
import { MiB, pageBytes, roundUp } from './units.ts'

const slabBytes = 16 * MiB
/** A buffer of more than this has a slab of its own, so that little is wasted at a slab's end. */
const sharedBytesMax = slabBytes / 4
const wasmPageBytes = 65536

/** What we need of a global that neither the language's nor Node.js's types declare. */
declare const WebAssembly: {
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer }
}

const alignedMemories = new WeakSet<ArrayBufferLike>()
let slab: ArrayBuffer | undefined
let slabUsed = 0

export function alignedBuffer(bytes: number): Buffer {
  assert(Number.isSafeInteger(bytes) && bytes > 0, 'a buffer without a size')
  if (bytes > sharedBytesMax) return Buffer.from(alignedMemory(bytes), 0, bytes)
  if (slab === undefined || slabUsed + bytes > slabBytes) {
    slab = alignedMemory(slabBytes)
    slabUsed = 0
  }
  const start = slabUsed
  slabUsed += roundUp(bytes, pageBytes)
  return Buffer.from(slab, start, bytes)
}

/** Whether a direct file takes this memory: all of it from here, beginning and ending between pages. */
export function isAligned(bytes: Uint8Array): boolean {
  return (
    bytes.byteOffset % pageBytes === 0 &&
    bytes.byteLength % pageBytes === 0 &&
    alignedMemories.has(bytes.buffer)
  )
}

/** Memory for one use: at least so many bytes, of which what is never touched takes none. For what is too small for that see `alignedBuffer`. */
export function alignedMemory(bytes: number): ArrayBuffer {
  const pages = Math.ceil(bytes / wasmPageBytes)
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
  alignedMemories.add(buffer)
  return buffer
}
