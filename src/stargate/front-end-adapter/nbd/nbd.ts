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
 *
 * Asked of the caller: `exports` that rejects with NdfsErrors. Export names are `container/vdisk`, or
 * `container/vdisk#client.number` from clients that may repeat requests elsewhere (io.ts, ClientSession).
 *
 * Not here: who owns a vDisk and where its bytes are (behind `exports`); encryption and passwords (use a trusted network
 * or a Unix socket).
 */
import { assert } from '../../../base/assert.ts'
import type { Address, Listener, Platform, Socket } from '../../../platform/platform.ts'
import type { Exports } from '../../io/io.ts'
import { NbdConnection } from './nbd-connection.ts'
import { nbdLimits, type NbdLimits } from './nbd-limits.ts'
import type { Admission, NbdCounters } from './nbd-session.ts'
import { ReplySlabs } from './reply-slabs.ts'

export type { NbdLimits } from './nbd-limits.ts'

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
  /** Connections that were turned away at a bound. */
  readonly turnedAway: number
  /** Bytes of payloads under way and of replies not yet taken. */
  readonly heldBytes: number
}

export interface NbdServerParts {
  readonly platform: Platform
  readonly exports: Exports
  /** Reads, writes, zeroes and trims ask it before they go to the vDisk. */
  readonly admission?: Admission
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
    const { platform, exports, admission } = this.#parts
    const limits = this.#limits
    const full = this.#connections.size >= limits.connectionsMax || this.#negotiating >= limits.handshakesMax
    if (this.#closing || full) {
      this.#turnedAway += 1
      platform.log.warn('An NBD connection was turned away as there are too many', {
        client: socket.remoteAddress,
        connections: this.#connections.size,
        negotiating: this.#negotiating,
      })
      socket.onData = () => {}
      socket.onClose = () => {}
      socket.destroy()
      return
    }
    this.#negotiating += 1
    const connection: NbdConnection = new NbdConnection({
      platform,
      socket,
      exports,
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
}
