/**
 * How long a client behind `ndfs connect` stands still when the node that owns its vDisk goes: killed, frozen, or cut off. Steady writes and
 * reads go on all the while, and all of them are recorded and judged.
 */
import assert from 'node:assert/strict'
import type { Cluster } from './cluster.ts'
import { Door } from './doors.ts'
import { healed, ownerOf } from './health.ts'
import type { Namespaces } from './namespaces.ts'
import { RecordedWork } from './recorded-work.ts'
import { figure, sleep, until } from './run.ts'
import { servedEpochs, servedTwice } from './served-epochs.ts'

/** Longer than any takeover that is good enough: what stands still for longer is waited for all the same. */
const watchMs = 2500
const stallSecondsMax = 60
const patientHands = 6

export interface Stall {
  readonly owner: string
  /** From the loss, or the last answer after it, to the next answer. */
  readonly ms: number
  /** The longest that one request waited. */
  readonly requestMs: number
}

/** The longest time without an answer, and the longest wait of one request, since it was last set. */
class StallClock {
  #last = 0
  #longest = 0
  longestRequest = 0

  set(): void {
    this.#last = performance.now()
    this.#longest = 0
    this.longestRequest = 0
  }

  answered(calledAt: number, at: number): void {
    this.#longest = this.longest(at)
    this.#last = at
    this.longestRequest = Math.max(this.longestRequest, at - calledAt)
  }

  longest(now = performance.now()): number {
    return Math.max(this.#longest, now - this.#last)
  }

  sinceLast(): number {
    return performance.now() - this.#last
  }
}

export class TakeoverWatch {
  readonly #cluster: Cluster
  readonly #vdisk: string
  readonly #connected: Door
  readonly #namespaces: Namespaces | undefined
  readonly #clock = new StallClock()
  readonly #epochs = new Map<number, string>()

  static async begin(cluster: Cluster, seed: number, namespaces?: Namespaces): Promise<TakeoverWatch> {
    const vdisk = await cluster.createVDisk('64MiB')
    const { socket } = await cluster.connect(vdisk)
    return new TakeoverWatch(
      cluster,
      vdisk,
      new Door('ndfs connect', vdisk, () => socket, true),
      seed,
      namespaces,
    )
  }

  readonly #work: RecordedWork
  #answered: (door: Door, calledAt: number, answeredAt: number) => void = () => undefined

  private constructor(
    cluster: Cluster,
    vdisk: string,
    connected: Door,
    seed: number,
    namespaces: Namespaces | undefined,
  ) {
    this.#cluster = cluster
    this.#vdisk = vdisk
    this.#connected = connected
    this.#namespaces = namespaces
    this.#work = new RecordedWork(seed, 10)
    this.#work.onAnswer = (door, calledAt, answeredAt) => {
      if (door === this.#connected) this.#clock.answered(calledAt, answeredAt)
      this.#answered(door, calledAt, answeredAt)
    }
    this.#work.join(connected, patientHands)
  }

  async #owner(): Promise<string> {
    const { owner, epoch } = await ownerOf(this.#cluster, this.#vdisk)
    assert.equal(this.#epochs.get(epoch) ?? owner, owner, `two nodes own ${this.#vdisk} in epoch ${epoch}`)
    this.#epochs.set(epoch, owner)
    return owner
  }

  /** Kills the owner, and starts it again. Resolves when all is healed. */
  async kill(): Promise<Stall> {
    const owner = await this.#owner()
    this.#clock.set()
    await this.#cluster.kill(owner)
    const stall = await this.#stall(owner)
    await this.#cluster.startNode(owner)
    await healed(this.#cluster)
    return stall
  }

  /** Answers have come for a while again. */
  async #stall(owner: string): Promise<Stall> {
    await sleep(watchMs)
    await until('the client is answered again', () => this.#clock.sinceLast() < watchMs / 2, stallSecondsMax)
    return { owner, ms: this.#clock.longest(), requestMs: this.#clock.longestRequest }
  }

  /**
   * Freezes the owner for so long while clients that know of no other node have connections to it. Rejects where it answers one of them
   * while it is frozen; what it answers afterwards is judged with all the rest.
   */
  async freeze(ms: number): Promise<Stall> {
    return this.#silence(ms, (owner) => {
      const pid = this.#cluster.node(owner).pid
      assert(pid !== null, `${owner} does not run`)
      process.kill(pid, 'SIGSTOP')
      return () => process.kill(pid, 'SIGCONT')
    })
  }

  /** The same, with the owner's network. */
  async cut(ms: number): Promise<Stall> {
    const namespaces = this.#namespaces
    assert(namespaces !== undefined, 'the nodes are in no namespaces')
    return this.#silence(ms, (owner) => {
      namespaces.cut(owner)
      return () => namespaces.mend(owner)
    })
  }

