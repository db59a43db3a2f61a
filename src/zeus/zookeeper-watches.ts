/**
 * All watches of one node on ZooKeeper, by one persistent watch there on all keys.
 *
 * ZooKeeper tells which keys were changed, in the order of the changes, and each before any answer that shows it. What they hold now is read
 * and reported in the order of their last changes. What was changed while it was read is read again, so that what is reported together was so
 * at one moment. Where changes come too fast for that a key is left for the next round, in which it comes where its newer change belongs. After
 * a lost connection, and for a watch that is new, all keys are read.
 *
 * A round of reads is shorter than a change of a key, which takes a read and a commit: so no key is left for ever.
 */
import { NdfsError } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { Found, ZooKeeperClient } from './zookeeper-client.ts'
import { ZooKeeperError } from './zookeeper-client.ts'
import type { ZooKeeperConnection } from './zookeeper-connection.ts'
import type { Layout } from './zookeeper-records.ts'
import { keyOfName, recordOf } from './zookeeper-records.ts'
import type { Versioned, Watch } from './zeus.ts'

type OnChange = (key: string, now: Versioned | undefined) => void

interface Watching {
  readonly prefix: string
  readonly onChange: OnChange
  /** Each key that was reported, and not reported deleted since, with the change that it was reported with. */
  readonly known: Map<string, string>
  /** Keys that were there when all were read and are still to be reported; undefined: none were read yet. */
  owed: Set<string> | undefined
  /** It may have missed changes. */
  behind: boolean
  readonly caughtUp: () => void
  readonly stopped: (error: NdfsError) => void
}

/** Reads under way at a time. */
export const readsMax = 256

/** So often is read again what was changed while it was read, so that what is reported is as it was at one moment. */
const readsAgainMax = 20

/** After a read that ZooKeeper refused. */
const retryMs = 1_000

export class ZooKeeperWatches {
  readonly #connection: ZooKeeperConnection
  readonly #layout: Layout
  readonly #clock: Clock
  readonly #watching = new Set<Watching>()
  /** Keys that were changed and not read since, in the order of their last changes. No more than there are keys. */
  #changed = new Set<string>()
  #working = false

  constructor(connection: ZooKeeperConnection, layout: Layout, clock: Clock) {
    this.#connection = connection
    this.#layout = layout
    this.#clock = clock
  }

