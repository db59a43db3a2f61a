/**
 * How much undrained this node may hold in memory, for each vDisk and for all: writes beyond it wait for a drain, in the order in
 * which they came (I9). One vDisk that can't drain holds up only itself (I10): it may take at most its own share.
 */
import { hasCode, NdfsError } from '../../base/errors.ts'
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
  /** What its drain failed with, until one goes through. */
  readonly failure: () => NdfsError | undefined
  readonly waiting: Waiting[]
  /** Of rooms given, and not left yet. */
  givenBytes: number
  given: number
}

interface Waiting {
  readonly since: number
  readonly bytes: number
  readonly go: (room: Room) => void
  readonly refuse: (error: Error) => void
}

/** What a request was let in with. It counts from then on, before the log holds anything of it: else all that come at once would find the same room. */
export interface Room {
  /** The log holds the bytes now, and counts them itself. */
  taken(): void
  /** The request is over: what it has not taken may be another's. */
  leave(): void
}

export class WriteGate {
  readonly #clock: Clock
  readonly #bytesMax: number
  readonly #waitMaxMs: number
  readonly #hosted = new Map<VDiskId, Hosted>()
  #undrainedBytes = 0
  #givenBytes = 0
  #overdue: Timer | undefined
  /** By the number of copies: where three find no room, two may. */
  readonly #space = new Map<number, { readonly until: number; readonly failure: NdfsError | undefined }>()

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

  /** What drains have to find room for, or will. */
  get spokenForBytes(): number {
    return this.#undrainedBytes + this.#givenBytes
  }

  /** The logs of this node hold half of what they may. */
  get isCrowded(): boolean {
    return 2 * this.#undrainedBytes >= this.#bytesMax
  }

  /** The logs of this node hold so many bytes more, or fewer. */
  held(bytes: number): void {
    this.#undrainedBytes += bytes
  }

  /** Resolves to what ends it: call it when the vDisk is no longer served. By then it may have been opened anew. */
  opened(
    vdisk: VDiskId,
    { held, drain, failure }: Pick<Hosted, 'held' | 'drain' | 'failure'>,
  ): (error: Error) => void {
    const hosted: Hosted = { held, drain, failure, waiting: [], givenBytes: 0, given: 0 }
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

  /** Undefined: nobody bounds it, as the vDisk is no longer served. A promise: it waits for room, or rejects when that took too long. */
  enter(vdisk: VDiskId, bytes: number): Room | Promise<Room> | undefined {
    const hosted = this.#hosted.get(vdisk)
    if (hosted === undefined) return undefined
    if (hosted.waiting.length === 0 && this.#hasRoom(hosted)) return this.#give(hosted, bytes)
    this.#watchOverdue()
    return new Promise((go, refuse) => hosted.waiting.push({ since: this.#clock.now(), bytes, go, refuse }))
  }

  /** Something was drained, or not taken: lets in what finds room now. */
  left(): void {
    for (const hosted of this.#hosted.values())
      while (hosted.waiting.length > 0 && this.#hasRoom(hosted)) {
        const { bytes, go } = hosted.waiting.shift()!
        go(this.#give(hosted, bytes))
      }
    // What waits for other vDisks' bytes must have them drained.
    if (this.#someWait()) for (const { held, drain } of this.#hosted.values()) if (held().bytes > 0) drain()
  }

  #someWait(): boolean {
    for (const { waiting } of this.#hosted.values()) if (waiting.length > 0) return true
    return false
  }

  #give(hosted: Hosted, bytes: number): Room {
    hosted.givenBytes += bytes
    hosted.given++
    this.#givenBytes += bytes
    let given = true
    const end = (): boolean => {
      if (!given) return false
      given = false
      hosted.givenBytes -= bytes
      hosted.given--
      this.#givenBytes -= bytes
      return true
    }
    return {
      taken: () => void end(),
      leave: () => {
        if (end() && this.#someWait()) this.left()
      },
    }
  }

  /** What `place` throws, if it does; remembers the finding for a moment. */
  lackOfSpace(copies: number, place: () => unknown): NdfsError | undefined {
    const now = this.#clock.now()
    let found = this.#space.get(copies)
    if (found === undefined || now >= found.until) {
      found = { until: now + spaceHoldsMs, failure: failureOf(place) }
      this.#space.set(copies, found)
    }
    return found.failure
  }

  /** There may be room now: what was found is forgotten. */
  spaceChanged(): void {
    this.#space.clear()
  }

  #hasRoom(hosted: Hosted): boolean {
    const held = hosted.held()
    const bytes = held.bytes + hosted.givenBytes
    if (bytes >= undrainedBytesPerVDiskMax || held.entries + hosted.given >= entriesPerVDiskMax) return false
    return bytes === 0 || this.#undrainedBytes + this.#givenBytes < this.#bytesMax
  }

  #watchOverdue(): void {
    this.#overdue ??= this.#clock.after(Math.min(1000, this.#waitMaxMs), () => {
      this.#overdue = undefined
      const since = this.#clock.now() - this.#waitMaxMs
      let waits = false
      for (const { waiting, failure } of this.#hosted.values()) {
        while (waiting.length > 0 && waiting[0].since <= since)
          waiting.shift()!.refuse(this.#overdueError(failure() ?? this.#noSpaceOfOthers()))
        waits ||= waiting.length > 0
      }
      if (waits) this.#watchOverdue()
    })
  }

  /** What fills the node may be others' bytes, which find no room. */
  #noSpaceOfOthers(): NdfsError | undefined {
    for (const { failure } of this.#hosted.values()) {
      const of = failure()
      if (hasCode(of, 'OUT_OF_SPACE')) return of
    }
    return undefined
  }

  /** A guest that waited for space is told so: its hypervisor pauses it then, and tells its operator. */
  #overdueError(failure: NdfsError | undefined): NdfsError {
    const reason = failure?.message ?? 'See `ndfs vdisk show` for what stands in the way'
    return new NdfsError(
      hasCode(failure, 'OUT_OF_SPACE') ? 'OUT_OF_SPACE' : 'TOO_FEW_REPLICAS',
      `Cannot take a write: it waited ${this.#waitMaxMs} ms for the log to drain. ${reason}`,
    )
  }
}

function failureOf(place: () => unknown): NdfsError | undefined {
  try {
    place()
    return undefined
  } catch (error) {
    if (error instanceof NdfsError) return error
    throw error
  }
}
