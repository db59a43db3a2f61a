/** One hosted vDisk over a small world: what single faults and single requests do. vdisk-story.test.ts has all of it at once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError, type NdfsErrorCode } from '../../base/errors.ts'
import type { NodeId } from '../../base/ids.ts'
import { giveBack, overwriteWhatIsGivenBack } from '../../base/large-buffers.ts'
import { GiB, KiB, MiB, pageBytes, vDiskOffset, type VDiskOffset } from '../../base/units.ts'
import { asEpoch, asVDisk, TestNode, TestWorld } from './fixtures.test.ts'
import { usualPace } from './pace.ts'
import { GroupIndex } from './group-index.ts'
import { GroupLedger } from './group-ledger.ts'
import { GroupPlaces, GroupTable } from './group-table.ts'
import type { HostedVDisk, Sender } from './vdisk-controller.ts'
import { decodeVDiskState, mapPartition, partRowKey, type VDiskState, vdiskPartition } from './rows.ts'
import { vBlockKey } from './vdisk-map.ts'
import { VDiskRow } from './vdisk-row.ts'

overwriteWhatIsGivenBack()
const vdisk = asVDisk(1)

class Cluster {
  readonly world = new TestWorld(1)
  node = new TestNode(this.world, 'n1')
  served!: HostedVDisk

  static async begin(sizeBytes: number = 64 * MiB): Promise<Cluster> {
    const cluster = new Cluster()
    await cluster.run(cluster.node.host.create(vdisk, 'c/v', sizeBytes, 2))
    cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'free'))
    return cluster
  }

  /** Another process takes the vDisk; the one before goes on unless it was killed. */
  async takeOver(node: string): Promise<Cluster> {
    this.node = new TestNode(this.world, node)
    this.served = await this.run(this.node.host.claim(vdisk, 'no-service'))
    return this
  }

  run<T>(work: Promise<T>): Promise<T> {
    return this.world.clock.run(work)
  }
  pass(ms: number): Promise<void> {
    return this.world.clock.pass(ms)
  }
  disks(state: 'up' | 'gone', ...nodes: string[]): void {
    for (const node of nodes) this.world.extents.get(node as NodeId)!.state = state
  }
  logs(state: 'up' | 'gone' | 'silent' | 'full', ...nodes: string[]): void {
    for (const node of nodes) this.world.logs.get(node as NodeId)!.state = state
  }

  write(offset: number, bytes: Buffer | string, senders: readonly Sender[] = []): Promise<void> {
    return this.run(this.served.write(vDiskOffset(offset), Buffer.from(bytes), senders))
  }
  async read(offset: number, length: number): Promise<Buffer> {
    const target = Buffer.alloc(length, 0xee)
    await this.run(Promise.resolve(this.served.read(vDiskOffset(offset), target)))
    return target
  }
  drain(): Promise<void> {
    return this.run(this.served.drain())
  }

  /** Sequential writes, all under way at once, so that they go to extent groups. */
  stream(offset: number, bytes: Buffer, length = 512 * KiB): Promise<unknown> {
    const writes: Promise<void>[] = []
    for (let at = 0; at < bytes.length; at += length)
      writes.push(this.served.write(vDiskOffset(offset + at), bytes.subarray(at, at + length), []))
    return this.run(Promise.all(writes))
  }

  get files(): number {
    return [...this.world.extents.values()].reduce((sum, { files }) => sum + files.size, 0)
  }
  get state(): VDiskState {
    const { rows } = this.world.engine.run('medusa.get', {
      partition: vdiskPartition(vdisk),
      rowKeys: ['state'],
    })
    return decodeVDiskState(rows[0].value)
  }
}

const numbered = (length: number): Buffer => {
  const bytes = Buffer.alloc(length)
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(at + 1, at)
  return bytes
}

test('a vDisk that was never written reads as zeros, and takes no space (R11)', async () => {
  const cluster = await Cluster.begin(2 ** 50)
  assert.deepEqual(await cluster.read(2 ** 49 - 5, 10), Buffer.alloc(10))
  assert.deepEqual(await cluster.run(cluster.served.status(vDiskOffset(0), 1 * MiB, 8)), [
    { length: 1 * MiB, kind: 'zero' },
  ])
  await cluster.drain()
  assert.equal(cluster.files, 0)
})

test('a misaligned write is one record, and is read back before and after it was drained (R12 R25)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(4090, 'across a page')
  for (const when of ['in the log', 'drained']) {
    assert.equal((await cluster.read(4089, 15)).toString(), '\0across a page\0', when)
    await cluster.drain()
  }
  assert.equal(cluster.files, 2, 'both pages are in one group of two copies')
  await cluster.write(4095, 'Z')
  await cluster.drain()
  assert.equal(
    (await cluster.read(4089, 15)).toString(),
    '\0acrosZ a page\0',
    'the page was completed from its base',
  )
})

test('a read of a page that lies partly in the log has its bytes, though the log is drained meanwhile, and its memory used again (I2)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(2 * pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n2')
  await cluster.write(100, 'ragged')
  const { extents } = cluster.node
  const readNow = extents.read.bind(extents)
  let isFirst = true
  let goOn = (): void => undefined
  const drained = new Promise<void>((resolve) => (goOn = resolve))
  extents.read = async (...args) => {
    if (isFirst) {
      isFirst = false
      await drained
    }
    return readNow(...args)
  }
  const target = Buffer.alloc(2 * pageBytes)
  const reading = Promise.resolve(cluster.served.read(vDiskOffset(0), target))
  await cluster.drain()
  for (let at = 0; at < 100; at++) await cluster.write(1 * MiB + at * pageBytes, Buffer.alloc(pageBytes, 'y'))
  goOn()
  await cluster.run(reading)
  assert.equal(target.toString('latin1', 98, 108), 'xxraggedxx')
})

