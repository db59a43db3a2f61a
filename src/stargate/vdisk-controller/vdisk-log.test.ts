/** The owner's side of one vDisk's log, over log disks that fail, hang, and lose answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../../base/errors.ts'
import type { LayerId, NodeId } from '../../base/ids.ts'
import { overwriteWhatIsGivenBack } from '../../base/large-buffers.ts'
import { vDiskOffset } from '../../base/units.ts'
import { decodeRecord, type Granted } from '../oplog/oplog.ts'
import {
  asEpisode,
  asEpoch,
  asSequence,
  asVDisk,
  quietLog,
  type TestLogDisk,
  TestNode,
  TestWorld,
} from './fixtures.test.ts'
import { placeLog, Suspects } from './group-place.ts'
import { ReadLease } from './read-lease.ts'
import { decodeVDiskState, type VDiskState, vdiskPartition } from './rows.ts'
import { type LogEntry, VDiskLog } from './vdisk-log.ts'
import { VDiskRow } from './vdisk-row.ts'

overwriteWhatIsGivenBack()
const vdisk = asVDisk(1)
const writeWaitMaxMs = 60_000

class Owner {
  readonly world = new TestWorld(1, ['n1', 'n2', 'n3', 'n4'])
  readonly node = new TestNode(this.world, 'n1')
  readonly lease = new ReadLease()
  readonly published: number[] = []
  readonly suspects = new Suspects()
  heldBytes = 0
  stopped: Error | undefined
  row!: VDiskRow
  log!: VDiskLog
  /** Reads are served while the row is being changed: never (F2). */
  updates: { leaseHeld: boolean; published: number }[] = []

  static async begin(): Promise<Owner> {
    const owner = new Owner()
    const { world, node } = owner
    const access = { platform: node.platform, medusa: node.medusa }
    const state: VDiskState = {
      name: 'c/v',
      state: 'live',
      copies: 2,
      sizeBytes: 1 << 20,
      layer: 1 as LayerId,
      drained: asSequence(0),
      episodes: [],
      clients: {},
    }
    await world.clock.run(VDiskRow.create(access, vdisk, state))
    owner.row = await world.clock.run(VDiskRow.raise(access, vdisk, asEpoch(1)))
    node.beforeChange = () => {
      owner.updates.push({
        leaseHeld: owner.lease.holds(world.clock.now()),
        published: owner.published.length,
      })
    }
    owner.log = new VDiskLog(
      {
        clock: node.platform.clock,
        log: quietLog,
        oplogs: node.oplogs,
        row: owner.row,
        lease: owner.lease,
        node: node.node,
        writeWaitMaxMs,
        placeLog: (copies) =>
          placeLog(
            copies,
            0,
            node.node,
            [...world.logs.values()].flatMap(({ ref, block, state }) =>
              state === 'gone' ? [] : [{ ref, block }],
            ),
            owner.suspects.now(world.clock.now()),
          ),
        suspect: ({ node: failed }) => owner.suspects.add(failed, world.clock.now()),
        held: (bytes) => (owner.heldBytes += bytes),
        reopened: () => undefined,
        publish: (entry) => owner.published.push(entry.sequence),
        stopped: (error) => (owner.stopped = error),
      },
      owner.row.state,
      [],
      asSequence(0),
    )
    node.oplogs.keepGranted(
      () => {
        const episode = owner.log.openEpisode
        if (episode === undefined) return []
        const replicas = episode.replicas.filter((ref) => ref.node !== node.node)
        return [
          { vdisk, epoch: asEpoch(1), episode: episode.id, replicas, acknowledged: owner.log.acknowledged },
        ]
      },
      (grant) => owner.log.granted(grant),
    )
    await world.clock.run(owner.log.open('the vDisk was claimed'))
    return owner
  }

  disk(node: string): TestLogDisk {
    return this.world.logs.get(node as NodeId)!
  }

  write(text = 'text'): { sequence: number; done: Promise<void>; state: () => string } {
    const payload = Buffer.from(text)
    const { sequence, done } = this.log.append({
      kind: 'data',
      vdisk,
      layer: 1 as LayerId,
      offset: vDiskOffset(0),
      length: payload.length,
      payload: [payload],
    })
    let state = 'waits'
    done.then(
      () => (state = 'acknowledged'),
      (error: unknown) => (state = error instanceof NdfsError ? error.code : 'bug'),
    )
    return { sequence, done, state: () => state }
  }

  /** The row, as whoever takes over would find it. */
  recorded(): VDiskState {
    const { rows } = this.world.engine.run('medusa.get', {
      partition: vdiskPartition(vdisk),
      rowKeys: ['state'],
    })
    return decodeVDiskState(rows[0].value)
  }

  get open() {
    return this.recorded().episodes.at(-1)!
  }

  /** The next change of rows waits. */
  holdFirstChange(): { readonly letGo: () => void } {
    const gate = held()
    const { beforeChange } = this.node
    let isFirst = true
    this.node.beforeChange = async (partition, change) => {
      await beforeChange(partition, change)
      if (isFirst) await gate.until
      isFirst = false
    }
    return gate
  }

  payloadOf(sequence: number): Buffer {
    return this.log.undrained().find((entry) => entry.sequence === sequence)!.payload[0]
  }
  /** The row says that all is drained that was acknowledged. */
  drained(): void {
    this.log.drainedTo(this.log.acknowledged, this.recorded().episodes)
  }

  /** Sequences of the open episode that lie on a disk. */
  has(node: string, episode = this.open.id): number[] {
    return this.disk(node)
      .records(vdisk, episode)
      .map((bytes) => decodeRecord(bytes, 0)!.record.sequence)
  }

  pass(ms: number): Promise<void> {
    return this.world.clock.pass(ms)
  }
  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }

  /** Of the open episode, the replica that is not the owner's. */
  get peer(): string {
    return this.open.replicas.find(({ node }) => node !== 'n1')!.node
  }
}

