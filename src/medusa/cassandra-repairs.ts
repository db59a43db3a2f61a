/**
 * When the rows in Cassandra were last repaired, by what its servers note of each repair (`system_distributed.parent_repair_history`, kept for 30
 * days). A deleted row that a server has missed comes back once the others have forgotten it, unless they were repaired before that
 * (docs/decisions/0018).
 *
 *  1. A repair counts for the ranges that it says were repaired, in the tables that it names, as of its start. One that left servers out
 *     (`--force`, `-hosts`, `-dc`), that looked only (`--preview`), or was of Paxos alone, does not count.
 *  2. A server answers for the ranges that end at its tokens, as with `nodetool repair -pr`: it was last repaired when the one of them was that is
 *     longest ago, whoever began the repairs.
 *  3. Nothing is read while nobody asks, and at most each minute.
 */
import { assert } from '../base/assert.ts'
import { messageOf, NdfsError } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { CassandraClient, CassandraRow } from './cassandra-client.ts'
import { madeAtQuery, rememberDeletedSeconds, tablesOfRows } from './cassandra-schema.ts'

export interface RepairedServer {
  /** Where clients reach it: `host:port`. */
  readonly server: string
  /** Milliseconds since 1970; absent where a part of its ranges never was, in the last 30 days. */
  readonly repairedAt?: number
  /** Not within the time for which deleted rows are remembered. */
  readonly overdue: boolean
}

export interface Repairs {
  readonly servers: readonly RepairedServer[]
  /** Why nothing is known. */
  readonly unknown?: string
}

export interface NotedRepair {
  readonly startedAt: number
  readonly tables: readonly string[]
  /** From a token (left out) to another; to the end of all tokens and on from their beginning where that is not higher. */
  readonly ranges: readonly (readonly [after: bigint, to: bigint])[]
}

/** As servers keep them for 30 days; more of them are small ones, of which the newest say enough. */
const notedMax = 1000
const readMax = 20_000
const keptMs = 60_000
/** A server that answers does in less. */
const waitMs = 500

/** What each server was last repaired at; undefined: never, by these. `tokens`: by server. */
export function lastRepaired(
  tokens: ReadonlyMap<string, readonly bigint[]>,
  noted: readonly NotedRepair[],
  tables: readonly string[],
): Map<string, number | undefined> {
  const newestFirst = [...noted].sort((a, b) => b.startedAt - a.startedAt).slice(0, notedMax)
  const serverOf = new Map([...tokens].flatMap(([server, its]) => its.map((token) => [token, server])))
  const own = sorted(serverOf.keys())
  if (own.length === 0) return new Map()
  const ends = sorted([...own, ...newestFirst.flatMap(({ ranges }) => ranges.flat())])
  const repaired = new Map<string, number | undefined>()
  for (const end of ends) {
    // The ring's last part ends at its first token.
    const server = serverOf.get(own.find((token) => token >= end) ?? own[0])
    assert(server !== undefined, 'a part of the ring without a server')
    const covering = newestFirst.filter(({ ranges }) => ranges.some((range) => holds(range, end)))
    const each = tables.map(
      (table) => covering.find((repair) => repair.tables.includes(table))?.startedAt ?? -Infinity,
    )
    repaired.set(server, Math.min(repaired.get(server) ?? Infinity, ...each))
  }
  for (const [server, at] of repaired) if (at === -Infinity) repaired.set(server, undefined)
  return repaired
}

const sorted = (tokens: Iterable<bigint>): bigint[] =>
  [...new Set(tokens)].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
const holds = ([after, to]: readonly [bigint, bigint], token: bigint): boolean =>
  after < to ? after < token && token <= to : after < token || token <= to

export class CassandraRepairs {
  readonly #client: CassandraClient
  readonly #keyspace: string
  readonly #clock: Clock
  #last: { readonly at: number; readonly repairs: Repairs } | undefined
  #underWay: Promise<void> | undefined

  constructor(client: CassandraClient, keyspace: string, clock: Clock) {
    this.#client = client
    this.#keyspace = keyspace
    this.#clock = clock
  }

  /** As of less than a minute ago; of before that, or unknown, where no server answers in half a second. */
  async soon(): Promise<Repairs> {
    const isFresh = this.#last !== undefined && this.#clock.now() - this.#last.at < keptMs
    if (!isFresh) {
      this.#underWay ??= this.#read().finally(() => (this.#underWay = undefined))
      await Promise.race([this.#underWay, this.#clock.sleep(waitMs)])
    }
    return this.#last?.repairs ?? { servers: [], unknown: 'they are being read' }
  }

  async #read(): Promise<void> {
    try {
      this.#last = { at: this.#clock.now(), repairs: await this.#readAll() }
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      // Asked again the next time.
      this.#last = { at: -Infinity, repairs: { servers: [], unknown: messageOf(error) } }
    }
  }

  async #readAll(): Promise<Repairs> {
    const server = this.#client.servers().find(({ up }) => up)
    if (server === undefined)
      throw new NdfsError('UNAVAILABLE', 'Cannot read when Cassandra was repaired: no server is up')
    const ask = (query: string): Promise<readonly CassandraRow[]> => this.#client.look(query, server)
    const [own, others, noted, [made]] = await Promise.all([
      ask('SELECT rpc_address AS address, rpc_port AS port, tokens FROM system.local'),
      ask('SELECT native_address AS address, native_port AS port, tokens FROM system.peers_v2'),
      ask(
        `SELECT keyspace_name, columnfamily_names, started_at, successful_ranges, options FROM system_distributed.parent_repair_history LIMIT ${readMax}`,
      ),
      ask(madeAtQuery(this.#keyspace)),
    ])
    const tokens = new Map(
      [...own, ...others].map(({ address, port, tokens: its }) => [
        `${String(address)}:${String(port)}`,
        (its as readonly string[] | null)?.map(BigInt) ?? [],
      ]),
    )
    const repairs = noted.filter((row) => this.#counts(row)).map(repairOf)
    const now = this.#clock.wallTime()
    const madeAt = Number(made.micros) / 1000
    const servers = [...lastRepaired(tokens, repairs, tablesOfRows)].map(([server, repairedAt]) => ({
      server,
      ...(repairedAt === undefined ? {} : { repairedAt }),
      // What was deleted before there was anything need not be repaired.
      overdue: now - Math.max(repairedAt ?? 0, madeAt) > rememberDeletedSeconds * 1000,
    }))
    return { servers }
  }

  #counts({ keyspace_name, options, successful_ranges }: CassandraRow): boolean {
    const asked = (options ?? {}) as Readonly<Record<string, string>>
    return (
      keyspace_name === this.#keyspace &&
      successful_ranges !== null &&
      asked.paxosOnly !== 'true' &&
      asked.forceRepair !== 'true' &&
      (asked.previewKind ?? 'NONE') === 'NONE' &&
      (asked.hosts ?? '') === '' &&
      (asked.dataCenters ?? '') === ''
    )
  }
}

function repairOf({ started_at, columnfamily_names, successful_ranges }: CassandraRow): NotedRepair {
  return {
    startedAt: (started_at as Date).getTime(),
    tables: columnfamily_names as readonly string[],
    ranges: (successful_ranges as readonly string[]).flatMap((text) => {
      const match = /^\((-?\d+),(-?\d+)\]$/.exec(text)
      return match === null ? [] : [[BigInt(match[1]), BigInt(match[2])] as const]
    }),
  }
}
