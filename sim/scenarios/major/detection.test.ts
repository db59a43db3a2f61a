/** Who is dead, for whom, and how soon that is known: nodes that fall silent, and disks that give no answer. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import type { SessionValue } from '../../../src/zeus/zeus.ts'
import { quickPace, Scene } from './support.ts'

const pace = { ...quickPace, idleReleaseMs: 60_000 }

/** Nodes that a node takes for alive, as it answers who asks it. */
async function aliveTo(scene: Scene, node: NodeId): Promise<string[]> {
  let alive: string[] = []
  await scene.world.play(async () => {
    const nodes = await scene.cluster.node(node)!.management.listNodes()
    alive = nodes.filter(({ state }) => state === 'up').map(({ id }) => id)
  })
  return alive
}

/** Disks that some node's session shows as out of service. */
function outOfService(scene: Scene): string[] {
  const rows = scene.cluster.database
    .prepare<[], { json: string }>(
      "SELECT json FROM zeus_keys WHERE key GLOB 'session/*' AND json IS NOT NULL",
    )
    .all()
  return rows
    .flatMap(({ json }) => (JSON.parse(json) as SessionValue).disks)
    .filter(({ state }) => state !== 'online')
    .map(({ id }) => id)
}

test('the death of a node is known to every other within 2 s, however it died', async () => {
  for (const how of ['kill', 'silent power cut', 'freeze', 'isolate'] as const)
    for (let seed = 1; seed <= 3; seed++) {
      const scene = await Scene.begin({ seed, nodes: 5, pace })
      const { cluster, world } = scene
      await scene.done(scene.guest(cluster.names[0]).write(0, 8))
      await scene.wait(1_000 + 130 * seed)
      const victim = cluster.names[seed % 5]
      const died = world.now
      if (how === 'freeze') world.freeze(victim, 60_000)
      else if (how === 'isolate') world.isolate(victim)
      else cluster.end(victim, how)
      const unaware = new Set<NodeId>(cluster.names.filter((name) => name !== victim))
      while (unaware.size > 0) {
        await scene.wait(25)
        for (const other of unaware)
          if (!(await aliveTo(scene, other)).includes(victim)) unaware.delete(other)
        const took = Math.round(world.now - died)
        assert.ok(took < 2_000, `${how}: after ${took} ms ${[...unaware].join(' and ')} had not heard of it`)
      }
      await scene.finish()
    }
})

test('M16: an owner that hears the store and no node is replaced within 6 s', async () => {
  for (let seed = 1; seed <= 4; seed++) {
    const scene = await Scene.begin({ seed, nodes: 4, pace })
    const { cluster, world } = scene
    await scene.done(scene.guest(cluster.names[0]).write(0, 8))
    const { owner, peer, others } = scene.roles()
    // The one that keeps the other copy of its log, or one that keeps none.
    const guest = scene.guest(seed % 2 === 0 ? peer : others[0])
    await scene.done(guest.read(0, 8))
    await scene.wait(37 * seed)
    for (const other of cluster.names) if (other !== owner) world.cut(owner, other, { oneWay: seed === 3 })
    const write = guest.write(4, 8)
    await scene.done(write)
    assert.ok(write.tookMs < 6_000, `it took ${write.tookMs} ms`)
    assert.notEqual(scene.owner(), owner)
    await scene.finish()
  }
})

test('M16: a node that hears the store and no node takes nothing from those that serve', async () => {
  for (let seed = 1; seed <= 3; seed++) {
    const scene = await Scene.begin({ seed, nodes: 4, pace })
    const { cluster, world } = scene
    await scene.done(scene.guest(cluster.names[0]).write(0, 8))
    const { owner, others } = scene.roles()
    const [lonely, far] = others
    const guest = scene.guest(lonely)
    await scene.done(guest.read(0, 8))
    const { epoch } = scene.hosted(owner)!
    for (const other of cluster.names) if (other !== lonely) world.cut(lonely, other)
    const late = guest.write(4, 8)
    for (let second = 0; second < 20; second++) {
      const write = scene.guest(far).write(16, 8)
      await scene.done(write)
      assert.ok(write.tookMs < 1_000, `it took ${write.tookMs} ms`)
      await scene.wait(1_000)
    }
    assert.equal(scene.owner(), owner)
    assert.equal(scene.hosted(owner)!.epoch, epoch)
    assert.equal(late.answered, false)
    await scene.finish()
  }
})

test('M12: a disk that gives no answer has failed after ten seconds, and holds up reads for two', async () => {
  for (const where of ['owner', 'holder'] as const) {
    const scene = await Scene.begin({ seed: 3, nodes: 4, sectors: 1024, pace })
    const { cluster } = scene
    await scene.done(scene.guest(cluster.names[0]).write(0, 512))
    await scene.drain()
    const owner = scene.owner()!
    const victim = where === 'owner' ? owner : scene.groupNodes().find((node) => node !== owner)!
    scene.faulty(victim, (one) => (Scene.isGroup(one) ? { delayMs: 120_000 } : undefined))
    const guest = scene.guest(owner)
    const reads = [0, 100, 200, 300, 400].map((at) => guest.read(at, 8))
    // They go to the log; one of their drains meets the disk.
    const writes = [guest.write(512, 64)]
    for (let i = 1; i < 8; i++) {
      await scene.wait(300)
      writes.push(guest.write(512 + 64 * i, 64))
    }
    await scene.done(...writes, ...reads)
    for (const { tookMs } of [...writes, ...reads]) assert.ok(tookMs < 3_000, `it took ${tookMs} ms`)
    await scene.until(() => outOfService(scene).length > 0, 17_000)
    assert.deepEqual(outOfService(scene), [`${victim}-flash-0`])
    await scene.until(() => scene.describe()?.undrainedBytes === 0, 20_000)
    await scene.until(() => !scene.groupDisks().some((disk) => disk.startsWith(victim)), 20_000)
    scene.faulty(victim, () => undefined)
    cluster.end(victim, 'kill')
    await scene.finish()
  }
})

test('what stops all disks is no disk: none has failed when they go on', async () => {
  const scene = await Scene.begin({ seed: 4, nodes: 4, sectors: 1024, pace })
  const { cluster } = scene
  const guests = cluster.names.map((name) => scene.guest(name))
  await scene.done(guests[0].write(0, 512))
  await scene.drain()
  for (const name of cluster.names) scene.faulty(name, () => ({ delayMs: 25_000 }))
  for (const [index, guest] of guests.entries()) guest.write(100 * index, 8)
  await scene.wait(40_000)
  assert.deepEqual(outOfService(scene), [])
  await scene.finish()
})

test('a process that stood still takes none of its disks for dead, however long it stood', async () => {
  for (const seed of [5, 6, 7]) {
    const scene = await Scene.begin({ seed, nodes: 4, sectors: 1024, pace })
    const { cluster, world } = scene
    await scene.done(scene.guest(cluster.names[0]).write(0, 512))
    const owner = scene.owner()!
    scene.faulty(owner, () => ({ delayMs: 5 }))
    scene.guest(owner).write(512, 256)
    // While its disks have something under way.
    await scene.wait(seed)
    world.freeze(owner, 40_000)
    await scene.wait(45_000)
    assert.deepEqual(outOfService(scene), [])
    await scene.finish()
  }
})
