/**
 * A stage for directed scenarios: the real nodes in the simulated world, guests whose every request goes into a
 * history, and what must hold in the end of each.
 *
 *  1. A request is begun and then waited for, so that a scenario can act while it is under way. Nothing is left out of
 *     the history: a request without an answer may have happened or not, and stays so.
 *  2. Moments are told by what can be seen (`until`), by disk operations (`atOperation`) or by counting events (`steps`),
 *     never by guessed times; a scenario that sweeps over them steps through each.
 *  3. `finish` heals everything and then demands what DESIGN promises: every byte as some legal order has it through
 *     every node, metadata and files that agree, logs that drain.
 */
import { assert } from '../../../src/base/assert.ts'
import { messageOf, NdfsError } from '../../../src/base/errors.ts'
import type { DiskId, NodeId, VDiskId } from '../../../src/base/ids.ts'
import { KiB, MiB, vDiskOffset } from '../../../src/base/units.ts'
import type { NodeManagement } from '../../../src/node-management.ts'
import type { NodePace } from '../../../src/node.ts'
import type { OpenVDisk } from '../../../src/stargate/io/io.ts'
import {
  decodeGroupRow,
  type GroupRow,
  type VDiskState,
} from '../../../src/stargate/vdisk-controller/rows.ts'
import type {
  HostedDescription,
  HostedVDisk,
} from '../../../src/stargate/vdisk-controller/vdisk-controller.ts'
import { decodeSuperblock, superblockName } from '../../../src/disk/superblock.ts'
import { groupsFolder } from '../../../src/stargate/extent-store/group-file.ts'
import { Cluster, type ClusterOptions, disksOfNode, pathOfDisk, type Tier } from '../../cluster.ts'
import { Damage } from '../../faults/damage.ts'
import { findMetadataFaults, rowsOf, vDiskStates } from '../../metadata-check.ts'
import {
  findSectorViolation,
  sectorBytes,
  SectorHistory,
  type SectorWrite,
  stampSectors,
  stampsIn,
  zeroStamp,
} from '../../sector-history.ts'
import type { DiskFault, DiskOperation, SimNode } from '../../sim-disk.ts'
import type { World } from '../../world.ts'

/** Quicker than in a real cluster, so that what follows a death, a drain or a repair follows soon. */
export const quickPace: NodePace = {
  drainBeginsAtBytes: MiB,
  drainAgeMs: 500,
  idleReleaseMs: 20_000,
  freeAgainMs: 2_000,
  sweepMs: 5_000,
  goneGraceMs: 800,
  scrubEveryMs: 0,
}

export interface SceneOptions extends Partial<Omit<ClusterOptions, 'trace'>> {
  readonly copies?: 1 | 2 | 3
  /** Names of vDisks; left out: one, `v`. */
  readonly vdisks?: readonly string[]
  /** Of each vDisk. */
  readonly sectors?: number
}

/** A request of a guest, begun and perhaps not answered. */
export interface Request<T = void> {
  readonly answered: boolean
  readonly value: T | undefined
  readonly error: Error | undefined
  /** Virtual time from call to answer, so far. */
  readonly tookMs: number
}

/** Longer than anything here may take, once nothing stands in its way. */
const patienceMs = 60_000
/** Longer than drains, grace times, and giving up what is idle may take together. */
const healMs = 300_000
const readAtOnceSectors = 512

export class Scene {
  readonly cluster: Cluster
  readonly world: World
  readonly sectors: number
  readonly #histories = new Map<string, SectorHistory>()
  readonly #ids = new Map<string, VDiskId>()
  readonly #damage = new Damage()
  #lastStamp = 0