test('what a read finds in memory can be lent as it lies there, be it in the cache, in the log or a hole (R29)', async () => {
  const cluster = await Cluster.begin()
  const bytes = numbered(1 * MiB)
  await cluster.stream(0, bytes)
  await cluster.drain()
  const fromDisks = await cluster.run(Promise.resolve(cluster.served.lend(vDiskOffset(1000), 1 * MiB - 2000)))
  assert.ok(fromDisks)
  assert.ok(Buffer.concat(fromDisks).equals(bytes.subarray(1000, 1 * MiB - 1000)))
  fromDisks.forEach(giveBack)
  const write = async (offset: number, text: string): Promise<void> => {
    await cluster.write(offset, text)
    bytes.write(text, offset)
  }
  await write(300 * KiB, 'l'.repeat(2 * pageBytes))
  await cluster.run(cluster.served.discard(vDiskOffset(600 * KiB), 3 * pageBytes, []))
  bytes.fill(0, 600 * KiB, 600 * KiB + 3 * pageBytes)
  const lent = cluster.served.lend(vDiskOffset(1000), 1 * MiB - 2000)
  assert.ok(Array.isArray(lent), 'it is in memory now')
  const { cache } = cluster.node
  assert.ok(cache.statistics().lentBytes > 1 * MiB - 6 * pageBytes)
  // It is what was there at the call, whatever comes after it.
  await cluster.write(0, Buffer.alloc(1 * MiB, 'n'))
  await cluster.drain()
  assert.ok(Buffer.concat(lent).equals(bytes.subarray(1000, 1 * MiB - 1000)))
  lent.forEach(giveBack)
  assert.equal(cache.statistics().lentBytes, 0)
  // A page that is here in part, and no lease.
  await cluster.read(0, 1 * MiB)
  await cluster.write(500 * KiB + 7, 'ragged')
  assert.equal(cluster.served.lend(vDiskOffset(0), 1 * MiB), undefined)
  assert.equal(cache.statistics().lentBytes, 0, 'what was lent before a page was missing is given back')
  const whole = cluster.served.lend(vDiskOffset(0), 256 * KiB)
  assert.ok(Array.isArray(whole))
  whole.forEach(giveBack)
  cluster.logs('silent', 'n1', 'n2', 'n3')
  await cluster.pass(5000)
  assert.equal(cluster.served.lend(vDiskOffset(0), 256 * KiB), undefined)
  assert.equal(cluster.served.lend(vDiskOffset(64 * MiB - 1), 2), undefined)
})

test('random writes lie in the log until they are drained; sequential ones in extent groups at once (R20 R22)', async () => {
  const cluster = await Cluster.begin()
  const bytes = numbered(8 * MiB)
  await cluster.stream(512, bytes)
  const { streamWrites, logWrites } = cluster.node.host.statistics()
  assert.equal(streamWrites + logWrites, 16)
  assert.ok(streamWrites >= 12, `${streamWrites} of 16 writes were sequential`)
  assert.ok(cluster.served.describe().undrainedBytes < 3 * MiB, 'the log holds no pages of the stream')
  assert.ok((await cluster.read(512, bytes.length)).equals(bytes))
  await cluster.drain()
  assert.ok((await cluster.read(512, bytes.length)).equals(bytes))
})

test('the record of a stream keeps no more in memory than its ragged edges (I9)', async () => {
  const cluster = await Cluster.begin()
  await cluster.stream(512, numbered(16 * MiB))
  const extents = cluster.world.logs
    .get(cluster.node.node)!
    .appends.filter(({ kinds }) => kinds.every((kind) => kind === 'extent'))
  assert.ok(extents.length > 0)
  for (const { bytes, keptBytes } of extents)
    assert.ok(keptBytes < bytes + 256 * KiB, `${keptBytes} for ${bytes}`)
})

test('a write that was under way while the vDisk shrank leaves nothing past its end (M5)', async () => {
  const cluster = await Cluster.begin(4 * MiB)
  const { served } = cluster
  const far = Buffer.alloc(2 * pageBytes, 'x')
  // The size is in the order first: the writes were checked against the old one.
  await cluster.run(
    Promise.all([
      served.resize(2 * MiB, []),
      served.write(vDiskOffset(3 * MiB), far, []),
      served.write(vDiskOffset(2 * MiB - pageBytes), far, []),
    ]).catch((error: unknown) => assert.ok(hasCode(error, 'REFUSED'), String(error))),
  )
  await cluster.run(served.resize(4 * MiB, []))
  for (const when of ['in the log', 'drained']) {
    assert.ok((await cluster.read(2 * MiB, 2 * MiB)).equals(Buffer.alloc(2 * MiB)), when)
    await cluster.drain()
  }
})

test('of those who let a vDisk grow at once none cuts off what another has got', async () => {
  const cluster = await Cluster.begin(1 * MiB)
  const { served } = cluster
  const grown = async (sizeBytes: number): Promise<void> => {
    await served.grow(sizeBytes, [])
    assert.ok(served.sizeBytes >= sizeBytes, 'it is so when it resolves')
    await served.write(vDiskOffset(sizeBytes - pageBytes), Buffer.alloc(pageBytes, 'x'), [])
  }
  await cluster.run(Promise.all([2, 5, 3, 4, 1].map((mebibytes) => grown(mebibytes * MiB))))
  assert.equal(served.sizeBytes, 5 * MiB)
  for (const mebibytes of [1, 2, 3, 4, 5])
    assert.equal((await cluster.read(mebibytes * MiB - 1, 1)).toString(), 'x')
  // After one that cuts it off it begins from there.
  await cluster.run(Promise.all([served.resize(2 * MiB, []), served.grow(3 * MiB, [])]))
  assert.equal(served.sizeBytes, 3 * MiB)
  assert.equal((await cluster.read(3 * MiB - 1, 1)).toString(), '\0')
})

test('a vDisk that waited too long for its copies while it grew has grown once they are there', async () => {
  const cluster = await Cluster.begin(1 * MiB)
  const { served } = cluster
  cluster.logs('gone', 'n2', 'n3')
  const late = served.grow(2 * MiB, [])
  const refused = assert.rejects(late, (error) => hasCode(error, 'TOO_FEW_REPLICAS'))
  await cluster.pass(70_000)
  await refused
  cluster.logs('up', 'n2', 'n3')
  await cluster.pass(20_000)
  assert.equal(served.sizeBytes, 2 * MiB, 'the record kept its place')
  await cluster.run(served.grow(2 * MiB, []))
  await cluster.run(served.grow(1.5 * MiB, []))
  await cluster.write(2 * MiB - 1, 'x')
})

test('what may have been acknowledged is there before the next owner serves anything (I2 M1)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'old')
  // Both replicas have the record, and the guest was told; no record says so yet: the owner's machine dies.
  await cluster.write(0, 'new')
  cluster.node.kill()
  cluster.logs('gone', 'n1')
  cluster.node = new TestNode(cluster.world, 'n2')
  const claiming = cluster.node.host.claim(vdisk, 'free')
  let seen = ''
  const look = async (): Promise<void> => {
    while (cluster.node.host.hosted(vdisk) === undefined) await cluster.world.clock.sleep(0.1)
    cluster.served = cluster.node.host.hosted(vdisk)!
    const target = Buffer.alloc(3)
    await cluster.served.read(vDiskOffset(0), target)
    seen = target.toString()
  }
  await cluster.run(Promise.all([claiming, look()]))
  assert.equal(seen, 'new')
})

