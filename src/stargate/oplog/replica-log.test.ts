import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { DiskId, NodeId } from '../../base/ids.ts'
import { GiB, KiB, MiB } from '../../base/units.ts'
import { formatDisk, openDisk } from '../../disk/folder-disk.ts'
import {
  episodeId,
  epochOf,
  makeRecord,
  ManualClock,
  platformWith,
  realPlatform,
  recordsIn,
  sequenceOf,
  settled,
  smallSegments,
  temporaryFolder,
  TestDisk,
  vdiskId,
  type RecordWanted,
} from './fixtures.test.ts'
import type { OplogReplica } from './oplog.ts'
import { sizeOfLog } from './physical-log.ts'
import { openOplogReplica, type OplogReplicaOptions } from './replica-log.ts'

interface Bench {
  readonly clock: ManualClock
  disk: TestDisk
  replica: OplogReplica
  /** Closes and opens again on the same files, as a restart of the process does. */
  restart(): Promise<void>
}

async function setUp(t: TestContext, options: Partial<OplogReplicaOptions> = smallSegments): Promise<Bench> {
  const folder = await temporaryFolder()
  const clock = new ManualClock()
  const open = (disk: TestDisk) => openOplogReplica({ platform: platformWith(clock), disk, ...options })
  const disk = new TestDisk(folder.path)
  const bench: Bench = {
    clock,
    disk,
    replica: await open(disk),
    restart: async () => {
      await bench.replica.close()
      const { usedBytes } = bench.disk
      bench.disk = new TestDisk(folder.path)
      bench.disk.usedBytes = usedBytes
      bench.replica = await open(bench.disk)
    },
  }
  t.after(async () => {
    await bench.replica.close()
    await folder.remove()
  })
  return bench
}

function append(replica: OplogReplica, wanted: RecordWanted, count = 1): Promise<void> {
  const records = Array.from({ length: count }, (_, index) =>
    makeRecord({ ...wanted, sequence: wanted.sequence + index }),
  )
  return replica.append(
    vdiskId(wanted.vdisk),
    epochOf(wanted.epoch ?? 1),
    episodeId(wanted.episode ?? 1),
    records,
  )
}

async function sequencesOf(replica: OplogReplica, vdisk: number, episode = 1, from = 1): Promise<number[]> {
  const bytes = await replica.read(vdiskId(vdisk), episodeId(episode), sequenceOf(from), 1 * GiB)
  return recordsIn(bytes).map(({ sequence }) => sequence)
}

const fence = (bench: Bench, vdisk: number, epoch: number) =>
  settled(bench.clock, bench.replica.fence(vdiskId(vdisk), epochOf(epoch)))

// ---- appending ----

test('records that wait for a write share the next one (R24, group commit)', async (t) => {
  const { replica } = await setUp(t)
  await append(replica, { vdisk: 1, sequence: 1 })
  const before = replica.statistics()
  await Promise.all(
    Array.from({ length: 32 }, (_, vdisk) => append(replica, { vdisk: vdisk + 10, sequence: 1 })),
  )
  const after = replica.statistics()
  assert.equal(after.records - before.records, 32)
  assert.equal(after.syncs - before.syncs, 1)
})

test('a record is read back as it was appended, also after a restart', async (t) => {
  const bench = await setUp(t)
  const payload = Buffer.from('what the guest wrote')
  await append(bench.replica, { vdisk: 7, sequence: 1, acknowledged: 0, payload })
  await append(bench.replica, { vdisk: 7, sequence: 2, acknowledged: 1, payload })
  await bench.restart()
  const [first, second] = recordsIn(
    await bench.replica.read(vdiskId(7), episodeId(1), sequenceOf(1), 1 * MiB),
  )
  assert.deepEqual(first.payload, payload)
  assert.equal(second.sequence, 2)
  assert.deepEqual(bench.replica.holdings(), [
    {
      vdisk: 7,
      epoch: 1,
      bytes: 2 * (80 + payload.length),
      episodes: [{ episode: 1, first: 1, last: 2, acknowledged: 1, damage: undefined }],
    },
  ])
})

