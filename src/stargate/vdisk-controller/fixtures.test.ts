/**
 * What the tests of the vDisk controller stand on: a small world of nodes on virtual time. Medusa is the real engine in memory;
 * log disks, extent disks and Zeus are small doubles with their contracts' semantics, and faults. Every message takes a random while.
 */
import assert from 'node:assert/strict'
import Database from 'better-sqlite3'
import { crc32c } from '../../base/crc32c.ts'
import { NdfsError } from '../../base/errors.ts'
import { noIncarnation, sameDisk } from '../../base/ids.ts'
import type {
  CopyNumber,
  DiskId,
  DiskRef,
  EpisodeId,
  Epoch,
  GroupId,
  Incarnation,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import { takeLarge } from '../../base/large-buffers.ts'
import { GiB, groupPage, MiB, type Millis, pageBytes } from '../../base/units.ts'
import type { Change, ChangeResult, Medusa, Partition, PartitionName } from '../../medusa/medusa.ts'
import { medusaSchema, SqliteMedusa } from '../../medusa/sqlite-medusa.ts'
import type { Chance, Clock, Log, Platform, Timer } from '../../platform/platform.ts'
import type { Owner, Zeus } from '../../zeus/zeus.ts'
import { createExtentCache } from '../extent-cache/page-cache.ts'
import type {
  CopyPlacementRequest,
  CopyRef,
  CopyVerdict,
  ExtentStore,
  FoundCopy,
  GroupAccess,
  PlacementRequest,
  Trailer,
} from '../extent-store/extent-store.ts'
import { type Candidate, isMixed, place, placeCopy } from '../extent-store/placement.ts'
import {
  decodeRecord,
  type EncodedRecord,
  type Granted,
  headerAt,
  type Oplogs,
  type Tail,
} from '../oplog/oplog.ts'
import { blocksAmong, misplacedAmong } from './misplaced.ts'
import { decodeExtentPayload, type ExtentPiece } from './extent-payload.ts'
import type { LogEntry } from './vdisk-log.ts'
import { type Pace, usualPace } from './pace.ts'
import type { LogsOnDisks } from './rebuild.ts'
import { decodeGroupRow, type GroupRow } from './rows.ts'
import { VDiskHost } from './vdisk-host.ts'

export const quietLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => quietLog,
}

/** A small seeded generator, so that a failing test can be run again. */
export function seeded(seed: number): (below: number) => number {
  let state = (seed * 2_654_435_761) >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state >>>= 0
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return Math.floor((state / 0x1_0000_0000) * below)
  }
}

/** What a random test is run with, and says in its name: `SEED=n` runs that one alone, `SEED=from-to` all of these. */
export function seeds(...usual: number[]): number[] {
  const asked = process.env.SEED
  if (asked === undefined) return usual
  const [from, to = from] = asked.split('-').map(Number)
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

/** Time that only moves in `run`, and then from timer to timer. */
export class TestClock implements Clock {
  #now = 1000
  /** By time, and of one time in the order in which they came. */
  readonly #timers: { at: number; callback: () => void }[] = []

  now(): Millis {
    return this.#now as Millis
  }
  wallTime(): number {
    return 1_700_000_000_000 + this.#now
  }
  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.#now + ms, callback }
    let place = this.#timers.length
    while (place > 0 && this.#timers[place - 1].at > timer.at) place--
    this.#timers.splice(place, 0, timer)
    return {
      cancel: () => {
        const found = this.#timers.indexOf(timer)
        if (found >= 0) this.#timers.splice(found, 1)
      },
    }
  }
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }
  soon(callback: () => void): void {
    this.after(0, callback)
  }

  /** Lets time go on until `work` is settled. */
  async run<T>(work: Promise<T>, maxMs = 600_000): Promise<T> {
    let settled = false
    work.then(
      () => (settled = true),
      () => (settled = true),
    )
    const until = this.#now + maxMs
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve))
      if (settled) return await work
      const next = this.#timers.shift()
      if (next === undefined || next.at > until) throw new Error('what the test waits for never happens')
      this.#now = next.at
      next.callback()
    }
  }

  /** Lets so much time go by. */
  async pass(ms: number): Promise<void> {
    await this.run(this.sleep(ms), ms + 1)
  }
}

/** One process's time: it ends with the process. */
class ProcessClock implements Clock {
  readonly #world: TestClock
  readonly #alive: () => boolean

  constructor(world: TestClock, alive: () => boolean) {
    this.#world = world
    this.#alive = alive
  }
  now(): Millis {
    return this.#world.now()
  }
  wallTime(): number {
    return this.#world.wallTime()
  }
  after(ms: number, callback: () => void): Timer {
    return this.#world.after(ms, () => {
      if (this.#alive()) callback()
    })
  }
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve))
  }
  soon(callback: () => void): void {
    this.after(0, callback)
  }
}

