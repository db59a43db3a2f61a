import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { File, Files } from '../src/platform/platform.ts'
import { World } from './world.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)

/** What is possible must be seen in this many worlds, what is not must not. */
const worlds = 200

interface Given {
  readonly world: World
  readonly files: Files
}

/** Tells the story up to a power cut in many worlds, then looks; returns what was seen, each once. */
async function afterPowerCut(
  story: (given: Given) => Promise<void>,
  look: (files: Files) => Promise<string>,
): Promise<string[]> {
  const seen = new Set<string>()
  for (let index = 0; index < worlds; index++) {
    const world = new World({ seed: seed + index })
    await world.play(() => story({ world, files: world.platform('n1').files }))
    world.crash('n1')
    seen.add(await world.play(() => look(world.platform('n1').files)))
  }
  return [...seen].sort()
}

async function newFile(files: Files, path: string, options: { durable?: boolean } = {}): Promise<File> {
  const file = await files.open(path, { create: true, ...options })
  await files.syncDirectory('/')
  return file
}

/** As long as one operation takes. */
const aMoment = (files: Files): Promise<unknown> => files.freeBytes('/')

const sectors = (letters: string): Buffer =>
  Buffer.concat([...letters].map((letter) => Buffer.alloc(512, letter)))

/** The first byte of each sector; a point for zeroes. */
async function lettersIn(files: Files, path: string): Promise<string> {
  const bytes = await files.readWhole(path)
  if (!bytes) return 'no file'
  let letters = ''
  for (let at = 0; at < bytes.length; at += 512) {
    const sector = bytes.subarray(at, at + 512)
    assert.ok(
      sector.every((byte) => byte === sector[0]),
      'a sector is torn',
    )
    letters += sector[0] === 0 ? '.' : String.fromCharCode(sector[0])
  }
  return letters
}

test('what was synced, or written to a durable file, survives a power cut', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/synced')
      await file.write([sectors('abc')], 0)
      await file.sync()
      const durable = await newFile(files, '/durable', { durable: true })
      await durable.write([sectors('def')], 0)
    },
    async (files) => (await lettersIn(files, '/synced')) + (await lettersIn(files, '/durable')),
  )
  assert.deepEqual(seen, ['abcdef'])
})

test('of unsynced writes any sectors survive, each in any version that it had', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/file')
      await file.write([sectors('aa')], 0)
      await file.sync()
      await file.write([sectors('bb')], 0)
      await file.write([sectors('c')], 512)
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(seen, ['aa', 'ab', 'ac', 'ba', 'bb', 'bc'])
})

test('a durable write in flight is torn between sectors, and a durable one over an unsynced one stays on top', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/file', { durable: true })
      await file.write([sectors('aa')], 0)
      void file.write([sectors('bb')], 0)
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(seen, ['aa', 'ab', 'ba', 'bb'])

  const over = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/file')
      await file.write([sectors('ooo')], 0)
      const durable = await files.open('/file', { writable: true, durable: true })
      await durable.write([sectors('N')], 512)
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.ok(over.length > 1)
  for (const letters of over) assert.match(letters, /^[o.]N[o.]?$/)
})

test('a sync covers what was written before it was called, not what comes meanwhile', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/file')
      await file.write([sectors('a')], 0)
      const synced = file.sync()
      await file.write([sectors('b')], 512)
      await synced
    },
    (files) => lettersIn(files, '/file'),
  )
  for (const letters of seen) assert.match(letters, /^a[b.]?$/)
  assert.ok(seen.includes('ab') && seen.some((letters) => letters !== 'ab'))
})