  add(prefix: string, onChange: OnChange): Watch {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // Who stops a watch before it caught up need not wait for it.
    promise.catch(() => {})
    const watching: Watching = {
      ...{ prefix, onChange, known: new Map(), owed: undefined, behind: true },
      ...{ caughtUp: resolve, stopped: reject },
    }
    this.#watching.add(watching)
    this.#workSoon()
    return { caughtUp: promise, stop: () => this.#stop(watching) }
  }

  /** The node of this path was made, changed or removed. */
  changed(path: string): void {
    const key = this.#layout.keyOf(path)
    if (key === undefined || this.#watching.size === 0) return
    this.#changed.delete(key)
    this.#changed.add(key)
    this.#workSoon()
  }

  /** Changes may have been missed until now. */
  missed(): void {
    for (const watching of this.#watching) watching.behind = true
    this.#workSoon()
  }

  close(): void {
    for (const watching of [...this.#watching]) this.#stop(watching)
  }

  #stop(watching: Watching): void {
    this.#watching.delete(watching)
    watching.stopped(
      new NdfsError('UNAVAILABLE', `Cannot catch up with ${watching.prefix}: the watch was stopped`),
    )
  }

  /** Several watches that are added in one turn are served by one round. */
  #workSoon(): void {
    if (this.#working) return
    this.#working = true
    this.#clock.soon(() => void this.#work())
  }

  async #work(): Promise<void> {
    try {
      for (let client; this.#hasWork() && (client = this.#connection.client) !== undefined;)
        await this.#round(client)
    } catch (error) {
      if (!(error instanceof ZooKeeperError)) throw error
      // A lost connection is followed by another, and then by `missed`.
      if (this.#connection.client !== undefined) {
        await this.#clock.sleep(retryMs)
        this.#working = false
        return this.missed()
      }
    }
    this.#working = false
    // The next connection may have come while this was told of the last one's end.
    if (this.#hasWork() && this.#connection.client !== undefined) this.#workSoon()
  }

  #hasWork(): boolean {
    return (
      this.#watching.size > 0 && (this.#changed.size > 0 || [...this.#watching].some(({ behind }) => behind))
    )
  }

  async #round(client: ZooKeeperClient): Promise<void> {
    const behind = [...this.#watching].filter((watching) => watching.behind)
    const inTime = [...this.#watching].filter((watching) => !watching.behind)
    for (const watching of behind) watching.behind = false
    /** Those that were changed, in the order of their last changes. */
    const changed = new Set<string>()
    const found = new Map<string, Found>()
    const all = behind.length > 0 ? await this.#allKeys(client) : []
    let unread = new Set(all.filter(isUnder(behind)))
    for (let again = 0; again <= readsAgainMax; again++) {
      for (const key of this.#changed) {
        changed.delete(key)
        changed.add(key)
        unread.add(key)
      }
      this.#changed = new Set()
      unread = new Set([...unread].filter(isUnder(this.#watching)))
      if (unread.size === 0) break
      const now = await readAll(client, this.#layout, [...unread])
      for (const key of unread) found.delete(key)
      for (const [key, entry] of now) found.set(key, entry)
      unread.clear()
    }
    // Of those that were changed even then it isn't known whether what was read is old or new.
    const settled = (key: string) => !this.#changed.has(key)
    const inOrder = [...found].sort(([, one], [, other]) => (one.changedBy < other.changedBy ? -1 : 1))
    for (const watching of behind) {
      const gone = [...watching.known.keys()].filter((key) => !found.has(key))
      watching.owed = new Set([...found.keys()].filter(isUnder([watching])))
      this.#report(watching, [...gone, ...inOrder.map(([key]) => key)].filter(settled), found)
    }
    for (const watching of inTime) this.#report(watching, [...changed].filter(settled), found)
  }

  async #allKeys(client: ZooKeeperClient): Promise<string[]> {
    const synced = client.sync(this.#layout.floor)
    const [names] = await Promise.all([client.children(this.#layout.keys), synced])
    return (names ?? []).map(keyOfName)
  }

  #report(watching: Watching, keys: readonly string[], found: ReadonlyMap<string, Found>): void {
    const { prefix, known, owed, onChange } = watching
    for (const key of keys) {
      // A callback may stop its own watch, or any other.
      if (!key.startsWith(prefix) || !this.#watching.has(watching)) continue
      owed?.delete(key)
      const now = found.get(key)
      if (now === undefined) {
        // Made and deleted while nobody looked: it was never there for this watcher.
        if (known.delete(key)) onChange(key, undefined)
      } else if (known.get(key) !== now.changedBy) {
        known.set(key, now.changedBy)
        const { version, value } = recordOf(now)
        onChange(key, { key, value, version })
      }
    }
    if (owed?.size === 0) watching.caughtUp()
  }
}

const isUnder =
  (watchings: Iterable<Watching>) =>
  (key: string): boolean =>
    [...watchings].some(({ prefix }) => key.startsWith(prefix))

/** Those of the keys that are there. */
export async function readAll(
  client: ZooKeeperClient,
  layout: Layout,
  keys: readonly string[],
): Promise<Map<string, Found>> {
  const found = new Map<string, Found>()
  for (let from = 0; from < keys.length; from += readsMax)
    await Promise.all(
      keys.slice(from, from + readsMax).map(async (key) => {
        const now = await client.get(layout.pathOf(key))
        if (now !== undefined) found.set(key, now)
      }),
    )
  return found
}
