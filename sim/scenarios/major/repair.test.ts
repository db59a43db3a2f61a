/** Repair of extent groups whose copies are gone: what interrupts it, and what must be true of it in the end. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskId, NodeId } from '../../../src/base/ids.ts'
import { MiB } from '../../../src/base/units.ts'
import type { DiskOperation } from '../../sim-disk.ts'
import { quickPace, Scene, type SceneOptions } from './support.ts'

const groups = 6
const sectorsOfGroup = 128

/** Some groups at rest; their owner, and the first node beside it that holds copies. */
async function atRest(
  options: SceneOptions,
  count = groups,
): Promise<{ scene: Scene; owner: NodeId; holder: NodeId }> {
  const scene = await Scene.begin({ sectors: count * sectorsOfGroup, nodes: 5, pace: quickPace, ...options })
  const guest = scene.guest(scene.cluster.names[0])
  for (let group = 0; group < count; group++) {
    await scene.done(guest.write(group * sectorsOfGroup, sectorsOfGroup))
    await scene.drain()
  }
  const owner = scene.owner()!
  const holder = scene.groupNodes().find((node) => node !== owner)!
  return { scene, owner, holder }
}

const isMade = (one: DiskOperation): boolean => one.kind === 'open' && Scene.isGroup(one)
const isWrite = (one: DiskOperation): boolean => one.kind === 'write' && Scene.isGroup(one)

/** On the disks of every node but these: where copies arrive. */
const elsewhere = (scene: Scene, ...nodes: NodeId[]): NodeId[] =>
  scene.cluster.names.filter((node) => !nodes.includes(node))

test('I1: copies of a node that is gone are made anew within seconds, though nobody reads or writes', async () => {
  const { scene, holder } = await atRest({ seed: 1 })
  scene.cluster.lose(holder)
  // Its session has to end first; a second after that repair has begun.
  await scene.until(() => scene.describe()?.repair !== undefined, 3_500)
  await scene.until(() => !scene.groupNodes().includes(holder), 5_000)
  await scene.until(() => scene.describe()?.repair === undefined, 1_000)
  await scene.finish()
})

test('I1: so are those of vDisks that nobody owns, which are given up again', async () => {
  const { scene, owner, holder } = await atRest({
    seed: 2,
    // No sweep finds them: the death itself has to be heard.
    pace: { ...quickPace, idleReleaseMs: 2_000, sweepMs: 60_000 },
  })
  await scene.until(() => scene.owner() === undefined)
  scene.cluster.lose(holder)
  await scene.until(() => !scene.groupNodes().includes(holder), 6_000)
  await scene.until(() => scene.owner() === undefined)
  scene.cluster.end(owner, 'kill')
  await scene.until(() => !scene.groupNodes().includes(owner), 6_000)
  // What lay there is unlinked when it is back: nobody owns the vDisk then.
  await scene.until(() => scene.owner() === undefined)
  await scene.heal()
  await scene.finish()
})

test('I1: an owner that ends at any step of a repair leaves no copy that counts and is none', async () => {
  let came = 0
  for (let moment = 1; moment <= 12; moment++) {
    const { scene, owner, holder } = await atRest({ seed: moment })
    const { cluster } = scene
    // The owner's own disk has nothing to write: it holds a copy of each group already.
    const ends = (): void => {
      if (moment % 3 === 0) scene.world.freeze(owner, 8_000)
      else cluster.end(owner, moment % 3 === 1 ? 'kill' : 'power cut')
    }
    const steps = elsewhere(scene, owner, holder).map((node) =>
      scene.atOperation(node, moment, (one) => one.kind !== 'read' && Scene.isGroup(one), ends),
    )
    cluster.lose(holder)
    await scene.wait(6_000)
    if (steps.some(({ happened }) => happened)) came++
    await scene.heal()
    await scene.done(scene.guest(elsewhere(scene, owner, holder)[0]).read(0, 64))
    await scene.until(() => !scene.groupNodes().includes(holder))
    await scene.finish()
  }
  assert.ok(came >= 6, `only ${came} of the moments came`)
})

test('I1: a second death in the middle of repair is repaired too, also that of the node that copies go to', async () => {
  for (const copies of [2, 3] as const)
    for (const whom of ['target', 'owner'] as const) {
      const { scene, owner, holder } = await atRest({ seed: copies, copies, nodes: copies + 3 })
      const { cluster } = scene
      let second: NodeId | undefined
      for (const node of elsewhere(scene, owner, holder))
        scene.atOperation(node, 2, isWrite, () => {
          if (second !== undefined) return
          second = whom === 'owner' ? owner : node
          // With two copies the owner's was the last of some groups: it comes back.
          if (copies === 3) cluster.lose(second)
          else cluster.end(second, 'power cut')
        })
      cluster.lose(holder)
      await scene.until(() => second !== undefined)
      await scene.wait(10_000)
      await scene.heal()
      await scene.until(() => !scene.groupNodes().includes(holder))
      if (copies === 3) await scene.until(() => !scene.groupNodes().includes(second!))
      await scene.finish()
    }
})