function held(): { until: Promise<void>; letGo: () => void } {
  let letGo: () => void = () => undefined
  const until = new Promise<void>((resolve) => (letGo = resolve))
  return { until, letGo }
}

test('a claim ends with an episode that the row names, and a record of it on each of its replicas', async () => {
  const owner = await Owner.begin()
  assert.deepEqual(
    owner.open.replicas.map(({ node }) => node),
    ['n1', owner.peer],
  )
  assert.deepEqual(owner.has('n1'), [1])
  assert.deepEqual(owner.has(owner.peer), [1])
  assert.equal(owner.log.acknowledged, 1)
})

test('a write is acknowledged when every replica of the episode has synced it, and at no other moment (R23 I1)', async () => {
  const owner = await Owner.begin()
  const gate = held()
  owner.disk(owner.peer).holdBack = gate.until
  const write = owner.write()
  await owner.pass(500)
  assert.deepEqual(owner.has('n1'), [1, write.sequence])
  assert.equal(write.state(), 'waits')
  assert.deepEqual(owner.published, [1])
  gate.letGo()
  await owner.run(write.done)
  assert.deepEqual(owner.published, [1, 2])
})

test('writes are published, then acknowledged, in sequence, whatever the order of the answers (C4)', async () => {
  const owner = await Owner.begin()
  const gate = held()
  owner.disk('n1').holdBack = gate.until
  const first = owner.write('first')
  await owner.pass(10)
  owner.disk('n1').holdBack = undefined
  const order: string[] = []
  const writes = [first, owner.write('second'), owner.write('third')]
  writes.forEach((write, i) => {
    void write.done.then(
      () => order.push(`${i + 1}: ${owner.published.length}`),
      () => undefined,
    )
  })
  // The disk says "synced to" of the later ones first: that means everything before them, too.
  await owner.run(writes[2].done)
  assert.deepEqual(order, ['1: 4', '2: 4', '3: 4'])
  assert.deepEqual(owner.published, [1, 2, 3, 4])
  gate.letGo()
})

test('a replica fails: what was not acknowledged goes elsewhere under its old numbers, one row update, then it is acknowledged (M1)', async () => {
  const owner = await Owner.begin()
  await owner.run(owner.write('acknowledged').done)
  const before = owner.open
  const failing = owner.peer
  owner.disk(failing).state = 'answers lost'
  owner.updates = []
  const writes = [owner.write('a'), owner.write('b')]
  await owner.run(Promise.all(writes.map(({ done }) => done)))
  const [old, now] = owner.recorded().episodes
  assert.deepEqual(old, { ...before, end: 2 }, 'it ends where guests were told')
  assert.equal(now.first, 3)
  assert.ok(now.id > before.id)
  assert.ok(!now.replicas.some(({ node }) => node === failing))
  for (const { node } of now.replicas) assert.deepEqual(owner.has(node).slice(0, 3), [3, 4, 5])
  assert.deepEqual(
    owner.updates.map(({ published }) => published),
    [2],
    'one update, before any of them was published',
  )
  const { record } = decodeRecord(owner.disk('n1').records(vdisk, now.id)[0], 0)!
  assert.deepEqual([record.sequence, record.acknowledged, record.episodeFirst, record.epoch], [3, 2, 3, 1])
})

