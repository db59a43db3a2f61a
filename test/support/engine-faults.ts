/**
 * What happens to hosts of which each has a node, a Cassandra and a ZooKeeper, drawn from a seed: one engine is killed or frozen, or one host with
 * all that is on it is killed or cut off, or a node alone as `NodeFaults` has it. One at a time: each is over when both engines serve everywhere again.
 *
 * The first fault is one of Cassandra, the second one of ZooKeeper, the third one of a host.
 */
import type { Engines } from '../../scripts/engines/engines.ts'
import type { JavaServer } from '../../scripts/engines/java-server.ts'
import { zooKeeperMode } from '../../scripts/engines/zookeeper.ts'
import { SeededChance } from '../../sim/seeded-chance.ts'
import type { Cluster } from './cluster.ts'
import type { Namespaces } from './namespaces.ts'
import { faultLastsMs, NodeFaults, ownerOr, ownersShare, type Faults } from './node-faults.ts'
import { takesAllForUp } from './one-cassandra.ts'
import { sleep, until } from './run.ts'

const ofCassandra = ['Cassandra killed', 'Cassandra frozen'] as const
const ofZooKeeper = ['ZooKeeper killed', 'ZooKeeper frozen'] as const
const ofHosts = ['host killed', 'host cut off'] as const
const ofAll = [...ofCassandra, ...ofZooKeeper, ...ofHosts, ...ofHosts] as const
type Kind = (typeof ofAll)[number]

const nodesShare = 0.2
/** Of those of ZooKeeper alone: its leader is one of three otherwise. */
const leadersShare = 0.4
const wellSeconds = 120

export class EngineFaults implements Faults {
  readonly #cluster: Cluster
  readonly #engines: Engines
  readonly #namespaces: Namespaces
  readonly #chance: SeededChance
  readonly #nodes: NodeFaults
  readonly #counts = new Map<string, number>()
  readonly #first: Kind[]

  /** The first node's namespace holds the first of the engines, and so on. */
  constructor(cluster: Cluster, engines: Engines, namespaces: Namespaces, seed: number) {
    this.#cluster = cluster
    this.#engines = engines
    this.#namespaces = namespaces
    this.#chance = new SeededChance(seed, 'engine faults')
    this.#nodes = new NodeFaults(cluster, seed, namespaces, { killed: 3, frozen: 3, restarted: 2 })
    this.#first = [this.#oneOf(ofCassandra), this.#oneOf(ofZooKeeper), this.#oneOf(ofHosts)]
  }

  get counts(): ReadonlyMap<string, number> {
    const nodes = [...this.#nodes.counts].map(([kind, count]) => [`node ${kind}`, count] as const)
    return new Map([...this.#counts, ...nodes])
  }

  async one(vdisks: readonly string[], say: (what: string) => void): Promise<void> {
    if (this.#first.length === 0 && this.#chance.happens(nodesShare)) await this.#nodes.one(vdisks, say)
    else await this.#ofEngines(this.#first.shift() ?? this.#oneOf(ofAll), vdisks, say)
    await this.#well()
  }

  async #ofEngines(kind: Kind, vdisks: readonly string[], say: (what: string) => void): Promise<void> {
    const { nodes } = this.#namespaces
    const drawn = this.#oneOf(nodes)
    const leader = await this.#leader()
    const owner = await ownerOr(drawn, this.#cluster, this.#oneOf(vdisks))
    const [share, wanted] = kind.startsWith('host')
      ? [ownersShare, owner]
      : kind.startsWith('ZooKeeper')
        ? [leadersShare, leader ?? drawn]
        : [0, drawn]
    const node = this.#chance.happens(share) ? wanted : drawn
    const ms = Math.round(this.#chance.between(...faultLastsMs))
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1)
    const leading = node === leader ? " with ZooKeeper's leader" : ''
    say(`${node}${leading}: ${kind} for ${(ms / 1000).toFixed(1)} s`)
    await this.#do(kind, nodes.indexOf(node), ms)
  }

  #oneOf<T>(all: readonly T[]): T {
    return all[this.#chance.below(all.length)]
  }

  #do(kind: Kind, index: number, ms: number): Promise<void> {
    const [cassandra, zooKeeper] = [this.#engines.cassandras[index], this.#engines.zooKeepers[index]]
    switch (kind) {
      case 'Cassandra killed':
        return killed(cassandra, ms)
      case 'Cassandra frozen':
        return frozen(cassandra, ms)
      case 'ZooKeeper killed':
        return killed(zooKeeper, ms)
      case 'ZooKeeper frozen':
        return frozen(zooKeeper, ms)
      case 'host killed':
        return this.#hostKilled(index, ms)
      case 'host cut off':
        return this.#hostCutOff(this.#namespaces.nodes[index], ms)
      default:
        return kind satisfies never
    }
  }

  async #hostKilled(index: number, ms: number): Promise<void> {
    const node = this.#namespaces.nodes[index]
    const engines = [this.#engines.cassandras[index], this.#engines.zooKeepers[index]]
    await Promise.all([this.#cluster.kill(node), ...engines.map((engine) => engine.kill())])
    await sleep(ms)
    for (const engine of engines) engine.begin()
    await this.#cluster.startNode(node)
  }

  async #hostCutOff(node: string, ms: number): Promise<void> {
    this.#namespaces.cut(node)
    await sleep(ms)
    this.#namespaces.mend(node)
  }

  /** The node beside it. */
  async #leader(): Promise<string | undefined> {
    const modes = await Promise.all(this.#engines.zooKeeperAddresses.map(zooKeeperMode))
    return this.#namespaces.nodes.find((_, index) => modes[index] === 'leader')
  }

  /** Resolves when every ZooKeeper serves, and every Cassandra knows that all of them are up. */
  async #well(): Promise<void> {
    const { zooKeeperAddresses, cassandraAddresses, cassandraPort } = this.#engines
    const zooKeepersServe = async (): Promise<boolean> =>
      (await Promise.all(zooKeeperAddresses.map(zooKeeperMode))).every((mode) => mode !== undefined)
    await until('all ZooKeepers serve', zooKeepersServe, wellSeconds, 200)
    for (const address of cassandraAddresses)
      await until(
        `the Cassandra at ${address} takes all for up`,
        () => takesAllForUp({ address, port: cassandraPort }),
        wellSeconds,
        500,
      )
  }
}

async function killed(server: JavaServer, ms: number): Promise<void> {
  await server.kill()
  await sleep(ms)
  server.begin()
}

async function frozen(server: JavaServer, ms: number): Promise<void> {
  server.signal('SIGSTOP')
  await sleep(ms)
  server.signal('SIGCONT')
}
