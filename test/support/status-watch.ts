/**
 * What status says at every moment, held against what is so. The truth is looked up before each answer and after it: between two truths that
 * differ either may be told, and what lies between. Never may more be promised than both of them hold; and less only for a while.
 */
import type { ClusterStatus } from '../../src/management/management.ts'
import { askAny } from './health.ts'
import type { Cluster } from './cluster.ts'
import { sleep } from './run.ts'
import { trueLevels, type TrueLevel, type TrueSurvival, type Truth } from './true-survival.ts'

/** A death is known cluster-wide by then. */
const knownMs = 2000
const everyMs = 100

export interface StatusSample {
  readonly at: number
  /** Of the data: the truth is looked up of that. */
  readonly level: ClusterStatus['survival']['dataLevel']
  readonly sentence: string
  readonly before: TrueLevel | undefined
  readonly after: TrueLevel | undefined
  readonly repairing: boolean
}

export class StatusWatch {
  readonly samples: StatusSample[] = []
  /** Samples that promised more than there was, with what there was. */
  readonly lies: string[] = []
  readonly #cluster: Cluster
  readonly #truth: TrueSurvival
  readonly #vdisks: readonly number[]
  readonly alive: Set<string>
  #lossAt = -Infinity
  #busy = true
  #stopped = false
  #running: Promise<void>

  constructor(cluster: Cluster, truth: TrueSurvival, vdisks: readonly number[]) {
    this.#cluster = cluster
    this.#truth = truth
    this.#vdisks = vdisks
    this.alive = new Set(cluster.nodes.map(({ id }) => id))
    this.#running = this.#watch()
    this.#running.catch(() => undefined)
  }

  /** Is called just before these nodes are killed. */
  lost(nodes: readonly string[]): void {
    for (const node of nodes) this.alive.delete(node)
    this.#lossAt = performance.now()
  }

  /** Is called just before these nodes are started again. */
  back(nodes: readonly string[]): void {
    for (const node of nodes) this.alive.add(node)
  }

  get last(): StatusSample | undefined {
    return this.samples.at(-1)
  }

  /** Guests write no more: the open episode counts only as long as it holds something. */
  quiet(): void {
    this.#busy = false
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  async #watch(): Promise<void> {
    let before = await this.#now()
    while (!this.#stopped) {
      const at = performance.now()
      const dead = this.#cluster.nodes.map(({ id }) => id).filter((id) => !this.alive.has(id))
      const status = await askAny<ClusterStatus>(this.#cluster, 'status', dead)
      const after = await this.#now()
      if (status !== undefined) this.#hold(at, status, before, after)
      before = after
      await sleep(everyMs)
    }
  }

  #now(): Promise<Truth> {
    return this.#truth.now(this.#vdisks, this.alive, this.#busy)
  }

  #hold(at: number, { survival, repair }: ClusterStatus, before: Truth, after: Truth): void {
    const { dataLevel: level, sentence } = survival
    const sample = {
      ...{ at, level, sentence, before: before.level, after: after.level },
      repairing: repair !== undefined,
    }
    this.samples.push(sample)
    const isKnown = at > this.#lossAt + knownMs
    const best = Math.max(rankOf(before.level), rankOf(after.level))
    if (isKnown && level !== 'unknown' && rankOf(level) > best)
      this.lies.push(
        `${((at - this.#lossAt) / 1000).toFixed(2)} s after the loss: ${sentence}; in truth ` +
          `${before.level}: ${before.where}, then ${after.level}: ${after.where}`,
      )
  }
}

/** Where nothing is stored any level may be told. */
const rankOf = (level: TrueLevel | undefined): number =>
  level === undefined ? trueLevels.length : trueLevels.indexOf(level)
