/**
 * A node's way to ZooKeeper: one session there after the other, each over one connection at a time.
 *
 *  1. A call ends within `callMs`: UNAVAILABLE where nothing that it asked for can have been done, TIMED_OUT where it may have been.
 *  2. A read has seen every change that resolved before it began: it follows a `sync`, one for all reads of a turn of the loop.
 *  3. A server that says nothing for two thirds of the session's timeout is left for another one: the library alone would stay with a
 *     frozen one for good. When ZooKeeper has ended a session the next one is begun.
 *  4. `provenUntil` is never later than ZooKeeper could end the session.
 *
 * One timer serves all of that, three times a second.
 */
import { NdfsError } from '../base/errors.ts'
import type { Platform, Timer } from '../platform/platform.ts'
import type { ZooKeeperLibrary } from './zookeeper-client.ts'
import { hasTrouble, ZooKeeperClient, ZooKeeperError } from './zookeeper-client.ts'
import type { Layout } from './zookeeper-records.ts'
import { bytesOf, floorAtFirst } from './zookeeper-records.ts'
import { sessionTimeoutMs } from './zeus.ts'

export interface ZooKeeperConnectionOptions {
  readonly platform: Pick<Platform, 'clock' | 'log'>
  readonly servers: readonly string[]
  readonly user?: string | undefined
  readonly password?: string | undefined
  readonly layout: Layout
  /** From now on `onChanged` tells of each change; those before may have been missed. */
  readonly onReady: () => void
  /** The node of this path was made, changed or removed. */
  readonly onChanged: (path: string) => void
  /** Three times a second, and when a session has ended. */
  readonly onBeat: () => void
}

/** A call of Zeus that is under way. */
export class Attempt {
  /** Nobody waits for it any more: it begins nothing new. */
  over = false
  /** A change was sent, and whether it is made isn't known. */
  unsure = false

  check(): void {
    if (this.over) throw new ZooKeeperError('other', 'its time is over')
  }
}

/** Longer than it takes a new leader to be found, which is some 2 s; not so long that whoever waits gives up first. */
export const callMs = 5_000
/** Calls that may be under way: as many as ZooKeeper takes before it lets its clients wait. */
const callsMax = 1_000
/** Where a server (3.5 and later) names those that decide together with it; empty where it decides alone. */
const ensemble = '/zookeeper/config'
const closedMessage = 'this node has closed Zeus'
/** Two thirds of the timeout: a third is left to be heard by another server. */
const silenceMs = (sessionTimeoutMs * 2) / 3
const beatMs = silenceMs / 3
/**
 * A follower tells its leader every half tick, of 500 ms, whom it has heard. So when a `sync` is answered, which passes through both, the
 * leader knows of all that the follower had heard so long before, and of nothing that is younger.
 */
const leaderHearsMs = 300

export class ZooKeeperConnection {
  readonly #options: ZooKeeperConnectionOptions
  readonly #waiting = new Set<() => void>()
  #library: ZooKeeperLibrary | undefined
  #client: ZooKeeperClient | undefined
  #preparing: Promise<void> | undefined
  #prepared = false
  #refused: NdfsError | undefined
  #closed = false
  #calls = 0
  #turn: Promise<{ client: ZooKeeperClient; synced: Promise<void> }> | undefined
  #beat: Timer | undefined
  /** When the last question that was answered was sent. */
  #answeredAt = 0
  /** The leader has heard of the session at this time or later. */
  #touchedAt = -Infinity
  #probing = false

