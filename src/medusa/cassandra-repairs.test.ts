import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { CassandraClient } from './cassandra-client.ts'
import { CassandraRepairs, lastRepaired, type NotedRepair } from './cassandra-repairs.ts'
import { rememberDeletedSeconds, tablesOfRows } from './cassandra-schema.ts'

const tables = ['map', 'group']
const tokens = new Map([
  ['s1', [-50n, 50n]],
  ['s2', [0n, 100n]],
])
const repair = (startedAt: number, ranges: [bigint, bigint][], of = tables): NotedRepair => ({
  startedAt,
  tables: of,
  ranges,
})
const s1: [bigint, bigint][] = [
  [100n, -50n],
  [0n, 50n],
]
const s2: [bigint, bigint][] = [
  [-50n, 0n],
  [50n, 100n],
]
const last = (...noted: NotedRepair[]): Record<string, number | undefined> =>
  Object.fromEntries(lastRepaired(tokens, noted, tables))

test('a server was last repaired when all ranges that end at its tokens were', () => {
  assert.deepEqual(last(), { s1: undefined, s2: undefined })
  assert.deepEqual(last(repair(5, s1)), { s1: 5, s2: undefined })
  assert.deepEqual(last(repair(5, s1), repair(7, s2), repair(3, s2)), { s1: 5, s2: 7 })
  assert.deepEqual(last(repair(5, s1), repair(9, [s1[0]])), { s1: 5, s2: undefined })
  assert.deepEqual(last(repair(4, [[0n, 0n]])), { s1: 4, s2: 4 }, 'all of the ring')
})

test('pieces of a range come together, as of the oldest of them', () => {
  const pieces = [
    repair(3, [
      [-50n, -20n],
      [50n, 100n],
    ]),
    repair(8, [[-20n, 0n]]),
  ]
  assert.deepEqual(last(...pieces), { s1: undefined, s2: 3 })
  assert.deepEqual(last(pieces[0]), { s1: undefined, s2: undefined })
})

test('all tables must have been repaired, be it at different times', () => {
  assert.deepEqual(last(repair(5, s1, ['map'])), { s1: undefined, s2: undefined })
  assert.deepEqual(last(repair(5, s1, ['map']), repair(2, s1, ['group'])), { s1: 2, s2: undefined })
})

const day = 24 * 3600_000
const madeAt = Date.parse('2026-01-01')

/** A keyspace that was made then, and one server that has all tokens. */
function reading(now: number, rows: readonly object[], fails?: NdfsError): CassandraRepairs {
  const clock = { now: () => 0, wallTime: () => now, sleep: () => new Promise(() => {}) } as unknown as Clock
  const look = async (query: string): Promise<readonly object[]> => {
    if (fails !== undefined) throw fails
    if (query.includes('system.local')) return [{ address: '10.0.0.1', port: 9042, tokens: ['7'] }]
    if (query.includes('parent_repair_history')) return rows
    return query.includes('WRITETIME') ? [{ micros: BigInt(madeAt) * 1000n }] : []
  }
  const client = { servers: () => [{ address: '10.0.0.1:9042', rack: 'b1', up: true }], look }
  return new CassandraRepairs(client as unknown as CassandraClient, 'ndfs', clock)
}
const row = (startedAt: number, more: object = {}) => ({
  keyspace_name: 'ndfs',
  columnfamily_names: tablesOfRows,
  started_at: new Date(startedAt),
  successful_ranges: ['(7,7]'],
  options: { paxosOnly: 'false', forceRepair: 'false', previewKind: 'NONE', hosts: '', dataCenters: '' },
  ...more,
})
const server = '10.0.0.1:9042'

test('a repair is overdue once deleted rows are remembered no longer than it is ago, and none is due before there were any', async () => {
  assert.equal(rememberDeletedSeconds * 1000, 2 * day)
  const { servers: young } = await reading(madeAt + day, []).soon()
  assert.deepEqual(young, [{ server, overdue: false }])
  const { servers: never } = await reading(madeAt + 3 * day, []).soon()
  assert.deepEqual(never, [{ server, overdue: true }])
  const repairedAt = madeAt + 10 * day
  for (const [days, overdue] of [
    [1, false],
    [3, true],
  ] as const) {
    const { servers } = await reading(repairedAt + days * day, [row(repairedAt)]).soon()
    assert.deepEqual(servers, [{ server, repairedAt, overdue }])
  }
})

test('repairs of another keyspace, of Paxos alone, without all servers, or that ended in nothing count for nothing', async () => {
  const at = madeAt + 10 * day
  const options = (more: object) => ({ options: { ...row(at).options, ...more } })
  for (const other of [
    { keyspace_name: 'other' },
    { successful_ranges: null },
    options({ paxosOnly: 'true' }),
    options({ forceRepair: 'true' }),
    options({ previewKind: 'ALL' }),
    options({ hosts: '10.0.0.1' }),
    options({ dataCenters: 'dc2' }),
  ])
    assert.deepEqual((await reading(at, [row(at, other)]).soon()).servers, [{ server, overdue: true }])
})

test('what can not be read is unknown, with the reason', async () => {
  const refusal = new NdfsError('UNAUTHORIZED', 'Cannot read from Cassandra: no SELECT')
  assert.deepEqual(await reading(madeAt, [], refusal).soon(), {
    servers: [],
    unknown: 'Cannot read from Cassandra: no SELECT',
  })
})
