/**
 * Clients of the simulated cluster: each has one vDisk open through any node's own door, as an adapter opens it, and
 * does several things at once. What it does and sees goes into the vDisk's history.
 *
 *  1. A client that gets no answer, or loses its node, opens the vDisk through another node, under a session number that
 *     grew, and sends again what was not answered (`ndfs connect` does the same). Each sending has a stamp of its own.
 *  2. A client's code runs as an event of the node's process: never while the node is frozen, nor after its end.
 *  3. All chance is drawn from the client's own generator, named by the seed.
 */
import { hasCode, messageOf, NdfsError } from '../src/base/errors.ts'
import type { NodeId } from '../src/base/ids.ts'
import { giveBack } from '../src/base/large-buffers.ts'
import { KiB, vDiskOffset } from '../src/base/units.ts'
import type { OpenVDisk } from '../src/stargate/io/io.ts'
import { InvariantViolation } from './checkers/invariant-violation.ts'
import type { Cluster } from './cluster.ts'
import {
  sectorBytes,
  type SectorHistory,
  type SectorWrite,
  stampSectors,
  stampsIn,
  zeroStamp,
} from './sector-history.ts'
import type { SeededChance } from './seeded-chance.ts'

export interface ClientOptions {
  readonly name: string
  readonly vdisk: string
  readonly sectors: number
  /** Things done at once. */
  readonly hands: number
  /** Of them, those that only read: they go on while writes wait, and meet an owner that should not answer any more. */
  readonly readingHands: number
  /** Of what it does, streams beyond those that every client writes now and then. */
  readonly streamShare: number
  /** Between two things of one hand, at the most. */
  readonly pauseMsMost: () => number
  /** More is destroyed than the promise covers: errors are right answers, and a client that is stopped does not wait for better ones. */
  readonly beyondPromise?: boolean
  readonly history: SectorHistory
  readonly nextStamp: () => number
  readonly observer?: ClientObserver
}

/** Who looks on while a client writes (checkers/). Of zeroes it hears nothing. */
export interface ClientObserver {
  sent(write: SectorWrite): void
  /** The client sees the acknowledgement at this moment. */
  acknowledged(write: SectorWrite): void
  /** The client will hear no answer to it any more. */
  gaveUp(write: SectorWrite): void
}

export interface ClientCounts {
  writes: number
  reads: number
  zeroes: number
  streams: number
  reconnects: number
  errors: Map<string, number>
}

/** How long a client waits for an answer before it tries another node. */
const patienceMs = [3_000, 20_000] as const
/** As many as make a stream sequential (1.5 MB under way), and some more. */
const streamPieces = 15
const streamPieceBytes = 128 * KiB
/** The largest payload that a client sends at once. */
export const requestBytesMax = streamPieceBytes
/** One vDisk's hot part, where requests overlap. */
const hotSectors = 256

/** Of a thousand. */
const doings = [
  ['write', 470],
  ['read', 400],
  ['zero', 45],
  ['discard', 40],
  ['status', 42],
  ['stream', 3],
] as const

/** Small ones mostly: they meet more often for the same bytes. */
const bySize = (chance: SeededChance): number =>
  [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4][chance.below(20)]

type Doing = 'write' | 'read' | 'zero' | 'discard' | 'status' | 'stream'

class Connection {
  readonly node: NodeId
  readonly vdisk: OpenVDisk
  broken = false
  /** Sent, and not yet at the node. */
  #sent: (() => void)[] = []

  constructor(node: NodeId, vdisk: OpenVDisk) {
    this.node = node
    this.vdisk = vdisk
  }