test('logs that are full of what was acknowledged are drained by the next owner, who serves reads before it has room there (I10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(5, 'kept')
  cluster.node.kill()
  // Both replicas answer a fence at the same time.
  await cluster.pass(2000)
  cluster.logs('full', 'n1', 'n2', 'n3')
  cluster.disks('gone', 'n1', 'n2', 'n3')
  await cluster.takeOver('n2')
  assert.equal((await cluster.read(5, 4)).toString(), 'kept')
  assert.equal(cluster.served.describe().episode, undefined)
  const writing = cluster.served.write(vDiskOffset(0), Buffer.from('more'), [])
  cluster.disks('up', 'n1', 'n2', 'n3')
  await cluster.run(writing)
  assert.notEqual(cluster.served.describe().episode, undefined)
  assert.equal((await cluster.read(0, 9)).toString(), 'more\0kept')
})

test('what only one replica has is served by nobody until it has its copies, and what was acknowledged before it is drained (M1 I10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(5, 'kept')
  const [, other] = cluster.served.describe().episode!.replicas
  cluster.logs('silent', other.node)
  void cluster.served.write(vDiskOffset(0), Buffer.from('more'), []).catch(() => undefined)
  await cluster.pass(10)
  cluster.node.kill()
  cluster.logs('full', 'n1', 'n2', 'n3')
  cluster.node = new TestNode(cluster.world, 'n3')
  const claiming = cluster.node.host.claim(vdisk, 'free')
  while (cluster.state.drained === 0) {
    assert.equal(cluster.node.host.hosted(vdisk), undefined)
    await cluster.pass(10)
  }
  cluster.logs('up', 'n1', 'n2', 'n3')
  cluster.served = await cluster.run(claiming)
  assert.equal((await cluster.read(0, 9)).toString(), 'more\0kept')
})

test('a vDisk is deleted though no log has room for its first episode (I10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, numbered(1 * MiB))
  await cluster.drain()
  await cluster.write(0, 'more')
  cluster.node.kill()
  await cluster.pass(2000)
  cluster.disks('gone', 'n1', 'n2', 'n3')
  cluster.logs('full', 'n1', 'n2', 'n3')
  await cluster.takeOver('n3')
  await cluster.run(cluster.node.host.delete(vdisk))
  cluster.disks('up', 'n1', 'n2', 'n3')
  await cluster.pass(200_000)
  assert.equal(cluster.files, 0)
  assert.equal(cluster.state.state, 'deleted')
})

test('the time of the last change is told by any owner, and never goes back, nor stands still (M6)', async () => {
  const cluster = await Cluster.begin()
  const seen = [cluster.served.modifiedAt]
  const changed = (): void => {
    seen.push(cluster.served.modifiedAt)
    assert.ok(seen[seen.length - 1] > seen[seen.length - 2], `${seen.join(', ')}`)
  }
  // Two in the same millisecond, of every kind.
  for (let i = 0; i < 2; i++) await cluster.write(0, 'bytes').then(changed)
  await cluster.stream(1 * MiB, numbered(8 * MiB)).then(changed)
  await cluster.run(cluster.served.resize(32 * MiB, [])).then(changed)
  await cluster.run(cluster.served.zero(vDiskOffset(0), 4 * KiB, [])).then(changed)
  const last = (): number => seen[seen.length - 1]
  await cluster.takeOver('n2')
  assert.equal(cluster.served.modifiedAt, last(), 'from the log; that an episode begins is no change')
  await cluster.drain()
  await cluster.takeOver('n3')
  assert.equal(cluster.served.modifiedAt, last(), 'from the row')
  // This one's clock is an hour behind.
  const { clock } = cluster.world
  const wallTime = clock.wallTime.bind(clock)
  clock.wallTime = () => wallTime() - 3_600_000
  await cluster.write(0, 'more').then(changed)
})

test('an owner that lost the vDisk answers no read, however quick it is (I4 C11)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'old')
  const before = cluster.served
  await cluster.takeOver('n2')
  await cluster.write(0, 'new')
  await assert.rejects(
    cluster.run(Promise.resolve().then(() => before.read(vDiskOffset(0), Buffer.alloc(3)))),
    (error) => hasCode(error, 'FENCED', 'NOT_OWNER', 'UNAVAILABLE'),
  )
  await assert.rejects(cluster.run(before.write(vDiskOffset(0), Buffer.from('bad'), [])), (error) =>
    hasCode(error, 'FENCED', 'NOT_OWNER', 'UNAVAILABLE'),
  )
  assert.equal((await cluster.read(0, 3)).toString(), 'new')
})

test('an owner whose groups a later one has freed says that it is none, not that bytes are lost (C11)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n1')
  // It has the map; nobody grants it reads, and nobody tells it that it was taken over.
  await cluster.read(pageBytes, 1)
  cluster.logs('gone', 'n2', 'n3')
  await cluster.pass(5000)
  const { platform, medusa } = cluster.node
  await cluster.run(VDiskRow.raise({ platform, medusa }, vdisk, asEpoch(9)))
  for (const { files } of cluster.world.extents.values()) files.clear()
  await assert.rejects(cluster.read(0, 1), (error) => hasCode(error, 'FENCED'))
})

test('without grants reads go on, each proved by a look at the row (F10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'text')
  cluster.logs('gone', 'n2', 'n3')
  await cluster.pass(5000)
  assert.equal((await cluster.read(0, 4)).toString(), 'text')
})

test('a read finds another copy when one is bad, and the bad one is replaced (I5)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n1')
  const disk = cluster.world.extents.get('n1' as NodeId)!
  const [[badName, bad]] = disk.files
  bad.pages.fill(0)
  assert.equal((await cluster.read(0, 1)).toString(), 'x')
  await cluster.pass(5000)
  assert.equal(cluster.node.host.statistics().copiesRepaired, 1)
  const [[name, { pages }]] = disk.files
  assert.notEqual(name, badName, 'under a number of its own (M4)')
  assert.deepEqual(pages, Buffer.alloc(pageBytes, 'x'))
})