test('a record that does not continue its episode is refused with the last one', async (t) => {
  const { replica } = await setUp(t)
  await assert.rejects(append(replica, { vdisk: 1, sequence: 5 }), { code: 'CONFLICT' })
  await append(replica, { vdisk: 1, sequence: 5, first: 5 }, 3)
  for (const sequence of [5, 7, 9])
    await assert.rejects(
      append(replica, { vdisk: 1, sequence, first: 5 }),
      (error: { code: string; facts: object }) => {
        assert.equal(error.code, 'CONFLICT')
        assert.equal((error.facts as { last: number }).last, 7)
        return true
      },
    )
  await append(replica, { vdisk: 1, sequence: 8, first: 5 })
  await assert.rejects(append(replica, { vdisk: 1, sequence: 9, first: 5, epoch: 2 }), { code: 'CONFLICT' })
})

test('episodes of one vDisk with the same sequences are kept apart, and freed together', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1, episode: 1, payload: Buffer.from('old') }, 4)
  await append(
    bench.replica,
    { vdisk: 1, sequence: 3, first: 3, episode: 2, epoch: 2, payload: Buffer.from('new') },
    4,
  )
  await bench.restart()
  const { replica } = bench
  assert.deepEqual(await sequencesOf(replica, 1, 1), [1, 2, 3, 4])
  assert.deepEqual(await sequencesOf(replica, 1, 2), [3, 4, 5, 6])
  replica.free(vdiskId(1), sequenceOf(4))
  assert.deepEqual(await sequencesOf(replica, 1, 1), [])
  assert.deepEqual(await sequencesOf(replica, 1, 2), [5, 6])
})

test('what lies beyond a sealed end is cut, and nothing is appended behind it', async (t) => {
  const { replica } = await setUp(t)
  await append(replica, { vdisk: 1, sequence: 1 }, 5)
  replica.seal(vdiskId(1), episodeId(1), sequenceOf(3))
  assert.deepEqual(await sequencesOf(replica, 1), [1, 2, 3])
  await assert.rejects(append(replica, { vdisk: 1, sequence: 4 }), { code: 'CONFLICT' })
  assert.equal(replica.grant(vdiskId(1), epochOf(1), episodeId(1)), undefined)
})

test('a record larger than a segment is refused, and harms no other', async (t) => {
  const { replica } = await setUp(t)
  await assert.rejects(append(replica, { vdisk: 1, sequence: 1, payload: Buffer.alloc(1 * MiB) }), {
    code: 'REFUSED',
  })
  await append(replica, { vdisk: 1, sequence: 1 })
})

test('the queue of a log is bounded', async (t) => {
  const { replica } = await setUp(t, { segmentBytes: 8 * MiB, segmentsMax: 4 })
  const payload = Buffer.alloc(4 * MiB)
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) => append(replica, { vdisk: index + 1, sequence: 1, payload })),
  )
  const codes = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [(outcome.reason as { code: string }).code] : [],
  )
  assert.ok(codes.includes('UNAVAILABLE'), codes.join())
})

// ---- fences and grants ----

test('after a fence lower epochs are refused, also after a restart', async (t) => {
  const bench = await setUp(t)
  const fencedUnder: number[] = []
  bench.replica.onFenced = (_, epoch) => fencedUnder.push(epoch)
  await append(bench.replica, { vdisk: 1, sequence: 1, acknowledged: 0 }, 3)
  const tails = await fence(bench, 1, 2)
  assert.deepEqual(tails, [{ episode: 1, first: 1, last: 3, acknowledged: 0, damage: undefined }])
  assert.deepEqual(fencedUnder, [1, 2])
  for (let restarts = 0; restarts < 2; restarts++) {
    await assert.rejects(append(bench.replica, { vdisk: 1, sequence: 4 }), { code: 'FENCED' })
    assert.equal(bench.replica.grant(vdiskId(1), epochOf(1), episodeId(1)), undefined)
    await bench.restart()
  }
  await assert.rejects(fence(bench, 1, 1), { code: 'FENCED' })
  await fence(bench, 1, 2)
})

