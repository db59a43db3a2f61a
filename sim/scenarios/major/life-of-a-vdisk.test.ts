import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { VDiskId } from '../../../src/base/ids.ts'
import { MiB } from '../../../src/base/units.ts'
import { vDiskStates } from '../../metadata-check.ts'
import { Scene } from './support.ts'

const stateIn = ({ cluster }: Scene, id: number) => vDiskStates(cluster.database).get(id as VDiskId)?.state

test('M5: what was cut off reads as zeros when the vDisk grows again, whenever its owner dies', async () => {
  for (const [steps, drained] of [
    [4, true],
    [20, true],
    [28, false],
    [60, true],
    [200, false],
  ] as const) {
    const scene = await Scene.begin({ seed: steps, sectors: 1024 })
    const { cluster } = scene
    const guest = scene.guest(cluster.names[0])
    await scene.done(guest.write(500, 200), guest.write(0, 8))
    if (drained) await scene.drain()
    await scene.done(guest.write(900, 100))
    const { owner, others } = scene.roles()
    const other = scene.guest(others[0])
    // In the middle of a page.
    const shrink = other.resize(603)
    await scene.steps(steps)
    cluster.end(owner, 'power cut')
    await scene.done(shrink)
    await scene.done(other.read(0, 8))
    assert.equal(scene.sizeOf(), 603)
    const beyond = other.write(604, 8)
    await scene.ended(beyond)
    assert.ok(hasCode(beyond.error, 'REFUSED'), String(beyond.error))
    const grow = other.resize(1024)
    await scene.steps(steps)
    await scene.done(grow)
    await scene.done(other.read(500, 524), other.write(1000, 24))
    // The end is where a write beyond it was acknowledged, also for the next owner.
    const next = scene.owner()!
    cluster.end(next, 'kill')
    cluster.startNode(owner)
    await scene.until(() => cluster.node(owner) !== undefined)
    await scene.done(scene.guest(owner).read(0, 1024))
    assert.equal(scene.sizeOf(), 1024)
    await scene.finish()
  }
})

test('M9: two nodes that forward to each other more than their queues hold go on', async () => {
  const scene = await Scene.begin({ vdisks: ['u', 'v'], sectors: 12 * 1024 })
  const { cluster, world } = scene
  const [a, b] = cluster.names
  await scene.done(scene.guest(a, 'u').write(0, 8), scene.guest(b, 'v').write(0, 8))
  for (const [from, to] of [
    [a, b],
    [b, a],
  ])
    world.network.delay(from, to, 5)
  const [toA, toB] = [scene.guest(b, 'u'), scene.guest(a, 'v')]
  const writes = Array.from({ length: 24 }, (_, i) => [toA, toB].map((guest) => guest.write(512 * i, 511)))
  await scene.done(...writes.flat())
  const slowest = Math.max(...writes.flat().map(({ tookMs }) => tookMs))
  assert.ok(slowest < 10_000, `the slowest took ${slowest} ms`)
  await scene.finish()
})

test('M14: a vDisk whose log nobody has waits, says what it waits for, and is whole when one of its disks is back', async () => {
  const scene = await Scene.begin({ nodes: 4 })
  const { cluster } = scene
  const guest = scene.guest(cluster.names[0])
  await scene.done(guest.write(0, 64))
  const { owner, peer, others } = scene.roles()
  cluster.end(owner, 'silent power cut')
  cluster.end(peer, 'silent power cut')
  const read = scene.guest(others[0]).read(0, 64)
  await scene.ended(read)
  assert.ok(hasCode(read.error, 'UNAVAILABLE'), String(read.error))
  for (const node of [owner, peer]) assert.match(read.error.message, new RegExp(`${node}-flash-0`))
  cluster.startNode(peer)
  const again = scene.guest(others[1]).read(0, 64)
  await scene.done(again)
  assert.ok(again.tookMs < 10_000, `it took ${again.tookMs} ms`)
  await scene.finish()
})

