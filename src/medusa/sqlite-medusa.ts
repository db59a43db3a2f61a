/**
 * Medusa in SQLite: the state machine, without a clock and without waiting. Requests run one after the other inside a
 * transaction of the caller's, who answers them when it is committed.
 *
 *  1. A change compares epoch and version and then makes all of itself, or none (I4, C2).
 *  2. Keys are in the order of their bytes in UTF-8.
 *  3. An answer holds about `answerBytesMax` at most, whatever the partition holds (I9).
 */
import type Database from 'better-sqlite3'
import { assert } from '../base/assert.ts'
import type { Epoch } from '../base/ids.ts'
import { neverChanged, type PartitionName, type Row, type Static } from './medusa.ts'
import type { MedusaAnswer, MedusaAsks, MedusaKind, PartOfPartition } from './medusa-requests.ts'
import { answerBytesMax, checkChange, checkPartition } from './medusa-requests.ts'

export const medusaSchema = `
  CREATE TABLE medusa_partitions (
    id INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    version INTEGER NOT NULL,
    change_id TEXT NOT NULL,
    UNIQUE (table_name, key)
  );
  CREATE TABLE medusa_rows (
    partition INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (partition, key)
  ) WITHOUT ROWID;
`

interface StaticRow {
  readonly id: number
  readonly epoch: Epoch
  readonly version: number
  readonly changeId: string
}

type Handlers = { [K in MedusaKind]: (asks: MedusaAsks<K>) => MedusaAnswer<K> }

export class SqliteMedusa {
  readonly #sql: ReturnType<typeof prepare>

  constructor(database: Database.Database) {
    this.#sql = prepare(database)
  }

  run<K extends MedusaKind>(kind: K, asks: MedusaAsks<K>): MedusaAnswer<K> {
    return this.#handlers[kind](asks)
  }

  handles(kind: string): kind is MedusaKind {
    return Object.hasOwn(this.#handlers, kind)
  }

  readonly #handlers: Handlers = {
    'medusa.get': ({ partition, rowKeys }) => {
      const found = this.#find(partition)
      const rows = found ? this.#named(found.id, rowKeys) : []
      return partOf(found, rows)
    },
    'medusa.scan': ({ partition, after = '', before, limit }) => {
      const found = this.#find(partition)
      if (!found) return partOf(found, [])
      const rows =
        before === undefined
          ? this.#sql.rowsAfter.iterate(found.id, after, limit)
          : this.#sql.rowsBetween.iterate(found.id, after, before, limit)
      return partOf(found, rows)
    },
    'medusa.get-of-many': ({ table, keys, rowKey }) => {
      const values: (Buffer | null)[] = []
      let bytes = 0
      for (const key of keys) checkPartition({ table, key })
      for (const value of this.#sql.rowOfMany.iterate(JSON.stringify(keys), table, rowKey)) {
        bytes += value?.length ?? 0
        // The first always fits, so that whoever asks for the rest gets on.
        if (values.length > 0 && bytes > answerBytesMax) break
        values.push(value)
      }
      return { values }
    },
    'medusa.change': ({ partition, change }) => {
      checkChange(change)
      const found = this.#find(partition)
      const now = staticOf(found)
      if (now.epoch !== change.expected.epoch || now.version !== change.expected.version)
        return { outcome: 'conflict', static: now }
      if (change.drop) {
        if (found) this.#drop(found.id)
        return { outcome: 'applied', static: neverChanged }
      }
      const next: Static = { epoch: change.epoch, version: now.version + 1, changeId: change.id }
      assert(next.epoch >= now.epoch, 'I4: an epoch of a partition that falls')
      const id = this.#write(partition, found, next)
      for (const key of change.delete ?? []) this.#sql.deleteRow.run(id, key)
      for (const { key, value } of change.put ?? []) this.#sql.putRow.run(id, key, value)
      return { outcome: 'applied', static: next }
    },
  }

  #find(partition: PartitionName): StaticRow | undefined {
    checkPartition(partition)
    return this.#sql.find.get(partition.table, partition.key)
  }

  /** Rows in the order of the names, which the caller has sorted. */
  *#named(id: number, keys: readonly string[]): Iterable<Row> {
    for (const key of keys) {
      const row = this.#sql.row.get(id, key)
      if (row) yield row
    }
  }

  #write({ table, key }: PartitionName, found: StaticRow | undefined, next: Static): number {
    if (!found)
      return Number(this.#sql.insert.run(table, key, next.epoch, next.version, next.changeId).lastInsertRowid)
    this.#sql.update.run(next.epoch, next.version, next.changeId, found.id)
    return found.id
  }

  #drop(id: number): void {
    this.#sql.deleteRows.run(id)
    this.#sql.deletePartition.run(id)
  }
}

function partOf(found: StaticRow | undefined, rows: Iterable<Row>): PartOfPartition {
  const taken: Row[] = []
  let bytes = 0
  for (const row of rows) {
    // The first row always fits, so that whoever asks for the rest gets on.
    if (taken.length > 0 && bytes + row.value.length > answerBytesMax)
      return { static: staticOf(found), rows: taken, more: true }
    taken.push(row)
    bytes += row.key.length + row.value.length
  }
  return { static: staticOf(found), rows: taken, more: false }
}

const staticOf = (found: StaticRow | undefined): Static =>
  found ? { epoch: found.epoch, version: found.version, changeId: found.changeId } : neverChanged

function prepare(database: Database.Database) {
  return {
    find: database.prepare<[string, string], StaticRow>(
      `SELECT id, epoch, version, change_id AS changeId FROM medusa_partitions
       WHERE table_name = ? AND key = ?`,
    ),
    insert: database.prepare<[string, string, number, number, string]>(
      'INSERT INTO medusa_partitions (table_name, key, epoch, version, change_id) VALUES (?, ?, ?, ?, ?)',
    ),
    update: database.prepare<[number, number, string, number]>(
      'UPDATE medusa_partitions SET epoch = ?, version = ?, change_id = ? WHERE id = ?',
    ),
    deletePartition: database.prepare<[number]>('DELETE FROM medusa_partitions WHERE id = ?'),
    row: database.prepare<[number, string], Row>(
      'SELECT key, value FROM medusa_rows WHERE partition = ? AND key = ?',
    ),
    // One statement for all of them, as one for each costs four times as much. Joins to the left are made in the order in which they are written.
    rowOfMany: database
      .prepare<[string, string, string], Buffer | null>(
        `SELECT rows.value FROM json_each(?) asked
         LEFT JOIN medusa_partitions partitions ON partitions.table_name = ? AND partitions.key = asked.value
         LEFT JOIN medusa_rows rows ON rows.partition = partitions.id AND rows.key = ?`,
      )
      .pluck(),
    rowsAfter: database.prepare<[number, string, number], Row>(
      'SELECT key, value FROM medusa_rows WHERE partition = ? AND key > ? ORDER BY key LIMIT ?',
    ),
    rowsBetween: database.prepare<[number, string, string, number], Row>(
      'SELECT key, value FROM medusa_rows WHERE partition = ? AND key > ? AND key < ? ORDER BY key LIMIT ?',
    ),
    putRow: database.prepare<[number, string, Buffer]>(
      `INSERT INTO medusa_rows (partition, key, value) VALUES (?, ?, ?) ON CONFLICT (partition, key)
       DO UPDATE SET value = excluded.value`,
    ),
    deleteRow: database.prepare<[number, string]>('DELETE FROM medusa_rows WHERE partition = ? AND key = ?'),
    deleteRows: database.prepare<[number]>('DELETE FROM medusa_rows WHERE partition = ?'),
  }
}
