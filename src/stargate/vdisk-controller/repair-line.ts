/**
 * Who is repaired next on this node: of all vDisks that it owns the group with the fewest copies left, some at once. Alike
 * endangered ones take turns by vDisk.
 *
 * Guests keep three quarters of the node while they use it (R19). Admission control divides bytes and requests where their bounds are met;
 * processors and disks are full long before that. So while guests are at work one copy is made at a time, and then none for so much
 * longer than it took as guests have under way: beside a queue of 40 and more repair has a sixth of the time, beside nobody all.
 * What memory answers is never seen under way, and counts by how much of it there is.
 */
import { type DiskRef, sameDisk } from '../../base/ids.ts'
import type { Clock, Timer } from '../../platform/platform.ts'

/**
 * Copies under way at once: memory is this many times 4 MiB, and a disk has something to do while another is waited for. All may go to
 * one node: what may be under way with a peer (96 MiB) must not be full of them, for heartbeats and guests go the same way.
 */
const repairsAtOnceMax = 16
/** Requests of guests for each of which repair rests as long as a copy took, and how often that at the most. */
const guestsPerRest = 8
const restsMax = 5
/** A copy that took so long waited for something else. */
const restMsMax = 2000
/** What was written to a disk shows in its space by then (space-view.ts asks again after a second). */
const shownAfterMs = 2000
/** What the rate is measured over. */
const rateOverMs = 10_000

/** What this node has of guests. */
export interface Guests {
  /** Begun and not answered. */
  readonly underWay: number
  /** Begun since the node was started. */
  readonly begun: number
}

export interface RepairSource {
  /** Copies left of its most endangered group; undefined: it has nothing to do now. */
  readonly next: number | undefined
  workOne(): Promise<void>
}

export class RepairLine {
  readonly #clock: Clock
  readonly #sources: () => Iterable<RepairSource>
  readonly #guests: () => Guests
  readonly #turns = new WeakMap<RepairSource, number>()
  readonly #onTheirWay: { readonly disk: DiskRef; readonly bytes: number; shownAt: number }[] = []
  readonly #lately: { readonly at: number; readonly bytes: number }[] = []
  #turn = 0
  #atWork = 0
  /** Guests were at work when the last copy was made. */
  #isBusy = false
  #rest: Timer | undefined

  constructor(clock: Clock, sources: () => Iterable<RepairSource>, guests: () => Guests) {
    this.#clock = clock
    this.#sources = sources
    this.#guests = guests
  }

  /** Some vDisk has something to repair. */
  wake(): void {
    while (this.#rest === undefined && this.#atWork < this.#atOnceMax) {
      const source = this.#next()
      if (source === undefined) return
      this.#begin(source)
    }
  }

  get #atOnceMax(): number {
    return this.#guests().underWay > 0 || this.#isBusy ? 1 : repairsAtOnceMax
  }

  #begin(source: RepairSource): void {
    this.#atWork++
    this.#turns.set(source, ++this.#turn)
    const [beganAt, before] = [this.#clock.now(), this.#guests()]
    void source.workOne().finally(() => {
      this.#atWork--
      const tookMs = this.#clock.now() - beganAt
      const after = this.#guests()
      const eachMs = tookMs > 0 ? (after.begun - before.begun) / tookMs : 0
      // At one moment of two a busy guest may just have nothing under way.
      const guests = Math.max(before.underWay, after.underWay, eachMs)
      this.#isBusy = guests >= 1
      const rests = Math.min(restsMax, guests / guestsPerRest)
      const restMs = Math.min(restMsMax, rests * tookMs)
      if (restMs > 0 && this.#rest === undefined)
        this.#rest = this.#clock.after(restMs, () => {
          this.#rest = undefined
          this.wake()
        })
      this.wake()
    })
  }

  #next(): RepairSource | undefined {
    let best: RepairSource | undefined
    let bestLeft = Infinity
    for (const source of this.#sources()) {
      const left = source.next
      if (left === undefined || left > bestLeft) continue
      const isEarlier = best === undefined || (this.#turns.get(source) ?? 0) < (this.#turns.get(best) ?? 0)
      if (left === bestLeft && !isEarlier) continue
      best = source
      bestLeft = left
    }
    return best
  }

  /** Bytes go to this disk; call the result when they have arrived. */
  sends(disk: DiskRef, bytes: number): () => void {
    const sent = { disk, bytes, shownAt: Infinity }
    this.#onTheirWay.push(sent)
    return () => (sent.shownAt = this.#clock.now() + shownAfterMs)
  }

  /** Bytes that the disk's space does not show yet. */
  onTheWay(disk: DiskRef): number {
    const now = this.#clock.now()
    let sum = 0
    for (let i = this.#onTheirWay.length - 1; i >= 0; i--) {
      const sent = this.#onTheirWay[i]
      if (sent.shownAt <= now) this.#onTheirWay.splice(i, 1)
      else if (sameDisk(sent.disk, disk)) sum += sent.bytes
    }
    return sum
  }

  /** A copy was made. */
  repaired(bytes: number): void {
    this.#lately.push({ at: this.#clock.now(), bytes })
    this.#dropOld()
  }

  get bytesPerSecond(): number {
    this.#dropOld()
    if (this.#lately.length === 0) return 0
    const sum = this.#lately.reduce((bytes, one) => bytes + one.bytes, 0)
    const overMs = Math.max(1000, this.#clock.now() - this.#lately[0].at)
    return (sum * 1000) / overMs
  }

  #dropOld(): void {
    const oldest = this.#clock.now() - rateOverMs
    while (this.#lately.length > 0 && this.#lately[0].at < oldest) this.#lately.shift()
  }
}
