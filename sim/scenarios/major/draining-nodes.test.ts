/** Nodes and disks that are left in order: what interrupts it, what guests notice, and what must be true in the end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { DiskRef, NodeId } from '../../../src/base/ids.ts'
import { findOnDisks } from '../../drained.ts'
import { groups, Orderly, orderlyPace as pace, sectorsOfGroup } from './orderly-support.ts'
import { Scene } from './support.ts'

const of =
  (node: NodeId) =>
  (disk: DiskRef): boolean =>
    disk.node === node

test('a node is drained while guests write: groups, logs and vDisks leave it, and nothing comes back', async () => {
  for (const whom of ['owner', 'holder', 'peer'] as const) {
    const told = await Orderly.begin({ seed: 1 })
    const { scene, stage } = told
    const node = whom === 'peer' ? scene.roles().peer : told[whom]
    const guest = scene.guest(scene.cluster.names.find((one) => one !== node)!)
    const here = scene.guest(node)
    await scene.done(here.read(0, 8))
    await stage.drain(node)
    let longest = 0
    for (let i = 0; i < 60; i++) {
      const write = guest.write((i % groups) * sectorsOfGroup + 8, 32)
      const other = here.write((i % groups) * sectorsOfGroup + 64, 8)
      await scene.done(write, other)
      longest = Math.max(longest, write.tookMs, other.tookMs)
      await scene.wait(100)
    }
    assert.ok(longest < 3_000, `a guest waited for ${Math.round(longest)} ms`)
    assert.ok(scene.describe()!.episode!.replicas.every((replica) => replica.node !== node))
    await stage.drained(node)
    assert.ok(!scene.groupNodes().includes(node))
    // Written anew, a group is placed elsewhere.
    await scene.done(guest.write(0, sectorsOfGroup))
    await scene.drain()
    assert.deepEqual(findOnDisks(scene.cluster, of(node)), [])
    await scene.finish()
  }
})

test('an owner that ends at any step of a drain leaves whole copies, and another goes on with it', async () => {
  let came = 0
  for (let moment = 1; moment <= 12; moment++) {
    const { scene, stage, owner, holder } = await Orderly.begin({ seed: moment })
    const { cluster } = scene
    const ends = (): void => {
      if (moment % 3 === 0) scene.world.freeze(owner, 8_000)
      else cluster.end(owner, moment % 3 === 1 ? 'kill' : 'power cut')
    }
    const others = cluster.names.filter((node) => node !== owner && node !== holder)
    const steps = others.map((node) =>
      scene.atOperation(node, moment, (one) => one.kind !== 'read' && Scene.isGroup(one), ends),
    )
    await stage.drain(holder, owner)
    await scene.wait(6_000)
    if (steps.some(({ happened }) => happened)) came++
    await scene.heal()
    await scene.done(scene.guest(others[0]).read(0, 64))
    await stage.drained(holder)
    await scene.finish()
  }
  assert.ok(came >= 6, `only ${came} of the moments came`)
})

test('a drain outlives the node itself, all nodes at once, and the store; taken back it ends where it is', async () => {
  const { scene, stage, holder } = await Orderly.begin({ seed: 3 })
  const { cluster } = scene
  await stage.drain(holder)
  await scene.wait(20)
  cluster.killStore()
  cluster.end(holder, 'power cut')
  await scene.wait(500)
  for (const node of cluster.running()) cluster.end(node, 'power cut')
  await scene.heal()
  await stage.drained(holder)
  await stage.ask((management) => management.changeNode(holder, { mode: 'active' }))
  assert.deepEqual(await stage.leaving(), [])
  await scene.finish()
})

test('a disk is drained to other disks, of its own node too, and vDisks that nobody owns are found', async () => {
  const { scene, stage, holder } = await Orderly.begin({
    seed: 4,
    pace: { ...pace, idleReleaseMs: 2_000, sweepMs: 60_000 },
  })
  await scene.until(() => scene.owner() === undefined)
  const disk = `${holder}-hdd-0`
  const flash = `${holder}-flash-0`
  await assert.rejects(
    stage.ask((management) => management.changeDisk(flash, { mode: 'draining' })),
    (error: Error) => hasCode(error, 'REFUSED') && /last flash disk/.test(error.message),
  )
  await stage.ask((management) => management.changeDisk(disk, { mode: 'draining' }))
  await stage.done()
  assert.deepEqual(
    findOnDisks(scene.cluster, (one) => one.disk === disk),
    [],
  )
  // The node as a whole: its flash disk holds what nobody owns.
  await stage.drain(holder)
  await scene.until(() => !scene.groupNodes().includes(holder), 20_000)
  await scene.until(() => scene.owner() === undefined)
  await scene.finish()
})

test('what would make writes wait is refused with the reason', async () => {
  const { scene, stage, owner, holder } = await Orderly.begin({ seed: 5, nodes: 3 })
  await stage.drain(holder)
  const third = scene.cluster.names.find((node) => node !== owner && node !== holder)!
  await assert.rejects(
    stage.drain(third),
    (error: Error) => hasCode(error, 'REFUSED') && /their writes would wait/.test(error.message),
  )
  await stage.ask((management) => management.changeNode(holder, { mode: 'active' }))
  await stage.drain(third)
  await stage.drained(third)
  await scene.finish()
})

test('a death in the middle goes before the drain, also that of the node itself', async () => {
  for (const whom of ['leaving', 'another'] as const) {
    const { scene, stage, owner, holder } = await Orderly.begin({ seed: 6, nodes: 6 })
    const { cluster } = scene
    const other = cluster.names.find((node) => node !== owner && node !== holder)!
    await stage.drain(holder)
    await scene.wait(50)
    const lost = whom === 'leaving' ? holder : other
    cluster.lose(lost)
    await scene.until(() => findOnDisks(cluster, of(lost)).length === 0, 20_000)
    await scene.heal()
    await scene.done(scene.guest(owner).read(0, 64))
    if (whom === 'another') await stage.drained(holder)
    await scene.finish()
  }
})

test('a drain that waits for room, or for another log disk, is never said to be done', async () => {
  const { scene, stage, holder } = await Orderly.begin({ seed: 7, nodes: 3 })
  const { cluster } = scene
  await stage.drain(holder)
  // The third node dies at once: logs and copies have nowhere else to go, and guests are served all the same.
  const third = cluster.names.find((node) => node !== holder && node !== scene.owner())!
  cluster.end(third, 'power cut')
  const guest = scene.guest(scene.owner()!)
  await scene.done(guest.write(0, 32))
  for (let i = 0; i < 8; i++) {
    await scene.wait(1_000)
    await scene.done(guest.write(i * 8, 8))
    const [told] = await stage.leaving()
    const isEmpty = findOnDisks(cluster, of(holder)).length === 0
    assert.ok(!told.done || isEmpty, `${told.sentence}, and there is\n${findOnDisks(cluster, of(holder))[0]}`)
    if (i > 4) assert.ok(told.logs > 0, told.sentence)
  }
  cluster.startNode(third)
  await stage.drained(holder)
  await scene.finish()
})