test('what a repair has left whose owner died in the middle of it goes with the group (I7)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n1')
  const { files } = cluster.world.extents.get('n1' as NodeId)!
  const [[, bad]] = files
  bad.pages.fill(0)
  const set = files.set.bind(files)
  files.set = (name, file) => {
    cluster.node.kill()
    return set(name, file)
  }
  await cluster.read(0, 1).catch(() => undefined)
  await cluster.pass(5000)
  files.set = set
  assert.equal(cluster.files, 3, 'the new copy is there, and no row of the group names it')
  await cluster.takeOver('n2')
  await cluster.write(0, Buffer.alloc(pageBytes, 'y'))
  await cluster.drain()
  await cluster.pass(100_000)
})

test('a page whose copies are all bad gives an error, not zeros, until it is overwritten (I5 F9)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(3 * pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n1')
  for (const { files } of cluster.world.extents.values())
    for (const { pages } of files.values()) pages.fill(0, pageBytes, 2 * pageBytes)
  const broken = (error: unknown) => hasCode(error, 'CORRUPT_EXTENT')
  await assert.rejects(cluster.read(pageBytes, 1), broken)
  // A few bytes of the page are written: the rest is lost all the same, and stays so when it is drained.
  await cluster.write(pageBytes + 5, 'new')
  await cluster.drain()
  await assert.rejects(cluster.read(pageBytes, 1), broken)
  assert.equal((await cluster.read(2 * pageBytes, 1)).toString(), 'x')
  await cluster.write(pageBytes, Buffer.alloc(pageBytes, 'y'))
  await cluster.drain()
  assert.equal((await cluster.read(pageBytes, 1)).toString(), 'y')
})

test('a drain whose base cannot be reached waits, and does not fill the disks meanwhile (F9 I10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(pageBytes, 'x'))
  await cluster.drain()
  await cluster.takeOver('n3')
  const holders = [...cluster.world.extents.values()].filter(({ files }) => files.size > 0)
  assert.equal(holders.length, 2)
  // The base's page needs a fetch; there is a group's worth of whole pages besides, which lie before and behind it.
  await cluster.write(4 * MiB, numbered(8 * MiB))
  await cluster.drain()
  const before = cluster.files
  await cluster.write(7, 'ragged')
  await cluster.write(12 * MiB, numbered(8 * MiB))
  for (const { files } of holders) for (const { pages } of files.values()) pages.fill(7)
  const drained = cluster.served.describe().drained
  for (const { ref } of holders) cluster.disks('gone', ref.node)
  cluster.disks('up', 'n3')
  const draining = cluster.served.drain()
  draining.catch(() => undefined)
  await cluster.pass(120_000)
  assert.equal(cluster.served.describe().drained, drained)
  assert.ok(cluster.files <= before + 16, `${cluster.files} files`)
})

test('a drain that meets a damaged map in a discarded stretch has written nothing, however often it is tried (F9 I10)', async () => {
  const cluster = await Cluster.begin()
  for (let at = 8 * MiB; at < 16 * MiB; at += MiB) await cluster.write(at, Buffer.alloc(MiB, 7))
  await cluster.drain()
  cluster.world.loseRow(mapPartition(vdisk, cluster.state.layer, 0), vBlockKey(10))
  await cluster.takeOver('n2')
  await cluster.write(0, Buffer.alloc(4 * MiB, 1))
  await cluster.run(cluster.served.discard(vDiskOffset(8 * MiB), 8 * MiB, []))
  const before = cluster.files
  await assert.rejects(cluster.drain(), { code: 'DAMAGED_METADATA' })
  await cluster.pass(30 * 60_000)
  assert.equal(cluster.files, before)
})

test('a guest that discards many stretches has its map changed few times, not once for each', async () => {
  const cluster = await Cluster.begin()
  const count = 120
  const apart = 128 * pageBytes
  await cluster.stream(0, Buffer.alloc(count * apart, 7))
  await cluster.drain()
  let changes = 0
  cluster.node.beforeChange = ({ table }) => void (changes += table === 'map' ? 1 : 0)
  for (let i = 0; i < count; i++)
    await cluster.run(cluster.served.discard(vDiskOffset(((7 * i) % count) * apart), 80 * pageBytes, []))
  await cluster.drain()
  assert(changes > 0 && changes < 5, `${changes} changes of the map`)
  for (const i of [0, 1, count - 1]) {
    assert(Buffer.alloc(80 * pageBytes).equals(await cluster.read(i * apart, 80 * pageBytes)))
    assert(
      Buffer.alloc(48 * pageBytes, 7).equals(await cluster.read(i * apart + 80 * pageBytes, 48 * pageBytes)),
    )
  }
})

for (const { what, apart, bytes } of [
  { what: 'all', apart: 1000 * MiB, bytes: 1000 * MiB },
  { what: 'half of each vBlock', apart: MiB, bytes: 512 * KiB },
  { what: 'a page of each vBlock', apart: MiB, bytes: pageBytes },
])
  test(`guests write on while ${what} of a large vDisk is discarded (I9)`, async () => {
    const end = 20_000 * MiB
    const cluster = await Cluster.begin(end + GiB)
    const allOver = async (step: number, work: (offset: VDiskOffset) => Promise<void>): Promise<void> => {
      for (let from = 0; from < end; from += 1000 * MiB) {
        const offsets = Array.from({ length: (1000 * MiB) / step }, (_, i) => vDiskOffset(from + i * step))
        await cluster.run(Promise.all(offsets.map(work)))
      }
    }
    await allOver(MiB, (offset) => cluster.served.write(offset, Buffer.alloc(pageBytes, 7), []))
    await cluster.drain()
    await allOver(apart, (offset) => cluster.served.discard(offset, bytes, []))
    const { clock } = cluster.world
    const begun = clock.now()
    const drained = cluster.served.drain()
    // More than a log may hold of one vDisk: some of them wait until a part of the discards is drained.
    const writes = Array.from({ length: 200 }, (_, i) =>
      cluster.served.write(vDiskOffset(end + ((i * 77) % 200) * 5 * MiB), Buffer.alloc(MiB, 9), []),
    )
    await cluster.run(Promise.all(writes))
    const waitedMs = clock.now() - begun
    assert(waitedMs < 5000, `the last of them waited for ${waitedMs} ms`)
    await cluster.run(drained)
    assert.equal((await cluster.read(500 * MiB, pageBytes))[0], 0)
    assert.equal((await cluster.read(end + 5 * MiB, pageBytes))[0], 9)
  })

