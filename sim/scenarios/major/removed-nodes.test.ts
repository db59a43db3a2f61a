/** Nodes and disks that are removed for good: nothing that counts goes with them, and what comes back is refused. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../../src/base/errors.ts'
import type { DiskRef, NodeId } from '../../../src/base/ids.ts'
import type { NodeManagement } from '../../../src/node-management.ts'
import { findOnDisks } from '../../drained.ts'
import { Orderly, problemsOf } from './orderly-support.ts'
import { Scene } from './support.ts'

const refused =
  (code: 'REFUSED' | 'UNAVAILABLE', pattern: RegExp) =>
  (error: Error): boolean =>
    hasCode(error, code) && pattern.test(error.message)

const of =
  (node: NodeId) =>
  (disk: DiskRef): boolean =>
    disk.node === node

const remove = (node: NodeId) => (management: NodeManagement) => management.removeNode(node)

test('a node is removed once it is drained, its process ends, and it is refused when it comes back', async () => {
  const { scene, stage, holder } = await Orderly.begin({ seed: 1 })
  const { cluster } = scene
  await assert.rejects(stage.ask(remove(holder)), refused('REFUSED', /Drain it first/))
  // Copies take a while to move.
  for (const node of cluster.names)
    scene.faulty(node, (one) => (Scene.isGroup(one) ? { delayMs: 100 } : undefined))
  await stage.drain(holder)
  await assert.rejects(
    stage.ask(remove(holder), holder),
    refused('REFUSED', /owns|have copies|have their log/),
  )
  for (const node of cluster.names) scene.faulty(node, () => undefined)
  await stage.drained(holder)
  const guest = scene.guest(cluster.names.find((node) => node !== holder)!)
  const write = guest.write(0, 32)
  await stage.ask(remove(holder), holder)
  await scene.done(write)
  await scene.until(() => !cluster.running().includes(holder), 3_000)
  const nodes = await stage.ask((management) => management.listNodes(), holder)
  assert.ok(!nodes.some(({ id }) => id === holder))
  const status = await stage.ask((management) => management.status(), holder)
  assert.equal(status.leaving, undefined)
  assert.deepEqual(problemsOf(status), [])
  // Asked again it is done already.
  await stage.ask(remove(holder), holder)
  cluster.startNode(holder)
  await scene.wait(5_000)
  assert.equal(cluster.node(holder), undefined)
  cluster.lose(holder)
  await scene.finish()
})

test('a node that died is removed once its copies were made anew, and what indexes have of it goes', async () => {
  const { scene, stage, holder } = await Orderly.begin({ seed: 2 })
  const { cluster } = scene
  cluster.end(holder, 'power cut')
  await scene.wait(2_000)
  await scene.until(() => findOnDisks(cluster, of(holder)).length === 0)
  assert.ok(stage.inIndexes(of(holder)).length > 0, 'a copy is left behind there')
  await stage.ask(remove(holder))
  await scene.until(() => stage.inIndexes(of(holder)).length === 0)
  cluster.startNode(holder)
  await scene.wait(5_000)
  assert.equal(cluster.node(holder), undefined)
  cluster.lose(holder)
  await scene.finish()
})

test('a node that died with the last copy of something is not removed', async () => {
  const { scene, stage, owner, holder } = await Orderly.begin({ seed: 3, nodes: 3 })
  const { cluster } = scene
  const third = cluster.names.find((node) => node !== owner && node !== holder)!
  cluster.end(third, 'power cut')
  cluster.end(holder, 'power cut')
  await scene.wait(5_000)
  await assert.rejects(stage.ask(remove(holder)), refused('REFUSED', /have copies|have their log/))
  await scene.finish()
})

test('a disk is removed, its node goes on without it, also after a restart', async () => {
  const { scene, stage, holder } = await Orderly.begin({ seed: 4 })
  const { cluster } = scene
  const disk = `${holder}-hdd-0`
  const removeDisk = (management: NodeManagement): Promise<void> => management.removeDisk(disk)
  await assert.rejects(stage.ask(removeDisk), refused('REFUSED', /Drain it first/))
  await stage.ask((management) => management.changeDisk(disk, { mode: 'draining' }))
  await stage.done()
  await stage.ask(removeDisk)
  const gone = async (): Promise<boolean> =>
    !(await stage.ask((management) => management.listDisks())).some(({ id }) => id === disk)
  assert.ok(await gone())
  cluster.end(holder, 'kill')
  cluster.startNode(holder)
  await scene.until(() => cluster.node(holder) !== undefined)
  await scene.wait(1_000)
  assert.ok(await gone())
  const status = await stage.ask((management) => management.status())
  assert.deepEqual([status.leaving, problemsOf(status)], [undefined, []])
  await scene.done(scene.guest(holder).write(0, 64))
  await scene.finish()
})

test('a removal that is interrupted at any moment goes on with the same request', async () => {
  let interrupted = 0
  for (let moment = 0; moment < 12; moment++) {
    const { scene, stage, owner, holder } = await Orderly.begin({ seed: 10 + moment })
    const { cluster } = scene
    await stage.drain(holder)
    await stage.drained(holder)
    const via = cluster.names.find((node) => node !== holder && node !== owner)!
    const asked = scene.beside(() => cluster.node(via)!.management.removeNode(holder))
    await scene.wait(moment * 0.4)
    if (!asked.ended) interrupted++
    if (moment % 3 === 0) cluster.end(via, 'kill')
    else if (moment % 3 === 1) cluster.killStore()
    else cluster.end(holder, 'power cut')
    await scene.wait(1_000)
    cluster.startStore()
    for (const node of cluster.names) if (node !== holder) cluster.startNode(node)
    await scene.until(() => cluster.serving().filter((node) => node !== holder).length === 4)
    await scene.wait(2_000)
    await stage.ask(remove(holder), holder)
    await scene.until(() => !cluster.running().includes(holder))
    cluster.lose(holder)
    await scene.finish()
  }
  assert.ok(interrupted >= 6, `only ${interrupted} were interrupted`)
})