  static async begin(options: SceneOptions = {}): Promise<Scene> {
    const { copies = 2, vdisks = ['v'], sectors = 256, seed = 1, nodes = 3, ...others } = options
    const cluster = await Cluster.start({
      oplogSegmentBytes: MiB,
      cacheBytes: 256 * KiB,
      ...others,
      seed,
      nodes,
      ...(process.env.SCENE_TRACE === undefined ? {} : { trace: console.log }),
    })
    const scene = new Scene(cluster, sectors)
    const { management } = cluster.node(cluster.names[0])!
    await cluster.world.play(async () => {
      await management.createContainer({ name: 'c', copies })
      for (const name of vdisks) {
        const { id } = await management.createVDisk({
          container: 'c',
          name,
          sizeBytes: sectors * sectorBytes,
        })
        scene.#ids.set(name, id as VDiskId)
        scene.#histories.set(name, new SectorHistory())
      }
    })
    return scene
  }

  private constructor(cluster: Cluster, sectors: number) {
    this.cluster = cluster
    this.world = cluster.world
    this.sectors = sectors
  }

  /** Something that goes on beside the scenario: a drain, say. Its failure is no failure of the scenario. */
  beside(work: () => Promise<unknown>): { readonly ended: boolean } {
    const state = { ended: false }
    const end = (): void => void (state.ended = true)
    work().then(end, end)
    return state
  }

  /** What an operator asks of this node. */
  ask<T>(via: NodeId, what: (management: NodeManagement) => Promise<T>): Promise<T> {
    return this.world.play(() => what(this.cluster.node(via)!.management))
  }

  // --- what can be seen ----------------------------------------------------------------------------------------------

  id(vdisk = 'v'): VDiskId {
    return this.#ids.get(vdisk)!
  }

  history(vdisk = 'v'): SectorHistory {
    return this.#histories.get(vdisk)!
  }

  nextStamp(): number {
    return ++this.#lastStamp
  }

  /** The vDisk as the node serves it. */
  hosted(node: NodeId, vdisk = 'v'): HostedVDisk | undefined {
    return this.cluster.node(node)?.controller.hosted(this.id(vdisk))
  }

  /** Who serves the vDisk: of two that both believe it, the one with the higher epoch. */
  owner(vdisk = 'v'): NodeId | undefined {
    const serving = this.cluster.serving().filter((node) => this.hosted(node, vdisk) !== undefined)
    return serving.sort((a, b) => this.hosted(b, vdisk)!.epoch - this.hosted(a, vdisk)!.epoch)[0]
  }

  describe(vdisk = 'v'): HostedDescription | undefined {
    const owner = this.owner(vdisk)
    return owner === undefined ? undefined : this.hosted(owner, vdisk)!.describe()
  }

  /** The row that every takeover begins with. */
  row(vdisk = 'v'): VDiskState {
    return vDiskStates(this.cluster.database).get(this.id(vdisk))!
  }

  /** The owner, the node that keeps the log's other copy, and all others. */
  roles(vdisk = 'v'): { owner: NodeId; peer: NodeId; others: NodeId[] } {
    const owner = this.owner(vdisk)!
    const replicas = this.describe(vdisk)!.episode!.replicas.map(({ node }) => node)
    const peer = replicas.find((node) => node !== owner)!
    return { owner, peer, others: this.cluster.names.filter((node) => node !== owner && node !== peer) }
  }

  /** Nodes that hold copies of the vDisk's extent groups, by their rows. */
  groupNodes(vdisk = 'v'): NodeId[] {
    const nodes = this.groupRows(vdisk).flatMap(({ copies }) => copies.map(({ node }) => node))
    return [...new Set(nodes)].sort()
  }

  /** The one beside these that holds most copies; the last node where none does. */
  mainHolder(...beside: NodeId[]): NodeId {
    const counts = new Map<NodeId, number>()
    for (const { copies } of this.groupRows('v'))
      for (const { node } of copies) if (!beside.includes(node)) counts.set(node, (counts.get(node) ?? 0) + 1)
    const none = [this.cluster.names.at(-1)!, 0] as [NodeId, number]
    return [...counts].reduce((a, b) => (b[1] > a[1] ? b : a), none)[0]
  }

  /** Disks that rows name which are not about to be deleted. */
  groupDisks(vdisk = 'v'): DiskId[] {
    const whole = this.groupRows(vdisk).filter(({ state }) => state === 'whole')
    return [...new Set(whole.flatMap(({ copies }) => copies.map(({ disk }) => disk)))].sort()
  }

