/**
 * Each operation, with its node dying before and after each of its changes; and with each of its changes made, or not made, without an answer.
 * Another node must then see the state before or the one after, and must be able to do everything with what is left.
 */
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
  namesIn,
  newWorld,
  root,
  type World,
} from './fixtures.test.ts'
import { FileError, type InodeId, type Namespace } from './namespace.ts'

const name = bytesOf
const vdisk = 5 as VDiskId

interface Prepared {
  readonly one: InodeId
  readonly dir: InodeId
  readonly empty: InodeId
  readonly other: InodeId
}

/** /one (a file), /two (a file), /dir/inside, /empty, /other/sub */
async function prepare(namespace: Namespace): Promise<Prepared> {
  const { inode: one } = await namespace.create(root, name('one'), aFile)
  await namespace.write(one.id, 0, Buffer.alloc(70_000, 1))
  await namespace.create(root, name('two'), aFile)
  const { inode: dir } = await namespace.create(root, name('dir'), aDirectory)
  await namespace.create(dir.id, name('inside'), aFile)
  const { inode: empty } = await namespace.create(root, name('empty'), aDirectory)
  const { inode: other } = await namespace.create(root, name('other'), aDirectory)
  await namespace.create(other.id, name('sub'), aDirectory)
  return { one: one.id, dir: dir.id, empty: empty.id, other: other.id }
}

/** All that clients can see, without times and ids; a file is told by the number of its links and its bytes. */
async function seen(namespace: Namespace, directory: InodeId = root, path = ''): Promise<string[]> {
  const all: string[] = []
  const { entries } = await namespace.list(directory, 0n, 1000)
  for (const { name: entryName, inode } of entries) {
    const at = `${path}/${entryName.toString()}`
    const looked = await namespace.lookup(directory, entryName)
    assert.equal(looked.id, inode.id)
    if (inode.type === 'directory') {
      assert.equal(await namespace.parent(inode.id), directory)
      all.push(`${at}/`, ...(await seen(namespace, inode.id, at)))
    } else all.push(`${at} ${inode.links} ${inode.sizeBytes} ${inode.content?.kind}`)
  }
  return all.sort()
}

/** Everything goes, the way an administrator would do it; what stays in Medusa but the root and tombstones has leaked. */
async function clearAll(namespace: Namespace, directory: InodeId = root): Promise<void> {
  const { entries } = await namespace.list(directory, 0n, 1000)
  for (const { name: entryName, inode } of entries)
    if (inode.type === 'directory') {
      await clearAll(namespace, inode.id)
      await namespace.removeDirectory(directory, entryName)
    } else await namespace.remove(directory, entryName)
}

/** Whatever name was in play is given and taken once more: that clears what stood under it. */
async function touchNames(namespace: Namespace): Promise<void> {
  const { inode: into } = await namespace.create(root, name('new'), aDirectory)
  await namespace.create(root, name('other'), aDirectory)
  await namespace.rename(root, name('other'), into.id, name('other'))
  await clearAll(namespace)
  for (const each of ['one', 'two', 'dir', 'empty', 'other', 'new', 'sub', 'inside']) {
    await namespace.create(root, name(each), aFile)
    await namespace.remove(root, name(each))
  }
}

function leaks(world: World): string[] {
  const left: string[] = []
  for (const [id, rows] of world.dump('inode'))
    if (rows.size !== 1 || !rows.get('inode')!.includes('removed')) left.push(`inode ${id}`)
  for (const [id, rows] of world.dump('directory')) {
    if (id.startsWith('moves')) {
      if (rows.size > 0) left.push('a move')
    } else if (rows.size !== 1) left.push(`directory ${id}: ${[...rows.keys()].join(' ')}`)
    else if (id !== String(root) && !rows.get('inode')!.includes('removed')) left.push(`directory ${id}`)
  }
  return left
}

