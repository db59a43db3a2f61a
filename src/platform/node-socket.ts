/**
 * One connection by Node.js.
 *
 * Several buffers go to the system in one call (cork, then writev). `write` says stop at `waitingBytesHigh`, and
 * `onDrain` comes at `waitingBytesLow`: between them there is enough for the next gathering write, so that the wire never
 * idles while the sender wakes up. Where bytes that come are written to: socket-reads.ts. An exception in a callback is a bug; nothing here catches it, and the process stops.
 */
import type { Socket as NetSocket } from 'node:net'
import { AssertionFailure } from '../base/assert.ts'
import { MiB } from '../base/units.ts'
import { goneEarly } from './node-tls-failures.ts'
import type { Address, Socket } from './platform.ts'
import type { SocketReads } from './socket-reads.ts'

const waitingBytesHigh = 4 * MiB
const waitingBytesLow = 1 * MiB
/** How long the other side may take to read what we sent last, and to close, before we stop waiting for it. */
const lingerMs = 2000

const notSet = (): never => {
  throw new AssertionFailure('a socket whose callbacks were not set in the turn in which it came')
}

export class NodeSocket implements Socket {
  readonly remoteAddress: Address
  readonly localAddress: Address
  onData: (bytes: Buffer) => void = notSet
  room: () => Uint8Array | undefined = () => undefined
  onFilled: (bytes: number) => void = notSet
  onClose: (error?: Error) => void = notSet
  onDrain: () => void = () => undefined
  readonly #socket: NetSocket
  readonly #reads: SocketReads
  #error: Error | undefined
  #closed = false
  #ending = false
  /** The other side sends no more; told when what came before was handed on. */
  #endHeard = false
  #stopped = false
  #writtenBytes = 0
  /** Callbacks of `whenSent`, and how many bytes each waits for; in that order. */
  readonly #whenSent: { bytes: number; callback: () => void }[] = []

  /** `socket` was made to read with `reads`, and to stay half open. */
  constructor(socket: NetSocket, reads: SocketReads, remoteAddress: Address, localAddress: Address) {
    this.#socket = socket
    this.#reads = reads
    this.remoteAddress = remoteAddress
    this.localAddress = localAddress
    reads.reader = {
      room: () => this.room(),
      onFilled: (bytes) => this.onFilled(bytes),
      onData: (bytes) => this.onData(bytes),
      onNothingHeld: () => {
        if (this.#endHeard) this.#answerEnd()
      },
      readOn: () => socket.resume(),
    }
    socket.on('error', (error) => (this.#error ??= error))
    socket.on('end', () => {
      this.#endHeard = true
      if (!reads.holdsAny) this.#answerEnd()
    })
    socket.on('close', () => this.#onClosed())
  }

  write(buffers: readonly Uint8Array[]): boolean {
    if (this.#closed || this.#ending) return true
    const socket = this.#socket
    const last = buffers.length - 1
    if (last > 0) socket.cork()
    for (let index = 0; index < last; index++) {
      this.#writtenBytes += buffers[index].length
      socket.write(buffers[index])
    }
    if (last >= 0) {
      this.#writtenBytes += buffers[last].length
      socket.write(buffers[last], this.#onSent)
    }
    if (last > 0) socket.uncork()
    if (socket.writableLength < waitingBytesHigh) return true
    this.#stopped = true
    return false
  }

  whenSent(callback: () => void): void {
    if (this.#closed || this.#sentBytes() >= this.#writtenBytes) queueMicrotask(callback)
    else this.#whenSent.push({ bytes: this.#writtenBytes, callback })
  }

  pause(): void {
    if (!this.#closed && !this.#ending) this.#reads.pause()
  }

  resume(): void {
    if (!this.#closed && !this.#ending) this.#reads.resume()
  }

  end(): void {
    if (this.#closed || this.#ending) return
    this.#answerEnd()
    // What still comes is read and dropped: a socket closed with unread bytes resets the connection, and the other
    // side might never see what we sent last.
    this.#socket.resume()
  }

  destroy(): void {
    this.#reads.drop()
    this.#socket.destroy()
  }

  /**
   * The connection itself, for TLS to run over, once all that was written has left. From the call on nothing is told here any more; what
   * was read and not told is to be read from it again. Rejects where it is over by then.
   */
  async release(): Promise<NetSocket> {
    this.pause()
    this.onClose = () => undefined
    await new Promise<void>((resolve) => this.whenSent(resolve))
    const socket = this.#socket
    if (this.#closed || this.#ending || this.#endHeard) {
      socket.destroy()
      throw goneEarly()
    }
    for (const event of ['error', 'end', 'close']) socket.removeAllListeners(event)
    socket.on('error', () => undefined) // TLS tells it
    const held = this.#reads.release()
    if (held.length > 0) socket.unshift(held)
    return socket
  }

  /** Ours follows what waits to be sent; a reader that stands still must not keep the connection open for ever. */
  #answerEnd(): void {
    if (this.#closed || this.#ending) return
    this.#ending = true
    this.#reads.drop()
    this.#socket.end()
    this.#destroyAfterLinger()
  }

  #sentBytes(): number {
    return this.#writtenBytes - this.#socket.writableLength
  }

  readonly #onSent = (): void => {
    if (this.#socket.destroyed) return
    const sent = this.#sentBytes()
    while (this.#whenSent.length > 0 && this.#whenSent[0].bytes <= sent) this.#whenSent.shift()?.callback()
    if (!this.#stopped || this.#socket.writableLength > waitingBytesLow) return
    this.#stopped = false
    this.onDrain()
  }

  #destroyAfterLinger(): void {
    const timer = setTimeout(() => this.#socket.destroy(), lingerMs)
    timer.unref()
    this.#socket.once('close', () => clearTimeout(timer))
  }

  #onClosed(): void {
    this.#closed = true
    this.#reads.drop()
    for (const { callback } of this.#whenSent.splice(0)) callback()
    this.onClose(this.#error)
  }
}
