/**
 * A whole cluster in the simulated world: the store (Zeus and Medusa), and nodes with a flash and an hdd disk each, as
 * `ndfs up` would join them, but with every process on a machine of its own, so that each way between two can be cut.
 *
 *  1. The nodes run `startNode` as it is; only platform and sizes are the simulator's.
 *  2. The store's database outlives the store's process, as its file would.
 *  3. A node that ends by itself, for whatever reason, is started again after a while: what a supervisor does.
 *
 * Sizes are small on purpose: logs fill, segments are used again, groups are packed, freed and compacted within minutes.
 */
import type { NodeId } from '../src/base/ids.ts'
import { MiB } from '../src/base/units.ts'
import { formatDisk } from '../src/disk/folder-disk.ts'
import { superblockName } from '../src/disk/superblock.ts'
import { openStoreDatabase } from '../src/local/store/store-database.ts'
import { ImmediateStoreEngine } from '../src/local/store/store-engine.ts'
import { storeNode } from '../src/local/store/store-process.ts'
import { StoreServer } from '../src/local/store/store-server.ts'
import { type Node, type NodePace, startNode } from '../src/node.ts'
import type { Incarnation } from '../src/base/ids.ts'
import { PeerNetwork } from '../src/peer/peer-network.ts'
import type { Platform } from '../src/platform/platform.ts'
import { DelayingStoreEngine, type DelayStoreRequest } from './delaying-store-engine.ts'
import { type Closable, type Running, World } from './world.ts'

export interface ClusterOptions {
  readonly seed: number
  readonly nodes: number
  readonly trace?: (line: string) => void
  readonly oplogSegmentBytes: number
  readonly cacheBytes: number
  /** When background work is done; left out, as in a real cluster. */
  readonly pace?: NodePace
  /** Left out, as large as `capacityOfDisk` says. */
  readonly capacityBytes?: Partial<Record<Tier, number>>
  /** Left out: each node is a block of its own. */
  readonly blockOf?: (node: NodeId) => string
  /** Each node listens for NFS, on `nfsPort`. */
  readonly nfs?: boolean
}

const clusterId = '5113ba5eba11c0de'
const key = Buffer.alloc(32, 'simulated')
/** The store's machine, beside the nodes'. */
export const storeName = 'store'
/** Of each node, where they listen for NFS. */
export const nfsPort = 7004
const storeAddress = `${storeName}:7000` as const
/** How long guests' writes wait for copies. */
const writeWaitMaxMs = 10_000
const flashBytes = 96 * MiB
const hddBytes = 256 * MiB
/** What a supervisor waits before it starts a node that ended by itself. */
const restartAfterMs = 500
export const disksOfNode = ['flash', 'hdd'] as const
export type Tier = (typeof disksOfNode)[number]

const capacityOfDisk = (tier: Tier): number => (tier === 'flash' ? flashBytes : hddBytes)

export const pathOfDisk = (tier: Tier): string => `/disks/${tier}`

interface Machine {
  readonly name: NodeId
  running: Running<Node> | undefined
  /** It is meant to run: started again when it ends by itself. */
  wanted: boolean
  /** It will never come back. */
  lost: boolean
  /** Disks that are new, and have to be formatted before the node starts. */
  readonly blank: Set<Tier>
}

export class Cluster {
  readonly world: World
  readonly names: readonly NodeId[]
  /** Called when the store has done what a request of this kind asks, before anybody is answered. */
  onStoreDone: (kind: string) => void = () => undefined
  readonly database = openStoreDatabase(':memory:', clusterId)
  /** Sees each request that the store has done, and its answer. */
  onStoreRequest: (kind: string, body: Buffer, answer: Uint8Array) => void = () => undefined
  /** Sees each request before it takes effect; what it returns makes the request, or its answer, wait. */
  delayStoreRequest: DelayStoreRequest = () => undefined
  readonly #options: ClusterOptions
  readonly #machines = new Map<NodeId, Machine>()
  readonly #onEnded = new Set<(node: NodeId) => void>()
  #store: Running<Closable> | undefined

  /** Formatted disks, and everything running. */
  static async start(options: ClusterOptions): Promise<Cluster> {
    const cluster = new Cluster(options)
    await cluster.#format()
    cluster.startStore()
    for (const name of cluster.names) cluster.startNode(name)
    await cluster.world.run(() => cluster.serving().length === cluster.names.length)
    return cluster
  }

  private constructor(options: ClusterOptions) {
    this.#options = options
    const { seed, trace } = options
    this.world = new World({ seed, ...(trace === undefined ? {} : { trace }) })
    this.names = Array.from({ length: options.nodes }, (_, i) => `n${i + 1}` as NodeId)
    for (const name of this.names)
      this.#machines.set(name, { name, running: undefined, wanted: false, lost: false, blank: new Set() })
  }

