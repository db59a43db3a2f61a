/**
 * The simulated network: who listens where, which ways are cut, how long bytes take.
 *
 *  1. A cut drops in silence: connections stay half open. What the sender's kernel holds is sent again after the cut is
 *     healed; a sender without an answer for `breakAfterMs` gives up with ETIMEDOUT, and the other side may never know.
 *  2. A process that ended is told of by its machine (a reset), unless the machine itself went silent: then only time
 *     tells, or the machine's next life, which knows of no such connection.
 *  3. A frozen process's machine goes on accepting connections and bytes, up to its window. So does a way that stalls:
 *     what it takes it keeps back, while its connections look alive.
 *  4. TCP delivers each byte once and in order, within a connection: nothing here duplicates. What does happen twice is
 *     a request whose connection broke before the answer came, and that its sender repeats on another; breaking
 *     connections (`reset`) is how that comes about. Bytes of different connections overtake one another freely.
 *
 *  5. A datagram comes once or never: what would be sent again, or kept back, is lost. They overtake one another.
 *
 * Cuts go by the nodes' names, whatever address a connection was made to. Unix sockets belong to a machine and are
 * never cut. Not here: one connection's bytes (sim-socket.ts).
 */
import { placeOf, tcpAddress } from '../src/platform/address.ts'
import type { Address, DatagramSocket, Listener, Socket, Sockets, Timer } from '../src/platform/platform.ts'
import type { Schedule } from './schedule.ts'
import type { SeededChance } from './seeded-chance.ts'
import { asError, never, systemError, type Host, type SimProcess } from './sim-process.ts'
import type { Line } from './sim-line.ts'
import { connectPair, type SimSocket } from './sim-socket.ts'

export interface NetworkNature {
  readonly delayMs: readonly [least: number, most: number]
  readonly delayOnMachineMs: readonly [least: number, most: number]
  readonly bytesPerMs: number
  /** How often a packet has to be sent again, and how much later it then comes. */
  readonly lossShare: number
  readonly resendMs: number
  readonly breakAfterMs: number
}

export const networkNatureDefault: NetworkNature = {
  delayMs: [0.05, 0.3],
  delayOnMachineMs: [0.005, 0.04],
  bytesPerMs: 1_000_000,
  lossShare: 0.0005,
  resendMs: 200,
  breakAfterMs: 15_000,
}

/** What a way did to what was sent over it. */
export type WayTrouble = 'dropped' | 'delayed' | 'narrowed' | 'kept back'

interface SimListener extends Listener {
  readonly process: SimProcess
  readonly onConnection: (socket: Socket) => void
}

interface SimDatagrams extends DatagramSocket {
  readonly process: SimProcess
  readonly onDatagram: (bytes: Buffer, from: Address) => void
}

/** The first wait before a request to connect is sent again; doubled each time. */
const connectAgainMs = 1000

export class SimNetwork implements Line<SimSocket> {
  readonly schedule: Schedule
  readonly chance: SeededChance
  readonly nature: NetworkNature
  /** Called when a trouble of a way met something that was sent. */
  onTrouble: (trouble: WayTrouble, from: string, to: string) => void = () => undefined
  /** Called with what one end of a connection has waiting to be sent, whenever it grows. */
  onWaiting: (from: string, to: string, bytes: number) => void = () => undefined
  readonly #listeners = new Map<string, SimListener>()
  readonly #datagrams = new Map<Address, SimDatagrams>()
  /** Who listened there last, to know whether the machine is silent. */
  readonly #hosts = new Map<string, Host>()
  readonly #cuts = new Set<string>()
  readonly #slow = new Map<string, number>()
  readonly #narrow = new Map<string, number>()
  readonly #stalled = new Set<string>()
  readonly #sockets = new Set<SimSocket>()
  #nextPort = 20_000

  constructor(schedule: Schedule, chance: SeededChance, nature: NetworkNature) {
    this.schedule = schedule
    this.chance = chance
    this.nature = nature
  }

  /** Drops everything from one node to another. */
  cut(from: string, to: string): void {
    this.#cuts.add(wayOf(from, to))
  }

