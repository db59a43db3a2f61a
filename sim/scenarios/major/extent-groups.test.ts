import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { NodeId } from '../../../src/base/ids.ts'
import { KiB, MiB } from '../../../src/base/units.ts'
import type { DiskOperation } from '../../sim-disk.ts'
import { Scene } from './support.ts'

const pieceSectors = (128 * KiB) / 512

test('M3: a stream’s groups have all their copies again before the next node dies', async () => {
  for (const moment of [1, 3, Infinity]) {
    const scene = await Scene.begin({
      seed: Math.min(moment, 9),
      nodes: 4,
      sectors: 24 * pieceSectors,
      // All of the stream is undrained at once.
      oplogSegmentBytes: 16 * MiB,
      capacityBytes: { flash: 256 * MiB },
    })
    const { cluster } = scene
    const guest = scene.guest(cluster.names[0])
    await scene.done(guest.write(0, 8))
    const { owner } = scene.roles()
    // No drain comes by itself for a while.
    await scene.wait(3_000)
    await scene.drain()
    const stream = guest.stream(0, pieceSectors, 24)
    // The first that writes so many groups is gone in the middle of it; or, at the last, after the last answer.
    let gone: NodeId | undefined
    let holder: NodeId | undefined
    const isWrite = (one: DiskOperation): boolean => one.kind === 'write' && Scene.isGroup(one)
    for (const node of cluster.names)
      if (node !== owner) {
        scene.atOperation(node, 1, isWrite, () => (holder = node))
        scene.atOperation(node, moment, isWrite, () => {
          if (gone === undefined) cluster.lose((gone = node))
        })
      }
    await scene.done(stream)
    assert.ok(cluster.node(owner)!.controller.statistics().streamWrites > 0)
    if (gone === undefined) cluster.lose((gone = holder!))
    // What it held is on full copies again soon after its death is known, not when it is old.
    await scene.wait(8_000)
    cluster.end(owner, 'silent power cut')
    await scene.readAll(cluster.serving())
    await scene.finish()
  }
})

test('M4: an owner that wakes within its drain harms nothing of the next one', async () => {
  let came = 0
  for (let steps = 8; steps <= 120; steps += 14) {
    const scene = await Scene.begin({ seed: steps })
    const { cluster, world } = scene
    const guest = scene.guest(cluster.names[0])
    await scene.done(guest.write(0, 64))
    await scene.drain()
    await scene.done(guest.write(3, 70), guest.zero(8, 16))
    const { owner, others } = scene.roles()
    const drain = scene.beside(() => scene.hosted(owner)!.drain())
    await scene.steps(steps)
    if (!drain.ended) came++
    if ((steps / 2) % 2 === 0) world.freeze(owner, 8_000)
    else cluster.end(owner, 'power cut')
    const next = scene.guest(others[0])
    await scene.done(next.write(5, 40), next.read(0, 100))
    await scene.drain()
    await scene.done(next.write(60, 20))
    await scene.drain()
    await scene.wait(8_000)
    await scene.finish()
  }
  assert.ok(came >= 4, `only ${came} of the moments were within a drain`)
})

test('M4: an owner that dies or stands still while it frees dead groups leaves none, and takes no other', async () => {
  let came = 0
  for (const how of ['power cut', 'freeze'] as const)
    for (const [at, moment] of [
      ['owner', 1],
      ['owner', 2],
      ['holder', 1],
      ['holder', 2],
    ] as const) {
      const scene = await Scene.begin({ seed: moment })
      const { cluster, world } = scene
      const guest = scene.guest(cluster.names[0])
      await scene.done(guest.write(0, 64))
      const { owner, others } = scene.roles()
      await scene.drain()
      await scene.done(guest.write(0, 64))
      const holder = scene.groupNodes().find((node) => node !== owner)!
      await scene.drain()
      // Unlinked here and there, after a grace.
      const step = scene.atOperation(
        at === 'owner' ? owner : holder,
        moment,
        (one) => ['names', 'sync'].includes(one.kind) && Scene.isGroup(one),
        () => (how === 'freeze' ? world.freeze(owner, 8_000) : cluster.end(owner, 'power cut')),
      )
      await scene.done(guest.write(70, 8))
      await scene.wait(4_000)
      if (step.happened) came++
      const next = scene.guest(others[0])
      await scene.done(next.write(10, 20), next.read(0, 100))
      await scene.wait(8_000)
      await scene.finish({ empty: true })
    }
  assert.ok(came >= 4, `only ${came} of the moments came`)
})