  async #format(): Promise<void> {
    for (const name of this.names) {
      const platform = this.world.platform(name)
      await this.world.play(async () => {
        // Where the file systems are mounted: there before any of ours, and for good.
        await platform.files.makeDirectory('/disks')
        await platform.files.syncDirectory('/')
        for (const tier of disksOfNode) await formatNew(platform, name, tier, this.capacityOf(tier))
      })
      this.world.kill(name)
    }
  }

  /** The node, where it serves. */
  node(name: NodeId): Node | undefined {
    const { running } = this.#machine(name)
    return running?.alive === true ? running.value : undefined
  }

  /** Names of nodes that serve. */
  serving(): NodeId[] {
    return this.names.filter((name) => this.node(name) !== undefined)
  }

  /** Names of nodes whose process runs, serving or not. */
  running(): NodeId[] {
    return this.names.filter((name) => this.#machine(name).running?.alive === true)
  }

  /** Those that may ever serve again. */
  notLost(): NodeId[] {
    return this.names.filter((name) => !this.#machine(name).lost)
  }

  get storeRuns(): boolean {
    return this.#store?.alive === true
  }

  /** Calls back when the node's process ends. Call the result when that is no longer of interest. */
  onEnded(callback: (node: NodeId) => void): () => void {
    this.#onEnded.add(callback)
    return () => this.#onEnded.delete(callback)
  }

  capacityOf(tier: Tier): number {
    return this.#options.capacityBytes?.[tier] ?? capacityOfDisk(tier)
  }

  startNode(name: NodeId): void {
    const machine = this.#machine(name)
    if (machine.lost || machine.running?.alive === true) return
    machine.wanted = true
    const { oplogSegmentBytes, cacheBytes, pace, nfs } = this.#options
    const running = this.world.start(name, async (platform) => {
      for (const tier of machine.blank) {
        const names = await platform.files.list(pathOfDisk(tier))
        if (names?.includes(superblockName) !== true)
          await formatNew(platform, name, tier, this.capacityOf(tier))
      }
      const node = await startNode({
        platform,
        clusterId,
        key,
        node: name,
        block: this.#options.blockOf?.(name) ?? `block-${name}`,
        stores: { kind: 'store', address: storeAddress },
        listen: {
          http: `${name}:7001`,
          peer: `${name}:7002`,
          nbd: `${name}:7003`,
          nbdSocket: '/run/nbd.sock',
          ...(nfs === true ? { nfs: `${name}:${nfsPort}` as const } : {}),
        },
        disks: disksOfNode.map((tier) => ({ id: diskIdOf(name, tier), path: pathOfDisk(tier) })),
        cacheBytes,
        writeWaitMaxMs,
        // Its process ends, and nobody starts it again.
        onRemoved: () => void this.world.after(0, () => this.end(name, 'kill')),
        oplogSegmentBytes,
        ...(pace === undefined ? {} : { pace }),
      })
      // Not before: a format that was cut short may have to be done again.
      machine.blank.clear()
      return node
    })
    machine.running = running
    const watch = (): void => {
      if (machine.running !== running) return
      if (running.alive) this.world.after(restartAfterMs, watch)
      else if (machine.wanted) this.startNode(name)
    }
    this.world.after(restartAfterMs, watch)
  }

  /** `kill -9`, or a power cut; told to the peers, or silent. */
  end(name: NodeId, how: 'kill' | 'power cut' | 'silent power cut'): void {
    const machine = this.#machine(name)
    machine.wanted = false
    const ran = machine.running?.alive === true
    if (how === 'kill') this.world.kill(name)
    else this.world.crash(name, { silent: how === 'silent power cut' })
    if (ran) for (const callback of [...this.#onEnded]) callback(name)
  }

  /** Closes the node in order, and then ends its process. */
  async stop(name: NodeId): Promise<void> {
    const machine = this.#machine(name)
    const { running } = machine
    machine.wanted = false
    if (running?.alive !== true || running.value === undefined) return this.end(name, 'kill')
    // Its code runs only as its process does.
    await new Promise<void>((resolve) => this.inNode(name, resolve))
    await this.world.stop(name, running)
    for (const callback of [...this.#onEnded]) callback(name)
  }

  /** The machine and its disks are gone for good. */
  lose(name: NodeId): void {
    this.end(name, 'silent power cut')
    this.#machine(name).lost = true
  }

  /** A disk of a machine that is off is exchanged for an empty one, which gets the old one's name. */
  replaceDisk(name: NodeId, tier: Tier): void {
    this.world.disk(name).erase(pathOfDisk(tier))
    this.#machine(name).blank.add(tier)
  }

  startStore(): void {
    if (this.#store?.alive !== true)
      this.#store = this.world.start(storeName, (platform) => this.#runStore(platform))
  }

  killStore(): void {
    this.world.kill(storeName)
  }

  /** Runs a step of the node's code as an event of its process: never while it is frozen, nor after its end. */
  inNode(name: NodeId, step: () => void): void {
    if (this.#machine(name).running?.alive === true) this.world.platform(name).clock.after(0, step)
  }

  async #runStore(platform: Platform): Promise<Closable> {
    const incarnation = platform.chance.bytes(8).toString('hex') as Incarnation
    const peers = new PeerNetwork({ platform, node: storeNode, incarnation, clusterId, key })
    const engine = new DelayingStoreEngine(new ObservedStoreEngine(this), (kind, body) =>
      this.delayStoreRequest(kind, body),
    )
    const server = await StoreServer.start(peers, engine, platform)
    await peers.listen(storeAddress)
    return {
      close: async () => {
        server.close()
        await peers.close()
      },
    }
  }

  #machine(name: NodeId): Machine {
    return this.#machines.get(name)!
  }
}

class ObservedStoreEngine extends ImmediateStoreEngine {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    super(cluster.database)
    this.#cluster = cluster
  }

  override async run(kind: string, body: Buffer): Promise<Uint8Array> {
    const answer = await super.run(kind, body)
    this.#cluster.onStoreRequest(kind, body, answer)
    this.#cluster.onStoreDone(kind)
    return answer
  }
}

const formatNew = (platform: Platform, name: NodeId, tier: Tier, capacityBytes: number) =>
  formatDisk(platform, {
    path: pathOfDisk(tier),
    cluster: clusterId,
    disk: diskIdOf(name, tier),
    tier,
    capacityBytes,
  })

const diskIdOf = (node: NodeId, tier: string) =>
  `${node}-${tier}-0` as Parameters<typeof formatDisk>[1]['disk']