test('an append that was under way when the fence came is in its tail', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1 })
  const before = append(bench.replica, { vdisk: 1, sequence: 2 }, 3)
  const fencing = fence(bench, 1, 2)
  const after = append(bench.replica, { vdisk: 1, sequence: 5 })
  await assert.rejects(after, { code: 'FENCED' })
  await before
  assert.equal((await fencing)[0].last, 4)
})

test('a fence outlasts the last grant of a lower epoch, and stops granting at once (C11)', async (t) => {
  const bench = await setUp(t)
  const { clock, replica } = bench
  await append(replica, { vdisk: 1, sequence: 1 }, 2)
  clock.advance(5000)
  assert.deepEqual(replica.grant(vdiskId(1), epochOf(1), episodeId(1)), { last: 2 })
  let agreed = false
  const fencing = replica.fence(vdiskId(1), epochOf(2)).then(() => (agreed = true))
  assert.equal(replica.grant(vdiskId(1), epochOf(1), episodeId(1)), undefined)
  while (clock.timers === 0) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(1099)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(agreed, false)
  clock.advance(1)
  await fencing
  // The new owner's own grants hold up no repetition of its own fence.
  await append(replica, { vdisk: 1, sequence: 3, first: 3, episode: 2, epoch: 2 })
  assert.ok(replica.grant(vdiskId(1), epochOf(2), episodeId(2)))
  await replica.fence(vdiskId(1), epochOf(2))
})

test('a replica that was just started agrees to no fence until grants of its former self have run out (F1)', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1 })
  await bench.restart()
  let agreed = false
  const fencing = bench.replica.fence(vdiskId(1), epochOf(2)).then(() => (agreed = true))
  while (bench.clock.timers === 0) await new Promise((resolve) => setImmediate(resolve))
  bench.clock.advance(1099)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(agreed, false)
  bench.clock.advance(1)
  await fencing
})

test('fences and the freed marks outlive every segment that they were written to', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1 })
  await fence(bench, 1, 9)
  bench.replica.free(vdiskId(1), sequenceOf(1))
  const payload = Buffer.alloc(100 * KiB)
  for (let sequence = 1; sequence < 150; sequence++) {
    await append(bench.replica, { vdisk: 2, sequence, payload })
    bench.replica.free(vdiskId(2), sequenceOf(sequence - 5))
  }
  await bench.restart()
  await assert.rejects(append(bench.replica, { vdisk: 1, sequence: 2, epoch: 8 }), { code: 'FENCED' })
  const [{ episodes }] = bench.replica.holdings()
  assert.equal(episodes[0].last, 149)
  assert.equal(episodes[0].damage, undefined)
})

// ---- failing ----

test('a failed write takes the disk out of service: all that waits is refused, and reads go on (I6)', async (t) => {
  const bench = await setUp(t)
  const { disk, replica } = bench
  await append(replica, { vdisk: 1, sequence: 1 }, 3)
  disk.beforeWrite = () => {
    throw new Error('EIO: the medium')
  }
  const outcomes = await Promise.allSettled([
    append(replica, { vdisk: 1, sequence: 4 }),
    append(replica, { vdisk: 2, sequence: 1 }),
    replica.fence(vdiskId(1), epochOf(2)),
  ])
  for (const outcome of outcomes)
    assert.equal(outcome.status === 'rejected' && (outcome.reason as { code: string }).code, 'DISK_FAILED')
  disk.beforeWrite = () => undefined
  assert.equal(replica.inService, false)
  assert.equal(disk.state, 'failed')
  await assert.rejects(append(replica, { vdisk: 3, sequence: 1 }), { code: 'DISK_FAILED' })
  assert.equal(replica.grant(vdiskId(1), epochOf(1), episodeId(1)), undefined)
  assert.deepEqual(await sequencesOf(replica, 1), [1, 2, 3])
})

