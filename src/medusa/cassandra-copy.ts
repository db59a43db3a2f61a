/**
 * Partitions put into Cassandra as they stand elsewhere, epoch, version and last change with them, while nobody serves from it.
 *
 *  1. Each is written in pieces, each of them one conditional batch (C3: no plain write, here neither). Until the last one the version is
 *     negative: so many pieces are there. So what was interrupted goes on where it was, and no change of Medusa's own can meet half of it.
 *  2. A partition that stands elsewhere than it should is removed, and written anew.
 *  3. What has no answer is found out by a serial read.
 *
 * One that was removed has no version: who served from here before may not serve from here afterwards. Nodes do so only where Zeus says that the
 * copy is whole (src/local/move/move-metadata.ts).
 */
import { assert } from '../base/assert.ts'
import type { Epoch } from '../base/ids.ts'
import { KiB } from '../base/units.ts'
import { mayPass, type CassandraClient, type CassandraRow, type Statement } from './cassandra-client.ts'
import { firstKey, lastKey, nameOf } from './cassandra-schema.ts'
import type { PartitionName, Row, Static, Table } from './medusa.ts'

/** One piece: far below what a server takes as one change, and not much for what is under way at once. */
const pieceBytesMax = 256 * KiB
const pieceRowsMax = 500

/** Where a partition stands, while it is written too: then the version is negative. */
type Standing = Pick<Static, 'epoch' | 'version' | 'changeId'>

export class CassandraCopy {
  readonly #client: CassandraClient
  readonly #keyspace: string

  constructor(client: CassandraClient, keyspace: string) {
    this.#client = client
    this.#keyspace = keyspace
  }

  /** The partition stands as given when it resolves, durably; `rows` may be asked for several times. Whether it stood so before. */
  async put(
    partition: PartitionName,
    to: Static,
    rows: () => Iterable<Row>,
  ): Promise<'written' | 'was there'> {
    assert(to.version > 0, 'a partition that was never changed is not there to be copied')
    for (let written = false; ;) {
      const there = await this.#standing(partition)
      if (isSame(there, to)) return written ? 'written' : 'was there'
      written = true
      if (there === undefined || isPartOf(there, to)) await this.#write(partition, there, to, rows())
      else await this.#change(partition, there, this.#removal(partition))
    }
  }

  /** Nothing of the partition is there when it resolves. */
  async remove(partition: PartitionName): Promise<void> {
    for (;;) {
      const there = await this.#standing(partition)
      if (there === undefined) return
      await this.#change(partition, there, this.#removal(partition))
    }
  }

  /** The keys of all that is in a table. */
  async *keysOf(table: Table): AsyncGenerator<readonly string[]> {
    const query = `SELECT DISTINCT partition FROM ${nameOf(this.#keyspace, table)}`
    for await (const rows of this.#client.list(query)) yield rows.map(({ partition }) => partition as string)
  }

  async #write(
    partition: PartitionName,
    there: Standing | undefined,
    to: Static,
    rows: Iterable<Row>,
  ): Promise<void> {
    let before = there
    const written = -(there?.version ?? 0)
    let count = 0
    for (const { piece, isLast } of piecesOf(rows)) {
      if (++count <= written) continue
      const after = { ...to, version: isLast ? to.version : -count }
      if (!(await this.#change(partition, before, this.#pieceOf(partition, before, after, piece)))) return
      before = after
    }
  }

  #pieceOf(
    { table, key: partition }: PartitionName,
    before: Standing | undefined,
    { epoch, version, changeId }: Standing,
    piece: readonly Row[],
  ): (condition: Condition) => readonly Statement[] {
    const name = nameOf(this.#keyspace, table)
    const ends = before === undefined ? [firstKey, lastKey] : []
    const numbers = [BigInt(epoch), BigInt(version), Buffer.from(changeId, 'hex')]
    return ({ text, params }) => [
      {
        query: `UPDATE ${name} SET epoch = ?, version = ?, change_id = ? WHERE partition = ? ${text}`,
        params: [...numbers, partition, ...params],
      },
      ...ends.map((end) => ({
        query: `INSERT INTO ${name} (partition, key) VALUES (?, ?)`,
        params: [partition, end],
      })),
      ...piece.map(({ key, value }) => ({
        query: `UPDATE ${name} SET value = ? WHERE partition = ? AND key = ?`,
        params: [value, partition, Buffer.from(key)],
      })),
    ]
  }

  #removal({ table, key }: PartitionName): (condition: Condition) => readonly Statement[] {
    const name = nameOf(this.#keyspace, table)
    return ({ text, params }) => [
      {
        query: `DELETE epoch, version, change_id FROM ${name} WHERE partition = ? ${text}`,
        params: [key, ...params],
      },
      { query: `DELETE FROM ${name} WHERE partition = ?`, params: [key] },
    ]
  }

  /** True: it was made. False: look anew; it may have been made. */
  async #change(
    { table, key }: PartitionName,
    before: Standing | undefined,
    statements: (condition: Condition) => readonly Statement[],
  ): Promise<boolean> {
    const expects = before === undefined ? [null, null] : [BigInt(before.epoch), BigInt(before.version)]
    const condition = { text: 'IF epoch = ? AND version = ?', params: expects }
    try {
      return (await this.#client.change(`${table} ${key}`, statements(condition))) === undefined
    } catch (error) {
      if (!mayPass(error)) throw error
      return false
    }
  }

  async #standing({ table, key }: PartitionName): Promise<Standing | undefined> {
    const query = `SELECT key, epoch, version, change_id FROM ${nameOf(this.#keyspace, table)} WHERE partition = ? AND key = ?`
    const [row] = (await this.#client.read({ query, params: [key, firstKey] })) as readonly (
      CassandraRow | undefined
    )[]
    if (row === undefined) return undefined
    return {
      epoch: Number(row.epoch) as Epoch,
      version: Number(row.version),
      changeId: (row.change_id as Buffer).toString('hex'),
    }
  }
}

interface Condition {
  readonly text: string
  readonly params: readonly unknown[]
}

const isSame = (there: Standing | undefined, to: Standing): boolean =>
  there !== undefined && there.version === to.version && isOf(there, to)
const isPartOf = (there: Standing, to: Standing): boolean => there.version < 0 && isOf(there, to)
const isOf = (there: Standing, to: Standing): boolean =>
  there.epoch === to.epoch && there.changeId === to.changeId

/** The same for the same rows: who goes on skips those that are there. At least one. */
function* piecesOf(
  rows: Iterable<Row>,
): Generator<{ readonly piece: readonly Row[]; readonly isLast: boolean }> {
  let piece: Row[] = []
  let bytes = 0
  for (const row of rows) {
    const rowBytes = row.key.length + row.value.length
    if (piece.length > 0 && (bytes + rowBytes > pieceBytesMax || piece.length === pieceRowsMax)) {
      yield { piece, isLast: false }
      piece = []
      bytes = 0
    }
    piece.push(row)
    bytes += rowBytes
  }
  yield { piece, isLast: true }
}
