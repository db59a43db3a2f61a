import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VDiskId } from '../../base/ids.ts'
import {
  aDirectory,
  aFile,
  bytesOf,
  checked,
  codeOf,
  type Faults,
  newWorld,
  root,
  type World,
} from './fixtures.test.ts'
import type { Inode } from './namespace.ts'
import { decodeInodeRow, inodeRowKey, partitionOf } from './rows.ts'

const name = bytesOf
const vdisk = 5 as VDiskId

/** 150 files and 70 directories in the root, 20 more below one another, files in each, a vDisk at the bottom. */
async function fill(world: World): Promise<void> {
  const node = world.node()
  for (let i = 0; i < 150; i++) await node.create(root, name(`f${i}`), aFile)
  for (let i = 0; i < 70; i++) await node.create(root, name(`d${i}`), aDirectory)
  let at = root
  for (let i = 0; i < 20; i++) {
    const { inode } = await node.create(at, name('down'), aDirectory)
    const { inode: file } = await node.create(inode.id, name('file'), aFile)
    await node.write(file.id, 0, Buffer.alloc(40_000, i))
    await node.link(file.id, at, name('link'))
    at = inode.id
  }
  const { inode: big } = await node.create(at, name('big'), aFile)
  await node.beginPromotion(big.id, vdisk)
}

const live = (world: World): string[] =>
  (['inode', 'directory'] as const).flatMap((table) =>
    [...world.dump(table)].flatMap(([id, rows]) =>
      [...rows].flatMap(([key, value]) =>
        key === inodeRowKey && decodeInodeRow(value).type === 'removed' ? [] : [`${table} ${id} ${key}`],
      ),
    ),
  )

test('clear takes everything away, the root too, and tells of each file', async () => {
  const world = await newWorld()
  await fill(world)
  const gone: Inode[] = []
  assert.equal(await world.node().clear(async (inode) => void gone.push(inode)), true)
  assert.deepEqual(live(world), [])
  assert.equal(gone.length, 171)
  assert.deepEqual(gone.find(({ content }) => content?.kind === 'promoting')?.content, {
    kind: 'promoting',
    vdisk,
    filler: 1,
  })
  assert.equal(await codeOf(world.node().create(root, name('a'), aFile)), 'STALE')
  assert.equal(await world.node().clear(async () => undefined), true, 'again')
  assert.deepEqual((await checked(world.node())).found, [])
})

test('clear goes on where a node died that was at it', async () => {
  for (const dies of [0, 1, 50, 200, 400]) {
    const world = await newWorld(dies + 1)
    await fill(world)
    let changes = 0
    const faults: Faults = { onChange: () => (changes++ === dies ? 'dead' : undefined) }
    void world.node(faults).clear(async () => undefined)
    while (!faults.dead) await world.clock.sleep(1)
    assert.deepEqual((await checked(world.node())).found, [], `after ${dies} changes`)
    assert.equal(await world.node().clear(async () => undefined), true)
    assert.deepEqual(live(world), [])
    world.close()
  }
})

test('clear leaves what cannot be read, and says so', async () => {
  const world = await newWorld()
  const node = world.node()
  const { id } = (await node.create(root, name('dir'), aDirectory)).inode
  const file = (await node.create(id, name('file'), aFile)).inode.id
  await node.create(root, name('other'), aFile)
  world.putRow(partitionOf(file), inodeRowKey, name('no row'))
  assert.equal(await node.clear(async () => undefined), false)
  assert.deepEqual(
    (await node.list(root, 0n, 10)).entries.map(({ name: left }) => left.toString()),
    ['dir'],
  )
})
