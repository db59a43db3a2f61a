/**
 * Peers over sockets: joins addresses, the calls of this node (outgoing-lane.ts), and the connections of others
 * (incoming-connection.ts) once they have proved who they are (handshake.ts).
 *
 * A connection carries the requests of the side that opened it, on one lane, and their answers: between two nodes there
 * are up to four. So whoever stops reading requests never stops reading answers.
 */
import { assert } from '../base/assert.ts'
import { NdfsError } from '../base/errors.ts'
import type { Incarnation, NodeId } from '../base/ids.ts'
import { isWithinMachine } from '../base/networks.ts'
import { TlsFailure } from '../platform/platform.ts'
import type { Address, Listener, Log, Platform, Proof, Socket, TlsSide } from '../platform/platform.ts'
import { ConnectionChannel, OwnChannel } from './channel.ts'
import type { Channel } from './channel.ts'
import { FrameConnection } from './frame-connection.ts'
import { MalformedStream, bodyBytesMax } from './framing.ts'
import {
  CalledHandshake,
  CallerHandshake,
  nonceBytes,
  protocolVersions,
  refuse,
  Refused,
} from './handshake.ts'
import type { Formats, Self, Step } from './handshake.ts'
import { IncomingConnection } from './incoming-connection.ts'
import { peerLimits } from './limits.ts'
import type { PeerLimits } from './limits.ts'
import { OutgoingLane } from './outgoing-lane.ts'
import { PeerHandlers } from './peer-handlers.ts'
import type { CallOptions, HandlerOptions, Lane, PeerHandler, Peers } from './peer.ts'

export interface PeerNetworkOptions {
  readonly platform: Platform
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly clusterId: string
  /** The cluster's key: at least 16 bytes that nobody else has. */
  readonly key: Uint8Array
  /** This node's certificate as it is now: what leaves the machine, or comes from without, is mutual TLS then. */
  readonly tls?: () => TlsSide
  readonly limits?: Partial<PeerLimits>
  readonly versions?: Self['versions']
  /** Of a node. */
  readonly formats?: Formats
}

export const createPeers = (options: PeerNetworkOptions): Peers => new PeerNetwork(options)

/** A connection that came and has not proved whose it is. */
interface Stranger {
  destroy(error: Error): void
}

interface Peer {
  readonly address: Address | undefined
  readonly lanes: Readonly<Record<Lane, OutgoingLane>>
}

export class PeerNetwork implements Peers {
  readonly #platform: Platform
  readonly #log: Log
  readonly #self: Self
  readonly #tls: (() => TlsSide) | undefined
  readonly #limits: PeerLimits
  readonly #handlers: PeerHandlers
  readonly #peers = new Map<NodeId, Peer>()
  readonly #disconnected: ((node: NodeId, error: Error) => void)[] = []
  readonly #listeners: Listener[] = []
  /** The oldest first. */
  readonly #strangers = new Set<Stranger>()
  /** By node, incarnation and lane. */
  readonly #incoming = new Map<string, IncomingConnection>()
  #closed = false

