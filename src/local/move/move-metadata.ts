/**
 * All that a store's file holds, put into engines: Medusa into Cassandra, Zeus into ZooKeeper (docs/decisions/0020).
 *
 *   ZooKeeper holds          means                                        nodes
 *   neither key              nothing of ours, or nothing at all           refuse these engines
 *   `moving`                 some of it may be here, in any order         refuse these engines
 *   `moving` and `cluster`   all of it is here, and was read back         serve; who gave the command may not know it yet
 *   `cluster`                the same                                     serve
 *
 *  1. What is not empty, and was not begun by a move of the same cluster, is left as it is.
 *  2. The engines are made to be what the store's file is, whatever of it they hold: a partition or a key that is as it should be stays, what is
 *     more than that goes. So a move that was interrupted is given again, also when the store has been changed since.
 *  3. Epoch, version and last change of a partition stay what they are, as rows name them. Versions of Zeus's keys, which nothing that lasts
 *     names, begin above all that were given; epochs of owners stay or grow; counters go on.
 *  4. `cluster` is written last of all, when everything was read back and compared, and after `beforeItCounts`.
 *
 * No node runs meanwhile; one whose session is seen here stops the move.
 */
import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { atOnce } from '../../base/at-once.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { Epoch, VDiskId } from '../../base/ids.ts'
import type { CassandraCopy } from '../../medusa/cassandra-copy.ts'
import type { Row, Static, Table } from '../../medusa/medusa.ts'
import { type Engines, type EnginesPlaces, openEngines } from '../../open-stores.ts'
import type { Clock, Platform } from '../../platform/platform.ts'
import { clusterKey, type ClusterValue, type Owner, type Versioned } from '../../zeus/zeus.ts'
import type { Output } from '../local.ts'
import { whenAborted } from '../when-aborted.ts'
import type { StoredMetadata, StoredPartition } from './stored-metadata.ts'

export interface MovedMetadata {
  readonly partitions: number
  readonly rows: number
  readonly bytes: number
  /** Of Zeus. */
  readonly keys: number
}

/** `moving`: whose metadata is on its way to these engines. */
interface MovingValue {
  readonly cluster: ClusterValue
  readonly keyspace: string
  /** `looking`: whether they are empty isn't known yet, and nothing was written. `whole`: all was read back; it may not count yet. */
  readonly state: 'looking' | 'copying' | 'whole'
}

const movingKey = 'moving'
const ownerPrefix = 'owner/'
const tables: readonly Table[] = ['vdisk', 'map', 'group', 'groups-of', 'inode', 'directory', 'lock']
/** Servers of Cassandra on small machines are busy with so many changes. */
const partitionsAtOnce = 32
const keysAtOnce = 32
const rowsReadAtOnce = 256
/** An engine that can't be reached may be one that is started again. */
const patienceMs = 60_000
const pauseMs = 1000
const sayEveryMs = 5000

/** Opens the engines for a move, and makes sure that they are ours. `close` it in any case. */
export async function openPlace(
  places: EnginesPlaces,
  cluster: ClusterValue,
  platform: Platform,
  output: Output,
): Promise<Place> {
  const progress = new Progress(output, platform.clock)
  const waiting = (reason: string): void => progress.say(`Waiting for Cassandra. ${firstLine(reason)}`)
  const engines = await openEngines(places, platform, waiting)
  const place = new Place(engines, places, cluster, platform.clock, progress)
  try {
    await place.take()
    return place
  } catch (error) {
    await place.close()
    throw error
  }
}

/**
 * A new cluster on engines, which must be empty: with nothing in them they serve when it resolves. It waits for engines that can't be reached
 * until `stopped` is aborted, and rejects then at once: nothing counts on them yet.
 */
export async function makeOnEngines(
  places: EnginesPlaces,
  cluster: string,
  platform: Platform,
  output: Output,
  stopped: AbortSignal,
): Promise<void> {
  const made = { id: cluster, createdAt: Math.round(platform.clock.wallTime()) }
  const { zookeeper, cassandra } = places
  output.line(
    `The metadata is to be on ZooKeeper at ${zookeeper.servers.join(', ')} and Cassandra at ${cassandra.contactPoints.join(', ')}.`,
  )
  const opening = openPlace(places, made, platform, output)
  await Promise.race([opening, stoppedWaiting(stopped)]).catch((error: unknown) => {
    // An attempt that is under way ends by itself, or with the process.
    void opening.then((place) => place.close()).catch(() => undefined)
    throw error
  })
  const place = await opening
  await place.makeItCount().finally(() => place.close())
}

