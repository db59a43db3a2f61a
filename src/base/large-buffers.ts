/**
 * Memory for what moves in megabytes, or in parts of one many times a second: used again by whoever gives it back, or left to the garbage
 * collector by whoever doesn't. Fresh memory costs about as much as all else that is done with it: the system fills it with zeroes page by
 * page, and each 64 MiB of it has V8 look through the whole heap.
 *
 * From 256 KiB on it begins on a page, where the system has addresses for that: such memory is written around the page cache (see
 * `File.write` in platform.ts).
 *
 * Give back only what nobody reads or writes any more, not even a call that was given up: else two would use it at once.
 */
import { alignedBuffer, alignedMemory } from './aligned-memory.ts'
import { assert } from './assert.ts'
import { KiB, MiB, roundUp } from './units.ts'

/** Below it an allocation of its own costs less. */
const lentBytesMin = 16 * KiB
/** From here on it begins on a page. */
const largeBytesMin = 256 * KiB
/** Sizes are rounded up, so that one fits another's use: to whole ones of 256 KiB, and below that of 16 KiB. What is never touched takes no memory. */
const sizeFor = (bytes: number): number =>
  roundUp(bytes, bytes < largeBytesMin ? lentBytesMin : largeBytesMin)
/** What is kept for later, in this thread. */
const keptBytesMax = 96 * MiB

/** By size. */
const kept = new Map<number, ArrayBuffer[]>()
const lent = new WeakSet<ArrayBufferLike>()
/** Memory that has an owner of its own, who is told of each view that is given back. */
const owners = new WeakMap<ArrayBufferLike, (view: Uint8Array) => void>()
let keptBytes = 0
let isOverwritten = false
let hasAddresses = true

/** A buffer of so many bytes, holding anything. */
export function takeLarge(bytes: number): Buffer {
  if (isOverwritten) {
    const buffer = Buffer.allocUnsafeSlow(bytes)
    lent.add(buffer.buffer)
    return buffer
  }
  if (bytes < lentBytesMin) return Buffer.allocUnsafeSlow(bytes)
  const size = sizeFor(bytes)
  let memory = kept.get(size)?.pop()
  if (memory === undefined) memory = freshMemory(size)
  else keptBytes -= memory.byteLength
  lent.add(memory)
  return Buffer.from(memory, 0, bytes)
}

function freshMemory(bytes: number): ArrayBuffer {
  try {
    if (hasAddresses && bytes >= largeBytesMin) return alignedMemory(bytes)
  } catch {
    // Some ten thousand are in use, or the process may not have so many addresses (ulimit -v). Before V8 says so it collects all
    // garbage, so it is asked once: ordinary memory does for all but direct writes.
    hasAddresses = false
  }
  return Buffer.allocUnsafeSlow(bytes).buffer
}

/** Views of this memory will be lent: `givenBack` is called with each that is given back. */
export function lendViewsOf(memory: ArrayBufferLike, givenBack: (view: Uint8Array) => void): void {
  owners.set(memory, givenBack)
}

/**
 * The memory of this buffer, or of any view of it, may be used again. Nothing happens where it is none of `takeLarge`, or was given back. A
 * view that an owner has lent (`lendViewsOf`) is given back once.
 */
export function giveBack(buffer: Uint8Array): void {
  const memory = buffer.buffer as ArrayBuffer
  if (!lent.delete(memory)) return owners.get(memory)?.(buffer)
  if (isOverwritten) return void Buffer.from(memory).fill(0xdb)
  assert(memory.byteLength === sizeFor(memory.byteLength), 'what is given back is not whole')
  if (keptBytes + memory.byteLength > keptBytesMax) return
  keptBytes += memory.byteLength
  const same = kept.get(memory.byteLength)
  if (same === undefined) kept.set(memory.byteLength, [memory])
  else same.push(memory)
}

/** What is kept for later is left to the garbage collector. */
export function dropKept(): void {
  kept.clear()
  keptBytes = 0
  keptPages.clear()
}

/** Views of less than that, of whole pages in number a power of two: by their length. */
const keptPages = new Map<number, Buffer[]>()
/** What is kept of each number of pages, in bytes: of reads that are under way at once, and not more. */
const keptPagesBytesMax = 4 * MiB

/** What `takePages` lends. (A WeakSet of what is lent, as above, cost a small read half a microsecond, most of it in the garbage collector.) */
export class LentPages {
  readonly bytes: Buffer
  #memory: Buffer | undefined

  constructor(memory: Buffer, bytes: number) {
    this.bytes = memory.length === bytes ? memory : memory.subarray(0, bytes)
    this.#memory = memory
  }

  /** Once: who gives it back twice gives nothing that another has by then. */
  giveBack(): void {
    const memory = this.#memory
    if (memory === undefined) return
    this.#memory = undefined
    keepPages(memory)
  }
}

/** So many whole pages, holding anything: as `takeLarge` for what is shorter too. Beginning on a page, they are read around the page cache. */
export function takePages(bytes: number): LentPages {
  if (isOverwritten || bytes >= largeBytesMin) return new LentPages(takeLarge(bytes), bytes)
  const size = keptSizeOf(bytes)
  return new LentPages(keptPages.get(size)?.pop() ?? freshPages(size), bytes)
}

/** So that one fits another's use. */
const keptSizeOf = (bytes: number): number => 2 ** Math.ceil(Math.log2(bytes))

function freshPages(bytes: number): Buffer {
  try {
    if (hasAddresses) return alignedBuffer(bytes)
  } catch {
    hasAddresses = false
  }
  return Buffer.allocUnsafeSlow(bytes)
}

function keepPages(memory: Buffer): void {
  if (isOverwritten || memory.length >= largeBytesMin) return giveBack(memory)
  const same = keptPages.get(memory.length)
  if (same === undefined) keptPages.set(memory.length, [memory])
  else if (same.length * memory.length < keptPagesBytesMax) same.push(memory)
}

/** For simulations and tests: all that is given back, however small, is overwritten, so that who uses it still has wrong bytes at once. */
export function overwriteWhatIsGivenBack(): void {
  isOverwritten = true
}