export const never = new Promise<never>(() => undefined)

interface KeptEpisode {
  readonly epoch: Epoch
  first: number
  records: Buffer[]
  sealedAt?: number
}

/** A log disk: keeps records as the contract of the oplog says. */
export class TestLogDisk {
  readonly ref: DiskRef
  block: string
  /**
   * `gone`: can't be reached. `silent`: takes nothing and never answers. `answers lost`: takes it, and the answer is lost. `full`: takes no
   * record while it holds one that was not freed.
   */
  state: 'up' | 'gone' | 'silent' | 'answers lost' | 'full' = 'up'
  /** An append waits for it before it is synced. */
  holdBack: Promise<void> | undefined
  appends: {
    episode: EpisodeId
    sequences: number[]
    kinds: string[]
    bytes: number
    /** What the records keep in memory: the whole of each buffer that a payload is a window on. */
    keptBytes: number
  }[] = []
  freed = new Map<VDiskId, number>()
  /** All records that there ever were: a log that is opened again has forgotten what was freed and cut, but for what its table says. */
  readonly #written = new Map<VDiskId, Map<EpisodeId, KeptEpisode>>()
  readonly #clock: Clock
  readonly #vdisks = new Map<
    VDiskId,
    { epoch: number; grantedAt: number; episodes: Map<EpisodeId, KeptEpisode> }
  >()
  onFenced: (vdisk: VDiskId, epoch: Epoch) => void = () => undefined

  constructor(clock: Clock, node: string, block: string) {
    this.#clock = clock
    this.block = block
    this.ref = {
      node: node as NodeId,
      disk: `${node}-flash-0` as DiskId,
      incarnation: `log-of-${node}` as Incarnation,
    }
  }

  async append(
    vdisk: VDiskId,
    epoch: Epoch,
    episode: EpisodeId,
    records: readonly EncodedRecord[],
  ): Promise<void> {
    const headers = records.map((record) => headerAt(record.header, 0))
    const kept = this.#vdisk(vdisk)
    if (epoch < kept.epoch) throw new NdfsError('FENCED', 'a higher epoch was seen', { epoch: kept.epoch })
    let target = kept.episodes.get(episode)
    const next = target === undefined ? headers[0].episodeFirst : target.first + target.records.length
    if (headers[0].sequence !== next || target?.sealedAt !== undefined || (target?.epoch ?? epoch) !== epoch)
      throw new NdfsError('CONFLICT', `record ${headers[0].sequence} does not continue at ${next}`, {
        last: next - 1,
      })
    const holdsAny = [...this.#vdisks.values()].some(({ episodes }) =>
      [...episodes.values()].some((one) => one.records.length > 0),
    )
    if (this.state === 'full' && holdsAny) throw new NdfsError('OUT_OF_SPACE', 'all segments hold records')
    this.#raise(vdisk, epoch)
    if (target === undefined) {
      target = { epoch, first: next, records: [] }
      kept.episodes.set(episode, target)
    }
    const written = this.#writtenOf(vdisk, episode, { epoch, first: target.first })
    for (const { header, payload } of records) {
      const record = Buffer.concat([header, ...payload])
      target.records.push(record)
      written.records[headerAt(header, 0).sequence - written.first] = record
    }
    const buffers = new Set(records.flatMap(({ payload }) => payload.map((part) => part.buffer)))
    this.appends.push({
      episode,
      sequences: headers.map(({ sequence }) => sequence),
      kinds: headers.map(({ kind }) => kind),
      bytes: records.reduce((sum, { bytes }) => sum + bytes, 0),
      keptBytes: [...buffers].reduce((sum, { byteLength }) => sum + byteLength, 0),
    })
    await this.holdBack
  }

  async fence(vdisk: VDiskId, epoch: Epoch): Promise<Tail[]> {
    const kept = this.#vdisk(vdisk)
    if (epoch < kept.epoch) throw new NdfsError('FENCED', 'a higher epoch was seen', { epoch: kept.epoch })
    this.#raise(vdisk, epoch)
    const waitMs = kept.grantedAt + 1100 - this.#clock.now()
    if (waitMs > 0) await this.#clock.sleep(waitMs)
    return this.tails(vdisk)
  }

  tails(vdisk: VDiskId): Tail[] {
    const kept = this.#vdisk(vdisk)
    let acknowledged = 0
    for (const { records } of kept.episodes.values())
      for (const record of records) acknowledged = Math.max(acknowledged, headerAt(record, 0).acknowledged)
    return [...kept.episodes].map(([episode, { first, records }]) => ({
      episode,
      first: first as Sequence,
      last: (first + records.length - 1) as Sequence,
      acknowledged: acknowledged as Sequence,
    }))
  }