async function stoppedWaiting(stopped: AbortSignal): Promise<never> {
  await whenAborted(stopped)
  throw new NdfsError(
    'UNAVAILABLE',
    'Cannot make the cluster: stopped while ZooKeeper and Cassandra were waited for. Nothing was made; start it again.',
  )
}

/** Of a move whose `beforeItCounts` has run: the engines serve when it resolves. */
export async function endMove(places: EnginesPlaces, cluster: string, platform: Platform): Promise<void> {
  const { zeus, medusa } = await openEngines(places, platform)
  try {
    const holder = (await zeus.get(clusterKey))?.value as ClusterValue | undefined
    const moving = (await zeus.get(movingKey))?.value as MovingValue | undefined
    const isOurs = moving?.state === 'whole' && moving.cluster.id === cluster
    if (holder?.id !== cluster && !isOurs)
      throw new NdfsError(
        'DAMAGED_METADATA',
        `Cannot end the move: ${places.zookeeper.chroot} holds nothing of cluster ${cluster}, and its metadata was moved there. Make it anew with \`ndfs rebuild-metadata\`.`,
        { cluster },
      )
    if (holder === undefined) await zeus.set(clusterKey, moving?.cluster, 0)
    await zeus.delete(movingKey)
  } finally {
    await zeus.close()
    await medusa.close()
  }
}

export class Place {
  readonly #engines: Engines
  readonly #copy: CassandraCopy
  readonly #places: EnginesPlaces
  readonly #cluster: ClusterValue
  readonly #clock: Clock
  readonly #progress: Progress

  constructor(
    engines: Engines,
    places: EnginesPlaces,
    cluster: ClusterValue,
    clock: Clock,
    progress: Progress,
  ) {
    this.#engines = engines
    this.#copy = engines.medusa.copy
    this.#places = places
    this.#cluster = cluster
    this.#clock = clock
    this.#progress = progress
  }

