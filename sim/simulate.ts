/**
 * One run of the simulated cluster: hard times while clients work, then a quiet end in which everything must be right.
 *
 *  hard times   clients write and read, troubles come
 *  quiet end    1. all nodes run again; every client gets its answers
 *               2. every vDisk is read whole through every node: the histories must be possible (I2), so every
 *                  acknowledged byte is there (I1), also those of nodes that are gone for good
 *               3. the logs drain; map, groups, index and files agree (I3, I7); what rots is scrubbed; `ndfs check` says so
 *               4. idle vDisks are given up with empty logs, and the log disks hold nothing (I1)
 *               5. what is deleted leaves nothing behind
 *               6. the nodes stop in order
 *
 * What a run is made of is drawn from its seed: see `planOf`.
 */
import { hasCode, messageOf, NdfsError } from '../src/base/errors.ts'
import type { NodeId, VDiskId } from '../src/base/ids.ts'
import { KiB, MiB, vDiskOffset } from '../src/base/units.ts'
import { Checkers } from './checkers/checkers.ts'
import { findOwnerFaults, findWhatLogsKeep } from './checkers/health.ts'
import { InvariantViolation } from './checkers/invariant-violation.ts'
import type { NodePace } from '../src/node.ts'
import { findCheckFaults, findWrongCopies } from './check-agrees.ts'
import { Cluster, type Tier } from './cluster.ts'
import { allTroubles, Faults, type Trouble } from './faults.ts'
import { findFileFaults, vDisksWithoutFile } from './files/files-at-rest.ts'
import { FileClients } from './files/file-clients.ts'
import { findViolation, initialValue, type PageOperation } from './linearizable-pages.ts'
import { type DamageTrouble } from './faults/damage.ts'
import { findMetadataFaults, vDiskStates } from './metadata-check.ts'
import {
  findSectorViolation,
  sectorBytes,
  SectorHistory,
  sectorsApart,
  type SectorRead,
  type SectorWrite,
  stampsIn,
  zeroStamp,
} from './sector-history.ts'
import { findOnDisks } from './drained.ts'
import { Operator } from './operators.ts'
import { OrderlyOperator } from './orderly-operator.ts'
import { inlineBytesMax } from '../src/stargate/namespace/namespace.ts'
import type { VDiskState } from '../src/stargate/vdisk-controller/rows.ts'
import { SeededChance } from './seeded-chance.ts'
import { Client, requestBytesMax } from './workload.ts'

export interface Plan {
  readonly nodes: number
  readonly copies: 1 | 2 | 3
  readonly vdisks: number
  readonly clientsPerVDisk: number
  /** Clients beside those, that only read: nothing that they do tells an owner that it is one no longer. */
  readonly readersPerVDisk: number
  readonly handsMost: number
  /** How much more than usual is written in streams: they are large, and few are enough for most runs. */
  readonly streamShare: number
  /**
   * Any machine may lose what its disks hold, all copies of something too. Then an error is a right answer and wrong bytes or
   * zeros are not, and nothing else is asked of the end.
   */
  readonly beyondPromise: boolean
  readonly sectors: number
  readonly hardTimesMs: number
  readonly troubles: Partial<Record<Trouble, number>>
  readonly troubleEveryMs: readonly [number, number]
  /** Between one trouble and the next, and no more (faults.ts). */
  readonly troubleEveryOperations: number
  readonly lossesMax: number
  /** Somebody manages the cluster meanwhile. */
  readonly operator: boolean
  /** Somebody takes nodes and disks out of use, and back. */
  readonly orderly: boolean
  /** Containers whose files clients use by NFS. */
  readonly shares: number
  readonly oplogSegmentBytes: number
  /** Left out: as large as disks of the cluster are (cluster.ts). */
  readonly capacityBytes?: Record<Tier, number>
  readonly cacheBytes: number
  readonly pace: NodePace
}