  async read(vdisk: VDiskId, episode: EpisodeId, from: Sequence, bytesMax: number): Promise<Buffer> {
    const kept = this.#vdisk(vdisk).episodes.get(episode)
    if (kept === undefined || from < kept.first) return Buffer.alloc(0)
    const records: Buffer[] = []
    let bytes = 0
    for (const record of kept.records.slice(from - kept.first)) {
      if (bytes >= bytesMax) break
      if (decodeRecord(record, 0) === undefined) {
        if (records.length > 0) break
        throw new NdfsError('CORRUPT_EXTENT', 'the record is rotten', { sequence: from })
      }
      records.push(record)
      bytes += record.length
    }
    return Buffer.concat(records)
  }

  grant(vdisk: VDiskId, epoch: Epoch, episode: EpisodeId): { last: Sequence } | undefined {
    const kept = this.#vdisk(vdisk)
    const found = kept.episodes.get(episode)
    if (epoch < kept.epoch || found?.epoch !== epoch || found.sealedAt !== undefined) return undefined
    kept.grantedAt = this.#clock.now()
    return { last: (found.first + found.records.length - 1) as Sequence }
  }

  free(vdisk: VDiskId, upTo: Sequence): void {
    this.freed.set(vdisk, Math.max(upTo, this.freed.get(vdisk) ?? 0))
    const { episodes } = this.#vdisk(vdisk)
    const newest = Math.max(...episodes.keys())
    for (const [id, episode] of episodes) {
      const gone = Math.min(Math.max(upTo - episode.first + 1, 0), episode.records.length)
      episode.records.splice(0, gone)
      episode.first += gone
      if (episode.records.length === 0 && id !== newest) episodes.delete(id)
    }
  }

  seal(vdisk: VDiskId, episode: EpisodeId, end: Sequence): void {
    const kept = this.#vdisk(vdisk).episodes.get(episode)
    if (kept === undefined) return
    kept.sealedAt = end
    kept.records.splice(Math.max(0, end - kept.first + 1))
  }

  /** The log is opened again. What was freed is still there, as no segment was used again. */
  reopen(vdisk: VDiskId): void {
    this.freed.delete(vdisk)
    const kept = this.#vdisk(vdisk)
    kept.episodes.clear()
    for (const [id, { epoch, first, records }] of this.#written.get(vdisk) ?? [])
      kept.episodes.set(id, { epoch, first, records: [...records] })
  }

  #writtenOf(vdisk: VDiskId, id: EpisodeId, { epoch, first }: Omit<KeptEpisode, 'records'>): KeptEpisode {
    let episodes = this.#written.get(vdisk)
    if (episodes === undefined) this.#written.set(vdisk, (episodes = new Map<EpisodeId, KeptEpisode>()))
    let written = episodes.get(id)
    if (written === undefined) episodes.set(id, (written = { epoch, first, records: [] }))
    return written
  }

  /** What it has of the vDisk, as a rebuild finds it. */
  onDisk(vdisk: VDiskId, isFreed: (piece: ExtentPiece) => boolean): LogsOnDisks {
    const { epoch, episodes } = this.#vdisk(vdisk)
    const ofFreedGroups: LogsOnDisks['ofFreedGroups'][number][] = []
    let endBytes = 0
    let resized = 0
    const found = [...episodes].flatMap(([id, { first, records }]): LogsOnDisks['episodes'][number][] => {
      if (records.length === 0) return []
      const headers = records.map((record) => headerAt(record, 0))
      for (const record of records) {
        const { kind, sequence, payload } = decodeRecord(record, 0)!.record
        if (kind === 'extent' && decodeExtentPayload(payload).pieces.some(isFreed))
          ofFreedGroups.push({ episode: id, sequence })
      }
      endBytes = Math.max(endBytes, ...headers.map(({ offset, length }) => offset + length))
      for (const { kind, sequence } of headers) if (kind === 'size') resized = Math.max(resized, sequence)
      const hasOpen = headers.some(({ kind }) => kind === 'open')
      const [{ episodeFirst }] = headers
      const last = (first + records.length - 1) as Sequence
      return [{ id, disk: this.ref, episodeFirst, first: first as Sequence, last, hasOpen }]
    })
    return {
      epoch: epoch as Epoch,
      freed: (this.freed.get(vdisk) ?? 0) as Sequence,
      episodes: found,
      endBytes,
      resized: resized as Sequence,
      ofFreedGroups,
    }
  }

