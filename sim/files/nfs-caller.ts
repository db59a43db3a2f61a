/**
 * One hand of a client of the NFS datastore: one call at a time, through any node, over the virtual network.
 *
 *  1. A call without an answer is sent again under its number, over a new connection, to the same node or to another.
 *  2. What changes names or attributes is done once at most by one process, however often it gets it: it keeps its answers. So that is one
 *     *sending*: it was called when it was sent first, and has an answer, or none; then it may be done at any time from then on. Another process
 *     knows nothing of it, and nobody tells a WRITE from its repetition: those are sendings of their own.
 *  3. JUKEBOX is no answer: what was asked may have been done, or be done yet. After a while it is asked anew.
 *
 * Clients have addresses of the loopback's, each machine another: those may use a container by default.
 */
import { hasCode } from '../../src/base/errors.ts'
import type { Incarnation, NodeId } from '../../src/base/ids.ts'
import type { Platform } from '../../src/platform/platform.ts'
import { RpcClient } from '../../src/stargate/front-end-adapter/nfs/rpc-client.ts'
import { type Cluster, nfsPort } from '../cluster.ts'
import type { SeededChance } from '../seeded-chance.ts'
import type { Answer, NfsCall } from './nfs-calls.ts'

/** Who is told what became of a sending. */
export interface Sending {
  readonly call: NfsCall
  /** At this moment. */
  readonly answered: (answer: Answer) => void
  /** There will be no answer any more. */
  readonly gaveUp?: () => void
}

export interface CallCounts {
  calls: number
  resent: number
  reconnects: number
  statuses: Map<string, number>
}

interface Connection {
  readonly node: NodeId
  readonly process: Incarnation
  readonly client: RpcClient
  nextXid: number
}

const connectMs = 2_000
const patienceMs = [3_000, 12_000] as const
const sendingsMax = 8
/** Of calls, those whose connection the client closes itself a moment later. */
const breakShare = 0.04
const breakAfterMs = [0, 10] as const
/** Of answers, those that are lost on their way, with the connection. */
const lostShare = 0.015
const jukeboxPauseMs = [20, 400] as const
/** Of calls without an answer, those that are sent to the same node again. */
const sameNodeShare = 0.6

const credentials = { flavour: 'sys', machine: 'sim', uid: 0, gid: 0, gids: [] } as const

export class NfsCaller {
  readonly name: string
  readonly chance: SeededChance
  readonly #cluster: Cluster
  readonly #platform: Platform
  readonly #counts: CallCounts
  #connection: Connection | undefined

  constructor(cluster: Cluster, name: string, host: string, counts: CallCounts) {
    this.name = name
    this.chance = cluster.world.chance(`nfs ${name}`)
    this.#cluster = cluster
    this.#platform = cluster.world.platform(host)
    this.#counts = counts
  }

  /** For whoever finds it stuck. */
  get does(): string {
    return `${this.name} ${this.#connection === undefined ? 'is connecting' : `is connected to ${this.#connection.node}`}`
  }

  /** `begin` is called for each sending, at its moment. Undefined: no answer in all of them. `through`: that node and no other. */
  async ask(begin: () => Sending, through?: NodeId): Promise<Answer | undefined> {
    /** Without an answer until now, all under one number: a process that had one of them knows it again, whoever else had it meanwhile. */
    let open: (Sending & { readonly xid: number; readonly to: Connection })[] = []
    const giveUp = (but?: Sending): void => {
      for (const each of open) if (each !== but) each.gaveUp?.()
      open = []
    }
    for (let sent = 0; sent < sendingsMax; sent++) {
      const connection = await this.#connected(open.at(-1), through)
      let sending = open.find(({ call, to }) => call.once && isSameProcess(to, connection))
      if (sending === undefined) {
        sending = { ...begin(), xid: connection.nextXid, to: connection }
        open.push(sending)
      } else this.#counts.resent++
      const answer = await this.#send(connection, sending.call)
      if (answer === undefined) {
        this.#drop()
        continue
      }
      const { statuses } = this.#counts
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1)
      if (answer.status !== 'JUKEBOX') {
        giveUp(sending)
        sending.answered(answer)
        return answer
      }
      giveUp()
      if (through === undefined && this.chance.happens(0.5)) this.#drop()
      await this.pause(this.chance.between(...jukeboxPauseMs))
    }
    giveUp()
    return undefined
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#cluster.world.after(ms, resolve))
  }

  close(): void {
    this.#drop()
  }

  async #send(connection: Connection, { target, encode, decode }: NfsCall): Promise<Answer | undefined> {
    const { chance } = this
    this.#counts.calls++
    connection.nextXid = (connection.nextXid + 1) >>> 0
    const breaks = chance.happens(breakShare)
      ? this.#platform.clock.after(chance.between(...breakAfterMs), () => connection.client.close())
      : undefined
    try {
      const answer = decode(await connection.client.call(target, encode, chance.between(...patienceMs)))
      return chance.happens(lostShare) ? undefined : answer
    } catch (error) {
      if (!hasCode(error, 'TIMED_OUT', 'PEER_UNREACHABLE')) throw error
      return undefined
    } finally {
      breaks?.cancel()
    }
  }

  #drop(): void {
    this.#connection?.client.close()
    this.#connection = undefined
  }

  async #connected(
    again: { readonly xid: number; readonly to: Connection } | undefined,
    through: NodeId | undefined,
  ): Promise<Connection> {
    if (this.#connection !== undefined && (through === undefined || through === this.#connection.node))
      return this.#connection
    this.#drop()
    this.#counts.reconnects++
    for (let same = again !== undefined && this.chance.happens(sameNodeShare); ; same = false) {
      const nodes = this.#cluster.serving()
      const any = nodes.length === 0 ? undefined : nodes[this.chance.below(nodes.length)]
      const node = through ?? (same ? again!.to.node : any)
      const xid = again?.xid ?? this.chance.below(2 ** 32)
      this.#connection = node === undefined ? undefined : await this.#connect(node, xid)
      if (this.#connection !== undefined) return this.#connection
      await this.pause(this.chance.between(10, 300))
    }
  }

  async #connect(node: NodeId, xid: number): Promise<Connection | undefined> {
    const { sockets, clock } = this.#platform
    try {
      const socket = await sockets.connect(`${node}:${nfsPort}`, connectMs)
      const client = new RpcClient(socket, clock, xid, credentials)
      // Which one it is has to be known.
      const process = this.#cluster.node(node)?.incarnation
      if (process !== undefined) return { node, process, client, nextXid: xid }
      client.close()
      return undefined
    } catch {
      return undefined
    }
  }
}

const isSameProcess = (a: Connection, b: Connection): boolean => a.node === b.node && a.process === b.process
