/**
 * One connection from its first byte to its last.
 *
 *  (none)      → negotiating   it was accepted                                            [constructor]
 *  negotiating → serving       client and server agree on an export                       [#serve]
 *  negotiating → over          they don't, time is up, or it is gone                      [#end]
 *  serving     → over          it is gone and the vDisk has nothing more of it            (nbd-session.ts)
 */
import { assert } from '../../../base/assert.ts'
import { messageOf } from '../../../base/errors.ts'
import { TlsFailure } from '../../../platform/platform.ts'
import type { Platform, Proof, Socket, Timer, TlsSide } from '../../../platform/platform.ts'
import type { Exports } from '../../io/io.ts'
import { IncomingBytes } from './incoming-bytes.ts'
import { Disconnected, negotiate, type HandshakeLink, type Negotiated } from './nbd-handshake.ts'
import type { NbdLimits } from './nbd-limits.ts'
import { NbdSession, type Admission, type NbdCounters } from './nbd-session.ts'
import type { Terms } from './nbd-terms.ts'
import type { ReplySlabs } from './reply-slabs.ts'

/** What a client that was made to wait for us has to finish negotiating, where its own time is already up. */
const graceMs = 1000

export interface NbdConnectionParts {
  readonly platform: Platform
  readonly socket: Socket
  readonly exports: Exports
  readonly terms: Terms
  /** Where the terms' mode has TLS. */
  readonly tls: (() => TlsSide) | undefined
  readonly admission: Admission | undefined
  readonly slabs: ReplySlabs
  readonly limits: NbdLimits
  readonly counters: NbdCounters
  /** Negotiation is over, whatever came of it. */
  readonly agreed: () => void
  readonly over: () => void
}

export class NbdConnection implements HandshakeLink {
  readonly #parts: NbdConnectionParts
  #socket: Socket
  /** Once TLS is spoken: whose connection it is, as far as the client had to prove that. */
  #secure: { readonly proof: Proof | undefined } | undefined
  readonly #input = new IncomingBytes()
  #session: NbdSession | undefined
  #timer: Timer
  #late = false
  #ours = 0
  #gone = false
  #leaving = false
  #paused = false
  /** Negotiation waits for bytes, or to be allowed to send. */
  #arrived: (() => void) | undefined
  #drained: (() => void) | undefined

  constructor(parts: NbdConnectionParts) {
    this.#parts = parts
    this.#socket = parts.socket
    this.#timer = parts.platform.clock.after(parts.limits.handshakeMs, () => this.#timeIsUp())
    this.#listen()
    void this.#run()
  }

  #listen(): void {
    this.#socket.onData = (piece) => this.#receive(piece)
    // What negotiation reads is short.
    this.#socket.room = () => (this.#session === undefined ? undefined : this.#input.room())
    this.#socket.onFilled = (bytes) => this.#session?.filled(bytes)
    this.#socket.onDrain = () => this.#drained?.()
    this.#socket.onClose = () => this.#closed()
  }

  /** No more requests; ends when what is under way is answered. */
  leave(): void {
    this.#leaving = true
    if (this.#session) this.#session.leave()
    else this.#socket.destroy()
  }

  async #run(): Promise<void> {
    let negotiated: Negotiated | undefined
    try {
      negotiated = await negotiate(this, this.#parts.exports, this.#parts.terms)
    } catch (error) {
      if (!(error instanceof Disconnected)) throw error
    }
    this.#timer.cancel()
    this.#parts.agreed()
    if (negotiated && !this.#gone && !this.#leaving) {
      this.#serve(negotiated)
      return
    }
    negotiated?.vdisk.close()
    if (!this.#gone) this.#socket.end()
    this.#parts.over()
  }

  #serve(negotiated: Negotiated): void {
    const { platform, admission, slabs, limits, counters, over } = this.#parts
    const { name, session } = negotiated
    const log = platform.log.with({ vdisk: name, client: this.#socket.remoteAddress })
    log.info('NBD client connected', {
      ...(session && { session: `${session.client}.${session.number}` }),
      ...(this.#secure && { tls: this.#secure.proof?.text ?? 'anybody' }),
    })
    this.#session = new NbdSession({
      socket: this.#socket,
      input: this.#input,
      paused: this.#paused,
      vdisk: negotiated.vdisk,
      agreement: negotiated,
      admission,
      slabs,
      limits,
      counters,
      clock: platform.clock,
      log,
      over: () => {
        log.info('NBD client left')
        over()
      },
    })
    this.#session.work()
  }

  #receive(piece: Buffer): void {
    if (this.#session) {
      this.#session.receive(piece)
      return
    }
    if (this.#gone) return
    this.#input.push(piece)
    this.#paused = true
    this.#socket.pause()
    this.#arrived?.()
  }

  #closed(): void {
    if (this.#gone) return
    this.#gone = true
    // The other side may only have said that it sends no more; we have nothing to tell it then.
    this.#socket.destroy()
    this.#arrived?.()
    this.#drained?.()
    this.#session?.closed()
  }

  #timeIsUp(): void {
    this.#late = true
    if (this.#ours > 0) return
    const client = this.#socket.remoteAddress
    this.#parts.platform.log.info('An NBD client took too long to choose an export', { client })
    this.#socket.destroy()
  }

  get holdsMore(): boolean {
    return !this.#input.atEndOfPiece
  }

  async secure(): Promise<void> {
    const { tls, platform } = this.#parts
    assert(tls !== undefined, 'TLS where there is none')
    const client = this.#socket.remoteAddress
    const socket = await tls()
      .accept(this.#socket)
      .catch((error: unknown) => {
        if (!(error instanceof TlsFailure)) throw error
        this.#gone = true
        platform.log.warn('An NBD client was refused', { client, reason: messageOf(error) })
        throw new Disconnected()
      })
    this.#socket = socket
    this.#secure = socket
    this.#paused = false
    this.#listen()
    if (this.#leaving) socket.destroy()
  }

  async take(count: number): Promise<Buffer> {
    while (!this.#input.consume(count)) await this.#more()
    if (this.#gone) throw new Disconnected()
    // A copy: negotiation keeps names, and a window would keep the whole piece.
    return Buffer.from(this.#input.bytes.subarray(this.#input.start, this.#input.start + count))
  }

  async skip(count: number): Promise<void> {
    for (let left = count; ;) {
      left -= this.#input.skip(left)
      if (left === 0) return
      await this.#more()
    }
  }

  async send(...buffers: Buffer[]): Promise<void> {
    if (this.#gone) throw new Disconnected()
    if (!this.#socket.write(buffers)) await new Promise<void>((resolve) => (this.#drained = resolve))
    this.#drained = undefined
    if (this.#gone) throw new Disconnected()
  }

  async ours<T>(work: Promise<T>): Promise<T> {
    this.#ours += 1
    try {
      return await work
    } finally {
      this.#ours -= 1
      if (this.#late) this.#timer = this.#parts.platform.clock.after(graceMs, () => this.#timeIsUp())
    }
  }

  /** The piece at hand is used up: lets the next one come. */
  async #more(): Promise<void> {
    if (this.#gone) throw new Disconnected()
    await new Promise<void>((resolve) => {
      this.#arrived = resolve
      if (!this.#paused) return
      this.#paused = false
      this.#socket.resume()
    })
    this.#arrived = undefined
    if (this.#gone) throw new Disconnected()
  }
}
