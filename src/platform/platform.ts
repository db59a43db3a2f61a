/**
 * The platform is all that NDFS asks of the machine: time, chance, files, sockets, a log.
 *
 *  1. Nothing above this folder reads a clock, draws a number, or opens a file or socket by other means.
 *  2. `nodePlatform()` puts Node.js behind it; the simulator puts a virtual world behind it, and the code above
 *     cannot tell.
 *  3. Every call that may wait returns a promise or takes a callback; no call blocks the loop for longer than a
 *     copy of its bytes.
 */
import { KiB, type Millis } from '../base/units.ts'

export interface Platform {
  readonly clock: Clock
  readonly chance: Chance
  readonly files: Files
  readonly sockets: Sockets
  readonly log: Log
}

export interface Clock {
  /** Milliseconds since some start, with fractions. Never goes back; runs on while the process is frozen (m5). */
  now(): Millis
  /** Milliseconds since 1970. May jump: for people and file times only, never for leases. */
  wallTime(): number
  /** Runs `callback` once, `ms` from now or later. An exception in it is a bug and stops the process. */
  after(ms: number, callback: () => void): Timer
  sleep(ms: number): Promise<void>
  /** Runs `callback` when all that is ready now has been handled: the place where batches are closed. */
  soon(callback: () => void): void
}

export interface Timer {
  cancel(): void
}

export interface Chance {
  /** A number from 0 (included) to `below` (not included); `below` at most 2^32. */
  below(below: number): number
  /** Unpredictable bytes: fit for keys and nonces in production, seeded in simulation. */
  bytes(count: number): Buffer
}

export interface Log {
  debug(message: string, facts?: object): void
  info(message: string, facts?: object): void
  warn(message: string, facts?: object): void
  error(message: string, facts?: object): void
  /** A log whose every line bears these facts. */
  with(facts: object): Log
}

export interface Files {
  /**
   * Opens a file. `create`: makes it, and fails with EEXIST where it exists. `direct`: around the page cache;
   * buffers, positions and lengths must then be multiples of 4096 (buffers from `alignedBuffer`). `durable`: each
   * write is on stable media when it resolves (O_DSYNC).
   */
  open(
    path: string,
    options?: { create?: boolean; writable?: boolean; direct?: boolean; durable?: boolean },
  ): Promise<File>
  makeDirectory(path: string): Promise<void>
  /** The names in a directory, sorted; `undefined` where there is no such directory. */
  list(path: string): Promise<string[] | undefined>
  /** Bytes of a small file; `undefined` where there is none. */
  readWhole(path: string): Promise<Buffer | undefined>
  /** Writes a small file so that after a crash there is the old one or the new one, whole; durable when it resolves. */
  replaceWhole(path: string, bytes: Uint8Array, mode?: number): Promise<void>
  /** Renames; durable when it resolves. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file; nothing happens where there is none. Durable only after `syncDirectory`. */
  remove(path: string): Promise<void>
  syncDirectory(path: string): Promise<void>
  /** Bytes free for us in the file system that holds `path`. */
  freeBytes(path: string): Promise<number>
  /**
   * Takes an exclusive lock that ends with the process, however it ends. `undefined` where another process holds it.
   * The lock is advisory: on a Unix socket in the abstract namespace, named by the path.
   */
  lock(path: string): Promise<{ release(): Promise<void> } | undefined>
  /** Zeroed memory whose start is a multiple of 4096, for `direct` files. Keep it and use it again: it is not cheap. */
  alignedBuffer(bytes: number): Buffer
}

/** A failed call rejects with the system's error (`code`: EIO, ENOSPC, …). */
export interface File {
  /**
   * Fills `target` from `position`; resolves to the bytes read, fewer only at the end of the file. What is read into aligned memory
   * comes from the disk itself, around the page cache.
   */
  read(target: Uint8Array, position: number): Promise<number>
  /**
   * Writes the buffers one after the other, all of them, from `position`. A long write of aligned memory goes around the page
   * cache by itself, and is as durable as any other: after `sync`.
   */
  write(buffers: readonly Uint8Array[], position: number): Promise<void>
  /** All written before this call is on stable media when it resolves (fdatasync). */
  sync(): Promise<void>
  size(): Promise<number>
  truncate(bytes: number): Promise<void>
  close(): Promise<void>
}

/** `127.0.0.1:9440`, `[::1]:9440`, or `unix:/path`. */
export type Address = string