  /** All records of an episode, as they lie there. */
  records(vdisk: VDiskId, episode: EpisodeId): Buffer[] {
    return this.#vdisk(vdisk).episodes.get(episode)?.records ?? []
  }

  /** As a disk that has lost its last records and doesn't know it. */
  loseLast(vdisk: VDiskId, count: number): void {
    for (const episode of this.#vdisk(vdisk).episodes.values()) episode.records.splice(-count)
  }

  #raise(vdisk: VDiskId, epoch: Epoch): void {
    const kept = this.#vdisk(vdisk)
    if (epoch <= kept.epoch) return
    kept.epoch = epoch
    this.onFenced(vdisk, epoch)
  }

  #vdisk(vdisk: VDiskId) {
    let kept = this.#vdisks.get(vdisk)
    if (kept === undefined) {
      kept = { epoch: 0, grantedAt: Number.NEGATIVE_INFINITY, episodes: new Map() }
      this.#vdisks.set(vdisk, kept)
    }
    return kept
  }
}

/** A disk for extent groups. */
export class TestExtentDisk {
  readonly ref: DiskRef
  block: string
  readonly files = new Map<string, { pages: Buffer; finished: boolean; trailer?: Trailer }>()
  state: 'up' | 'gone' = 'up'
  capacityBytes = 1 * GiB
  guestFreeBytes = 1 * GiB
  usedBytes = 0

  constructor(node: string, block: string) {
    this.block = block
    this.ref = {
      node: node as NodeId,
      disk: `${node}-hdd-0` as DiskId,
      incarnation: `extents-of-${node}` as Incarnation,
    }
  }
}

const fileName = (group: GroupId, copy: CopyRef): string => `${group}.${copy.number}`

/** What outlives processes: the disks of three nodes, Medusa, Zeus, and the network between them. */
export class TestWorld {
  /** Of nodes that are made from now on. */
  pace: Pace = usualPace
  readonly clock = new TestClock()
  readonly random: (below: number) => number
  readonly logs = new Map<NodeId, TestLogDisk>()
  readonly extents = new Map<NodeId, TestExtentDisk>()
  readonly owners = new Map<VDiskId, Owner>()
  readonly alive = new Set<TestNode>()
  /** Nodes that are being left, in order. */
  readonly left = new Set<NodeId>()
  /** Nodes that are no part of the cluster any more. */
  readonly removed = new Set<NodeId>()
  readonly isRemoved = ({ node, incarnation }: DiskRef): boolean =>
    incarnation === noIncarnation || this.removed.has(node)
  readonly #database = new Database(':memory:')
  readonly engine: SqliteMedusa
  /** One of so many answers of Medusa is lost; 0: none. */
  loseOneAnswerOf = 0

  constructor(seed: number, nodes: readonly string[] = ['n1', 'n2', 'n3']) {
    this.random = seeded(seed)
    this.#database.exec(medusaSchema)
    this.engine = new SqliteMedusa(this.#database)
    for (const node of nodes) {
      this.logs.set(node as NodeId, new TestLogDisk(this.clock, node, `block-of-${node}`))
      this.extents.set(node as NodeId, new TestExtentDisk(node, `block-of-${node}`))
    }
  }

  close(): void {
    this.#database.close()
  }

  /** The rows of all extent groups, decoded. */
  groupRows(): Map<GroupId, GroupRow> {
    const rows = [...this.table('group').values()].flatMap((partition) => [...partition])
    return new Map(rows.map(([id, value]) => [id as GroupId, decodeGroupRow(value)]))
  }

  /** All rows of all partitions of one table, by partition. */
  table(name: PartitionName['table']): Map<string, Map<string, Buffer>> {
    const rows = this.#database
      .prepare<[string], { partition: string; key: string; value: Buffer }>(
        `SELECT p.key AS partition, r.key, r.value FROM medusa_rows r JOIN medusa_partitions p ON p.id = r.partition
         WHERE p.table_name = ? ORDER BY p.key, r.key`,
      )
      .all(name)
    const table = new Map<string, Map<string, Buffer>>()
    for (const { partition, key, value } of rows) {
      if (!table.has(partition)) table.set(partition, new Map())
      table.get(partition)!.set(key, value)
    }
    return table
  }

  /** Loses all of Medusa, and all of Zeus. */
  loseMetadata(): void {
    this.#database.exec('DELETE FROM medusa_rows; DELETE FROM medusa_partitions')
    this.owners.clear()
  }

  /** Loses a row, as a store that is damaged does. */
  loseRow(partition: PartitionName, key: string): void {
    this.#database
      .prepare(
        'DELETE FROM medusa_rows WHERE key = ? AND partition = (SELECT id FROM medusa_partitions WHERE table_name = ? AND key = ?)',
      )
      .run(key, partition.table, partition.key)
  }

  /** An operator has found it again. */
  putRow(partition: PartitionName, key: string, value: Buffer): void {
    this.#database
      .prepare(
        'INSERT INTO medusa_rows (partition, key, value) SELECT id, ?, ? FROM medusa_partitions WHERE table_name = ? AND key = ?',
      )
      .run(key, value, partition.table, partition.key)
  }

  /** Loses a whole partition. */
  losePartition(partition: PartitionName): void {
    for (const key of this.table(partition.table).get(partition.key)?.keys() ?? [])
      this.loseRow(partition, key)
    this.#database
      .prepare('DELETE FROM medusa_partitions WHERE table_name = ? AND key = ?')
      .run(partition.table, partition.key)
  }
}

/** One process of a node: it ends when it is killed, and what it had sent may still arrive. */
export class TestNode {
  readonly world: TestWorld
  readonly node: NodeId
  readonly platform: Platform
  readonly medusa: Medusa
  readonly oplogs: Oplogs
  readonly extents: ExtentStore
  readonly cache = createExtentCache({ limitBytes: 4 * MiB })
  #host: VDiskHost | undefined
  readonly #undrainedBytesMax: number
  running = true
  /** Calls of Medusa's `change` go through here first: to hold them back, or to look. */
  beforeChange: (partition: PartitionName, change: Change) => Promise<void> | void = () => undefined
  /** Hears of each copy that is removed. */
  onRemoved: (group: GroupId, copy: CopyRef) => void = () => undefined
  /** Messages sent but for those of logs. */
  calls = 0
  onCall: (calls: number) => void = () => undefined
  readonly #lastArrival = new Map<string, number>()

