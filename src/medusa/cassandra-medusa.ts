/**
 * Medusa in Apache Cassandra: the promises of medusa.ts by lightweight transactions and serial reads (docs/decisions/0018).
 *
 *  1. A change is one conditional batch in one partition. Epoch and version stand in its static part; the condition compares both (C2, I4).
 *  2. What has no answer in time, or an answer that says so, is unknown, and rejects so. Nothing sends it again but `changeForCertain`.
 *  3. Each page of a partition is one serial read and has the static part with it: pages of one version are one read.
 *  4. It serves only while every server that is up has the settings that durability rests on (C3).
 */
import { assert } from '../base/assert.ts'
import { atOnce } from '../base/at-once.ts'
import { NdfsError } from '../base/errors.ts'
import type { Epoch } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import type { Clock, Log } from '../platform/platform.ts'
import {
  CassandraClient,
  type CassandraAccess,
  type CassandraRow,
  type Statement,
} from './cassandra-client.ts'
import { CassandraCopy } from './cassandra-copy.ts'
import { type CassandraLoss, lossOf } from './cassandra-loss.ts'
import { firstKey, lastKey, nameOf, prepareKeyspace } from './cassandra-schema.ts'
import { CassandraSettings } from './cassandra-settings.ts'
import {
  type Change,
  type ChangeResult,
  type Medusa,
  neverChanged,
  type Partition,
  type PartitionName,
  type Row,
  type Static,
  type Table,
} from './medusa.ts'
import type { PartOfPartition } from './medusa-requests.ts'
import { checkChange, checkPartition } from './medusa-requests.ts'
import { readWhole } from './whole-partition.ts'

export interface CassandraMedusaOptions extends CassandraAccess {
  readonly keyspace: string
  /** Copies of each row where the keyspace is made: 3 where not said, 5 in a cluster with a container of 3 copies (M14). Fewer where there are fewer servers. */
  readonly replication?: number
  /** The keyspace was made before: one that isn't there was lost, and is not made anew. */
  readonly mustExist?: boolean
  readonly clock: Clock
  readonly log: Log
}

/** Rows of the first page: what has thousands has small ones (a map's of 4 KiB at most). */
const firstPageRows = 256
const pageRowsMax = 5000
/** Further pages are as long as their rows are short. */
const pageBytes = 2 * MiB
/** Rows of one page that are named one by one. */
const namedRowsMax = 1000
/** Serial reads of one `getOfMany`, at once: more of them only wait in the servers. */
const readsAtOnce = 32

/**
 * Connects, holds the servers against what they must be, and makes the keyspace or brings it up to date.
 * @throws {NdfsError} UNAVAILABLE and the like: try again later. REFUSED, UNAUTHORIZED: a person has to do what it says.
 */
export async function cassandraMedusa(options: CassandraMedusaOptions): Promise<CassandraMedusa> {
  const { keyspace, datacenter, replication = 3, mustExist = false, clock, log } = options
  const client = await CassandraClient.connect(options, clock, log)
  try {
    const settings = await CassandraSettings.check(client, clock, log)
    await prepareKeyspace(client, { keyspace, datacenter, replication, mustExist }, clock, log)
    return new CassandraMedusa(client, settings, keyspace)
  } catch (error) {
    await client.close()
    throw error
  }
}

export class CassandraMedusa implements Medusa {
  readonly #client: CassandraClient
  readonly #settings: CassandraSettings
  readonly #keyspace: string

  constructor(client: CassandraClient, settings: CassandraSettings, keyspace: string) {
    this.#client = client
    this.#settings = settings
    this.#keyspace = keyspace
  }

  /** The way to the servers, for what is no row: their gossip. */
  get client(): CassandraClient {
    return this.#client
  }

