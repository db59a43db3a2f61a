import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { Clock } from '../platform/platform.ts'
import type { CassandraClient } from './cassandra-client.ts'
import { CassandraRounds, joinedGossip, type GossipEntry, type GossipRound } from './cassandra-gossip.ts'

const entry = (last: number, heartbeat: number, rest: Partial<GossipEntry> = {}): GossipEntry => ({
  address: `10.0.0.${last}:7000`,
  clients: `10.0.0.${last}:9042`,
  hostId: `id-${last}`,
  rack: `b${last}`,
  status: 'NORMAL',
  generation: 100,
  heartbeat,
  schema: 's1',
  release: '5.0.9',
  ...rest,
})

const round = (at: number, ...views: GossipEntry[][]): GossipRound => ({
  views: views.map((entries, i) => ({ seenBy: `10.0.0.${i + 1}:9042`, at, entries })),
  silent: [],
})

test('servers beat whose heartbeat moves once a second in the newest view', () => {
  const before = round(0, [entry(1, 50), entry(2, 80)], [entry(1, 49), entry(2, 81)])
  const now = round(10_000, [entry(1, 60), entry(2, 81)], [entry(1, 58), entry(2, 81)])
  const { servers, disagreements } = joinedGossip(now, before)
  assert.deepEqual(
    servers.map(({ address, heartbeatsPerSecond, beats }) => [address, heartbeatsPerSecond, beats]),
    [
      ['10.0.0.1:7000', 1, true],
      ['10.0.0.2:7000', 0, false],
    ],
  )
  assert.deepEqual(disagreements, [])
})

test('without a round before nobody is called dead', () => {
  const [server] = joinedGossip(round(0, [entry(1, 50)])).servers
  assert.equal(server.beats, undefined)
  assert.equal(server.heartbeatsPerSecond, undefined)
})

test('a server that was started again beats, though its heartbeat began anew', () => {
  const before = round(0, [entry(1, 5000)])
  const [server] = joinedGossip(round(5000, [entry(1, 4, { generation: 200 })]), before).servers
  assert.equal(server.beats, true)
})

test('where views differ, it is said who has what', () => {
  const { servers, disagreements } = joinedGossip(
    round(
      0,
      [entry(1, 50), entry(2, 90, { status: 'LEAVING' }), entry(3, 70)],
      [entry(1, 20), entry(2, 89)],
      [entry(1, 49, { schema: 's2' }), entry(2, 3000, { generation: 1 }), entry(3, 70, { hostId: 'other' })],
    ),
  )
  assert.deepEqual(disagreements, [
    '10.0.0.2:9042 is 30 heartbeats behind on 10.0.0.1:7000',
    '10.0.0.3:9042 has schema s2 of 10.0.0.1:7000, others s1',
    '10.0.0.2:9042 has status NORMAL of 10.0.0.2:7000, others LEAVING',
    '10.0.0.3:9042 has 10.0.0.2:7000 as it was before its last start',
    '10.0.0.2:9042 does not know 10.0.0.3:7000',
    '10.0.0.3:9042 has hostId other of 10.0.0.3:7000, others id-3',
  ])
  assert.equal(servers[1].status, 'LEAVING')
})

test('a server that was stopped in order does not beat, though its last heartbeat is the highest', () => {
  const before = round(0, [entry(1, 50)])
  const now = round(5000, [entry(1, 2 ** 31 - 1, { status: 'shutdown' })])
  assert.equal(joinedGossip(now, before).servers[0].beats, false)
})

test('nobody is called dead for having left, nor unknown to whoever has forgotten it', () => {
  const before = round(0, [entry(1, 50), entry(2, 70)], [entry(2, 70)])
  const now = round(5000, [entry(1, 50, { status: 'LEFT' }), entry(2, 75)], [entry(2, 75)])
  const { servers, disagreements } = joinedGossip(now, before)
  assert.deepEqual(
    servers.map(({ beats, seenBy }) => [beats, seenBy]),
    [
      [undefined, 1],
      [true, 2],
    ],
  )
  assert.deepEqual(disagreements, [])
})

/** Two servers that beat each second of the clock. `frozen`: those that leave requests unanswered. */
function beatingServers() {
  const state = { nowMs: 0, asked: 0, frozen: new Set<string>(), down: new Set<string>() }
  const addresses = ['10.0.0.1:9042', '10.0.0.2:9042']
  const client = {
    servers: () => addresses.map((address) => ({ address, rack: 'b', up: !state.down.has(address) })),
    look: async (_: string, { address }: { address: string }) => {
      state.asked++
      if (state.frozen.has(address)) {
        await new Promise((resolve) => setTimeout(resolve, 700))
        state.down.add(address)
        throw new NdfsError('TIMED_OUT', 'no answer')
      }
      const heartbeat = Math.floor(state.nowMs / 1000)
      return [1, 2].map((last) => ({
        ...{ address: `10.0.0.${last}`, port: 7000, native_address_and_port: `10.0.0.${last}:9042` },
        ...{ status_with_port: 'NORMAL,-1', generation: 1, heartbeat, host_id: `${last}`, schema: 's' },
      }))
    },
  } as unknown as CassandraClient
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
  const clock = { now: () => state.nowMs, sleep } as unknown as Clock
  return { state, rounds: new CassandraRounds(client, clock) }
}

test('a round is read when it is asked for, once for all who ask, and heartbeats are known by the second', async () => {
  const { state, rounds } = beatingServers()
  const [first] = await Promise.all([rounds.now(), rounds.now(), rounds.soon()])
  assert.equal(state.asked, 2)
  assert.deepEqual(
    [first.views, first.servers[0].clients, first.servers[0].beats],
    [2, '10.0.0.1:9042', undefined],
  )
  state.nowMs = 2000
  assert.equal((await rounds.now()).servers[0].beats, undefined)
  assert.equal(state.asked, 2)
  state.nowMs = 4000
  assert.equal((await rounds.now()).servers[0].heartbeatsPerSecond, 1)
  assert.equal(state.asked, 4)
  // Too long ago to be held against.
  state.nowMs = 40_000
  assert.equal((await rounds.now()).servers[0].beats, undefined)
})

test('who can not wait for a silent server is told what is known, and later that it is silent', async () => {
  const { state, rounds } = beatingServers()
  await rounds.now()
  state.frozen.add('10.0.0.2:9042')
  state.nowMs = 4000
  const meanwhile = await rounds.soon()
  assert.deepEqual([meanwhile.views, meanwhile.silent], [2, []])
  const { silent, views } = await rounds.now()
  assert.deepEqual([views, silent], [1, [{ server: '10.0.0.2:9042', reason: 'no answer in 2500 ms' }]])
  state.nowMs = 40_000
  state.frozen.add('10.0.0.1:9042')
  assert.deepEqual(
    (await rounds.soon()).silent,
    [{ server: '10.0.0.2:9042', reason: 'it takes no connections' }],
    'by its connections alone',
  )
})
