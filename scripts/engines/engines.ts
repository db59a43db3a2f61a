/**
 * Three ZooKeepers on ports of loopback, and three Cassandras, each on an address of its own there and in a rack of its own; or one of each at places that
 * are named. They come up together in some fifteen seconds, and take a GiB of memory for each Cassandra.
 */
import { join } from 'node:path'
import { cassandraServer, nodetool } from './cassandra.ts'
import type { JavaServer } from './java-server.ts'
import { zooKeeperServer, type ZooKeeperMember } from './zookeeper.ts'

/** A host, or what stands for one. */
export interface EnginePlace {
  readonly address: string
  /** In front of a command that is to run there: `ip netns exec NAME`. */
  readonly within: readonly string[]
}

export interface EnginesOptions {
  readonly dir: string
  /** In place of loopback: the first is that of the first ZooKeeper and of the first Cassandra, and so on. */
  readonly places?: readonly EnginePlace[]
  /** How many of each; 0: none. */
  readonly zooKeepers?: number
  readonly cassandras?: number
  /** Racks that the Cassandras stand in by turns; each in its own where not said. */
  readonly racks?: number
  /** One more joins later: the first servers don't forget it while it starts. */
  readonly grows?: boolean
  /** Ports follow this one; below 32768, where the system takes those of clients from. */
  readonly basePort?: number
  /** Cassandra's clients prove who they are: user and password are `cassandra` at first. */
  readonly password?: boolean
}

/** So that a cluster of its own comes up in seconds: nobody is to be waited for whom gossip doesn't know yet, and who missed a table asks at once. */
const fromNothing = ['-Dcassandra.skip_wait_for_gossip_to_settle=0', '-Dcassandra.migration_delay_ms=500']
/** For so long servers hear of one another, and of who joins before that takes rows over: 30 s where nobody waits for it. */
const ringDelay = (ms: number): string => `-Dcassandra.ring_delay_ms=${ms}`
const [ringDelayMs, ringDelayToJoinMs] = [1000, 5000]
/** A server that isn't among the seeds begins when they are there. */
const seedsMax = 3

export class Engines {
  readonly zooKeepers: readonly JavaServer[]
  readonly zooKeeperAddresses: readonly string[]
  readonly cassandraPort: number
  readonly #cassandras: JavaServer[]
  readonly #cassandraAddresses: string[]
  readonly #options: EnginesOptions
  readonly #basePort: number
  readonly #places: readonly EnginePlace[]

  constructor(options: EnginesOptions) {
    const { dir, places = [], basePort = 21810 } = options
    const { zooKeepers = places.length || 3, cassandras = places.length || 3 } = options
    this.#options = options
    this.#basePort = basePort
    this.#places = places
    const members = Array.from({ length: zooKeepers }, (_, i): ZooKeeperMember => {
      const [clientPort, quorumPort, electionPort] = [basePort + i, basePort + 10 + i, basePort + 20 + i]
      return { host: places.at(i)?.address ?? '127.0.0.1', clientPort, quorumPort, electionPort }
    })
    this.zooKeeperAddresses = members.map(({ host, clientPort }) => `${host}:${clientPort}`)
    this.zooKeepers = members.map((_, index) =>
      zooKeeperServer({ dir: join(dir, `zookeeper-${index + 1}`), members, index, ...this.#within(index) }),
    )
    this.cassandraPort = basePort + 30
    this.#cassandraAddresses = Array.from({ length: cassandras }, (_, i) => this.#addressOf(i))
    this.#cassandras = this.#cassandraAddresses.map((_, i) => this.#cassandra(i, false))
  }

  get cassandras(): readonly JavaServer[] {
    return this.#cassandras
  }

  get cassandraAddresses(): readonly string[] {
    return this.#cassandraAddresses
  }

  #addressOf(index: number): string {
    return this.#places.at(index)?.address ?? `127.0.0.${index + 1}`
  }

  #cassandra(index: number, joins: boolean): JavaServer {
    const { dir, racks = Infinity, grows = false, password = false } = this.#options
    const delay = ringDelay(grows ? ringDelayToJoinMs : ringDelayMs)
    return cassandraServer({
      dir: join(dir, `cassandra-${index + 1}`),
      ...{ cluster: 'ndfs', address: this.#addressOf(index), datacenter: 'dc1' },
      ...{ rack: `b${(index % racks) + 1}`, seeds: this.#cassandraAddresses.slice(0, seedsMax) },
      ...{ port: this.cassandraPort, storagePort: this.#basePort + 31, jmxPort: this.#jmxPortOf(index) },
      ...{ password, joins, properties: joins ? [delay] : [...fromNothing, delay] },
      ...this.#within(index),
    })
  }

  #jmxPortOf(index: number): number {
    return this.#basePort + 40 + index
  }

  #within(index: number): Partial<Pick<EnginePlace, 'within'>> {
    const place = this.#places.at(index)
    return place === undefined ? {} : { within: place.within }
  }

  /** Resolves when all serve and know of one another. */
  async start(): Promise<void> {
    const [seeds, others] = [this.#cassandras.slice(0, seedsMax), this.#cassandras.slice(seedsMax)]
    for (const server of [...this.zooKeepers, ...seeds]) server.begin()
    for (const server of this.zooKeepers) await server.serving(30)
    for (const server of seeds) await server.serving(120)
    for (const server of others) server.begin()
    for (const server of others) await server.serving(120)
    for (let tries = 1; !this.#areTogether(); tries++) {
      if (tries > 30)
        throw new Error(`The Cassandras don't find one another:\n${this.cassandras[0].lastLines()}`)
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }

  /** One Cassandra more, at the place behind those that there are: resolves when it has taken its share of the rows over, and serves. */
  async join(seconds: number): Promise<void> {
    const server = this.#cassandra(this.#cassandras.length, true)
    this.#cassandraAddresses.push(this.#addressOf(this.#cassandras.length))
    this.#cassandras.push(server)
    server.begin()
    await server.serving(seconds)
  }

  /** `nodetool` at one of the Cassandras, from 0. */
  nodetool(index: number, ...args: string[]): string {
    return nodetool({ jmxPort: this.#jmxPortOf(index), ...this.#within(index) }, ...args)
  }

  #areTogether(): boolean {
    return this.cassandras.every((_, i) => {
      const up = this.nodetool(i, 'status').match(/^UN /gm) ?? []
      return up.length === this.cassandras.length
    })
  }

  async end(): Promise<void> {
    await Promise.all([...this.cassandras, ...this.zooKeepers].map((server) => server.end()))
  }
}
