/**
 * A guest of a directed scenario: a client of one vDisk, with one session after the other. It does what it is told, repeats
 * nothing by itself, and writes into the vDisk's history what it did and saw.
 */
import type { NodeId, VDiskId } from '../../../src/base/ids.ts'
import { vDiskOffset } from '../../../src/base/units.ts'
import type { OpenVDisk } from '../../../src/stargate/io/io.ts'
import type { Cluster } from '../../cluster.ts'
import type { SectorHistory, SectorWrite } from '../../sector-history.ts'
import { sectorBytes, stampSectors, stampsIn, zeroStamp } from '../../sector-stamps.ts'
import type { ClientObserver } from '../../workload.ts'

/** Something asked of a node: what became of it by now. */
export interface Asked<T> {
  readonly what: string
  readonly settled: boolean
  readonly value: T | undefined
  readonly error: Error | undefined
}

export interface StagedVDisk {
  readonly name: string
  readonly id: VDiskId
  readonly history: SectorHistory
  readonly observer: ClientObserver
}

/** What a guest needs of the stage. */
export interface GuestStage {
  readonly cluster: Cluster
  readonly now: number
  nextStamp(): number
  ask<T>(node: NodeId, what: string, act: () => T | Promise<T>): Asked<T>
  answer<T>(asked: Asked<T>): Promise<T>
}

/** A client of the vDisk, one session after the other. It does what it is told, and repeats nothing by itself. */
export class Guest {
  readonly name: string
  readonly #stage: GuestStage
  readonly #of: StagedVDisk
  #session = 0
  #node: NodeId | undefined
  #vdisk: OpenVDisk | undefined
  /** Sent and not answered: they may yet happen. */
  #unanswered: SectorWrite[] = []

  constructor(stage: GuestStage, name: string, of: StagedVDisk) {
    this.#stage = stage
    this.name = name
    this.#of = of
  }

  /** Opens the vDisk through a node under its next session number. */
  async open(node: NodeId): Promise<void> {
    await this.#stage.answer(this.opening(node))
  }

  opening(node: NodeId): Asked<void> {
    const stage = this.#stage
    const number = ++this.#session
    const before = [...this.#unanswered]
    for (const write of before) this.#of.observer.gaveUp(write)
    return stage.ask(node, `the opening by ${this.name}`, async () => {
      const opened = await stage.cluster.node(node)!.router.open(this.#of.name, { client: this.name, number })
      // Requests of this session come after those of older ones.
      for (const write of before) write.fencedAt ??= stage.now
      this.#vdisk = opened
      this.#node = node
    })
  }

  write(first: number, count: number): Asked<void> {
    const stamp = this.#stage.nextStamp()
    const payload = Buffer.allocUnsafe(count * sectorBytes)
    stampSectors(payload, stamp, first)
    return this.#change('a write', stamp, first, count, (vdisk) =>
      vdisk.write(vDiskOffset(first * sectorBytes), payload),
    )
  }

  zero(first: number, count: number): Asked<void> {
    return this.#change('a zero', zeroStamp, first, count, (vdisk) =>
      vdisk.zero(vDiskOffset(first * sectorBytes), count * sectorBytes, false),
    )
  }

  /** The stamps that it reads. */
  read(first: number, count: number): Asked<Uint32Array> {
    const stage = this.#stage
    const { node, vdisk, by } = this.#connection()
    const calledAt = stage.now
    const target = Buffer.allocUnsafe(count * sectorBytes).fill(0xee)
    return stage.ask(node, `a read of ${first}+${count} by ${by}`, async () => {
      await vdisk.read(vDiskOffset(first * sectorBytes), target)
      const stamps = stampsIn(target, first)
      this.#of.history.reads.push({ first, stamps, by, calledAt, answeredAt: stage.now })
      return stamps
    })
  }

  /** Reads again and again, until the result is called; up to so many wait for an answer. */
  readSteadily(first: number, count: number, everyMs: number, waitingMax = 20): () => void {
    let stopped = false
    let waiting: Asked<unknown>[] = []
    const again = (): void => {
      if (stopped) return
      waiting = waiting.filter(({ settled }) => !settled)
      if (waiting.length < waitingMax) waiting.push(this.read(first, count))
      this.#stage.cluster.world.after(everyMs, again)
    }
    again()
    return () => (stopped = true)
  }

  #change(
    what: string,
    stamp: number,
    first: number,
    count: number,
    act: (vdisk: OpenVDisk) => unknown,
  ): Asked<void> {
    const stage = this.#stage
    const { node, vdisk, by } = this.#connection()
    const session = this.#session
    const write: SectorWrite = { stamp, first, count, by, calledAt: stage.now }
    this.#of.history.writes.push(write)
    this.#unanswered.push(write)
    const observer = stamp === zeroStamp ? undefined : this.#of.observer
    observer?.sent(write)
    return stage.ask(node, `${what} of ${first}+${count} by ${by}`, async () => {
      await act(vdisk)
      // Whoever has gone on hears no answer of the session before.
      if (session !== this.#session) return
      write.answeredAt = stage.now
      observer?.acknowledged(write)
      this.#answered(write)
    })
  }

  /** Earlier requests of sessions that were over when this one was called come before it, or never. */
  #answered(write: SectorWrite): void {
    this.#unanswered = this.#unanswered.filter((other) => {
      if (other === write) return false
      if (other.fencedAt === undefined || other.fencedAt > write.calledAt) return true
      other.overBy = this.#stage.now
      return false
    })
  }

  #connection(): { node: NodeId; vdisk: OpenVDisk; by: string } {
    if (this.#node === undefined || this.#vdisk === undefined)
      throw new Error(`${this.name} has nothing open`)
    return { node: this.#node, vdisk: this.#vdisk, by: `${this.name}.${this.#session}` }
  }
}
