/** What a store's file holds, read for a move: in parts of bounded size, and nothing of sessions. */
import type Database from 'better-sqlite3'
import { assert } from '../../base/assert.ts'
import type { PartitionName, Row, Static, Table } from '../../medusa/medusa.ts'
import { epochFloorCounter } from '../../zeus/sqlite-zeus.ts'
import { clusterKey, type ClusterValue, type Versioned } from '../../zeus/zeus.ts'
import type { NumbersGiven } from '../../zeus/zookeeper-zeus.ts'

export interface StoredPartition {
  readonly id: number
  readonly name: PartitionName
  readonly static: Static
}

const partitionsAtOnce = 512
const rowsAtOnce = 64

interface PartitionRow extends Static {
  readonly id: number
  readonly table: Table
  readonly key: string
}

export class StoredMetadata {
  readonly #sql: ReturnType<typeof prepare>

  constructor(database: Database.Database) {
    this.#sql = prepare(database)
  }

  get partitionCount(): number {
    return this.#sql.count.get()?.n ?? 0
  }

  *partitions(): Generator<readonly StoredPartition[]> {
    for (let after = 0; ;) {
      const found = this.#sql.partitions.all(after, partitionsAtOnce)
      if (found.length === 0) return
      yield found.map(({ id, table, key, ...now }) => ({ id, name: { table, key }, static: now }))
      after = found[found.length - 1].id
    }
  }

  has({ table, key }: PartitionName): boolean {
    return this.#sql.has.get(table, key) !== undefined
  }

  /** Sorted by key. */
  *rows({ id }: StoredPartition): Generator<Row> {
    for (let after = ''; ;) {
      const found = this.#sql.rows.all(id, after, rowsAtOnce)
      yield* found
      if (found.length < rowsAtOnce) return
      after = found[found.length - 1].key
    }
  }

  /** All keys of Zeus but those of sessions. */
  keys(): Versioned[] {
    return this.#sql.keys
      .all()
      .map(({ key, json, version }) => ({ key, value: JSON.parse(json) as unknown, version }))
  }

  /** What the cluster was made as, where Zeus knows it. */
  get cluster(): ClusterValue | undefined {
    return this.keys().find(({ key }) => key === clusterKey)?.value as ClusterValue | undefined
  }

  /** No epoch below it is granted any more. */
  get epochFloor(): number {
    return this.#sql.counters.all().find(({ name }) => name === epochFloorCounter)?.number ?? 0
  }

  /** All that was given out, to keys that are gone as well. */
  numbersGiven(): NumbersGiven {
    const version = this.#sql.highestVersion.get()?.n
    assert(version !== undefined, 'a store without its numbers')
    const counters = this.#sql.counters.all().filter(({ name }) => name !== epochFloorCounter)
    return {
      version,
      epoch: Math.max(0, this.epochFloor - 1),
      counters: new Map(counters.map(({ name, number }) => [name, number])),
    }
  }
}

function prepare(database: Database.Database) {
  return {
    count: database.prepare<[], { n: number }>('SELECT count(*) AS n FROM medusa_partitions'),
    partitions: database.prepare<[number, number], PartitionRow>(
      `SELECT id, table_name AS "table", key, epoch, version, change_id AS changeId FROM medusa_partitions
       WHERE id > ? ORDER BY id LIMIT ?`,
    ),
    has: database.prepare<[string, string]>(
      'SELECT 1 FROM medusa_partitions WHERE table_name = ? AND key = ?',
    ),
    rows: database.prepare<[number, string, number], Row>(
      'SELECT key, value FROM medusa_rows WHERE partition = ? AND key > ? ORDER BY key LIMIT ?',
    ),
    keys: database.prepare<[], { key: string; json: string; version: number }>(
      `SELECT key, json, version FROM zeus_keys WHERE json IS NOT NULL AND key NOT GLOB 'session/*' ORDER BY key`,
    ),
    counters: database.prepare<[], { name: string; number: number }>(
      'SELECT name, number FROM zeus_counters',
    ),
    // Of a key whose tombstone was forgotten, no version was higher than the revision up to which they were.
    highestVersion: database.prepare<[], { n: number }>(
      `SELECT max(coalesce((SELECT max(version) FROM zeus_keys), 0), (SELECT revision FROM zeus_forgotten)) AS n`,
    ),
  }
}
