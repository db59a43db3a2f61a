/**
 * Memory for what moves in megabytes: used again by whoever gives it back, or left to the garbage collector by whoever doesn't.
 * Fresh memory costs about as much as all else that is done with it: the system fills it with zeroes page by page, and each 64 MiB of it
 * has V8 look through the whole heap.
 *
 * Give back only what nobody reads or writes any more, not even a call that was given up: else two would use it at once.
 */
import { assert } from './assert.ts'
import { KiB, MiB } from './units.ts'

/** Below it an allocation of its own costs less. */
const largeBytesMin = 256 * KiB
/** Sizes are rounded up to whole ones of these, so that one fits another's use; what is never touched takes no memory. */
const stepBytes = 256 * KiB
/** What is kept for later, in this thread. */
const keptBytesMax = 64 * MiB

const kept = new Map<number, ArrayBuffer[]>()
const lent = new WeakSet<ArrayBufferLike>()
let keptBytes = 0
let isOverwritten = false

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
  if (memory === undefined) memory = Buffer.allocUnsafeSlow(steps * stepBytes).buffer
  else keptBytes -= memory.byteLength
  lent.add(memory)
  return Buffer.from(memory, 0, bytes)
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

/** For simulations and tests: all that is given back, however small, is overwritten, so that who uses it still has wrong bytes at once. */
export function overwriteWhatIsGivenBack(): void {
  isOverwritten = true
}
