/** Nodes that want the same at the same time, and many operations of one directory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atOnce } from '../../base/at-once.ts'
import { aDirectory, aFile, bytesOf, codeOf, type Faults, namesIn, newWorld, root } from './fixtures.test.ts'
import type { InodeId } from './namespace.ts'

const name = bytesOf
const seeds = Array.from({ length: 20 }, (_, i) => i + 1)

test('namespace gives a name to exactly one of several nodes that create it at once', async () => {
  for (const seed of seeds) {
    const world = await newWorld(seed)
    world.delayMs = 8
    const made = await Promise.all(
      [world.node(), world.node(), world.node()].map((node) => node.create(root, name('a'), aFile)),
    )
    assert.equal(made.filter(({ existed }) => !existed).length, 1, `seed ${seed}`)
    assert.equal(new Set(made.map(({ inode }) => inode.id)).size, 1)
    assert.deepEqual(await namesIn(world.node(), root), ['a'])
    world.close()
  }
})

test('namespace makes no circle of directories that are moved into each other at once', async () => {
  for (const seed of seeds) {
    const world = await newWorld(seed)
    const one = world.node()
    const a = (await one.create(root, name('a'), aDirectory)).inode.id
    const b = (await one.create(root, name('b'), aDirectory)).inode.id
    world.delayMs = 8
    const codes = await Promise.all([
      codeOf(world.node().rename(root, name('a'), b, name('a'))),
      codeOf(world.node().rename(root, name('b'), a, name('b'))),
    ])
    assert.equal(codes.filter((code) => code === 'done').length, 1, `seed ${seed}: ${codes.join(', ')}`)
    const top = await namesIn(world.node(), root)
    assert.equal(top.length, 1)
    assert.equal((await namesIn(world.node(), top[0] === 'a' ? a : b)).length, 1)
    world.close()
  }
})

test('namespace calls no directory by a name not empty that was filled after it had lost that name', async () => {
  let moved = 0
  for (let seed = 1; seed <= 100; seed++) {
    const world = await newWorld(seed)
    const { id } = (await world.node().create(root, name('a'), aDirectory)).inode
    await world.node().create(root, name('b'), aDirectory)
    world.delayMs = 4
    const other = world.node()
    const slow = world.node({ slow: () => world.roll(20) })
    const overIt = seed % 2 === 0
    const [code, fate] = await Promise.all([
      codeOf(overIt ? slow.rename(root, name('b'), root, name('a')) : slow.removeDirectory(root, name('a'))),
      codeOf(other.rename(root, name('a'), root, name('c')).then(() => other.create(id, name('f'), aFile))),
    ])
    assert.notEqual(code, 'NOTEMPTY', `seed ${seed}`)
    if (fate === 'done') moved++
    world.close()
  }
  assert.ok(moved > 10)
})

// A client that hears nothing sends the same to another node: only one of the two is done, and the other undoes nothing of it.
for (const over of [false, true])
  test(`namespace keeps the name that two nodes give the same file by rename${over ? ', over another' : ''}, or by link`, async () => {
    for (let seed = 1; seed <= 100; seed++) {
      const world = await newWorld(seed)
      const { id } = (await world.node().create(root, name('a'), aFile)).inode
      if (over) await world.node().create(root, name('b'), aFile)
      world.delayMs = 8
      const both = [world.node(), world.node()]
      await Promise.all(both.map((node) => codeOf(node.rename(root, name('a'), root, name('b')))))
      assert.deepEqual(await namesIn(world.node(), root), ['b'], `seed ${seed}`)
      const slow = world.node({ slow: ({ table }) => (table === 'inode' ? 1 + world.roll(30) : 0) })
      await Promise.all([slow, ...both].map((node) => codeOf(node.link(id, root, name('c')))))
      assert.deepEqual(await namesIn(world.node(), root), ['b', 'c'], `seed ${seed}`)
      assert.equal((await world.node().inode(id)).links, 2, `seed ${seed}`)
      world.close()
    }
  })

for (const then of ['renamed', 'removed'] as const)
  test(`namespace creates once what was ${then} by another before its creator heard that it was made`, async () => {
    for (const type of ['file', 'directory'] as const) {
      const world = await newWorld()
      const other = world.node()
      let lost = false
      const done: Promise<unknown>[] = []
      const one = world.node({
        onChange: (partition, { expected }) => {
          if (lost || expected.version > 0 || partition.key === String(root)) return 'made'
          lost = true
          // Heard of before the creator looks what became of it.
          const inFirst = async (): Promise<unknown> => {
            if (then === 'renamed') return other.rename(root, name('a'), root, name('b'))
            return type === 'file' ? other.remove(root, name('a')) : other.removeDirectory(root, name('a'))
          }
          done.push(world.clock.sleep(1).then(inFirst))
          return 'made, unknown'
        },
      })
      const { existed, inode } = await one.create(root, name('a'), type === 'file' ? aFile : aDirectory)
      await Promise.all(done)
      assert.ok(lost && !existed)
      assert.deepEqual(await namesIn(other, root), then === 'renamed' ? ['b'] : [])
      if (then === 'renamed') assert.equal((await other.lookup(root, name('b'))).id, inode.id)
      world.close()
    }
  })

test('namespace lets only one of removing a directory and creating in it succeed', async () => {
  let removed = 0
  for (const seed of seeds) {
    const world = await newWorld(seed)
    const { id } = (await world.node().create(root, name('d'), aDirectory)).inode
    world.delayMs = 8
    const [rmdir, create] = await Promise.all([
      codeOf(world.node().removeDirectory(root, name('d'))),
      codeOf(world.clock.sleep(world.roll(12)).then(() => world.node().create(id, name('x'), aFile))),
    ])
    if (rmdir === 'done') removed++
    assert.deepEqual(
      [rmdir, create].sort(),
      rmdir === 'done' ? ['STALE', 'done'] : ['NOTEMPTY', 'done'],
      `seed ${seed}`,
    )
    const files = [...world.dump('inode').values()].filter((rows) => !rows.get('inode')!.includes('removed'))
    assert.equal(files.length, create === 'done' ? 1 : 0)
    world.close()
  }
  assert.ok(removed > 0 && removed < seeds.length, `both happen: removed ${removed} times`)
})

test('namespace finishes the move that a dead node was at, and goes on', async () => {
  const world = await newWorld()
  const one = world.node()
  const into = (await one.create(root, name('into'), aDirectory)).inode.id
  await one.create(root, name('a'), aDirectory)
  await one.create(root, name('b'), aDirectory)
  const faults: Faults = { onChange: ({ key }) => (/^\d+$/.test(key) ? 'dead' : undefined) }
  void world.node(faults).rename(root, name('a'), into, name('a'))
  while (!faults.dead) await world.clock.sleep(1)
  const start = world.clock.time
  await world.node().rename(root, name('b'), into, name('b'))
  assert.ok(world.clock.time - start < 5000)
  assert.deepEqual(await namesIn(one, into), ['b'])
})

test('namespace keeps the cookies of entries while others come and go', async () => {
  const world = await newWorld()
  const one = world.node()
  const stay = Array.from({ length: 200 }, (_, i) => `stay-${i}`)
  await atOnce(stay, 32, async (each) => void (await one.create(root, name(each), aFile)))
  const seen: string[] = []
  const cookies = new Map<string, bigint>()
  let last = 0n
  for (let turn = 0; ; turn++) {
    const { entries, done } = await one.list(root, last, 7)
    for (const { name: bytes, cookie } of entries) {
      assert.ok(cookie > last && cookie >= 3n && cookie < 2n ** 63n)
      last = cookie
      cookies.set(bytes.toString(), cookie)
      if (bytes.toString().startsWith('stay')) seen.push(bytes.toString())
    }
    if (done) break
    await one.create(root, name(`come-${turn}`), aFile)
    if (turn > 0) await one.remove(root, name(`come-${turn - 1}`))
  }
  assert.deepEqual(seen.sort(), stay.sort())
  for (const { name: bytes, cookie } of (await world.node().list(root, 0n, 1000)).entries)
    assert.equal(cookies.get(bytes.toString()) ?? cookie, cookie)
})

test('namespace answers what waits too long for a partition that others change all the time', async () => {
  const world = await newWorld()
  const mine = world.node({
    onChange: ({ key }) => {
      world.putRow({ table: 'directory', key }, 'x', Buffer.from('x'))
      return undefined
    },
  })
  assert.equal(await codeOf(mine.setAttributes(root, { mode: 0 })), 'UNAVAILABLE')
})

test('namespace gathers the creations in one directory into few changes of it', async () => {
  const world = await newWorld()
  const one = world.node()
  const count = 10_000
  const before = world.changesOf.get(`directory/${root}`) ?? 0
  const start = performance.now()
  await atOnce(
    Array.from({ length: count }, (_, i) => name(`file-${i}`)),
    32,
    async (each) => void (await one.create(root, each, aFile)),
  )
  const seconds = (performance.now() - start) / 1000
  const per32 = (((world.changesOf.get(`directory/${root}`) ?? 0) - before) / count) * 32
  console.log(
    `figure: ${count} creations in ${seconds.toFixed(1)} s, ${per32.toFixed(2)} changes of the directory for each 32`,
  )
  assert.ok(per32 <= 2.5, `${per32}`)
  const listing = performance.now()
  let after = 0n
  let found = 0
  for (;;) {
    const { entries, done } = await one.list(root, after, 1000)
    found += entries.length
    if (done) break
    after = entries[entries.length - 1].cookie
  }
  console.log(
    `figure: ${count} entries with their inodes listed in ${((performance.now() - listing) / 1000).toFixed(2)} s`,
  )
  assert.equal(found, count)
})

test('namespace keeps a listing exact about its end', async () => {
  const world = await newWorld()
  const one = world.node()
  for (const each of ['a', 'b', 'c']) await one.create(root, name(each), aFile)
  const all = await one.list(root, 0n, 3)
  assert.deepEqual([all.entries.length, all.done], [3, true])
  const two = await one.list(root, 0n, 2)
  assert.deepEqual([two.entries.length, two.done], [2, false])
  const none = await one.list(root, all.entries[2].cookie, 2)
  assert.deepEqual([none.entries.length, none.done], [0, true])
})

test('namespace waits neither for ever nor in vain when a file is renamed and written at once', async () => {
  const world = await newWorld(3)
  world.delayMs = 4
  const one = world.node()
  const two = world.node()
  const { id } = (await one.create(root, name('f0'), aFile)).inode
  let renames = 0
  const writes = async (from: number): Promise<void> => {
    for (let i = 0; i < 30; i++) await two.write(id, from + i, Buffer.from([i + 1]))
  }
  const renaming = async (): Promise<InodeId> => {
    for (; renames < 20; renames++) await one.rename(root, name(`f${renames}`), root, name(`f${renames + 1}`))
    return id
  }
  await Promise.all([renaming(), writes(0), writes(30)])
  const { bytes } = await one.read((await one.lookup(root, name('f20'))).id, 0, 100)
  assert.deepEqual(
    [...bytes],
    [...Array(60).keys()].map((i) => (i % 30) + 1),
  )
})

test('namespace lets a creation that comes late find the name taken', async () => {
  const world = await newWorld()
  const late = world.node({ slow: ({ table }) => (table === 'inode' ? 1000 : 0) })
  const first = late.create(root, name('n'), aFile)
  await world.clock.sleep(50)
  const made = await world.node().create(root, name('n'), aFile)
  assert.equal(made.existed, false)
  const answer = await first
  assert.deepEqual([answer.existed, answer.inode.id], [true, made.inode.id])
  assert.deepEqual(await namesIn(world.node(), root), ['n'])
})

test('namespace lets a rename that comes late begin anew, and replace what was made meanwhile', async () => {
  const world = await newWorld()
  const { id } = (await world.node().create(root, name('f'), aFile)).inode
  let slow = true
  const late = world.node({ slow: ({ table }) => (table === 'inode' && slow ? 1000 : 0) })
  const rename = late.rename(root, name('f'), root, name('n'))
  await world.clock.sleep(50)
  const made = await world.node().create(root, name('n'), aFile)
  assert.equal(made.existed, false)
  slow = false
  const { replaced, gone } = await rename
  assert.deepEqual([replaced?.id, gone], [made.inode.id, true])
  assert.equal((await world.node().lookup(root, name('n'))).id, id)
  assert.deepEqual(await namesIn(world.node(), root), ['n'])
})

test('namespace lets a move whose turn was taken over begin anew', async () => {
  const world = await newWorld()
  const a = (await world.node().create(root, name('a'), aDirectory)).inode.id
  const b = (await world.node().create(root, name('b'), aDirectory)).inode.id
  const late = world.node({ slow: ({ key }) => (key === String(a) ? 4000 : 0) })
  const first = codeOf(late.rename(root, name('a'), b, name('a')))
  await world.clock.sleep(50)
  await world.node().rename(root, name('b'), a, name('b'))
  assert.equal(await first, 'INVAL')
  assert.deepEqual([await namesIn(late, root), await namesIn(late, a)], [['a'], ['b']])
})

// Simulated: seed 130147.
test('namespace misses no name that was given to another file while somebody looked', async () => {
  let taken = 0
  for (let seed = 1; seed <= 100; seed++) {
    const world = await newWorld(seed)
    await world.node().create(root, name('a'), aFile)
    await world.node().create(root, name('b'), aFile)
    world.delayMs = 4
    const slow = world.node({ slowAnswer: () => world.roll(60) })
    const [code, given] = await Promise.all([
      codeOf(seed % 2 === 0 ? slow.remove(root, name('b')) : slow.rename(root, name('b'), root, name('c'))),
      codeOf(world.node().rename(root, name('a'), root, name('b'))),
    ])
    assert.equal(code, 'done', `seed ${seed}`)
    if (given === 'done') taken++
    world.close()
  }
  assert(taken > 50, `${taken} were given to the other`)
})
