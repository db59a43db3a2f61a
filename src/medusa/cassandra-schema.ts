/**
 * The schema of Medusa in Cassandra: one keyspace, a table for each of Medusa's, and one table that says at which version they are
 * (docs/decisions/0018).
 *
 *   "schema"    name │ version  seed                         one row
 *   "map", …    partition │ epoch  version  changeId  (static) │ key → value
 *
 *  1. All changes of rows are conditional, in all tables: no plain write ever (C3), and nothing has a time to live.
 *  2. A partition that has a version has two rows without value: one before all keys, one behind them. Behind the first, a condition is checked
 *     without a look at what was deleted further on; and what reads from some key on meets the second one, and with it the static part, also where
 *     no row is left.
 *  3. Several nodes may migrate at once. Tables have ids that all of them would give, so that a table made twice is one table; the version
 *     is raised on condition.
 */
import { createHash } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { NdfsError } from '../base/errors.ts'
import type { Clock, Log } from '../platform/platform.ts'
import {
  isInvalid,
  mayPass,
  type CassandraClient,
  type CassandraRow,
  type Statement,
} from './cassandra-client.ts'
import type { Table } from './medusa.ts'

export interface KeyspaceOptions {
  readonly keyspace: string
  readonly datacenter: string
  /** Copies of each row: 3, or 5 in a cluster with a container of 3 copies (M14). */
  readonly replication: number
  /** It was made before: one that isn't there was lost, and is not made anew. */
  readonly mustExist: boolean
}

/** No key of Medusa is empty, and none has this byte, as keys are UTF-8. */
export const firstKey = Buffer.alloc(0)
export const lastKey = Buffer.from([0xff])

/**
 * What was deleted is remembered for so long. A server that was away for half of it is emptied before it comes back (M10), and all are repaired more
 * often than that. Two days, not Cassandra's ten: a map partition under random writes, and a directory of temporary files, are read past all
 * that was deleted in them.
 */
export const rememberDeletedSeconds = 2 * 24 * 3600

const tableNames: Readonly<Record<Table, string>> = {
  vdisk: 'vdisk',
  map: 'map',
  group: 'group',
  'groups-of': 'groups_of',
  inode: 'inode',
  directory: 'directory',
  lock: 'lock',
}

/** All that hold rows of Medusa, as Cassandra names them. */
export const tablesOfRows: readonly string[] = Object.values(tableNames)

const rowName = 'medusa'
/** Nodes that start together meet at the schema's row some times. */
const triesMax = 50
const pauseMs = 100

/** Such that no name needs more than its quotes. */
const keyspacePattern = /^[a-z][a-z0-9_]{0,40}$/

export const nameOf = (keyspace: string, table: Table): string => `"${keyspace}"."${tableNames[table]}"`
const schemaOf = (keyspace: string): string => `"${keyspace}"."schema"`
/** `micros`: since 1970, when the keyspace was made. */
export const madeAtQuery = (keyspace: string): string =>
  `SELECT WRITETIME(seed) AS micros FROM ${schemaOf(keyspace)} WHERE name = '${rowName}'`

/** Each raises the version by one, may be done again after it was done by half, and is never changed once it was released. */
const migrations: readonly ((keyspace: string, seed: string) => readonly Definition[])[] = [
  (keyspace, seed) =>
    (Object.keys(tableNames) as Table[]).map((table) => ({
      table: tableNames[table],
      query: `CREATE TABLE IF NOT EXISTS ${nameOf(keyspace, table)} (
        partition text,
        key blob,
        epoch bigint static,
        version bigint static,
        change_id blob static,
        value blob,
        PRIMARY KEY (partition, key)
      ) WITH id = ${idOf(seed, table)}
        AND gc_grace_seconds = ${rememberDeletedSeconds}
        AND compaction = {'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}
        AND compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 16}`,
    })),
]

interface Definition {
  /** Nothing is to be done where there is one. */
  readonly table: string
  readonly query: string
}

/**
 * Makes the keyspace and its tables where they are missing, and brings them to this program's version.
 * @throws {NdfsError} REFUSED: a newer program made them, or the keyspace is not one that can hold Medusa, or is not there and must be. UNAVAILABLE
 * and the like: try again.
 */
export async function prepareKeyspace(
  client: CassandraClient,
  options: KeyspaceOptions,
  clock: Clock,
  log: Log,
): Promise<void> {
  const { keyspace } = options
  if (!keyspacePattern.test(keyspace))
    throw new NdfsError(
      'REFUSED',
      `Cannot name a keyspace ${keyspace}: small letters, digits and _, at most 41`,
      { keyspace },
    )
  for (let tries = 1; ; tries++)
    try {
      return await bringUpToDate(client, options, clock, log)
    } catch (error) {
      // Another node makes it just now, and not all servers have heard of it: all of this may be done again.
      if (!isInvalid(error) || tries === triesMax) throw error
      await clock.sleep(pauseMs * tries)
    }
}

