/**
 * The server of ONC RPC (RFC 5531): all programs of the NFS datastore on one port by TCP, and those that are named also by UDP.
 *
 *  1. Each call is answered once, in whatever order the procedures say; one that must not be done twice is not, for as long as its answer is
 *     kept (duplicate-requests.ts). A restart forgets the answers.
 *  2. Nonsense is answered in RPC's words; only what leaves no way back into the stream closes the connection.
 *  3. Connections, calls and memory are bounded (I9, rpc-limits.ts). A client that takes no answers, or stops in the middle of a call, holds
 *     up only itself; a connection on which nothing happens stays, as mounts live for months.
 *  4. What was begun is finished, also when its client has gone.
 *
 * Asked of the caller: procedures that reject with NdfsErrors only (rpc-program.ts).
 *
 * Not here: what the programs do; who may connect (the network is trusted).
 */
import { assert } from '../../../base/assert.ts'
import { hostAndPort } from '../../../base/networks.ts'
import type { Address, Listener, Platform, Socket } from '../../../platform/platform.ts'
import { DuplicateRequests } from './duplicate-requests.ts'
import { RpcConnection, type Held, type RpcCounters } from './rpc-connection.ts'
import { RpcDatagrams } from './rpc-datagrams.ts'
import { rpcLimits, type RpcLimits } from './rpc-limits.ts'
import type { Program } from './rpc-program.ts'
import type { CountedProcedure } from './rpc-request.ts'
import type { RpcCall, RpcRefusal } from './rpc.ts'

export type { RpcLimits } from './rpc-limits.ts'

export interface RpcServer {
  /** Resolves when it listens, to the address with the port that was picked. May be called for several addresses. */
  listen(address: Address): Promise<Address>
  /** The same for datagrams. Who asks for a program that is not served by them hears that there is none. */
  bind(address: Address): Promise<Address>
  /** Takes no more, answers what is under way, and resolves when each connection is over. */
  close(): Promise<void>
  statistics(): RpcStatistics
}

export interface RpcStatistics extends Readonly<RpcCounters> {
  readonly connections: number
  /** Connections that were turned away at a bound. */
  readonly turnedAway: number
  /** Bytes of calls under way, of the answers that they may have, and of answers not yet taken. */
  readonly heldBytes: number
  /** Answers that are kept for who asks again, and what they take. */
  readonly keptAnswers: number
  readonly keptBytes: number
  /** Calls by procedure, as `NFS3.READ`; of each that there is. */
  readonly callsByProcedure: Readonly<Record<string, number>>
}

export interface RpcServerParts {
  readonly platform: Pick<Platform, 'clock' | 'sockets' | 'log'>
  readonly programs: readonly Program[]
  /** The numbers of those that are served by UDP, too; left out: none. */
  readonly datagramPrograms?: ReadonlySet<number>
  readonly limits?: Partial<RpcLimits>
}

export function createRpcServer(parts: RpcServerParts): RpcServer {
  return new Server(parts)
}

type Versions = ReadonlyMap<number, readonly (CountedProcedure | undefined)[]>

class Server implements RpcServer {
  readonly #parts: RpcServerParts
  readonly #limits: RpcLimits
  readonly #programs = new Map<number, Versions>()
  readonly #byName = new Map<string, CountedProcedure>()
  readonly #duplicates: DuplicateRequests
  readonly #held: Held = { bytes: 0 }
  readonly #listeners: Listener[] = []
  readonly #connections = new Set<RpcConnection>()
  readonly #datagrams: RpcDatagrams
  readonly #counters: RpcCounters = {
    calls: 0,
    repeated: 0,
    refused: 0,
    failed: 0,
    receivedBytes: 0,
    sentBytes: 0,
    garbled: 0,
    stalled: 0,
    dropped: 0,
  }
  #turnedAway = 0
  #closing = false
  #allOver = (): void => {}

  constructor(parts: RpcServerParts) {
    this.#parts = parts
    this.#limits = { ...rpcLimits, ...parts.limits }
    this.#duplicates = new DuplicateRequests(parts.platform.clock, this.#limits)
    for (const program of parts.programs) this.#add(program)
    const { datagramPrograms } = parts
    this.#datagrams = new RpcDatagrams({
      ...parts.platform,
      find: (call) => (datagramPrograms?.has(call.program) ? this.#find(call) : { status: 'PROG_UNAVAIL' }),
      hostAndPort,
      duplicates: this.#duplicates,
      limits: this.#limits,
      counters: this.#counters,
    })
  }

  async listen(address: Address): Promise<Address> {
    assert(!this.#closing, 'a server that closes was to listen')
    const listener = await this.#parts.platform.sockets.listen(address, (socket) => this.#accept(socket))
    this.#listeners.push(listener)
    return listener.address
  }

  bind(address: Address): Promise<Address> {
    assert(!this.#closing, 'a server that closes was to bind')
    return this.#datagrams.bind(address)
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all([this.#datagrams.close(), ...this.#listeners.splice(0).map((one) => one.close())])
    const over = new Promise<void>((resolve) => (this.#allOver = resolve))
    if (this.#connections.size === 0) return
    for (const connection of [...this.#connections]) connection.leave()
    await over
  }

  statistics(): RpcStatistics {
    return {
      ...this.#counters,
      connections: this.#connections.size,
      turnedAway: this.#turnedAway,
      heldBytes: this.#held.bytes,
      keptAnswers: this.#duplicates.entries,
      keptBytes: this.#duplicates.bytes,
      callsByProcedure: Object.fromEntries([...this.#byName].map(([name, { calls }]) => [name, calls])),
    }
  }

  #add(program: Program): void {
    assert(!this.#programs.has(program.number), () => `there are two programs ${program.number}`)
    const versions = new Map<number, (CountedProcedure | undefined)[]>()
    for (const [version, procedures] of program.versions) {
      const counted: (CountedProcedure | undefined)[] = []
      procedures.forEach((procedure, number) => {
        if (procedure === undefined) return
        counted[number] = { procedure, calls: 0 }
        this.#byName.set(`${program.name}${version}.${procedure.name}`, counted[number])
      })
      versions.set(version, counted)
    }
    this.#programs.set(program.number, versions)
  }

  #find({ program, version, procedure }: RpcCall): CountedProcedure | RpcRefusal {
    const versions = this.#programs.get(program)
    if (versions === undefined) return { status: 'PROG_UNAVAIL' }
    const procedures = versions.get(version)
    if (procedures === undefined) {
      const known = [...versions.keys()]
      return { status: 'PROG_MISMATCH', low: Math.min(...known), high: Math.max(...known) }
    }
    return procedures[procedure] ?? { status: 'PROC_UNAVAIL' }
  }

  #accept(socket: Socket): void {
    const { clock, log } = this.#parts.platform
    const client = socket.remoteAddress
    if (this.#closing || this.#connections.size >= this.#limits.connectionsMax) {
      this.#turnedAway += 1
      log.warn('A connection for NFS was turned away as there are too many', {
        client,
        connections: this.#connections.size,
      })
      socket.onData = () => {}
      socket.onClose = () => {}
      socket.destroy()
      return
    }
    const connection: RpcConnection = new RpcConnection({
      socket,
      ...hostAndPort(client),
      localHost: hostAndPort(socket.localAddress).host,
      find: (call) => this.#find(call),
      duplicates: this.#duplicates,
      limits: this.#limits,
      counters: this.#counters,
      held: this.#held,
      clock,
      log: log.with({ client }),
      over: () => {
        this.#connections.delete(connection)
        if (this.#connections.size === 0) this.#allOver()
      },
    })
    this.#connections.add(connection)
  }
}