test('no record is acknowledged by replicas that the row does not name yet (M1)', async () => {
  const owner = await Owner.begin()
  const gate = held()
  const { beforeChange } = owner.node
  owner.node.beforeChange = async (partition, change) => {
    await beforeChange(partition, change)
    await gate.until
  }
  owner.disk(owner.peer).state = 'gone'
  const write = owner.write()
  await owner.pass(10_000)
  assert.equal(write.state(), 'waits')
  assert.deepEqual(owner.published, [1])
  gate.letGo()
  await owner.run(write.done)
})

test('while the row is being changed no read is served; then only grants of the new episode count (F2)', async () => {
  const owner = await Owner.begin()
  await owner.pass(500)
  assert.equal(owner.lease.holds(owner.world.clock.now()), true)
  const gate = held()
  owner.updates = []
  const { beforeChange } = owner.node
  owner.node.beforeChange = async (partition, change) => {
    await beforeChange(partition, change)
    await gate.until
  }
  const { peer } = owner
  owner.log.replicaLost(({ node }) => node === peer, new Error('the node is gone'))
  await owner.pass(600)
  assert.deepEqual(
    owner.updates.map(({ leaseHeld }) => leaseHeld),
    [false],
  )
  assert.equal(owner.lease.holds(owner.world.clock.now()), false, 'though the old replica still grants')
  gate.letGo()
  await owner.pass(500)
  assert.equal(owner.lease.holds(owner.world.clock.now()), true)
  assert.notEqual(owner.open.replicas[1].node, peer)
})

test('a replica of the new episode fails too: it is tried with others, under another id (M1)', async () => {
  const owner = await Owner.begin()
  const [, ...others] = ['n1', 'n2', 'n3', 'n4']
  const { peer } = owner
  const third = others.find((node) => node !== peer)!
  owner.disk(peer).state = 'silent'
  owner.disk(third).state = 'silent'
  const write = owner.write()
  await owner.run(write.done)
  const ids = owner.recorded().episodes.map(({ id }) => id)
  assert.equal(ids.length, 2)
  assert.ok(ids[1] > ids[0] + 1, 'an id is used for one attempt and never again')
  assert.deepEqual(
    owner.open.replicas.map(({ node }) => node).filter((node) => [peer, third].includes(node)),
    [],
  )
})

test('a replica of the new episode fails while the row is being changed: the next one begins where that began (M1)', async () => {
  const owner = await Owner.begin()
  const first = owner.peer
  owner.disk(first).state = 'gone'
  let failed = ''
  const { beforeChange } = owner.node
  owner.node.beforeChange = async (partition, change) => {
    await beforeChange(partition, change)
    if (failed !== '') return
    failed = ['n2', 'n3', 'n4'].find((node) => node !== first && owner.disk(node).appends.length > 0)!
    owner.disk(failed).state = 'gone'
    owner.log.replicaLost(({ node }) => node === failed, new Error('gone too'))
    await owner.world.clock.sleep(50)
  }
  const writes = [owner.write('a'), owner.write('b')]
  await owner.run(Promise.all(writes.map(({ done }) => done)))
  const { episodes } = owner.recorded()
  assert.equal(episodes.length, 3)
  assert.deepEqual(
    [episodes[1].end, episodes[2].first],
    [1, 2],
    'nothing was acknowledged in the one between',
  )
  assert.deepEqual(
    owner.open.replicas.map(({ node }) => node).filter((node) => [first, failed].includes(node)),
    [],
  )
  for (const { node } of owner.open.replicas) assert.deepEqual(owner.has(node).slice(0, 2), [2, 3])
})

test('a row update whose answer is lost is found out before anything is acknowledged (C2 F2)', async () => {
  const owner = await Owner.begin()
  owner.disk(owner.peer).state = 'gone'
  const change = owner.node.medusa.change.bind(owner.node.medusa)
  let lost = 0
  owner.node.medusa.change = async (partition, what) => {
    const result = await change(partition, what)
    if (lost++ > 0) return result
    throw new NdfsError('TIMED_OUT', 'the answer was lost')
  }
  await owner.run(owner.write().done)
  assert.equal(lost, 1)
  assert.equal(owner.recorded().episodes.length, 2)
})

