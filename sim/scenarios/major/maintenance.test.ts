/** A node in maintenance: it owns nothing, may be stopped, and is not made up for while its time runs; nothing said of it is false. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { NodeId } from '../../../src/base/ids.ts'
import type { NodeManagement } from '../../../src/node-management.ts'
import { findOnDisks, owners } from '../../drained.ts'
import { Orderly, sectorsOfGroup } from './orderly-support.ts'
import type { Scene } from './support.ts'

const maintain =
  (node: NodeId, repairWaitsSeconds?: number) =>
  (management: NodeManagement): Promise<unknown> =>
    management.changeNode(node, {
      mode: 'maintenance',
      ...(repairWaitsSeconds === undefined ? {} : { repairWaitsSeconds }),
    })
const active =
  (node: NodeId) =>
  (management: NodeManagement): Promise<unknown> =>
    management.changeNode(node, { mode: 'active' })

/** Something that counts is on the node's disks. */
const holds = (scene: Scene, node: NodeId): boolean =>
  findOnDisks(scene.cluster, (disk) => disk.node === node).length > 0

const replaced = (scene: Scene): number =>
  scene.cluster
    .serving()
    .reduce((sum, node) => sum + scene.cluster.node(node)!.controller.statistics().copiesReplaced, 0)

test('a node in maintenance may be stopped: nobody waits for it, and nothing of it is made anew', async () => {
  for (const whom of ['owner', 'holder'] as const) {
    const staged = await Orderly.begin({ seed: 1 })
    const { scene, stage } = staged
    const { cluster } = scene
    const node = staged[whom]
    const groupsThere = holds(scene, node)
    await stage.ask(maintain(node))
    await stage.done()
    assert.ok(!owners(cluster).includes(node))
    cluster.end(node, 'power cut')
    const guest = scene.guest(cluster.names.find((one) => one !== node)!)
    for (let i = 0; i < 40; i++) {
      const write = guest.write((i % 6) * sectorsOfGroup + 16, 16)
      await scene.done(write)
      assert.ok(write.tookMs < 1_000, `a guest waited for ${Math.round(write.tookMs)} ms`)
      await scene.wait(500)
    }
    assert.equal(replaced(scene), 0)
    assert.equal(holds(scene, node), groupsThere)
    const status = await stage.ask((management) => management.status())
    assert.equal(status.survival.level, groupsThere ? 'one copy' : 'block', status.survival.sentence)
    assert.ok(status.problems.some((problem) => problem.includes(`${node} is down, in maintenance`)))
    cluster.startNode(node)
    await scene.until(() => cluster.serving().length === 5)
    await stage.ask(active(node))
    await scene.wait(3_000)
    const after = await stage.ask((management) => management.status())
    assert.equal(after.survival.level, 'block', after.survival.sentence)
    assert.equal(replaced(scene), 0)
    await scene.finish()
  }
})

test('when its time is over, or it is taken back, a node that is away is made up for', async () => {
  for (const how of ['time', 'taken back'] as const) {
    const { scene, stage, holder } = await Orderly.begin({ seed: 2 })
    await stage.ask(maintain(holder, how === 'time' ? 20 : 3600))
    await stage.done()
    scene.cluster.end(holder, 'power cut')
    await scene.wait(10_000)
    assert.ok(holds(scene, holder))
    if (how === 'taken back') await stage.ask(active(holder))
    await scene.until(() => !holds(scene, holder), 20_000)
    await scene.finish()
  }
})

test('another death meanwhile is repaired, from what is there', async () => {
  const { scene, stage, owner, holder } = await Orderly.begin({ seed: 3, copies: 3, nodes: 6 })
  const { cluster } = scene
  await stage.ask(maintain(holder))
  await stage.done()
  cluster.end(holder, 'power cut')
  await scene.wait(3_000)
  const other = scene.groupNodes().find((node) => node !== holder && node !== owner)!
  cluster.lose(other)
  await scene.until(() => !holds(scene, other), 20_000)
  assert.ok(holds(scene, holder))
  cluster.startNode(holder)
  await scene.finish()
})

test('refused is what would make something unreadable, or writes wait', async () => {
  const refused = (pattern: RegExp) => (error: Error) =>
    hasCode(error, 'REFUSED') && pattern.test(error.message)
  const one = await Orderly.begin({ seed: 4, copies: 1 })
  await assert.rejects(one.stage.ask(maintain(one.owner)), refused(/could not be read/))
  await one.scene.finish()

  const { scene, stage, owner, holder } = await Orderly.begin({ seed: 5, nodes: 4 })
  const { cluster } = scene
  cluster.end(owner, 'power cut')
  await scene.wait(1_700)
  // Repair has only begun.
  await assert.rejects(stage.ask(maintain(holder)), refused(/could not be read/))
  await scene.until(() => !holds(scene, owner), 20_000)
  cluster.startNode(owner)
  await scene.until(() => cluster.serving().length === 4)
  const [a, b] = cluster.names.filter((node) => node !== holder)
  await stage.ask(maintain(a))
  await stage.ask(maintain(b))
  await assert.rejects(stage.ask(maintain(holder)), refused(/their writes would wait/))
  await scene.finish()
})