  heal(from: string, to: string): void {
    if (this.#cuts.delete(wayOf(from, to))) this.#sendAgain()
  }

  /** All ways are open, quick and wide. */
  healAll(): void {
    this.#cuts.clear()
    this.#slow.clear()
    this.#narrow.clear()
    this.#sendAgain()
    this.#stalled.clear()
    for (const socket of this.#sockets) socket.goOn()
  }

  /** Adds to the delay from one node to another. */
  delay(from: string, to: string, ms: number): void {
    this.#slow.set(wayOf(from, to), ms)
  }

  /** Each connection from one node to another gets this much across; undefined: as much as all others. */
  narrow(from: string, to: string, bytesPerMs: number | undefined): void {
    if (bytesPerMs === undefined) this.#narrow.delete(wayOf(from, to))
    else this.#narrow.set(wayOf(from, to), bytesPerMs)
  }

  /** Bytes from one node to another are taken and kept back, so that the sender's window closes. */
  stall(from: string, to: string): void {
    this.#stalled.add(wayOf(from, to))
  }

  endStall(from: string, to: string): void {
    if (this.#stalled.delete(wayOf(from, to))) for (const socket of this.#sockets) socket.goOn()
  }

  /** Breaks connections of a node: those to another, or all; each with the given share. Returns how many. */
  reset(node: string, to: string | undefined, share = 1): number {
    let broken = 0
    for (const socket of [...this.#sockets])
      if (
        !socket.onMachine &&
        socket.process.host.name === node &&
        (to === undefined || socket.peer.process.host.name === to) &&
        this.chance.happens(share) &&
        socket.breakDown()
      )
        broken++
    return broken
  }

  socketsOf(process: SimProcess): Sockets {
    return {
      listen: (address, onConnection) => this.#listen(process, address, onConnection),
      connect: (address, timeoutMs) => this.#connect(process, address, timeoutMs),
      bind: (address, onDatagram) => this.#bind(process, address, onDatagram),
    }
  }

  processEnded(process: SimProcess, silent: boolean): void {
    for (const [key, listener] of this.#listeners)
      if (listener.process === process) this.#listeners.delete(key)
    for (const [address, bound] of this.#datagrams)
      if (bound.process === process) this.#datagrams.delete(address)
    for (const socket of this.#sockets) if (socket.process === process) socket.processEnded(silent)
  }

  /** A machine that was silent answers again. */
  hostIsOn(): void {
    this.#sendAgain()
  }

  // Line: what one connection asks of the network.

  isCut(from: SimSocket, to: SimSocket): boolean {
    if (to.process.host.power === 'off') return true
    return !from.onMachine && this.#isWayCut(from.process.host, to.process.host)
  }

  bytesPerMs(from: SimSocket, to: SimSocket): number {
    const [a, b] = [from.process.host.name, to.process.host.name]
    const narrow = from.onMachine || this.#narrow.size === 0 ? undefined : this.#narrow.get(wayOf(a, b))
    if (narrow !== undefined) this.onTrouble('narrowed', a, b)
    return narrow ?? this.nature.bytesPerMs
  }

  isStalled(from: SimSocket, to: SimSocket): boolean {
    if (this.#stalled.size === 0 || from.onMachine) return false
    const [a, b] = [from.process.host.name, to.process.host.name]
    const stalled = this.#stalled.has(wayOf(a, b))
    if (stalled) this.onTrouble('kept back', a, b)
    return stalled
  }

  latencyMs(from: SimSocket, to: SimSocket): number {
    return this.#latencyMs(from.process.host, to.process.host, from.onMachine)
  }

  opened(socket: SimSocket): void {
    this.#sockets.add(socket)
  }

  closed(socket: SimSocket): void {
    this.#sockets.delete(socket)
  }

  waits(socket: SimSocket, bytes: number): void {
    this.onWaiting(socket.process.host.name, socket.peer.process.host.name, bytes)
  }

  #isWayCut(from: Host, to: Host): boolean {
    if (this.#cuts.size === 0) return false
    const cut = this.#cuts.has(wayOf(from.name, to.name))
    if (cut) this.onTrouble('dropped', from.name, to.name)
    return cut
  }

  #latencyMs(from: Host, to: Host, onMachine: boolean): number {
    const { nature, chance } = this
    if (onMachine || from.machine === to.machine) return chance.between(...nature.delayOnMachineMs)
    const sentAgain = chance.happens(nature.lossShare) ? nature.resendMs : 0
    const slowMs = this.#slow.size === 0 ? 0 : (this.#slow.get(wayOf(from.name, to.name)) ?? 0)
    if (slowMs > 0) this.onTrouble('delayed', from.name, to.name)
    return chance.between(...nature.delayMs) + sentAgain + slowMs
  }

  #sendAgain(): void {
    for (const socket of this.#sockets) socket.sendAgain()
  }

  #listen(process: SimProcess, address: Address, onConnection: (socket: Socket) => void): Promise<Listener> {
    if (!process.alive) return never()
    return this.#later(process, 'listening', () => {
      const bound = this.#withPort(address)
      const key = keyOf(process.host, bound)
      if (this.#listeners.has(key)) throw systemError('EADDRINUSE', `address in use: ${address}`)
      const listener: SimListener = {
        process,
        onConnection,
        address: bound,
        close: async () => {
          if (this.#listeners.get(key) === listener) this.#listeners.delete(key)
        },
      }
      this.#listeners.set(key, listener)
      this.#hosts.set(key, process.host)
      return listener
    })
  }

  #withPort(address: Address): Address {
    const place = placeOf(address)
    return place.kind === 'tcp' && place.port === 0 ? tcpAddress(place.host, this.#nextPort++) : address
  }

  #connect(process: SimProcess, address: Address, timeoutMs: number): Promise<Socket> {
    if (!process.alive) return never()
    const onMachine = placeOf(address).kind === 'unix'
    const key = keyOf(process.host, address)
    return new Promise<Socket>((resolve, reject) => {
      let waiting = true
      let made: SimSocket | undefined
      const timeout = this.schedule.inProcess(process, timeoutMs, 'connect timeout', () => {
        waiting = false
        made?.destroy()
        reject(systemError('ETIMEDOUT', `No connection to ${address} within ${timeoutMs} ms`))
      })
      const answer = (ms: number, act: () => void): void => {
        this.schedule.inProcess(process, ms, 'connected', () => {
          if (!waiting) return
          waiting = false
          timeout.cancel()
          act()
        })
      }
      const attempt = (waitMs: number): Timer =>
        this.schedule.after(this.#attemptMs(process.host, key, onMachine), 'connect', () => {
          if (!waiting || !process.alive) return
          const listener = this.#listeners.get(key)
          const host = listener?.process.host ?? this.#hosts.get(key)
          if (host && this.#unreachable(process.host, host, onMachine)) {
            this.schedule.after(waitMs, 'connect again', () => attempt(waitMs * 2))
          } else if (!listener) {
            answer(this.#latencyMs(host ?? process.host, process.host, onMachine), () =>
              reject(systemError('ECONNREFUSED', `Nobody listens on ${address}`)),
            )
          } else {
            const socket = this.#accept(process, address, listener, onMachine)
            made = socket
            answer(this.latencyMs(socket.peer, socket), () => {
              socket.taken()
              resolve(socket)
            })
          }
        })
      attempt(connectAgainMs)
    })
  }

  #attemptMs(from: Host, key: string, onMachine: boolean): number {
    return this.#latencyMs(from, this.#hosts.get(key) ?? from, onMachine)
  }

  #unreachable(from: Host, to: Host, onMachine: boolean): boolean {
    if (onMachine) return false
    return to.power === 'off' || this.#isWayCut(from, to) || this.#isWayCut(to, from)
  }

  #accept(process: SimProcess, address: Address, listener: SimListener, onMachine: boolean): SimSocket {
    const from = onMachine ? 'unix:' : `${process.host.name}:${this.#nextPort++}`
    const [client, server] = connectPair(
      this,
      onMachine,
      [process, address, from],
      [listener.process, from, address],
    )
    this.schedule.inProcess(listener.process, this.latencyMs(client, server), 'accept', () => {
      server.taken()
      listener.onConnection(server)
    })
    return client
  }

  #bind(
    process: SimProcess,
    address: Address,
    onDatagram: (bytes: Buffer, from: Address) => void,
  ): Promise<DatagramSocket> {
    if (!process.alive) return never()
    return this.#later(process, 'binding', () => {
      const own = this.#withPort(address)
      if (this.#datagrams.has(own)) throw systemError('EADDRINUSE', `address in use: ${address}`)
      const bound: SimDatagrams = {
        process,
        onDatagram,
        address: own,
        send: (bytes, to) => this.#sendDatagram(bound, Buffer.from(bytes), to),
        close: async () => {
          if (this.#datagrams.get(own) === bound) this.#datagrams.delete(own)
        },
      }
      this.#datagrams.set(own, bound)
      return bound
    })
  }

  #sendDatagram({ process, address }: SimDatagrams, bytes: Buffer, to: Address): void {
    const target = this.#datagrams.get(to)
    if (!process.alive || target === undefined) return
    const [from, at] = [process.host, target.process.host]
    if (at.power === 'off' || this.#isWayCut(from, at)) return
    const isStalled = this.#stalled.has(wayOf(from.name, at.name))
    if (isStalled) this.onTrouble('dropped', from.name, at.name)
    if (isStalled || this.chance.happens(this.nature.lossShare)) return
    this.schedule.inProcess(target.process, this.#latencyMs(from, at, false), 'datagram', () => {
      if (this.#datagrams.get(to) === target) target.onDatagram(bytes, address)
    })
  }

  #later<T>(process: SimProcess, kind: string, act: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.schedule.inProcess(process, 0, kind, () => {
        try {
          resolve(act())
        } catch (error) {
          reject(asError(error))
        }
      })
    })
  }
}

const wayOf = (from: string, to: string): string => `${from} → ${to}`

const keyOf = (host: Host, address: Address): string =>
  address.startsWith('unix:') ? `${host.machine} ${address}` : address