test('with too few disks a write waits, fails after writeWaitMax, keeps its place, and happens when nodes come (I1)', async () => {
  const owner = await Owner.begin()
  for (const node of ['n2', 'n3', 'n4']) owner.disk(node).state = 'gone'
  const write = owner.write('may yet happen')
  await owner.pass(writeWaitMaxMs - 5000)
  assert.equal(write.state(), 'waits')
  assert.match(owner.log.waitsFor ?? '', /2 nodes: 1/)
  const later = owner.write('later')
  await owner.pass(10_000)
  assert.equal(write.state(), 'TOO_FEW_REPLICAS')
  assert.equal(later.state(), 'waits', 'it has its own time')
  assert.deepEqual(owner.published, [1], 'too few copies are not quietly accepted')
  owner.disk('n3').state = 'up'
  await owner.run(later.done)
  assert.deepEqual(owner.published.slice(0, 2), [1, write.sequence])
  assert.deepEqual(owner.has('n3').slice(0, 1), [write.sequence])
  assert.equal(owner.log.waitsFor, undefined)
})

test('an owner that is fenced stops: everything that waits is told, and its row is left alone (I4)', async () => {
  const owner = await Owner.begin()
  await owner.disk(owner.peer).fence(vdisk, asEpoch(2))
  const before = owner.recorded()
  const write = owner.write()
  await assert.rejects(owner.run(write.done), (error) => hasCode(error, 'FENCED'))
  assert.ok(hasCode(owner.stopped, 'FENCED'))
  assert.equal(owner.row.alive, false)
  assert.equal(owner.lease.holds(owner.world.clock.now()), false)
  await assert.rejects(owner.run(owner.write().done), (error) => hasCode(error, 'FENCED'))
  assert.deepEqual(owner.recorded(), before)
  assert.equal(owner.heldBytes, 0)
})

test('an owner that meets another epoch in the row stops (I4)', async () => {
  const owner = await Owner.begin()
  const access = { platform: owner.node.platform, medusa: owner.node.medusa }
  await owner.run(VDiskRow.raise(access, vdisk, asEpoch(7)))
  owner.disk(owner.peer).state = 'gone'
  await assert.rejects(owner.run(owner.write().done), (error) => hasCode(error, 'FENCED'))
  assert.ok(hasCode(owner.stopped, 'FENCED'))
})

test('a log that is sealed ends at what was acknowledged; the next write opens a new episode', async () => {
  const owner = await Owner.begin()
  await owner.run(owner.write().done)
  const sealed = owner.open
  assert.equal(await owner.run(owner.log.seal()), true)
  assert.deepEqual(owner.recorded().episodes, [{ ...sealed, end: 2 }])
  assert.equal(owner.lease.holds(owner.world.clock.now()), false)
  assert.equal(owner.log.openEpisode, undefined)
  const write = owner.write()
  await owner.run(write.done)
  assert.equal(owner.open.first, 3)
  assert.deepEqual(owner.published, [1, 2, 3, 4])
})

test('a write that comes while the log is being sealed is acknowledged in the next episode alone', async () => {
  const owner = await Owner.begin()
  const gate = owner.holdFirstChange()
  const sealed = owner.log.seal()
  await owner.pass(100)
  const write = owner.write()
  await owner.pass(1000)
  assert.equal(write.state(), 'waits')
  gate.letGo()
  assert.equal(await owner.run(sealed), true)
  await owner.run(write.done)
  assert.deepEqual(
    owner.recorded().episodes.map(({ first: from, end }) => [from, end]),
    [
      [1, 1],
      [2, undefined],
    ],
  )
})

test('a log with something under way is not sealed', async () => {
  const owner = await Owner.begin()
  const write = owner.write()
  assert.equal(await owner.run(owner.log.seal()), false)
  await owner.run(write.done)
})

test('a replica that grants, and has less than was acknowledged, is replaced: it has lost records (F7)', async () => {
  const owner = await Owner.begin()
  await owner.run(owner.write('kept by the other alone').done)
  const lossy = owner.peer
  owner.disk(lossy).loseLast(vdisk, 1)
  await owner.pass(1000)
  const { episodes } = owner.recorded()
  assert.equal(episodes.length, 2)
  assert.deepEqual([episodes[0].end, episodes[1].first], [2, 3])
  assert.ok(!episodes[1].replicas.some(({ node }) => node === lossy))
})

test('a replica that refuses to grant is replaced; grants of other episodes or disks mean nothing', async () => {
  const owner = await Owner.begin()
  const { open } = owner
  const grant: Granted = {
    ...{ vdisk, epoch: asEpoch(1), episode: open.id, ...open.replicas[1] },
    ...{ sentAt: 0, ok: false, last: asSequence(0), acknowledged: asSequence(1) },
  }
  owner.log.granted({ ...grant, episode: asEpisode(open.id + 1) })
  owner.log.granted({ ...grant, incarnation: 'another' as never })
  await owner.pass(100)
  assert.equal(owner.open.id, open.id)
  owner.log.granted(grant)
  await owner.pass(1000)
  assert.ok(owner.open.id > open.id)
  assert.notEqual(owner.open.replicas[1].node, open.replicas[1].node)
})

