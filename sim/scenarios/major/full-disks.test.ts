/** Disks that are filled to the brim: what gives space back goes on there (I10). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { NodeId } from '../../../src/base/ids.ts'
import { MiB } from '../../../src/base/units.ts'
import { SeededChance } from '../../seeded-chance.ts'
import { pathOfDisk } from '../../cluster.ts'
import { findMetadataFaults } from '../../metadata-check.ts'
import { quickPace, Scene, type SceneOptions } from './support.ts'

const sectorsOfWrite = 256
const segmentBytes = MiB / 2

const begin = (options: SceneOptions): Promise<Scene> =>
  Scene.begin({ pace: quickPace, oplogSegmentBytes: segmentBytes, ...options })

/** All nodes end at once, and begin again. */
async function restart(
  scene: Scene,
  how: 'kill' | 'power cut',
  meanwhile: (node: NodeId) => void = () => undefined,
): Promise<void> {
  const { cluster } = scene
  for (const node of cluster.names) cluster.end(node, how)
  for (const node of cluster.names) {
    meanwhile(node)
    cluster.startNode(node)
  }
  await scene.until(() => cluster.serving().length === cluster.names.length)
}

const takeHddAway = (scene: Scene, node: NodeId): void =>
  scene.faulty(node, ({ path }) => (path.startsWith(pathOfDisk('hdd')) ? { fail: 'EIO' } : undefined))
const giveHddBack = (scene: Scene, node: NodeId): void => scene.faulty(node, () => undefined)

test('I10: the log of a disk that drains and copies have filled takes fences, restart after restart', async () => {
  const writes = 120
  const scene = await begin({
    ...{ seed: 3, nodes: 4, sectors: writes * sectorsOfWrite },
    capacityBytes: { flash: 12 * MiB },
  })
  const { cluster } = scene
  for (let i = 0; i < writes; i++) {
    await scene.done(scene.guest(cluster.names[0]).write(i * sectorsOfWrite, sectorsOfWrite))
    await scene.drain()
  }
  // Half a page: its drain has to read the other half, which lies on hdd.
  const at = (writes - 1) * sectorsOfWrite
  await scene.done(scene.guest(scene.owner()!).write(at + 1, 1))
  await restart(scene, 'power cut', (node) => takeHddAway(scene, node))
  // What lay on hdd is made anew on flash, as much as has room there.
  const read = scene.guest(cluster.names[0]).read(at, 8)
  await scene.wait(20_000)
  assert.equal(read.answered, false)
  for (let times = 0; times < 3; times++) await restart(scene, 'power cut')
  await restart(scene, 'kill', (node) => giveHddBack(scene, node))
  await scene.finish()
})

test('I10: both tiers full, guests that write, and all nodes restarted again and again', async () => {
  for (const seed of [1, 2]) {
    const scene = await begin({
      ...{ seed, nodes: 3, sectors: 64 * 1024, vdisks: ['u', 'v'] },
      capacityBytes: { flash: 20 * MiB, hdd: 8 * MiB },
    })
    const { cluster } = scene
    await fill(scene, 'u', 24 * 1024)
    await fill(scene, 'v', scene.sectors)
    for (let times = 0; times < 5; times++) {
      // Ragged ones: each needs a new group for what it leaves of the old one.
      const guest = scene.guest(cluster.names[times % 3], 'v')
      for (let i = 0; i < 12; i++) guest.write(i * 515 + times * 31, 33)
      await scene.wait(1_500)
      await restart(scene, times % 2 === 0 ? 'power cut' : 'kill')
    }
    await deletedAndDrained(scene)
  }
})

test('I10: what is in the log of full disks waits there through restarts, and is drained once there is room', async () => {
  for (const seed of [1, 2]) {
    const scene = await begin({
      ...{ seed, nodes: 3, sectors: 64 * 1024, vdisks: ['u', 'v'] },
      capacityBytes: { flash: 20 * MiB, hdd: 8 * MiB },
    })
    const { cluster } = scene
    await fill(scene, 'u', 24 * 1024)
    const guest = scene.guest(cluster.names[0], 'v')
    const writes = Array.from({ length: 12 }, (_, i) => guest.write(i * 515, 256))
    await scene.ended(...writes)
    for (const node of cluster.names) cluster.end(node, 'power cut')
    for (const node of cluster.names) {
      await scene.fillDisk(node, 'flash', 6 * segmentBytes + seed * 200_000)
      await scene.fillDisk(node, 'hdd', 0)
    }
    for (let times = 0; times < 5; times++) {
      await restart(scene, times % 2 === 0 ? 'power cut' : 'kill')
      await scene.wait(times * 1_000)
      // Whoever owns it, it is taken over and read.
      await scene.done(scene.guest(cluster.names[times % 3], 'v').read(0, 512))
      await scene.ended(scene.guest(cluster.names[times % 3], 'v').write(9_000 + times, 8))
    }
    await deletedAndDrained(scene)
  }
})