export interface Outcome {
  readonly hash: string
  readonly plan: Plan
  readonly virtualMs: number
  readonly writes: number
  readonly reads: number
  /** Calls of NFS, sent for the first time or again. */
  readonly calls: number
  readonly reconnects: number
  readonly errors: Readonly<Record<string, number>>
  readonly troubles: Readonly<Record<string, number>>
  /** What an operator did. */
  readonly operations: Readonly<Record<string, number>>
  /** vDisks whose history only a repeated write explains. */
  readonly repeated: number
  /** vDisks that hold no file's bytes, and are left: what a crash leaves, and nobody looks for (docs/nfs.md). */
  readonly vDisksWithoutFile: number
  /** Trees of files whose histories took too long to judge. */
  readonly undecided: number
}

export interface SimulateOptions {
  readonly seed: number
  readonly plan?: Partial<Plan>
  readonly trace?: (line: string) => void
}

/** What the seed says: each run another size, with other troubles, so that rare ones meet alone and together. */
export function planOf(seed: number): Plan {
  const chance = new SeededChance(seed, 'plan')
  const nodes = [3, 3, 3, 3, 3, 4, 4, 5, 6, 7][chance.below(10)]
  const copies = chance.happens(0.25) ? 3 : 2
  const troubles: Partial<Record<Trouble, number>> = {}
  for (const [kind, weight] of Object.entries(allTroubles))
    if (chance.happens(0.6)) troubles[kind as Trouble] = weight
  const plan: Plan = {
    nodes,
    copies,
    vdisks: [1, 1, 1, 2, 3][chance.below(5)],
    clientsPerVDisk: 1 + chance.below(3),
    handsMost: 1 + chance.below(4),
    sectors: [256, 512, 1024, 4096][chance.below(4)],
    hardTimesMs: chance.between(2_000, 5_000),
    troubles,
    troubleEveryMs: [50, [900, 1_600, 3_000][chance.below(3)]],
    troubleEveryOperations: 250,
    // Enough nodes stay for writes to go on, and one copy of everything.
    lossesMax: Math.min(copies - 1, nodes - copies),
    oplogSegmentBytes: [512 * KiB, 1 * MiB, 2 * MiB][chance.below(3)],
    cacheBytes: [256 * KiB, 4 * MiB][chance.below(2)],
    // Quicker than in a real cluster mostly, so that drains, releases and sweeps meet the rest.
    pace: {
      drainBeginsAtBytes: [128 * KiB, 1 * MiB, 32 * MiB][chance.below(3)],
      drainAgeMs: [500, 2_000, 4_000][chance.below(3)],
      idleReleaseMs: [1_000, 2_000, 5_000][chance.below(3)],
      freeAgainMs: [1_000, 5_000][chance.below(2)],
      sweepMs: [3_000, 10_000][chance.below(2)],
      goneGraceMs: [100, 800, 3_000][new SeededChance(seed, 'grace').below(3)],
      // Often enough to read all of it a few times, or as seldom as in a real cluster.
      scrubEveryMs: [4_000, 20_000, 14 * 86_400_000][new SeededChance(seed, 'scrub').below(3)],
    },
    readersPerVDisk: chance.below(2),
    streamShare: 0,
    beyondPromise: false,
    operator: chance.happens(0.2),
    orderly: new SeededChance(seed, 'orderly').happens(0.1),
    shares: 0,
  }
  const theme = themeOf(chance, plan)
  const themed = { ...plan, ...(theme ?? filesOf(seed)) }
  return { ...themed, orderly: themed.orderly && !themed.beyondPromise && nodes > copies }
}

/** One run in eight is about files: of vDisks there is little else in it. */
function filesOf(seed: number): Partial<Plan> {
  const chance = new SeededChance(seed, 'files')
  if (!chance.happens(1 / 8)) return {}
  return { shares: 1 + chance.below(2), ...besideFiles }
}

/** The operator is sure of all vDisks. A log takes what a file has in it when it becomes a vDisk as one record. */
export const besideFiles: Partial<Plan> = {
  ...{ vdisks: 1, clientsPerVDisk: 1, readersPerVDisk: 0, handsMost: 1, operator: false },
  oplogSegmentBytes: 1 * MiB,
}