test('only acknowledged records are drained; then every replica may forget them, and they take no memory', async () => {
  const owner = await Owner.begin()
  await owner.run(Promise.all([owner.write('a').done, owner.write('b').done]))
  const gate = held()
  owner.disk('n1').holdBack = gate.until
  owner.write('not yet acknowledged').done.catch(() => undefined)
  const prefix: readonly LogEntry[] = owner.log.prefix(1 << 20, 1 << 20)
  assert.deepEqual(
    prefix.map(({ sequence }) => sequence),
    [1, 2, 3],
  )
  assert.deepEqual(
    owner.log
      .prefix(1, 1 << 20)
      .map(({ sequence }) => sequence)
      .slice(0, 2),
    [1, 2],
    'at least one with bytes',
  )
  const heldBefore = owner.heldBytes
  owner.log.drainedTo(asSequence(3), owner.recorded().episodes)
  await owner.pass(100)
  assert.deepEqual(owner.log.prefix(1 << 20, 1 << 20), [])
  assert.equal(owner.log.undrainedRecords, 1)
  assert.ok(owner.heldBytes < heldBefore)
  for (const node of ['n1', owner.peer]) assert.equal(owner.disk(node).freed.get(vdisk), 3)
  gate.letGo()
})

test('the memory of drained records is used again, but not what a replica that failed may still be sent', async () => {
  const owner = await Owner.begin()
  const first = owner.write('drained')
  await owner.run(first.done)
  const drained = owner.payloadOf(first.sequence)
  owner.drained()
  assert.notEqual(drained.toString(), 'drained', 'it is given back, which overwrites it here')

  const acknowledged = owner.write('acknowledged')
  await owner.run(acknowledged.done)
  owner.disk(owner.peer).state = 'silent'
  const late = owner.write('sent to two')
  const payloads = [owner.payloadOf(acknowledged.sequence), owner.payloadOf(late.sequence)]
  await owner.run(late.done)
  owner.drained()
  assert.deepEqual(payloads.map(String), ['acknowledged', 'sent to two'])
  assert.equal(owner.log.undrainedRecords, 0)

  const next = owner.write('all is well again')
  await owner.run(next.done)
  const kept = owner.payloadOf(next.sequence)
  owner.drained()
  assert.notEqual(kept.toString(), 'all is well again')
})

test('nor what was sent to an episode that was being sealed', async () => {
  const owner = await Owner.begin()
  const gate = owner.holdFirstChange()
  const sealed = owner.log.seal()
  await owner.pass(100)
  owner.disk(owner.peer).state = 'silent'
  const write = owner.write('sent to the old one')
  const payload = owner.payloadOf(write.sequence)
  await owner.pass(4000)
  gate.letGo()
  await owner.run(sealed)
  await owner.run(write.done)
  owner.drained()
  assert.equal(payload.toString(), 'sent to the old one')
})

test('nor what was sent to a disk that is being left, while the log waits for another', async () => {
  const owner = await Owner.begin()
  while (owner.recorded().episodes.length < 17) {
    await owner.run(owner.write().done)
    const { peer } = owner
    owner.log.replicaLost(({ node }) => node === peer, new NdfsError('PEER_UNREACHABLE', 'it flaps'))
    await owner.pass(400)
  }
  const leaving = owner.peer
  owner.suspects.add(leaving as NodeId, owner.world.clock.now())
  assert.equal(
    owner.log.moveOff(({ node }) => node === leaving),
    false,
  )
  await owner.pass(10)
  assert.match(owner.log.waitsFor!, /a drain of its 17 sealed episodes/)
  owner.disk(leaving).state = 'silent'
  const write = owner.write('sent to the left one')
  const payload = owner.payloadOf(write.sequence)
  await owner.pass(300)
  const { acknowledged } = owner.log
  const lives = ({ end = Infinity }: { end?: number }): boolean => end > acknowledged
  await owner.run(
    owner.row.update((state) => ({
      ...state,
      drained: acknowledged,
      episodes: state.episodes.filter(lives),
    })),
  )
  owner.drained()
  await owner.run(write.done)
  assert.notEqual(owner.peer, leaving)
  owner.drained()
  assert.equal(payload.toString(), 'sent to the left one')
})

test('what a log holds is counted, and given back when it stops', async () => {
  const owner = await Owner.begin()
  await owner.run(owner.write('x'.repeat(1000)).done)
  assert.ok(owner.heldBytes >= 1000)
  owner.log.stop(new NdfsError('NOT_OWNER', 'over'))
  assert.equal(owner.heldBytes, 0)
})