  constructor(world: TestWorld, node: string, undrainedBytesMax = 512 * MiB) {
    this.world = world
    this.node = node as NodeId
    const clock = new ProcessClock(world.clock, () => this.running)
    // Nothing here asks for files or sockets.
    this.platform = { clock, chance: chanceOf(world.random), log: quietLog } as unknown as Platform
    this.#undrainedBytesMax = undrainedBytesMax
    this.medusa = this.#medusa()
    this.oplogs = this.#oplogs()
    this.extents = this.#extents()
    world.alive.add(this)
  }

  /** All vDisks that this process owns. */
  get host(): VDiskHost {
    this.#host ??= this.#startHost()
    return this.#host
  }

  #startHost(): VDiskHost {
    const { world } = this
    const isLeft = ({ node }: DiskRef): boolean => world.left.has(node)
    const host = new VDiskHost({
      platform: this.platform,
      node: this.node,
      incarnation: `process-${world.random(2 ** 30)}` as Incarnation,
      zeus: this.#zeus(),
      medusa: this.medusa,
      oplogs: this.oplogs,
      replicas: [],
      extents: this.extents,
      cache: this.cache,
      pace: this.world.pace,
      writeWaitMaxMs: 60_000,
      undrainedBytesMax: this.#undrainedBytesMax,
      logCandidates: () =>
        [...world.logs.values()].flatMap(({ ref, block, state }) =>
          state === 'gone' ? [] : [{ ref, block, leaving: isLeft(ref) }],
        ),
      admitMaintenance: async () => () => undefined,
      isGone: (ref) => {
        const disk = this.world.extents.get(ref.node)!
        return disk.state === 'gone' || !sameDisk(disk.ref, ref)
      },
      mayBeRead: () => false,
      leaving: {
        isLeaving: isLeft,
        isPassedOver: isLeft,
        misplacedAmong: (copies) =>
          misplacedAmong(
            copies,
            (node) => world.extents.get(node)?.block,
            blocksAmong([...world.extents.values()].filter(({ state }) => state === 'up')),
          ),
        isRemoved: world.isRemoved,
      },
      isAnyGone: () =>
        this.world.left.size > 0 || [...this.world.extents.values()].some(({ state }) => state === 'gone'),
    })
    world.logs.get(this.node)!.onFenced = (vdisk, epoch) => {
      if (this.running) host.fenced(vdisk, epoch)
    }
    return host
  }

  /** The process is gone at once. */
  kill(): void {
    this.running = false
    this.world.alive.delete(this)
    for (const [vdisk, owner] of this.world.owners)
      if (owner.node === this.node) this.world.owners.set(vdisk, { ...owner, released: true })
  }

