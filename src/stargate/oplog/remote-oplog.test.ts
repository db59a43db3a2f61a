import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { decodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import { GiB, KiB } from '../../base/units.ts'
import type { CallOptions, Lane, PeerHandler, Peers } from '../../peer/peer.ts'
import { decodeAppends, encodeAppends } from './append-message.ts'
import {
  episodeId,
  epochOf,
  makeRecord,
  ManualClock,
  platformWith,
  recordsIn,
  sequenceOf,
  settled,
  smallSegments,
  temporaryFolder,
  TestDisk,
  vdiskId,
} from './fixtures.test.ts'
import type { Granted, GrantWanted, OplogReplica, Oplogs } from './oplog.ts'
import { createOplogs } from './remote-oplog.ts'
import { openOplogReplica } from './replica-log.ts'

const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId

/** Two nodes' peers in one process, which can lose sight of one another. */
class Exchange {
  readonly handlers = new Map<NodeId, Map<string, PeerHandler>>()
  readonly calls: { kind: string; body: Buffer; options: CallOptions }[] = []
  reachable = true

  peers(from: NodeId): Peers {
    const handlers = new Map<string, PeerHandler>()
    this.handlers.set(from, handlers)
    return {
      handle: (kind: string, _lane: Lane, handler: PeerHandler) => void handlers.set(kind, handler),
      call: async (to, kind, body, options = {}) => {
        const whole = Buffer.concat(body)
        this.calls.push({ kind, body: whole, options })
        if (!this.reachable) throw new NdfsError('PEER_UNREACHABLE', 'cut off')
        const handler = this.handlers.get(to)?.get(kind)
        assert.ok(handler)
        return Buffer.concat(await handler({ from, incarnation: 'x' as Incarnation, kind, body: whole }))
      },
      setAddress: () => undefined,
      backlogBytes: () => 0,
      onDisconnected: () => undefined,
      listen: (address) => Promise.resolve(address),
      close: () => Promise.resolve(),
    }
  }

  count(kind: string): number {
    return this.calls.filter((call) => call.kind === kind).length
  }
}

interface Pair {
  readonly clock: ManualClock
  readonly exchange: Exchange
  /** On n1, which has no log of its own; the log is on n2. */
  readonly oplogs: Oplogs
  readonly replica: OplogReplica
  readonly ref: OplogReplica['ref']
}

async function setUp(t: TestContext): Promise<Pair> {
  const folder = await temporaryFolder()
  const clock = new ManualClock()
  const platform = platformWith(clock)
  const exchange = new Exchange()
  const disk = new TestDisk(folder.path)
  const replica = await openOplogReplica({ platform, disk, ...smallSegments })
  const oplogs = createOplogs({ platform, peers: exchange.peers(n1), node: n1, replicas: [] })
  const other = createOplogs({ platform, peers: exchange.peers(n2), node: n2, replicas: [replica] })
  t.after(async () => {
    oplogs.close()
    other.close()
    await replica.close()
    await folder.remove()
  })
  return { clock, exchange, oplogs, replica, ref: { ...disk.ref, node: n2 } }
}

const turns = async (count = 5) => {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

const appendTo = (pair: Pair, vdisk: number, sequence: number, epoch = 1) =>
  pair.oplogs
    .replica(pair.ref)
    .append(vdiskId(vdisk), epochOf(epoch), episodeId(epoch), [
      makeRecord({ vdisk, sequence, epoch, episode: epoch, first: epoch === 1 ? 1 : sequence }),
    ])

test('an append message lies on the wire as its picture says', () => {
  const record = makeRecord({ vdisk: 9, sequence: 3, epoch: 2, episode: 4, payload: Buffer.from('abc') })
  const raw = Buffer.concat([record.header, ...record.payload])
  const byHand = Buffer.concat([
    Buffer.from('0100030002000000', 'hex'),
    Buffer.from('d/i'),
    Buffer.from('0900000000000000 02000000 04000000 01000000 53000000'.replaceAll(' ', ''), 'hex'),
    Buffer.from('0900000000000000 02000000 04000000 02000000 a6000000'.replaceAll(' ', ''), 'hex'),
    raw,
    raw,
    raw,
  ])
  const head = { vdisk: vdiskId(9), epoch: epochOf(2), episode: episodeId(4) }
  const encoded = encodeAppends('d/i', [
    { ...head, records: [record] },
    { ...head, records: [record, record] },
  ])
  assert.deepEqual(Buffer.concat(encoded), byHand)
  const decoded = decodeAppends(byHand)
  assert.equal(decoded.diskName, 'd/i')
  assert.deepEqual(
    decoded.appends.map(({ records }) => records.length),
    [1, 2],
  )
  assert.deepEqual(decoded.appends[0].records[0].payload[0], Buffer.from('abc'))
  for (const at of [0, 4, byHand.length - 1]) {
    const damaged = Buffer.from(byHand)
    damaged[at] ^= 1
    assert.throws(() => decodeAppends(damaged), { code: 'REFUSED' })
  }
  for (let length = 0; length < byHand.length; length++)
    assert.throws(() => decodeAppends(byHand.subarray(0, length)), { code: 'REFUSED' })
})

test('appends of one turn to one disk share a message, and each has its own outcome', async (t) => {
  const pair = await setUp(t)
  const outcomes = await Promise.allSettled([
    appendTo(pair, 1, 1),
    appendTo(pair, 1, 2),
    appendTo(pair, 2, 1),
    appendTo(pair, 2, 7),
    appendTo(pair, 1, 3),
  ])
  assert.equal(pair.exchange.count('oplog.append'), 1)
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  )
  const { reason } = outcomes[3] as { reason: NdfsError }
  assert.equal(reason.code, 'CONFLICT')
  assert.equal(reason.facts.last, 1)
  assert.equal(pair.exchange.calls[0].options.timeoutMs, 2000)
})

test('large appends are divided among messages, in order', async (t) => {
  const pair = await setUp(t)
  const replica = pair.oplogs.replica(pair.ref)
  const payload = Buffer.alloc(100 * KiB)
  await Promise.all(
    Array.from({ length: 30 }, (_, index) =>
      replica.append(vdiskId(1), epochOf(1), episodeId(1), [
        makeRecord({ vdisk: 1, sequence: index + 1, payload }),
      ]),
    ),
  )
  const records = recordsIn(await replica.read(vdiskId(1), episodeId(1), sequenceOf(1), 1 * GiB))
  assert.equal(records.length, 30)
})

test('fence and read reach the replica, and errors come back with their facts', async (t) => {
  const pair = await setUp(t)
  await appendTo(pair, 1, 1)
  const remote = pair.oplogs.replica(pair.ref)
  const tails = await settled(pair.clock, remote.fence(vdiskId(1), epochOf(5)))
  assert.deepEqual(tails[0].last, 1)
  await assert.rejects(
    appendTo(pair, 1, 2),
    (error: NdfsError) => error.code === 'FENCED' && error.facts.epoch === 5,
  )
  const records = recordsIn(await remote.read(vdiskId(1), episodeId(1), sequenceOf(1), 1000))
  assert.equal(records[0].sequence, 1)
})

test('a disk of another incarnation is not found, here and there (M2)', async (t) => {
  const pair = await setUp(t)
  const blank = { ...pair.ref, incarnation: 'ffffffffffffffff' as Incarnation }
  for (const ref of [blank, { ...blank, node: n1 }])
    await assert.rejects(
      pair.oplogs
        .replica(ref)
        .append(vdiskId(1), epochOf(1), episodeId(1), [makeRecord({ vdisk: 1, sequence: 1 })]),
      { code: 'NOT_FOUND' },
    )
})

test('grants are asked four times a second, many in one message, with the time of sending', async (t) => {
  const pair = await setUp(t)
  await appendTo(pair, 1, 1)
  await appendTo(pair, 2, 1)
  const granted: Granted[] = []
  let vdisks: number[] = []
  const { wake } = pair.oplogs.keepGranted(
    () =>
      vdisks.map((vdisk): GrantWanted => ({
        vdisk: vdiskId(vdisk),
        epoch: epochOf(1),
        episode: episodeId(1),
        replicas: [pair.ref],
        acknowledged: sequenceOf(1),
      })),
    (grant) => granted.push(grant),
  )
  await turns()
  assert.equal(pair.exchange.count('oplog.heartbeat'), 0, 'nothing is wanted yet')
  vdisks = [1, 2, 3]
  wake()
  await turns()
  assert.deepEqual(
    granted.map(({ vdisk, ok, last, acknowledged, sentAt }) => [vdisk, ok, last, acknowledged, sentAt]),
    [
      [1, true, 1, 1, 0],
      [2, true, 1, 1, 0],
      [3, false, 0, 1, 0],
    ],
  )
  for (let beat = 1; beat <= 4; beat++) {
    pair.clock.advance(250)
    await turns()
    assert.equal(pair.exchange.count('oplog.heartbeat'), 1 + beat)
    assert.equal(granted.at(-1)?.sentAt, beat * 250)
  }
})

test('what was drained is told until it was answered, the newest only', async (t) => {
  const pair = await setUp(t)
  for (let sequence = 1; sequence <= 5; sequence++) await appendTo(pair, 1, sequence)
  pair.exchange.reachable = false
  pair.oplogs.free([pair.ref], vdiskId(1), sequenceOf(2))
  pair.oplogs.free([pair.ref], vdiskId(1), sequenceOf(3))
  for (let beat = 0; beat < 3; beat++) {
    pair.clock.advance(250)
    await turns()
  }
  pair.exchange.reachable = true
  pair.oplogs.seal([pair.ref], vdiskId(1), episodeId(1), sequenceOf(4))
  pair.clock.advance(250)
  await turns()
  assert.deepEqual(pair.replica.holdings()[0].episodes[0].first, 4)
  assert.deepEqual(pair.replica.holdings()[0].episodes[0].last, 4)
  const last = pair.exchange.calls.at(-1)
  assert.deepEqual(decodeControl<{ frees: number[] }[]>(last?.body ?? Buffer.alloc(0))[0].frees, [1, 3])
  const calls = pair.exchange.calls.length
  for (let beat = 0; beat < 3; beat++) {
    pair.clock.advance(250)
    await turns()
  }
  assert.equal(pair.exchange.calls.length, calls, 'what was answered is not said again')
  assert.equal(pair.clock.timers, 0)
})

test('a peer that does not answer is asked again only when the call has ended', async (t) => {
  const pair = await setUp(t)
  let answer: (body: Uint8Array[]) => void = () => undefined
  pair.exchange.handlers.get(n2)?.set('oplog.heartbeat', () => new Promise((resolve) => (answer = resolve)))
  pair.oplogs.free([pair.ref], vdiskId(1), sequenceOf(2))
  for (let beat = 0; beat < 8; beat++) {
    pair.clock.advance(250)
    await turns()
  }
  assert.equal(pair.exchange.count('oplog.heartbeat'), 1)
  assert.equal(pair.exchange.calls[0].options.timeoutMs, 1000)
  answer([Buffer.from('80', 'hex')])
  await turns()
})
