/**
 * A node's way to the servers of Cassandra: Apache's driver, with what Medusa asks of it (DESIGN section 8, C2, C3).
 *
 *  1. `change` is sent to one server, once. Nothing sends it again: neither the driver nor a second server while the first is slow. It ends within
 *     `answerMs` once it was sent, and what has no answer by then is unknown.
 *  2. `read` is serial, of one partition. A server that is silent or can't is followed by the next one, `readsMax` in all.
 *  3. A server that leaves one request unanswered for `answerMs` is asked nothing until it takes connections again.
 *  4. So many requests are under way at once, so many wait for their turn, and not for longer than `waitMsMax` (I9); of changes in one
 *     partition one is under way.
 *
 * The driver has its own timers and sockets, and is loaded where it is used only: nothing of it runs in the simulator.
 */
import type driver from 'cassandra-driver'
import type { Client, Host, QueryOptions, types } from 'cassandra-driver'
import { hasCode, messageOf, NdfsError, type NdfsErrorCode } from '../base/errors.ts'
import { Limit } from '../base/limit.ts'
import { SerialByKey } from '../base/serial.ts'
import type { Clock, Log } from '../platform/platform.ts'

type Driver = typeof driver

export interface CassandraAccess {
  /** Some servers that are asked for the others: `host`, or `host:port`. */
  readonly contactPoints: readonly string[]
  /** Of those without one (9042). */
  readonly port?: number
  /** The data center of which rows have their copies. */
  readonly datacenter: string
  readonly user?: string
  readonly password?: string
  readonly tls?: CassandraTls
}

/** All in PEM. A server's certificate must be signed by `ca`, and be for the address at which it is reached. */
export interface CassandraTls {
  readonly ca: Buffer
  /** Who this node is, where servers ask for that. */
  readonly certificate?: Buffer
  readonly key?: Buffer
}

export interface Statement {
  readonly query: string
  readonly params: readonly unknown[]
}

export type CassandraRow = types.Row

export interface CassandraServer {
  /** Where clients reach it: `host:port`. */
  readonly address: string
  readonly rack: string
  /** It took connections when it was last tried. */
  readonly up: boolean
}

/** Servers give up after 2 s (cassandra-config.ts), and say so: one that says nothing by then is no use to anybody. */
export const answerMs = 2500
/** Two further servers: any two of three copies can answer. */
const readsMax = 3
/** Servers on small machines are busy with so many; more would only wait there, for which there is less of a bound. */
const underWayMax = 256
const askedMax = 8192
const waitMsMax = 5000
const connectMs = 2000
/** Such a page may lie on all servers. */
const listMs = 10_000
const listedAtOnce = 1000
/** A change of the schema is written out on all servers before it counts. */
const defineMs = 10_000
/** A server that did not hear of it asks the others only a minute later. */
const agreeMs = 90_000
const reconnectMsMax = 5000

export class CassandraClient {
  readonly #driver: Driver
  readonly #client: Client
  readonly #clock: Clock
  readonly #datacenter: string
  readonly #readOptions: QueryOptions
  readonly #changeOptions: QueryOptions
  readonly #underWay = new Limit(underWayMax)
  readonly #changes = new SerialByKey()
  /** Under way, or waiting for their turn. */
  #asked = 0
  #closed = false