/** One run in sixteen is about something that would be met too seldom. */
function themeOf(chance: SeededChance, plan: Plan): Partial<Plan> | undefined {
  const draw = chance.below(100)
  // Much goes straight to extent groups.
  if (draw < 1) return { streamShare: 0.04, sectors: 4096, vdisks: 1, operator: false }
  if (draw < 5) {
    const troubles = { ...plan.troubles }
    for (const kind of destroying) troubles[kind] = 2 * allTroubles[kind]
    return { beyondPromise: true, troubles, operator: false }
  }
  // There is less room than is written to, so that guests are told so.
  if (draw < 6) {
    return {
      ...{ nodes: 3, vdisks: 3, sectors: 8192, streamShare: 0.03, operator: false, beyondPromise: true },
      ...{ oplogSegmentBytes: 512 * KiB, capacityBytes: { flash: 8 * MiB, hdd: 4 * MiB } },
    }
  }
  return undefined
}

/** What destroys bytes, but not whole machines. */
const destroying: readonly DamageTrouble[] = [
  'group rot',
  'group file lost',
  'group write lost',
  'log rot',
  'log write lost',
  'log stretch lost',
  'blank disk',
]

const operationsMin = 500
/** All together ask for about as much, however many they are; and for less, once it is enough. */
const pauseMsMostOfOne = 8
const laterPausesLongerBy = 25
const troublesMin = 5
/** After so many, the next one comes when clients got something done. */
const troublesByTimeMost = 8
const troubleKindsMin = 2
/** How much longer hard times last until they were hard enough, at the most. */
const hardTimesMoreMs = 20_000
/** Longer than any takeover, and any wait for copies, may take once all is quiet. */
const quietLimitMs = 300_000
const readAtOnceBytes = 256 * KiB
/** What rots is healed by a scrub that comes round so often; a slower one takes longer than a run. */
const scrubWaitedForMs = 20_000
/** The session of a node that was lost has ended by then. */
const deathKnownMs = 2_500
/** For an answer that may never come. */
const patienceMs = 20_000

/** Rejects where something went wrong, with what and when. */
export async function simulate({ seed, plan: given, trace }: SimulateOptions): Promise<Outcome> {
  const plan: Plan = { ...planOf(seed), ...given }
  let bug: unknown
  const onBug = (error: unknown): void => void (bug ??= error)
  process.on('unhandledRejection', onBug)
  const run = new Run(seed, plan, trace)
  try {
    return await run.run(() => {
      if (bug !== undefined)
        throw new Error(`a bug in a promise that nobody awaits: ${(bug as Error).stack}`, { cause: bug })
    })
  } catch (error) {
    throw new Error(
      `${messageOf(bug ?? error)}\nseed ${seed}, at ${run.now.toFixed(4)} ms\n${run.whereabouts()}`,
      { cause: bug ?? error },
    )
  } finally {
    process.off('unhandledRejection', onBug)
    run.end()
  }
}

class Run {
  readonly #seed: number
  readonly #plan: Plan
  readonly #trace: ((line: string) => void) | undefined
  readonly #histories = new Map<string, SectorHistory>()
  readonly #clients: Client[] = []
  readonly #files: FileClients[] = []
  /** For the last reads, which come one after the other. */
  readonly #readInto = Buffer.alloc(readAtOnceBytes)
  #cluster: Cluster | undefined
  #lastStamp = 0
  #withoutFile = 0

  constructor(seed: number, plan: Plan, trace: ((line: string) => void) | undefined) {
    this.#seed = seed
    this.#plan = plan
    this.#trace = trace
  }

  get now(): number {
    return this.#cluster?.world.now ?? 0
  }