test('M4: a bad copy is replaced under a number of its own, whenever that is interrupted', async () => {
  let came = 0
  for (let moment = 0; moment <= 7; moment++) {
    // Nearly no cache: each read goes to the owner's own copy.
    const scene = await Scene.begin({ seed: moment, cacheBytes: 4 * KiB })
    const { cluster, world } = scene
    const [owner, next] = cluster.names
    const guest = scene.guest(owner)
    await scene.done(guest.write(0, 64))
    await scene.drain()
    await scene.done(guest.read(32, 32))
    assert.equal(scene.rot(owner, 1, 5, 'groups'), 1)
    const step = scene.atOperation(
      owner,
      moment,
      (one) => one.kind !== 'read' && Scene.isGroup(one),
      () => {
        if (moment % 2 === 0) cluster.end(owner, 'power cut')
        else world.freeze(owner, 8_000)
      },
    )
    const read = guest.read(0, 64)
    await scene.ended(read)
    await scene.wait(200)
    if (step.happened) came++
    else assert.equal(cluster.node(owner)!.controller.statistics().copiesRepaired, 1)
    await scene.done(scene.guest(next).read(0, 64), scene.guest(next).write(80, 8))
    await scene.heal()
    await scene.wait(8_000)
    await scene.moveTo(owner)
    await scene.done(scene.guest(owner).read(0, 64))
    await scene.finish()
  }
  assert.ok(came >= 3, `only ${came} of the moments came`)
})

test('M8: one vDisk that can’t drain fills nobody else’s log', async () => {
  const scene = await Scene.begin({
    nodes: 5,
    vdisks: ['u', 'v'],
    sectors: 4 * 1024,
    capacityBytes: { flash: 64 * MiB },
  })
  const { cluster } = scene
  await scene.done(scene.guest(cluster.names[0], 'u').write(0, 64))
  await scene.drain('u')
  // All copies of what it has drained are out of reach; its log goes on elsewhere.
  const holders = scene.groupNodes('u')
  const [elsewhere] = cluster.names.filter((node) => !holders.includes(node))
  await scene.moveTo(elsewhere, 'u')
  for (const node of holders) cluster.end(node, 'silent power cut')
  const guest = scene.guest(elsewhere, 'u')
  for (let i = 0; i < 20; i++) await scene.done(guest.write(9 + 3 * i, 2))
  await scene.wait(25_000)
  assert.notEqual(scene.describe('u')!.waitsFor, undefined)
  // It takes all the memory that it may, and then waits.
  const waiting = Array.from({ length: 6 }, (_, i) => guest.write(1024 + 256 * i, 256))
  // More than the whole log, by another vDisk of the same node.
  const busy = scene.guest(elsewhere, 'v')
  for (let i = 0; i < 14; i++) {
    const writes = Array.from({ length: 8 }, (_, k) => busy.write(((i * 8 + k) * 7 * 256) % (3 * 1024), 256))
    await scene.done(...writes)
    for (const { tookMs } of writes) assert.ok(tookMs < 5_000, `it took ${tookMs} ms`)
  }
  assert.ok(waiting.some(({ answered }) => !answered))
  await scene.ended(...waiting)
  const unreachable = guest.read(16, 1)
  await scene.wait(3_000)
  assert.equal(unreachable.answered, false, 'nobody can know what it holds')
  await scene.finish({ empty: true })
})

test('M8: a page whose every copy is bad is an error until it is overwritten, and holds up nothing', async () => {
  const scene = await Scene.begin({ cacheBytes: 4 * KiB })
  const { cluster } = scene
  const guest = scene.guest(cluster.names[0])
  await scene.done(guest.write(0, 64))
  await scene.drain()
  await scene.done(guest.read(32, 32))
  for (const node of scene.groupNodes()) assert.equal(scene.rot(node, 1, 3, 'groups'), 1)
  // Half of the page is overwritten: the other half stays lost, and is never zeros.
  await scene.done(guest.write(4, 4), guest.write(16, 8))
  for (const drained of [false, true]) {
    const read = guest.read(0, 8)
    await scene.ended(read)
    assert.ok(hasCode(read.error, 'CORRUPT_EXTENT'), `${drained}: ${String(read.error ?? read.value)}`)
    await scene.done(guest.read(8, 56))
    await scene.drain()
    assert.equal(scene.row().drained, scene.describe()!.acknowledged)
  }
  await scene.done(guest.write(0, 8))
  await scene.done(guest.read(0, 64))
  // The group goes with its rotten page.
  await scene.done(guest.write(0, 64))
  await scene.finish({ empty: true })
})

test('M8: what a replica that was away keeps of a deleted vDisk goes when it is back', async () => {
  const scene = await Scene.begin({ vdisks: ['u', 'v'] })
  const { cluster } = scene
  const guest = scene.guest(cluster.names[0], 'u')
  await scene.done(guest.write(0, 64))
  const { peer } = scene.roles('u')
  cluster.end(peer, 'silent power cut')
  await scene.done(guest.write(0, 8))
  await scene.drain('u')
  await scene.done(guest.delete())
  await scene.wait(5_000)
  await scene.finish({ empty: true })
})