test('of a drain whose last step failed the row is told what it did to the map, however it ends (I5)', async () => {
  const cluster = await Cluster.begin(3 * GiB)
  for (const at of [0, 1]) await cluster.write(at * GiB + 100 * MiB, Buffer.alloc(MiB, 7))
  await cluster.drain()
  await cluster.run(cluster.served.discard(vDiskOffset(0), 2 * GiB + 500 * MiB, []))
  let refused = 0
  cluster.node.beforeChange = ({ table }) => {
    if (table === 'vdisk' && refused++ === 0) throw new NdfsError('OUT_OF_SPACE', 'refused, once')
  }
  await assert.rejects(cluster.drain(), { code: 'OUT_OF_SPACE' })
  await cluster.drain()
  const { layer } = cluster.state
  const { engine } = cluster.world
  const { rows } = engine.run('medusa.scan', { partition: vdiskPartition(vdisk), limit: 100 })
  for (const number of [0, 1]) {
    const least = rows.find(({ key }) => key === partRowKey(layer, number))?.value.readBigUInt64LE(0)
    const partition = mapPartition(vdisk, layer, number)
    const { version } = engine.run('medusa.get', { partition, rowKeys: [] }).static
    assert.equal(Number(least), version, `partition ${number}`)
  }
})

test('what a discard of a large vDisk gives up is drained in one go, however little the log holds of it', async () => {
  const cluster = await Cluster.begin(128 * GiB)
  await cluster.write(0, Buffer.alloc(pageBytes, 7))
  await cluster.write(127 * GiB, Buffer.alloc(pageBytes, 7))
  await cluster.drain()
  for (let at = 0; at < 128; at += 4)
    await cluster.run(cluster.served.discard(vDiskOffset(at * GiB), 4 * GiB, []))
  await cluster.pass(2 * usualPace.drainAgeMs)
  assert.equal(cluster.served.describe().undrainedBytes, 0)
  assert.equal((await cluster.read(127 * GiB, pageBytes))[0], 0)
})

test('a vDisk that ended within a page leaves nothing of it in the map when it is made smaller (M5 I7)', async () => {
  const end = 1 * GiB + 512
  const cluster = await Cluster.begin(end)
  await cluster.write(1 * GiB, Buffer.alloc(512, 'x'))
  await cluster.write(0, Buffer.alloc(pageBytes, 'a'))
  await cluster.drain()
  await cluster.run(cluster.served.resize(1 * MiB, []))
  await cluster.drain()
  // The next owner counts what lies within the size. Of the group nothing else is left then.
  await cluster.takeOver('n2')
  await cluster.write(0, Buffer.alloc(pageBytes, 'b'))
  await cluster.drain()
  await cluster.pass(20_000)
  await cluster.run(cluster.served.resize(end, []))
  assert.deepEqual(await cluster.read(1 * GiB, 512), Buffer.alloc(512))
})

test('a deletion waits for the freeing that is under way: both would drop the same partitions (I7)', async () => {
  const cluster = await Cluster.begin(128 * MiB)
  const held = Promise.withResolvers<void>()
  let drops = 0
  let changesMeanwhile = 0
  cluster.node.beforeChange = ({ table }, { drop }) => {
    if (table !== 'group') return
    if (drops > 0) changesMeanwhile++
    if (drop !== true || drops++ > 0) return
    return held.promise
  }
  for (let i = 0; i < 2; i++) await cluster.stream(0, Buffer.alloc(96 * MiB, `${i}`), 4 * MiB)
  await cluster.drain()
  while (drops === 0) await cluster.pass(100)
  await cluster.run(cluster.node.host.delete(vdisk))
  await cluster.pass(10_000)
  assert.equal(changesMeanwhile, 0)
  held.resolve()
  await cluster.pass(60_000)
  assert.equal(cluster.files, 0)
  assert.equal(cluster.world.table('group').size, 0)
})

test('a late completion of a group that a later owner has given up ends the earlier ownership, and nothing else (M3)', async () => {
  const world = new TestWorld(1)
  const owner = async (epoch: number) => {
    const node = new TestNode(world, 'n1')
    const access = { platform: node.platform, medusa: node.medusa }
    const row = await world.clock.run(VDiskRow.raise(access, vdisk, asEpoch(epoch)))
    const groups = new GroupTable(node.medusa, new GroupPlaces())
    return new GroupIndex(access, row, groups, new GroupLedger(), node.extents)
  }
  const cluster = new TestNode(world, 'n1')
  await world.clock.run(cluster.host.create(vdisk, 'c/v', 4096, 2))
  const a = await owner(1)
  const [group] = await world.clock.run(
    a.register([[...world.extents.values()].slice(0, 2).map(({ ref }) => ref)]),
  )
  const whole = {
    layer: 1 as never,
    tier: 'flash',
    state: 'whole',
    copies: group.copies,
    extents: [],
    checksums: new Uint32Array(0),
  } as const
  const b = await owner(2)
  await world.clock.run(b.rowsToFree([group.id]).then((seen) => b.markDeleting(seen)))
  await assert.rejects(world.clock.run(a.complete(group.id, whole)), (error) => hasCode(error, 'FENCED'))
  assert.equal((await world.clock.run(b.read(group.id)))?.state, 'deleting')
  // What an earlier owner completed in time is found whole, and may be completed again by whoever drains its record.
  const [other] = await world.clock.run(
    b.register([[...world.extents.values()].slice(0, 2).map(({ ref }) => ref)]),
  )
  for (let i = 0; i < 2; i++) await world.clock.run(b.complete(other.id, { ...whole, copies: other.copies }))
})

test('an owner that was taken over changes no group’s row that the later one has made its own (I4)', async () => {
  const world = new TestWorld(1)
  const node = new TestNode(world, 'n1')
  const access = { platform: node.platform, medusa: node.medusa }
  const owner = async (epoch: number) => {
    const row = await world.clock.run(VDiskRow.raise(access, vdisk, asEpoch(epoch)))
    const groups = new GroupTable(node.medusa, new GroupPlaces())
    return new GroupIndex(access, row, groups, new GroupLedger(), node.extents)
  }
  await world.clock.run(node.host.create(vdisk, 'c/v', 4096, 2))
  const a = await owner(1)
  const [one, two, three] = [...world.extents.values()].map(({ ref }) => ref)
  const [{ id, copies }] = await world.clock.run(a.register([[one, two]]))
  const checksums = new Uint32Array(0)
  const whole = { layer: 1 as never, tier: 'flash', state: 'whole', copies, extents: [], checksums } as const
  await world.clock.run(a.complete(id, whole))
  const b = await owner(2)
  const seen = await world.clock.run(b.readFenced(id))
  assert.equal(seen.row?.state, 'whole')
  const rebuilt = { ...three, number: 7 as never }
  const fenced = (error: unknown) => hasCode(error, 'FENCED')
  const old = { row: whole, version: 1 }
  await assert.rejects(world.clock.run(a.swapCopy(id, old, copies[1], rebuilt, 'flash')), fenced)
  await assert.rejects(world.clock.run(a.readFenced(id)), fenced)
  await assert.rejects(world.clock.run(a.rowsToFree([id])), fenced)
  await assert.rejects(world.clock.run(a.markDeleting(new Map([[id, old]]))), fenced)
  const left = await world.clock.run(b.read(id))
  assert.deepEqual([left?.state, left?.copies], ['whole', copies])
  const swapped = await world.clock.run(b.swapCopy(id, seen, copies[1], rebuilt, 'flash'))
  assert.deepEqual(swapped?.copies, [copies[0], rebuilt])
})