test('I10: guests write between restarts of all nodes, on flash that has no room but what its log keeps', async () => {
  // What is left is what a log keeps; or less, as earlier releases may have left it.
  for (const [seed, segments] of [6, 6.9, 5].entries()) {
    const scene = await begin({ seed, nodes: 3, sectors: 8 * 1024, capacityBytes: { flash: 12 * MiB } })
    const { cluster } = scene
    await scene.done(scene.guest(cluster.names[0]).write(0, sectorsOfWrite))
    await scene.drain()
    await scene.wait(3_000)
    for (const node of cluster.names) cluster.end(node, 'power cut')
    for (const node of cluster.names) await scene.fillDisk(node, 'flash', segments * segmentBytes)
    let taken = 0
    for (let times = 0; times < 6; times++) {
      await restart(scene, times % 2 === 0 ? 'power cut' : 'kill')
      const guest = scene.guest(cluster.names[times % 3])
      const writes = Array.from({ length: 24 }, (_, i) =>
        guest.write((times + i) * sectorsOfWrite + i, sectorsOfWrite),
      )
      // As many restarts find the log full as find it empty.
      await scene.wait(times * 700)
      taken += writes.filter(({ answered }) => answered).length
    }
    assert.ok(taken > 40, `${taken} writes were taken`)
    await scene.finish()
  }
})

test('I10: logs full of what can not be drained, on full disks, take all their vDisks over, restart after restart', async () => {
  const vdisks = Array.from({ length: 6 }, (_, i) => `v${i}`)
  // These were once left with logs full of records that nobody could take over.
  for (const seed of [1, 3, 4, 5, 15, 21]) {
    const scene = await begin({ seed, nodes: 3, vdisks, sectors: 2_048, capacityBytes: { flash: 12 * MiB } })
    const { cluster } = scene
    let isFull = true
    const noRoom = (node: NodeId): void =>
      scene.faulty(node, (one) =>
        isFull && Scene.isGroup(one) && one.kind === 'write' ? { fail: 'ENOSPC' } : undefined,
      )
    for (const node of cluster.names) cluster.end(node, 'power cut')
    for (const node of cluster.names) await scene.fillDisk(node, 'flash', 6 * segmentBytes)
    for (let times = 0; times < 4; times++) {
      await restart(scene, times % 2 === 0 ? 'power cut' : 'kill', noRoom)
      // Each vDisk may hold one write, however little drains.
      for (const [i, vdisk] of vdisks.entries())
        scene.guest(cluster.names[(i + times) % 3], vdisk).write(((times * 7 + i) % 6) * 300, 300)
      await scene.wait(3_000 + times * 1_500)
    }
    await restart(scene, 'power cut', noRoom)
    await scene.wait(2_000)
    isFull = false
    await scene.finish()
  }
})

test('I10: random overwrites go on where what is dead would fill the disks', async () => {
  const sectors = 32 * 1024
  const scene = await begin({ seed: 1, nodes: 3, sectors, capacityBytes: { flash: 36 * MiB, hdd: 1 * MiB } })
  const { cluster } = scene
  const chance = new SeededChance(1, 'overwrites')
  const node = cluster.names[0]
  for (let at = 0; at < sectors; at += 4 * sectorsOfWrite)
    await scene.done(
      ...[0, 1, 2, 3].map((i) => scene.guest(node).write(at + i * sectorsOfWrite, sectorsOfWrite)),
    )
  await scene.drain()
  // Three times as much as the vDisk holds, in pieces that leave the rest of their groups alive.
  for (let i = 0; i < 768; i++) {
    const writes = Array.from({ length: 4 }, () =>
      scene.guest(node).write(8 * chance.below(sectors / 8 - 4), 32),
    )
    await scene.ended(...writes)
    await scene.done(...writes)
  }
  const { compactedBytes, groupsFreed } = cluster.node(node)!.controller.statistics()
  assert.ok(
    compactedBytes > 4 * MiB && groupsFreed > 16,
    `${compactedBytes} bytes compacted, ${groupsFreed} groups freed`,
  )
  await scene.finish()
})

/** Writes until there is no room, or so far. */
async function fill(scene: Scene, vdisk: string, sectors: number): Promise<void> {
  const guest = scene.guest(scene.cluster.names[vdisk === 'u' ? 1 : 0], vdisk)
  for (let at = 0; at < sectors; at += 1024) {
    const writes = [0, 1, 2, 3].map((i) => guest.write(at + i * sectorsOfWrite, sectorsOfWrite))
    await scene.ended(...writes)
    if (writes.some(({ error }) => hasCode(error, 'OUT_OF_SPACE'))) return
    await scene.done(...writes)
    // No faster than the room that is left is looked at, for how small the reserve of these disks is.
    await scene.wait(1_100)
  }
}

/** Whatever the log held is drained once the other vDisk is deleted, and guests write again. */
async function deletedAndDrained(scene: Scene): Promise<void> {
  const { cluster } = scene
  await scene.readAll()
  await scene.done(scene.guest(cluster.names[2], 'u').delete())
  await scene.wait(20_000)
  const guest = scene.guest(cluster.names[0], 'v')
  for (let tries = 0, isFull = true; isFull; tries++) {
    const write = guest.write(5, 512)
    await scene.ended(write)
    // By what was heard of the disks before the deletion, once.
    isFull = tries === 0 && hasCode(write.error, 'OUT_OF_SPACE')
    if (!isFull) await scene.done(write)
    else await scene.wait(1_100)
  }
  await scene.drain('v')
  await scene.settled('what was deleted is gone', () => findMetadataFaults(cluster))
  await scene.finish()
}
