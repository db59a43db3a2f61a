/**
 * Zeus on Apache ZooKeeper: any number of servers, of which a majority has to run. What lies there: zookeeper-records.ts.
 *
 *  1. A call ends within 5 s. UNAVAILABLE: nothing was changed; TIMED_OUT: nobody can tell; UNAUTHORIZED: ZooKeeper doesn't let this user.
 *     A lost connection alone is no reason to fail: reads are asked again, and changes find out whether they were made (zookeeper-changes.ts).
 *  2. Reads see every change that resolved before they began, whichever server they ask (but see decisions/0017: a leader that is cut off). The
 *     values of a list may be of different moments.
 *  3. A session ends with the one in ZooKeeper. Whoever closes Zeus ends it at once.
 *  4. With `user` and `password` all that is made is that user's alone. Neither is hidden from who hears the network: the library has no TLS.
 */
import { assert } from '../base/assert.ts'
import { NdfsError } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import { SerialByKey } from '../base/serial.ts'
import type { Platform } from '../platform/platform.ts'
import type { Change } from './zookeeper-changes.ts'
import { ZooKeeperChanges } from './zookeeper-changes.ts'
import { hasTrouble } from './zookeeper-client.ts'
import type { Attempt } from './zookeeper-connection.ts'
import { ZooKeeperConnection } from './zookeeper-connection.ts'
import type { KeyRecord } from './zookeeper-records.ts'
import { baseBytes, baseIn, keyOfName, Layout, recordOf } from './zookeeper-records.ts'
import { ZooKeeperSession } from './zookeeper-session.ts'
import { readAll, ZooKeeperWatches } from './zookeeper-watches.ts'
import type { Claimant } from './zeus-requests.ts'
import {
  checkKey,
  checkSettable,
  inUse,
  isFreeFor,
  otherVersion,
  ownerKey,
  sessionKey,
  sessionOver,
  withIncarnation,
} from './zeus-requests.ts'
import type { ClaimReason, Owner, Session, Versioned, Watch, Zeus } from './zeus.ts'

export interface ZooKeeperZeusOptions {
  /** `host:port` of each server; names or addresses of IPv4. */
  readonly servers: readonly string[]
  /** Where all of it lies, as `/ndfs/CLUSTER`: made where it isn't there. */
  readonly chroot: string
  readonly user?: string
  readonly password?: string
  readonly platform: Pick<Platform, 'clock' | 'chance' | 'log'>
}

/** What a Zeus elsewhere has given out, and this one may not give out again. */
export interface NumbersGiven {
  /** No key that is not here yet begins at or below it. */
  readonly version: number
  /** No vDisk without an owner here gets an epoch at or below it. */
  readonly epoch: number
  /** By counter, the last number. */
  readonly counters: ReadonlyMap<string, number>
}

/** Connects by itself, now and again: calls wait for it. */
export const zooKeeperZeus = (options: ZooKeeperZeusOptions): ZooKeeperZeus => new ZooKeeperZeus(options)

export class ZooKeeperZeus implements Zeus {
  readonly #platform: ZooKeeperZeusOptions['platform']
  readonly #layout: Layout
  readonly #connection: ZooKeeperConnection
  readonly #changes: ZooKeeperChanges
  readonly #watches: ZooKeeperWatches
  readonly #sessions = new Set<ZooKeeperSession>()
  /** Of each counter what it counts from; there are a few. */
  readonly #bases = new Map<string, number>()
  /** Changes of one key by this node follow one another, so that they don't stand in each other's way. */
  readonly #byKey = new SerialByKey()

