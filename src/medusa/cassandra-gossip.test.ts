import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinedGossip, type GossipEntry, type GossipRound } from './cassandra-gossip.ts'

const entry = (last: number, heartbeat: number, rest: Partial<GossipEntry> = {}): GossipEntry => ({
  address: `10.0.0.${last}:7000`,
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
