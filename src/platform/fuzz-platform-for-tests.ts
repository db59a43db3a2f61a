/** A platform for fuzzers of servers: time stands still, and the fuzzer is the other side of every connection. */
import { assert } from '../base/assert.ts'
import type { Roll } from '../base/dice-for-tests.ts'
import { millis } from '../base/units.ts'
import type { Clock, Log, Platform, Socket, Timer } from './platform.ts'

/** Time that stands still, except for what is due at once: a run needs no more. */
export class FuzzClock implements Clock {
  readonly #soon: (() => void)[] = []
  now = () => millis(0)
  wallTime = (): number => 0
  after = (): Timer => ({ cancel: () => {} })
  sleep = (): Promise<void> => Promise.resolve()
  soon = (callback: () => void): void => void this.#soon.push(callback)

  async settle(): Promise<void> {
    do {
      for (const callback of this.#soon.splice(0)) callback()
      // Every chain of promises runs to its end before the loop turns.
      await new Promise((resolve) => setImmediate(resolve))
    } while (this.#soon.length > 0)
  }
}

/** The server's side of a connection whose other side is the fuzzer. */
export class FuzzSocket implements Socket {
  readonly remoteAddress: string
  readonly localAddress = 'fuzzed'
  onData: (bytes: Buffer) => void = () => {}
  room: () => Uint8Array | undefined = () => undefined
  onFilled: (bytes: number) => void = () => {}
  onClose: (error?: Error) => void = () => {}
  onDrain: () => void = () => {}
  paused = false
  closed = false
  /** Told of all that the server writes, in the turn in which it does. */
  onWrite: (buffers: readonly Uint8Array[]) => void = () => {}
  readonly #roll: Roll
  #unsent: (() => void)[] = []

  constructor(roll: Roll, remoteAddress = 'fuzz') {
    this.#roll = roll
    this.remoteAddress = remoteAddress
  }

  write(buffers: readonly Uint8Array[]): boolean {
    assert(
      buffers.every((buffer) => buffer.length > 0 || buffers.length > 1),
      'an empty write is a wasted call',
    )
    this.onWrite(buffers)
    return true
  }
  whenSent(callback: () => void): void {
    if (this.closed || this.#roll(4) > 0) queueMicrotask(callback)
    else this.#unsent.push(callback)
  }
  sendAll(): void {
    for (const callback of this.#unsent.splice(0)) callback()
  }
  pause(): void {
    this.paused = true
  }
  resume(): void {
    this.paused = false
  }
  end(): void {
    this.destroy()
  }
  destroy(): void {
    if (this.closed) return
    this.closed = true
    queueMicrotask(() => this.onClose())
  }
}

/** At most `most` bytes of the stream, from `at` on, arrive at a socket that is not paused. Tells how far it has come. */
export function arrive(socket: Socket, stream: Buffer, at: number, most: number): number {
  const room = socket.room()
  const end = Math.min(stream.length, at + Math.min(most, room?.length ?? Infinity))
  if (room === undefined) socket.onData(Buffer.from(stream.subarray(at, end)))
  else {
    stream.copy(room, 0, at, end)
    socket.onFilled(end - at)
  }
  return end
}

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, with: () => silentLog }

export interface FuzzPlatform {
  readonly platform: Platform
  readonly clock: FuzzClock
  /** A connection to whoever listened last. */
  readonly connect: (socket: Socket) => void
}

export function fuzzPlatform(): FuzzPlatform {
  const clock = new FuzzClock()
  let connect: (socket: Socket) => void = () => {}
  const listener = { address: 'fuzz', close: () => Promise.resolve() }
  // Adapters use nothing else of it.
  const platform = {
    clock,
    log: silentLog,
    sockets: {
      listen: async (_: string, onConnection: (socket: Socket) => void) => {
        connect = onConnection
        return listener
      },
    },
  } as unknown as Platform
  return { platform, clock, connect: (socket) => connect(socket) }
}
