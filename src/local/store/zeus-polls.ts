/**
 * Requests for changes of Zeus that are held until there are some (`zeus.changes`): how watches travel.
 * One for each poller, the newest; so a poller that comes back after a lost connection leaves nothing behind.
 */
import { decodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Clock } from '../../platform/platform.ts'
import type { ZeusAnswer, ZeusAsks } from '../../zeus/zeus-requests.ts'
import type { StoreEngine } from './store-engine.ts'

/** One poller a node, and some for tools: who comes beyond that is told so (I9). */
const pollersMax = 1024
/** Whatever a poller asks for: the connection is known to live that often. */
const holdMsMax = 25_000

interface Held {
  /** The newest one of its poller. */
  current: boolean
  /** Wakes it: there may be news, or it was overtaken. */
  wake: () => void
}

export class ZeusPolls {
  readonly #engine: StoreEngine
  readonly #clock: Clock
  readonly #held = new Map<string, Held>()
  #revision = 0
  #closed = false

  constructor(engine: StoreEngine, clock: Clock) {
    this.#engine = engine
    this.#clock = clock
  }

  changed(revision: number): void {
    this.#revision = revision
    for (const { wake } of this.#held.values()) wake()
  }

  /** Resolves with news, with none after `holdMs`, or with none at once when a newer request of the poller came. */
  async poll(body: Buffer): Promise<Uint8Array> {
    const { poller, holdMs } = decodeControl<ZeusAsks<'zeus.changes'>>(body)
    const until = this.#clock.now() + Math.min(holdMs, holdMsMax)
    const held = this.#take(poller)
    try {
      for (;;) {
        const answer = await this.#engine.run('zeus.changes', body)
        const { revision, news } = decodeControl<ZeusAnswer<'zeus.changes'>>(answer)
        const leftMs = until - this.#clock.now()
        if (news.some(({ full, changes }) => full || changes.length > 0)) return answer
        if (!held.current || this.#closed || leftMs <= 0) return answer
        if (this.#revision <= revision) await this.#sleep(held, leftMs)
      }
    } finally {
      if (held.current) this.#held.delete(poller)
    }
  }

  close(): void {
    this.#closed = true
    for (const { wake } of this.#held.values()) wake()
  }

  #take(poller: string): Held {
    const older = this.#held.get(poller)
    if (!older && this.#held.size >= pollersMax)
      throw new NdfsError('UNAVAILABLE', `Cannot watch Zeus: ${pollersMax} others do. Try again later`)
    if (older) {
      older.current = false
      older.wake()
    }
    const held: Held = { current: true, wake: () => {} }
    this.#held.set(poller, held)
    return held
  }

  async #sleep(held: Held, ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    held.wake = resolve
    const timer = this.#clock.after(ms, resolve)
    await promise
    timer.cancel()
  }
}
