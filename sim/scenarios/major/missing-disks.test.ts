/** A disk that is not there when its node starts: its node serves without it, what it held is made anew, and nothing is given up for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskId, NodeId } from '../../../src/base/ids.ts'
import { MiB, pageBytes } from '../../../src/base/units.ts'
import type { DiskInfo } from '../../../src/management/management.ts'
import { pathOfDisk, type Tier } from '../../cluster.ts'
import { sectorBytes } from '../../sector-history.ts'
import { problemsOf } from './orderly-support.ts'
import { quickPace, Scene } from './support.ts'

const writes = 48
const sectorsOfWrite = 1024
const sectorsPerPage = pageBytes / sectorBytes
const hddOf = (node: NodeId): DiskId => `${node}-hdd-0` as DiskId

/** More than flash has room for, so that groups lie on hdd; and a node beside their owner that has some there. */
async function filled(seed: number): Promise<{ scene: Scene; owner: NodeId; holder: NodeId }> {
  const scene = await Scene.begin({
    ...{ seed, nodes: 4, sectors: writes * sectorsOfWrite, pace: quickPace },
    capacityBytes: { flash: 16 * MiB },
  })
  for (let i = 0; i < writes; i++) {
    await scene.done(scene.guest(scene.cluster.names[0]).write(i * sectorsOfWrite, sectorsOfWrite))
    await scene.drain()
  }
  const owner = scene.owner()!
  const holder = scene.cluster.names.find(
    (node) => node !== owner && scene.groupDisks().includes(hddOf(node)),
  )
  assert.ok(holder !== undefined, 'all of it lies on flash')
  return { scene, owner, holder }
}

const isThere = (scene: Scene, node: NodeId): boolean => scene.cluster.node(node) !== undefined
const takeAway = (scene: Scene, node: NodeId, tier: Tier): void =>
  scene.faulty(node, ({ path }) => (path.startsWith(pathOfDisk(tier)) ? { fail: 'EIO' } : undefined))
const giveBack = (scene: Scene, node: NodeId): void => scene.faulty(node, () => undefined)

async function diskOf(scene: Scene, node: NodeId, tier: Tier): Promise<DiskInfo> {
  const disks = await scene.ask(scene.cluster.serving()[0], (management) => management.listDisks())
  return disks.find((disk) => disk.node === node && disk.tier === tier)!
}

test('I1: a node starts without a disk that is missing, and its copies are made anew', async () => {
  const { scene, owner, holder } = await filled(1)
  const { cluster } = scene
  cluster.end(holder, 'power cut')
  takeAway(scene, holder, 'hdd')
  cluster.startNode(holder)
  await scene.until(() => isThere(scene, holder))
  const { state, reason } = await diskOf(scene, holder, 'hdd')
  assert.equal(state, 'missing')
  assert.match(reason!, /^Cannot use the disk at \/disks\/hdd: .*EIO/)
  const status = await scene.ask(owner, (management) => management.status())
  assert.equal(status.health, 'degraded')
  assert.match(problemsOf(status)[0], new RegExp(`^disk ${holder}-hdd-0 of ${holder} is missing since`))
  await scene.until(() => !scene.groupDisks().includes(hddOf(holder)), 10_000)

  // Started again with it, it has what it had; what was made elsewhere meanwhile is unlinked there.
  cluster.end(holder, 'kill')
  giveBack(scene, holder)
  cluster.startNode(holder)
  await scene.until(() => isThere(scene, holder))
  assert.equal((await diskOf(scene, holder, 'hdd')).state, 'online')
  await scene.finish()
})

test('F9: what lies on missing disks alone is waited for, and never given up', async () => {
  const { scene, owner } = await filled(3)
  const { cluster } = scene
  const onHdd = scene
    .groupRows()
    .find(({ state, copies }) => state === 'whole' && copies.every(({ disk }) => disk.includes('-hdd-')))
  const at = onHdd!.extents[0].page * sectorsPerPage
  // Half a page: its drain has to read the other half.
  await scene.done(scene.guest(owner).write(at + 1, 1))
  for (const node of cluster.names) {
    cluster.end(node, 'power cut')
    takeAway(scene, node, 'hdd')
    cluster.startNode(node)
  }
  await scene.until(() => cluster.serving().length === cluster.names.length)
  const read = scene.guest(owner).read(at, 8)
  await scene.wait(20_000)
  assert.equal(read.answered, false, 'nobody can know what it holds')
  for (const node of cluster.names) cluster.end(node, 'kill')
  await scene.finish()
})

test('a node that is left without a log does not start', async () => {
  const scene = await Scene.begin({ seed: 3, pace: quickPace })
  const { cluster } = scene
  const [node, other] = cluster.names
  cluster.end(node, 'power cut')
  takeAway(scene, node, 'flash')
  cluster.startNode(node)
  await scene.wait(5_000)
  assert.equal(isThere(scene, node), false)
  await scene.done(scene.guest(other).write(0, 8))
  await scene.finish()
})