  async take(): Promise<void> {
    const { zeus } = this.#engines
    const holder = (await this.#patiently(() => zeus.get(clusterKey)))?.value as ClusterValue | undefined
    if (holder !== undefined) throw this.#refused(`they serve cluster ${holder.id}, all of it`)
    const begun = (await this.#patiently(() => zeus.get(movingKey)))?.value as MovingValue | undefined
    const { keyspace } = this.#places.cassandra
    if (begun !== undefined && (begun.cluster.id !== this.#cluster.id || begun.keyspace !== keyspace))
      throw this.#refused(
        `a move of cluster ${begun.cluster.id} to keyspace ${begun.keyspace} was begun there`,
      )
    if (begun === undefined) await this.#note('looking')
    if (begun === undefined || begun.state === 'looking') await this.#refuseUnlessEmpty()
    await this.#refuseSessions()
    await this.#note('copying')
  }

  /** Resolves when all of it is here, compared, and counts; `beforeItCounts` runs when it is here and compared. */
  async fill(from: StoredMetadata, beforeItCounts: () => Promise<void>): Promise<MovedMetadata> {
    const { zeus } = this.#engines
    await this.#copyPartitions(from)
    await this.#removeOthers(from)
    await this.#patiently(() => zeus.raise(from.numbersGiven()))
    await this.#copyKeys(from)
    const moved = await this.#compare(from)
    await this.#note('whole')
    await beforeItCounts()
    await this.makeItCount()
    return moved
  }

  /** The last step: nodes serve from these engines from now on. */
  async makeItCount(): Promise<void> {
    const { zeus } = this.#engines
    await this.#patiently(() => zeus.set(clusterKey, this.#cluster))
    await this.#patiently(() => zeus.delete(movingKey))
  }

  async close(): Promise<void> {
    await this.#engines.zeus.close()
    await this.#engines.medusa.close()
  }

  async #note(state: MovingValue['state']): Promise<void> {
    const { keyspace } = this.#places.cassandra
    const value: MovingValue = { cluster: this.#cluster, keyspace, state }
    await this.#patiently(() => this.#engines.zeus.set(movingKey, value))
  }

  // ---- Medusa ----

  async #copyPartitions(from: StoredMetadata): Promise<void> {
    const all = from.partitionCount
    let [done, written] = [0, 0]
    for (const some of from.partitions())
      await atOnce(some, partitionsAtOnce, async (partition) => {
        const rows = (): Iterable<Row> => from.rows(partition)
        const put = () => this.#copy.put(partition.name, partition.static, rows)
        if ((await this.#patiently(put)) === 'written') written++
        done++
        this.#progress.say(`Copied ${done} of ${all} partitions.`)
      })
    this.#progress.line(`Copied ${all} partitions; ${all - written} of them were there.`)
  }

  /** What an earlier attempt has brought here, and is no more. */
  async #removeOthers(from: StoredMetadata): Promise<void> {
    for (const table of tables)
      await this.#patiently(async () => {
        for await (const keys of this.#copy.keysOf(table)) {
          const others = keys.filter((key) => !from.has({ table, key }))
          await atOnce(others, partitionsAtOnce, (key) => this.#copy.remove({ table, key }))
        }
      })
  }

  /** @throws {NdfsError} DAMAGED_METADATA: something is not as it was written. */
  async #compare(from: StoredMetadata): Promise<MovedMetadata> {
    const all = from.partitionCount
    let [partitions, rows, bytes] = [0, 0, 0]
    for (const some of from.partitions())
      await atOnce(some, partitionsAtOnce, async (partition) => {
        const wanted = new Digest(partition.static)
        for (const row of from.rows(partition)) wanted.add(row)
        const found = await this.#patiently(() => this.#digestOf(partition))
        if (wanted.rows !== found.rows || wanted.end() !== found.end()) throw differs(partition)
        partitions++
        rows += wanted.rows
        bytes += wanted.bytes
        this.#progress.say(`Read back ${partitions} of ${all} partitions.`)
      })
    let there = 0
    for (const table of tables)
      there += await this.#patiently(async () => {
        let count = 0
        for await (const keys of this.#copy.keysOf(table)) count += keys.length
        return count
      })
    if (there !== partitions)
      throw new NdfsError(
        'DAMAGED_METADATA',
        `Cannot end the move: Cassandra has ${there} partitions, and should have ${partitions}`,
      )
    const keys = await this.#compareKeys(from)
    await this.#refuseSessions()
    this.#progress.line(
      `Read back ${partitions} partitions with ${rows} rows (${bytes} bytes), and ${keys} keys: all are the same.`,
    )
    return { partitions, rows, bytes, keys }
  }

  async #digestOf({ name }: StoredPartition): Promise<Digest> {
    const { medusa } = this.#engines
    let digest: Digest | undefined
    for (let after = ''; ;) {
      const { static: now, rows } = await medusa.scan(name, { after, limit: rowsReadAtOnce })
      digest ??= new Digest(now)
      for (const row of rows) digest.add(row)
      if (rows.length < rowsReadAtOnce) return digest
      after = rows[rows.length - 1].key
    }
  }

  // ---- Zeus ----

  async #copyKeys(from: StoredMetadata): Promise<void> {
    const { zeus } = this.#engines
    const wanted = from.keys().filter(({ key }) => key !== clusterKey)
    const names = new Set(wanted.map(({ key }) => key))
    const there = new Map((await this.#patiently(() => zeus.list(''))).map((found) => [found.key, found]))
    const others = [...there.keys()].filter((key) => !names.has(key) && key !== movingKey)
    await atOnce(others, keysAtOnce, (key) => this.#patiently(() => zeus.delete(key)))
    await atOnce(wanted, keysAtOnce, async (key) => {
      const found = there.get(key.key)
      if (found !== undefined && isAsWanted(key, found, from.epochFloor)) return
      if (found !== undefined) await this.#patiently(() => zeus.delete(key.key))
      await this.#patiently(() => this.#putKey(key, from.epochFloor))
    })
    this.#progress.line(`Copied ${wanted.length} keys.`)
  }

  async #putKey({ key, value }: Versioned, epochFloor: number): Promise<void> {
    const { zeus } = this.#engines
    if (!key.startsWith(ownerPrefix)) return void (await zeus.set(key, value))
    const vdisk = Number(key.slice(ownerPrefix.length)) as VDiskId
    const { node, incarnation, epoch, released, next } = value as Owner
    // Whoever owned it is gone: this only says which epoch was given last.
    const least = Math.max(epoch, epochFloor) as Epoch
    const owner = await zeus.claim(vdisk, { node, incarnation }, 'no-service', least)
    if (released === true) await zeus.release(vdisk, owner.epoch, next)
  }

  async #compareKeys(from: StoredMetadata): Promise<number> {
    const wanted = from.keys().filter(({ key }) => key !== clusterKey)
    const all = await this.#patiently(() => this.#engines.zeus.list(''))
    const there = new Map(all.map((found) => [found.key, found]))
    for (const key of wanted) {
      const found = there.get(key.key)
      if (found === undefined || !isAsWanted(key, found, from.epochFloor))
        throw new NdfsError('DAMAGED_METADATA', `Cannot end the move: ${key.key} is not as it was written`, {
          key: key.key,
        })
    }
    if (there.size !== wanted.length + 1)
      throw new NdfsError(
        'DAMAGED_METADATA',
        `Cannot end the move: ZooKeeper has ${there.size - 1} keys, and should have ${wanted.length}`,
      )
    return wanted.length
  }

  // ---- whose the engines are ----

  async #refuseUnlessEmpty(): Promise<void> {
    const { zeus } = this.#engines
    const why = await this.#notEmpty()
    if (why === undefined) return
    await this.#patiently(() => zeus.delete(movingKey))
    throw this.#refused(why)
  }

  async #notEmpty(): Promise<string | undefined> {
    const keys = (await this.#patiently(() => this.#engines.zeus.list(''))).filter(
      ({ key }) => key !== movingKey,
    )
    if (keys.length > 0) return `${this.#places.zookeeper.chroot} is not empty (${keys[0].key})`
    for (const table of tables) {
      const found = await this.#patiently(async () => {
        for await (const some of this.#copy.keysOf(table)) if (some.length > 0) return some[0]
        return undefined
      })
      if (found !== undefined)
        return `keyspace ${this.#places.cassandra.keyspace} is not empty (${table} ${found})`
    }
    return undefined
  }

  async #refuseSessions(): Promise<void> {
    const [session] = await this.#patiently(() => this.#engines.zeus.list('session/'))
    if ((session as Versioned | undefined) !== undefined)
      throw new NdfsError(
        'IN_USE',
        `Cannot move metadata to these engines: a node runs on them (${session.key}). End it first.`,
      )
  }

  #refused(why: string): NdfsError {
    const { zookeeper, cassandra } = this.#places
    return new NdfsError(
      'REFUSED',
      `Cannot move metadata to these engines: ${why}. Name another chroot than ${zookeeper.chroot} and another keyspace than ${cassandra.keyspace}, ` +
        'under which nothing ever was.',
    )
  }

  // ---- patience ----

  /** What `work` does may be done twice. */
  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    const since = this.#clock.now()
    for (;;)
      try {
        return await work()
      } catch (error) {
        const mayPass = hasCode(error, 'TIMED_OUT', 'PEER_UNREACHABLE', 'UNAVAILABLE')
        if (!mayPass || this.#clock.now() - since > patienceMs) throw error
        this.#progress.say(`Trying again. ${firstLine(error.message)}`)
        await this.#clock.sleep(pauseMs)
      }
  }
}

