/**
 * A stage for directed scenarios: one cluster, one vDisk, guests with hands of their own, and a director who lets the
 * world run until something has happened, and then acts.
 *
 *  1. The story is told from outside of the world: each `until`, `answer` and `pass` lets virtual time go on, and nothing
 *     happens between them.
 *  2. Everything that guests do and see goes into one history.
 *  3. When the story is told all faults end. Then every node has to serve, every acknowledged byte has to be read back
 *     through each of them, the history has to be possible (I2), the log has to drain, and map, groups and files
 *     have to agree (I3, I7).
 *  4. A story may sweep: `moments` are the disk writes, syncs and store requests of all nodes, each of them a good
 *     moment to die.
 */
import { messageOf } from '../../../src/base/errors.ts'
import type { NodeId, VDiskId } from '../../../src/base/ids.ts'
import { KiB, MiB, vDiskOffset } from '../../../src/base/units.ts'
import type { VDiskState } from '../../../src/stargate/vdisk-controller/rows.ts'
import type { HostedDescription } from '../../../src/stargate/vdisk-controller/vdisk-controller.ts'
import { Cluster, type ClusterOptions } from '../../cluster.ts'
import { findMetadataFaults, vDiskStates } from '../../metadata-check.ts'
import { Checkers } from '../../checkers/checkers.ts'
import {
  findSectorViolation,
  SectorHistory,
  type SectorRead,
  type SectorWrite,
} from '../../sector-history.ts'
import { sectorBytes, stampsIn } from '../../sector-stamps.ts'
import type { DiskFault, DiskOperation } from '../../sim-disk.ts'
import { requestBytesMax } from '../../workload.ts'
import type { World } from '../../world.ts'
import type { StoreDelay } from '../../delaying-store-engine.ts'
import { type Asked, Guest, type StagedVDisk } from './guest.ts'
import { type Hold, type Matches, StoreHolds } from './store-holds.ts'

export interface StageOptions {
  readonly seed: number
  readonly nodes?: number
  readonly copies?: 1 | 2 | 3
  readonly vdisks?: number
  readonly sectors?: number
  /** Small logs hold writes back long before they become a stream. */
  readonly oplogSegmentBytes?: number
  readonly capacityBytes?: ClusterOptions['capacityBytes']
  readonly pace?: ClusterOptions['pace']
  readonly trace?: (line: string) => void
}

/** Within a story nothing takes longer than takeovers and waits for copies do. */
const patienceMs = 60_000
const healWithinMs = 300_000
const settlingMs = 1_200
const readAtOnceBytes = 256 * KiB

export class Stage {
  readonly cluster: Cluster
  /** The first is what is meant where none is named. */
  readonly vdisks: readonly StagedVDisk[]
  readonly sectors: number
  /** Writes and syncs of all disks and requests to the store, so far. */
  moments = 0
  /** Called at each of them, with the node's name or `store`. */
  onMoment: (where: string) => void = () => undefined
  readonly #disks = new Map<string, (operation: DiskOperation) => DiskFault | undefined>()
  readonly #asking = new Map<NodeId, { at: number; begin: (() => void)[] }>()
  readonly #holds: StoreHolds
  readonly #bug: () => void
  #lastStamp = 0