test('a rotten record is reported by its sequence, and those before it are read', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1, payload: Buffer.from('sound as a bell') }, 2)
  await append(bench.replica, { vdisk: 1, sequence: 3, payload: Buffer.from('soon rotten') })
  await append(bench.replica, { vdisk: 1, sequence: 4 })
  flipIn(join(bench.disk.path, 'oplog/segment-0'), 'soon rotten')
  const read = (from: number) =>
    bench.replica.read(vdiskId(1), episodeId(1), sequenceOf(from), 1 * MiB).then(recordsIn)
  for (let restarts = 0; restarts < 2; restarts++) {
    assert.deepEqual(
      (await read(1)).map(({ sequence }) => sequence),
      [1, 2],
    )
    await assert.rejects(read(3), (error: { code: string; facts: object }) => {
      assert.equal(error.code, 'CORRUPT_EXTENT')
      assert.equal((error.facts as { sequence: number }).sequence, 3)
      return true
    })
    assert.deepEqual(
      (await read(4)).map(({ sequence }) => sequence),
      [4],
    )
    assert.deepEqual(bench.replica.holdings()[0].episodes[0].damage, [3])
    // The owner learns of it: less is here than was acknowledged (F7).
    assert.deepEqual(bench.replica.grant(vdiskId(1), epochOf(1), episodeId(1)), { last: 2 })
    await bench.restart()
  }
})

test("the last record of an episode is missed when it rots, even with its batch's header", async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1 })
  await append(bench.replica, { vdisk: 1, sequence: 2, payload: Buffer.from('the last of its episode') })
  await append(bench.replica, { vdisk: 2, sequence: 1 })
  const path = join(bench.disk.path, 'oplog/segment-0')
  const recordAt = readFileSync(path).indexOf('the last of its episode') - 80
  flipAt(path, recordAt)
  flipAt(path, recordAt - 4096 + 100)
  await bench.restart()
  const tail = bench.replica.holdings().find(({ vdisk }) => vdisk === vdiskId(1))?.episodes[0]
  assert.deepEqual(tail, { episode: 1, first: 1, last: 2, acknowledged: 0, damage: [2] })
})

test('a log of which a part is unknown takes part in nothing but reading (M2)', async (t) => {
  const bench = await setUp(t)
  for (let sequence = 1; sequence <= 6; sequence++)
    await append(bench.replica, { vdisk: 1, sequence, payload: Buffer.from(`number ${sequence}`) })
  const path = join(bench.disk.path, 'oplog/segment-0')
  for (const sequence of [3, 4])
    flipAt(path, readFileSync(path).indexOf(`number ${sequence}`) - 80 - 4096 + 20)
  await bench.restart()
  assert.equal(bench.replica.inService, false)
  await assert.rejects(bench.replica.fence(vdiskId(1), epochOf(2)), { code: 'DISK_FAILED' })
  assert.deepEqual(await sequencesOf(bench.replica, 1), [1, 2])
  assert.deepEqual(await sequencesOf(bench.replica, 1, 1, 5), [5, 6])
})

test('segments of another disk are refused with a sentence', async (t) => {
  const bench = await setUp(t)
  await append(bench.replica, { vdisk: 1, sequence: 1 })
  const other = new TestDisk(bench.disk.path, 1 * GiB, 'ffffffffffffffff')
  await assert.rejects(openOplogReplica({ platform: realPlatform, disk: other, ...smallSegments }), {
    code: 'REFUSED',
    message: /Move that file out/,
  })
})

// ---- space ----

test('a full log refuses with OUT_OF_SPACE, names whose records fill it, and goes on once they are freed', async (t) => {
  const bench = await setUp(t)
  const { replica } = bench
  const pressed = new Set<number>()
  replica.onPressure = (vdisks) => vdisks.forEach((vdisk) => pressed.add(vdisk))
  const payload = Buffer.alloc(100 * KiB, 7)
  let last = 0
  await assert.rejects(
    async () => {
      for (;;) {
        await append(replica, { vdisk: 1, sequence: last + 1, payload })
        last++
      }
    },
    { code: 'OUT_OF_SPACE' },
  )
  assert.ok(last > 20, `only ${last} records fit`)
  assert.deepEqual([...pressed], [1])
  assert.equal((await sequencesOf(replica, 1)).length, last)
  // Fences must be possible on a full log, or nobody could take over and drain it; restarts too.
  await fence(bench, 1, 2)
  for (let restarts = 0; restarts < 5; restarts++) {
    await bench.restart()
    await fence(bench, 1, 3 + restarts)
    await assert.rejects(append(bench.replica, { vdisk: 2, sequence: 1, payload }), { code: 'OUT_OF_SPACE' })
  }
  assert.equal((await sequencesOf(bench.replica, 1)).length, last)
  bench.replica.free(vdiskId(1), sequenceOf(last))
  for (let sequence = 1; sequence <= 40; sequence++) {
    await append(bench.replica, { vdisk: 2, sequence, payload })
    bench.replica.free(vdiskId(2), sequenceOf(sequence))
  }
  assert.ok((await bench.disk.list('oplog')).length <= smallSegments.segmentsMax)
})

