/**
 * The copy of the store on a second disk, as the store's main thread sees it (docs/decisions/0008).
 *
 *  1. While it is *in step*, nobody is answered before the copy has what the answer tells of: the loss of the store's disk then
 *     loses nothing that anybody was told. Freed log space, unlinked files, granted epochs wait for it by that alone.
 *  2. A second disk that is slow for `waitMsMax`, or fails, holds up nobody for longer: the store goes on alone, and says so.
 *  3. Only what changes costs anything: changes travel, not pages. The whole file is copied where there is no copy yet, or one that
 *     does not stand exactly where the store does (the store's process was killed, or the copy's disk failed).
 */
//  (none)      → being made   no copy that stands where the store does   [#make]
//  (none)      → in step      there is one, left in order                [#onMessage]
//  being made  → behind       made; what came meanwhile is on its way    [#onMessage]
//  behind      → in step      it has everything, and has had its rest    [#advance]
//  in step     → behind       an answer waited for too long              [#fallBehind]
//  any         → broken       it failed, or fell too far behind          [#break]
//  broken      → being made   after a pause, from nothing                [#begin]
import { MiB } from '../../base/units.ts'
import type { Clock, Log, Timer } from '../../platform/platform.ts'
import type { MetadataCopy } from '../../management/survival.ts'
import type { StoreChanges } from './copy-files.ts'
import { packChanges, type CopyMessage, type CopyOrder, type CopyWorkerData } from './copy-messages.ts'
import { startCopyThread, type CopyThread } from './copy-thread.ts'
import type { StorePosition } from './store-database.ts'
import { decodeError } from './store-messages.ts'

/** As long as a node's request to Zeus can be late and nobody takes its node for dead. */
const waitMsMax = 1000
/** A copy that fell behind is waited for again only after so long: a slow disk costs a second in eleven at most. */
const restMs = 10_000
/** One order to the copy's thread: a transaction of it. */
const applyBytesMax = 8 * MiB
const applyBatchesMax = 1024
/** What waits in memory for a copy that is behind; more is given up, and the file copied whole (I9). */
const pendingBytesMax = 64 * MiB
/** Of one request that waits: it, its name, and what holds it. */
const requestBytes = 200
const retryMsMin = 60_000
const retryMsMax = 600_000
/** For the last changes, when the store ends in order. */
const endMs = 2000

export interface StoreCopyOptions {
  readonly folder: string
  readonly clusterId: string
  readonly clock: Clock
  readonly log: Log
  /** A descriptor of the store's file, open for as long as the process lives: to close it would drop SQLite's lock. */
  readonly source: number
  /** Where the store stands, at the start. */
  readonly position: StorePosition
  /** Asks the store's thread to stop writing to the file; calls `frozen` when it has. */
  readonly freeze: () => void
  readonly thaw: () => void
  /** Left out: a thread of this process. */
  readonly startThread?: (data: CopyWorkerData) => CopyThread
}

/** What is told to whoever asks (`store.copy`). */
export type StoreCopyStatus = MetadataCopy

export class StoreCopy {
  /** Answers that waited may go. */
  onProgress: () => void = () => {}
  readonly #options: StoreCopyOptions
  #state: Exclude<StoreCopyStatus['state'], 'none'> = 'being made'
  #reason: string | undefined
  #thread: CopyThread | undefined
  /** Where the store stands. */
  #changes: number
  /** What the copy has. */
  #applied = 0
  #pending: StoreChanges[] = []
  #pendingBytes = 0
  /** The copy's thread has an order. */
  #busy = true
  /** Since when the copy lacks something. */
  #lacksSince: number
  #restUntil = 0
  #waitTimer: Timer | undefined
  #retryTimer: Timer | undefined
  #retryMs = retryMsMin
  /** An older copy is not to be trusted: it failed. */
  #fromNothing = false
  #closing = false

  constructor(options: StoreCopyOptions) {
    this.#options = options
    this.#changes = options.position.changes
    this.#lacksSince = options.clock.now()
    this.#begin()
  }

  /** Whether who was told of the store after so many changes may hear it now. */
  covers(changes: number): boolean {
    return this.#state !== 'in step' || changes <= this.#applied
  }

