/**
 * The NBD adapter lets QEMU, libnbd and the Linux kernel use vDisks as block devices, over TCP and Unix sockets.
 *
 *  1. An answered write, zero or trim is durable on all copies (I1); flush and FUA ask for no more. What one connection
 *     was told is written all of them see, so clients may use several.
 *  2. Any range of bytes is fine, of 32 MiB at most where data travels. A client's nonsense is answered in the
 *     protocol's words; only what leaves no way back into the stream closes the connection.
 *  3. Connections, negotiations, requests and memory are bounded (I9, nbd-limits.ts). A client that takes no replies, or
 *     stops in the middle of a request, holds up only itself.
 *  4. A client that goes in mid-flight: its requests that the vDisk has are finished, the others dropped; then the
 *     vDisk is closed.
 *  5. Clients of other machines speak TLS, with a certificate or a shared key where the node asks for one; or the container allows their
 *     network to come in plain (nbd-terms.ts).
 *
 * Asked of the caller: `exports` that rejects with NdfsErrors. Export names are `container/vdisk`, or
 * `container/vdisk#client.number` from clients that may repeat requests elsewhere (io.ts, ClientSession).
 *
 * Not here: who owns a vDisk and where its bytes are (behind `exports`).
 */
import { assert } from '../../../base/assert.ts'
import type { Address, Listener, Platform, Socket, TlsSide } from '../../../platform/platform.ts'
import type { Exports } from '../../io/io.ts'
import { NbdConnection } from './nbd-connection.ts'
import { nbdLimits, type NbdLimits } from './nbd-limits.ts'
import type { Admission, NbdCounters } from './nbd-session.ts'
import { termsOf, type PlainClients } from './nbd-terms.ts'
import { ReplySlabs } from './reply-slabs.ts'

export type { NbdLimits } from './nbd-limits.ts'
export type { PlainClients } from './nbd-terms.ts'

export interface NbdServer {
  /** Resolves when it listens, to the address with the port that was picked. May be called for several addresses. */
  listen(address: Address): Promise<Address>
  /** Takes no more, answers what is under way, and resolves when each connection is over and each vDisk closed. */
  close(): Promise<void>
  /** There is nothing to do for a while: memory that was kept for more is let go of. */
  rest(): void
  statistics(): NbdStatistics
}

export interface NbdStatistics extends Readonly<NbdCounters> {
  readonly connections: number
  /** Of them, those that have not chosen an export yet. */
  readonly negotiating: number
  /** Connections that were turned away, at a bound or as such clients may not come. */
  readonly turnedAway: number
  /** Bytes of payloads under way and of replies not yet taken. */
  readonly heldBytes: number
}

export interface NbdServerParts {
  readonly platform: Platform
  readonly exports: Exports
  /** Reads, writes, zeroes and trims ask it before they go to the vDisk. */
  readonly admission?: Admission
  /** Whom operators let in without TLS from other machines; left out: nobody. */
  readonly plain?: PlainClients
  /** What the server proves itself by, as it is now; left out: it speaks no TLS. */
  readonly tls?: () => TlsSide
  readonly limits?: Partial<NbdLimits>
}

export function createNbdServer(parts: NbdServerParts): NbdServer {
  return new Server(parts)
}

class Server implements NbdServer {
  readonly #parts: NbdServerParts
  readonly #limits: NbdLimits
  readonly #slabs = new ReplySlabs()
  readonly #listeners: Listener[] = []
  readonly #connections = new Set<NbdConnection>()
  readonly #counters: NbdCounters = {
    reads: 0,
    writes: 0,
    zeroes: 0,
    trims: 0,
    flushes: 0,
    readBytes: 0,
    writtenBytes: 0,
    errors: 0,
  }
  #negotiating = 0
  #turnedAway = 0
  #closing = false
  #allOver = (): void => {}

  constructor(parts: NbdServerParts) {
    this.#parts = parts
    this.#limits = { ...nbdLimits, ...parts.limits }
  }

  async listen(address: Address): Promise<Address> {
    assert(!this.#closing, 'a server that closes was to listen')
    const listener = await this.#parts.platform.sockets.listen(address, (socket) => this.#accept(socket))
    this.#listeners.push(listener)
    return listener.address
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all(this.#listeners.splice(0).map((listener) => listener.close()))
    const over = new Promise<void>((resolve) => (this.#allOver = resolve))
    if (this.#connections.size === 0) return
    for (const connection of [...this.#connections]) connection.leave()
    await over
  }

  rest(): void {
    this.#slabs.dropIdle()
  }

  statistics(): NbdStatistics {
    return {
      ...this.#counters,
      connections: this.#connections.size,
      negotiating: this.#negotiating,
      turnedAway: this.#turnedAway,
      heldBytes: this.#slabs.heldBytes,
    }
  }

  #accept(socket: Socket): void {
    const { platform, exports, admission, plain, tls } = this.#parts
    const limits = this.#limits
    const full = this.#connections.size >= limits.connectionsMax || this.#negotiating >= limits.handshakesMax
    const client = socket.remoteAddress
    if (this.#closing || full) {
      const [connections, negotiating] = [this.#connections.size, this.#negotiating]
      const facts = { client, connections, negotiating }
      return this.#turnAway(socket, 'An NBD connection was turned away as there are too many', facts)
    }
    const terms = termsOf(client, tls !== undefined, plain)
    if (terms === undefined)
      return this.#turnAway(
        socket,
        'An NBD client was refused: no TLS is spoken here, and no container allows its network. Give the node a certificate (nbdTls), or ' +
          'allow the network: `ndfs container set NAME --nbd-allow NETWORK`',
        { client },
      )
    this.#negotiating += 1
    const connection: NbdConnection = new NbdConnection({
      platform,
      socket,
      exports,
      terms,
      tls,
      admission,
      slabs: this.#slabs,
      limits,
      counters: this.#counters,
      agreed: () => {
        this.#negotiating -= 1
      },
      over: () => {
        this.#connections.delete(connection)
        if (this.#connections.size === 0) this.#allOver()
      },
    })
    this.#connections.add(connection)
  }

  #turnAway(socket: Socket, reason: string, facts: object): void {
    this.#turnedAway += 1
    this.#parts.platform.log.warn(reason, facts)
    socket.onData = () => {}
    socket.onClose = () => {}
    socket.destroy()
  }
}