test('what the log may yet take of its disk is set aside, whether it grows, shrinks or starts again (I10)', async (t) => {
  const bench = await setUp(t)
  const mostBytes = (smallSegments.segmentsMax + 2) * smallSegments.segmentBytes
  const isCounted = (): boolean => bench.disk.asideBytes + bench.disk.usedBytes === mostBytes
  const payload = Buffer.alloc(200 * KiB, 7)
  for (let sequence = 1; sequence <= 60; sequence++) {
    await append(bench.replica, { vdisk: 2, sequence, payload })
    bench.replica.free(vdiskId(2), sequenceOf(sequence - 10))
    if (sequence === 30) await bench.restart()
  }
  assert.ok(isCounted())
  await bench.restart()
  assert.ok(isCounted())
})

test('records of a vDisk that can not drain are copied forward, so it holds up only itself (M8)', async (t) => {
  const bench = await setUp(t)
  const cold = { vdisk: 1, sequence: 1, payload: Buffer.alloc(20 * KiB, 1) }
  await append(bench.replica, cold, 3)
  const payload = Buffer.alloc(100 * KiB, 2)
  for (let sequence = 1; sequence <= 200; sequence++) {
    await append(bench.replica, { vdisk: 2, sequence, payload })
    bench.replica.free(vdiskId(2), sequenceOf(sequence - 10))
    if (sequence === 100) await append(bench.replica, { ...cold, sequence: 4 })
    if (sequence === 150) await bench.restart()
  }
  assert.deepEqual(await sequencesOf(bench.replica, 1), [1, 2, 3, 4])
  await bench.restart()
  const records = recordsIn(await bench.replica.read(vdiskId(1), episodeId(1), sequenceOf(1), 1 * MiB))
  assert.deepEqual(
    records.map(({ sequence }) => sequence),
    [1, 2, 3, 4],
  )
  for (const record of records) assert.deepEqual(record.payload, cold.payload)
  assert.deepEqual(
    bench.replica.holdings().map(({ episodes }) => episodes[0].damage),
    [undefined, undefined],
  )
})

/** From now on, a segment gets its second header, and then the power is gone. */
function losePowerAtNextSegment(bench: Bench): Promise<void> {
  return new Promise((resolve) => {
    bench.disk.beforeWrite = (_, position) => {
      if (position !== 4096) return
      resolve()
      throw new Error('power is gone')
    }
  })
}

test('the last record before a crash is damage, and not a shorter log, once the log was idle for a moment (F7)', async (t) => {
  for (const gone of ['rotten', 'never written'] as const) {
    const bench = await setUp(t)
    for (const sequence of [1, 2, 3]) await append(bench.replica, { vdisk: 1, sequence })
    const { name, position, end } = bench.disk.lastWrite
    for (let turns = 0; turns < 1000 && bench.disk.lastWrite.position === position; turns++) {
      await new Promise((resolve) => setImmediate(resolve))
      bench.clock.advance(10)
    }
    const file = openSync(join(bench.disk.path, name), 'r+')
    const bytes = gone === 'rotten' ? 1 : end - position
    writeSync(file, Buffer.alloc(bytes), 0, bytes, gone === 'rotten' ? end - 4096 : position)
    closeSync(file)
    // As after `kill -9`: nobody closed it.
    const again = await openOplogReplica({
      platform: platformWith(bench.clock),
      disk: new TestDisk(bench.disk.path),
      ...smallSegments,
    })
    const [{ episodes }] = again.holdings()
    assert.deepEqual(
      episodes,
      [{ episode: 1, first: 1, last: 3, acknowledged: 0, damage: [3] }],
      `where it is ${gone}`,
    )
    await again.close()
  }
})