test('M21: a vDisk that is deleted under its guests answers as one that is not there, and leaves nothing behind', async () => {
  for (const [steps, how] of [
    [5, 'power cut'],
    [25, 'kill'],
    [45, 'power cut'],
    [85, 'freeze'],
    [400, 'power cut'],
    [0, 'nothing'],
  ] as const) {
    const scene = await Scene.begin({ seed: steps, vdisks: ['v', 'w'] })
    const { cluster, world } = scene
    const guest = scene.guest(cluster.names[0])
    await scene.done(guest.write(0, 128))
    await scene.drain()
    await scene.done(guest.write(64, 128), scene.guest(cluster.names[1], 'w').write(0, 8))
    const { owner, others } = scene.roles()
    const writes = [0, 40, 80].map((first) => guest.write(first, 16))
    const away = scene.guest(others[0]).write(120, 16)
    const deletion = scene.guest(others[0]).delete()
    await scene.steps(steps)
    if (how === 'freeze') world.freeze(owner, 6_000)
    else if (how !== 'nothing') cluster.end(owner, how)
    await scene.ended(...writes, away, deletion)
    await scene.heal()
    if (deletion.error !== undefined) await scene.done(scene.guest(others[0]).delete())
    for (const node of cluster.names) {
      const late = scene.guest(node).write(0, 8)
      await scene.ended(late)
      assert.ok(hasCode(late.error, 'NOT_FOUND'), `${node}: ${String(late.error)}`)
    }
    // Those who had it open are told so too.
    const open = scene.guest(others[0]).read(0, 8)
    await scene.ended(open)
    assert.ok(hasCode(open.error, 'NOT_FOUND'), String(open.error))
    await scene.finish({ empty: true })
  }
})

test('a deletion that was held up spares the vDisk that has the name by now', async () => {
  const scene = await Scene.begin()
  const { cluster, world } = scene
  const [held, via] = cluster.names
  const vdisk = { container: 'c', name: 'd' }
  const stateOf = ({ id }: { id: number }) => stateIn(scene, id)

  const first = await scene.ask(via, (management) => management.createVDisk({ ...vdisk, sizeBytes: MiB }))
  const deletion = scene.beside(() => cluster.node(held)!.management.deleteVDisk(vdisk, { force: true }))
  await scene.until(() => stateOf(first) !== 'live')
  world.freeze(held)
  assert.ok(!deletion.ended)
  assert.equal(
    (await scene.ask(via, (management) => management.listVDisks())).length,
    2,
    'the name is there still',
  )

  await scene.ask(via, (management) => management.deleteVDisk(vdisk, { force: true }))
  const second = await scene.ask(via, (management) => management.createVDisk({ ...vdisk, sizeBytes: MiB }))
  world.thaw(held)
  await scene.until(() => deletion.ended)
  assert.equal((await scene.ask(via, (management) => management.showVDisk(vdisk))).id, second.id)
  assert.equal(stateOf(second), 'live')
})

test('of a container that was made again meanwhile nothing is deleted', async () => {
  const scene = await Scene.begin()
  const { cluster, world } = scene
  const [held, via] = cluster.names
  const vdisks = ['w', 'x'].map((name) => ({ container: 'k', name }))
  const make = async (): Promise<number[]> => {
    await scene.ask(via, (management) => management.createContainer({ name: 'k', copies: 2 }))
    const ids: number[] = []
    for (const vdisk of vdisks)
      ids.push(
        (await scene.ask(via, (management) => management.createVDisk({ ...vdisk, sizeBytes: MiB }))).id,
      )
    return ids
  }
  const stateOf = (id: number) => stateIn(scene, id)

  const [first] = await make()
  const deletion = scene.beside(() => cluster.node(held)!.management.deleteContainer('k', { force: true }))
  await scene.until(() => stateOf(first) !== 'live')
  world.freeze(held)
  assert.ok(!deletion.ended)
  await scene.ask(via, (management) => management.deleteContainer('k', { force: true }))
  const again = await make()
  world.thaw(held)
  await scene.until(() => deletion.ended)
  for (const [i, vdisk] of vdisks.entries()) {
    assert.equal((await scene.ask(via, (management) => management.showVDisk(vdisk))).id, again[i])
    assert.equal(stateOf(again[i]), 'live')
  }
  assert.equal((await scene.ask(via, (management) => management.showContainer('k'))).copies, 2)
})