  /** Requests reach the node in the order in which they were sent, as over one socket: else no stream would look like one. */
  send(cluster: Cluster, request: () => void): void {
    if (this.#sent.push(request) > 1) return
    cluster.inNode(this.node, () => {
      for (const arrived of this.#sent.splice(0)) arrived()
    })
  }
}

/** The answer did not come, or came as an error. */
class NoAnswer extends Error {}

/** An answer that a guest has to live with: asking again at once changes nothing. */
class NoRoom extends NoAnswer {}

export class Client {
  readonly counts: ClientCounts = {
    writes: 0,
    reads: 0,
    zeroes: 0,
    streams: 0,
    reconnects: 0,
    errors: new Map(),
  }
  readonly #cluster: Cluster
  readonly #options: ClientOptions
  readonly #chance: SeededChance
  #connection: Connection | undefined
  #connecting: Promise<Connection | undefined> | undefined
  #session = 0
  #stopping = false
  #waiting = 0
  #lastError = 'none'
  /** Writes that were sent and not answered, and may yet happen. */
  #open: SectorWrite[] = []

  constructor(cluster: Cluster, options: ClientOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#chance = cluster.world.chance(`client ${options.name}`)
  }

  /** For whoever finds it stuck. */
  get does(): string {
    const { name } = this.#options
    const where =
      this.#connection === undefined ? 'is connecting' : `is connected to ${this.#connection.node}`
    const errors = [...this.counts.errors].map(([code, count]) => `${count} ${code}`).join(', ')
    return `${name} ${where}, session ${this.#session}, ${this.#waiting} requests under way; errors: ${errors || 'none'}; the last: ${this.#lastError}`
  }

  /** Resolves when `stop` was called and all hands have ended. */
  async run(): Promise<void> {
    const { hands, readingHands } = this.#options
    await Promise.all(Array.from({ length: hands }, (_, i) => this.#hand(i < readingHands)))
    this.#connection?.vdisk.close()
  }

  /** What is under way is brought to its end; nothing new is begun. */
  stop(): void {
    this.#stopping = true
  }

  async #hand(onlyReads: boolean): Promise<void> {
    const { counts } = this
    while (!this.#stopping) {
      const chance = this.#chance
      const doing: Doing = onlyReads ? 'read' : this.#drawDoing()
      const [first, count] = this.#range(doing)
      if (doing === 'read') {
        counts.reads++
        await this.#read(first, count)
      } else if (doing === 'status') await this.#status(first, count)
      else if (doing === 'stream') {
        counts.streams++
        await this.#stream()
      } else {
        if (doing === 'write') counts.writes++
        else counts.zeroes++
        await this.#change(doing, first, count)
      }
      await this.#pause(chance.between(0, this.#options.pauseMsMost()))
    }
  }

  get #givesUp(): boolean {
    return this.#stopping && this.#options.beyondPromise === true
  }

  #drawDoing(): Doing {
    const { streamShare } = this.#options
    if (streamShare > 0 && this.#chance.happens(streamShare)) return 'stream'
    let draw = this.#chance.below(1000)
    const found = doings.find(([, share]) => (draw -= share) < 0)
    return found![0]
  }

  #range(doing: Doing): [first: number, count: number] {
    const { sectors } = this.#options
    const chance = this.#chance
    const most =
      doing === 'write' || doing === 'read'
        ? [4, 8, 16, 64, 256][bySize(chance)]
        : [16, 32, 64, 256, 2048][bySize(chance)]
    const count = 1 + chance.below(Math.min(most, sectors))
    const within = chance.happens(0.6) ? Math.max(hotSectors, count) : sectors
    const first = chance.below(within - count + 1)
    if (!chance.happens(0.3)) return [first, count]
    // Whole pages now and then.
    const whole = first - (first % 8)
    return [whole, Math.min(sectors - whole, Math.ceil(count / 8) * 8)]
  }

  /** Sequential writes, many under way at once: enough outstanding to go straight to extent groups. */
  async #stream(): Promise<void> {
    const { sectors } = this.#options
    const pieceSectors = streamPieceBytes / sectorBytes
    const pieces = Math.min(streamPieces, Math.floor(sectors / pieceSectors))
    const first = this.#chance.below(sectors - pieces * pieceSectors + 1)
    const begin = this.#chance.happens(0.5) ? first - (first % 8) : first
    await Promise.all(
      Array.from({ length: pieces }, (_, i) => this.#change('write', begin + i * pieceSectors, pieceSectors)),
    )
    if (this.#chance.happens(0.5)) await this.#read(begin, pieces * pieceSectors)
  }

  async #change(kind: 'write' | 'zero' | 'discard', first: number, count: number): Promise<void> {
    const { history, name, nextStamp } = this.#options
    const observer = kind === 'write' ? this.#options.observer : undefined
    const { world } = this.#cluster
    const attempts: SectorWrite[] = []
    for (;;) {
      const connection = await this.#connected()
      if (connection === undefined) return
      const stamp = kind === 'write' ? nextStamp() : zeroStamp
      const write: SectorWrite = { stamp, first, count, by: `${name}.${this.#session}`, calledAt: world.now }
      history.writes.push(write)
      attempts.push(write)
      this.#open.push(write)
      observer?.sent(write)
      const offset = vDiskOffset(first * sectorBytes)
      const length = count * sectorBytes
      try {
        await this.#ask(connection, ({ vdisk }) => {
          if (kind === 'zero') return vdisk.zero(offset, length, false)
          if (kind === 'discard') return vdisk.discard(offset, length)
          const payload = Buffer.allocUnsafe(length)
          stampSectors(payload, stamp, first)
          return vdisk.write(offset, payload)
        })
        write.answeredAt = world.now
        observer?.acknowledged(write)
        this.#answered(write)
        return
      } catch (error) {
        observer?.gaveUp(write)
        if (!(error instanceof NoAnswer)) throw error
        if (this.#givesUp || error instanceof NoRoom) return
      }
    }
  }