  groupRows(vdisk = 'v'): GroupRow[] {
    return rowsOf(this.cluster.database, 'group')
      .filter(({ key }) => key.startsWith(`${this.id(vdisk)}-`))
      .map(({ value }) => decodeGroupRow(value))
  }

  // --- moments ---------------------------------------------------------------------------------------------------------

  until(condition: () => boolean, limitMs = patienceMs): Promise<void> {
    return this.world.run(condition, limitMs)
  }

  wait(ms: number): Promise<void> {
    return this.world.run(this.world.now + ms)
  }

  /** So many events, whatever they are. */
  steps(count: number): Promise<void> {
    let left = count
    return this.world.run(() => left-- <= 0)
  }

  /**
   * Acts as the `count`th operation of the node's disks that matches begins, and is under way. The result tells whether it came.
   */
  atOperation(
    node: NodeId,
    count: number,
    matches: (operation: DiskOperation) => boolean,
    act: () => void,
  ): { readonly happened: boolean } {
    const disk = this.world.disk(node)
    const before = disk.onOperation
    let seen = 0
    const moment = { happened: false }
    disk.onOperation = (operation) => {
      if (!moment.happened && matches(operation) && ++seen === count) {
        moment.happened = true
        disk.onOperation = before
        this.world.after(0, act)
      }
      return before(operation)
    }
    return moment
  }

  /** What goes wrong with a node's disk operations from now on. */
  faulty(node: NodeId, fault: (operation: DiskOperation) => DiskFault | undefined): void {
    this.world.disk(node).onOperation = fault
  }

  /** The log segments of the node's flash disk, and the files of extent groups on any of its disks. */
  static isLog({ path }: DiskOperation): boolean {
    return path.includes('/oplog')
  }

  static isGroup({ path }: DiskOperation): boolean {
    return path.includes(`/${groupsFolder}/`)
  }

  /** Rots what was written under the stamp to the sector, wherever the node's disks hold it in such a file; how often that is. */
  rot(node: NodeId, stamp: number, sector: number, where: 'log' | 'groups'): number {
    const disk = this.world.disk(node)
    const pattern = Buffer.alloc(sectorBytes)
    stampSectors(pattern, stamp, sector)
    let rotten = 0
    for (const tier of disksOfNode)
      for (const path of filesUnder(disk.find(pathOfDisk(tier)), pathOfDisk(tier))) {
        if (path.includes(`/${groupsFolder}/`) !== (where === 'groups')) continue
        const { content } = disk.findFile(path)
        const bytes = Buffer.alloc(content.size)
        content.read(bytes, 0)
        for (let at = bytes.indexOf(pattern); at >= 0; at = bytes.indexOf(pattern, at + sectorBytes)) {
          disk.flipByte(path, at + 100)
          rotten++
        }
      }
    return rotten
  }

  /** Of a disk of a node that is down all is taken but so many bytes, which its log has or may have: by a file of nobody's. */
  async fillDisk(node: NodeId, tier: Tier, logBytes: number): Promise<void> {
    const disk = this.world.disk(node)
    const path = pathOfDisk(tier)
    let bytes = this.cluster.capacityOf(tier) - logBytes
    for (const file of filesUnder(disk.find(path), path))
      if (!file.endsWith(`/${superblockName}`) && !file.includes('/oplog/'))
        bytes -= disk.findFile(file).content.size
    if (bytes <= 0) return
    const { files } = this.world.platform(node)
    await this.world.play(() => files.replaceWhole(`${path}/filler`, Buffer.alloc(bytes)))
    this.world.kill(node)
  }

  /** A blank disk in the place of one of a node that is down. */
  replaceDisk(node: NodeId, tier: Tier): void {
    const { content } = this.world.disk(node).findFile(`${pathOfDisk(tier)}/${superblockName}`)
    const bytes = Buffer.alloc(content.size)
    content.read(bytes, 0)
    this.#damage.replaced(decodeSuperblock(bytes, pathOfDisk(tier)).incarnation)
    this.cluster.replaceDisk(node, tier)
  }

