/**
 * Memory for what moves in megabytes: used again by whoever gives it back, or left to the garbage collector by whoever doesn't.
 * Fresh memory costs about as much as all else that is done with it: the system fills it with zeroes page by page, and each 64 MiB of it
 * has V8 look through the whole heap.
 *
 * From 256 KiB on it begins on a page, where the system has addresses for that: such memory is written around the page cache (see
 * `File.write` in platform.ts).
 *
 * Give back only what nobody reads or writes any more, not even a call that was given up: else two would use it at once.
 */
import { alignedBuffer, alignedMemory } from './aligned-memory.ts'
import { assert } from './assert.ts'
import { KiB, MiB } from './units.ts'

/** Below it an allocation of its own costs less. */
const largeBytesMin = 256 * KiB
/** Sizes are rounded up to whole ones of these, so that one fits another's use; what is never touched takes no memory. */
const stepBytes = 256 * KiB
/** What is kept for later, in this thread. */
const keptBytesMax = 96 * MiB

const kept = new Map<number, ArrayBuffer[]>()
const lent = new WeakSet<ArrayBufferLike>()
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
  if (bytes < largeBytesMin) return Buffer.allocUnsafeSlow(bytes)
  const steps = Math.ceil(bytes / stepBytes)
  let memory = kept.get(steps)?.pop()
  if (memory === undefined) memory = freshMemory(steps * stepBytes)
  else keptBytes -= memory.byteLength
  lent.add(memory)
  return Buffer.from(memory, 0, bytes)
}

function freshMemory(bytes: number): ArrayBuffer {
  try {
    if (hasAddresses) return alignedMemory(bytes)
  } catch {
    // Some ten thousand are in use, or the process may not have so many addresses (ulimit -v). Before V8 says so it collects all
    // garbage, so it is asked once: ordinary memory does for all but direct writes.
    hasAddresses = false
  }
  return Buffer.allocUnsafeSlow(bytes).buffer
}

/** The memory of this buffer, or of any view of it, may be used again. Nothing happens where it is none of `takeLarge`, or was given back. */
export function giveBack(buffer: Uint8Array): void {
  const memory = buffer.buffer as ArrayBuffer
  if (!lent.delete(memory)) return
  if (isOverwritten) return void Buffer.from(memory).fill(0xdb)
  assert(memory.byteLength % stepBytes === 0, 'what is given back is not whole')
  if (keptBytes + memory.byteLength > keptBytesMax) return
  keptBytes += memory.byteLength
  const steps = memory.byteLength / stepBytes
  const same = kept.get(steps)
  if (same === undefined) kept.set(steps, [memory])
  else same.push(memory)
}

/** What is kept for later is left to the garbage collector. */
export function dropKept(): void {
  kept.clear()
  keptBytes = 0
  keptPages.clear()
}

/** Views of less than that, of whole pages in number a power of two: by that number. */
const keptPages = new Map<number, Buffer[]>()
const lentPages = new WeakSet<Buffer>()
/** What is kept of each number of pages, in bytes: of reads that are under way at once, and not more. */
const keptPagesBytesMax = 4 * MiB

/**
 * A buffer of so many whole pages, holding anything: as `takeLarge` for what is shorter too. Beginning on a page, it is read around the
 * page cache. Who gives it back gives this very buffer, no view of it, by `giveBackPages`.
 */
export function takePages(bytes: number): Buffer {
  if (isOverwritten || bytes >= largeBytesMin) return takeLarge(bytes)
  const size = keptSizeOf(bytes)
  // A view of its own each time: who gives it back twice gives nothing that another has by then.
  const buffer = (keptPages.get(size)?.pop() ?? freshPages(size)).subarray(0, bytes)
  lentPages.add(buffer)
  return buffer
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

export function giveBackPages(buffer: Buffer): void {
  if (!lentPages.delete(buffer)) return giveBack(buffer)
  const size = keptSizeOf(buffer.length)
  const pages = Buffer.from(buffer.buffer, buffer.byteOffset, size)
  const same = keptPages.get(size)
  if (same === undefined) keptPages.set(size, [pages])
  else if (same.length * size < keptPagesBytesMax) same.push(pages)
}

/** For simulations and tests: all that is given back, however small, is overwritten, so that who uses it still has wrong bytes at once. */
export function overwriteWhatIsGivenBack(): void {
  isOverwritten = true
}