test('many small groups are compacted into few, and read as before (C5)', async () => {
  const cluster = await Cluster.begin()
  const expected = Buffer.alloc(40 * pageBytes)
  for (let page = 0; page < 40; page++) {
    const bytes = Buffer.alloc(pageBytes, `page ${page};`)
    bytes.copy(expected, page * pageBytes)
    await cluster.write(page * pageBytes, bytes)
    await cluster.drain()
  }
  await cluster.pass(60_000)
  assert.ok(cluster.node.host.statistics().compactedBytes > 0)
  assert.ok(cluster.files < 40, `${cluster.files} files`)
  assert.ok((await cluster.read(0, expected.length)).equals(expected))
  await cluster.takeOver('n2')
  assert.ok((await cluster.read(0, expected.length)).equals(expected))
})

test('a deleted vDisk refuses guests, and frees all that it held, streams under way included', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, numbered(1 * MiB))
  await cluster.drain()
  await cluster.stream(8 * MiB, numbered(8 * MiB))
  const { served } = cluster
  const late = Array.from({ length: 8 }, (_, i) =>
    served.write(vDiskOffset(16 * MiB + i * 512 * KiB), numbered(512 * KiB), []).catch(() => undefined),
  )
  await cluster.run(cluster.node.host.delete(vdisk))
  await assert.rejects(cluster.write(0, 'x'), (error) => hasCode(error, 'NOT_FOUND', 'NOT_OWNER'))
  await assert.rejects(cluster.run(cluster.node.host.claim(vdisk, 'free')), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
  await cluster.run(Promise.all(late))
  await cluster.pass(200_000)
  assert.equal(cluster.files, 0)
  assert.equal(cluster.world.table('group').size, 0)
  assert.equal(cluster.world.table('groups-of').size, 0)
  assert.equal(cluster.state.state, 'deleted', 'the row stays as a tombstone')
})

test('a vDisk whose owner died while it was deleting it is freed by whoever claims it, and served by nobody', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, numbered(1 * MiB))
  await cluster.drain()
  await cluster.run(cluster.node.host.delete(vdisk))
  cluster.node.kill()
  cluster.node = new TestNode(cluster.world, 'n2')
  await assert.rejects(cluster.run(cluster.node.host.claim(vdisk, 'free')), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
  await cluster.pass(100_000)
  assert.equal(cluster.files, 0)
})

test('an owner whose deletion another node took over can be asked to finish it (sim seed 5013)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, numbered(1 * MiB))
  await cluster.drain()
  const first = cluster.node
  await cluster.run(first.host.delete(vdisk))
  const second = new TestNode(cluster.world, 'n2')
  await assert.rejects(cluster.run(second.host.claim(vdisk, 'no-service')), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
  // It has marked the groups as its own, and not removed them yet.
  await cluster.pass(1000)
  second.kill()
  await cluster.pass(100_000)
  await assert.rejects(cluster.run(first.host.claim(vdisk, 'no-service')), (error) =>
    hasCode(error, 'NOT_FOUND'),
  )
  await cluster.pass(100_000)
  assert.equal(cluster.files, 0)
})

test('a vDisk that nobody uses is drained, sealed and given up', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'text')
  await cluster.pass(120_000)
  assert.equal(cluster.node.host.hosted(vdisk), undefined)
  assert.equal(cluster.world.owners.get(vdisk)?.released, true)
  assert.deepEqual(cluster.state.episodes, [])
  cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'free'))
  assert.equal((await cluster.read(0, 4)).toString(), 'text')
})

test('a vDisk is not given up while its dead groups are just being freed (sim seed 4000139)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, Buffer.alloc(pageBytes, 'x'))
  await cluster.drain()
  // Less than the grace between marking a group and unlinking it.
  cluster.world.pace = { ...usualPace, drainAgeMs: 100, idleReleaseMs: 1500 }
  await cluster.takeOver('n2')
  await cluster.write(0, Buffer.alloc(pageBytes, 'y'))
  await cluster.pass(10_000)
  assert.equal(cluster.node.host.hosted(vdisk), undefined)
  const index = [...cluster.world.table('groups-of').values()].flatMap((rows) => [...rows.keys()])
  assert.equal(index.length, 1, 'the group that the map names, and no other')
})

test('a drain begins when there is much to drain, and sooner where the logs of the node hold much already', async () => {
  const drainsAfter = async (undrainedBytesMax: number): Promise<number> => {
    const cluster = new Cluster()
    cluster.world.pace = { ...usualPace, drainBeginsAtBytes: 4 * MiB }
    cluster.node = new TestNode(cluster.world, 'n2', undrainedBytesMax)
    await cluster.run(cluster.node.host.create(vdisk, 'c/v', 64 * MiB, 2))
    cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'free'))
    await cluster.pass(1000)
    const { drains } = cluster.node.host.statistics()
    for (let written = 64 * KiB; ; written += 64 * KiB) {
      // Neither a stream, nor the same place again.
      await cluster.write((written * 37) % (64 * MiB), Buffer.alloc(64 * KiB, 'x'))
      await cluster.pass(100)
      if (cluster.node.host.statistics().drains > drains) return written
    }
  }
  const [alone, crowded] = [await drainsAfter(512 * MiB), await drainsAfter(4 * MiB)]
  assert.ok(alone > 3.5 * MiB && alone <= 4 * MiB, `${alone}`)
  assert.ok(crowded > 1.5 * MiB && crowded <= 2.2 * MiB, `${crowded}`)
})