  // --- guests ----------------------------------------------------------------------------------------------------------

  guest(node: NodeId, vdisk = 'v', session?: { readonly client: string; readonly number: number }): Guest {
    return new Guest(this, node, vdisk, session)
  }

  /** Runs the world until the requests are answered; rejects with the first error. */
  async done(...requests: readonly Request<unknown>[]): Promise<void> {
    await this.ended(...requests)
    for (const { error } of requests) if (error !== undefined) throw error
  }

  /** Runs the world until the requests are answered, or have failed. */
  ended(...requests: readonly Request<unknown>[]): Promise<void> {
    return this.until(() => requests.every(({ answered, error }) => answered || error !== undefined))
  }

  // --- the end -----------------------------------------------------------------------------------------------------------

  /** No trouble any more: all ways open, all disks quick, and every node that is not lost serves. */
  async heal(): Promise<void> {
    const { cluster, world } = this
    world.healAll()
    const places = [...cluster.names, 'store']
    for (const from of places) for (const to of places) world.network.delay(from, to, 0)
    for (const name of cluster.names) world.disk(name).onOperation = () => undefined
    for (const name of cluster.running()) world.thaw(name)
    cluster.startStore()
    for (const name of cluster.notLost()) cluster.startNode(name)
    await this.until(() => cluster.serving().length === cluster.notLost().length)
  }

  /** Every byte through every node that serves; then the histories must be possible (I1, I2). */
  async readAll(nodes: readonly NodeId[] = this.cluster.serving()): Promise<void> {
    for (const node of nodes)
      for (const vdisk of this.#ids.keys()) {
        if (this.row(vdisk).state === 'live') {
          const guest = this.guest(node, vdisk)
          const size = this.sizeOf(vdisk)
          for (let at = 0; at < size; at += readAtOnceSectors)
            await this.done(guest.read(at, Math.min(readAtOnceSectors, size - at)))
          guest.close()
        }
      }
    this.checkHistories()
  }

  checkHistories(): void {
    for (const [vdisk, history] of this.#histories) {
      const violation = findSectorViolation(history)
      if (violation !== undefined) throw new Error(`${vdisk}: ${violation.message}`)
    }
  }

  /** Sectors that the vDisk has now; what was cut off is not read. */
  sizeOf(vdisk = 'v'): number {
    return (this.describe(vdisk)?.sizeBytes ?? this.row(vdisk).sizeBytes) / sectorBytes
  }

  /** The vDisk is given up by its owner, and owned by this node. */
  async moveTo(node: NodeId, vdisk = 'v'): Promise<void> {
    const owner = this.owner(vdisk)
    if (owner === node) return
    await this.world.play(async () => {
      if (owner !== undefined) await this.cluster.node(owner)!.controller.release(this.id(vdisk), node)
    })
    await this.done(this.guest(node, vdisk).read(0, 1))
    assert(this.owner(vdisk) === node, `${node} serves it`)
  }

  /** A drain of all that is acknowledged, now; by its owner, or by the first node where it has none. */
  async drain(vdisk = 'v'): Promise<void> {
    const giveUpAt = this.world.now + patienceMs
    for (;;) {
      if (this.owner(vdisk) === undefined)
        await this.done(this.guest(this.cluster.serving()[0], vdisk).read(0, 1))
      const hosted = this.hosted(this.owner(vdisk)!, vdisk)
      try {
        await this.world.play(async () => hosted?.drain(), patienceMs)
        // What is dead is found and freed behind it.
        this.cluster.node(this.owner(vdisk)!)?.controller.drainNow([this.id(vdisk)])
        return
      } catch (error) {
        // Nodes that came back a moment ago are not known everywhere.
        if (!(error instanceof NdfsError) || this.world.now >= giveUpAt) throw error
        await this.wait(500)
      }
    }
  }