export interface Sockets {
  /** Resolves when it listens; rejects with the system's error (EADDRINUSE, …). Port 0 picks one: see `address`. */
  listen(address: Address, onConnection: (socket: Socket) => void): Promise<Listener>
  /** Resolves when connected; rejects on refusal, or after `timeoutMs`. `fromHost`: an address of this machine that the other side shall see. */
  connect(address: Address, timeoutMs: number, fromHost?: string): Promise<Socket>
  /**
   * Datagrams (UDP) to and from this address. Resolves when they are taken; rejects as `listen` does. What comes faster than it is
   * handled is lost.
   */
  bind(address: Address, onDatagram: (bytes: Buffer, from: Address) => void): Promise<DatagramSocket>
}

export interface Listener {
  readonly address: Address
  /** No new connection is accepted; those that stand go on. */
  close(): Promise<void>
}

/** The most that a datagram can hold, by IPv4. */
export const datagramBytesMax = 65_507

export interface DatagramSocket {
  readonly address: Address
  /** One datagram, of at most `datagramBytesMax`. It may be lost, or come late, and nobody is told; the bytes may be changed after it. Nothing is sent once it was closed. */
  send(bytes: Uint8Array, to: Address): void
  close(): Promise<void>
}

/** With so much of something still to come a reader says where it belongs (see `Socket.room`); what is shorter comes by way of the socket's own memory. */
export const readIntoBytesMin = 16 * KiB

/** A stream of bytes to another process. Set `onData`, `onClose` and `onDrain` in the turn in which you get it. */
export interface Socket {
  readonly remoteAddress: Address
  /** This side of it, as the other one sees it. */
  readonly localAddress: Address
  /** Bytes that arrived. The buffer is the callee's to keep. */
  onData: (bytes: Buffer) => void
  /**
   * Asked before bytes are read: memory that they shall be written into, where many are waited for. It stays as it is until `onFilled`
   * has said that it was written into, from its beginning, and how far; those bytes are not told by `onData`. Undefined: as usual; and
   * what is read while the reader has paused comes as usual, too.
   */
  room: () => Uint8Array | undefined
  onFilled: (bytes: number) => void
  /** The other side will send no more, or the connection failed, or `destroy` was called. Once, and nothing after it. */
  onClose: (error?: Error) => void
  /** What waited to be sent is below the low-water mark again; only after `write` returned false. */
  onDrain: () => void
  /** Sends the buffers in order; keep them unchanged until sent. False: stop and wait for `onDrain`. */
  write(buffers: readonly Uint8Array[]): boolean
  /** Calls back once all that was written so far was handed to the system: buffers may be used again. */
  whenSent(callback: () => void): void
  /**
   * No more `onData` and `onFilled` until `resume`. Little is read meanwhile, and nothing of it is told any more once the connection is
   * known to be broken, which is told at once.
   */
  pause(): void
  resume(): void
  /** Sends what waits, then closes. */
  end(): void
  destroy(): void
}

/** What one side of a connection proves itself with, and by what it lets the other prove itself. Texts are PEM. */
export type TlsCredentials =
  | {
      readonly kind: 'certificate'
      /** The side's own, and those between it and its authority. */
      readonly certificate: string
      readonly key: string
      /** One or several: the other side needs a certificate by one of them. Left out: a client that connects needs none. */
      readonly authorities?: string
    }
  /** By identity; at least 16 bytes each. For who is called. */
  | { readonly kind: 'shared keys'; readonly keys: ReadonlyMap<string, Buffer> }

/** TLS over sockets that are connected already. */
export interface Tls {
  /** REFUSED where the credentials can't be used. */
  side(credentials: TlsCredentials): TlsSide
}

export interface TlsSide {
  /**
   * Waits for the other side to begin TLS. All that was written before leaves first, in plain; what came and was not told yet is taken for
   * TLS. From the call on nothing is to be done with the socket but `destroy` it, which is how to give up. Rejects with a TlsFailure; the
   * connection is closed then. The other's mistakes cost bounded memory, and no more.
   */
  accept(socket: Socket): Promise<SecureSocket>
  /** Begins TLS; all else as `accept`. */
  connect(socket: Socket): Promise<SecureSocket>
}

export interface SecureSocket extends Socket {
  /** Undefined where the other side did not have to prove anything. */
  readonly proof: Proof | undefined
}

/** Who the other side has proved to be. */
export interface Proof {
  /** For people: the names in its certificate, or its identity. */
  readonly text: string
  /** Whether it is this one: a host, an address, a node, an identity. */
  names(name: string): boolean
}

/** A connection that did not come to be secure. The message goes on from *the other side*: what is wrong with it, and what to do. */
export class TlsFailure extends Error {
  override name = 'TlsFailure'
}
