/** After nodes were said to be in other blocks, copies come to lie in as many blocks as they can, those of idle vDisks too. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import type { Survival } from '../../../src/management/survival.ts'
import { decodeGroupRow } from '../../../src/stargate/vdisk-controller/rows.ts'
import { rowsOf } from '../../metadata-check.ts'
import { Orderly, orderlyPace } from './orderly-support.ts'
import type { Scene } from './support.ts'

/** Of whole groups: the nodes that each lies on. */
function placements(scene: Scene): NodeId[][] {
  return rowsOf(scene.cluster.database, 'group')
    .map(({ value }) => decodeGroupRow(value))
    .filter(({ state }) => state === 'whole')
    .map(({ copies }) => copies.map(({ node }) => node))
}

for (const when of ['in use', 'idle', 'interrupted'] as const)
  test(`copies are spread over blocks after nodes were assigned to others: ${when}`, async () => {
    const { scene, stage, owner } = await Orderly.begin({
      seed: 1,
      nodes: 4,
      blockOf: () => 'a',
      ...(when === 'idle' ? { pace: { ...orderlyPace, idleReleaseMs: 2_000, sweepMs: 60_000 } } : {}),
    })
    const { cluster } = scene
    if (when === 'idle') await scene.until(() => scene.owner() === undefined)
    const blocks = new Map<NodeId, string>(cluster.names.map((node) => [node, 'a']))
    const isSpread = (): boolean =>
      placements(scene).every((nodes) => new Set(nodes.map((node) => blocks.get(node))).size === 2)
    // The one that holds most, beside the owner, stays with it; the others are elsewhere.
    const partner = scene.mainHolder(owner)
    const others = cluster.names.filter((node) => node !== owner && node !== partner)
    for (const node of others) {
      blocks.set(node, 'b')
      await stage.ask((management) => management.changeNode(node, { block: 'b' }))
    }
    assert.ok(!isSpread())
    if (when === 'interrupted') {
      await scene.wait(10)
      cluster.end(owner, 'power cut')
      await scene.wait(3_000)
      await scene.heal()
      await scene.done(scene.guest(partner).read(0, 64))
    }
    await scene.until(isSpread, 60_000)
    if (when === 'idle') await scene.until(() => scene.owner() === undefined)
    // What the log holds there is drained elsewhere in its time.
    const survivalNow = async (): Promise<Survival> =>
      (await stage.ask((management) => management.status())).survival
    for (let looks = 0; (await survivalNow()).misplacedBytes > 0 && looks < 60; looks++)
      await scene.wait(1_000)
    const { misplacedBytes, level } = await survivalNow()
    assert.equal(misplacedBytes, 0)
    assert.equal(level, 'block')
    await scene.finish()
  })