const operations: Record<string, (namespace: Namespace, made: Prepared) => Promise<unknown>> = {
  create: (namespace) => namespace.create(root, name('new'), aFile),
  'create a directory': (namespace) => namespace.create(root, name('new'), aDirectory),
  remove: (namespace) => namespace.remove(root, name('one')),
  removeDirectory: (namespace) => namespace.removeDirectory(root, name('empty')),
  link: (namespace, { one }) => namespace.link(one, root, name('new')),
  rename: (namespace) => namespace.rename(root, name('one'), root, name('new')),
  'rename to another directory': (namespace, { dir }) =>
    namespace.rename(root, name('one'), dir, name('new')),
  replace: (namespace) => namespace.rename(root, name('one'), root, name('two')),
  'rename a directory': (namespace) => namespace.rename(root, name('dir'), root, name('new')),
  'move a directory': (namespace, { other }) => namespace.rename(root, name('dir'), other, name('new')),
  'replace a directory': (namespace) => namespace.rename(root, name('dir'), root, name('empty')),
  'move a directory over another': (namespace, { other }) =>
    namespace.rename(root, name('dir'), other, name('sub')),
  write: (namespace, { one }) => namespace.write(one, 10, Buffer.alloc(80_000, 2)),
  cut: (namespace, { one }) => namespace.setAttributes(one, { sizeBytes: 5 }),
  promotion: async (namespace, { one }) => {
    await namespace.beginPromotion(one, vdisk)
  },
}

/** The story without faults: how things were before, are after, and how many changes it took. */
async function withoutFaults(operation: (typeof operations)[string]) {
  const world = await newWorld()
  const made = await prepare(world.node())
  const before = await seen(world.node())
  const changesBefore = world.changes
  await operation(world.node(), made)
  const changes = world.changes - changesBefore
  const after = await seen(world.node())
  world.close()
  return { before, after, changes }
}

for (const [what, operation] of Object.entries(operations)) {
  test(`namespace, node dies: ${what} is there whole or not at all`, async () => {
    const { before, after, changes } = await withoutFaults(operation)
    const states: string[] = []
    for (let dies = 0; dies <= changes; dies++) {
      const world = await newWorld(dies + 1)
      const made = await prepare(world.node())
      let count = 0
      const faults: Faults = { onChange: () => (count++ === dies ? 'dead' : undefined) }
      const dying = operation(world.node(faults), made)
      let ended = false
      void dying.then(() => (ended = true))
      while (!faults.dead && !ended) await world.clock.sleep(1)
      const other = world.node()
      const now = await seen(other)
      const is = same(now, before) ? 'before' : same(now, after) ? 'after' : now.join('\n')
      assert.ok(is === 'before' || is === 'after', `after ${dies} changes:\n${is}`)
      states.push(is)
      assert.deepEqual((await checked(other)).found, [], `after ${dies} changes`)
      // The next node does the same, or finds it done.
      const code = await codeOf(operation(other, made))
      if (is === 'before' || code === 'done')
        assert.deepEqual([code, await seen(other)], ['done', after], `after ${dies} changes`)
      await clearAll(other)
      await touchNames(other)
      assert.deepEqual(leaks(world), [], `after ${dies} changes`)
      world.close()
    }
    assert.equal(states[0], 'before')
    assert.equal(states[changes], 'after')
    assert.deepEqual(states, [...states].sort().reverse(), 'what has happened stays so')
  })

  test(`namespace, unknown outcomes: ${what} is made once`, async () => {
    const { after, changes } = await withoutFaults(operation)
    for (const fate of ['made, unknown', 'not made, unknown'] as const)
      for (let lost = 0; lost < changes; lost++) {
        const world = await newWorld(lost + 1)
        const made = await prepare(world.node())
        let count = 0
        await operation(world.node({ onChange: () => (count++ === lost ? fate : undefined) }), made)
        assert.deepEqual(await seen(world.node()), after, `${fate}, change ${lost}`)
        await clearAll(world.node())
        await touchNames(world.node())
        assert.deepEqual(leaks(world), [])
        world.close()
      }
  })
}

const same = (a: readonly string[], b: readonly string[]): boolean => a.join('\n') === b.join('\n')

test('namespace passes the error on when an outcome stays unknown', async () => {
  const world = await newWorld()
  const start = world.clock.time
  const one = world.node({ onChange: () => 'not made, unknown' })
  assert.equal(await codeOf(one.create(root, name('a'), aFile)), 'TIMED_OUT')
  assert.ok(world.clock.time - start < 13_000)
  assert.deepEqual(await namesIn(world.node(), root), [])
  await assert.rejects(one.setAttributes(root, { mode: 0 }), (error) => !(error instanceof FileError))
})
