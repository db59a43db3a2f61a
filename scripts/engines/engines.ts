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
  /** Ports follow this one. */
  readonly basePort?: number
  /** Cassandra's clients prove who they are: user and password are `cassandra` at first. */
  readonly password?: boolean
}

/** So that a cluster of its own comes up in seconds: nobody is to be waited for whom gossip doesn't know yet, and who missed a table asks at once. */
const fromNothing = [
  ...['-Dcassandra.skip_wait_for_gossip_to_settle=0', '-Dcassandra.ring_delay_ms=1000'],
  '-Dcassandra.migration_delay_ms=500',
]

export class Engines {
  readonly zooKeepers: readonly JavaServer[]
  readonly cassandras: readonly JavaServer[]
  readonly zooKeeperAddresses: readonly string[]
  readonly cassandraAddresses: readonly string[]
  readonly cassandraPort: number
  readonly #jmxPort: number
  readonly #places: readonly EnginePlace[]

  constructor({ dir, places = [], basePort = 21810, password = false, ...options }: EnginesOptions) {
    const { zooKeepers = places.length || 3, cassandras = places.length || 3 } = options
    this.#places = places
    const members = Array.from({ length: zooKeepers }, (_, i): ZooKeeperMember => {
      const [clientPort, quorumPort, electionPort] = [basePort + i, basePort + 10 + i, basePort + 20 + i]
      return { host: places.at(i)?.address ?? '127.0.0.1', clientPort, quorumPort, electionPort }
    })
    this.zooKeeperAddresses = members.map(({ host, clientPort }) => `${host}:${clientPort}`)
    this.zooKeepers = members.map((_, index) =>
      zooKeeperServer({ dir: join(dir, `zookeeper-${index + 1}`), members, index, ...this.#within(index) }),
    )
    this.cassandraAddresses = Array.from(
      { length: cassandras },
      (_, i) => places.at(i)?.address ?? `127.0.0.${i + 1}`,
    )
    this.cassandraPort = basePort + 30
    this.#jmxPort = basePort + 40
    this.cassandras = this.cassandraAddresses.map((address, i) =>
      cassandraServer({
        dir: join(dir, `cassandra-${i + 1}`),
        ...{ cluster: 'ndfs', address, seeds: this.cassandraAddresses, datacenter: 'dc1', rack: `b${i + 1}` },
        ...{ port: this.cassandraPort, storagePort: basePort + 31, jmxPort: this.#jmxPort + i, password },
        joins: false,
        properties: fromNothing,
        ...this.#within(i),
      }),
    )
  }

  #within(index: number): Partial<Pick<EnginePlace, 'within'>> {
    const place = this.#places.at(index)
    return place === undefined ? {} : { within: place.within }
  }

  /** Resolves when all serve and know of one another. */
  async start(): Promise<void> {
    for (const server of [...this.zooKeepers, ...this.cassandras]) server.begin()
    for (const server of this.zooKeepers) await server.serving(30)
    for (const server of this.cassandras) await server.serving(120)
    for (let tries = 1; !this.#areTogether(); tries++) {
      if (tries > 30)
        throw new Error(`The Cassandras don't find one another:\n${this.cassandras[0].lastLines()}`)
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  }

  /** `nodetool` at one of the Cassandras, from 0. */
  nodetool(index: number, ...args: string[]): string {
    return nodetool({ jmxPort: this.#jmxPort + index, ...this.#within(index) }, ...args)
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