  private constructor(driver: Driver, client: Client, clock: Clock, datacenter: string) {
    const { consistencies } = driver.types
    const { FallthroughRetryPolicy } = driver.policies.retry
    this.#driver = driver
    this.#client = client
    this.#clock = clock
    this.#datacenter = datacenter
    const serially = { prepare: true, readTimeout: answerMs, serialConsistency: consistencies.serial }
    this.#readOptions = {
      ...serially,
      consistency: consistencies.serial,
      isIdempotent: true,
      retry: askAnother(driver),
      fetchSize: 0,
    }
    this.#changeOptions = {
      ...serially,
      consistency: consistencies.quorum,
      isIdempotent: false,
      retry: new FallthroughRetryPolicy(),
      logged: false,
    }
  }

  /**
   * Resolves when one of the contact points answers.
   * @throws {NdfsError} UNAVAILABLE: none does. UNAUTHORIZED: user and password are not what they ask for.
   */
  static async connect(access: CassandraAccess, clock: Clock, log: Log): Promise<CassandraClient> {
    const { contactPoints, port = 9042, datacenter, user, password = '', tls } = access
    const { default: loaded } = await import('cassandra-driver')
    const { auth, policies, Client } = loaded
    const client = new Client({
      contactPoints: [...contactPoints],
      localDataCenter: datacenter,
      // Agreement is seen to here: the driver would wait for servers that are down, too.
      protocolOptions: { port, maxSchemaAgreementWaitSeconds: 0 },
      socketOptions: { connectTimeout: connectMs, readTimeout: answerMs, defunctReadTimeoutThreshold: 0 },
      policies: {
        reconnection: new policies.reconnection.ExponentialReconnectionPolicy(500, reconnectMsMax),
        speculativeExecution: new policies.speculativeExecution.NoSpeculativeExecutionPolicy(),
      },
      encoding: { useBigIntAsLong: true },
      refreshSchemaDelay: 50,
      ...(user === undefined ? {} : { authProvider: new auth.PlainTextAuthProvider(user, password) }),
      ...(tls === undefined ? {} : { sslOptions: encryption(tls) }),
    })
    client.on('log', (level: string, part: string, message: string) => {
      if (level === 'warning' || level === 'error') log.debug(`Cassandra's driver: ${message}`, { part })
    })
    try {
      await client.connect()
    } catch (error) {
      await client.shutdown().catch(() => {})
      throw translated(error, `Cannot reach Cassandra at ${contactPoints.join(', ')}`)
    }
    return new CassandraClient(loaded, client, clock, datacenter)
  }

  /**
   * Rows of one partition, as they stand after all changes that ended before this call.
   * @throws {NdfsError} TIMED_OUT, PEER_UNREACHABLE, UNAVAILABLE: try again.
   */
  async read({ query, params }: Statement): Promise<readonly CassandraRow[]> {
    const { rows } = await this.#inTurn('Cannot read from Cassandra', () =>
      this.#client.execute(query, [...params], this.#readOptions),
    )
    return rows
  }

  /**
   * One conditional batch in `partition` (any name of it): undefined when it was made, else the row that it found.
   * @throws {NdfsError} TIMED_OUT, PEER_UNREACHABLE, UNAVAILABLE: it may have been made, or be made yet. Any other code: it was not.
   */
  async change(partition: string, statements: readonly Statement[]): Promise<CassandraRow | undefined> {
    const batch = statements.map(({ query, params }) => ({ query, params: [...params] }))
    const send = () => this.#client.batch(batch, this.#changeOptions)
    const result = await this.#inTurn('Cannot change rows in Cassandra', send, partition)
    return result.wasApplied() ? undefined : result.first()
  }

  /** What one server itself knows (of its own settings, of gossip, of the schema): not serial. */
  async look(query: string, server?: CassandraServer): Promise<readonly CassandraRow[]> {
    const what =
      server === undefined
        ? 'Cannot read from Cassandra'
        : `Cannot read from the Cassandra at ${server.address}`
    const host = server && this.#hosts().find((other) => other.address === server.address)
    if (server !== undefined && host === undefined) throw new NdfsError('UNAVAILABLE', `${what}: it is gone`)
    const { one } = this.#driver.types.consistencies
    const { rows } = await this.#inTurn(what, () =>
      this.#client.execute(query, [], {
        consistency: one,
        readTimeout: answerMs,
        fetchSize: 0,
        ...(host && { host }),
      }),
    )
    return rows
  }

  /**
   * All rows of a query over many partitions, page by page: what a quorum has, each partition by itself. Not serial: for where nobody changes them.
   * @throws {NdfsError} TIMED_OUT, PEER_UNREACHABLE, UNAVAILABLE: begin anew.
   */
  async *list(query: string): AsyncGenerator<readonly CassandraRow[]> {
    const consistency = this.#driver.types.consistencies.quorum
    for (let pageState: string | undefined; ;) {
      const options = {
        consistency,
        prepare: true,
        readTimeout: listMs,
        fetchSize: listedAtOnce,
        autoPage: false,
      }
      const after = pageState === undefined ? {} : { pageState }
      const page = await this.#inTurn('Cannot read from Cassandra', () =>
        this.#client.execute(query, [], { ...options, ...after }),
      )
      yield page.rows
      pageState = page.pageState
      if (pageState === undefined || pageState === null) return
    }
  }

  /** Changes the schema. It counts once servers agree (`agreement`). */
  async define(query: string): Promise<void> {
    await this.#inTurn('Cannot change the schema in Cassandra', () =>
      this.#client.execute(query, [], { readTimeout: defineMs, isIdempotent: false }),
    )
  }

  /** Resolves when all servers that are up have the same schema. */
  async agreement(): Promise<void> {
    const since = this.#clock.now()
    for (;;) {
      const up = this.servers().filter((server) => server.up)
      const ask = 'SELECT schema_version FROM system.local'
      const rows = (await Promise.all(up.map((server) => this.look(ask, server)))).flat()
      if (new Set(rows.map(({ schema_version }) => String(schema_version))).size === 1) return
      if (this.#clock.now() - since > agreeMs)
        throw new NdfsError('UNAVAILABLE', "Cassandra's servers do not agree on the schema. Try again")
      await this.#clock.sleep(250)
    }
  }

  /** Those of the data center. */
  servers(): readonly CassandraServer[] {
    return this.#hosts().map(serverOf)
  }

  /** Copies of each row of a keyspace in the data center, as the driver has heard of it; 0 where it knows of none. */
  copiesIn(keyspace: string): number {
    // What the driver's types leave out.
    const known = this.#client.metadata.keyspaces[keyspace] as
      { readonly strategyOptions?: Readonly<Record<string, string>> } | undefined
    return Number(known?.strategyOptions?.[this.#datacenter] ?? 0)
  }

  /** Calls back whenever a server takes connections that did not. */
  onServerUp(callback: (server: CassandraServer) => void): void {
    const called = (host: Host): void => {
      if (host.datacenter === this.#datacenter) callback(serverOf(host))
    }
    this.#client.on('hostUp', called).on('hostAdd', called)
  }

  onServerGone(callback: (server: CassandraServer) => void): void {
    this.#client.on('hostRemove', (host: Host) => callback(serverOf(host)))
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#client.shutdown()
  }

  #hosts(): readonly Host[] {
    return this.#client.hosts.values().filter(({ datacenter }) => datacenter === this.#datacenter)
  }

  /** @param partition Of changes: they go one after the other there, as they would only hinder one another in the servers. */
  async #inTurn<T>(what: string, ask: () => Promise<T>, partition?: string): Promise<T> {
    if (this.#asked >= askedMax)
      throw new NdfsError('UNAVAILABLE', `${what}: ${askedMax} requests are waiting already. Try again`)
    const since = this.#clock.now()
    const inTurn = (): Promise<T> =>
      this.#underWay.run(() => {
        if (this.#closed) throw new NdfsError('UNAVAILABLE', `${what}: this node has closed it`)
        if (this.#clock.now() - since <= waitMsMax) return ask()
        throw new NdfsError('UNAVAILABLE', `${what}: it had no turn in ${waitMsMax} ms. Try again`)
      })
    this.#asked++
    try {
      return await (partition === undefined ? inTurn() : this.#changes.run(partition, inTurn))
    } catch (error) {
      throw translated(error, what)
    } finally {
      this.#asked--
    }
  }
}

/** The driver takes any certificate unless it is told not to. */
const encryption = ({ ca, certificate, key }: CassandraTls) => ({
  ca,
  cert: certificate,
  key,
  rejectUnauthorized: true,
})

const serverOf = (host: Host): CassandraServer => ({
  address: host.address,
  rack: host.rack,
  up: host.isUp(),
})

function askAnother({ policies }: Driver) {
  const { RetryPolicy } = policies.retry
  type Info = InstanceType<typeof policies.retry.OperationInfo>
  return new (class extends RetryPolicy {
    override onReadTimeout = (info: Info) => this.#another(info)
    override onWriteTimeout = (info: Info) => this.#another(info)
    override onUnavailable = (info: Info) => this.#another(info)
    override onRequestError = (info: Info) => this.#another(info)

    #another({ nbRetry }: Info) {
      return nbRetry + 1 < readsMax ? this.retryResult(undefined as never, false) : this.rethrowResult()
    }
  })()
}

/** By the native protocol, section 9. What is not here may have been done. */
const refusals: Readonly<Record<number, NdfsErrorCode>> = {
  0x0100: 'UNAUTHORIZED',
  0x1100: 'TIMED_OUT',
  0x1200: 'TIMED_OUT',
  0x2000: 'REFUSED',
  0x2100: 'UNAUTHORIZED',
  0x2200: 'REFUSED',
  0x2300: 'REFUSED',
}

interface DriverError extends Error {
  readonly code?: unknown
  readonly innerErrors?: Readonly<Record<string, unknown>>
}

function translated(error: unknown, what: string): unknown {
  if (!(error instanceof Error) || error instanceof NdfsError || error instanceof TypeError) return error
  return new NdfsError(codeOf(error), `${what}: ${messageOf(error)}`, {}, { cause: error })
}

function codeOf(error: DriverError): NdfsErrorCode {
  switch (error.name) {
    case 'ResponseError':
      return (typeof error.code === 'number' ? refusals[error.code] : undefined) ?? 'UNAVAILABLE'
    case 'OperationTimedOutError':
      return 'TIMED_OUT'
    case 'AuthenticationError':
      return 'UNAUTHORIZED'
    case 'NoHostAvailableError': {
      const inner = Object.values(error.innerErrors ?? {}).filter((one) => one instanceof Error)
      return inner.some((one) => codeOf(one) === 'UNAUTHORIZED') ? 'UNAUTHORIZED' : 'UNAVAILABLE'
    }
    default:
      return 'PEER_UNREACHABLE'
  }
}

/** A server said that the statement makes no sense as things stand there: it knows no such table, or not yet. */
export const isInvalid = (error: unknown): boolean =>
  error instanceof NdfsError && (error.cause as DriverError | undefined)?.code === 0x2200

/** Worth another try, by whoever asked. */
export const mayPass = (error: unknown): boolean =>
  hasCode(error, 'TIMED_OUT', 'PEER_UNREACHABLE', 'UNAVAILABLE')
