/**
 * The requests of one proven peer on one lane: handlers are started in order, answers go out as they come.
 *
 * What it has under way here is bounded: beyond it, and while the peer doesn't read its answers, its socket is not read,
 * and the peer's own bounds fill. Another connection, the same peer's other lane too, goes on (M9).
 */
import { giveBack } from '../base/large-buffers.ts'
import type { FrameConnection } from './frame-connection.ts'
import { MalformedStream, frameTypes, headerBytes } from './framing.ts'
import type { FrameType, OnFrame } from './framing.ts'
import type { ProvenPeer } from './handshake.ts'
import { kindsMax } from './channel.ts'
import type { PeerLimits } from './limits.ts'
import { encodeError, kindLengthMax } from './peer-handlers.ts'
import type { PeerHandlers } from './peer-handlers.ts'

export class IncomingConnection {
  readonly peer: ProvenPeer
  readonly #connection: FrameConnection
  readonly #handlers: PeerHandlers
  readonly #limits: PeerLimits
  /** The names that the caller gave to numbers. */
  readonly #kinds: (string | undefined)[] = []
  #handled = 0
  #handledBytes = 0
  #paused = false

  constructor(peer: ProvenPeer, connection: FrameConnection, handlers: PeerHandlers, limits: PeerLimits) {
    this.peer = peer
    this.#connection = connection
    this.#handlers = handlers
    this.#limits = limits
    connection.onFrame = (...frame) => this.#onFrame(...frame)
    connection.onDrain = () => this.#readOrNot()
  }

  destroy(error: Error): void {
    this.#connection.destroy(error)
  }

  #onFrame(...[type, request, kind, body, checksumOfPages]: Parameters<OnFrame>): void {
    if (type === frameTypes.request) this.#handle(request, kind, body, checksumOfPages)
    else if (type === frameTypes.name) this.#name(kind, body)
    else throw new MalformedStream('the caller sent what only the node called may')
  }

  #name(kind: number, body: Buffer): void {
    if (kind < 1 || kind > kindsMax || body.length > kindLengthMax || this.#kinds[kind] !== undefined)
      throw new MalformedStream('a kind of request was named against the rules')
    this.#kinds[kind] = body.toString()
  }

  #handle(id: number, kindNumber: number, body: Buffer, checksumOfPages: number | undefined): void {
    const kind = this.#kinds[kindNumber]
    if (kind === undefined) throw new MalformedStream('a request of a kind that was not named')
    const bytes = headerBytes + body.length
    this.#handled++
    this.#handledBytes += bytes
    const { node, incarnation, lane } = this.peer
    this.#handlers.run(
      { from: node, incarnation, kind, body, checksumOfPages },
      lane,
      (answer) => {
        const { endsBody, endsAnswer } = this.#handlers.optionsOf(kind)
        if (endsBody === true) giveBack(body)
        const left = endsAnswer === true ? () => answer.forEach(giveBack) : undefined
        this.#finish(frameTypes.answer, id, bytes, answer, left)
      },
      (error) => this.#finish(frameTypes.error, id, bytes, [encodeError(error)]),
    )
    this.#readOrNot()
  }

  #finish(type: FrameType, id: number, bytes: number, body: readonly Uint8Array[], left?: () => void): void {
    this.#handled--
    this.#handledBytes -= bytes
    this.#connection.send(type, id, 0, body, left)
    if (this.#paused) this.#readOrNot()
  }

  #readOrNot(): void {
    const full =
      this.#handled >= this.#limits.handledMax ||
      this.#handledBytes >= this.#limits.handledBytesMax ||
      this.#connection.blocked
    if (full === this.#paused) return
    this.#paused = full
    if (full) this.#connection.pause()
    else this.#connection.resume()
  }
}
