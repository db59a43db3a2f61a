/**
 * Guests' writes that find no room on the disks, while what is dead of their vDisk is given back. They are told that there is no space
 * when no more can be, or after some seconds: what they hold of the node's memory others need.
 */
import type { NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import type { Clock, Timer } from '../../platform/platform.ts'

/** Less than a guest's patience, and longer than a group takes from its last reader to its end. */
const waitMaxMs = 10_000
/** Where no room could be made, before that is tried again. */
const againMs = 5_000
/** Of all vDisks of a node: a quarter of what guests may have under way. */
const waitingBytesMax = 64 * MiB

/** What waits on this node. */
export class SpaceWaiting {
  bytes = 0
}

/** What a vDisk takes of the disks. */
export interface Taken {
  /** In the log, and in groups that the map names, were they full. */
  readonly liveBytes: number
  /** Groups that wait to be freed. */
  readonly dead: number
}

export interface SpaceWaitContext {
  readonly clock: Clock
  readonly waiting: SpaceWaiting
  /** Why guests find no room, by what is known now; undefined where they do. */
  readonly lacking: () => NdfsError | undefined
  readonly taken: () => Taken
  /** Gives back what can be for now. */
  readonly makeRoom: () => Promise<void>
  /** Hears anew what room there is. */
  readonly hear: () => Promise<void>
}

export class SpaceWait {
  readonly #context: SpaceWaitContext
  readonly #waiters: ((lacking?: NdfsError) => void)[] = []
  #making = false
  #overdue: Timer | undefined
  #nextAt = 0
  #ended = false

  constructor(context: SpaceWaitContext) {
    this.#context = context
  }

  /** Resolves when there may be room, or the vDisk is no longer served; rejects with `lacking` where none could be made, or none in time. */
  async wait(bytes: number, lacking: NdfsError): Promise<void> {
    const { clock, waiting } = this.#context
    const isLate = this.#making && this.#overdue === undefined
    if (this.#ended || isLate || clock.now() < this.#nextAt || waiting.bytes + bytes > waitingBytesMax)
      throw lacking
    waiting.bytes += bytes
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiters.push((still) => (still === undefined ? resolve() : reject(still)))
        if (!this.#making) this.#begin()
      })
    } finally {
      waiting.bytes -= bytes
    }
  }

  /** The vDisk is no longer served: who waits goes on, to be told so. */
  end(): void {
    this.#ended = true
    this.#settle()
  }

  #begin(): void {
    this.#making = true
    this.#overdue = this.#context.clock.after(waitMaxMs, () => {
      this.#overdue = undefined
      // There may be some by now, though more is under way.
      this.#settle(this.#context.lacking())
    })
    void this.#make()
  }

  async #make(): Promise<void> {
    const { makeRoom, hear, lacking, taken, clock } = this.#context
    for (;;) {
      const before = taken()
      await makeRoom()
      await hear()
      const still = lacking()
      const now = taken()
      // Groups that are merged and come again, or were written in vain, could go on for ever.
      const isLess = now.liveBytes < before.liveBytes || now.dead < before.dead
      if (still !== undefined && !this.#ended && isLess) continue
      this.#overdue?.cancel()
      this.#overdue = undefined
      this.#making = false
      if (still !== undefined) this.#nextAt = clock.now() + againMs
      return this.#settle(still)
    }
  }

  #settle(lacking?: NdfsError): void {
    for (const settle of this.#waiters.splice(0)) settle(lacking)
  }
}
