/** Extent groups whose copies are gone: who makes them anew, in which order, and what each interruption leaves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { GroupId } from '../../base/ids.ts'
import { GiB, KiB, MiB } from '../../base/units.ts'
import { TestNode } from './fixtures.test.ts'
import { RepairCluster, vdisk } from './repair-cluster.test.ts'

test('copies on a node that is gone are made anew elsewhere, and unlinked there when it is back (I1 I7)', async () => {
  const cluster = await RepairCluster.begin({ groups: 5 })
  const [gone] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
  cluster.disks('gone', gone)
  await cluster.pass(1000)
  cluster.assertFull()
  assert.ok(cluster.groups.every((group) => !cluster.nodesOf(group).includes(gone)))
  assert.deepEqual(cluster.leftBehind, [gone])
  assert.ok(cluster.node.host.statistics().copiesReplaced > 0)
  assert.equal(cluster.served.describe().repair, undefined)
  cluster.disks('up', gone)
  await cluster.pass(1000)
  cluster.assertFull()
  assert.deepEqual(cluster.leftBehind, [])
  assert.equal((await cluster.read(MiB, 1)).toString(), '1')
})

test('a healthy cluster looks at nothing', async () => {
  const cluster = await RepairCluster.begin({ groups: 3 })
  await cluster.pass(5000)
  const before = cluster.node.calls
  cluster.disks('up', 'n2')
  await cluster.pass(1000)
  // One look at what was left behind, the first time.
  assert.ok(cluster.node.calls - before <= 2)
  const again = cluster.node.calls
  cluster.disks('up', 'n2')
  await cluster.pass(1000)
  assert.equal(cluster.node.calls, again)
})

test('a node that comes back before its copies were replaced keeps them', async () => {
  const cluster = await RepairCluster.begin()
  const [group] = cluster.groups
  const before = cluster.row(group).copies
  // Nobody has room: repair waits, and says so.
  for (const disk of cluster.world.extents.values()) disk.usedBytes = disk.capacityBytes
  cluster.disks('gone', 'n2', 'n3', 'n4')
  await cluster.pass(5000)
  const { repair } = cluster.served.describe()
  assert.deepEqual(repair?.endangered, [{ left: 1, groups: 1, bytes: 64 * KiB }])
  assert.match(repair.waitsFor!, /no node is up/)
  cluster.disks('up', 'n2', 'n3', 'n4')
  await cluster.pass(5000)
  assert.deepEqual(cluster.row(group).copies, before)
  assert.equal(cluster.served.describe().repair, undefined)
  assert.equal(cluster.node.host.statistics().copiesReplaced, 0)
})

test('where no disk has room repair waits, says so, keeps the vDisk, and goes on when there is some', async () => {
  const cluster = await RepairCluster.begin({ groups: 3 })
  const [gone] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
  for (const disk of cluster.world.extents.values()) disk.usedBytes = 0.96 * GiB
  cluster.disks('gone', gone)
  await cluster.pass(5000)
  assert.match(cluster.served.describe().repair?.waitsFor ?? '', /no disk .* has room/)
  await cluster.pass(1_000_000)
  assert.equal(cluster.served.stopped, undefined, 'it was given up')
  for (const disk of cluster.world.extents.values()) disk.usedBytes = 0
  await cluster.pass(31_000)
  cluster.assertFull()
  assert.equal(cluster.served.describe().repair, undefined)
  await cluster.pass(200_000)
  assert.notEqual(cluster.served.stopped, undefined, 'it is done, and given up')
})

test('a second death in the middle of repair makes another list, the most endangered first', async () => {
  const cluster = await RepairCluster.begin({ nodes: 6, copies: 3, groups: 12 })
  const order: { group: GroupId; left: number }[] = []
  cluster.node.beforeChange = ({ table }, { put = [] }) => {
    if (table !== 'group') return
    for (const { key } of put) {
      const present = cluster
        .row(key as GroupId)
        .copies.filter(({ node }) => cluster.disk(node).state === 'up')
      order.push({ group: key as GroupId, left: present.length })
    }
  }
  const others = ['n2', 'n3', 'n4', 'n5', 'n6'].filter((node) => cluster.disk(node).files.size > 0)
  cluster.disks('gone', others[0])
  await cluster.pass(15)
  cluster.disks('gone', others[1])
  const from = order.length
  await cluster.pass(5000)
  cluster.assertFull(3, 12)
  const lefts = order.slice(from + 4).map(({ left }) => left)
  assert.ok(lefts.includes(1) && lefts.includes(2))
  const before = lefts.slice(0, lefts.lastIndexOf(1)).filter((left) => left === 2).length
  assert.ok(before <= 4, `groups with two copies went before those with one: ${lefts.join(' ')}`)
})

test('an owner that dies at any step of a repair leaves what the next one ends', async () => {
  let steps = 0
  for (let step = 1; step <= 60; step++) {
    const cluster = await RepairCluster.begin({ groups: 2 })
    const [gone] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
    const old = cluster.node
    const at = old.calls + step
    old.onCall = (calls) => {
      if (calls === at) old.kill()
    }
    cluster.disks('gone', gone)
    await cluster.pass(1000)
    if (old.running) break
    steps++
    await cluster.takeOver(gone === 'n2' ? 'n3' : 'n2')
    await cluster.pass(30_000)
    cluster.assertFull(2, 2)
    cluster.disks('up', gone)
    await cluster.pass(5000)
    cluster.assertFull(2, 2)
    assert.deepEqual(cluster.leftBehind, [])
    for (const group of cluster.groups) assert.equal(cluster.planned(group).length, 2)
  }
  assert.ok(steps > 10, `only ${steps} steps`)
})

test('a swap of an owner that is gone, and arrives late, names nothing that was unlinked', async () => {
  const cluster = await RepairCluster.begin()
  const [group] = cluster.groups
  const [gone] = cluster.nodesOf(group).filter((node) => node !== 'n1')
  const old = cluster.node
  const late = Promise.withResolvers<void>()
  let swaps = 0
  old.beforeChange = ({ table }) => {
    if (table !== 'group') return
    swaps++
    return late.promise
  }
  cluster.disks('gone', gone)
  await cluster.pass(1000)
  assert.equal(swaps, 1)
  // It is back before anybody looks: the row names its copy still, and the arriving one is no copy.
  cluster.disks('up', gone)
  const arriving = cluster.planned(group).at(-1)!
  cluster.node = new TestNode(cluster.world, 'n3')
  // As late as it can come and do harm: when what it would name is unlinked.
  cluster.node.onRemoved = () => late.resolve()
  cluster.served = await cluster.run(cluster.node.host.claim(vdisk, 'no-service'))
  await cluster.pass(30_000)
  assert.equal(cluster.disk(arriving.node).files.has(`${group}.${arriving.number}`), false)
  await late.promise
  await cluster.pass(5000)
  cluster.assertFull(2, 1)
  assert.equal((await cluster.read(0, 1)).toString(), '0')
})

test('a vDisk that is deleted while copies of it are made anew leaves none', async () => {
  for (const ms of [2, 5, 8, 11, 14, 17, 20]) {
    const cluster = await RepairCluster.begin({ groups: 6 })
    const [gone] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
    cluster.disks('gone', gone)
    await cluster.pass(ms)
    await cluster.run(cluster.node.host.delete(vdisk))
    await cluster.pass(10_000)
    cluster.disks('up', gone)
    await cluster.pass(200_000)
    for (const { files } of cluster.world.extents.values()) assert.equal(files.size, 0)
    assert.equal(cluster.world.table('group').size, 0)
  }
})

test('groups that die while they are repaired are freed all the same', async () => {
  for (const ms of [3, 6, 9, 12]) {
    const cluster = await RepairCluster.begin({ groups: 6 })
    const [gone] = cluster.nodesOf(cluster.groups[0]).filter((node) => node !== 'n1')
    cluster.disks('gone', gone)
    await cluster.pass(ms)
    for (let i = 0; i < 6; i++) await cluster.write(i * MiB, Buffer.alloc(64 * KiB, 'x'))
    await cluster.run(cluster.served.drain())
    await cluster.pass(1000)
    cluster.disks('up', gone)
    await cluster.pass(150_000)
    cluster.assertFull()
  }
})

test('whether a vDisk that nobody owns needs an owner is seen without changing anything', async () => {
  const cluster = await RepairCluster.begin({ groups: 3 })
  const [group] = cluster.groups
  const [gone] = cluster.nodesOf(group).filter((node) => node !== 'n1')
  await cluster.pass(200_000)
  assert.notEqual(cluster.served.stopped, undefined)
  const { host } = cluster.node
  const before = JSON.stringify([...cluster.world.table('groups-of').values()].map((rows) => [...rows]))
  const needs = (losses: boolean) => cluster.run(host.needsRepair(vdisk, losses))
  assert.equal(await needs(true), false)
  cluster.disks('gone', gone)
  assert.equal(await needs(true), true)
  assert.equal(await needs(false), false)
  assert.equal(
    JSON.stringify([...cluster.world.table('groups-of').values()].map((rows) => [...rows])),
    before,
  )
  cluster.served = await cluster.run(host.claim(vdisk, 'free'))
  await cluster.pass(200_000)
  cluster.assertFull()
  assert.notEqual(cluster.served.stopped, undefined, 'it was not given up again')
  assert.equal(await needs(true), false, 'what was left behind is no work while its disk is gone')
  cluster.disks('up', gone)
  assert.equal(await needs(false), true, 'it is once the disk is back')
  cluster.served = await cluster.run(host.claim(vdisk, 'free'))
  await cluster.pass(200_000)
  cluster.assertFull()
  assert.equal(await needs(true), false)
})

test('two copies never come to lie on one node, though a disk of it is gone and comes back (I1)', async () => {
  const cluster = await RepairCluster.begin({ nodes: 3, copies: 3 })
  cluster.disks('gone', 'n2', 'n3')
  await cluster.pass(5000)
  assert.match(cluster.served.describe().repair?.waitsFor ?? '', /no node is up that has none/)
  cluster.disks('up', 'n2', 'n3')
  await cluster.pass(5000)
  cluster.assertFull(3)
})

// Seed 940081: of the second one nobody heard again until the next scrub.
test('two bad copies of a group that two find at once are both made anew, each once', async () => {
  const cluster = await RepairCluster.begin({ copies: 3 })
  const [group] = cluster.groups
  const { copies } = cluster.row(group)
  const bad = copies.slice(0, 2)
  for (const { node, number } of bad)
    cluster.disk(node).files.get(`${group}.${number}`)!.pages.fill(0x77, 0, 4096)
  const asked = [...bad, ...bad].map((copy) =>
    cluster.node.host.repairCopy(vdisk, group, copy, 'other bytes'),
  )
  await cluster.run(Promise.all(asked))
  const { copies: now } = cluster.row(group)
  assert.deepEqual(
    now.map(({ node }) => node),
    copies.map(({ node }) => node),
  )
  for (const [i, { number }] of now.entries()) assert.equal(number === copies[i].number, i === 2)
  cluster.assertFull(3)
  assert.equal(cluster.node.host.statistics().copiesRepaired, 2)
  assert.equal((await cluster.read(0, 1)).toString(), '0')
})
