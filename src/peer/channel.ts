/**
 * The way of calls to one peer on one lane, once it is open: a connection, or a short cut to our own handlers.
 */
import { assert } from '../base/assert.ts'
import type { NdfsError } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import { MalformedStream, frameTypes } from './framing.ts'
import type { FrameConnection } from './frame-connection.ts'
import type { Self } from './handshake.ts'
import type { PeerHandlers } from './peer-handlers.ts'
import { decodeError, kindLengthMax } from './peer-handlers.ts'
import type { Lane } from './peer.ts'

export interface Channel {
  onAnswer: (id: number, body: Buffer) => void
  onError: (id: number, error: NdfsError) => void
  /** It broke: not by `destroy`. */
  onClosed: (error: Error) => void
  readonly backlogBytes: number
  /** Grows with whatever comes from the peer. */
  readonly received: number
  send(id: number, kind: string, body: readonly Uint8Array[]): void
  destroy(error: Error): void
}

/** Kinds that one connection can name: more than there are, and a bound for who listens. */
export const kindsMax = 1024

export class ConnectionChannel implements Channel {
  onAnswer: (id: number, body: Buffer) => void = () => undefined
  onError: (id: number, error: NdfsError) => void = () => undefined
  onClosed: (error: Error) => void = () => undefined
  readonly #connection: FrameConnection
  readonly #kinds = new Map<string, number>()

  constructor(connection: FrameConnection) {
    this.#connection = connection
    connection.onClosed = (error) => this.onClosed(error)
    connection.onFrame = (type, request, _kind, body) => {
      if (type === frameTypes.answer) this.onAnswer(request, body)
      else if (type === frameTypes.error) this.onError(request, decodeError(body))
      else throw new MalformedStream('the node called sent what only a caller may')
    }
  }

  get backlogBytes(): number {
    return this.#connection.backlogBytes
  }

  get received(): number {
    return this.#connection.received
  }

  send(id: number, kind: string, body: readonly Uint8Array[]): void {
    this.#connection.send(frameTypes.request, id, this.#kinds.get(kind) ?? this.#name(kind), body)
  }

  destroy(error: Error): void {
    this.#connection.onClosed = () => undefined
    this.#connection.destroy(error)
  }

  #name(kind: string): number {
    const number = this.#kinds.size + 1
    assert(
      number <= kindsMax && kind.length <= kindLengthMax,
      'more kinds of requests than a connection can name',
    )
    this.#kinds.set(kind, number)
    this.#connection.send(frameTypes.name, 0, number, [Buffer.from(kind)])
    return number
  }
}

/** To this node itself: the same promises. Bodies are copied, so that either side may use its buffers again. */
export class OwnChannel implements Channel {
  onAnswer: (id: number, body: Buffer) => void = () => undefined
  onError: (id: number, error: NdfsError) => void = () => undefined
  onClosed: (error: Error) => void = () => undefined
  readonly backlogBytes = 0
  readonly #clock: Clock
  readonly #handlers: PeerHandlers
  readonly #self: Self
  readonly #lane: Lane
  #received = 0

  constructor(clock: Clock, handlers: PeerHandlers, self: Self, lane: Lane) {
    this.#clock = clock
    this.#handlers = handlers
    this.#self = self
    this.#lane = lane
  }

  /** We are never silent: a handler of our own that is slow breaks nothing. */
  get received(): number {
    return ++this.#received
  }

  send(id: number, kind: string, body: readonly Uint8Array[]): void {
    const { node, incarnation } = this.#self
    const request = { from: node, incarnation, kind, body: Buffer.concat(body) }
    this.#clock.soon(() =>
      this.#handlers.run(
        request,
        this.#lane,
        (answer) => this.onAnswer(id, Buffer.concat(answer)),
        (error) => this.onError(id, error),
      ),
    )
  }

  destroy(): void {
    this.onAnswer = this.onError = () => undefined
  }
}