  constructor(options: PeerNetworkOptions) {
    const { platform, node, incarnation, clusterId, key } = options
    assert(key.length >= 16, 'a key that can be guessed')
    this.#platform = platform
    this.#log = platform.log.with({ part: 'peer' })
    this.#self = {
      cluster: clusterId,
      node,
      incarnation,
      key,
      versions: options.versions ?? protocolVersions,
      ...(options.formats === undefined ? {} : { formats: options.formats }),
    }
    this.#tls = options.tls
    this.#limits = { ...peerLimits, ...options.limits }
    this.#handlers = new PeerHandlers(platform.clock, this.#log)
    this.#peers.set(node, this.#newPeer(node, undefined))
  }

  handle(kind: string, lane: Lane, handler: PeerHandler, options: HandlerOptions = {}): void {
    this.#handlers.add(kind, lane, handler, options)
  }

  setAddress(node: NodeId, address: Address | undefined): void {
    if (node === this.#self.node || this.#closed) return
    const known = this.#peers.get(node)
    if (known?.address === address) return
    // The new address stands before callbacks run: they may call at once.
    if (address === undefined) this.#peers.delete(node)
    else this.#peers.set(node, this.#newPeer(node, address))
    if (known !== undefined) closePeer(known, new Error('its address changed'), this.#unknown(node))
  }

  call(to: NodeId, kind: string, body: readonly Uint8Array[], options?: CallOptions): Promise<Buffer> {
    const peer = this.#peers.get(to)
    if (peer === undefined) return Promise.reject(this.#unknown(to))
    return peer.lanes[options?.lane ?? 'terminal'].call(
      kind,
      body,
      options?.timeoutMs ?? this.#limits.timeoutMs,
    )
  }

  backlogBytes(to: NodeId, lane: Lane): number {
    return this.#peers.get(to)?.lanes[lane].backlogBytes ?? 0
  }

  onDisconnected(callback: (node: NodeId, error: Error) => void): void {
    this.#disconnected.push(callback)
  }

  async listen(address: Address): Promise<Address> {
    const listener = await this.#platform.sockets.listen(address, (socket) => this.#meet(socket))
    if (this.#closed) {
      await listener.close()
      throw stopping()
    }
    this.#listeners.push(listener)
    return listener.address
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#disconnected.length = 0
    const error = new Error('this node stops')
    for (const peer of this.#peers.values()) closePeer(peer, error, stopping())
    for (const stranger of this.#strangers) stranger.destroy(error)
    for (const incoming of this.#incoming.values()) incoming.destroy(error)
    await Promise.all(this.#listeners.map((listener) => listener.close()))
  }

  #newPeer(node: NodeId, address: Address | undefined): Peer {
    const { clock } = this.#platform
    const lane = (lane: Lane): OutgoingLane =>
      new OutgoingLane(
        node,
        lane,
        clock,
        this.#limits,
        (signal) =>
          address === undefined
            ? Promise.resolve(new OwnChannel(clock, this.#handlers, this.#self, lane))
            : this.#connect(node, lane, address, signal),
        (error) => {
          if (!this.#closed) this.#log.info('A connection to a peer broke', { peer: node, lane, error })
          for (const callback of this.#disconnected) callback(node, error)
        },
      )
    return { address, lanes: { terminal: lane('terminal'), forward: lane('forward') } }
  }

  async #connect(node: NodeId, lane: Lane, address: Address, signal: AbortSignal): Promise<Channel> {
    const { clock, chance } = this.#platform
    const socket = await this.#reach(node, address)
    const connection = new FrameConnection(clock, socket, this.#limits.handshakeBytesMax, lane)
    const handshake = new CallerHandshake(this.#self, node, lane, chance.bytes(nonceBytes))
    return new Promise((resolve, reject) => {
      const give = (error: Error): void => connection.destroy(error)
      if (signal.aborted) {
        connection.destroy(new Error('the connection is not wanted any more'))
        return reject(signal.reason as Error)
      }
      const timer = clock.after(this.#limits.handshakeMs, () => give(tooSlow()))
      connection.onClosed = (error) => {
        timer.cancel()
        reject(error)
      }
      connection.onFrame = (type, _request, _kind, body) => {
        const step = handshake.receive({ type, body })
        sendAll(connection, step)
        if (step.state === 'going on') return
        timer.cancel()
        if (step.state === 'proven') {
          connection.lengthMax = bodyBytesMax
          return resolve(new ConnectionChannel(connection))
        }
        connection.end()
        this.#log.warn('A peer can’t be talked to', { peer: node, address, reason: step.reason })
        reject(new Refused(step.reason))
      }
      signal.addEventListener('abort', () => give(signal.reason as Error), { once: true })
      const hello = handshake.begin()
      connection.send(hello.type, 0, 0, [hello.body])
    })
  }

  /** A connection to whatever is there; where it leaves the machine, to whom a certificate names so. */
  async #reach(node: NodeId, address: Address): Promise<Socket> {
    const { clock, sockets } = this.#platform
    const socket = await sockets.connect(address, this.#limits.connectMs)
    const tls = this.#tlsFor(address)
    if (tls === undefined) return socket
    const timer = clock.after(this.#limits.handshakeMs, () => socket.destroy())
    try {
      const secure = await tls.connect(socket)
      if (secure.proof?.names(node)) return secure
      drop(secure)
      throw new TlsFailure(`its certificate names ${secure.proof?.text}: issue one that names ${node}`)
    } catch (error) {
      if (error instanceof TlsFailure)
        this.#log.warn('A peer can’t be talked to', { peer: node, address, reason: error.message })
      throw error
    } finally {
      timer.cancel()
    }
  }

  #tlsFor(address: Address): TlsSide | undefined {
    return isWithinMachine(address) ? undefined : this.#tls?.()
  }

  #meet(socket: Socket): void {
    const tls = this.#tlsFor(socket.remoteAddress)
    if (tls === undefined) this.#hear(socket)
    else if (this.#closed) drop(socket)
    else this.#secure(socket, tls)
  }

  #secure(socket: Socket, tls: TlsSide): void {
    const stranger: Stranger = { destroy: () => socket.destroy() }
    const timer = this.#platform.clock.after(this.#limits.handshakeMs, () => socket.destroy())
    const leave = (): void => {
      timer.cancel()
      this.#strangers.delete(stranger)
    }
    tls.accept(socket).then(
      (secure) => {
        leave()
        this.#hear(secure, secure.proof)
      },
      (error: unknown) => {
        leave()
        if (!(error instanceof TlsFailure)) throw error
        if (!this.#closed) this.#warnOf(socket, error.message)
      },
    )
    this.#strangers.add(stranger)
    this.#pushOutOldest()
  }

  /** A connection came; whose, is to be proved. `proof`: what its certificate says of that. */
  #hear(socket: Socket, proof?: Proof): void {
    const { clock, chance } = this.#platform
    const stranger = new FrameConnection(clock, socket, this.#limits.handshakeBytesMax)
    if (this.#closed) return stranger.destroy(stopping())
    const handshake = new CalledHandshake(this.#self, chance.bytes(nonceBytes))
    const leave = (): void => {
      timer.cancel()
      this.#strangers.delete(stranger)
    }
    const timer = clock.after(this.#limits.handshakeMs, () => stranger.destroy(tooSlow()))
    stranger.onClosed = (error) => {
      leave()
      if (error instanceof MalformedStream) this.#warnOf(stranger, error.message)
    }
    stranger.onFrame = (type, _request, _kind, body) => {
      const step = vouchedFor(handshake.receive({ type, body }, stranger.lane), proof)
      sendAll(stranger, step)
      if (step.state === 'going on') return
      leave()
      if (step.state === 'proven') return this.#welcome(stranger, step)
      this.#warnOf(stranger, step.reason)
      stranger.end()
    }
    this.#strangers.add(stranger)
    this.#pushOutOldest()
  }

  /** The oldest, not the newest: a sound peer needs a few milliseconds, so a crowd of silent ones can't keep it out. */
  #pushOutOldest(): void {
    if (this.#strangers.size <= this.#limits.strangersMax) return
    const [oldest] = this.#strangers
    oldest.destroy(new Error('too many connections have not proved who they are'))
  }

  #welcome(connection: FrameConnection, { peer }: Step & { state: 'proven' }): void {
    const name = `${peer.node} ${peer.incarnation} ${peer.lane}`
    // The caller gave the older one up. What lies unread in it must not start after what comes by this one.
    this.#incoming.get(name)?.destroy(new Error('the caller has connected again'))
    const incoming = new IncomingConnection(peer, connection, this.#handlers, this.#limits)
    connection.lengthMax = bodyBytesMax
    connection.onClosed = (error) => {
      if (this.#incoming.get(name) === incoming) this.#incoming.delete(name)
      if (error instanceof MalformedStream)
        this.#log.warn('A peer’s connection was closed as it broke the rules', { peer: peer.node, error })
    }
    this.#incoming.set(name, incoming)
  }

  #warnOf({ remoteAddress: from }: { readonly remoteAddress: Address }, reason: string): void {
    this.#log.warn('A connection was refused', { from, reason })
  }

  #unknown(node: NodeId): NdfsError {
    return new NdfsError('PEER_UNREACHABLE', `Cannot reach ${node}: its address is not known`, { node })
  }
}

function closePeer(peer: Peer, error: Error, later: NdfsError): void {
  for (const lane of Object.values(peer.lanes)) lane.close(error, later)
}

/** No node can act as another: whom it claims to be, its certificate names. */
function vouchedFor(step: Step, proof: Proof | undefined): Step {
  if (step.state !== 'proven' || proof === undefined || proof.names(step.peer.node)) return step
  const { node } = step.peer
  return refuse(
    `the caller says that it is ${node}, and its certificate names ${proof.text}: issue one that names ${node}`,
  )
}

/** Before anybody listens to it. */
function drop(socket: Socket): void {
  socket.onData = socket.onClose = () => undefined
  socket.destroy()
}

function sendAll(connection: FrameConnection, step: Step): void {
  for (const { type, body } of step.send) connection.send(type, 0, 0, [body])
}

const stopping = (): NdfsError => new NdfsError('UNAVAILABLE', 'Cannot send anything: this node stops')
const tooSlow = (): Error => new Error('the other side did not prove who it is in time')