/** What is said while work goes on: each few seconds a line of how far it is. */
class Progress {
  readonly #output: Output
  readonly #clock: Clock
  #saidAt = -Infinity

  constructor(output: Output, clock: Clock) {
    this.#output = output
    this.#clock = clock
  }

  line(text: string): void {
    this.#output.line(text)
  }

  say(text: string): void {
    const now = this.#clock.now()
    if (now - this.#saidAt < sayEveryMs) return
    this.#saidAt = now
    this.#output.line(text)
  }
}

/** Reasons of libraries have stacks behind them. */
const firstLine = (text: string): string => text.split('\n')[0]

/** A key as it should be: above the version that it had, and of an owner not below its epoch. */
function isAsWanted(wanted: Versioned, found: Versioned, epochFloor: number): boolean {
  if (found.version <= wanted.version) return false
  if (!wanted.key.startsWith(ownerPrefix)) return isDeepStrictEqual(found.value, wanted.value)
  const [owner, there] = [wanted.value as Owner, found.value as Owner]
  if (there.epoch < Math.max(owner.epoch, epochFloor)) return false
  return isDeepStrictEqual(there, { ...owner, epoch: there.epoch })
}

/** Of all that a partition holds. */
class Digest {
  readonly #hash = createHash('sha256')
  rows = 0
  bytes = 0

  constructor({ epoch, version, changeId }: Static) {
    this.#hash.update(`${epoch} ${version} ${changeId}`)
  }

  add({ key, value }: Row): void {
    this.#hash.update(`\n${Buffer.byteLength(key)} ${value.length} ${key}`).update(value)
    this.rows++
    this.bytes += key.length + value.length
  }

  end(): string {
    return this.#hash.digest('hex')
  }
}

const differs = ({ name: { table, key } }: StoredPartition): NdfsError =>
  new NdfsError(
    'DAMAGED_METADATA',
    `Cannot end the move: ${table} ${key} reads otherwise than it was written`,
    { table, key },
  )
