/**
 * Measures parts against a reference, so that a figure says something of the code and little of the machine.
 *
 * Time: short samples of the part and of the reference in turn, the best of each, and their ratio. Who shares the machine takes the processor
 * away for some samples and never for all; what it does to caches and clock rates meets the two alike.
 *
 * Bytes: what heap and array buffers have grown by, with no collection in between. It is the same in each run, whatever else the machine
 * does. Most of what an allocation costs is its collection, which the best of short samples never shows.
 */
import { setTimeout } from 'node:timers/promises'
import { assert } from '../../src/base/assert.ts'
import { MiB } from '../../src/base/units.ts'
import type { Part } from './part.ts'
import { reference } from './reference.ts'

export interface Measured {
  readonly nanoseconds: number
  /** Nanoseconds of one operation by those of one round of the reference. */
  readonly ratio: number
  readonly bytes: number
}

/** Until the code is compiled with all that is known of it. */
const warmUpMs = 100
/** A sample is long enough for the clock, and mostly shorter than a turn on a busy processor. */
const sampleMs = 1
const timeSamples = 25
const byteSamples = 3
/** So large that a slab taken now and then counts by its share; well below what begins a collection, with the flags below. */
const sampleBytes = 6 * MiB
const byteRunsMax = 3000

/** What Node.js is to be started with: collections at our word, and room for a sample between them. */
export const nodeFlags = ['--expose-gc', '--min-semi-space-size=32', '--max-semi-space-size=32']

let referenceRuns: number | undefined

export async function measure(part: Part): Promise<Measured> {
  const partRuns = await warmUp(part)
  referenceRuns ??= await warmUp(reference)
  let best = Infinity
  let bestReference = Infinity
  for (let sample = 0; sample < timeSamples; sample++) {
    bestReference = Math.min(bestReference, await nanosecondsOf(reference, referenceRuns))
    best = Math.min(best, await nanosecondsOf(part, partRuns))
  }
  return { nanoseconds: best, ratio: best / bestReference, bytes: await bytesOf(part) }
}

/** How many runs make a sample, by the fastest run seen. */
async function warmUp(part: Part): Promise<number> {
  const end = performance.now() + warmUpMs
  let fastest = Infinity
  while (performance.now() < end) fastest = Math.min(fastest, await nanosecondsOf(part, 4))
  return Math.max(1, Math.ceil((sampleMs * 1e6) / (fastest * part.operations)))
}

async function nanosecondsOf(part: Part, runs: number): Promise<number> {
  const began = process.hrtime.bigint()
  await repeat(part, runs)
  return Number(process.hrtime.bigint() - began) / (runs * part.operations)
}

async function bytesOf(part: Part): Promise<number> {
  const one = Math.max(1, (await allocatedBy(part, 10)) / 10)
  const runs = Math.max(10, Math.min(byteRunsMax, Math.floor(sampleBytes / one)))
  const samples: number[] = []
  for (let sample = 0; sample < byteSamples; sample++)
    samples.push((await allocatedBy(part, runs)) / (runs * part.operations))
  return Math.max(0, samples.sort((a, b) => a - b)[byteSamples >> 1])
}

async function allocatedBy(part: Part, runs: number): Promise<number> {
  await collected()
  const before = process.memoryUsage()
  await repeat(part, runs)
  const after = process.memoryUsage()
  return after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers
}

/** Resolves when there is no garbage. The memory of buffers is freed by a thread of its own, some time after the collection. */
async function collected(): Promise<void> {
  const { gc } = globalThis
  assert(gc !== undefined, () => `Cannot count bytes: start Node.js with ${nodeFlags.join(' ')}`)
  let left: number
  do {
    left = process.memoryUsage().arrayBuffers
    gc()
    await setTimeout(1)
  } while (process.memoryUsage().arrayBuffers !== left)
}

async function repeat(part: Part, runs: number): Promise<void> {
  for (let i = 0; i < runs; i++) {
    const pending = part.run()
    if (pending !== undefined) await pending
  }
}