test('after a failed sync a later one does not bring back what the first should have written', async () => {
  const seen = await afterPowerCut(
    async ({ world, files }) => {
      const file = await newFile(files, '/file')
      await file.write([sectors('a')], 0)
      world.disk('n1').onOperation = ({ kind }) => (kind === 'sync' ? { fail: 'EIO' } : undefined)
      await assert.rejects(file.sync(), { code: 'EIO' })
      world.disk('n1').onOperation = () => undefined
      await file.sync()
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.ok(seen.includes('a') && seen.some((letters) => letters !== 'a'), seen.join())
})

test('names survive for certain once their directory was synced', async () => {
  const list = async (files: Files) => (await files.list('/d'))?.join() ?? 'no directory'
  const unsynced = await afterPowerCut(async ({ files }) => {
    await files.makeDirectory('/d')
    await files.syncDirectory('/')
    for (const name of ['a', 'b']) await files.open(`/d/${name}`, { create: true })
  }, list)
  assert.deepEqual(unsynced, ['', 'a', 'a,b', 'b'])
  const synced = await afterPowerCut(async ({ files }) => {
    await files.makeDirectory('/d')
    await files.syncDirectory('/')
    for (const name of ['a', 'b']) await files.open(`/d/${name}`, { create: true })
    await files.syncDirectory('/d')
    await files.remove('/d/a')
  }, list)
  assert.deepEqual(synced, ['a,b', 'b'])
})

test('a rename under way leaves the file under one name of the two', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      for (const directory of ['/d', '/e']) await files.makeDirectory(directory)
      await files.syncDirectory('/')
      await files.open('/d/file', { create: true })
      await files.syncDirectory('/d')
      void files.rename('/d/file', '/e/file')
      await aMoment(files)
    },
    async (files) => `${(await files.list('/d'))?.join()} ${(await files.list('/e'))?.join()}`,
  )
  assert.deepEqual(seen, [' file', 'file '])
})