test('M10: a row of the map that is missing is damage, never zeros, and nothing is freed on its word', async () => {
  for (const what of ['vBlock', 'partition'] as const) {
    const scene = await Scene.begin({ sectors: 4096 })
    const { cluster } = scene
    const { database } = cluster
    const guest = scene.guest(cluster.names[0])
    await scene.done(guest.write(0, 64))
    await scene.drain()
    await scene.done(guest.write(2048, 64))
    await scene.drain()
    const { owner, others } = scene.roles()
    cluster.end(owner, 'kill')
    const where = `partition IN (SELECT id FROM medusa_partitions WHERE table_name = 'map')
      ${what === 'vBlock' ? `AND key = (SELECT min(r.key) FROM medusa_rows r JOIN medusa_partitions p ON p.id = r.partition WHERE p.table_name = 'map' AND r.key LIKE 'v%')` : ''}`
    const rows = database
      .prepare<[], { partition: number; key: string; value: Buffer }>(
        `SELECT partition, key, value FROM medusa_rows WHERE ${where}`,
      )
      .all()
    assert.ok(rows.length > 0)
    database.exec(`DELETE FROM medusa_rows WHERE ${where}`)
    const next = scene.guest(others[0])
    const read = next.read(0, 8)
    await scene.ended(read)
    assert.ok(hasCode(read.error, 'DAMAGED_METADATA'), `${what}: ${String(read.error ?? read.value)}`)
    // It drains, counts what its map names, and finds groups that nothing seems to name.
    await scene.done(next.write(3000, 8))
    const serving = scene.owner()!
    scene.beside(() => scene.hosted(serving)!.drain())
    await scene.wait(15_000)
    // An operator finds the rows again.
    const put = database.prepare('INSERT OR IGNORE INTO medusa_rows (partition, key, value) VALUES (?, ?, ?)')
    for (const { partition, key, value } of rows) put.run(partition, key, value)
    cluster.end(serving, 'kill')
    await scene.finish()
  }
})

test('M12: a disk that left service is read as long as it holds the only copy', async () => {
  const scene = await Scene.begin({ nodes: 4 })
  const { cluster } = scene
  await scene.done(scene.guest(cluster.names[0]).write(0, 64))
  const { owner, peer, others } = scene.roles()
  await scene.drain()
  cluster.lose(peer)
  let failed = false
  scene.faulty(owner, (one) => {
    if (failed || one.kind !== 'write' || !Scene.isLog(one)) return undefined
    failed = true
    return { fail: 'EIO' }
  })
  const guest = scene.guest(others[0])
  const write = guest.write(100, 8)
  await scene.done(write, scene.guest(owner).write(120, 8))
  assert.ok(failed)
  assert.ok(write.tookMs < 10_000)
  const disks = await scene.world.play(() => cluster.node(others[0])!.management.listDisks())
  assert.equal(disks.find(({ node, tier }) => node === owner && tier === 'flash')?.state, 'failed')
  await scene.readAll(others)
  scene.checkHistories()
  scene.end()
})

test('M13: copies lie in as many blocks as live, and on distinct nodes always', async () => {
  const blockOf = (node: NodeId): string => `chassis-${Math.ceil(Number(node.slice(1)) / 2)}`
  // Their numbers spread their logs over the nodes.
  const vdisks = ['v', 'w', 'x', 'y']
  const scene = await Scene.begin({ nodes: 4, blockOf, vdisks })
  const { cluster } = scene
  for (const vdisk of vdisks) {
    await scene.done(scene.guest(cluster.names[0], vdisk).write(0, 8))
    const { owner, peer } = scene.roles(vdisk)
    assert.notEqual(blockOf(owner), blockOf(peer))
  }
  const guest = scene.guest(cluster.names[0])
  await scene.done(guest.write(0, 64))
  const { owner, peer } = scene.roles()
  await scene.drain()
  assert.equal(new Set(scene.groupNodes().map(blockOf)).size, 2)
  // A whole chassis goes: what lies in the other is enough to read, and its two nodes are enough to write.
  const gone = cluster.names.filter((node) => blockOf(node) === blockOf(owner))
  for (const node of gone) cluster.end(node, 'silent power cut')
  const next = scene.guest(peer)
  const write = next.write(3, 8)
  await scene.done(write, next.read(0, 64))
  assert.ok(write.tookMs < 10_000, `it took ${write.tookMs} ms`)
  const { episode } = scene.describe()!
  assert.equal(new Set(episode!.replicas.map(({ node }) => node)).size, 2)
  await scene.heal()
  await scene.wait(61_000)
  await scene.finish()
})
