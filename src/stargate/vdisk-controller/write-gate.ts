/**
 * How much undrained this node may hold in memory, for each vDisk and for all: writes beyond it wait for a drain, in the order in
 * which they came (I9). One vDisk that can't drain holds up only itself (I10): it may take at most its own share.
 */
import { NdfsError } from '../../base/errors.ts'
import type { VDiskId } from '../../base/ids.ts'
import { KiB, MiB } from '../../base/units.ts'
import type { Clock, Timer } from '../../platform/platform.ts'

/**
 * Undrained bytes of one vDisk: absorbs a burst while one drain is under way, and is read back within a second when the
 * vDisk is taken over.
 */
export const undrainedBytesPerVDiskMax = 128 * MiB
/** Entries of one vDisk's index, or records of its log: small ones take memory by their number, about 200 bytes each. */
const entriesPerVDiskMax = 256 * KiB
/** How long a finding of space holds: a few requests more or less find room in the reserve (I10). */
const spaceHoldsMs = 100

interface Hosted {
  readonly held: () => { bytes: number; entries: number }
  readonly drain: () => void
  readonly waiting: Waiting[]
}

interface Waiting {
  readonly since: number
  readonly bytes: number
  readonly go: () => void
  readonly refuse: (error: Error) => void
}

export class WriteGate {
  readonly #clock: Clock
  readonly #bytesMax: number
  readonly #waitMaxMs: number
  readonly #hosted = new Map<VDiskId, Hosted>()
  #undrainedBytes = 0
  #overdue: Timer | undefined
  /** By the number of copies: where three find no room, two may. */
  readonly #space = new Map<number, { readonly until: number; readonly failure: Error | undefined }>()

  /** `bytesMax`: undrained bytes of all vDisks of the node. */
  constructor(clock: Clock, bytesMax: number, waitMaxMs: number) {
    this.#clock = clock
    this.#bytesMax = bytesMax
    this.#waitMaxMs = waitMaxMs
  }

  get bytesMax(): number {
    return this.#bytesMax
  }

  get undrainedBytes(): number {
    return this.#undrainedBytes
  }

  /** The logs of this node hold so many bytes more, or fewer. */
  held(bytes: number): void {
    this.#undrainedBytes += bytes
  }

  /** Resolves to what ends it: call it when the vDisk is no longer served. By then it may have been opened anew. */
  opened(vdisk: VDiskId, held: Hosted['held'], drain: () => void): (error: Error) => void {
    const hosted: Hosted = { held, drain, waiting: [] }
    this.#hosted.set(vdisk, hosted)
    return (error) => {
      if (this.#hosted.get(vdisk) === hosted) this.#hosted.delete(vdisk)
      for (const { refuse } of hosted.waiting.splice(0)) refuse(error)
      this.left()
    }
  }

  isWaiting(vdisk: VDiskId): boolean {
    return (this.#hosted.get(vdisk)?.waiting.length ?? 0) > 0
  }

  /** Undefined: go on. Else resolves when there is room, or rejects when that took too long. */
  enter(vdisk: VDiskId, bytes: number): Promise<void> | undefined {
    const hosted = this.#hosted.get(vdisk)
    if (hosted === undefined || (hosted.waiting.length === 0 && this.#hasRoom(hosted))) return undefined
    this.#watchOverdue()
    return new Promise((go, refuse) => hosted.waiting.push({ since: this.#clock.now(), bytes, go, refuse }))
  }

  /** Something was drained: lets in what finds room now. */
  left(): void {
    // Who was let in holds nothing yet, and counts all the same: else all that wait would find the same room.
    let lettingIn = 0
    for (const hosted of this.#hosted.values()) {
      let here = 0
      let entries = 0
      while (hosted.waiting.length > 0 && this.#hasRoom(hosted, here, entries, lettingIn)) {
        const { bytes, go } = hosted.waiting.shift()!
        here += bytes
        lettingIn += bytes
        entries++
        go()
      }
    }
    // What waits for other vDisks' bytes must have them drained.
    if ([...this.#hosted.values()].some(({ waiting }) => waiting.length > 0))
      for (const { held, drain } of this.#hosted.values()) if (held().bytes > 0) drain()
  }

  /** Throws what `place` throws, remembering the finding for a moment. */
  assertSpace(copies: number, place: () => unknown): void {
    const now = this.#clock.now()
    let found = this.#space.get(copies)
    if (found === undefined || now >= found.until) {
      found = { until: now + spaceHoldsMs, failure: failureOf(place) }
      this.#space.set(copies, found)
    }
    if (found.failure !== undefined) throw found.failure
  }

  #hasRoom(hosted: Hosted, bytesHere = 0, entriesHere = 0, bytesOfAll = 0): boolean {
    const held = hosted.held()
    const bytes = held.bytes + bytesHere
    if (bytes >= undrainedBytesPerVDiskMax || held.entries + entriesHere >= entriesPerVDiskMax) return false
    return bytes === 0 || this.#undrainedBytes + bytesOfAll < this.#bytesMax
  }

  #watchOverdue(): void {
    this.#overdue ??= this.#clock.after(Math.min(1000, this.#waitMaxMs), () => {
      this.#overdue = undefined
      // Who was let in may have gone without a record, of an older session say: then no drain follows that would let in the next.
      this.left()
      const since = this.#clock.now() - this.#waitMaxMs
      let waits = false
      for (const { waiting } of this.#hosted.values()) {
        while (waiting.length > 0 && waiting[0].since <= since)
          waiting
            .shift()!
            .refuse(
              new NdfsError(
                'TOO_FEW_REPLICAS',
                `Cannot take a write: it waited ${this.#waitMaxMs} ms for the log to drain. See \`ndfs vdisk show\` for what stands in the way`,
              ),
            )
        waits ||= waiting.length > 0
      }
      if (waits) this.#watchOverdue()
    })
  }
}

function failureOf(place: () => unknown): Error | undefined {
  try {
    place()
    return undefined
  } catch (error) {
    if (error instanceof NdfsError) return error
    throw error
  }
}