async function bringUpToDate(
  client: CassandraClient,
  options: KeyspaceOptions,
  clock: Clock,
  log: Log,
): Promise<void> {
  const { keyspace } = options
  await makeKeyspace(client, options, log)
  // Of one name, one id: this one is not drawn, as there is nothing yet to agree by.
  await define(client, keyspace, {
    table: 'schema',
    query: `CREATE TABLE IF NOT EXISTS ${schemaOf(keyspace)} (name text PRIMARY KEY, version int, seed uuid) WITH id = ${idOf(keyspace, 'schema')}`,
  })
  const schema = new SchemaRow(client, keyspace)
  for (let tries = 0; tries < triesMax; tries++) {
    const row = await schema.read()
    if (row === undefined) {
      // A change whose outcome is unknown is no trouble here: what stands there is read again.
      if (!(await schema.begin())) await clock.sleep(pauseMs)
      continue
    }
    const { version, seed } = row
    if (version > migrations.length)
      throw new NdfsError(
        'REFUSED',
        `Cannot serve from keyspace ${keyspace}: a newer NDFS brought it to version ${version}, this one knows ${migrations.length}. Install the newer one here`,
        { keyspace, version },
      )
    if (version === migrations.length) return
    for (const definition of migrations[version](keyspace, seed)) await define(client, keyspace, definition)
    if (!(await schema.raise(version))) await clock.sleep(pauseMs)
    else log.info(`keyspace ${keyspace} is at version ${version + 1}`, { keyspace, version: version + 1 })
  }
  throw new NdfsError(
    'UNAVAILABLE',
    `Cannot bring keyspace ${keyspace} up to date: others change it. Try again`,
  )
}

/** A definition takes a second on each server, also one that changes nothing: nodes that start together leave it to the first. */
async function define(
  client: CassandraClient,
  keyspace: string,
  { table, query }: Definition,
): Promise<void> {
  const there = await client.look(
    `SELECT id FROM system_schema.tables WHERE keyspace_name = '${keyspace}' AND table_name = '${table}'`,
  )
  if (there.length === 0) await client.define(query)
  await client.agreement()
  // A server may have the rows of a definition, and not yet what they define.
  for (const server of client.servers())
    if (server.up) await client.look(`SELECT * FROM "${keyspace}"."${table}" LIMIT 1`, server)
}

/** The row that says at which version a keyspace is, and from what the ids of its tables are made. */
class SchemaRow {
  readonly #client: CassandraClient
  readonly #table: string

  constructor(client: CassandraClient, keyspace: string) {
    this.#client = client
    this.#table = schemaOf(keyspace)
  }

  async read(): Promise<{ readonly version: number; readonly seed: string } | undefined> {
    const query = `SELECT version, seed FROM ${this.#table} WHERE name = ?`
    const [row] = (await this.#client.read({ query, params: [rowName] })) as readonly (
      CassandraRow | undefined
    )[]
    return row && { version: Number(row.version), seed: String(row.seed) }
  }

  /** True: this call made it. */
  begin(): Promise<boolean> {
    const query = `INSERT INTO ${this.#table} (name, version, seed) VALUES (?, 0, uuid()) IF NOT EXISTS`
    return this.#change({ query, params: [rowName] })
  }

  raise(version: number): Promise<boolean> {
    const query = `UPDATE ${this.#table} SET version = ? WHERE name = ? IF version = ?`
    return this.#change({ query, params: [version + 1, rowName, version] })
  }

  async #change(statement: Statement): Promise<boolean> {
    try {
      return (await this.#client.change(this.#table, [statement])) === undefined
    } catch (error) {
      if (!mayPass(error)) throw error
      return false
    }
  }
}

async function makeKeyspace(client: CassandraClient, options: KeyspaceOptions, log: Log): Promise<void> {
  const { keyspace, datacenter, replication, mustExist } = options
  const ask = `SELECT durable_writes, replication FROM system_schema.keyspaces WHERE keyspace_name = '${keyspace}'`
  let [found] = (await client.look(ask)) as readonly (CassandraRow | undefined)[]
  if (found === undefined && mustExist)
    throw new NdfsError(
      'REFUSED',
      `Cannot serve from keyspace ${keyspace}: Cassandra has none of that name, and this cluster's metadata was there. Where it is lost, ` +
        'end all nodes and make it anew with `ndfs rebuild-metadata`',
      { keyspace },
    )
  if (found === undefined) {
    const copies = Math.min(replication, client.servers().length)
    await client.define(
      `CREATE KEYSPACE IF NOT EXISTS "${keyspace}"
       WITH replication = {'class': 'NetworkTopologyStrategy', '${datacenter}': ${copies}} AND durable_writes = true`,
    )
    await client.agreement()
    found = (await client.look(ask))[0]
  }
  assert(found !== undefined, 'a keyspace that was made is there')
  const { class: strategy, ...copiesIn } = found.replication as Readonly<Record<string, string>>
  const facts = { keyspace, strategy, ...copiesIn }
  if (!strategy.endsWith('.NetworkTopologyStrategy') || found.durable_writes !== true)
    throw new NdfsError(
      'REFUSED',
      `Cannot serve from keyspace ${keyspace}: it must have NetworkTopologyStrategy and durable_writes, and has ${strategy}, ${String(found.durable_writes)}`,
      facts,
    )
  const copies = Number(copiesIn[datacenter] ?? 0)
  if (copies === 0)
    throw new NdfsError(
      'REFUSED',
      `Cannot serve from keyspace ${keyspace}: it has no copies in data center ${datacenter}, but in ${Object.keys(copiesIn).join(', ')}`,
      facts,
    )
  if (copies < replication)
    log.warn(
      `metadata has ${copies} of ${replication} copies: there were ${copies} servers when keyspace ${keyspace} was made. With more of them, ` +
        'raise it one by one (ALTER KEYSPACE), with nodetool repair --full on each server after each step',
      facts,
    )
}

/** A UUID that all nodes would give. */
function idOf(seed: string, table: string): string {
  const hex = createHash('sha256').update(`ndfs ${seed} ${table}`).digest('hex')
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `8${hex.slice(13, 16)}`,
    `8${hex.slice(17, 20)}`,
    hex.slice(20, 32),
  ].join('-')
}
