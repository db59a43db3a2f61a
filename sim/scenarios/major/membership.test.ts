import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import { KiB, MiB } from '../../../src/base/units.ts'
import type { NodeInfo } from '../../../src/management/management.ts'
import { findMetadataFaults } from '../../metadata-check.ts'
import { type Request, Scene } from './support.ts'

test('M2: a log peer that comes back with blank disks is another: what it held is on two nodes again', async () => {
  for (const [tiers, downMs] of [
    [['flash'], 0],
    [['flash', 'hdd'], 0],
    [['flash'], 700],
    [['flash'], 4_000],
  ] as const) {
    const scene = await Scene.begin({ seed: downMs + tiers.length, nodes: 3 })
    const { cluster } = scene
    const guest = scene.guest(cluster.names[0])
    for (let i = 0; i < 6; i++) await scene.done(guest.write(10 * i, 16))
    const { owner, peer } = scene.roles()
    cluster.end(peer, 'power cut')
    for (const tier of tiers) scene.replaceDisk(peer, tier)
    await scene.wait(downMs)
    cluster.startNode(peer)
    const write = guest.write(100, 8)
    await scene.done(write)
    assert.ok(write.tookMs < 5_000, `it took ${write.tookMs} ms`)
    await scene.until(() => cluster.node(peer) !== undefined)
    await scene.wait(6_000)
    cluster.end(owner, 'silent power cut')
    await scene.readAll(cluster.serving())
    await scene.finish()
  }
})

test('M20: guests are told that there is no space while drains have some, and deleting gives it back', async () => {
  const scene = await Scene.begin({
    vdisks: ['u', 'v'],
    sectors: 64 * 1024,
    capacityBytes: { flash: 24 * MiB, hdd: 8 * MiB },
  })
  const { cluster } = scene
  const fill = async (vdisk: string, least: number): Promise<Request> => {
    const guest = scene.guest(cluster.names[vdisk === 'u' ? 0 : 1], vdisk)
    for (let at = 0; ; at += 1024) {
      const write = guest.write(at, 1024)
      await scene.ended(write)
      if (write.error !== undefined || at + 1024 >= least) return write
      // No faster than the room that is left is looked at, for how small the reserve of these disks is.
      await scene.wait(1_100)
    }
  }
  assert.equal((await fill('u', 32 * 1024)).error, undefined)
  const full = await fill('v', 64 * 1024)
  assert.ok(hasCode(full.error, 'OUT_OF_SPACE'), String(full.error))
  // What was acknowledged has room to be drained, and is there.
  for (const vdisk of ['u', 'v']) {
    await scene.drain(vdisk)
    assert.ok(scene.row(vdisk).drained >= scene.describe(vdisk)!.acknowledged)
  }
  await scene.readAll([cluster.names[2]])
  await scene.settled('map, groups and files agree', () => findMetadataFaults(cluster))
  // A full cluster takes a vDisk over, too.
  await scene.done(scene.guest(cluster.names[1], 'v').read(0, 8))
  const owner = scene.owner('v')!
  cluster.end(owner, 'power cut')
  const read = scene.guest(cluster.names[2], 'v').read(0, 1024)
  await scene.done(read)
  assert.ok(read.tookMs < 6_000, `it took ${read.tookMs} ms`)
  await scene.heal()
  await scene.done(scene.guest(cluster.names[2], 'u').delete())
  await scene.wait(20_000)
  await scene.done(scene.guest(cluster.names[0], 'v').write(60 * 1024, 1024))
  scene.checkHistories()
  await scene.settled('what was deleted is gone', () => findMetadataFaults(cluster))
  scene.end()
})

test('all nodes lose power and start again in any order, one of them later: all that was promised is there', async () => {
  const orders = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
  ]
  for (const [i, order] of orders.entries()) {
    const scene = await Scene.begin({ seed: i, vdisks: ['u', 'v', 'w'] })
    const { cluster } = scene
    const vdisks = ['u', 'v', 'w']
    const guests = vdisks.map((vdisk, k) => scene.guest(cluster.names[k], vdisk))
    for (const guest of guests) await scene.done(guest.write(0, 64), guest.write(33, 64))
    if (i % 2 === 0) await scene.drain('u')
    const unanswered = guests.map((guest) => guest.write(50, 30))
    await scene.steps(7 * i)
    cluster.killStore()
    for (const node of cluster.names) cluster.end(node, i % 3 === 0 ? 'silent power cut' : 'power cut')
    await scene.ended(...unanswered)
    await scene.wait(1_000)
    cluster.startStore()
    const [first, second, missing] = order.map((k) => cluster.names[k])
    cluster.startNode(first)
    await scene.wait(500)
    cluster.startNode(second)
    await scene.until(() => cluster.serving().length === 2, 20_000)
    // Each vDisk has two copies of everything: one of them is here.
    for (const vdisk of vdisks)
      for (const node of [first, second]) {
        const read = scene.guest(node, vdisk).read(0, 128)
        const write = scene.guest(node, vdisk).write(120, 8)
        await scene.done(read, write)
        assert.ok(read.tookMs < 15_000 && write.tookMs < 15_000, `${read.tookMs}, ${write.tookMs} ms`)
      }
    cluster.startNode(missing)
    await scene.finish({ empty: true })
  }
})

test('what is set for a node while Zeus does not hear of it holds when its session is back (seed 2505128686)', async () => {
  const scene = await Scene.begin({ nodes: 3 })
  const { cluster, world } = scene
  const [far, near] = cluster.names
  world.cut(far, 'store')
  await scene.wait(4_000)
  let told: NodeInfo | undefined
  await world.play(async () => {
    told = await cluster.node(near)!.management.changeNode(far, { cacheBytes: 64 * KiB })
  })
  assert.equal(told?.state, 'down')
  await scene.heal()
  await scene.wait(4_000)
  await world.play(async () => {
    const { management } = cluster.node(far)!
    told = await management.showNode(far)
    const samples = await management.statistics()
    assert.equal(samples.find(({ name }) => name.endsWith('extent_cache_limit_bytes'))?.value, 64 * KiB)
  })
  assert.equal(told.cache?.limitBytes, 64 * KiB)
  await scene.finish()
})
