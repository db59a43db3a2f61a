/**
 * One session in ZooKeeper, by way of the library node-zookeeper-client: the only file that knows its inside, which is why its
 * version is pinned in package.json. The library connects, again and to the next server where a connection ends, until ZooKeeper
 * says that the session has expired. What it lacks is added here:
 *
 *  1. `sync`, and one persistent watch on everything below a node (ZooKeeper 3.6 and later).
 *  2. A change may ask for version 0, which the library's own transactions take for *any*.
 *  3. Every request ends: what the library holds back where a connection is lost is rejected, and never sent on a later one. The half of
 *     an answer that came on one connection is not taken for the beginning of the next one's.
 *  4. `end` leaves no connection behind, whatever the server does or doesn't do.
 *
 * Not here: time. Whoever has the client says when a connection has been silent for too long (zookeeper-connection.ts).
 */
import type * as Library from 'node-zookeeper-client'
import type { Client, Event, Exception, Transaction } from 'node-zookeeper-client'
import type { Clock } from '../platform/platform.ts'

export type ZooKeeperLibrary = typeof Library

/** Why a request failed. */
export type ZooKeeperTrouble =
  /** There was no connection: nothing was sent. */
  | 'not-sent'
  /** The connection was lost before the answer came: it may have been done, or be done yet. */
  | 'lost'
  | 'no-node'
  | 'node-exists'
  | 'bad-version'
  /** The user may not. */
  | 'no-auth'
  | 'other'

export class ZooKeeperError extends Error {
  override name = 'ZooKeeperError'
  readonly trouble: ZooKeeperTrouble

  constructor(trouble: ZooKeeperTrouble, message: string) {
    super(message)
    this.trouble = trouble
  }
}

export const hasTrouble = (error: unknown, ...troubles: ZooKeeperTrouble[]): boolean =>
  error instanceof ZooKeeperError && troubles.includes(error.trouble)

/** What a node of ZooKeeper's holds. */
export interface Found {
  readonly data: Buffer
  /** Of its data: from 0 when it was made, one higher with each change. */
  readonly version: number
  /** The number (zxid) of the change that made it, and of the last one: hexadecimal, all equally long, so that they sort as text. */
  readonly madeBy: string
  readonly changedBy: string
  /** The session that it ends with; zeros: none. */
  readonly session: string
}

export type Operation =
  | { readonly kind: 'check'; readonly path: string; readonly version: number }
  | { readonly kind: 'create'; readonly path: string; readonly data: Buffer; readonly ephemeral?: boolean }
  | { readonly kind: 'set'; readonly path: string; readonly data: Buffer; readonly version: number }
  | { readonly kind: 'remove'; readonly path: string; readonly version: number }

export interface ZooKeeperClientOptions {
  readonly library: ZooKeeperLibrary
  readonly clock: Clock
  /** `host:port` of each. */
  readonly servers: readonly string[]
  readonly sessionTimeoutMs: number
  /** With both, every node made is this user's alone. */
  readonly user?: string | undefined
  readonly password?: string | undefined
  /** The callbacks: none of them throws. */
  readonly onConnected: () => void
  readonly onDisconnected: () => void
  /** ZooKeeper has ended the session: nothing more comes of this client. */
  readonly onExpired: () => void
  /** A node below the watched one was made, changed or removed. It comes before any answer that shows it. */
  readonly onChanged: (path: string) => void
}

/** The library's requests, as its sender looks at them. */
interface RawRequest {
  readonly header: { type: number; xid: number }
  toBuffer(): Buffer
}

/** What is used of the library's inside. */
interface Manager {
  readonly socket?: { destroy(): void }
  /** The first bytes of an answer whose rest is to come. */
  pendingBuffer: Buffer | null
  readonly packetQueue: { readonly queue: unknown[] }
  readonly watcherManager: { emit: (event: Pick<Event, 'path'>) => void }
  queue(request: RawRequest, callback: Done<unknown>): void
  onSocketConnected: () => void
  onSocketData: (bytes: Buffer) => void
}

type Done<T> = (error: Error | Exception | null | undefined, value: T) => void

/** Kinds of requests (ZooDefs.OpCode) that the library has no call for; both are answered by a header alone, or what may be passed over. */
const opSync = 9
const opAddWatch = 106
/** By this kind the library finds out what an answer looks like: of a removal it reads the header only. */
const opRemove = 2
/** Everything below, and for good. */
const watchAllBelow = 1

