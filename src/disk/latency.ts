/**
 * How long a disk takes for what is asked of it, measured on the operations that there are anyway: an idle disk is not probed, and
 * costs nothing. What is kept are counts by interval, a few hundred numbers a disk.
 *
 * A sample is the time of one read, write or sync; of large ones the time for each 256 KiB, so that disks that are asked for more at
 * once compare with those that are asked for less. An operation that has not ended when an interval does counts with its age: a disk
 * that hangs is slow.
 */
import type { Clock, File, Files, Timer } from '../platform/platform.ts'
import { KiB } from '../base/units.ts'

export const latencyIntervalMs = 5000
/** What is judged: half a minute. */
export const latencyIntervals = 6
/** Fewer operations than that say nothing about a disk. */
const operationsMin = 5
const sampleBytes = 256 * KiB
/** An operation without an answer for so long counts as failed (M12). */
export const overdueMs = 10_000
/** A timer that rings so late says that this process stood still: answers may be there, unread. */
const heldUpMs = 250
/** Four to each doubling, from 10 µs to ten minutes. */
const bucketsPerDoubling = 4
const leastMs = 0.01
const bucketCount = 26 * bucketsPerDoubling

export class LatencyMeter {
  /** Called at the end of each interval in which something was measured, or is overdue. */
  onInterval: (medianMs: number) => void = () => undefined
  /** Called when an operation has had no answer for `overdueMs`; again after half of that while it is so. */
  onOverdue: () => void = () => undefined
  readonly #clock: Clock
  readonly #underWay = new Map<number, number>()
  #lastOperation = 0
  #counts = new Uint32Array(bucketCount)
  #total = 0
  /** Medians of the last intervals; undefined where too little was measured. */
  #medians: (number | undefined)[] = []
  #timer: Timer | undefined
  #overdueTimer: Timer | undefined
  #stopped = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Of the last half minute; undefined where too little was measured. */
  get medianMs(): number | undefined {
    return medianOf(this.#medians.filter((median) => median !== undefined))
  }

  /** How long the oldest operation under way has had no answer. */
  get oldestMs(): number {
    const [oldest] = this.#underWay.values()
    return oldest === undefined ? 0 : this.#clock.now() - oldest
  }

  /** Waits for it, and notices when it hangs; how long it takes says nothing about the disk. */
  async watch<T>(operation: Promise<T>): Promise<T> {
    const id = this.#began()
    try {
      return await operation
    } finally {
      this.#ended(id)
    }
  }

  /** The operation itself: who waits for it hears of its end after it was counted. */
  measure<T>(bytes: number, operation: Promise<T>): Promise<T> {
    const startedAt = this.#clock.now()
    const id = this.#began()
    const over = (): void => {
      this.#ended(id)
      this.#add((this.#clock.now() - startedAt) / Math.max(1, bytes / sampleBytes))
    }
    operation.then(over, over)
    return operation
  }

  /** Nothing is told any more. */
  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
    this.#overdueTimer?.cancel()
  }

  #began(): number {
    const id = ++this.#lastOperation
    this.#underWay.set(id, this.#clock.now())
    this.#arm()
    this.#armOverdue(overdueMs)
    return id
  }

  #ended(id: number): void {
    this.#underWay.delete(id)
  }

  #armOverdue(ms: number): void {
    if (this.#stopped || this.#overdueTimer !== undefined) return
    const due = this.#clock.now() + ms
    this.#overdueTimer = this.#clock.after(ms, () => {
      this.#overdueTimer = undefined
      if (this.#underWay.size === 0) return
      if (this.#clock.now() - due > heldUpMs) return this.#armOverdue(heldUpMs)
      const { oldestMs } = this
      if (oldestMs < overdueMs) return this.#armOverdue(overdueMs - oldestMs)
      this.onOverdue()
      this.#armOverdue(overdueMs / 2)
    })
  }

  #arm(): void {
    if (this.#stopped) return
    this.#timer ??= this.#clock.after(latencyIntervalMs, () => this.#endInterval())
  }

  #add(ms: number): void {
    const bucket = Math.floor(Math.log2(Math.max(ms, leastMs) / leastMs) * bucketsPerDoubling)
    this.#counts[Math.min(bucket, bucketCount - 1)]++
    this.#total++
  }

  #endInterval(): void {
    this.#timer = undefined
    const now = this.#clock.now()
    const overdue = [...this.#underWay.values()].filter((at) => now - at >= latencyIntervalMs)
    for (const at of overdue) this.#add(now - at)
    const isEnough = this.#total >= operationsMin || overdue.length > 0
    const median = isEnough ? this.#median() : undefined
    this.#medians = [...this.#medians.slice(1 - latencyIntervals), median]
    const wasUsed = this.#total > 0
    this.#counts.fill(0)
    this.#total = 0
    // Without operations there is nothing to end: the next one begins an interval.
    if (wasUsed || this.#underWay.size > 0) this.#arm()
    if (median !== undefined) this.onInterval(median)
  }

  #median(): number {
    let before = 0
    for (const [bucket, count] of this.#counts.entries()) {
      before += count
      if (2 * before >= this.#total) return leastMs * 2 ** ((bucket + 0.5) / bucketsPerDoubling)
    }
    return 0
  }
}

/** Undefined of none; the lower one of two in the middle. */
export function medianOf(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted.at(Math.max(0, Math.ceil(sorted.length / 2) - 1))
}

/** Opens a file whose reads, writes and syncs are measured. */
export async function openMeasured(
  files: Files,
  meter: LatencyMeter,
  path: string,
  options: Parameters<Files['open']>[1],
): Promise<File> {
  return new MeasuredFile(await meter.watch(files.open(path, options)), meter)
}

class MeasuredFile implements File {
  readonly #file: File
  readonly #meter: LatencyMeter

  constructor(file: File, meter: LatencyMeter) {
    this.#file = file
    this.#meter = meter
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#meter.measure(target.length, this.#file.read(target, position))
  }

  write(buffers: readonly Uint8Array[], position: number): Promise<void> {
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0)
    return this.#meter.measure(bytes, this.#file.write(buffers, position))
  }

  sync(): Promise<void> {
    return this.#meter.measure(0, this.#file.sync())
  }

  size(): Promise<number> {
    return this.#file.size()
  }

  truncate(bytes: number): Promise<void> {
    return this.#file.truncate(bytes)
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
