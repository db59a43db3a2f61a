/**
 * Who is repaired next on this node: of all vDisks that it owns the group with the fewest copies left, some at once. Alike
 * endangered ones take turns by vDisk. How much of the node's time that takes is admission control's matter.
 */
import { type DiskRef, sameDisk } from '../../base/ids.ts'
import type { Clock } from '../../platform/platform.ts'

/** Copies under way at once: memory is this many times 4 MiB, and a disk has something to do while another is waited for. */
const repairsAtOnceMax = 4
/** What was written to a disk shows in its space by then (space-view.ts asks again after a second). */
const shownAfterMs = 2000
/** What the rate is measured over. */
const rateOverMs = 10_000

export interface RepairSource {
  /** Copies left of its most endangered group; undefined: it has nothing to do now. */
  readonly next: number | undefined
  workOne(): Promise<void>
}

export class RepairLine {
  readonly #clock: Clock
  readonly #sources: () => Iterable<RepairSource>
  readonly #turns = new WeakMap<RepairSource, number>()
  readonly #onTheirWay: { readonly disk: DiskRef; readonly bytes: number; shownAt: number }[] = []
  readonly #lately: { readonly at: number; readonly bytes: number }[] = []
  #turn = 0
  #atWork = 0

  constructor(clock: Clock, sources: () => Iterable<RepairSource>) {
    this.#clock = clock
    this.#sources = sources
  }

  /** Some vDisk has something to repair. */
  wake(): void {
    while (this.#atWork < repairsAtOnceMax) {
      const source = this.#next()
      if (source === undefined) return
      this.#atWork++
      this.#turns.set(source, ++this.#turn)
      void source.workOne().finally(() => {
        this.#atWork--
        this.wake()
      })
    }
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