test('a node that shuts down seals what is served, and the next owner finds it all', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'text')
  await cluster.run(cluster.node.host.close())
  assert.ok(cluster.state.episodes.every(({ end }) => end !== undefined))
  cluster.node.kill()
  await cluster.takeOver('n2')
  assert.equal((await cluster.read(0, 4)).toString(), 'text')
})

test("a client's newer session is in the row before anything of it is served; older ones are refused by any owner (F3)", async () => {
  const cluster = await Cluster.begin()
  const client = (number: number): Sender => ({ name: 'client/vm-1', number })
  await cluster.write(0, 'one', [client(1)])
  assert.equal(cluster.state.clients['client/vm-1'], 1)
  // Two requests of a newer session at once: neither is answered before the row says it.
  let recorded = false
  cluster.node.beforeChange = async ({ table }) => {
    if (table !== 'vdisk') return
    await cluster.world.clock.sleep(100)
    recorded = true
  }
  await cluster.run(
    Promise.all(
      [0, 10].map((offset) =>
        cluster.served
          .write(vDiskOffset(offset), Buffer.from('two'), [client(2)])
          .then(() => assert.ok(recorded, 'served before it was recorded')),
      ),
    ),
  )
  const stale = (error: unknown) => hasCode(error, 'STALE_SESSION')
  await assert.rejects(cluster.write(0, 'old', [client(1)]), stale)
  cluster.node.kill()
  await cluster.takeOver('n2')
  await assert.rejects(cluster.write(0, 'old', [client(1)]), stale)
  assert.equal((await cluster.read(0, 3)).toString(), 'two')
})

test("a request that waits for room loses its place when its sender's next session comes (C10)", async () => {
  const cluster = await Cluster.begin()
  const node = (number: number): Sender => ({ name: 'node/n2.abc', number })
  cluster.logs('gone', 'n2', 'n3')
  // 128 MiB that can't be acknowledged: what comes then waits.
  const filling = Array.from({ length: 130 }, (_, i) =>
    cluster.served.write(vDiskOffset(0), Buffer.alloc(1 * MiB, i), []),
  )
  await cluster.pass(100)
  const ghost = cluster.served.write(vDiskOffset(0), Buffer.from('ghost'), [node(1)])
  const refused = assert.rejects(ghost, (error) => hasCode(error, 'STALE_SESSION'))
  const again = cluster.served.write(vDiskOffset(0), Buffer.from('again'), [node(2)])
  cluster.logs('up', 'n2', 'n3')
  await cluster.run(Promise.all([...filling, refused, again]))
  assert.equal((await cluster.read(0, 5)).toString(), 'again')
})

test('a log that can acknowledge nothing keeps no drain busy, however much waits in it', async () => {
  const cluster = await Cluster.begin()
  cluster.logs('gone', 'n2', 'n3')
  const waiting = Array.from({ length: 40 }, (_, i) =>
    cluster.served.write(vDiskOffset(0), Buffer.alloc(1 * MiB, i), []),
  )
  await cluster.pass(1000)
  const draining = cluster.served.drain()
  await cluster.run(draining)
  cluster.logs('up', 'n2', 'n3')
  await cluster.run(Promise.all(waiting))
  await cluster.drain()
})

test('guests are told that there is no space while drains still find some (I10)', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'text')
  for (const disk of cluster.world.extents.values()) disk.guestFreeBytes = 0
  await cluster.pass(1000)
  await assert.rejects(cluster.write(0, 'more'), (error) => hasCode(error, 'OUT_OF_SPACE'))
  await cluster.run(cluster.served.discard(vDiskOffset(0), 4096, []))
  await cluster.drain()
})

/** Half of what its groups hold is dead, in groups that are half alive: too full for compaction where there is room. */
async function halfDead(cluster: Cluster, pages: number): Promise<Buffer> {
  const expected = Buffer.alloc(2 * pages * pageBytes)
  const write = async (page: number, text: string): Promise<void> => {
    const bytes = Buffer.alloc(pageBytes, text)
    bytes.copy(expected, page * pageBytes)
    await cluster.write(page * pageBytes, bytes)
  }
  for (const half of [0, 1]) {
    for (let i = 0; i < pages; i++) await write(half * pages + i, `first ${i};`)
    await cluster.drain()
  }
  for (let i = 0; i < pages; i += 2) await write(i, `second ${i};`)
  for (let i = 0; i < pages; i += 2) await write(pages + i, `second ${i};`)
  await cluster.drain()
  return expected
}

/** Guests find room while there are fewer files than now. */
function roomBelow(cluster: Cluster): void {
  const { files } = cluster
  for (const disk of cluster.world.extents.values())
    Object.defineProperty(disk, 'guestFreeBytes', {
      get: () => (cluster.files < files ? disk.capacityBytes : 0),
    })
}

/** What became of a write that finds no room, by now. */
function tryToWrite(cluster: Cluster): { answer: string } {
  const seen = { answer: 'none' }
  cluster.served.write(vDiskOffset(0), Buffer.from('more'), []).then(
    () => (seen.answer = 'done'),
    (error: unknown) => (seen.answer = error instanceof NdfsError ? error.code : String(error)),
  )
  return seen
}

test('a guest that finds no room has its dead pages given back, and is told of none only after that (I10)', async () => {
  const cluster = await Cluster.begin()
  const expected = await halfDead(cluster, 32)
  roomBelow(cluster)
  // By now nobody remembers that there was room.
  await cluster.pass(1000)
  const writing = tryToWrite(cluster)
  await cluster.pass(1000)
  assert.equal(writing.answer, 'none', 'what is dead is freed after the reads that saw it')
  await cluster.pass(5000)
  assert.equal(writing.answer, 'done')
  expected.write('more', 0)
  assert.ok(cluster.node.host.statistics().compactedBytes > 0)
  assert.ok((await cluster.read(0, expected.length)).equals(expected))
  await cluster.takeOver('n2')
  assert.ok((await cluster.read(0, expected.length)).equals(expected))
})

test('a guest that finds no room is told so where nothing is dead, and what that took is not tried for each', async () => {
  const cluster = await Cluster.begin()
  await cluster.write(0, 'text')
  await cluster.drain()
  for (const disk of cluster.world.extents.values()) disk.guestFreeBytes = 0
  await cluster.pass(1000)
  await assert.rejects(cluster.write(0, 'more'), (error) => hasCode(error, 'OUT_OF_SPACE'))
  const { drains } = cluster.node.host.statistics()
  await assert.rejects(cluster.write(0, 'more'), (error) => hasCode(error, 'OUT_OF_SPACE'))
  assert.equal(cluster.node.host.statistics().drains, drains)
})