  /** Tells the story on a new stage, and then looks whether all is well. */
  static async tell(options: StageOptions, story: (stage: Stage) => Promise<void>): Promise<void> {
    let bug: unknown
    const onBug = (error: unknown): void => void (bug ??= error)
    process.on('unhandledRejection', onBug)
    let stage: Stage | undefined
    try {
      stage = await Stage.#begin(options, () => {
        if (bug !== undefined)
          throw new Error(`a bug in a promise that nobody awaits: ${(bug as Error).stack}`, { cause: bug })
      })
      await story(stage)
      await stage.#end()
    } catch (error) {
      const where = stage === undefined ? '' : `, at ${stage.now.toFixed(4)} ms`
      throw new Error(`seed ${options.seed}${where}: ${messageOf(error)}\n${stage?.whereabouts() ?? ''}`, {
        cause: error,
      })
    } finally {
      process.off('unhandledRejection', onBug)
      stage?.cluster.database.close()
    }
  }

  static async #begin(options: StageOptions, bug: () => void): Promise<Stage> {
    const { seed, nodes = 3, copies = 2, vdisks = 1, sectors = 512, pace, trace } = options
    const { oplogSegmentBytes = 1 * MiB, capacityBytes = {} } = options
    const cluster = await Cluster.start({
      seed,
      nodes,
      oplogSegmentBytes,
      cacheBytes: 256 * KiB,
      capacityBytes,
      ...(pace === undefined ? {} : { pace }),
      ...(trace === undefined ? {} : { trace }),
    })
    const checkers = new Checkers(cluster, { copies, oplogSegmentBytes, requestBytesMax })
    await cluster.world.play(async () => {
      const { management } = cluster.node(cluster.names[0])!
      await management.createContainer({ name: 'c', copies })
      for (let i = 1; i <= vdisks; i++)
        await management.createVDisk({ container: 'c', name: `v${i}`, sizeBytes: sectors * sectorBytes })
    })
    // Until every node knows of the others' disks.
    await cluster.world.run(cluster.world.now + settlingMs)
    return new Stage(cluster, checkers, sectors, bug)
  }

  private constructor(cluster: Cluster, checkers: Checkers, sectors: number, bug: () => void) {
    this.cluster = cluster
    this.sectors = sectors
    this.#bug = bug
    this.vdisks = [...vDiskStates(cluster.database)].map(([id, { name }]) => {
      const history = new SectorHistory()
      return { name, id, history, observer: checkers.clientObserver(history) }
    })
    for (const name of cluster.names)
      this.world.disk(name).onOperation = (operation) => {
        if (operation.kind === 'write' || operation.kind === 'sync') this.#moment(name)
        return this.#disks.get(name)?.(operation)
      }
    this.#holds = new StoreHolds(this.world)
    cluster.delayStoreRequest = (kind, body) => {
      this.#moment('store')
      return this.#holds.delayOf(kind, body)
    }
  }

  get world(): World {
    return this.cluster.world
  }

  get now(): number {
    return this.world.now
  }

  nextStamp(): number {
    return ++this.#lastStamp
  }

  // --- what the director waits for -------------------------------------------------------------------------------

  /** Lets time go on until it is so. */
  async until(what: string, isSo: () => boolean, limitMs = patienceMs): Promise<void> {
    if (!(await this.untilOr(isSo, limitMs))) throw new Error(`not in ${limitMs} ms: ${what}`)
  }

  /** The same; false where it was not so in that time. */
  async untilOr(isSo: () => boolean, limitMs: number): Promise<boolean> {
    let over = false
    this.world.after(limitMs, () => (over = true))
    await this.world.run(() => isSo() || over, limitMs + 1)
    this.#bug()
    return isSo()
  }

  async pass(ms: number): Promise<void> {
    await this.world.run(this.now + ms)
    this.#bug()
  }

  /** Lets time go on until so many moments have come; false where they have not within the time. */
  passMoments(count: number, limitMs: number): Promise<boolean> {
    const end = this.moments + count
    return this.untilOr(() => this.moments >= end, limitMs)
  }

  /** Lets so many events happen, of whomever. */
  async passEvents(count: number): Promise<void> {
    let left = count
    await this.world.run(() => left-- <= 0)
    this.#bug()
  }

  /** Lets time go on until it is answered; throws what it was answered. */
  async answer<T>(asked: Asked<T>, limitMs = patienceMs): Promise<T> {
    await this.until(`${asked.what} is answered`, () => asked.settled, limitMs)
    // What comes next comes later, by the history's clock too.
    await this.pass(0.001)
    if (asked.error !== undefined)
      throw new Error(`${asked.what}: ${messageOf(asked.error)}`, { cause: asked.error })
    return asked.value as T
  }

  // --- what is ---------------------------------------------------------------------------------------------------

  get vdisk(): VDiskId {
    return this.vdisks[0].id
  }

  get row(): VDiskState & { readonly epoch: number } {
    return this.rowOf(this.vdisk)
  }

  /** The vDisk's row in Medusa. */
  rowOf(vdisk: VDiskId): VDiskState & { readonly epoch: number } {
    const found = this.cluster.database
      .prepare<[string], { epoch: number }>(
        `SELECT epoch FROM medusa_partitions WHERE table_name = 'vdisk' AND key = ?`,
      )
      .get(String(vdisk))!
    return { ...vDiskStates(this.cluster.database).get(vdisk)!, epoch: found.epoch }
  }

  /** Nodes that hold the vDisk as theirs and serve it, frozen ones too. */
  owners(vdisk = this.vdisk): NodeId[] {
    return this.cluster.names.filter((name) => this.describe(name, vdisk) !== undefined)
  }

  describe(node: NodeId, vdisk = this.vdisk): HostedDescription | undefined {
    return this.cluster.node(node)?.controller.hosted(vdisk)?.describe()
  }

  /** Owner, the other replicas of its open episode, and those that have no part in it. */
  roles(): { owner: NodeId; peers: NodeId[]; others: NodeId[] } {
    const owners = this.owners()
    const open = this.row.episodes.at(-1)
    if (owners.length !== 1 || open === undefined || open.end !== undefined)
      throw new Error(
        `the vDisk is owned by ${owners.join(', ') || 'nobody'}, and ${open?.end ?? 'not open'}`,
      )
    const [owner] = owners
    const peers = open.replicas.map(({ node }) => node).filter((node) => node !== owner)
    const others = this.cluster.names.filter((name) => name !== owner && !peers.includes(name))
    return { owner, peers, others }
  }

  whereabouts(): string {
    const owned = this.cluster.serving().flatMap((name) =>
      this.cluster
        .node(name)!
        .controller.all()
        .map((one) => `${name} owns ${JSON.stringify(one.describe())}`),
    )
    return [...owned, ...this.vdisks.map(({ id }) => `the row: ${JSON.stringify(this.rowOf(id))}`)].join('\n')
  }

  // --- what the director does ------------------------------------------------------------------------------------

  guest(name: string, vdisk = this.vdisks[0]): Guest {
    return new Guest(this, name, vdisk)
  }

  /** Asks something of a node's code, as an event of its process; what is asked of it at once it gets in order. */
  ask<T>(node: NodeId, what: string, act: () => T | Promise<T>): Asked<T> {
    const asked = { what: `${what} at ${node}`, settled: false, value: undefined, error: undefined } as {
      what: string
      settled: boolean
      value: T | undefined
      error: Error | undefined
    }
    const begin = (): void => {
      Promise.resolve()
        .then(act)
        .then(
          (value) => Object.assign(asked, { settled: true, value }),
          (error: unknown) => Object.assign(asked, { settled: true, error: error as Error }),
        )
    }
    const asking = this.#asking.get(node)
    if (asking?.at === this.now) asking.begin.push(begin)
    else {
      const acts = { at: this.now, begin: [begin] }
      this.#asking.set(node, acts)
      this.cluster.inNode(node, () => {
        if (this.#asking.get(node) === acts) this.#asking.delete(node)
        for (const one of acts.begin) one()
      })
    }
    return asked
  }

  /** The node takes the vDisk: as a sweep does (`free`), or as a front-end that proved that nobody serves it. */
  claim(node: NodeId, reason: 'free' | 'no-service', vdisk = this.vdisk): Asked<unknown> {
    return this.ask(node, 'a claim', () => this.cluster.node(node)!.controller.claim(vdisk, reason))
  }

  drain(node: NodeId, vdisk = this.vdisk): Asked<void> {
    return this.ask(node, 'a drain', () => this.cluster.node(node)!.controller.hosted(vdisk)!.drain())
  }

  /** Sees this node's disk operations, and may fail or delay them; nothing takes it off again but `calm`. */
  onDisk(node: NodeId, hook: (operation: DiskOperation) => DiskFault | undefined): void {
    this.#disks.set(node, hook)
  }

  /** Keeps back requests to the store that match, the first `most` of them, or their answers, until they are released. */
  hold(where: keyof StoreDelay, matches: Matches, most = Number.POSITIVE_INFINITY): Hold {
    return this.#holds.hold(where, matches, most)
  }

  /** Nobody and nothing of this node is heard by the others, nor by the store, and it hears nobody. */
  isolate(node: NodeId): void {
    for (const other of [...this.cluster.names, 'store']) if (other !== node) this.world.cut(node, other)
  }

  /** No fault any more: ways open, disks well, everything released, every node that is not lost runs. */
  async calm(): Promise<void> {
    const { cluster, world } = this
    world.healAll()
    const all = [...cluster.names, 'store']
    for (const from of all) for (const to of all) world.network.delay(from, to, 0)
    this.#disks.clear()
    this.#holds.releaseAll()
    for (const name of cluster.running()) world.thaw(name)
    cluster.startStore()
    for (const name of cluster.notLost()) cluster.startNode(name)
    await this.until('all nodes serve', () => cluster.serving().length === cluster.notLost().length)
  }

  /** Reads the whole vDisk through a node, into the history. */
  async readAll(node: NodeId, { name, history } = this.vdisks[0]): Promise<void> {
    const opened = await this.answer(
      this.ask(node, 'an open', () => this.cluster.node(node)!.router.open(name)),
    )
    const size = this.sectors * sectorBytes
    for (let at = 0; at < size; at += readAtOnceBytes) {
      const target = Buffer.alloc(Math.min(readAtOnceBytes, size - at))
      const calledAt = this.now
      await this.answer(this.ask(node, 'a read', () => opened.read(vDiskOffset(at), target)))
      const first = at / sectorBytes
      const by = `the director through ${node}`
      history.reads.push({ first, stamps: stampsIn(target, first), by, calledAt, answeredAt: this.now })
    }
    opened.close()
  }

  /** Every acknowledged byte is there, whichever node is asked; and what was read before was never stale. */
  async readEverywhere(): Promise<void> {
    for (const node of this.cluster.serving())
      for (const vdisk of this.vdisks) await this.readAll(node, vdisk)
    this.checkHistory()
  }

  checkHistory(): void {
    for (const { name, history } of this.vdisks) {
      const violation = findSectorViolation(history)
      if (violation !== undefined)
        throw new Error(`${name}: ${violation.message}\n${violation.involved.map(toldOf).join('\n')}`)
    }
  }

  // ---------------------------------------------------------------------------------------------------------------

  async #end(): Promise<void> {
    await this.calm()
    await this.readEverywhere()
    let faults: readonly string[] = []
    const giveUpAt = this.now + healWithinMs
    for (let looks = 0; this.now < giveUpAt; looks++) {
      // In use, so that somebody owns the vDisk, drains it, and looks after its groups.
      if (looks % 30 === 0) await this.#touchAll()
      faults = this.#faults()
      if (faults.length === 0) return
      await this.pass(1_000)
    }
    throw new Error(
      `the cluster does not become whole again in ${healWithinMs} ms: ${faults.slice(0, 10).join('\n')}`,
    )
  }

  async #touchAll(): Promise<void> {
    const [node] = this.cluster.serving()
    for (const vdisk of this.vdisks) {
      const guest = this.guest(`the last one ${this.now}`, vdisk)
      await guest.open(node)
      await this.answer(guest.zero(0, 1))
    }
  }

  #faults(): string[] {
    const undrained = this.vdisks.flatMap(({ id, name }) => {
      const owners = this.owners(id)
      if (owners.length !== 1) return [`${name} is owned by ${owners.join(', ') || 'nobody'}`]
      const { drained, acknowledged } = this.describe(owners[0], id)!
      return drained === acknowledged ? [] : [`${name} is drained to ${drained} of ${acknowledged}`]
    })
    return undrained.length > 0 ? undrained : findMetadataFaults(this.cluster)
  }

  #moment(where: string): void {
    this.moments++
    this.onMoment(where)
  }
}

function toldOf(operation: SectorWrite | SectorRead): string {
  const time = (ms: number | undefined): string => (ms === undefined ? '–' : ms.toFixed(4))
  const { by, first, calledAt, answeredAt } = operation
  if ('stamps' in operation)
    return `  read of ${first}+${operation.stamps.length} by ${by}, ${time(calledAt)} to ${time(answeredAt)}`
  return `  write ${operation.stamp} of ${first}+${operation.count} by ${by}, ${time(calledAt)} to ${time(answeredAt)}, over by ${time(operation.overBy)}`
}