  /** Which loss of servers its rows outlive, as things are now. */
  get loss(): CassandraLoss {
    return lossOf(this.#client.servers(), this.#client.copiesIn(this.#keyspace))
  }

  /** For who moves metadata here, while nobody serves from it. */
  get copy(): CassandraCopy {
    return new CassandraCopy(this.#client, this.#keyspace)
  }

  async get(partition: PartitionName, rowKeys?: readonly string[]): Promise<Partition> {
    checkPartition(partition)
    if (!rowKeys) return this.scan(partition, { limit: Number.MAX_SAFE_INTEGER })
    const keys = [...new Set(rowKeys)].map((key) => Buffer.from(key)).sort((a, b) => Buffer.compare(a, b))
    let asked = 0
    return readWhole(partition, async (rows) => {
      if (rows.length === 0) asked = 0
      const some = keys.slice(asked, (asked += namedRowsMax))
      const found = await this.#read(partition, 'AND key IN ?', [[firstKey, ...some]])
      return { ...found, more: asked < keys.length }
    })
  }

  async scan(
    partition: PartitionName,
    options: { readonly after?: string; readonly before?: string; readonly limit?: number } = {},
  ): Promise<Partition> {
    checkPartition(partition)
    const { after = '', before, limit = 1000 } = options
    return readWhole(partition, async (rows) => {
      const most = Math.min(limit - rows.length, pageRowsAfter(rows))
      const from = Buffer.from(rows.at(-1)?.key ?? after)
      const part = await this.#readRange(partition, from, before, most)
      return { ...part, more: part.more && rows.length + most < limit }
    })
  }

  async getOfMany(
    table: Table,
    keys: readonly string[],
    rowKey: string,
  ): Promise<readonly (Buffer | undefined)[]> {
    for (const key of keys) checkPartition({ table, key })
    this.#settings.assertRight()
    const values = new Array<Buffer | undefined>(keys.length)
    const query = `SELECT value FROM ${nameOf(this.#keyspace, table)} WHERE partition = ? AND key = ?`
    const row = Buffer.from(rowKey)
    // Serial reads are of one partition each.
    await atOnce([...keys.entries()], readsAtOnce, async ([at, key]) => {
      const [found] = await this.#client.read({ query, params: [key, row] })
      values[at] = (found as CassandraRow | undefined)?.value as Buffer | undefined
    })
    return values
  }

  async change(partition: PartitionName, change: Change): Promise<ChangeResult> {
    checkPartition(partition)
    checkChange(change)
    this.#settings.assertRight()
    const found = await this.#client.change(
      `${partition.table} ${partition.key}`,
      this.#statementsOf(partition, change),
    )
    if (found !== undefined) return { outcome: 'conflict', static: staticOf(found) }
    if (change.drop) return { outcome: 'applied', static: neverChanged }
    const { epoch, id, expected } = change
    return { outcome: 'applied', static: { epoch, version: expected.version + 1, changeId: id } }
  }

  async close(): Promise<void> {
    this.#settings.close()
    await this.#client.close()
  }

  #statementsOf({ table, key: partition }: PartitionName, change: Change): readonly Statement[] {
    const { id, expected, epoch, put = [], delete: deleted = [], drop } = change
    assert(epoch >= expected.epoch, 'I4: an epoch of a partition that falls')
    const name = nameOf(this.#keyspace, table)
    const isNew = expected.version === 0
    // A partition that was never changed has no numbers at all. The last comparison holds for every change that was not made yet, and has Cassandra
    // show the change id of what it found.
    const condition = 'IF epoch = ? AND version = ? AND change_id != ?'
    const changeId = Buffer.from(id, 'hex')
    const expects = [
      isNew && expected.epoch === 0 ? null : BigInt(expected.epoch),
      isNew ? null : BigInt(expected.version),
      changeId,
    ]
    if (drop)
      return [
        {
          query: `DELETE epoch, version, change_id FROM ${name} WHERE partition = ? ${condition}`,
          params: [partition, ...expects],
        },
        { query: `DELETE FROM ${name} WHERE partition = ?`, params: [partition] },
      ]
    const ends = isNew ? [firstKey, lastKey] : []
    return [
      {
        query: `UPDATE ${name} SET epoch = ?, version = ?, change_id = ? WHERE partition = ? ${condition}`,
        params: [BigInt(epoch), BigInt(expected.version + 1), changeId, partition, ...expects],
      },
      ...ends.map((end) => ({
        query: `INSERT INTO ${name} (partition, key) VALUES (?, ?)`,
        params: [partition, end],
      })),
      ...deleted.map((key) => ({
        query: `DELETE FROM ${name} WHERE partition = ? AND key = ?`,
        params: [partition, Buffer.from(key)],
      })),
      ...put.map(({ key, value }) => ({
        query: `UPDATE ${name} SET value = ? WHERE partition = ? AND key = ?`,
        params: [value, partition, Buffer.from(key)],
      })),
    ]
  }

  async #readRange(
    partition: PartitionName,
    after: Buffer,
    before: string | undefined,
    most: number,
  ): Promise<PartOfPartition> {
    if (most <= 0) return { ...(await this.#read(partition, 'AND key = ?', [firstKey])), more: false }
    if (before === undefined) {
      const found = await this.#read(partition, 'AND key > ? LIMIT ?', [after, most])
      return { ...found, more: found.rows.length === most }
    }
    const end = Buffer.from(before)
    for (;;) {
      const found = await this.#read(partition, 'AND key > ? AND key < ? LIMIT ?', [after, end, most])
      if (found.rows.length > 0) return { ...found, more: found.rows.length === most }
      // Without rows there is no static part. What comes next, wherever, shows both: that there is none before it, and the version.
      const next = await this.#read(partition, 'AND key > ? LIMIT 1', [after])
      const [row] = next.rows
      if (row === undefined || Buffer.from(row.key).compare(end) >= 0)
        return { static: next.static, rows: [], more: false }
    }
  }

  async #read({ table, key }: PartitionName, where: string, params: readonly unknown[]): Promise<Partition> {
    this.#settings.assertRight()
    const query = `SELECT key, value, epoch, version, change_id FROM ${nameOf(this.#keyspace, table)} WHERE partition = ? ${where}`
    const found = await this.#client.read({ query, params: [key, ...params] })
    const [first] = found as readonly (CassandraRow | undefined)[]
    if (first !== undefined && first.version === null)
      throw new NdfsError('DAMAGED_METADATA', `Cannot read ${table} ${key}: it has rows, but no version`, {
        table,
        key,
      })
    const rows = found.flatMap((row): Row[] =>
      isEnd(row.key as Buffer) ? [] : [{ key: (row.key as Buffer).toString(), value: row.value as Buffer }],
    )
    return { static: first === undefined ? neverChanged : staticOf(first), rows }
  }
}

const isEnd = (key: Buffer): boolean => key.length === 0 || key.equals(lastKey)

function staticOf({ epoch, version, change_id }: CassandraRow): Static {
  if (version === null || version === undefined) return neverChanged
  return {
    epoch: Number(epoch) as Epoch,
    version: Number(version),
    changeId: (change_id as Buffer).toString('hex'),
  }
}

function pageRowsAfter(rows: readonly Row[]): number {
  if (rows.length === 0) return firstPageRows
  const bytes = rows.reduce((sum, { key, value }) => sum + key.length + value.length, 0)
  return Math.min(Math.max(Math.floor((pageBytes * rows.length) / bytes), 1), pageRowsMax)
}
