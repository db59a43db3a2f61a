/**
 * All watches of one node on the machine's store, by one request that the store holds open until there is news.
 *
 * Each watch knows the revision up to which it has seen everything. It asks for what came after; so an answer that
 * was lost, a restart of the store, or a newer request that overtook an older one cost nothing but a repetition.
 */
import { assert } from '../base/assert.ts'
import { hasCode, NdfsError } from '../base/errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { ZeusCaller } from './zeus-caller.ts'
import type { EntryChange, WatchNews } from './zeus-requests.ts'
import type { Versioned, Watch } from './zeus.ts'

/** How long the store may hold a request that has no news. */
const holdMs = 25_000
/** An answer that was held to the end still has this long to come. */
const answerMs = 5_000
const retryMsMin = 200
const retryMsMax = 1_000

type OnChange = (key: string, now: Versioned | undefined) => void

interface Watching {
  readonly prefix: string
  readonly onChange: OnChange
  /** The revision of each key that was reported and not reported deleted since. */
  readonly known: Map<string, number>
  since: number
  readonly caughtUp: () => void
  readonly stopped: (error: NdfsError) => void
}

export class StoreWatches {
  readonly #store: ZeusCaller
  readonly #platform: Pick<Platform, 'clock' | 'chance'>
  readonly #poller: string
  readonly #watching = new Set<Watching>()
  /** Grows when the set of watches does: an older poll then ends. */
  #generation = 0

  constructor(store: ZeusCaller, platform: Pick<Platform, 'clock' | 'chance'>) {
    this.#store = store
    this.#platform = platform
    this.#poller = platform.chance.bytes(8).toString('hex')
  }

  add(prefix: string, onChange: OnChange): Watch {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // Who stops a watch before it caught up need not wait for it.
    promise.catch(() => {})
    const watching: Watching = {
      prefix,
      onChange,
      known: new Map(),
      since: 0,
      caughtUp: resolve,
      stopped: reject,
    }
    this.#watching.add(watching)
    this.#pollSoon()
    return { caughtUp: promise, stop: () => this.#stop(watching) }
  }

  close(): void {
    this.#generation++
    for (const watching of [...this.#watching]) this.#stop(watching)
  }

  #stop(watching: Watching): void {
    this.#watching.delete(watching)
    watching.stopped(
      new NdfsError('UNAVAILABLE', `Cannot catch up with ${watching.prefix}: the watch was stopped`),
    )
  }

  /** Several watches that are added in one turn go into one request. */
  #pollSoon(): void {
    const generation = ++this.#generation
    this.#platform.clock.soon(() => {
      if (generation === this.#generation) void this.#poll(generation)
    })
  }

  async #poll(generation: number): Promise<void> {
    let pauseMs = retryMsMin
    while (generation === this.#generation && this.#watching.size > 0) {
      const asked = [...this.#watching]
      const watches = asked.map(({ prefix, since }) => ({ prefix, since }))
      try {
        const asks = { poller: this.#poller, watches, holdMs }
        const { revision, news } = await this.#store.call('zeus.changes', asks, holdMs + answerMs)
        // What an older generation missed to report, the newer one has asked for again.
        if (generation !== this.#generation) return
        assert(news.length === asked.length, 'news for other watches than asked')
        for (const [i, watching] of asked.entries()) this.#report(watching, revision, news[i])
        pauseMs = retryMsMin
      } catch (error) {
        if (!hasCode(error, 'PEER_UNREACHABLE', 'TIMED_OUT', 'UNAVAILABLE')) throw error
        if (generation !== this.#generation) return
        await this.#platform.clock.sleep(pauseMs)
        pauseMs = Math.min(2 * pauseMs, retryMsMax)
      }
    }
  }

  #report(watching: Watching, revision: number, { full, changes }: WatchNews): void {
    // A callback may stop its own watch, or any other.
    const report = (change: EntryChange) => this.#watching.has(watching) && reportTo(watching, change)
    if (full) for (const gone of goneFrom(watching, changes)) report(gone)
    for (const change of changes) report(change)
    watching.since = revision
    watching.caughtUp()
  }
}

/** What was known and is not among all keys that there are. */
function goneFrom({ known }: Watching, all: readonly EntryChange[]): EntryChange[] {
  const present = new Set(all.map(({ key }) => key))
  return [...known]
    .filter(([key]) => !present.has(key))
    .map(([key, revision]) => ({ key, version: 0, revision }))
}

function reportTo({ known, onChange }: Watching, { key, json, version, revision }: EntryChange): void {
  if (json === undefined) {
    // Made and deleted while nobody looked: it was never there for this watcher.
    if (known.delete(key)) onChange(key, undefined)
  } else if (known.get(key) !== revision) {
    known.set(key, revision)
    onChange(key, { key, value: JSON.parse(json) as unknown, version })
  }
}
