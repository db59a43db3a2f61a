import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { Epoch } from '../base/ids.ts'
import { KiB } from '../base/units.ts'
import type { CassandraClient, CassandraRow, Statement } from './cassandra-client.ts'
import { CassandraCopy } from './cassandra-copy.ts'
import { firstKey, lastKey } from './cassandra-schema.ts'
import type { PartitionName, Row, Static } from './medusa.ts'

class Killed extends Error {}
type Fault = 'before it is made' | 'after it is made' | 'no answer, made' | 'no answer, not made'

/** One partition, as servers have it: changes are made whole, on their condition, or not at all. */
class OnePartition {
  standing: Readonly<Record<'epoch' | 'version', bigint>> | undefined
  changeId: Buffer | undefined
  readonly rows = new Map<string, Buffer | null>()
  /** The values that each change wrote, in order. */
  readonly written: number[] = []
  #faults = new Map<number, Fault>()
  #asked = 0

  /** At the `nth` change from now, from 0. */
  fail(nth: number, fault: Fault): void {
    this.#faults = new Map([[this.#asked + nth, fault]])
  }

  get client(): CassandraClient {
    return {
      read: () => Promise.resolve(this.#look()),
      change: (_: string, statements: readonly Statement[]) => this.#change(statements),
    } as unknown as CassandraClient
  }

  #look(): readonly object[] {
    return this.standing === undefined
      ? []
      : [{ ...this.standing, change_id: this.changeId, key: firstKey } satisfies Record<string, unknown>]
  }

  async #change(statements: readonly Statement[]): Promise<CassandraRow | undefined> {
    const fault = this.#faults.get(this.#asked++)
    if (fault === 'before it is made') throw new Killed()
    const found = fault === 'no answer, not made' ? undefined : this.#make(statements)
    if (fault === 'after it is made') throw new Killed()
    if (fault !== undefined) throw new NdfsError('TIMED_OUT', 'Cannot change rows in Cassandra: no answer')
    return found
  }

  #make(statements: readonly Statement[]): CassandraRow | undefined {
    const [{ params }] = statements
    const [epoch, version] = params.slice(-2)
    if (epoch !== (this.standing?.epoch ?? null) || version !== (this.standing?.version ?? null))
      return {} as CassandraRow
    let values = 0
    for (const { query, params } of statements)
      if (query.startsWith('DELETE epoch')) this.standing = undefined
      else if (query.startsWith('DELETE FROM')) this.rows.clear()
      else if (query.startsWith('INSERT')) this.rows.set((params[1] as Buffer).toString('hex'), null)
      else if (query.includes('SET value')) {
        this.rows.set((params[2] as Buffer).toString('hex'), params[0] as Buffer)
        values++
      } else {
        this.standing = { epoch: params[0] as bigint, version: params[1] as bigint }
        this.changeId = params[2] as Buffer
      }
    this.written.push(values)
    return undefined
  }
}

const name: PartitionName = { table: 'map', key: '1' }
const stands = (changeId: string): Static => ({ epoch: 3 as Epoch, version: 40, changeId })
/** Two of them are a piece. */
const rowsOf = (fill: number): Row[] =>
  Array.from({ length: 7 }, (_, i) => ({ key: `row-${i}`, value: Buffer.alloc(100 * KiB, fill + i) }))
const pieces = [2, 2, 2, 1]

const put = (there: OnePartition, to = stands('aa'), rows = rowsOf(1)) =>
  new CassandraCopy(there.client, 'ndfs').put(name, to, () => rows)

function assertStands(there: OnePartition, to: Static, rows: readonly Row[]): void {
  assert.deepEqual(there.standing, { epoch: BigInt(to.epoch), version: BigInt(to.version) })
  assert.equal(there.changeId?.toString('hex'), to.changeId)
  const expected = new Map<string, Buffer | null>([
    [firstKey.toString('hex'), null],
    [lastKey.toString('hex'), null],
    ...rows.map(({ key, value }) => [Buffer.from(key).toString('hex'), value] as const),
  ])
  assert.deepEqual(there.rows, expected)
}

test('a partition is written in pieces, each once, and a second time nothing', async () => {
  const there = new OnePartition()
  assert.equal(await put(there), 'written')
  assert.deepEqual(there.written, pieces)
  assertStands(there, stands('aa'), rowsOf(1))
  assert.equal(await put(there), 'was there')
  assert.deepEqual(there.written, pieces)
})

test('who is killed at any piece goes on there, and until the last one the version says how many there are', async () => {
  for (let at = 0; at < pieces.length; at++)
    for (const fault of ['before it is made', 'after it is made'] as const) {
      const there = new OnePartition()
      there.fail(at, fault)
      await assert.rejects(put(there), Killed)
      const made = fault === 'before it is made' ? at : at + 1
      const version = made === 0 ? undefined : made === pieces.length ? 40n : BigInt(-made)
      assert.equal(there.standing?.version, version)
      assert.equal(await put(there), made === pieces.length ? 'was there' : 'written')
      assert.deepEqual(there.written, pieces, `${fault}, piece ${at}`)
      assertStands(there, stands('aa'), rowsOf(1))
    }
})

test('a piece without an answer is found out, and made once', async () => {
  for (let at = 0; at < pieces.length; at++)
    for (const fault of ['no answer, made', 'no answer, not made'] as const) {
      const there = new OnePartition()
      there.fail(at, fault)
      assert.equal(await put(there), 'written')
      assert.deepEqual(there.written, pieces, `${fault}, piece ${at}`)
      assertStands(there, stands('aa'), rowsOf(1))
    }
})

test('half of a partition that was changed since goes before it is written anew, and nothing of it is left', async () => {
  for (let at = 1; at <= pieces.length; at++) {
    const there = new OnePartition()
    there.fail(at - 1, 'after it is made')
    await assert.rejects(put(there), Killed)
    const rows = rowsOf(50).slice(0, 3)
    // Killed once more, behind the removal.
    there.fail(0, 'after it is made')
    await assert.rejects(put(there, stands('bb'), rows), Killed)
    assert.deepEqual([there.standing, there.rows.size], [undefined, 0])
    assert.equal(await put(there, stands('bb'), rows), 'written')
    assertStands(there, stands('bb'), rows)
  }
})

test('half of a partition can be removed', async () => {
  const there = new OnePartition()
  there.fail(1, 'after it is made')
  await assert.rejects(put(there), Killed)
  await new CassandraCopy(there.client, 'ndfs').remove(name)
  assert.deepEqual([there.standing, there.rows.size], [undefined, 0])
})
