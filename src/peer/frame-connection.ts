/**
 * Frames over one socket. Those sent in one turn of the loop leave in one write; those that come are handed on in order.
 */
import type { Clock, Socket } from '../platform/platform.ts'
import { FrameReader, FrameWriter, MalformedStream } from './framing.ts'
import type { FrameType, OnFrame } from './framing.ts'
import type { Lane } from './peer.ts'

export class FrameConnection {
  onFrame: OnFrame = () => undefined
  /** Once; no frame after it. Not after `end`. */
  onClosed: (error: Error) => void = () => undefined
  /** The socket takes bytes again. */
  onDrain: () => void = () => undefined
  /** How often bytes came: a mark by which silence is told. */
  received = 0
  readonly #clock: Clock
  readonly #socket: Socket
  readonly #reader: FrameReader
  #writer: FrameWriter | undefined
  #flushComes = false
  #blocked = false
  #closed = false
  /** Of frames that wait to be flushed: called when they have left. */
  #leaving: (() => void)[] = []
  /** What the socket was given and has not sent: the sizes of the writes, and their sum. */
  readonly #handedSizes: number[] = []
  #handedBytes = 0

  /** `lane` is that of the first frame that comes where it is left out. */
  constructor(clock: Clock, socket: Socket, lengthMax: number, lane?: Lane) {
    this.#clock = clock
    this.#socket = socket
    this.#reader = new FrameReader(lengthMax, (...frame) => {
      if (!this.#closed) this.onFrame(...frame)
    })
    this.#reader.lane = lane
    socket.onData = (bytes) => this.#read(() => this.#reader.push(bytes))
    socket.room = () => (this.#closed ? undefined : this.#reader.room())
    socket.onFilled = (bytes) => this.#read(() => this.#reader.filled(bytes))
    socket.onDrain = () => this.#onDrain()
    socket.onClose = (error) => this.#close(error ?? new Error('the other side closed the connection'))
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress
  }

  get lane(): Lane {
    return this.#reader.lane ?? 'terminal'
  }

  /** From now on bodies up to this length are taken. */
  set lengthMax(bytes: number) {
    this.#reader.lengthMax = bytes
  }

  /** Bytes that were sent and did not leave this process yet. */
  get backlogBytes(): number {
    return this.#handedBytes + (this.#writer?.bytes ?? 0)
  }

  get blocked(): boolean {
    return this.#blocked
  }

  /** The body must not be changed until it has left, which `left` is told; never where the connection is closed already. */
  send(type: FrameType, request: number, kind: number, body: readonly Uint8Array[], left?: () => void): void {
    if (this.#closed) return
    this.#writer ??= new FrameWriter(this.lane)
    this.#writer.add(type, request, kind, body)
    if (left !== undefined) this.#leaving.push(left)
    if (this.#flushComes || this.#blocked) return
    this.#flushComes = true
    this.#clock.soon(this.#flush)
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /** Sends what waits, then closes. */
  end(): void {
    if (this.#closed) return
    this.#flush()
    this.#closed = true
    this.#socket.end()
  }

  destroy(error: Error): void {
    if (this.#closed) return
    this.#socket.destroy()
    this.#close(error)
  }

  readonly #flush = (): void => {
    this.#flushComes = false
    const bytes = this.#writer?.bytes ?? 0
    if (this.#writer === undefined || bytes === 0 || this.#blocked || this.#closed) return
    this.#handedSizes.push(bytes)
    this.#handedBytes += bytes
    this.#blocked = !this.#socket.write(this.#writer.take())
    this.#socket.whenSent(this.#onSent)
    for (const left of this.#leaving.splice(0)) this.#socket.whenSent(left)
  }

  readonly #onSent = (): void => {
    this.#handedBytes -= this.#handedSizes.shift() ?? 0
  }

  #onDrain(): void {
    this.#blocked = false
    this.#flush()
    if (!this.#blocked) this.onDrain()
  }

  #read(read: () => void): void {
    if (this.#closed) return
    this.received++
    try {
      read()
    } catch (error) {
      if (!(error instanceof MalformedStream)) throw error
      this.destroy(error)
    }
  }

  #close(error: Error): void {
    if (this.#closed) return
    this.#closed = true
    this.onClosed(error)
  }
}