const operationKinds = { create: 1, remove: 2, set: 5, check: 13 } as const

/** Between rounds over all servers of which none answered, at most: half of it on average. */
const roundMsMax = 250
/** So long may the farewell take. */
const endMs = 500

export class ZooKeeperClient {
  readonly #options: ZooKeeperClientOptions
  readonly #client: Client
  readonly #manager: Manager
  readonly #acl: ReturnType<typeof aclOf>
  /** Rejects each request that is under way. */
  readonly #losses = new Set<() => void>()
  #connected = false
  #ended = false
  #greetedAt: number | undefined
  #greeted: object | undefined

  constructor(options: ZooKeeperClientOptions) {
    const { library, clock, servers, sessionTimeoutMs, user, password } = options
    this.#options = options
    this.#acl = aclOf(library, user !== undefined)
    this.#client = library.createClient(servers.join(','), {
      sessionTimeout: sessionTimeoutMs,
      spinDelay: roundMsMax,
    })
    if (user !== undefined) this.#client.addAuthInfo('digest', Buffer.from(`${user}:${password ?? ''}`))
    this.#client.on('connected', () => {
      this.#connected = true
      options.onConnected()
    })
    this.#client.on('disconnected', () => this.#lose(options.onDisconnected))
    this.#client.on('expired', () => {
      this.#ended = true
      this.#lose(options.onExpired)
    })
    this.#manager = (this.#client as unknown as { connectionManager: Manager }).connectionManager
    this.#manager.watcherManager.emit = ({ path }) => options.onChanged(path)
    const { onSocketConnected, onSocketData } = this.#manager
    this.#manager.onSocketConnected = () => {
      if (this.#ended) return this.breakConnection()
      this.#greetedAt = clock.now()
      this.#greeted = this.#manager.socket
      this.#manager.pendingBuffer = null
      onSocketConnected.call(this.#manager)
    }
    this.#manager.onSocketData = (bytes) => {
      try {
        onSocketData.call(this.#manager, bytes)
      } catch {
        // An answer that it doesn't know, as an error of a newer ZooKeeper: whoever asked hears that the connection was lost.
        this.breakConnection()
      }
    }
    this.#client.connect()
  }

  get connected(): boolean {
    return this.#connected
  }

  /** When the last connection's greeting was sent, which renews the session, by the clock; undefined before the first. */
  get greetedAt(): number | undefined {
    return this.#greetedAt
  }

  /** It was connected, and the server has not said that it has the session. */
  get isGreeting(): boolean {
    return !this.#connected && this.#greeted !== undefined && this.#greeted === this.#manager.socket
  }

  get sessionId(): string {
    return this.#client.getSessionId().toString('hex')
  }

  /** What ZooKeeper has agreed to. */
  get sessionTimeoutMs(): number {
    return this.#client.getSessionTimeout()
  }

  get(path: string): Promise<Found | undefined> {
    const found = this.#ask<Found>((done) =>
      this.#client.getData(path, (error, data: Buffer | undefined, stat) =>
        error
          ? done(error, undefined as never)
          : done(undefined, {
              data: data ?? Buffer.alloc(0),
              version: stat.version,
              madeBy: stat.czxid.toString('hex'),
              changedBy: stat.mzxid.toString('hex'),
              session: stat.ephemeralOwner.toString('hex'),
            }),
      ),
    )
    return orUndefined(found)
  }

  /** Whether it is there: the one question that anybody may ask of any node. */
  async has(path: string): Promise<boolean> {
    return (await this.#ask<object | null>((done) => this.#client.exists(path, done))) !== null
  }

  /** The names of those directly below it. */
  children(path: string): Promise<string[] | undefined> {
    return orUndefined(this.#ask<string[]>((done) => this.#client.getChildren(path, done)))
  }

  async create(path: string, data: Buffer): Promise<void> {
    await this.#ask<string>((done) => this.#client.create(path, data, this.#acl, done))
  }

  /** Sets it, whatever version it has; resolves to the new one. */
  async set(path: string, data: Buffer): Promise<number> {
    return (await this.#ask<{ version: number }>((done) => this.#client.setData(path, data, -1, done)))
      .version
  }

  /** All of them, or none; rejects with the trouble of the first that can't be done. */
  async multi(operations: readonly Operation[]): Promise<void> {
    const transaction = this.#client.transaction() as Transaction & { readonly ops: object[] }
    for (const { kind, ...operation } of operations) {
      const mode = this.#options.library.CreateMode
      const how = 'ephemeral' in operation && operation.ephemeral ? mode.EPHEMERAL : mode.PERSISTENT
      // Not by its own methods: those make -1, which is any version, of 0.
      transaction.ops.push({
        type: operationKinds[kind],
        ...operation,
        ...(kind === 'create' ? { acls: this.#acl, mode: how } : {}),
      })
    }
    await this.#ask<unknown>((done) => transaction.commit(done))
  }

  /** When it resolves, this client's server has seen all that was committed before it was asked; so has what is asked right after it. */
  async sync(path: string): Promise<void> {
    await this.#askRaw(opSync, textOf(path))
  }

  /** From now on `onChanged` is called for all below `path`, until the connection is lost. */
  async watch(path: string): Promise<void> {
    const mode = Buffer.alloc(4)
    mode.writeInt32BE(watchAllBelow)
    await this.#askRaw(opAddWatch, Buffer.concat([textOf(path), mode]))
  }

  /** Ends the connection that stands, or is being made: the next server's turn. */
  breakConnection(): void {
    this.#manager.socket?.destroy()
  }

  /** Ends the session, at once where it is connected, and lets it run out where not. Resolves when nothing of it is left here. */
  async end(): Promise<void> {
    const wasEnded = this.#ended
    this.#ended = true
    const { clock } = this.#options
    if (!wasEnded) {
      const closed = this.#connected
        ? new Promise<void>((resolve) => this.#client.once('disconnected', resolve))
        : Promise.resolve()
      this.#client.close()
      await Promise.race([closed, clock.sleep(endMs)])
    }
    this.#lose(() => {})
    this.breakConnection()
  }

  #lose(then: () => void): void {
    this.#connected = false
    this.#manager.packetQueue.queue.length = 0
    for (const lose of [...this.#losses]) lose()
    then()
  }

  #askRaw(type: number, payload: Buffer): Promise<unknown> {
    return this.#ask((done) =>
      this.#manager.queue(
        {
          header: { type: opRemove, xid: 0 },
          toBuffer() {
            const head = Buffer.alloc(12)
            head.writeInt32BE(8 + payload.length)
            head.writeInt32BE(this.header.xid, 4)
            head.writeInt32BE(type, 8)
            return Buffer.concat([head, payload])
          },
        },
        done,
      ),
    )
  }

  #ask<T>(send: (done: Done<T>) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!this.#connected || this.#ended)
        return reject(new ZooKeeperError('not-sent', 'there is no connection to ZooKeeper'))
      const lose = (): void => {
        this.#losses.delete(lose)
        reject(new ZooKeeperError('lost', 'the connection to ZooKeeper was lost'))
      }
      this.#losses.add(lose)
      send((error, value) => {
        this.#losses.delete(lose)
        if (error) reject(this.#errorOf(error))
        else resolve(value)
      })
    })
  }

  #errorOf(error: Error | Exception): ZooKeeperError {
    const { Exception } = this.#options.library
    const troubles = new Map<number, ZooKeeperTrouble>([
      [Exception.CONNECTION_LOSS, 'lost'],
      [Exception.SESSION_EXPIRED, 'lost'],
      [Exception.NO_NODE, 'no-node'],
      [Exception.NODE_EXISTS, 'node-exists'],
      [Exception.BAD_VERSION, 'bad-version'],
      [Exception.NO_AUTH, 'no-auth'],
      [Exception.AUTH_FAILED, 'no-auth'],
    ])
    const trouble = 'code' in error ? troubles.get(error.code) : undefined
    return new ZooKeeperError(trouble ?? 'other', 'message' in error ? error.message : error.toString())
  }
}

/** A text as ZooKeeper has it on the wire: bytes of it, then it. */
function textOf(text: string): Buffer {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (hasTrouble(error, 'no-node')) return undefined
    throw error
  }
}

/** `auth`: whoever makes it, by the name and password that the connection has shown. */
const aclOf = ({ ACL, Id, Permission }: ZooKeeperLibrary, ownOnly: boolean) => [
  new ACL(Permission.ALL, ownOnly ? new Id('auth', '') : new Id('world', 'anyone')),
]
