/**
 * A disk that is slow, and alive, is a failure too: each write waits for it. So it is taken out of service, its copies are made anew
 * elsewhere, and it is put back when it is well again.
 *
 *  1. A disk is slow when for half a minute its operations took ten times as long as those of the cluster's other disks of its tier, by
 *     their medians. A cluster whose disks are all slow has no slow disk, and neither has one that is fast enough for anybody (`fastMs`).
 *  2. Only one disk of the cluster is out for being slow at a time (a key in Zeus), only while nothing else is gone, and only where the
 *     nodes that are left have disks for all copies: a copy is better slow than missing.
 *  3. A disk that is out is tested now and then; well three times in a row it is put back. Out for the third time in an hour it stays out,
 *     also when its node is started again, until a person replaces it (`disk-trouble/…` in Zeus). What it holds can still be read,
 *     and is read last, until it is elsewhere (M12).
 *
 * A disk that gives no answer at all for ten seconds has failed (M12), under the same conditions, and only while no other disk of the
 * cluster is without an answer, too: what stops all disks is not a disk.
 *
 * Errors go the same way into the count of 3: a disk that failed three times within an hour is not taken into use again by a restart.
 */
//  well → suspected   slow for one interval                              [#measured]
//  suspected → well   an interval that was not slow                      [#measured]
//  suspected → slow   slow for half a minute, and it may leave           [#leave]
//  slow → well        three tests passed                                 [#test]
//  any → failed       an operation has had no answer for ten seconds     [#hangs]
//  slow → condemned   for the third time in an hour                      [#leave]
import { decodeControl, encodeControl } from './base/control.ts'
import { hasCode, messageOf, NdfsError } from './base/errors.ts'
import type { Incarnation, NodeId } from './base/ids.ts'
import type { Disk, Tier, WatchedDisk } from './disk/disk.ts'
import { latencyIntervals, medianOf } from './disk/latency.ts'
import type { Peers } from './peer/peer.ts'
import type { Clock, Log, Timer } from './platform/platform.ts'
import type { ContainerValue, SessionValue, Zeus } from './zeus/zeus.ts'

export interface SlowDisksContext {
  readonly clock: Clock
  readonly log: Log
  readonly node: NodeId
  /** This node's process. */
  readonly incarnation: Incarnation
  readonly disks: readonly WatchedDisk[]
  readonly zeus: Zeus
  readonly peers: Peers
  readonly liveNodes: () => readonly NodeId[]
  readonly lives: (node: NodeId, incarnation: Incarnation) => boolean
  /** Why the cluster can't do without the disk now; undefined where it can. */
  readonly neededFor: (disk: WatchedDisk) => string | undefined
  /** The state of one of this node's disks has changed. */
  readonly changed: (disk: WatchedDisk) => void
}

/** How many times the median of the others. */
const slowFactor = 10
/** Nobody is hurt by a disk that is faster than this. */
const fastMs: Record<Tier, number> = { flash: 25, hdd: 150 }
/** The others' median says something from so many disks on. */
const othersMin = 2
const testEveryMs = 20_000
const testsToPass = 3
const outsMax = 3
const outsWithinMs = 3_600_000
const askTimeoutMs = 1000

/** `slow-disk` in Zeus: the one that is out. It counts while the process that took it lives. */
interface SlowDiskValue {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly disk: string
}
const slowDiskKey = 'slow-disk'

/** `disk-trouble/DISK.INCARNATION` in Zeus. */
export interface DiskTroubleValue {
  /** When it was out: milliseconds since 1970. */
  readonly outs: readonly number[]
  /** Why it is out for good. */
  readonly condemned?: string
}
const troubleKey = ({ ref }: Disk): string => `disk-trouble/${ref.disk}.${ref.incarnation}`

interface Latency {
  readonly disk: string
  readonly tier: Tier
  /** Undefined where too little was measured. */
  readonly medianMs?: number
  /** How long its oldest operation has had no answer. */
  readonly oldestMs: number
}
/** Another disk that has had no answer for so long hangs, too. */
const alsoHangsMs = 2000

export class SlowDisks {
  readonly #context: SlowDisksContext
  /** Intervals in a row in which it was slow. */
  readonly #slowFor = new Map<WatchedDisk, number>()
  readonly #timers = new Map<WatchedDisk, Timer>()
  #judging = false
  #stopped = false