  constructor({ servers, chroot, user, password, platform }: ZooKeeperZeusOptions) {
    assert(/^(\/[^/]+)+$/.test(chroot), 'a place in ZooKeeper that is no path')
    this.#platform = platform
    this.#layout = new Layout(chroot)
    this.#connection = new ZooKeeperConnection({
      ...{ platform, servers, user, password, layout: this.#layout },
      onReady: () => this.#watches.missed(),
      onChanged: (path) => this.#watches.changed(path),
      onBeat: () => {
        for (const session of [...this.#sessions]) session.look()
      },
    })
    this.#changes = new ZooKeeperChanges(this.#connection, this.#layout, platform.chance)
    this.#watches = new ZooKeeperWatches(this.#connection, this.#layout, platform.clock)
  }

  async get(key: string): Promise<Versioned | undefined> {
    checkKey(key)
    return this.#connection.within(`read ${key}`, async (attempt) => {
      const record = await this.#record(attempt, key)
      return record && versionedOf(key, record)
    })
  }

  list(prefix: string): Promise<Versioned[]> {
    const { keys } = this.#layout
    return this.#connection.within(`list ${prefix}`, (attempt) =>
      this.#connection.read(attempt, async (client) => {
        const names = (await client.children(keys)) ?? []
        const wanted = names.map(keyOfName).filter((key) => key.startsWith(prefix))
        const found = await readAll(client, this.#layout, wanted)
        return [...found.keys()].sort().map((key) => versionedOf(key, recordOf(found.get(key)!)))
      }),
    )
  }

  async set(key: string, value: unknown, expected?: number): Promise<number> {
    checkSettable('set', key)
    const version = await this.#change(`set ${key}`, {
      key,
      ifLost: 'unknown',
      decide: (now) => {
        compare('set', key, expected, now)
        return { kind: 'put', value }
      },
    })
    assert(version !== undefined, 'a key that was set has a version')
    return version
  }

  async delete(key: string, expected?: number): Promise<void> {
    checkSettable('delete', key)
    await this.#change(`delete ${key}`, {
      key,
      ifLost: 'unknown',
      decide: (now) => {
        compare('delete', key, expected, now)
        return now && { kind: 'remove' }
      },
    })
  }

  /** A connection lost in the middle costs a number that nobody gets. */
  async next(counter: string): Promise<number> {
    checkKey(counter)
    const path = this.#layout.pathOfCounter(counter)
    return this.#connection.within(`count ${counter} on`, async (attempt) => {
      for (;;) {
        const base = this.#bases.get(counter) ?? (await this.#baseOf(attempt, counter))
        try {
          return base + (await this.#connection.send(attempt, (client) => client.set(path, baseBytes(base))))
        } catch (error) {
          if (hasTrouble(error, 'no-node')) await this.#makeCounter(attempt, path, 0)
          else if (!hasTrouble(error, 'lost', 'not-sent')) throw error
        }
      }
    })
  }

  /**
   * Nothing that was given elsewhere is given here again. It may be asked for several times, while nobody else uses Zeus: counters go on from
   * other numbers then.
   */
  async raise({ version, epoch, counters }: NumbersGiven): Promise<void> {
    await this.#connection.within('raise what was given', async (attempt) => {
      await this.#changes.raiseFloor(attempt, version, epoch)
      for (const [counter, number] of counters) await this.#raiseCounter(attempt, counter, number)
    })
  }

  async #raiseCounter(attempt: Attempt, counter: string, number: number): Promise<void> {
    const path = this.#layout.pathOfCounter(counter)
    for (;;) {
      const found = await this.#connection.read(attempt, (client) => client.get(path))
      if (found === undefined) {
        await this.#makeCounter(attempt, path, number)
        continue
      }
      if (baseIn(found) + found.version >= number) return
      const data = baseBytes(number - (found.version + 1))
      try {
        const { version } = found
        await this.#connection.send(attempt, (client) => client.multi([{ kind: 'set', path, data, version }]))
      } catch (error) {
        // Whatever became of it: it is read again.
        if (!hasTrouble(error, 'bad-version', 'lost', 'not-sent')) throw error
      }
    }
  }

  async #baseOf(attempt: Attempt, counter: string): Promise<number> {
    const path = this.#layout.pathOfCounter(counter)
    const found = await this.#connection.read(attempt, (client) => client.get(path))
    const base = found === undefined ? 0 : baseIn(found)
    if (found !== undefined) this.#bases.set(counter, base)
    return base
  }

  /** What is there already was made by another. */
  async #makeCounter(attempt: Attempt, path: string, base: number): Promise<void> {
    await this.#connection
      .ask(attempt, (client) => client.create(path, baseBytes(base)))
      .catch((reason: unknown) => {
        if (!hasTrouble(reason, 'node-exists')) throw reason
      })
  }

  watch(prefix: string, onChange: (key: string, now: Versioned | undefined) => void): Watch {
    if (this.#connection.closed)
      throw new NdfsError('UNAVAILABLE', `Cannot watch ${prefix}: this node has closed Zeus`, { prefix })
    return this.#watches.add(prefix, onChange)
  }

  async openSession(node: NodeId, incarnation: Incarnation, value: unknown): Promise<Session> {
    const shown = withIncarnation(value, incarnation)
    for (;;) {
      let within: string | undefined
      await this.#change(`open a session for ${node}`, {
        key: sessionKey(node),
        ifLost: 'anew',
        decide: () => {
          within = this.#connection.sessionId
          return { kind: 'show', value: shown }
        },
      })
      // It may have been made by a session in ZooKeeper that has ended meanwhile, and end with that.
      if (within !== undefined && within === this.#connection.sessionId)
        return this.#sessionOf({ node, incarnation }, within)
    }
  }

  endSession(node: NodeId, incarnation: Incarnation): Promise<void> {
    return this.#endSession({ node, incarnation })
  }

  async owner(vdisk: VDiskId): Promise<Owner | undefined> {
    return (await this.get(ownerKey(vdisk)))?.value as Owner | undefined
  }

  async claim(vdisk: VDiskId, by: Claimant, reason: ClaimReason, atLeast: Epoch): Promise<Owner> {
    let owner: Owner | undefined
    await this.#change(`claim vDisk ${vdisk} for ${by.node}`, {
      key: ownerKey(vdisk),
      ifLost: 'anew',
      decide: async (now, floor, attempt) => {
        const last = now?.value as Owner | undefined
        if (last && reason === 'free' && !isFreeFor(last, by) && (await this.#lives(last, attempt)))
          throw inUse(vdisk, by, last)
        const epoch = Math.max((last?.epoch ?? floor.epoch) + 1, atLeast) as Epoch
        assert(epoch > (last?.epoch ?? 0), 'I4: an epoch that does not grow')
        owner = { node: by.node, incarnation: by.incarnation, epoch }
        return { kind: 'put', value: owner }
      },
    })
    assert(owner !== undefined, 'a claim that was granted names the owner')
    return owner
  }

  async release(vdisk: VDiskId, epoch: Epoch, next?: NodeId): Promise<void> {
    await this.#change(`release vDisk ${vdisk}`, {
      key: ownerKey(vdisk),
      ifLost: 'anew',
      decide: (now) => {
        const last = now?.value as Owner | undefined
        if (last?.epoch !== epoch) return undefined
        const { node, incarnation } = last
        return {
          kind: 'put',
          value: { node, incarnation, epoch, released: true, ...(next ? { next } : {}) } satisfies Owner,
        }
      },
    })
  }

  async close(): Promise<void> {
    this.#watches.close()
    for (const session of [...this.#sessions]) session.abandon()
    await this.#connection.close()
  }

  #change(what: string, change: Change): Promise<number | undefined> {
    checkKey(change.key)
    return this.#connection.within(what, (attempt) =>
      this.#byKey.run(change.key, () => this.#changes.make(attempt, change)),
    )
  }

  async #record(attempt: Attempt, key: string): Promise<KeyRecord | undefined> {
    const found = await this.#connection.read(attempt, (client) => client.get(this.#layout.pathOf(key)))
    return found && recordOf(found)
  }

  async #lives({ node, incarnation }: Claimant, attempt: Attempt): Promise<boolean> {
    const record = await this.#record(attempt, sessionKey(node))
    return (record?.value as Claimant | undefined)?.incarnation === incarnation
  }

  #sessionOf(name: Claimant, within: string): Session {
    const session = new ZooKeeperSession({
      ...{ name, within, connection: this.#connection, clock: this.#platform.clock },
      watch: (prefix, onChange) => this.#watches.add(prefix, onChange),
      update: async (value) => {
        const shown = withIncarnation(value, name.incarnation)
        await this.#change(`change what the session of ${name.node} shows`, {
          key: sessionKey(name.node),
          ifLost: 'anew',
          decide: (now) => {
            if (now?.session !== within) throw sessionOver(name)
            return { kind: 'put', value: shown }
          },
        })
      },
      remove: () => this.#endSession(name, within),
      onOver: () => this.#sessions.delete(session),
    })
    this.#sessions.add(session)
    return session
  }

  async #endSession({ node, incarnation }: Claimant, within?: string): Promise<void> {
    await this.#change(`end the session of ${node}`, {
      key: sessionKey(node),
      ifLost: 'anew',
      decide: (now) => {
        const isMeant = (now?.value as Claimant | undefined)?.incarnation === incarnation
        return isMeant && (within === undefined || now?.session === within) ? { kind: 'remove' } : undefined
      },
    })
  }
}

function compare(verb: string, key: string, expected: number | undefined, now: KeyRecord | undefined): void {
  const version = now?.version ?? 0
  if (expected !== undefined && expected !== version) throw otherVersion(verb, key, expected, version)
}

const versionedOf = (key: string, { version, value }: KeyRecord): Versioned => ({ key, value, version })