  /** A message there, `serve`, and a message back. `lane`: arrives in the order in which it was sent. */
  async call<T>(serve: () => T | Promise<T>, lane?: string): Promise<T> {
    if (!this.running) return never
    if (lane === undefined) this.onCall(++this.calls)
    if (!this.running) return never
    const { clock, random } = this.world
    let arrivesAt = clock.now() + random(30) / 10
    if (lane !== undefined) {
      arrivesAt = Math.max(arrivesAt, this.#lastArrival.get(lane) ?? 0)
      this.#lastArrival.set(lane, arrivesAt)
    }
    await clock.sleep(arrivesAt - clock.now())
    try {
      return await serve()
    } finally {
      await clock.sleep(random(30) / 10)
      if (!this.running) await never
    }
  }

  #medusa(): Medusa {
    const { world } = this
    const lossy = async <T>(serve: () => T | Promise<T>): Promise<T> => {
      if (world.loseOneAnswerOf > 0 && world.random(2 * world.loseOneAnswerOf) === 0)
        return await this.call(() => {
          throw new NdfsError('TIMED_OUT', 'the request was lost')
        })
      return await this.call(async () => {
        const answer = await serve()
        if (world.loseOneAnswerOf > 0 && world.random(2 * world.loseOneAnswerOf) === 0)
          throw new NdfsError('TIMED_OUT', 'the answer was lost')
        return answer
      })
    }
    return {
      get: (partition, rowKeys) =>
        lossy(() =>
          rowKeys === undefined
            ? world.engine.run('medusa.scan', { partition, limit: 1_000_000 })
            : world.engine.run('medusa.get', { partition, rowKeys: [...new Set(rowKeys)].sort() }),
        ),
      scan: (partition, { after, before, limit = 1000 } = {}) =>
        lossy((): Partition =>
          world.engine.run('medusa.scan', {
            partition,
            limit,
            ...(after === undefined ? {} : { after }),
            ...(before === undefined ? {} : { before }),
          }),
        ),
      getOfMany: (table, keys, rowKey) =>
        lossy(() =>
          world.engine
            .run('medusa.get-of-many', { table, keys, rowKey })
            .values.map((value) => value ?? undefined),
        ),
      change: (partition, change) =>
        lossy(async (): Promise<ChangeResult> => {
          await this.beforeChange(partition, change)
          return world.engine.run('medusa.change', { partition, change })
        }),
      close: async () => undefined,
    }
  }