  /** Waits until nothing is found, at most `healMs`. */
  async settled(what: string, find: () => readonly string[], everyMs = 2_000): Promise<void> {
    const giveUpAt = this.world.now + healMs
    for (;;) {
      const found = find()
      if (found.length === 0) return
      if (this.world.now >= giveUpAt)
        throw new Error(`not in ${healMs} ms: ${what}\n${found.slice(0, 5).join('\n')}`)
      await this.wait(everyMs)
    }
  }

  /**
   * Heals, reads everything through every node, drains, and then map, groups and files must agree (I1, I2, I3, I7).
   * `empty`: idle vDisks are given up then, and no log holds anything.
   */
  async finish({ empty = false } = {}): Promise<void> {
    await this.heal()
    await this.readAll()
    for (const vdisk of this.#ids.keys()) if (this.row(vdisk).state === 'live') await this.drain(vdisk)
    await this.settled('map, groups and files agree', () => findMetadataFaults(this.cluster, this.#damage))
    await this.readAll([this.cluster.serving()[0]])
    if (empty) await this.settled('the logs are empty', () => this.#undrained(), 10_000)
    this.end()
  }

  #undrained(): string[] {
    const found: string[] = []
    for (const { name, state, episodes } of vDiskStates(this.cluster.database).values())
      if (state === 'live' && episodes.length > 0) found.push(`${name} has ${episodes.length} episodes`)
    for (const node of this.cluster.serving())
      for (const replica of this.cluster.node(node)!.replicas)
        for (const { vdisk, bytes } of replica.holdings())
          if (bytes > 0) found.push(`${node} keeps ${bytes} bytes of the log of vDisk ${vdisk}`)
    return found
  }

  end(): void {
    this.cluster.database.close()
  }
}

function* filesUnder(node: SimNode | undefined, path: string): Generator<string> {
  if (node?.kind === 'file') yield path
  else for (const [name, inside] of node?.names ?? []) yield* filesUnder(inside, `${path}/${name}`)
}

/** A client at one node's door. What it does and sees goes into the vDisk's history. */
export class Guest {
  readonly node: NodeId
  readonly vdisk: string
  readonly #scene: Scene
  readonly #session: { readonly client: string; readonly number: number } | undefined
  #opening: Promise<OpenVDisk> | undefined

  constructor(
    scene: Scene,
    node: NodeId,
    vdisk: string,
    session: { readonly client: string; readonly number: number } | undefined,
  ) {
    this.#scene = scene
    this.node = node
    this.vdisk = vdisk
    this.#session = session
  }

  get #by(): string {
    return `a guest at ${this.node}`
  }

  open(): Request {
    return this.#ask(async () => undefined)
  }

  close(): void {
    const opening = this.#opening
    if (opening !== undefined)
      this.#scene.cluster.inNode(this.node, () => {
        opening.then(
          (vdisk) => vdisk.close(),
          () => undefined,
        )
      })
  }

  write(first: number, count: number): Request {
    const payload = this.#stamped(first, count)
    return this.#change(payload.stamp, first, count, payload.write)
  }