  constructor(context: SlowDisksContext) {
    this.#context = context
    for (const disk of context.disks) {
      disk.latency.onInterval = (medianMs) =>
        void this.#judge(disk, 'online', () => this.#measured(disk, medianMs))
      disk.latency.onOverdue = () => void this.#judge(disk, 'slow', () => this.#hangs(disk))
    }
    context.peers.handle('disk.latencies', 'terminal', () => [encodeControl(this.#latencies())])
  }

  /** Before the node is shown to others: disks that are out for good are not taken into use. */
  async begin(): Promise<void> {
    for (const disk of this.#context.disks) {
      const trouble = await this.#trouble(disk)
      if (trouble.value.condemned !== undefined)
        disk.fail(new Error(`it is out of service for good: ${trouble.value.condemned}`))
    }
  }

  /** A disk of this node failed. */
  async failed(disk: WatchedDisk, reason: string): Promise<void> {
    this.#timers.get(disk)?.cancel()
    this.#slowFor.delete(disk)
    await this.#count(disk, reason)
    await this.#giveKeyBack(disk)
  }

  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers.values()) timer.cancel()
  }

  #latencies(): Latency[] {
    return this.#context.disks.flatMap(({ ref, tier, state, latency: { medianMs, oldestMs } }) =>
      state !== 'online'
        ? []
        : [{ disk: ref.disk, tier, oldestMs, ...(medianMs === undefined ? {} : { medianMs }) }],
    )
  }

  /** One judgement at a time, on a disk that is no worse than that. */
  async #judge(disk: WatchedDisk, worst: 'online' | 'slow', judge: () => Promise<void>): Promise<void> {
    if (this.#stopped || this.#judging || (disk.state !== 'online' && disk.state !== worst)) return
    this.#judging = true
    try {
      await judge()
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      this.#context.log.warn('a sick disk could not be taken out of service', {
        disk: disk.ref.disk,
        reason: messageOf(error),
      })
    } finally {
      this.#judging = false
    }
  }

  async #measured(disk: WatchedDisk, medianMs: number): Promise<void> {
    if (medianMs < fastMs[disk.tier]) return void this.#slowFor.delete(disk)
    // Only who may be slow asks how the others do.
    const others = await this.#othersMedianMs(disk)
    if (others === undefined || medianMs < slowFactor * others) return void this.#slowFor.delete(disk)
    const intervals = (this.#slowFor.get(disk) ?? 0) + 1
    this.#slowFor.set(disk, intervals)
    if (intervals >= latencyIntervals) await this.#leave(disk, medianMs, others)
  }

  async #othersMedianMs({ tier, ref }: WatchedDisk): Promise<number | undefined> {
    const others = (await this.#others(ref.disk)).flatMap((one) =>
      one.tier === tier && one.medianMs !== undefined ? [one.medianMs] : [],
    )
    return others.length < othersMin ? undefined : medianOf(others)
  }

  /** How the other disks of the cluster do, of nodes that answer. */
  async #others(than: string): Promise<readonly Latency[]> {
    const { peers, liveNodes, node } = this.#context
    const answers = await Promise.all(
      liveNodes()
        .filter((other) => other !== node)
        .map(async (other): Promise<readonly Latency[]> => {
          try {
            return decodeControl<Latency[]>(
              await peers.call(other, 'disk.latencies', [], { timeoutMs: askTimeoutMs }),
            )
          } catch (error) {
            if (error instanceof NdfsError) return []
            throw error
          }
        }),
    )
    return [...answers.flat(), ...this.#latencies()].filter(({ disk }) => disk !== than)
  }

  async #hangs(disk: WatchedDisk): Promise<void> {
    const { neededFor, log } = this.#context
    const others = await this.#others(disk.ref.disk)
    const alsoHangs = others.find(({ oldestMs }) => oldestMs >= alsoHangsMs)
    const seconds = Math.round(disk.latency.oldestMs / 1000)
    // One that is out for being slow has been judged by this already.
    const needed =
      disk.state === 'slow'
        ? undefined
        : alsoHangs !== undefined
          ? `${alsoHangs.disk} gives no answer either`
          : (neededFor(disk) ?? ((await this.#takeKey(disk)) ? undefined : 'another slow disk is out'))
    if (needed !== undefined)
      return log.warn(`a disk gives no answer, and stays in service: ${needed}`, {
        disk: disk.ref.disk,
        seconds,
      })
    disk.fail(new Error(`an operation has had no answer for ${seconds} s`))
  }

  async #leave(disk: WatchedDisk, medianMs: number, others: number): Promise<void> {
    const { neededFor, log } = this.#context
    const needed = neededFor(disk) ?? ((await this.#takeKey(disk)) ? undefined : 'another slow disk is out')
    const facts = { disk: disk.ref.disk, medianMs: Math.round(medianMs), others: Math.round(others) }
    if (needed !== undefined) return log.warn(`a disk is slow, and stays in service: ${needed}`, facts)
    if (this.#stopped || disk.state !== 'online') return this.#giveKeyBack(disk)
    this.#slowFor.delete(disk)
    const reason = `its operations take ${Math.round(medianMs)} ms, and those of other ${disk.tier} disks ${others.toFixed(1)} ms`
    log.error('a disk is slow, and leaves service', facts)
    disk.beSlow(reason)
    this.#context.changed(disk)
    if (await this.#count(disk, reason)) return
    const limitMs = Math.max(fastMs[disk.tier], (slowFactor / 2) * others)
    this.#testLater(disk, limitMs, 0)
  }

  #testLater(disk: WatchedDisk, limitMs: number, passed: number): void {
    if (this.#stopped) return
    const { clock } = this.#context
    this.#timers.set(
      disk,
      clock.after(testEveryMs, () => void this.#test(disk, limitMs, passed)),
    )
  }

  async #test(disk: WatchedDisk, limitMs: number, passedBefore: number): Promise<void> {
    const problem = await disk.selfTest(limitMs)
    if (this.#stopped || disk.state !== 'slow') return
    const passed = problem === undefined ? passedBefore + 1 : 0
    if (passed < testsToPass) return this.#testLater(disk, limitMs, passed)
    this.#context.log.info('a disk that was slow is well again, and in service', { disk: disk.ref.disk })
    disk.beWell()
    this.#context.changed(disk)
    await this.#giveKeyBack(disk)
  }

  /** Notes that the disk is out. True: for good. */
  async #count(disk: WatchedDisk, reason: string): Promise<boolean> {
    const { clock, zeus, log } = this.#context
    for (;;)
      try {
        const { value, version } = await this.#trouble(disk)
        if (value.condemned !== undefined) return true
        const now = Math.round(clock.wallTime())
        const outs = [...value.outs.filter((at) => now - at < outsWithinMs), now]
        const isFinal = outs.length >= outsMax
        const condemned = `out ${outs.length} times in an hour, last as ${reason}`
        await zeus.set(troubleKey(disk), { outs, ...(isFinal ? { condemned } : {}) }, version)
        if (isFinal)
          log.error('a disk is out of service for good: replace it', { disk: disk.ref.disk, condemned })
        return isFinal
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        if (hasCode(error, 'CONFLICT')) continue
        log.warn('it could not be noted that a disk is out', {
          disk: disk.ref.disk,
          reason: messageOf(error),
        })
        return false
      }
  }

  async #trouble(disk: WatchedDisk): Promise<{ value: DiskTroubleValue; version: number }> {
    const found = await this.#context.zeus.get(troubleKey(disk))
    return {
      value: (found?.value as DiskTroubleValue | undefined) ?? { outs: [] },
      version: found?.version ?? 0,
    }
  }

  /** False: another disk is out, or that can't be known now. */
  async #takeKey({ ref }: Disk): Promise<boolean> {
    const { zeus, node, incarnation, lives } = this.#context
    const found = await zeus.get(slowDiskKey)
    const holder = found?.value as SlowDiskValue | undefined
    if (holder !== undefined && lives(holder.node, holder.incarnation)) return false
    try {
      await zeus.set(slowDiskKey, { node, incarnation, disk: ref.disk }, found?.version ?? 0)
      return true
    } catch (error) {
      if (hasCode(error, 'CONFLICT')) return false
      throw error
    }
  }

  /** Where this disk has it. One that is left counts no longer than this process. */
  async #giveKeyBack({ ref }: Disk): Promise<void> {
    const { zeus, node, incarnation } = this.#context
    try {
      const found = await zeus.get(slowDiskKey)
      const holder = found?.value as SlowDiskValue | undefined
      if (
        found !== undefined &&
        holder?.node === node &&
        holder.incarnation === incarnation &&
        holder.disk === ref.disk
      )
        await zeus.delete(slowDiskKey, found.version)
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      this.#context.log.debug('the key of the slow disk stays', { reason: messageOf(error) })
    }
  }
}

export interface DisksInService {
  readonly sessions: ReadonlyMap<NodeId, SessionValue>
  readonly containers: ReadonlyMap<string, ContainerValue>
  readonly isAnyGone: boolean
}

/** Why the cluster can't do without the disk now; undefined where it can. */
export function neededDisk(
  { ref }: Pick<Disk, 'ref'>,
  { sessions, containers, isAnyGone }: DisksInService,
): string | undefined {
  if (isAnyGone) return 'other disks, or nodes, are gone'
  const copies = Math.max(1, ...[...containers.values()].map((container) => container.copies))
  const nodesWith = (tiers: readonly Tier[]): number =>
    [...sessions.values()].filter(({ disks }) =>
      disks.some(({ id, tier, state }) => tiers.includes(tier) && state === 'online' && id !== ref.disk),
    ).length
  if (nodesWith(['flash']) < copies) return `without it ${copies} copies of logs have no place`
  if (nodesWith(['flash', 'hdd']) < copies) return `without it ${copies} copies have no place`
  return undefined
}