  #zeus(): Zeus {
    const { owners } = this.world
    return {
      claim: (
        vdisk: VDiskId,
        by: { node: NodeId; incarnation: Incarnation },
        reason: string,
        atLeast: Epoch,
      ) =>
        this.call(() => {
          const owner = owners.get(vdisk)
          if (owner !== undefined && owner.released !== true && owner.node !== by.node && reason === 'free')
            throw new NdfsError('IN_USE', 'another owns it', { owner })
          const epoch = Math.max((owner?.epoch ?? 0) + 1, atLeast) as Epoch
          owners.set(vdisk, { ...by, epoch })
          return { ...by, epoch }
        }),
      release: (vdisk: VDiskId, epoch: Epoch, next?: NodeId) =>
        this.call(() => {
          const owner = owners.get(vdisk)
          if (owner?.epoch === epoch)
            owners.set(vdisk, { ...owner, released: true, ...(next === undefined ? {} : { next }) })
        }),
    } as unknown as Zeus
  }

  #oplogs(): Oplogs {
    const { world } = this
    const diskOf = (ref: DiskRef): TestLogDisk => world.logs.get(ref.node)!
    const reach = async <T>(ref: DiskRef, serve: (disk: TestLogDisk) => Promise<T>): Promise<T> => {
      const disk = diskOf(ref)
      const answer = this.call(async () => {
        if (disk.state === 'gone') throw new NdfsError('PEER_UNREACHABLE', `${ref.node} is gone`)
        if (disk.ref.incarnation !== ref.incarnation) throw new NdfsError('NOT_FOUND', 'it is another disk')
        if (disk.state === 'silent') return await never
        const result = await serve(disk)
        return disk.state === 'answers lost' ? await never : result
      }, `log of ${ref.node}`)
      const late = world.clock.sleep(2000).then(() => {
        if (!this.running) return never
        throw new NdfsError('TIMED_OUT', `${ref.node} does not answer`)
      })
      late.catch(() => undefined)
      return await Promise.race([answer, late])
    }
    const tell = (refs: readonly DiskRef[], what: (disk: TestLogDisk) => void): void => {
      for (const ref of refs)
        void this.call(() => {
          const disk = diskOf(ref)
          if (['up', 'full'].includes(disk.state) && disk.ref.incarnation === ref.incarnation) what(disk)
        }, `log of ${ref.node}`)
    }
    return {
      local: () => [],
      replica: (ref) => ({
        append: (vdisk, epoch, episode, records) => {
          let arrived = false
          if (diskOf(ref).state === 'silent') this.#staysInSocket(records, () => arrived)
          return reach(ref, (disk) => {
            arrived = true
            return disk.append(vdisk, epoch, episode, records)
          })
        },
        fence: (vdisk, epoch) => reach(ref, (disk) => disk.fence(vdisk, epoch)),
        read: (vdisk, episode, from, bytesMax) =>
          reach(ref, (disk) => disk.read(vdisk, episode, from, bytesMax)),
      }),
      free: (refs, vdisk, upTo) => tell(refs, (disk) => disk.free(vdisk, upTo)),
      seal: (refs, vdisk, episode, end) => tell(refs, (disk) => disk.seal(vdisk, episode, end)),
      keepGranted: (wanted, granted) => {
        const ask = (): void => {
          for (const want of wanted())
            for (const replica of want.replicas) {
              const sentAt = this.platform.clock.now()
              void reach(replica, async (disk) => ({
                found: disk.grant(want.vdisk, want.epoch, want.episode),
              })).then(
                ({ found }) => {
                  const { node, disk, incarnation } = replica
                  const { vdisk, epoch, episode, acknowledged } = want
                  const grant: Granted = {
                    ...{ vdisk, epoch, episode, acknowledged, node, disk, incarnation, sentAt },
                    ok: found !== undefined,
                    last: found?.last ?? (0 as Sequence),
                  }
                  granted(grant)
                },
                () => undefined,
              )
            }
        }
        const again = (): void => {
          ask()
          this.platform.clock.after(250, again)
        }
        this.platform.clock.after(1, again)
        return { wake: ask }
      },
      close: () => undefined,
    }
  }

  /** What a peer does not read is sent from where it lies, whenever it does. It may have answered again before the records came to it. */
  #staysInSocket(records: readonly EncodedRecord[], arrived: () => boolean): void {
    void this.world.clock.sleep(20_000).then(() => {
      if (arrived()) return
      for (const { header, payload } of records)
        assert(
          decodeRecord(Buffer.concat([header, ...payload]), 0) !== undefined,
          'the memory of a record was used again that waits in a socket',
        )
    })
  }

  #extents(): ExtentStore {
    const { world } = this
    const on = async <T>(copy: DiskRef, serve: (disk: TestExtentDisk) => T): Promise<T> => {
      const disk = world.extents.get(copy.node)!
      return await this.call(() => {
        if (disk.state === 'gone')
          throw new NdfsError('PEER_UNREACHABLE', `${copy.node} is gone`, {
            node: copy.node,
            disk: copy.disk,
          })
        return serve(disk)
      })
    }
    const all = async (
      access: GroupAccess,
      serve: (disk: TestExtentDisk, copy: CopyRef) => void,
    ): Promise<void> => {
      const results = await Promise.allSettled(
        access.copies.map((copy) => on(copy, (disk) => serve(disk, copy))),
      )
      const failed = results.find((result) => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
    }
    const store: ExtentStore = {
      write: async (access, at, pages, _purpose, trailer) => {
        const bytes = Buffer.concat(pages)
        await all(access, (disk, copy) => {
          const name = fileName(access.group, copy)
          assert.ok(!disk.files.has(name), 'a group is written once')
          assert.equal(at, 0)
          disk.files.set(name, {
            pages: Buffer.from(bytes),
            finished: trailer !== undefined,
            ...(trailer === undefined ? {} : { trailer }),
          })
        })
        return checksumsOf(bytes)
      },
      finish: (access, trailer) =>
        all(access, (disk, copy) => {
          const file = disk.files.get(fileName(access.group, copy))
          if (file === undefined)
            throw new NdfsError('NOT_FOUND', 'there is no such copy', { disk: copy.disk })
          file.finished = true
          file.trailer = trailer
        }),
      read: async (access, at, count, checksums, target) => {
        let unreachable = false
        for (const copy of access.copies)
          try {
            const sound = await on(copy, (disk) => {
              const file = disk.files.get(fileName(access.group, copy))
              const bytes = file?.pages.subarray(at * pageBytes, (at + count) * pageBytes)
              if (bytes?.length !== count * pageBytes) return false
              if (checksumsOf(bytes).some((checksum, i) => checksum !== checksums[i])) return false
              bytes.copy(target)
              return true
            })
            if (sound) return
            store.onBadCopy(access, copy, 'the test says so')
          } catch (error) {
            assert.ok(error instanceof NdfsError)
            unreachable = true
          }
        throw new NdfsError(
          unreachable ? 'PEER_UNREACHABLE' : 'CORRUPT_EXTENT',
          `no good copy of ${access.group}`,
        )
      },
      take: async (access, at, count, checksums) => {
        const target = takeLarge(count * pageBytes)
        await store.read(access, at, count, checksums, target)
        return target
      },
      rebuildCopy: async (access, last, trailer, arriving) => {
        const good = access.copies.filter((copy) => !last.includes(copy))
        const pages = Buffer.alloc(trailer.checksums.length * pageBytes)
        const copies = [...good, ...last]
        await store.read(
          { ...access, copies },
          groupPage(0),
          trailer.checksums.length,
          trailer.checksums,
          pages,
        )
        const rebuilt = await arriving()
        if (rebuilt === undefined) return undefined
        await on(rebuilt, (disk) =>
          disk.files.set(fileName(access.group, rebuilt), { pages, finished: true, trailer }),
        )
        return rebuilt
      },
      remove: async (group, copy) =>
        world.isRemoved(copy)
          ? undefined
          : on(copy, (disk) => {
              if (disk.files.delete(fileName(group, copy))) this.onRemoved(group, copy)
            }),
      verify: (group, copy, checksums) =>
        on(copy, (disk): CopyVerdict => {
          const file = disk.files.get(fileName(group, copy))
          if (file === undefined) return { state: 'missing', reason: 'its file is not there' }
          if (file.pages.length < checksums.length * pageBytes)
            return { state: 'short', reason: 'its file is too short' }
          const isRight = checksumsOf(file.pages).every((checksum, page) => checksum === checksums[page])
          return isRight ? { state: 'right' } : { state: 'bad', reason: 'its pages have other bytes' }
        }),
      inventory: (ref, folder) =>
        on(ref, (disk) =>
          folder > 0
            ? []
            : [...disk.files].map(([name, { pages }]): FoundCopy => {
                const [group, number] = name.split('.')
                return { group: group as GroupId, number: Number(number) as CopyNumber, bytes: pages.length }
              }),
        ),
      candidates: () =>
        [...world.extents.values()].map(
          ({ ref, block, state, capacityBytes, guestFreeBytes, usedBytes }): Candidate => ({
            ref,
            block,
            tier: 'flash',
            space: {
              ...{ capacityBytes, usedBytes, guestFreeBytes },
              maintenanceFreeBytes: capacityBytes - usedBytes,
            },
            live: state === 'up',
            leaving: world.left.has(ref.node),
          }),
        ),
      hearOfSpace: () => Promise.resolve(),
      // Without lots: tests say beforehand which nodes hold what.
      place: ({ draw: _, ...request }: PlacementRequest) => {
        const chosen = place(request, store.candidates())
        return { disks: chosen.map(({ ref }) => ref), mixed: isMixed(request, chosen) }
      },
      placeCopy: (request: CopyPlacementRequest) => placeCopy(request, store.candidates()),
      tierOf: () => 'flash',
      local: () => [],
      onBadCopy: () => undefined,
      statistics: () => ({
        pagesRead: 0,
        pagesReadFromPeers: 0,
        pagesWritten: 0,
        badPages: 0,
        copiesRebuilt: 0,
      }),
      close: async () => undefined,
    }
    return store
  }
}

