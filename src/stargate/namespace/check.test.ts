/** Every kind of damage that a check of files is to find, planted in the rows; what looks alike and is none is not told. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VDiskId } from '../../base/ids.ts'
import { cookiesOf, entryKey, nameHash } from './cookies.ts'
import { aDirectory, aFile, bytesOf, checked, newWorld, root, secret, type World } from './fixtures.test.ts'
import type { InodeId, Namespace } from './namespace.ts'
import {
  decodeEntry,
  decodeInodeRow,
  type DirectoryRow,
  encodeEntry,
  encodeInodeRow,
  type FileRow,
  inodeRowKey,
  type InodeRow,
  partitionOf,
} from './rows.ts'

const name = bytesOf
const vdisk = 5 as VDiskId

interface Stage {
  readonly world: World
  readonly node: Namespace
  /** /dir, /dir/file (70,000 bytes), /dir/other (a link to it), /dir/sub, /dir/sub/big (a vDisk), /empty */
  readonly dir: InodeId
  readonly file: InodeId
  readonly sub: InodeId
  readonly big: InodeId
  readonly empty: InodeId
}

async function stage(): Promise<Stage> {
  const world = await newWorld()
  const node = world.node()
  const made = async (where: InodeId, as: string, kind = aFile): Promise<InodeId> =>
    (await node.create(where, name(as), kind)).inode.id
  const dir = await made(root, 'dir', aDirectory)
  const file = await made(dir, 'file')
  await node.write(file, 0, Buffer.alloc(70_000, 1))
  await node.link(file, dir, name('other'))
  const sub = await made(dir, 'sub', aDirectory)
  const big = await made(sub, 'big')
  await node.beginPromotion(big, vdisk)
  await node.endPromotion(big, vdisk, 1)
  return { world, node, dir, file, sub, big, empty: await made(root, 'empty', aDirectory) }
}

function changeRow<Row extends InodeRow>({ world }: Stage, id: InodeId, change: (row: Row) => Row): void {
  const rows = world.dump(partitionOf(id).table).get(String(id))!
  world.putRow(
    partitionOf(id),
    inodeRowKey,
    encodeInodeRow(change(decodeInodeRow(rows.get(inodeRowKey)!) as Row)),
  )
}

function entryOf(
  { world }: Stage,
  directory: InodeId,
  as: string,
): { readonly key: string; readonly value: Buffer } {
  const rows = [...world.dump('directory').get(String(directory))!]
  const [key, value] = rows.find(
    ([at, bytes]) => at.startsWith('e') && decodeEntry(bytes).name.toString() === as,
  )!
  return { key, value }
}

function removeEntry(on: Stage, directory: InodeId, as: string): void {
  on.world.putRow(partitionOf(directory), entryOf(on, directory, as).key, undefined)
}

test('check of files: all is right, and everything was read', async () => {
  const on = await stage()
  assert.deepEqual(await checked(on.node), {
    ...{ found: [], leftOver: [], unfinished: [] },
    ...{ files: 2, directories: 4, bytes: 70_000 },
  })
})

const damage: Record<
  string,
  { readonly plant: (on: Stage) => void; readonly tells: (on: Stage) => readonly string[] }
> = {
  'a byte of a data row is another': {
    plant: ({ world, file }) => {
      const bytes = Buffer.from(world.dump('inode').get(String(file))!.get('d01')!)
      bytes[100] ^= 1
      world.putRow(partitionOf(file), 'd01', bytes)
    },
    tells: ({ file }) => [
      `damaged file: /default/dir/file: Cannot read inode ${file}: data row 1 has other bytes than were written`,
    ],
  },
  'a data row is missing': {
    plant: ({ world, file }) => world.putRow(partitionOf(file), 'd01', undefined),
    tells: ({ file }) => [
      `damaged file: /default/dir/file: Cannot read inode ${file}: data row 1 is not there`,
    ],
  },
  'a data row of what is a vDisk by now': {
    plant: ({ world, big }) => world.putRow(partitionOf(big), 'd00', name('old')),
    tells: ({ big }) => [
      `damaged file: /default/dir/sub/big: Cannot read inode ${big}: data row 0 is there, and should not be`,
    ],
  },
  'a file says that it ends before its last row does': {
    plant: (on) => changeRow<FileRow>(on, on.file, (row) => ({ ...row, sizeBytes: 66_000 })),
    tells: ({ file }) => [
      `damaged file: /default/dir/file: Cannot read inode ${file}: data row 2 ends behind the file, which has 66000 bytes`,
    ],
  },
  "an inode's row holds something else": {
    plant: ({ world, big }) => world.putRow(partitionOf(big), inodeRowKey, Buffer.from('ff00ff', 'hex')),
    tells: ({ big }) => [
      `damaged file: /default/dir/sub/big: inode ${big} can't be read: Cannot read an inode's row: it holds something else`,
    ],
  },
  "an inode's row is missing": {
    plant: ({ world, file }) => world.putRow(partitionOf(file), inodeRowKey, undefined),
    tells: ({ file }) =>
      ['file', 'other'].map(
        (as) => `damaged file: /default/dir/${as}: inode ${file} can't be read: its row is not there`,
      ),
  },
  'the entry of a second name is missing': {
    plant: (on) => removeEntry(on, on.dir, 'other'),
    tells: ({ dir, file }) => [
      `wrong name: /default/dir/file: inode ${file} is called "other" in directory ${dir}, and that has no such entry`,
    ],
  },
  'the entry of a directory is missing': {
    plant: (on) => removeEntry(on, on.dir, 'sub'),
    tells: () => ['wrong name: /default/dir says that it holds 1 directories, and has entries of 0'],
  },
  'an entry holds something else': {
    plant: (on) =>
      on.world.putRow(partitionOf(on.sub), entryOf(on, on.sub, 'big').key, Buffer.from([1, 2, 3])),
    tells: () => [
      "wrong name: an entry of /default/dir/sub can't be read: Cannot read an entry of a directory: it holds something else",
    ],
  },
  'an entry stands where nobody looks for it': {
    plant: (on) => {
      const { key, value } = entryOf(on, on.sub, 'big')
      on.world.putRow(partitionOf(on.sub), key, undefined)
      on.world.putRow(partitionOf(on.sub), entryKey(77n), value)
    },
    tells: () => [
      'wrong name: /default/dir/sub/big stands in its directory where nobody looks for it, under e000000000000004d',
    ],
  },
  'a wrong number of directories': {
    plant: (on) => changeRow<DirectoryRow>(on, on.dir, (row) => ({ ...row, subdirectories: 3 })),
    tells: () => ['wrong name: /default/dir says that it holds 3 directories, and has entries of 1'],
  },
  'a circle of directories': {
    plant: (on) => {
      const { key, value } = entryOf(on, root, 'dir')
      changeRow<DirectoryRow>(on, on.dir, (row) => ({ ...row, parent: on.sub }))
      on.world.putRow(partitionOf(on.sub), key, value)
      changeRow<DirectoryRow>(on, on.sub, (row) => ({ ...row, subdirectories: 1 }))
    },
    tells: ({ dir, sub }) => [
      `wrong name: /default/dir: inode ${dir} is called "dir" in directory ${sub}, and the way up from there is a circle`,
    ],
  },
  'a file whose directory is no more': {
    plant: (on) =>
      changeRow<FileRow>(on, on.file, (row) => ({
        ...row,
        names: row.names.map((at) => ({ ...at, directory: 999_999 as InodeId })),
      })),
    tells: ({ file }) =>
      ['file', 'other'].flatMap((as) =>
        ['file', 'other'].map(
          (called) =>
            `wrong name: /default/dir/${as}: inode ${file} is called "${called}" in directory 999999, and there is no such directory`,
        ),
      ),
  },
  'an inode of a type that there is not': {
    plant: (on) => changeRow<FileRow>(on, on.file, (row) => ({ ...row, type: 'paper' as 'file' })),
    tells: ({ file }) =>
      ['file', 'other'].map(
        (as) =>
          `damaged file: /default/dir/${as}: inode ${file} can't be read: Cannot read an inode's row: it holds something else`,
      ),
  },
}