test('who waits for room hears at once that the vDisk is given up, deleted or taken, and of that', async () => {
  const ways: [NdfsErrorCode, (cluster: Cluster) => Promise<unknown>][] = [
    ['NOT_OWNER', ({ node }) => node.host.release(vdisk, 'n2' as NodeId)],
    ['NOT_OWNER', ({ node }) => node.host.close()],
    ['NOT_FOUND', ({ node }) => node.host.delete(vdisk)],
    ['FENCED', ({ node }) => Promise.resolve(node.host.fenced(vdisk, asEpoch(99)))],
  ]
  for (const [code, end] of ways) {
    const cluster = await Cluster.begin()
    await halfDead(cluster, 32)
    roomBelow(cluster)
    await cluster.pass(1000)
    const writing = tryToWrite(cluster)
    await cluster.pass(500)
    assert.equal(writing.answer, 'none')
    void end(cluster)
    await cluster.pass(100)
    assert.equal(writing.answer, code)
  }
})

test('who waits for room is told that there is none after some seconds, whatever hangs', async () => {
  const cluster = await Cluster.begin()
  await halfDead(cluster, 32)
  await cluster.write(pageBytes, 'undrained')
  roomBelow(cluster)
  await cluster.pass(1000)
  let isAway = true
  cluster.node.beforeChange = () => {
    if (isAway) throw new NdfsError('UNAVAILABLE', 'Medusa is away')
  }
  const writing = tryToWrite(cluster)
  await cluster.pass(9_000)
  assert.equal(writing.answer, 'none')
  await cluster.pass(2_000)
  assert.equal(writing.answer, 'OUT_OF_SPACE')
  await assert.rejects(cluster.write(0, 'more'), (error) => hasCode(error, 'OUT_OF_SPACE'))
  isAway = false
  await cluster.pass(20_000)
  await cluster.write(0, 'more')
})

test('a dead group whose copy can not be reached holds up the freeing of no other', async () => {
  const cluster = await Cluster.begin()
  const { extents } = cluster.world
  const onlyOn = (nodes: readonly string[]): void => {
    for (const [node, disk] of extents) disk.usedBytes = nodes.includes(node) ? 0 : GiB
  }
  onlyOn(['n1', 'n3'])
  await cluster.write(40 * MiB, 'n1 and n3')
  await cluster.drain()
  onlyOn(['n1', 'n2'])
  cluster.disks('gone', 'n3')
  await cluster.write(40 * MiB, Buffer.alloc(pageBytes, 'n1 and n2'))
  // It is drained, and then what is dead is freed: the copy on n1.
  await cluster.pass(40_000)
  assert.equal(cluster.files, 3)
  await cluster.write(40 * MiB, Buffer.alloc(pageBytes, 'again'))
  await cluster.pass(25_000)
  assert.equal(cluster.files, 3, 'what is dead now is freed as well')
  cluster.disks('up', 'n3')
  await cluster.pass(120_000)
  assert.equal(cluster.files, 2)
})

test('dead groups that wait for a node that is down are no room to come: others are compacted all the same (I10)', async () => {
  const cluster = await Cluster.begin()
  const disks = [...cluster.world.extents.values()]
  const onlyOn = (nodes: readonly string[]): void => {
    for (const disk of disks) disk.usedBytes = nodes.includes(disk.ref.node) ? 0 : disk.capacityBytes
  }
  for (const disk of disks) disk.capacityBytes = 64 * MiB
  onlyOn(['n1', 'n3'])
  for (let i = 0; i < 20; i++) {
    await cluster.write((4096 + i) * pageBytes, Buffer.alloc(pageBytes, 'n1 and n3'))
    await cluster.drain()
  }
  onlyOn(['n1', 'n2'])
  cluster.disks('gone', 'n3')
  await cluster.write(4096 * pageBytes, Buffer.alloc(20 * pageBytes, 'n1 and n2'))
  // All of those are dead now, as far as they can be freed.
  const expected = await halfDead(cluster, 32)
  await cluster.pass(40_000)
  roomBelow(cluster)
  await cluster.pass(1000)
  const writing = tryToWrite(cluster)
  await cluster.pass(9000)
  assert.equal(writing.answer, 'done')
  expected.write('more', 0)
  assert.ok((await cluster.read(0, expected.length)).equals(expected))
})

test('compaction without gain does not go on and on while guests find no room (I10)', async () => {
  const cluster = await Cluster.begin()
  for (let g = 0; g < 3; g++) {
    for (let i = 0; i < 500; i++)
      await cluster.write((g + 3 * i) * pageBytes, Buffer.alloc(pageBytes, `g${g} i${i};`))
    await cluster.drain()
  }
  // One page is bad in each copy: what is copied beside it makes a small group, which could be copied again.
  for (const { files } of cluster.world.extents.values())
    for (const { pages } of files.values())
      if (pages.toString('latin1', 0, 5) === 'g0 i0') pages.fill(0, 0, pageBytes)
  await cluster.takeOver('n2')
  await cluster.pass(3000)
  for (const disk of cluster.world.extents.values()) disk.guestFreeBytes = 0
  await cluster.pass(1000)
  for (let minute = 0; minute < 3; minute++) {
    await assert.rejects(cluster.write(0, 'more'), (error) => hasCode(error, 'OUT_OF_SPACE'))
    await cluster.pass(60_000)
  }
  assert.ok(cluster.node.host.statistics().compactedBytes < 3 * 1500 * pageBytes)
  assert.ok(cluster.files <= 8, `${cluster.files} files`)
})

test('a drain that goes through clears what the one before it failed with, though more waits to be drained', async () => {
  const cluster = await Cluster.begin()
  const fillTo = (share: number): void => {
    for (const disk of cluster.world.extents.values()) disk.usedBytes = share * disk.capacityBytes
  }
  fillTo(1)
  // More than two drains take.
  for (let i = 0; i < 110; i++) await cluster.write(0, Buffer.alloc(1 * MiB, i))
  await cluster.pass(1000)
  assert.match(cluster.served.describe().waitsFor ?? '', /disks with room/)
  const told: { waitsFor?: string; undrainedBytes: number }[] = []
  cluster.node.beforeChange = () => void told.push(cluster.served.describe())
  fillTo(0)
  await cluster.pass(30_000)
  assert.equal(told.at(-1)?.waitsFor, undefined)
  assert.ok(told.some(({ waitsFor, undrainedBytes }) => waitsFor === undefined && undrainedBytes > 32 * MiB))
})