  /** Earlier requests of sessions that were over when this one was called come before it, or never. */
  #answered(write: SectorWrite): void {
    const now = this.#cluster.world.now
    this.#open = this.#open.filter((other) => {
      if (other === write) return false
      if (other.fencedAt === undefined || other.fencedAt > write.calledAt) return true
      other.overBy = now
      return false
    })
  }

  async #read(first: number, count: number): Promise<void> {
    const { history, name } = this.#options
    const { world } = this.#cluster
    for (;;) {
      const connection = await this.#connected()
      if (connection === undefined) return
      const calledAt = world.now
      const target = Buffer.allocUnsafe(count * sectorBytes).fill(0xee)
      try {
        await this.#ask(connection, ({ vdisk }) => this.#readInto(vdisk, first * sectorBytes, target))
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
        if (this.#givesUp) return
        continue
      }
      const stamps = stampsIn(target, first, `a read of ${this.#options.vdisk} through ${connection.node}`)
      history.reads.push({ first, stamps, by: `${name}.${this.#session}`, calledAt, answeredAt: world.now })
      return
    }
  }

  /** As adapters do: what is lent stays with them for as long as a client takes. */
  async #readInto(vdisk: OpenVDisk, offset: number, target: Buffer): Promise<void> {
    const lent = await vdisk.lend?.(vDiskOffset(offset), target.length)
    if (lent === undefined) return vdisk.read(vDiskOffset(offset), target)
    await this.#pause(this.#chance.between(0, 20))
    let at = 0
    for (const piece of lent) at += piece.copy(target, at)
    lent.forEach(giveBack)
  }

  /** What is said to be zero must read as zeros: as a read of it would show. */
  async #status(first: number, count: number): Promise<void> {
    const { history, name } = this.#options
    const { world } = this.#cluster
    const connection = await this.#connected()
    if (connection === undefined) return
    const calledAt = world.now
    try {
      const runs = await this.#ask(connection, ({ vdisk }) =>
        vdisk.status(vDiskOffset(first * sectorBytes), count * sectorBytes, 64),
      )
      let at = first * sectorBytes
      for (const { length, kind } of runs) {
        const from = Math.ceil(at / sectorBytes)
        const to = Math.floor((at + length) / sectorBytes)
        if (kind === 'zero' && to > from)
          history.reads.push({
            first: from,
            stamps: new Uint32Array(to - from),
            by: `${name}.${this.#session}`,
            calledAt,
            answeredAt: world.now,
          })
        at += length
      }
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
    }
  }

  /** Asks the node, and waits for the answer as long as the client's patience and the node last. */
  #ask<T>(connection: Connection, act: (connection: Connection) => T | Promise<T>): Promise<T> {
    if (connection.broken) return Promise.reject(new NoAnswer())
    const send = (request: () => void): void => connection.send(this.#cluster, request)
    return this.#answerOf(connection.node, async () => act(connection), send).catch((error: unknown) => {
      if (error instanceof NoRoom) throw error
      connection.broken = true
      if (this.#connection === connection) this.#connection = undefined
      throw error
    })
  }

  #answerOf<T>(
    node: NodeId,
    act: () => Promise<T>,
    send = (request: () => void): void => this.#cluster.inNode(node, request),
  ): Promise<T> {
    const cluster = this.#cluster
    return new Promise<T>((resolve, reject) => {
      let waiting = true
      this.#waiting++
      const end = (settle: () => void): void => {
        if (!waiting) return
        waiting = false
        this.#waiting--
        forget()
        settle()
      }
      const noAnswer = (): void => end(() => reject(new NoAnswer()))
      const forget = cluster.onEnded((ended) => {
        if (ended === node) cluster.world.after(this.#chance.between(0, 5), noAnswer)
      })
      cluster.world.after(this.#chance.between(...patienceMs), noAnswer)
      send(() => {
        act().then(
          (value) => end(() => resolve(value)),
          (error: unknown) => end(() => reject(this.#judged(error))),
        )
      })
    })
  }

  /** An error that a guest may meet in hard times is no end of the client: it tries again, as after no answer. */
  #judged(error: unknown): Error {
    const { vdisk, name } = this.#options
    if (!(error instanceof NdfsError)) return error as Error
    const { errors } = this.counts
    errors.set(error.code, (errors.get(error.code) ?? 0) + 1)
    this.#lastError = error.message
    if (hasCode(error, 'CORRUPT_EXTENT', 'DAMAGED_METADATA') && this.#options.beyondPromise !== true)
      return new InvariantViolation('I5', `${name} was told by ${vdisk}: ${messageOf(error)}`, {
        cause: error,
      })
    if (hasCode(error, 'NOT_FOUND', 'REFUSED'))
      return new Error(`${name} was told by ${vdisk}: ${messageOf(error)}`, { cause: error })
    return hasCode(error, 'OUT_OF_SPACE') ? new NoRoom() : new NoAnswer()
  }

  /** Undefined where it gives up. */
  async #connected(): Promise<Connection | undefined> {
    if (this.#connection !== undefined) return this.#connection
    this.#connecting ??= this.#connect().finally(() => (this.#connecting = undefined))
    return this.#connecting
  }

  async #connect(): Promise<Connection | undefined> {
    const { name, vdisk } = this.#options
    if (this.#session > 0) this.counts.reconnects++
    for (;;) {
      const nodes = this.#cluster.serving()
      if (nodes.length === 0) {
        await this.#pause(200)
        continue
      }
      const node = nodes[this.#chance.below(nodes.length)]
      const number = ++this.#session
      const sentBefore = [...this.#open]
      try {
        const opened = await this.#answerOf(node, () =>
          this.#cluster.node(node)!.router.open(vdisk, { client: name, number }),
        )
        for (const write of sentBefore) write.fencedAt ??= this.#cluster.world.now
        this.#connection = new Connection(node, opened)
        return this.#connection
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error
        if (this.#givesUp) return undefined
        await this.#pause(this.#chance.between(10, 300))
      }
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#cluster.world.after(ms, resolve))
  }
}