  /** Sequential writes, all under way at once and in order, as a guest that copies a file has them. */
  stream(first: number, count: number, pieces: number): Request {
    const { world } = this.#scene
    const writes = Array.from({ length: pieces }, (_, i) => {
      const at = first + i * count
      const { stamp, write } = this.#stamped(at, count)
      const entry: SectorWrite = { stamp, first: at, count, by: this.#by, calledAt: world.now }
      this.#scene.history(this.vdisk).writes.push(entry)
      return { entry, write }
    })
    return this.#ask(async (vdisk) => {
      const answered = async ({ entry, write }: (typeof writes)[number]): Promise<void> => {
        await write(vdisk)
        entry.answeredAt = world.now
      }
      await Promise.all(writes.map(answered))
    })
  }

  #stamped(first: number, count: number) {
    const stamp = this.#scene.nextStamp()
    const payload = Buffer.allocUnsafe(count * sectorBytes)
    stampSectors(payload, stamp, first)
    const write = (vdisk: OpenVDisk): void | Promise<void> =>
      vdisk.write(vDiskOffset(first * sectorBytes), payload)
    return { stamp, write }
  }

  zero(first: number, count: number): Request {
    return this.#change(zeroStamp, first, count, (vdisk) =>
      vdisk.zero(vDiskOffset(first * sectorBytes), count * sectorBytes, false),
    )
  }

  discard(first: number, count: number): Request {
    return this.#change(zeroStamp, first, count, (vdisk) =>
      vdisk.discard(vDiskOffset(first * sectorBytes), count * sectorBytes),
    )
  }

  /** What is beyond `sectors` reads as zeros, should the vDisk ever be so large again. */
  resize(sectors: number): Request {
    const { cluster } = this.#scene
    const from = Math.min(sectors, this.#scene.sizeOf(this.vdisk))
    const before = this.#scene.sizeOf(this.vdisk)
    const change = (): Promise<unknown> =>
      cluster
        .node(this.node)!
        .management.changeVDisk(
          { container: 'c', name: this.vdisk },
          { sizeBytes: sectors * sectorBytes, force: true },
        )
    if (sectors >= before) return this.#ask(async () => void (await change()), false)
    return this.#change(zeroStamp, from, before - from, async () => void (await change()), false)
  }

  delete(): Request {
    const { cluster } = this.#scene
    return this.#ask(
      () =>
        cluster
          .node(this.node)!
          .management.deleteVDisk({ container: 'c', name: this.vdisk }, { force: true }),
      false,
    )
  }

  /** Resolves to the stamps of the sectors. */
  read(first: number, count: number): Request<Uint32Array> {
    const { world } = this.#scene
    const history = this.#scene.history(this.vdisk)
    const calledAt = world.now
    const target = Buffer.alloc(count * sectorBytes, 0xee)
    return this.#ask(async (vdisk) => {
      await vdisk.read(vDiskOffset(first * sectorBytes), target)
      const stamps = stampsIn(target, first)
      history.reads.push({ first, stamps, by: this.#by, calledAt, answeredAt: world.now })
      return stamps
    })
  }

  #change(
    stamp: number,
    first: number,
    count: number,
    act: (vdisk: OpenVDisk) => void | Promise<void>,
    opened = true,
  ): Request {
    const { world } = this.#scene
    const write: SectorWrite = { stamp, first, count, by: this.#by, calledAt: world.now }
    this.#scene.history(this.vdisk).writes.push(write)
    return this.#ask(async (vdisk) => {
      await act(vdisk)
      write.answeredAt = world.now
    }, opened)
  }

  #ask<T>(act: (vdisk: OpenVDisk) => Promise<T>, opened = true): Request<T> {
    const { cluster, world } = this.#scene
    const calledAt = world.now
    const request = {
      answered: false,
      value: undefined as T | undefined,
      error: undefined as Error | undefined,
      endedAt: undefined as number | undefined,
      get tookMs() {
        return (this.endedAt ?? world.now) - calledAt
      },
    }
    const end = (error?: Error): void => {
      if (request.endedAt !== undefined) return
      request.endedAt = world.now
      forget()
      if (error === undefined) request.answered = true
      else request.error = error
    }
    const forget = cluster.onEnded((ended) => {
      if (ended === this.node) end(new NdfsError('PEER_UNREACHABLE', `${this.node} ended`))
    })
    const run = async (): Promise<void> => {
      try {
        const value = await act(opened ? await this.#open() : (undefined as never))
        if (request.endedAt !== undefined) return
        request.value = value
        end()
      } catch (error) {
        end(error instanceof Error ? error : new Error(messageOf(error)))
      }
    }
    if (cluster.node(this.node) === undefined)
      end(new NdfsError('PEER_UNREACHABLE', `${this.node} does not serve`))
    else cluster.inNode(this.node, () => void run())
    return request
  }

  #open(): Promise<OpenVDisk> {
    this.#opening ??= this.#scene.cluster.node(this.node)!.router.open(`c/${this.vdisk}`, this.#session)
    return this.#opening
  }
}
