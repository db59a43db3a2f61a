/**
 * The schedule is the simulated world's time: everything that will happen, in the order in which it will.
 *
 *  1. Virtual time stands still while an event is handled, and jumps to the next one.
 *  2. Events of one instant come in an order that the seed draws, since nothing in the world promises another;
 *     `afterReady` ones (Clock's `soon`) come after all others of their instant, among themselves as they were added.
 *  3. Every event that happened, and the bytes it moved, go into one running hash: equal hashes, equal histories.
 *
 * Not here: running events (world.ts), and what they do.
 */
import { crc32c } from '../src/base/crc32c.ts'
import type { Timer } from '../src/platform/platform.ts'
import type { SeededChance } from './seeded-chance.ts'

const digestedBytes = 512

/**
 * What stands in the history for bytes that moved: their length, and a checksum of their two ends. All that the nodes
 * write and send carries checksums of its own, so whatever is different in the middle is different at an end as well.
 */
export const digestOf = (bytes: Uint8Array): number =>
  bytes.length <= 2 * digestedBytes
    ? crc32c(bytes)
    : crc32c(
        bytes.subarray(bytes.length - digestedBytes),
        crc32c(bytes.subarray(0, digestedBytes), bytes.length),
      )

const numbers = new Map<string, number>()
const numbersMax = 20_000

/** Few names come often: each is hashed once. */
function numberOf(name: string): number {
  const known = numbers.get(name)
  if (known !== undefined) return known
  if (numbers.size === numbersMax) numbers.clear()
  const number = crc32c(Buffer.from(name))
  numbers.set(name, number)
  return number
}

/** Whose code an event runs: a process (sim-process.ts). */
export interface Owner {
  readonly name: string
  readonly alive: boolean
  readonly frozen: boolean
  /** Keeps what can't run now. */
  hold(event: SimEvent): void
}

export interface SimEvent {
  readonly kind: string
  /** Whose code it runs; none for what the machine's kernel, its disks or the network do by themselves. */
  readonly process: Owner | undefined
  time: number
  tie: number
  sequence: number
  /** Undefined once cancelled. */
  run: (() => void) | undefined
}

const tieAfterThaw = -1
const tieAfterReady = 2

export class Schedule {
  now = 0
  #sequence = 0
  #left = 0
  #right = 0
  #events = 0
  readonly #heap: SimEvent[] = []
  readonly #chance: SeededChance
  readonly #time = new Float64Array(1)
  readonly #timeBits = new Uint32Array(this.#time.buffer)

  constructor(chance: SeededChance) {
    this.#chance = chance
  }

  /** Something of the machine's own, or of the world's, `ms` from now. */
  after(ms: number, kind: string, run: () => void): Timer {
    return this.#add(ms, kind, undefined, this.#chance.between(0, 1), run)
  }

  /** Something that runs a process's code: never after its death, and not while it is frozen. */
  inProcess(process: Owner, ms: number, kind: string, run: () => void): Timer {
    return this.#add(ms, kind, process, this.#chance.between(0, 1), run)
  }

  afterReady(process: Owner, run: () => void): Timer {
    return this.#add(0, 'soon', process, tieAfterReady, run)
  }

  /** What a frozen process missed happens now, in the given order, before all else. */
  again(event: SimEvent): void {
    event.time = this.now
    event.tie = tieAfterThaw
    event.sequence = this.#sequence++
    this.#push(event)
  }

  /** Takes the next event that is due by `until`. */
  next(until: number): SimEvent | undefined {
    while (this.#heap.length > 0 && this.#heap[0].time <= until) {
      const event = this.#pop()
      if (event.run) return event
    }
    return undefined
  }

  /** Adds to the history's hash what happened now: to whom, and the checksum of the bytes, if it had any. */
  record(kind: string, who: string, detail = 0): void {
    this.#time[0] = this.now
    this.#mix(numberOf(kind) ^ Math.imul(numberOf(who), 3))
    this.#mix(this.#timeBits[0] ^ Math.imul(detail, 5))
    this.#mix(this.#timeBits[1])
    this.#events++
  }

  get eventHash(): string {
    const hex = (half: number): string => (half >>> 0).toString(16).padStart(8, '0')
    return `${this.#events}-${hex(this.#left)}${hex(this.#right)}`
  }

  /** Two rounds of murmur3's mixing, each with a multiplier of its own: 64 bits that depend on all that came before. */
  #mix(number: number): void {
    const left = Math.imul(this.#left ^ number, 0xcc9e2d51)
    this.#left = (Math.imul((left << 15) | (left >>> 17), 5) + 0xe6546b64) | 0
    const right = Math.imul(this.#right ^ number ^ (this.#left >>> 7), 0x1b873593)
    this.#right = (Math.imul((right << 13) | (right >>> 19), 5) + 0x38495ab5) | 0
  }

  #add(ms: number, kind: string, process: Owner | undefined, tie: number, run: () => void): Timer {
    const time = this.now + Math.max(0, ms)
    const event: SimEvent = { kind, process, time, tie, sequence: this.#sequence++, run }
    this.#push(event)
    return {
      cancel: () => {
        event.run = undefined
      },
    }
  }

  #push(event: SimEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!comesBefore(event, heap[parent])) break
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = event
  }

  #pop(): SimEvent {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (!last || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && comesBefore(heap[child + 1], heap[child])) child++
      if (!comesBefore(heap[child], last)) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = last
    return first
  }
}

function comesBefore(a: SimEvent, b: SimEvent): boolean {
  if (a.time !== b.time) return a.time < b.time
  if (a.tie !== b.tie) return a.tie < b.tie
  return a.sequence < b.sequence
}
