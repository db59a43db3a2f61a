/** What rots, or is lost, and that nobody reads. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findCheckFaults, findWrongCopies } from '../../check-agrees.ts'
import { placeOfCopy } from '../../checkers/copy-files.ts'
import { Damage } from '../../faults/damage.ts'
import { groupsInIndex } from '../../metadata-check.ts'
import { quickPace, Scene } from './support.ts'

const groups = 4
const sectorsOfGroup = 128
const scrubEveryMs = 10_000
const pace = { ...quickPace, idleReleaseMs: 2_000, scrubEveryMs }
const none = new Damage()

/** Some groups at rest in a vDisk that nobody owns. */
async function atRest(seed: number, every = scrubEveryMs): Promise<Scene> {
  const sectors = groups * sectorsOfGroup
  const scene = await Scene.begin({ seed, sectors, nodes: 4, pace: { ...pace, scrubEveryMs: every } })
  const guest = scene.guest(scene.cluster.names[0])
  for (let group = 0; group < groups; group++) {
    await scene.done(guest.write(group * sectorsOfGroup, sectorsOfGroup))
    await scene.drain()
  }
  await scene.until(() => scene.owner() === undefined)
  return scene
}

/** A byte of one copy rots, another copy's file is lost; of two groups. */
function damage({ cluster }: Scene): void {
  const [[rotten, { copies }], [lost, row]] = [...groupsInIndex(cluster.database)]
  const file = cluster.world.disk(copies[0].node).find(placeOfCopy(rotten, copies[0]).path)
  assert(file?.kind === 'file')
  file.content.damaged = true
  file.content.overwrite(5000, Buffer.of(0xa5, 0x5a, 0xa5))
  cluster.world.disk(row.copies[1].node).lose(placeOfCopy(lost, row.copies[1]).path)
}

test('R31: copies that rot or are lost in a vDisk that nobody owns are found and made anew, and it is given up again', async () => {
  const scene = await atRest(1)
  damage(scene)
  assert.equal(findWrongCopies(scene.cluster, none).length, 2)
  await scene.until(() => findWrongCopies(scene.cluster, none).length === 0, 3 * scrubEveryMs)
  await scene.until(() => scene.owner() === undefined)
  await scene.finish()
})

test('ndfs check finds what is wrong in a vDisk that nobody owns, all of it and nothing else, and has it made anew', async () => {
  const scene = await atRest(2, 0)
  const { cluster } = scene
  const check = () => cluster.world.play(() => findCheckFaults(cluster, none, cluster.names[3]), 60_000)
  assert.deepEqual(await check(), [])
  damage(scene)
  assert.deepEqual(await check(), [])
  assert.deepEqual(findWrongCopies(cluster, none), [])
  await scene.finish()
})