  async #silence(ms: number, begin: (owner: string) => () => void): Promise<Stall> {
    const owner = await this.#owner()
    const direct = new Door(`${owner} itself`, this.#vdisk, () => this.#cluster.node(owner).nbd.address)
    let silentFrom = Infinity
    let silentTo = Infinity
    let answeredInSilence = 0
    const after = { answered: 0, calledInSilence: 0 }
    this.#answered = (door, calledAt, answeredAt) => {
      if (door !== direct) return
      if (answeredAt > silentFrom && answeredAt < silentTo) answeredInSilence++
      if (answeredAt > silentTo) {
        after.answered++
        if (calledAt < silentTo) after.calledInSilence++
      }
    }
    this.#work.join(direct, 4)
    await sleep(1500)
    const now = await this.#owner()
    assert.equal(now, owner, `the owner changed before it fell silent`)
    this.#clock.set()
    const end = begin(owner)
    // What it had sent before may be on its way to us.
    silentFrom = performance.now() + 100
    let stall: Stall
    try {
      stall = await this.#stall(owner)
      await sleep(Math.max(0, silentFrom + ms - performance.now()))
    } finally {
      silentTo = performance.now()
      end()
    }
    assert.equal(answeredInSilence, 0, `${owner} answered while it was silent`)
    await sleep(2000)
    await healed(this.#cluster)
    await this.#work.leave(direct)
    figure(
      `${owner} after its silence: ${after.answered} answers to who knew no other node, ` +
        `${after.calledInSilence} of them to what was asked meanwhile`,
    )
    return stall
  }

  #judge(): void {
    assert.equal(this.#work.judge(), undefined)
    const errors = this.#work.refusals.filter(({ isPatient }) => isPatient)
    assert.deepEqual(errors, [], 'ndfs connect answered with errors')
  }

  /** Ends the work, and judges all that was seen. */
  async end(): Promise<void> {
    await this.#work.leave()
    await this.#work.readAll(this.#connected)
    this.#connected.close()
    this.#judge()
    assert(this.#work.findsStaleRead(), 'a planted stale read was not found')
    const served = servedEpochs(this.#cluster)
    assert.equal(servedTwice(served), undefined)
    for (const { node, epoch, vdisk } of served) {
      const owner = vdisk === '1' ? this.#epochs.get(epoch) : undefined
      assert(owner === undefined || owner === node, `${node} and ${owner} served epoch ${epoch}`)
    }
    const { writes, reads, unanswered } = this.#work.counts
    figure(
      `${writes} writes and ${reads} reads judged, ${unanswered} writes without answer; ${served.length} epochs, each of one node`,
    )
  }
}

export const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]

export function describeStalls(stalls: readonly Stall[]): string {
  const ms = stalls.map((stall) => stall.ms).sort((a, b) => a - b)
  const longestRequest = Math.max(...stalls.map(({ requestMs }) => requestMs))
  const s = (value: number): string => `${(value / 1000).toFixed(2)} s`
  return (
    `p50 ${s(quantile(ms, 0.5))}, p99 ${s(quantile(ms, 0.99))}, longest ${s(quantile(ms, 1))}; ` +
    `the longest wait of one request ${s(longestRequest)}`
  )
}
