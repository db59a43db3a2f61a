import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Sequence } from '../../src/base/ids.ts'
import type { Holding } from '../../src/stargate/oplog/oplog.ts'
import { partRowKey, vdiskPartition } from '../../src/stargate/vdisk-controller/rows.ts'
import type { World } from '../world.ts'
import {
  type CopyOn,
  episode,
  formattedWorld,
  groupId,
  groupRow,
  layer,
  MedusaStory,
  pagesOf,
  putCopy,
  stateWith,
  vdisk,
} from './checkers-for-tests.ts'
import { DurableFirst, freedTooEarly } from './durable-first.ts'

async function begun(): Promise<{ world: World; copyOn: CopyOn; medusa: MedusaStory }> {
  const { world, copyOn } = await formattedWorld()
  const medusa: MedusaStory = new MedusaStory((made, shadow) =>
    new DurableFirst(shadow, (node) => world.disk(node)).changed(made),
  )
  medusa.state(stateWith())
  return { world, copyOn, medusa }
}

const id = groupId(1)

test('I3: files, then their row, then the map, then the drained sequence', async () => {
  const { world, copyOn, medusa } = await begun()
  const copies = [copyOn('n1-hdd-0'), copyOn('n2-hdd-0')]
  for (const copy of copies) await putCopy(world, copy, id, pagesOf('abc'))
  assert.equal(medusa.group(id, groupRow('abc', copies)), undefined)
  assert.equal(medusa.map(id), undefined)
  assert.equal(medusa.state(stateWith({ drained: 7 as Sequence })), undefined)
})

test('I3: a row that names a file that is not there, or that a power cut may take, is found', async () => {
  const { world, copyOn, medusa } = await begun()
  const copy = copyOn('n1-hdd-0')
  const ways = [
    [{ syncBytes: false }, /whose bytes a power cut may take away/],
    [{ syncName: false }, /whose name a power cut may take away/],
  ] as const
  assert.match(medusa.group(id, groupRow('a', [copy]))!, /names its copy 1 on n1-hdd-0, which is not there/)
  for (const [i, [way, message]] of ways.entries()) {
    const group = groupId(i + 2)
    await putCopy(world, copy, group, pagesOf('abc'), way)
    assert.match(medusa.group(group, groupRow('abc', [copy]))!, message)
  }
})

test('I3: a late row of an owner that was followed is excused where its successor has forgotten the group', async () => {
  const { copyOn, medusa } = await begun()
  const copy = copyOn('n1-hdd-0')
  medusa.state(stateWith(), { epoch: 2 })
  assert.equal(medusa.group(id, groupRow('a', [copy]), { epoch: 1 }), undefined)
  medusa.plan(groupId(2), [copy])
  assert.match(medusa.group(groupId(2), groupRow('a', [copy]), { epoch: 1 })!, /which is not there/)
})

test('I3: a row whose checksums are not those of the file is found', async () => {
  const { world, copyOn, medusa } = await begun()
  const copy = copyOn('n1-hdd-0')
  await putCopy(world, copy, id, pagesOf('abc'))
  assert.match(medusa.group(id, groupRow('abd', [copy]))!, /whose page 2 is not what the row says/)
})

test('I3: what rots, and what was on another disk under that name, is excused', async () => {
  const { world, copyOn, medusa } = await begun()
  const copy = copyOn('n1-hdd-0')
  const path = await putCopy(world, copy, id, pagesOf('abc'))
  world.disk('n1').flipByte(path, 5)
  assert.equal(medusa.group(id, groupRow('abc', [copy])), undefined)
  const before = { ...copyOn('n2-hdd-0'), incarnation: '0123456789abcdef' as typeof copy.incarnation }
  assert.equal(medusa.group(groupId(2), groupRow('a', [before])), undefined)
})

test('I3: a map that names a group without a row, or one that is being deleted, is found', async () => {
  const { world, copyOn, medusa } = await begun()
  const copy = copyOn('n1-hdd-0')
  assert.match(medusa.map(id)!, /row v0000 of map 1\.1\.0 names group 1-1-1, which has no row/)
  await putCopy(world, copy, groupId(2), pagesOf('a'))
  medusa.group(groupId(2), groupRow('a', [copy], { state: 'deleting' }))
  assert.match(medusa.map(groupId(2))!, /which is deleting/)
})

test('I3: a drained sequence that goes back, and a version that no partition has reached, are found', async () => {
  const { medusa } = await begun()
  const demand = (version: number): string | undefined => {
    const value = Buffer.alloc(8)
    value.writeBigUInt64LE(BigInt(version))
    return medusa.change(vdiskPartition(vdisk), { put: [{ key: partRowKey(layer, 0), value }] })
  }
  medusa.state(stateWith({ drained: 7 as Sequence }))
  assert.match(medusa.state(stateWith({ drained: 6 as Sequence }))!, /was drained to 7, and now to 6/)
  medusa.map()
  assert.equal(demand(1), undefined)
  assert.match(demand(2)!, /demands version 2 of map partition 0, which has 1/)
})

test('I3: records that are freed before they are drained are found', () => {
  const state = stateWith({ drained: 7 as Sequence, episodes: [episode(1, 3, 9), episode(2, 10)] })
  const holding = (first: number, of = 1): Holding => ({
    vdisk,
    epoch: 1 as Holding['epoch'],
    bytes: 1,
    episodes: [
      {
        episode: episode(of, 1).id,
        first: first as Sequence,
        last: 20 as Sequence,
        acknowledged: 0 as Sequence,
      },
    ],
  })
  assert.equal(freedTooEarly(state, holding(8)), undefined)
  assert.equal(freedTooEarly(state, holding(3)), undefined)
  assert.match(freedTooEarly(state, holding(9))!, /freed episode 1 up to 8, and the vDisk is drained to 7/)
  assert.equal(freedTooEarly(state, holding(10, 2)), undefined)
  assert.match(freedTooEarly(state, holding(11, 2))!, /freed episode 2 up to 10/)
})