test('a freed segment is used again only after a table has said so: else what was freed would look like damage', async (t) => {
  const bench = await setUp(t)
  const payload = Buffer.alloc(100 * KiB)
  let sequence = 0
  const fill = async () => {
    await append(bench.replica, { vdisk: 1, sequence: ++sequence, payload })
  }
  // vDisk 2 holds the first segment, so vDisk 1's first records stay beside it; its later ones fill two more.
  await append(bench.replica, { vdisk: 2, sequence: 1, payload: Buffer.alloc(90 * KiB) })
  while (bench.replica.statistics().usedBytes < 2.1 * MiB) await fill()
  const lost = losePowerAtNextSegment(bench)
  bench.replica.free(vdiskId(1), sequenceOf(sequence - 2))
  const work = (async () => {
    for (;;) await fill()
  })().catch(() => undefined)
  await lost
  await work
  await bench.restart()
  for (const { episodes } of bench.replica.holdings()) assert.equal(episodes[0].damage, undefined)
  assert.deepEqual(await sequencesOf(bench.replica, 2), [1])
})

test('the segment of the newest table is not used again before there is a newer one', async (t) => {
  const bench = await setUp(t)
  await fence(bench, 1, 5)
  await bench.restart()
  await bench.restart()
  const lost = losePowerAtNextSegment(bench)
  await append(bench.replica, { vdisk: 2, sequence: 1 }).catch(() => undefined)
  const payload = Buffer.alloc(200 * KiB)
  for (let sequence = 2; bench.replica.inService; sequence++)
    await append(bench.replica, { vdisk: 2, sequence, payload }).catch(() => undefined)
  await lost
  await bench.restart()
  await assert.rejects(append(bench.replica, { vdisk: 1, sequence: 1, epoch: 4 }), { code: 'FENCED' })
})

test('a log takes its share of a disk, and at least what holds the largest record', () => {
  assert.deepEqual(sizeOfLog(10 * GiB), { segmentBytes: 64 * MiB, segmentsMax: 40 })
  assert.deepEqual(sizeOfLog(1 * GiB), { segmentBytes: 40 * MiB, segmentsMax: 6 })
  assert.deepEqual(sizeOfLog(256 * MiB), { segmentBytes: 40 * MiB, segmentsMax: 4 })
  assert.deepEqual(sizeOfLog(4096 * GiB), { segmentBytes: 64 * MiB, segmentsMax: 256 })
})

test('on a formatted disk the largest record is appended and read after a restart', async (t) => {
  const folder = await temporaryFolder()
  t.after(folder.remove)
  const options = { path: join(folder.path, 'disk'), cluster: 'c', disk: 'n1-flash-0' as DiskId }
  await formatDisk(realPlatform, { ...options, tier: 'flash', capacityBytes: 1 * GiB })
  const payload = Buffer.alloc(33 * MiB, 'all of it ')
  for (let restarts = 0; restarts < 2; restarts++) {
    const disk = await openDisk(realPlatform, { ...options, node: 'n1' as NodeId })
    const replica = await openOplogReplica({ platform: realPlatform, disk })
    if (restarts === 0) await append(replica, { vdisk: 1, sequence: 1, payload })
    const [record] = recordsIn(await replica.read(vdiskId(1), episodeId(1), sequenceOf(1), 1))
    assert.ok(record.payload.equals(payload))
    await replica.close()
    await disk.close()
  }
})

function flipIn(path: string, text: string): void {
  flipAt(path, readFileSync(path).indexOf(text))
}

function flipAt(path: string, at: number): void {
  assert.ok(at > 0)
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.from([readFileSync(path)[at] ^ 4]), 0, 1, at)
  closeSync(file)
}