test('M4: a node that comes back in the middle of repair keeps what was not replaced, and loses what was', async () => {
  let kept = 0
  let replaced = 0
  for (let moment = 1; moment <= 3; moment++) {
    // More on each node than copies are made at once.
    const { scene, owner, holder } = await atRest({ seed: 20 + moment, nodes: 3 }, 60)
    const { cluster } = scene
    const before = scene.groupNodes()
    let isBack = false
    for (const node of elsewhere(scene, owner, holder)) {
      // Longer than the node takes to come back: then some copies are not made yet.
      scene.faulty(node, (one) => (isWrite(one) ? { delayMs: 2_500 } : undefined))
      scene.atOperation(node, moment, isWrite, () => {
        if (!isBack) cluster.startNode(holder)
        isBack = true
      })
    }
    cluster.end(holder, 'power cut')
    await scene.until(() => isBack || !scene.groupNodes().includes(holder))
    await scene.wait(8_000)
    if (scene.groupNodes().includes(holder)) kept++
    if (scene.groupNodes().join() !== before.join()) replaced++
    await scene.finish()
  }
  assert.ok(kept > 0 && replaced > 0, `kept ${kept} times, replaced ${replaced} times`)
})

test('I7: groups that die while copies of them are on their way are freed with all that was made', async () => {
  const { scene, owner, holder } = await atRest({ seed: 31 })
  const { cluster } = scene
  let begun = false
  for (const node of elsewhere(scene, owner, holder)) {
    // Longer than it takes to free what is dead.
    scene.faulty(node, (one) => (isMade(one) ? { delayMs: 4_500 } : undefined))
    scene.atOperation(node, 1, isMade, () => (begun = true))
  }
  cluster.end(holder, 'kill')
  await scene.until(() => begun)
  for (const node of elsewhere(scene, owner, holder)) scene.faulty(node, () => undefined)
  await scene.done(scene.guest(owner).write(0, groups * sectorsOfGroup))
  await scene.drain()
  await scene.wait(10_000)
  await scene.heal()
  await scene.finish()
})

test('I1: where disks of two nodes are gone, no node comes to hold two copies', async () => {
  const { scene, owner } = await atRest({ seed: 41, nodes: 3, copies: 3 })
  const { cluster } = scene
  const others = elsewhere(scene, owner)
  for (const node of others)
    scene.faulty(node, ({ kind, path }) =>
      kind === 'sync' && path.startsWith('/disks/flash') ? { fail: 'EIO' } : undefined,
    )
  // It finds that out, and waits for disks that can hold logs.
  const write = scene.guest(owner).write(0, 8)
  await scene.until(() => others.every((node) => !scene.groupDisks().includes(`${node}-flash-0` as DiskId)))
  for (const node of others) cluster.end(node, 'kill')
  await scene.heal()
  await scene.done(write)
  await scene.finish()
})

test('I1: a full target is waited for, and said', async () => {
  const { scene, owner, holder } = await atRest({
    seed: 4,
    nodes: 3,
    capacityBytes: { flash: 64 * MiB, hdd: 64 * MiB },
  })
  const { cluster } = scene
  const [target] = elsewhere(scene, owner, holder)
  let isFull = true
  scene.faulty(target, (one) =>
    isFull && Scene.isGroup(one) && one.kind === 'write' ? { fail: 'ENOSPC' } : undefined,
  )
  cluster.lose(holder)
  await scene.until(() => scene.describe()?.repair?.waitsFor !== undefined, 10_000)
  assert.ok(scene.groupNodes().includes(holder))
  isFull = false
  await scene.until(() => !scene.groupNodes().includes(holder), 40_000)
  await scene.finish()
})

test('M12: what a failed disk alone still holds is copied off it', async () => {
  const { scene, owner, holder } = await atRest({ seed: 5, nodes: 4 })
  const { cluster } = scene
  // The owner's disk fails a sync: no new data, but it can be read; and the other copies are gone.
  scene.faulty(owner, (one) => (one.kind === 'sync' ? { fail: 'EIO' } : undefined))
  cluster.end(holder, 'power cut')
  const guest = scene.guest(owner)
  await scene.ended(guest.write(0, 8))
  const isLost = (disk: string): boolean => disk.startsWith(`${holder}-`) || disk === `${owner}-flash-0`
  await scene.until(() => !scene.groupDisks().some(isLost), 10_000)
  // Nothing rests on that disk any more: a blank one takes its place, and nobody misses anything.
  cluster.end(owner, 'power cut')
  scene.replaceDisk(owner, 'flash')
  scene.faulty(owner, () => undefined)
  cluster.startNode(owner)
  await scene.until(() => cluster.node(owner) !== undefined)
  await scene.readAll()
  await scene.finish()
})