function checksumsOf(bytes: Buffer): Uint32Array {
  return Uint32Array.from({ length: bytes.length / pageBytes }, (_, i) =>
    crc32c(bytes.subarray(i * pageBytes, (i + 1) * pageBytes)),
  )
}

export function chanceOf(random: (below: number) => number): Chance {
  return { below: random, bytes: (count) => Buffer.from(Array.from({ length: count }, () => random(256))) }
}

export const asVDisk = (id: number): VDiskId => id as VDiskId
export const asEpoch = (epoch: number): Epoch => epoch as Epoch
export const asSequence = (sequence: number): Sequence => sequence as Sequence
export const asEpisode = (episode: number): EpisodeId => episode as EpisodeId

export function diskRef(node: string, incarnation = 'first'): DiskRef {
  return { node: node as NodeId, disk: `${node}-flash-0` as DiskId, incarnation: incarnation as Incarnation }
}

/** An undrained record as the log keeps it. */
export function entry(
  kind: LogEntry['kind'],
  sequence: number,
  offset: number,
  length: number,
  payload: readonly Buffer[] = [],
): LogEntry {
  return {
    kind,
    vdisk: asVDisk(1),
    layer: 1 as LayerId,
    sequence: asSequence(sequence),
    offset: offset as LogEntry['offset'],
    length,
    time: 0,
    payload,
    payloadBytes: payload.reduce((sum, part) => sum + part.length, 0),
    arrivedAt: 0,
    settle: undefined,
  }
}