for (const [what, { plant, tells }] of Object.entries(damage))
  test(`check of files finds: ${what}`, async () => {
    const on = await stage()
    plant(on)
    const { found } = await checked(on.node)
    assert.deepEqual(found.sort(), [...tells(on)].sort())
    assert.deepEqual((await checked(on.node)).found.sort(), found, 'a check changes nothing')
    on.world.close()
  })

test('check of files finds a vDisk that is gone, and tells of one that no file names', async () => {
  const { world, node, big, sub } = await stage()
  const fault = 'it was deleted'
  const lost = await checked(node, {
    faultOfVDisk: (id) => Promise.resolve(id === vdisk ? fault : undefined),
  })
  assert.deepEqual(lost.found, [`damaged file: /default/dir/sub/big: its bytes are in vDisk 5: ${fault}`])

  const named = (id: number, file: InodeId) => ({ name: `default/file-${id}`, vdisk: id as VDiskId, file })
  const vdisks = [named(5, big), named(6, big), named(8, 4444 as InodeId)]
  const { found, leftOver } = await checked(node, { vdisks })
  assert.deepEqual(found, [
    'damaged file: vDisk default/file-8 was made for file 4444, and there is none, and never was',
  ])
  assert.deepEqual(leftOver, [`vDisk default/file-6 was made for file ${big}, which does not name it`])

  const all = world.dump('directory').get(String(sub))!
  for (const key of all.keys()) if (key.startsWith('e')) world.putRow(partitionOf(sub), key, undefined)
  const unreached = await checked(node, { vdisks: [named(5, big)] })
  assert.deepEqual(unreached.found, [
    `wrong name: default/file-5: inode ${big} is called "big" in directory ${sub}, and that has no such entry`,
  ])
})

test('check of files: entries that count for nothing are told apart', async () => {
  const on = await stage()
  const other = { name: name('gone'), candidates: [1234 as InodeId, on.file], stamp: 1 }
  const [cookie] = cookiesOf(nameHash(secret)(other.name))
  on.world.putRow(partitionOf(root), entryKey(cookie), encodeEntry(other))
  const { found, leftOver } = await checked(on.node)
  assert.deepEqual([found, leftOver], [[], ['/default/gone: its entry counts for nothing']])
})

test('check of files goes through pages, and names what is no text in hexadecimal', async () => {
  const world = await newWorld()
  const node = world.node()
  for (let i = 0; i < 300; i++) {
    const { inode } = await node.create(root, name(`d${i}`), aDirectory)
    await node.create(inode.id, i === 7 ? Buffer.from([0xff, 0x0a]) : name('new\nline'), aFile)
  }
  const { found, files, directories } = await checked(node)
  assert.deepEqual([found, files, directories], [[], 300, 301])
  for (const id of world.dump('inode').keys()) world.putRow({ table: 'inode', key: id }, 'd00', name('x'))
  const wrong = await checked(node)
  assert.equal(wrong.found.length, 300)
  assert.ok(wrong.found.some((line) => line.startsWith('damaged file: /default/d7/\\xff\\x0a: ')))
  assert.ok(wrong.found.some((line) => line.startsWith('damaged file: /default/d8/new\\u{a}line: ')))
})