  /** What the store has just committed. */
  add(changes: StoreChanges): void {
    this.#changes = changes.upTo
    if (this.#state === 'broken' || this.#closing) return
    if (this.#pending.length === 0 && !this.#busy) this.#lacksSince = this.#options.clock.now()
    this.#pending.push(changes)
    this.#pendingBytes += bytesOf(changes)
    if (this.#pendingBytes > pendingBytesMax)
      return this.#break('it fell too far behind: the second disk is too slow, or hangs')
    if (this.#state === 'in step')
      this.#waitTimer ??= this.#options.clock.after(waitMsMax, () => this.#fallBehind())
    this.#send()
  }

  /** The store's file stands at `position`; `undefined`: it could not be brought up to date. */
  frozen(position: StorePosition | undefined): void {
    if (this.#thread === undefined || this.#closing) return this.#options.thaw()
    if (position === undefined) {
      this.#options.thaw()
      return this.#break("the store's own disk is full")
    }
    this.#order({ order: 'make', source: this.#options.source, position })
  }

  status(): StoreCopyStatus {
    const { folder, clock } = this.#options
    const lacks = this.#state !== 'in step' || this.#applied < this.#changes
    return {
      state: this.#state,
      folder,
      ...(lacks ? { behindMs: Math.round(clock.now() - this.#lacksSince) } : {}),
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
    }
  }

  /** Waits a moment for what is on its way; then the copy is left as it stands. The store's own file must be open still. */
  async close(): Promise<void> {
    const { clock } = this.#options
    const until = clock.now() + endMs
    while (this.#thread && this.#state !== 'being made' && this.#applied < this.#changes) {
      if (clock.now() > until) break
      await clock.sleep(5)
    }
    this.#closing = true
    this.#waitTimer?.cancel()
    this.#retryTimer?.cancel()
    const thread = this.#thread
    if (thread === undefined) return
    if (this.#state === 'being made') thread.terminate()
    else thread.order({ order: 'close' })
    const { promise: late, resolve: beLate } = Promise.withResolvers<void>()
    const timers = [clock.after(endMs, () => thread.terminate()), clock.after(2 * endMs, beLate)]
    await Promise.race([thread.exited, late])
    for (const timer of timers) timer.cancel()
  }

  #begin(): void {
    const { folder, clusterId, startThread = startCopyThread } = this.#options
    this.#state = 'being made'
    this.#busy = true
    const thread = startThread({ folder, clusterId })
    this.#thread = thread
    thread.onMessage = (message) => {
      if (this.#thread === thread) this.#onMessage(message)
    }
    thread.onEnded = (reason) => {
      if (this.#thread === thread) this.#break(reason)
    }
  }

  #onMessage(message: CopyMessage): void {
    switch (message.state) {
      case 'open':
        return this.#opened(message.position)
      case 'made':
        this.#options.thaw()
        this.#options.log.info('A copy of the store was made on a second disk.', {
          folder: this.#options.folder,
        })
        this.#retryMs = retryMsMin
        this.#fromNothing = false
        this.#state = 'behind'
        return this.#has(message.changes)
      case 'applied':
        return this.#has(message.changes)
      case 'failed':
        return this.#break(decodeError(message.error).message)
      default:
        return message satisfies never
    }
  }

  #opened(copy: StorePosition | undefined): void {
    const { position, freeze } = this.#options
    const isWhereTheStoreWas =
      copy !== undefined && copy.lineage === position.lineage && copy.changes === position.changes
    if (this.#fromNothing || !isWhereTheStoreWas) return freeze()
    this.#state = 'behind'
    this.#has(copy.changes)
  }

  #has(changes: number): void {
    this.#applied = changes
    this.#busy = false
    while (this.#pending.length > 0 && this.#pending[0].upTo <= changes)
      this.#pendingBytes -= bytesOf(this.#pending.shift()!)
    this.#lacksSince = this.#options.clock.now()
    this.#advance()
    this.#send()
    this.onProgress()
  }

  #advance(): void {
    const { clock, log, folder } = this.#options
    this.#waitTimer?.cancel()
    this.#waitTimer = undefined
    if (this.#applied < this.#changes) {
      if (this.#state === 'in step') this.#waitTimer = clock.after(waitMsMax, () => this.#fallBehind())
      return
    }
    if (this.#state !== 'behind') return
    if (clock.now() < this.#restUntil) {
      // Nothing may change for hours: it is in step when its rest is over.
      this.#retryTimer?.cancel()
      this.#retryTimer = clock.after(this.#restUntil - clock.now(), () => this.#advance())
      return
    }
    this.#state = 'in step'
    this.#reason = undefined
    log.info('The copy of the store is in step with it.', { folder })
  }

  #fallBehind(): void {
    const { clock, log, folder } = this.#options
    this.#waitTimer = undefined
    if (this.#state !== 'in step') return
    this.#state = 'behind'
    this.#reason = `the second disk did not answer for ${waitMsMax} ms`
    this.#restUntil = clock.now() + restMs
    log.warn('The store goes on without its copy: the second disk is slow, or hangs.', { folder })
    this.onProgress()
  }

  #break(reason: string): void {
    const { clock, log, folder, thaw } = this.#options
    const thread = this.#thread
    if (thread === undefined || this.#closing) return
    this.#thread = undefined
    thread.terminate()
    if (this.#state === 'being made') thaw()
    log.error('The store goes on without its copy.', { folder, reason })
    this.#state = 'broken'
    this.#reason = reason
    this.#fromNothing = true
    this.#pending = []
    this.#pendingBytes = 0
    this.#waitTimer?.cancel()
    this.#waitTimer = undefined
    this.#retryTimer?.cancel()
    this.#retryTimer = clock.after(this.#retryMs, () => this.#begin())
    this.#retryMs = Math.min(2 * this.#retryMs, retryMsMax)
    this.onProgress()
  }

  #send(): void {
    if (this.#busy || this.#state === 'being made' || this.#pending.length === 0) return
    const batches: StoreChanges[] = []
    let bytes = 0
    for (const changes of this.#pending) {
      bytes += bytesOf(changes)
      if (batches.length > 0 && (bytes > applyBytesMax || batches.length >= applyBatchesMax)) break
      batches.push(changes)
    }
    this.#order(packChanges(batches))
  }

  #order(order: CopyOrder): void {
    this.#busy = true
    this.#thread?.order(order)
  }
}

const bytesOf = ({ requests }: StoreChanges): number =>
  requests.reduce((sum, { body }) => sum + body.length + requestBytes, 0)