  constructor(options: ZooKeeperConnectionOptions) {
    this.#options = options
    void this.#begin()
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The session in ZooKeeper: the one that stands, or may stand while there is no connection. Zeros: it is still to be made. */
  get sessionId(): string | undefined {
    return this.#client?.sessionId
  }

  /** Until then, by the clock, ZooKeeper has not ended the session, whatever happens. */
  get provenUntil(): number {
    return this.#touchedAt + Math.min(sessionTimeoutMs, this.#client?.sessionTimeoutMs ?? 0)
  }

  /** Runs a call of Zeus, for at most `callMs`. `what` is what can't be done then. */
  async within<T>(what: string, work: (attempt: Attempt) => Promise<T>): Promise<T> {
    if (this.#closed) throw new NdfsError('UNAVAILABLE', `Cannot ${what}: ${closedMessage}`)
    if (this.#calls >= callsMax)
      throw new NdfsError('UNAVAILABLE', `Cannot ${what}: ${callsMax} calls of Zeus are under way already`)
    this.#calls++
    const attempt = new Attempt()
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const timer = this.#options.platform.clock.after(callMs, () =>
      reject(new ZooKeeperError('other', `no answer came in ${callMs} ms`)),
    )
    work(attempt).then(resolve, reject)
    try {
      return await promise
    } catch (error) {
      throw error instanceof ZooKeeperError ? this.#refusal(what, attempt, error) : error
    } finally {
      attempt.over = true
      timer.cancel()
      this.#calls--
    }
  }

  /** Asks once it is connected, and again where the connection was lost meanwhile: for what may be asked twice. */
  async ask<T>(attempt: Attempt, question: (client: ZooKeeperClient) => Promise<T>): Promise<T> {
    for (;;) {
      const client = await this.#ready(attempt)
      try {
        return await question(client)
      } catch (error) {
        if (!hasTrouble(error, 'lost', 'not-sent')) throw error
      }
    }
  }

  /** Reads what is true now, or was since the call began. */
  read<T>(attempt: Attempt, question: (client: ZooKeeperClient) => Promise<T>): Promise<T> {
    return this.ask(attempt, async () => {
      this.#turn ??= this.#syncSoon()
      const { client, synced } = await this.#turn
      // They follow one another on one connection, so that neither waits for the other's answer.
      const [answer] = await Promise.all([question(client), synced])
      return answer
    })
  }

  /** Sends a change once. Rejects with 'lost' where its outcome isn't known; `attempt` remembers that. */
  async send<T>(attempt: Attempt, change: (client: ZooKeeperClient) => Promise<T>): Promise<T> {
    const client = await this.#ready(attempt)
    const wasUnsure = attempt.unsure
    attempt.unsure = true
    try {
      const answer = await change(client)
      attempt.unsure = false
      return answer
    } catch (error) {
      attempt.unsure = wasUnsure || hasTrouble(error, 'lost')
      throw error
    }
  }

  /** The client, if it is connected now: for who asks again when the next connection is ready. */
  get client(): ZooKeeperClient | undefined {
    return this.#prepared ? this.#client : undefined
  }

  /** Gives the session up, with all that ends with it, and begins another. */
  renew(): void {
    const client = this.#client
    this.#stopped()
    void client?.end()
    this.#client = undefined
    if (!this.#closed) this.#beginSession()
  }

  /** Ends the session, at once if it is connected. */
  async close(): Promise<void> {
    this.#closed = true
    this.#beat?.cancel()
    this.#stopped()
    this.#wake()
    await this.#client?.end()
  }

  async #begin(): Promise<void> {
    this.#library = await import('node-zookeeper-client')
    if (this.#closed) return
    this.#beginSession()
    this.#beatAgain()
  }

  #beginSession(): void {
    const { platform, servers, user, password, onChanged, onBeat } = this.#options
    const library = this.#library
    if (library === undefined) return
    const client = new ZooKeeperClient({
      ...{ library, servers, user, password, sessionTimeoutMs },
      clock: platform.clock,
      onConnected: () => {
        if (this.#client !== client) return
        this.#touchedAt = this.#answeredAt = client.greetedAt ?? -Infinity
        if (client.sessionTimeoutMs !== sessionTimeoutMs)
          platform.log.warn('ZooKeeper wants sessions of another length: its tickTime should be 500', {
            sessionTimeoutMs: client.sessionTimeoutMs,
          })
        void this.#prepare(client)
      },
      onDisconnected: () => {
        if (this.#client === client) this.#stopped()
      },
      onExpired: () => {
        // Not within the library, which is in the middle of reading.
        platform.clock.soon(() => {
          if (this.#client !== client || this.#closed) return
          platform.log.warn('ZooKeeper has ended the session')
          this.renew()
          onBeat()
        })
      },
      onChanged: (path) => {
        if (this.#client === client) onChanged(path)
      },
    })
    this.#client = client
  }

  #stopped(): void {
    this.#prepared = false
    this.#preparing = undefined
    this.#probing = false
  }

  /** Resolves when it is tried: then it is ready, or refused, or the connection is lost. */
  #prepare(client: ZooKeeperClient): Promise<void> {
    if (this.#preparing !== undefined) return this.#preparing
    const preparing = this.#prepareNow(client).then(() => {
      if (this.#preparing === preparing) this.#preparing = undefined
      this.#wake()
    })
    return (this.#preparing = preparing)
  }

  async #prepareNow(client: ZooKeeperClient): Promise<void> {
    const { layout, platform, servers, onReady } = this.#options
    try {
      if (servers.length > 1 && (await client.get(ensemble))?.data.length === 0) {
        if (this.#client !== client) return
        this.#refused = standsAlone(servers)
        platform.log.error(this.#refused.message)
        return
      }
      await client.watch(layout.keys)
      if ((await client.get(layout.floor)) === undefined) await this.#layOut(client)
    } catch (error) {
      if (!(error instanceof ZooKeeperError)) throw error
      if (hasTrouble(error, 'lost', 'not-sent') || this.#client !== client) return
      this.#refused = refused('use ZooKeeper', error)
      platform.log.error('ZooKeeper refuses what Zeus needs', { reason: error.message })
      return
    }
    if (this.#client !== client || !client.connected) return
    this.#refused = undefined
    this.#prepared = true
    onReady()
  }

  /** What is there already was made by another node, just now or long ago. */
  async #layOut(client: ZooKeeperClient): Promise<void> {
    const { folders, floor } = this.#options.layout
    const nodes = [
      ...folders.map((path) => ({ path, data: Buffer.alloc(0) })),
      { path: floor, data: bytesOf(floorAtFirst) },
    ]
    for (const { path, data } of nodes)
      try {
        // Not by trying: who may use what is below needs no right to make what is above.
        if (!(await client.has(path))) await client.create(path, data)
      } catch (error) {
        if (!hasTrouble(error, 'node-exists')) throw error
      }
  }

  async #ready(attempt: Attempt): Promise<ZooKeeperClient> {
    for (;;) {
      attempt.check()
      if (this.#closed) throw new ZooKeeperError('other', closedMessage)
      const client = this.#client
      if (client?.connected === true) {
        if (this.#prepared) return client
        // Whoever comes after a refusal asks again: somebody may have changed what is allowed.
        await this.#prepare(client)
        if (this.#refused !== undefined) throw this.#refused
      } else await this.#changed()
    }
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.add(resolve))
  }

  #wake(): void {
    for (const go of this.#waiting) go()
    this.#waiting.clear()
  }

  #syncSoon(): Promise<{ client: ZooKeeperClient; synced: Promise<void> }> {
    const { promise, resolve, reject } = Promise.withResolvers<{
      client: ZooKeeperClient
      synced: Promise<void>
    }>()
    this.#options.platform.clock.soon(() => {
      this.#turn = undefined
      const client = this.client
      if (client === undefined)
        return reject(new ZooKeeperError('not-sent', 'the connection to ZooKeeper was lost'))
      const synced = client.sync(this.#options.layout.floor)
      // Each reader hears of its failure; and there may be none.
      synced.catch(() => {})
      resolve({ client, synced })
    })
    return promise
  }

  #beatAgain(): void {
    const { clock } = this.#options.platform
    this.#beat = clock.after(beatMs, () => {
      this.#look()
      this.#options.onBeat()
      this.#wake()
      if (!this.#closed) this.#beatAgain()
    })
  }

  #look(): void {
    const client = this.#client
    if (client === undefined) return
    const now = this.#options.platform.clock.now()
    if (client.connected) {
      if (now - this.#answeredAt >= silenceMs) {
        this.#options.platform.log.warn('a ZooKeeper server says nothing and is left', { silenceMs })
        client.breakConnection()
      } else if (this.#prepared && !this.#probing) void this.#probe(client, now)
    } else if (client.isGreeting && now - (client.greetedAt ?? now) >= silenceMs) client.breakConnection()
  }

  async #probe(client: ZooKeeperClient, now: number): Promise<void> {
    this.#probing = true
    try {
      await client.sync(this.#options.layout.floor)
      if (this.#client !== client || !client.connected) return
      if (now - this.#answeredAt >= leaderHearsMs)
        this.#touchedAt = Math.max(this.#touchedAt, this.#answeredAt)
      this.#answeredAt = now
      this.#probing = false
    } catch (error) {
      if (!(error instanceof ZooKeeperError)) throw error
      // What follows a loss is told by itself.
      if (this.#client === client) this.#probing = false
    }
  }

  #refusal(what: string, { unsure }: Attempt, error: ZooKeeperError): NdfsError {
    if (error.trouble === 'no-auth') return refused(what, error)
    const why =
      this.#closed || this.#client?.connected === true
        ? error.message
        : 'no ZooKeeper server of a quorum can be reached'
    return unsure
      ? new NdfsError('TIMED_OUT', `Cannot ${what}, or tell whether it was done: ${why}. Read again`)
      : new NdfsError('UNAVAILABLE', `Cannot ${what}: ${why}`)
  }
}

/** Each of such servers has a Zeus of its own: nodes that went to different ones would be two clusters that have the same disks. */
const standsAlone = (servers: readonly string[]): NdfsError =>
  new NdfsError(
    'UNAVAILABLE',
    `Cannot use ZooKeeper: of ${servers.join(', ')} one stands alone, and asks no other before it answers. Name all of them in each one's zoo.cfg (server.1=…), and restart it`,
  )

function refused(what: string, { message, trouble }: ZooKeeperError): NdfsError {
  return trouble === 'no-auth'
    ? new NdfsError(
        'UNAUTHORIZED',
        `Cannot ${what}: ZooKeeper does not let this user (${message}). Check user and password`,
      )
    : new NdfsError('UNAVAILABLE', `Cannot ${what}: ${message}. Zeus needs ZooKeeper 3.6 or later`)
}