  /** How things stand, for whoever has to find out what went wrong. */
  whereabouts(): string {
    const cluster = this.#cluster
    const owned = (cluster?.serving() ?? []).flatMap((name) =>
      cluster!
        .node(name)!
        .controller.all()
        .map((vdisk) => `${name} owns ${JSON.stringify(vdisk.describe())}`),
    )
    return [...owned, ...[...this.#clients, ...this.#files].map(({ does }) => does)].join('\n')
  }

  end(): void {
    this.#cluster?.database.close()
  }

  async run(check: () => void): Promise<Outcome> {
    const { nodes, oplogSegmentBytes, capacityBytes, cacheBytes, pace } = this.#plan
    const { hardTimesMs, troubles, troubleEveryMs, troubleEveryOperations, lossesMax } = this.#plan
    const cluster = await Cluster.start({
      seed: this.#seed,
      nodes,
      oplogSegmentBytes,
      cacheBytes,
      pace,
      nfs: this.#plan.shares > 0,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
      ...(this.#trace === undefined ? {} : { trace: this.#trace }),
    })
    this.#cluster = cluster
    const { world } = cluster
    const checkers = new Checkers(cluster, {
      copies: this.#plan.copies,
      oplogSegmentBytes,
      requestBytesMax: this.#plan.shares > 0 ? inlineBytesMax : requestBytesMax,
    })
    await world.play(() => this.#createVDisks(cluster, checkers))
    for (let i = 1; i <= this.#plan.shares; i++)
      await world.play(() => this.#createShare(cluster, checkers, i))
    check()

    const badMachines = this.#plan.beyondPromise ? nodes : this.#plan.copies - 1
    const work = {
      done: () => this.#operations,
      operationsMost: troubleEveryOperations,
      troublesMost: troublesByTimeMost,
    }
    const faults = new Faults(
      cluster,
      { weights: troubles, everyMs: troubleEveryMs, work, lossesMax, badMachines },
      (line) => this.#trace?.(`${world.now.toFixed(4)} trouble: ${line}`),
    )
    let failure: unknown
    const operator = this.#operatorOf(cluster)
    const orderly = this.#orderlyOf(cluster)
    const operators = [operator, orderly].filter((one) => one !== undefined)
    const atWork = [...this.#clients, ...this.#files, ...operators]
    const working = Promise.all(atWork.map((one) => one.run())).catch((error: unknown) => {
      failure = error
    })
    const checkAll = (): void => {
      check()
      checkers.look()
      if (failure !== undefined) throw failure as Error
    }
    faults.begin()
    const [least, most] = [world.now + hardTimesMs, world.now + hardTimesMs + hardTimesMoreMs]
    while (world.now < least || (world.now < most && !this.#isHardEnough(faults))) {
      await world.run(world.now + 500)
      checkAll()
    }

    this.#trace?.(`${world.now.toFixed(4)} quiet`)
    faults.calm()
    for (const one of atWork) one.stop()
    const allServe = (): boolean => cluster.serving().length === cluster.notLost().length
    await world.run(allServe, quietLimitMs)
    faults.mend()
    await world.play(() => working, quietLimitMs)
    checkAll()
    await world.run(allServe, quietLimitMs)
    for (const node of cluster.notLost())
      for (const [vdisk, history] of this.#histories) {
        await world.play(() => this.#readAll(cluster, node, vdisk, history), quietLimitMs)
        checkAll()
      }
    for (const node of cluster.notLost())
      for (const files of this.#files) {
        await world.play(() => files.lookThrough(node), quietLimitMs)
        checkAll()
      }
    for (const node of cluster.notLost())
      await world.play(() => this.#checkNothingIsLent(cluster, node), quietLimitMs)
    const repeated = this.#checkHistories(operator?.histories ?? [])
    for (const files of this.#files) files.check()
    if (!this.#plan.beyondPromise) await this.#heal(cluster, faults, checkAll, orderly?.drained)
    for (const node of cluster.notLost()) await world.play(() => cluster.stop(node), quietLimitMs)
    checkAll()
    return {
      hash: world.eventHash,
      plan: this.#plan,
      virtualMs: world.now,
      ...this.#sums(),
      troubles: Object.fromEntries(faults.counts),
      operations: Object.fromEntries(operators.flatMap(({ counts }) => [...counts])),
      repeated,
      vDisksWithoutFile: this.#withoutFile,
    }
  }

  /** What was lent to clients has been given back when they have all that they asked for (I9). */
  async #checkNothingIsLent(cluster: Cluster, node: NodeId): Promise<void> {
    const samples = (await cluster.node(node)?.management.statistics()) ?? []
    const lent = samples.find(({ name }) => name === 'extent_cache_lent_bytes')
    if (lent !== undefined && lent.value !== 0)
      throw new InvariantViolation('I9', `${lent.value} bytes of the cache of ${node} are lent to nobody`)
  }

  /** All that must come right by itself, once nothing goes wrong any more. */
  async #heal(
    cluster: Cluster,
    faults: Faults,
    checkAll: () => void,
    drained: NodeId | undefined,
  ): Promise<void> {
    const { world } = cluster
    await world.play(() => this.#touchAll(cluster), quietLimitMs)
    // In use, so that its owner keeps it: what has a copy where nobody answers is tried again only after a while.
    const touch = (): Promise<void> => world.play(() => this.#touchAll(cluster), quietLimitMs)
    await this.#until(
      'every vDisk has one owner, and map, groups and files agree',
      () => [
        ...findOwnerFaults(cluster, this.#usedVDisks(cluster)),
        ...findMetadataFaults(cluster, faults.damage),
        ...findFileFaults(cluster.database),
        ...(drained === undefined ? [] : findOnDisks(cluster, ({ node }) => node === drained)),
      ],
      checkAll,
      touch,
    )
    const { scrubEveryMs } = this.#plan.pace
    if (scrubEveryMs > 0 && scrubEveryMs <= scrubWaitedForMs)
      await this.#until(
        'the scrub has found every wrong copy, whoever reads it',
        () => findWrongCopies(cluster, faults.damage).map((copy) => `I5: ${copy} is wrong`),
        checkAll,
        touch,
      )
    const chance = new SeededChance(this.#seed, 'check')
    if (chance.happens(0.25)) {
      // Of a node that was lost a moment ago a check says that it ended while it checked.
      await world.run(world.now + deathKnownMs)
      const serving = cluster.serving()
      const node = serving[chance.below(serving.length)]
      const wrong = await world.play(() => findCheckFaults(cluster, faults.damage, node), quietLimitMs)
      if (wrong.length > 0) throw new Error(wrong.join('\n'))
    }
    await this.#until(
      'idle vDisks are given up, and the logs are empty',
      () => findWhatLogsKeep(cluster, vDiskStates(cluster.database)),
      checkAll,
    )
    await world.play(() => this.#deleteAll(cluster), quietLimitMs)
    await this.#until(
      'nothing is left of deleted vDisks',
      () => findMetadataFaults(cluster, faults.damage),
      checkAll,
    )
    this.#withoutFile = vDisksWithoutFile(
      cluster.database,
      this.#files.map(({ container }) => container),
    ).length
  }

  get #pauseMsMost(): number {
    const { vdisks, clientsPerVDisk, handsMost } = this.#plan
    const pauseMs = pauseMsMostOfOne * (vdisks * clientsPerVDisk * handsMost + this.#files.length)
    return this.#operations < operationsMin ? pauseMs : laterPausesLongerBy * pauseMs
  }

  get #operations(): number {
    let operations = 0
    for (const { counts } of this.#clients)
      operations += counts.writes + counts.zeroes + counts.streams + counts.reads
    for (const { counts } of this.#files) operations += counts.calls
    return operations
  }

  /** Every run is to be worth its time: many operations while several things go wrong. */
  #isHardEnough({ counts, total }: Faults): boolean {
    return this.#operations >= operationsMin && total >= troublesMin && counts.size >= troubleKindsMin
  }

  async #createVDisks(cluster: Cluster, checkers: Checkers): Promise<void> {
    const { copies, vdisks, clientsPerVDisk, readersPerVDisk, handsMost, sectors } = this.#plan
    const chance = cluster.world.chance('vdisks')
    const { management } = cluster.node(cluster.names[0])!
    await management.createContainer({ name: 'c', copies })
    for (let i = 1; i <= vdisks; i++) {
      const name = `v${i}`
      await management.createVDisk({ container: 'c', name, sizeBytes: sectors * sectorBytes })
      const history = new SectorHistory()
      this.#histories.set(`c/${name}`, history)
      for (let k = 1; k <= clientsPerVDisk + readersPerVDisk; k++) {
        const onlyReads = k > clientsPerVDisk
        const readingHands = onlyReads ? 1 : chance.below(2)
        this.#clients.push(
          new Client(cluster, {
            name: `${name}-${k}`,
            vdisk: `c/${name}`,
            sectors,
            hands: readingHands + (onlyReads ? 0 : 1 + chance.below(handsMost)),
            readingHands,
            streamShare: this.#plan.streamShare,
            pauseMsMost: () => this.#pauseMsMost,
            beyondPromise: this.#plan.beyondPromise,
            history,
            nextStamp: () => ++this.#lastStamp,
            observer: checkers.clientObserver(history),
          }),
        )
      }
    }
  }

  async #createShare(cluster: Cluster, checkers: Checkers, number: number): Promise<void> {
    const container = `files${number}`
    await cluster
      .node(cluster.names[0])!
      .management.createContainer({ name: container, copies: this.#plan.copies })
    this.#files.push(
      await FileClients.mount(cluster, {
        container,
        host: `127.0.0.${1 + number}`,
        treeHands: 4,
        contentHands: 3,
        pauseMsMost: () => this.#pauseMsMost,
        nextStamp: () => ++this.#lastStamp,
        observer: (history) => checkers.clientObserver(history),
      }),
    )
  }

  #operatorOf(cluster: Cluster): Operator | undefined {
    if (!this.#plan.operator) return undefined
    return new Operator(cluster, {
      copies: this.#plan.copies,
      lasting: [...this.#histories.keys()],
      containers: ['c'],
      nextStamp: () => ++this.#lastStamp,
      log: (line) => this.#trace?.(`${cluster.world.now.toFixed(4)} operator: ${line}`),
    })
  }

  #orderlyOf(cluster: Cluster): OrderlyOperator | undefined {
    const { orderly, operator, nodes, copies, lossesMax } = this.#plan
    if (!orderly) return undefined
    return new OrderlyOperator(cluster, {
      seed: this.#seed,
      copies: copies + lossesMax,
      // The other operator is sure of all nodes.
      removalsMax: operator ? 0 : Math.max(0, nodes - copies - lossesMax - 1),
      log: (line) => this.#trace?.(`${cluster.world.now.toFixed(4)} operator: ${line}`),
    })
  }

  /** One node's view of the whole vDisk, as reads of the history. */
  async #readAll(cluster: Cluster, node: NodeId, vdisk: string, history: SectorHistory): Promise<void> {
    const { world } = cluster
    const opened = await this.#answered(cluster.node(node)!.router.open(vdisk))
    if (opened instanceof NdfsError) return
    const size = this.#plan.sectors * sectorBytes
    for (let at = 0; at < size; at += readAtOnceBytes) {
      const target = this.#readInto.subarray(0, Math.min(readAtOnceBytes, size - at))
      const calledAt = world.now
      const reading = Promise.resolve(opened.read(vDiskOffset(at), target)).then(() => target)
      const read = await this.#answered(reading)
      // What is bad is bad; where nobody serves the vDisk, the rest would be waited for as long.
      if (hasCode(read, 'CORRUPT_EXTENT')) continue
      if (read instanceof NdfsError) break
      const first = at / sectorBytes
      history.reads.push({
        first,
        stamps: stampsIn(target, first, `the last read of ${vdisk} through ${node}`),
        by: `the end through ${node}`,
        calledAt,
        answeredAt: world.now,
      })
    }
    opened.close()
  }

  /** Or the error, where one is a right answer, and as right as none in a long time. */
  async #answered<T>(asked: Promise<T>): Promise<T | NdfsError> {
    if (!this.#plan.beyondPromise) return asked
    const none = new NdfsError('TIMED_OUT', 'no answer')
    const patience = new Promise<NdfsError>((resolve) =>
      this.#cluster!.world.after(patienceMs, () => resolve(none)),
    )
    try {
      return await Promise.race([asked, patience])
    } catch (error) {
      if (error instanceof NdfsError) return error
      throw error
    }
  }

  /** Those that clients use to the end: another's row may be what a creation that was cut short has left. */
  #usedVDisks(cluster: Cluster): ReadonlyMap<VDiskId, VDiskState> {
    return new Map([...vDiskStates(cluster.database)].filter(([, { name }]) => this.#histories.has(name)))
  }

  /** A last write to each vDisk: whoever owns it drains it, and looks after its groups. */
  async #touchAll(cluster: Cluster): Promise<void> {
    for (const vdisk of this.#histories.keys()) {
      const opened = await cluster.node(cluster.serving()[0])!.router.open(vdisk)
      await opened.zero(vDiskOffset(0), sectorBytes, false)
      opened.close()
    }
    for (const files of this.#files) await files.touch()
  }

  async #deleteAll(cluster: Cluster): Promise<void> {
    for (const files of this.#files) await files.removeAll()
    const { management } = cluster.node(cluster.serving()[0])!
    for (const name of this.#histories.keys())
      await management.deleteVDisk({ container: 'c', name: name.split('/')[1] }, { force: true })
  }

  #checkHistories(more: Operator['histories']): number {
    let repeated = 0
    const all = [...this.#histories].map(([vdisk, history]) => ({ vdisk, history }))
    for (const { vdisk, history } of [...all, ...more]) {
      const violation = findSectorViolation(history)
      if (violation !== undefined)
        throw new InvariantViolation(
          'I2',
          `${vdisk}: ${violation.message}\n${violation.involved.map(describe).join('\n')}`,
        )
      const isRepeated = [...strictOperations(history)].some((one) => findViolation(one) !== undefined)
      if (isRepeated) repeated++
    }
    return repeated
  }

  async #until(
    what: string,
    find: () => readonly string[],
    check: () => void,
    meanwhile: () => Promise<void> = async () => undefined,
  ): Promise<void> {
    const { world } = this.#cluster!
    const giveUpAt = world.now + quietLimitMs
    for (let looks = 1; ; looks++) {
      check()
      const faults = find()
      if (faults.length === 0) return
      if (world.now >= giveUpAt)
        throw new Error(
          `${faults[0]}\nnot in ${quietLimitMs} ms: ${what}\n${faults.slice(1, 10).join('\n')}\n(${faults.length} in all)`,
        )
      await world.run(world.now + 1_000)
      if (looks % 20 === 0) await meanwhile()
    }
  }

  #sums() {
    const errors = new Map<string, number>()
    let [writes, reads, calls, reconnects, undecided] = [0, 0, 0, 0, 0]
    for (const { counts } of this.#clients) {
      writes += counts.writes + counts.zeroes + counts.streams
      reads += counts.reads
      reconnects += counts.reconnects
      for (const [code, count] of counts.errors) errors.set(code, (errors.get(code) ?? 0) + count)
    }
    for (const { counts, undecided: trees } of this.#files) {
      calls += counts.calls
      reconnects += counts.reconnects
      undecided += trees
      for (const status of ['JUKEBOX', 'NOSPC'])
        if (counts.statuses.has(status))
          errors.set(status, counts.statuses.get(status)! + (errors.get(status) ?? 0))
    }
    return { writes, reads, calls, reconnects, undecided, errors: Object.fromEntries(errors) }
  }
}

/** Sectors that were never zeroed, as linearizable-pages.ts wants them: each write once. */
function* strictOperations(history: SectorHistory): Generator<PageOperation[]> {
  for (const { sector: page, writes, reads } of sectorsApart(history)) {
    if (writes.some(({ stamp }) => stamp === zeroStamp)) continue
    const operations: PageOperation[] = []
    for (const { stamp, calledAt, answeredAt } of writes)
      operations.push({ kind: 'write', page, value: stamp, calledAt, answeredAt })
    for (const { stamps, first, calledAt, answeredAt } of reads) {
      const stamp = stamps[page - first]
      const value = stamp === zeroStamp ? initialValue : stamp
      operations.push({ kind: 'read', page, value, calledAt, answeredAt })
    }
    yield operations
  }
}

function describe(operation: SectorWrite | SectorRead): string {
  const time = (ms: number | undefined): string => (ms === undefined ? '–' : ms.toFixed(4))
  const { by, first, calledAt, answeredAt } = operation
  if ('stamps' in operation)
    return `  read of ${first}+${operation.stamps.length} by ${by}, ${time(calledAt)} to ${time(answeredAt)}`
  return `  write ${operation.stamp} of ${first}+${operation.count} by ${by}, ${time(calledAt)} to ${time(answeredAt)}, over by ${time(operation.overBy)}`
}
