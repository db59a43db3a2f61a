/** Disks that are being left, in order: copies and logs move off them while guests work, and never are there fewer copies. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupId, NodeId } from '../../base/ids.ts'
import { GiB, KiB, MiB } from '../../base/units.ts'
import { RepairCluster, vdisk } from './repair-cluster.test.ts'

const replicas = (cluster: RepairCluster): string[] =>
  cluster.served.describe().episode?.replicas.map(({ node }) => node) ?? []

const someHolder = (cluster: RepairCluster): string =>
  cluster.nodesOf(cluster.groups[0]).find((node) => node !== 'n1')!

test('copies move off a node that is being left, and are unlinked there', async () => {
  const cluster = await RepairCluster.begin({ groups: 6 })
  const left = someHolder(cluster)
  cluster.leave(left)
  const { repair } = cluster.served.describe()
  assert.equal(repair, undefined, 'nothing is known before it looked')
  await cluster.pass(1000)
  cluster.assertFull()
  assert.equal(cluster.disk(left).files.size, 0)
  assert.deepEqual(cluster.leftBehind, [])
  const { copiesMoved, copiesReplaced, movedBytes, repairedBytes } = cluster.node.host.statistics()
  assert.ok(copiesMoved > 0 && copiesReplaced === 0 && movedBytes === copiesMoved * 64 * KiB)
  assert.equal(repairedBytes, 0)
  assert.equal((await cluster.read(MiB, 1)).toString(), '1')
  // What is written from now on is not placed there.
  for (let i = 0; i < 6; i++) await cluster.write(i * MiB, Buffer.alloc(64 * KiB, 'x'))
  await cluster.run(cluster.served.drain())
  for (const group of cluster.groups) assert.ok(!cluster.nodesOf(group).includes(left))
})

test('the log goes on elsewhere, at once and without an error; reads and writes are served meanwhile', async () => {
  const cluster = await RepairCluster.begin()
  await cluster.write(0, Buffer.alloc(4096, 'a'))
  const left = replicas(cluster).find((node) => node !== 'n1')!
  cluster.leave(left)
  const written = cluster.write(4096, Buffer.alloc(4096, 'b'))
  assert.equal((await cluster.read(0, 1)).toString(), 'a')
  await written
  await cluster.pass(100)
  assert.ok(!replicas(cluster).includes(left))
  await cluster.pass(5000)
  const tails = cluster.world.logs.get(left as NodeId)!.tails(vdisk)
  assert.ok(tails.every(({ first, last }) => last < first))
  assert.equal((await cluster.read(4096, 1)).toString(), 'b')
})

test('what lacks copies goes before what only has to move', async () => {
  const cluster = await RepairCluster.begin({ nodes: 6, copies: 3, groups: 12 })
  const order: ('endangered' | 'moves')[] = []
  cluster.node.beforeChange = ({ table }, { put = [] }) => {
    if (table !== 'group') return
    for (const { key } of put) {
      const { copies } = cluster.row(key as GroupId)
      order.push(copies.some(({ node }) => cluster.disk(node).state === 'gone') ? 'endangered' : 'moves')
    }
  }
  const [left, gone] = ['n2', 'n3', 'n4', 'n5', 'n6'].filter((node) => cluster.disk(node).files.size > 0)
  cluster.leave(left)
  await cluster.pass(12)
  cluster.disks('gone', gone)
  const from = order.length
  await cluster.pass(8000)
  cluster.assertFull(3, 12)
  assert.equal(cluster.disk(left).files.size, 0)
  // Four may have been under way.
  const rest = order.slice(from + 4)
  assert.ok(!rest.slice(0, rest.lastIndexOf('endangered')).includes('moves'), order.join(' '))
})

test('a row never names fewer good copies than before, whatever a move is interrupted by', async () => {
  let steps = 0
  for (let step = 1; step <= 60; step++) {
    const cluster = await RepairCluster.begin({ groups: 2 })
    const left = someHolder(cluster)
    const old = cluster.node
    const at = old.calls + step
    old.onCall = (calls) => {
      if (calls === at) old.kill()
    }
    const whole = (): void => {
      for (const { copies, state } of cluster.world.groupRows().values()) {
        assert.equal(state, 'whole')
        assert.equal(new Set(copies.map(({ node }) => node)).size, 2)
      }
      for (const group of cluster.groups)
        for (const { node, number } of cluster.row(group).copies)
          assert.equal(cluster.disk(node).files.get(`${group}.${number}`)?.finished, true, `${group}`)
    }
    cluster.leave(left)
    for (let ms = 0; ms < 60; ms++) {
      await cluster.pass(1)
      whole()
    }
    await cluster.pass(1000)
    if (old.running) break
    steps++
    await cluster.takeOver(left === 'n2' ? 'n3' : 'n2')
    await cluster.pass(30_000)
    cluster.assertFull(2, 2)
    assert.equal(cluster.disk(left).files.size, 0)
    for (const group of cluster.groups) assert.equal(cluster.planned(group).length, 2)
  }
  assert.ok(steps > 10, `only ${steps} steps`)
})

test('where no disk that stays has room the move waits and says so, and guests do not', async () => {
  const cluster = await RepairCluster.begin({ nodes: 3, groups: 3 })
  const left = someHolder(cluster)
  for (const [node, disk] of cluster.world.extents) if (node !== left) disk.usedBytes = 0.96 * GiB
  cluster.leave(left)
  await cluster.pass(5000)
  const { repair } = cluster.served.describe()
  assert.deepEqual(repair?.endangered, [])
  assert.ok((repair.moving?.groups ?? 0) > 0)
  assert.match(repair.waitsFor ?? '', /no disk that stays/)
  for (const disk of cluster.world.extents.values()) disk.usedBytes = 0
  await cluster.pass(31_000)
  cluster.assertFull()
  assert.equal(cluster.disk(left).files.size, 0)
})

test('a move that is taken back in the middle leaves whole copies, wherever they are then', async () => {
  for (const ms of [3, 6, 9, 12, 20]) {
    const cluster = await RepairCluster.begin({ groups: 6 })
    cluster.leave(someHolder(cluster))
    await cluster.pass(ms)
    cluster.leave()
    await cluster.pass(5000)
    cluster.assertFull()
    assert.equal(cluster.served.describe().repair, undefined)
  }
})

test('a vDisk that nobody owns is found where its index names a disk that is being left', async () => {
  const cluster = await RepairCluster.begin({ groups: 2 })
  const left = someHolder(cluster)
  await cluster.pass(200_000)
  assert.notEqual(cluster.served.stopped, undefined)
  const { host } = cluster.node
  assert.equal(await cluster.run(host.needsRepair(vdisk, true)), false)
  cluster.leave(left)
  assert.equal(await cluster.run(host.needsRepair(vdisk, true)), true)
  cluster.served = await cluster.run(host.claim(vdisk, 'free'))
  await cluster.pass(200_000)
  cluster.assertFull()
  assert.notEqual(cluster.served.stopped, undefined, 'it was not given up again')
  assert.equal(await cluster.run(host.needsRepair(vdisk, true)), false)
})

test('copies that lie in fewer blocks than they could move, last of all, and never back', async () => {
  const cluster = await RepairCluster.begin({ nodes: 4, groups: 8 })
  const inBlock = (node: string, block: string): void => {
    cluster.disk(node).block = block
    cluster.world.logs.get(node as NodeId)!.block = block
  }
  for (const node of ['n1', 'n2', 'n3', 'n4']) inBlock(node, ['n1', 'n2'].includes(node) ? 'a' : 'b')
  cluster.disks('up', 'n1')
  await cluster.pass(5000)
  // All was where it should be, or is now.
  const blocksOf = (group: GroupId) => new Set(cluster.nodesOf(group).map((node) => cluster.disk(node).block))
  const whole = (): void => {
    cluster.assertFull()
    for (const group of cluster.groups) assert.equal(blocksOf(group).size, 2)
    assert.equal(cluster.served.describe().repair, undefined)
  }
  await cluster.pass(30_000)
  whole()
  const [other] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
  for (const node of ['n2', 'n3', 'n4']) inBlock(node, node === other ? 'a' : 'b')
  cluster.disks('up', 'n1')
  await cluster.pass(5000)
  whole()
  const { copiesMoved } = cluster.node.host.statistics()
  assert.ok(copiesMoved > 0)
  cluster.disks('up', 'n1')
  await cluster.pass(5000)
  assert.equal(cluster.node.host.statistics().copiesMoved, copiesMoved, 'nothing moves twice')
})