test('replacing a small file leaves the old one or the new one, and the new one once it has resolved', async () => {
  const replacing = async (files: Files) => {
    await files.replaceWhole('/file', sectors('old'))
    const replaced = files.replaceWhole('/file', sectors('new'))
    return { replaced }
  }
  const under = await afterPowerCut(
    async ({ world, files }) => {
      void (await replacing(files)).replaced
      for (let moments = world.chance('moments').below(12); moments > 0; moments--) await aMoment(files)
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(under, ['new', 'old'])
  const done = await afterPowerCut(
    async ({ files }) => (await replacing(files)).replaced,
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(done, ['new'])
})

test('a kill loses nothing that was written, and stops a write under way at any byte', async () => {
  const lengths = new Set<number | undefined>()
  for (let index = 0; index < worlds; index++) {
    const world = new World({ seed: seed + index })
    await world.play(async () => {
      const file = await world.platform('n1').files.open('/file', { create: true })
      await file.write([Buffer.alloc(10, 'a')], 0)
      void file.write([Buffer.alloc(10, 'b')], 10)
    })
    world.kill('n1')
    const bytes = await world.play(() => world.platform('n1').files.readWhole('/file'))
    assert.match(String(bytes), /^a{10}b*$/)
    lengths.add(bytes?.length)
  }
  assert.ok(lengths.has(10) && lengths.has(20) && lengths.size > 2, [...lengths].join())
})

test('what a killed process was writing can be read, and is not synced, though the file is a durable one', async () => {
  const seen = await afterPowerCut(
    async ({ world, files }) => {
      const file = await newFile(files, '/file', { durable: true })
      await file.write([sectors('aa')], 0)
      world.disk('n1').onOperation = () => ({ leaves: 1024 })
      void file.write([sectors('bbb')], 0)
      world.kill('n1')
      assert.equal(await lettersIn(world.platform('n1').files, '/file'), 'bb')
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(seen, ['aa', 'ab', 'ba', 'bb'])
})

test('shrinking a file cuts its end off for good', async () => {
  const seen = await afterPowerCut(
    async ({ files }) => {
      const file = await newFile(files, '/file')
      await file.write([sectors('abc')], 0)
      await file.sync()
      await file.truncate(512)
      await file.truncate(1024)
      assert.equal(await lettersIn(files, '/file'), 'a.')
    },
    (files) => lettersIn(files, '/file'),
  )
  assert.deepEqual(seen, ['a', 'a.', 'abc'])
})

test('writes can be lost, misdirected, delayed or refused, and bytes rot', async () => {
  const world = new World({ seed })
  const { files } = world.platform('n1')
  const disk = world.disk('n1')
  await world.play(async () => {
    const file = await files.open('/file', { create: true })
    await file.write([sectors('aaa')], 0)
    disk.onOperation = () => ({ lost: true })
    await file.write([sectors('b')], 0)
    disk.onOperation = () => ({ misdirectedTo: 512 })
    await file.write([sectors('c')], 0)
    disk.onOperation = () => ({ delayMs: 5000 })
    const before = world.now
    await file.write([sectors('d')], 1024)
    assert.ok(world.now - before >= 5000)
    disk.onOperation = ({ kind, path, position, bytes }) =>
      kind === 'write' && path === '/file' && position === 0 && bytes === 512 ? { fail: 'EIO' } : undefined
    await assert.rejects(file.write([sectors('a')], 0), { code: 'EIO' })
    assert.equal(await lettersIn(files, '/file'), 'acd')
    disk.flipByte('/file', 700)
    const rotten = await files.readWhole('/file')
    assert.equal(rotten?.[700], 'c'.charCodeAt(0) ^ 0xff)
    assert.equal(rotten[701], 'c'.charCodeAt(0))
  })
})

test('a write may land in another file, and what a lost one leaves is a file as long as if it had not been lost', async () => {
  const world = new World({ seed })
  const { files } = world.platform('n1')
  let times = 0
  const happened = (): void => void times++
  await world.play(async () => {
    const a = await files.open('/a', { create: true })
    const b = await files.open('/b', { create: true })
    await b.write([sectors('bbb')], 0)
    world.disk('n1').onOperation = () => ({ misdirectedTo: 512, misdirectedToFile: '/b', happened })
    await a.write([sectors('a')], 512)
    world.disk('n1').onOperation = () => ({ lost: true, happened })
    await a.write([sectors('a')], 1024)
    assert.equal(await lettersIn(files, '/a'), '...')
    assert.equal(await lettersIn(files, '/b'), 'bab')
  })
  assert.equal(times, 2)
})

test('a disk that tears leaves sectors with the bytes of two writes, others never', async () => {
  let torn = 0
  for (let index = 0; index < worlds; index++) {
    const world = new World({ seed: seed + index })
    const disk = world.disk('n1')
    disk.tearingShare = index % 2
    await world.play(async () => {
      const file = await newFile(world.platform('n1').files, '/file')
      await file.write([sectors('oooo')], 0)
      await file.sync()
      await file.write([sectors('nnnn')], 0)
    })
    world.crash('n1')
    const bytes = await world.play(() => world.platform('n1').files.readWhole('/file'))
    const mixed = [0, 512, 1024, 1536].filter((at) =>
      bytes!.subarray(at, at + 512).some((byte) => byte !== bytes![at]),
    )
    assert.equal(mixed.length, disk.tornSectors)
    if (index % 2 === 0) assert.equal(mixed.length, 0)
    torn += mixed.length
  }
  assert.ok(torn > 0)
})

test('a disk that is replaced holds nothing, whatever was synced, and does not get it back from a power cut', async () => {
  const world = new World({ seed })
  const { files } = world.platform('n1')
  await world.play(async () => {
    await files.makeDirectory('/disks/flash')
    await files.replaceWhole('/disks/flash/a', sectors('a'))
    await files.open('/disks/flash/b', { create: true })
    world.disk('n1').erase('/disks/flash')
    assert.equal(await files.list('/disks/flash'), undefined)
  })
  world.crash('n1')
  await world.play(async () => {
    assert.equal(await world.platform('n1').files.list('/disks/flash'), undefined)
  })
})

test('a full disk refuses writes with ENOSPC, and removing a file helps', async () => {
  const world = new World({ seed })
  world.disk('n1').setCapacity('/small', 64 * 1024)
  const { files } = world.platform('n1')
  await world.play(async () => {
    await files.makeDirectory('/small')
    const file = await files.open('/small/a', { create: true })
    await file.write([Buffer.alloc(60_000)], 0)
    assert.equal(await files.freeBytes('/small'), 0)
    const other = await files.open('/small/b', { create: true })
    await assert.rejects(other.write([Buffer.alloc(60_000)], 0), { code: 'ENOSPC' })
    await file.write([Buffer.alloc(60_000, 1)], 0)
    await (await files.open('/elsewhere', { create: true })).write([Buffer.alloc(60_000)], 0)
    await files.remove('/small/a')
    await other.write([Buffer.alloc(40_000)], 0)
  })
})
