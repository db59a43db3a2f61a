import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { crc32c } from '../base/crc32c.ts'
import { AssertionFailure } from '../base/assert.ts'
import type { NdfsError } from '../base/errors.ts'
import type { DiskId, NodeId } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import type { File, Platform } from '../platform/platform.ts'
import type { Disk } from './disk.ts'
import { guestShare } from './disk-space.ts'
import { formatDisk, openDisk } from './folder-disk.ts'

const real = nodePlatform({ level: 'silent' })
const node = 'n1' as NodeId
const disk = 'n1-flash-0' as DiskId
const cluster = 'c-test'

async function withFolder(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-disk-'))
  try {
    await body(`${directory}/disk`)
  } finally {
    await rm(directory, { recursive: true })
  }
}

const format = (path: string, capacityBytes = 10 * MiB) =>
  formatDisk(real, { path, cluster, disk, tier: 'flash', capacityBytes })

async function withDisk(
  body: (disk: Disk, path: string, faults: Faults) => Promise<void>,
  capacityBytes?: number,
): Promise<void> {
  await withFolder(async (path) => {
    await format(path, capacityBytes)
    const faults: Faults = {}
    const opened = await openDisk(withFaults(real, faults), { path, node, cluster, disk })
    await body(opened, path, faults).finally(() => opened.close())
  })
}

/** The codes with which operations fail from now on. */
interface Faults {
  write?: string
  sync?: string
  read?: string
  open?: string
  syncDirectory?: string
  /** Called before a folder is made. */
  makingDirectory?: () => void
  syncingDirectory?: () => void
}

const faulty = (code: string | undefined): void => {
  if (code !== undefined) throw Object.assign(new Error(`${code}: made to fail`), { code })
}

/** Real files that fail on command. */
function withFaults(platform: Platform, faults: Faults): Platform {
  const wrap = (file: File): File => ({
    read: async (...given) => (faulty(faults.read), file.read(...given)),
    write: async (...given) => (faulty(faults.write), file.write(...given)),
    sync: async () => (faulty(faults.sync), file.sync()),
    size: () => file.size(),
    truncate: (bytes) => file.truncate(bytes),
    close: () => file.close(),
  })
  const files = {
    ...platform.files,
    open: async (...given: Parameters<Platform['files']['open']>) => (
      faulty(faults.open),
      wrap(await platform.files.open(...given))
    ),
    syncDirectory: async (path: string) => {
      faults.syncingDirectory?.()
      faulty(faults.syncDirectory)
      await platform.files.syncDirectory(path)
    },
    makeDirectory: async (path: string) => (faults.makingDirectory?.(), platform.files.makeDirectory(path)),
  }
  return { ...platform, files }
}

const refusal = async (path: string): Promise<NdfsError> => {
  const error: unknown = await openDisk(real, { path, node, cluster, disk }).then(
    () => assert.fail('the disk was not refused'),
    (reason: unknown) => reason,
  )
  return error as NdfsError
}

test('a disk keeps what was written to it, under the name and incarnation of its superblock', async () => {
  await withFolder(async (path) => {
    const { incarnation } = await format(path)
    const first = await openDisk(real, { path, node, cluster, disk })
    assert.deepEqual(first.ref, { node, disk, incarnation })
    assert.equal(first.tier, 'flash')
    const file = await first.create('groups/a/1-1-1.1', 8192, 'guest', { direct: true, durable: true })
    const page = real.files.alignedBuffer(4096).fill('x')
    await file.write([page, page], 0)
    await file.sync()
    await first.syncNames('groups/a')
    await first.close()

    const second = await openDisk(real, { path, node, cluster, disk })
    assert.deepEqual(await second.list('groups/a'), ['1-1-1.1'])
    assert.deepEqual(await second.list(''), ['groups'])
    assert.deepEqual(await second.list('nothing-here'), [])
    const again = await second.open('groups/a/1-1-1.1')
    const target = Buffer.alloc(10_000)
    assert.equal(await again.read(target, 0), 8192)
    assert.ok(target.subarray(0, 8192).every((byte) => byte === 0x78))
    assert.equal(second.space().usedBytes, 8192)
    await second.close()
  })
})

test('the superblock is the picture at the top of superblock.ts', async () => {
  await withFolder(async (path) => {
    await mkdir(path)
    const fields = `{"ndfs":"disk","version":1,"cluster":"c-test","disk":"n1-flash-0","incarnation":"0123456789abcdef","tier":"hdd","capacityBytes":1000}`
    const crc = crc32c(Buffer.from(fields)).toString(16).padStart(8, '0')
    await writeFile(`${path}/superblock.json`, `${fields.slice(0, -1)},"crc32c":"${crc}"}`)
    const opened = await openDisk(real, { path, node, cluster, disk })
    assert.equal(opened.tier, 'hdd')
    assert.equal(opened.ref.incarnation, '0123456789abcdef')
    assert.equal(opened.space().capacityBytes, 1000)
    await opened.close()
  })
})

test('a disk is used only when its superblock is on stable media, whoever formatted it and died of it (sim seed 3000036)', async () => {
  await withFolder(async (path) => {
    await format(path)
    const synced: string[] = []
    const platform: Platform = {
      ...real,
      files: {
        ...real.files,
        open: async (...given) => {
          const file = await real.files.open(...given)
          const sync = (): Promise<void> => (synced.push(given[0]), file.sync())
          return {
            read: (...asked) => file.read(...asked),
            write: (...asked) => file.write(...asked),
            sync,
            size: () => file.size(),
            truncate: (bytes) => file.truncate(bytes),
            close: () => file.close(),
          }
        },
        syncDirectory: (folder) => (synced.push(folder), real.files.syncDirectory(folder)),
      },
    }
    const opened = await openDisk(platform, { path, node, cluster, disk })
    await opened.close()
    assert.deepEqual(synced, [`${path}/superblock.json`, path, join(path, '..')])
    const failing = await openDisk(withFaults(real, { sync: 'EIO' }), { path, node, cluster, disk })
    assert.equal(failing.state, 'failed')
    await failing.close()
  })
})

test('a disk that is not ours is refused with a sentence that says what to do', async () => {
  await withFolder(async (path) => {
    await mkdir(path)
    const missing = await refusal(path)
    assert.equal(missing.code, 'REFUSED')
    assert.match(missing.message, /has no superblock\. Is the file system mounted\?/)

    await format(path)
    const superblock = `${path}/superblock.json`
    const good = await readFile(superblock, 'utf8')
    for (const [from, to, sentence] of [
      ['"version": 1', '"version": 2', /version 2 and this program knows version 1\. Use the NDFS/],
      ['n1-flash-0', 'n1-flash-9', /checksum of its superblock does not match/],
      ['"ndfs": "disk"', '"ndfs": "cake"', /no NDFS superblock/],
      ['{', '', /no NDFS superblock/],
    ] as const) {
      await writeFile(superblock, good.replace(from, to))
      const error = await refusal(path)
      assert.equal(error.code, 'REFUSED')
      assert.match(error.message, sentence)
    }
    await writeFile(superblock, good)

    await assert.rejects(openDisk(real, { path, node, cluster: 'c-other', disk }), {
      code: 'REFUSED',
      message: /belongs to cluster c-test, and this node to c-other/,
    })
    await assert.rejects(openDisk(real, { path, node, cluster, disk: 'n1-hdd-0' as DiskId }), {
      code: 'REFUSED',
      message: /is the disk n1-flash-0, and the configuration says n1-hdd-0/,
    })
    const opened = await openDisk(real, { path, node, cluster, disk })
    const inUse = await refusal(path)
    assert.equal(inUse.code, 'IN_USE')
    assert.match(inUse.message, /another process has it in use/)
    await opened.close()
    await (await openDisk(real, { path, node, cluster, disk })).close()
  })
})

test('formatting refuses a folder that holds anything, and gives a new incarnation each time', async () => {
  await withFolder(async (path) => {
    const first = await format(path)
    await assert.rejects(format(path), { code: 'ALREADY_EXISTS' })
    await rm(`${path}/superblock.json`)
    await writeFile(`${path}/holiday.jpg`, 'precious')
    await assert.rejects(format(path), { code: 'REFUSED', message: /not empty \(holiday\.jpg\)/ })
    await rm(`${path}/holiday.jpg`)
    assert.notEqual((await format(path)).incarnation, first.incarnation)
  })
})

test('a file is created exclusively', async () => {
  await withDisk(async (opened) => {
    const file = await opened.create('a/file', 100, 'guest')
    await assert.rejects(opened.create('a/file', 100, 'guest'), { code: 'ALREADY_EXISTS' })
    assert.equal(opened.space().usedBytes, 100)
    await file.close()
    await assert.rejects(opened.open('a/other'), { code: 'NOT_FOUND' })
    await opened.remove('a/other')
    assert.equal(opened.state, 'online')
  })
})

test('guests stop before maintenance does (I10), and what is removed is given back once', async () => {
  await withDisk(async (opened) => {
    const guestBytes = Math.floor(10 * MiB * guestShare)
    assert.equal(opened.space().guestFreeBytes, guestBytes)
    const file = await opened.create('f1', guestBytes, 'guest')
    await assert.rejects(opened.create('f2', 1, 'guest'), {
      code: 'OUT_OF_SPACE',
      message: /Cannot give 1B to f2: .* that guest may use are taken/,
    })
    const drained = await opened.create('f3', 10 * MiB - guestBytes, 'maintenance')
    await assert.rejects(opened.create('f4', 1, 'maintenance'), { code: 'OUT_OF_SPACE' })
    await file.close()
    await Promise.all([opened.remove('f1'), opened.remove('f1')])
    await opened.remove('f1')
    assert.equal(opened.space().usedBytes, 10 * MiB - guestBytes)
    await drained.close()
    assert.equal(opened.state, 'online')
  })
})

test('what is set aside is no room for guests, and is for maintenance (I10)', async () => {
  await withDisk(async (opened) => {
    const guestBytes = Math.floor(10 * MiB * guestShare)
    opened.setAside(3 * MiB, 0)
    assert.equal(opened.space().guestFreeBytes, guestBytes - 3 * MiB)
    await assert.rejects(opened.create('f1', guestBytes, 'guest'), { code: 'OUT_OF_SPACE' })
    await (await opened.create('f1', guestBytes - 3 * MiB, 'guest')).close()
    opened.setAside(1 * MiB, 0)
    await (await opened.create('f2', 2 * MiB, 'guest')).close()
    await assert.rejects(opened.create('f3', 1, 'guest'), { code: 'OUT_OF_SPACE' })
    await (await opened.create('f3', 10 * MiB - guestBytes + 1 * MiB, 'maintenance')).close()
    assert.equal(opened.space().usedBytes, 10 * MiB)
    assert.equal(opened.space().guestFreeBytes, 0)
  })
})

test('what is kept for the log is no room for maintenance, also where it could not be had at first (I10)', async () => {
  await withDisk(async (opened) => {
    await (await opened.create('f1', 9 * MiB, 'maintenance')).close()
    opened.setAside(3 * MiB, 2 * MiB)
    assert.equal(opened.space().maintenanceFreeBytes, 0)
    await assert.rejects(opened.create('f2', 1, 'maintenance'), { code: 'OUT_OF_SPACE' })
    await (await opened.create('log', 1 * MiB, 'log')).close()
    await assert.rejects(opened.create('log2', 1, 'log'), { code: 'OUT_OF_SPACE' })
    await opened.remove('f1')
    assert.equal(opened.space().maintenanceFreeBytes, 7 * MiB)
    assert.ok(opened.space().guestFreeBytes <= 7 * MiB)
    opened.setAside(1 * MiB, 0)
    assert.equal(opened.space().maintenanceFreeBytes, 9 * MiB)
    assert.throws(() => opened.setAside(1 * MiB, 2 * MiB), /more is kept from drains than from guests/)
  })
})

test('what a file was given and did not write counts until a restart, what it wrote beyond counts at once', async () => {
  await withFolder(async (path) => {
    await format(path)
    const options = { path, node, cluster, disk }
    const first = await openDisk(real, options)
    const file = await first.create('f', 5000, 'guest')
    await file.write([Buffer.alloc(1000)], 0)
    await file.close()
    assert.equal(first.space().usedBytes, 5000)
    await first.close()
    const second = await openDisk(real, options)
    assert.equal(second.space().usedBytes, 1000)
    const again = await second.open('f')
    await again.write([Buffer.alloc(700), Buffer.alloc(700)], 500)
    assert.equal(second.space().usedBytes, 1900)
    await assert.rejects(again.write([Buffer.alloc(1)], 10 * MiB), { code: 'OUT_OF_SPACE' })
    await again.close()
    await second.remove('f')
    assert.equal(second.space().usedBytes, 0)
    await second.close()
  })
})

for (const [what, faults] of [
  ['write', { write: 'EIO' }],
  ['sync', { sync: 'EIO' }],
  ['sync that finds the file system full', { sync: 'ENOSPC' }],
] as const)
  test(`a failed ${what} takes the disk out of service for good (I6), and reads are still tried`, async () => {
    await withDisk(async (opened, _path, given) => {
      const file = await opened.create('f', 4096, 'guest')
      const other = await opened.create('g', 4096, 'guest')
      await file.write([Buffer.from('before')], 0)
      await file.sync()
      const failures: Error[] = []
      opened.onFailed = (error) => failures.push(error)

      Object.assign(given, faults)
      await assert.rejects(
        file.write([Buffer.from('after')], 0).then(() => file.sync()),
        { code: 'DISK_FAILED' },
      )
      for (const key of Object.keys(faults)) delete given[key as keyof Faults]

      assert.equal(opened.state, 'failed')
      assert.equal(failures.length, 1)
      assert.match(failures[0].message, /n1-flash-0 .* is out of service.*made to fail/)
      for (const refusedNow of [
        file.write([Buffer.from('x')], 0),
        file.sync(),
        other.write([Buffer.from('x')], 0),
        other.sync(),
        opened.create('h', 1, 'maintenance'),
        opened.remove('f'),
        opened.syncNames(''),
      ])
        await assert.rejects(refusedNow, { code: 'DISK_FAILED' })
      opened.fail(new Error('again'))
      assert.equal(failures.length, 1)

      const target = Buffer.alloc(6)
      assert.equal(await file.read(target, 0), 6)
      const reopened = await opened.open('f')
      assert.equal(await reopened.read(target, 0), 6)
    })
  })

test('a write or sync under way when the disk fails is not vouched for (I6)', async () => {
  await withDisk(async (opened) => {
    const file = await opened.create('f', 4096, 'guest')
    const write = file.write([Buffer.from('x')], 0)
    const sync = file.sync()
    opened.fail(new Error('a self-test found it'))
    await assert.rejects(write, { code: 'DISK_FAILED' })
    await assert.rejects(sync, { code: 'DISK_FAILED' })
  })
})

test('a failed sync of a folder takes the disk out of service', async () => {
  await withDisk(async (opened, _path, faults) => {
    faults.syncDirectory = 'EIO'
    await assert.rejects(opened.create('new/f', 1, 'guest'), { code: 'DISK_FAILED' })
    assert.equal(opened.state, 'failed')
    assert.equal(opened.space().usedBytes, 0)
  })
})

test('nothing is synced in folders of a disk that fails while they are made (I6, sim seed 205913)', async () => {
  for (const make of [
    (opened: Disk) => opened.create('new/f', 1, 'guest'),
    (opened: Disk) => opened.makeFolders('', ['a', 'b']),
  ])
    await withDisk(async (opened, _path, faults) => {
      let synced = 0
      faults.makingDirectory = () => {
        opened.fail(new Error('another file could not be written'))
        faults.syncingDirectory = () => void synced++
      }
      await assert.rejects(make(opened), { code: 'DISK_FAILED' })
      assert.equal(synced, 0)
    })
})

test('nothing is written on a disk that fails while the size of a file is looked up (I6, sim seed 665)', async () => {
  await withDisk(async (opened, path) => {
    const created = await opened.create('f', 6, 'guest')
    await created.write([Buffer.from('before')], 0)
    await created.close()
    const file = await opened.open('f')
    const writing = file.write([Buffer.from('behind')], 0)
    opened.fail(new Error('another file could not be synced'))
    await assert.rejects(writing, { code: 'DISK_FAILED' })
    assert.equal(await readFile(`${path}/f`, 'utf8'), 'before')
  })
})

test('a full file system under the disk is no failure: OUT_OF_SPACE, and it goes on', async () => {
  await withDisk(async (opened, _path, faults) => {
    const file = await opened.create('f', 4096, 'guest')
    faults.write = faults.open = 'ENOSPC'
    await assert.rejects(file.write([Buffer.from('x')], 0), { code: 'OUT_OF_SPACE', message: /Make room/ })
    await assert.rejects(opened.create('g', 1, 'guest'), { code: 'OUT_OF_SPACE' })
    delete faults.write
    await file.write([Buffer.from('x')], 0)
    assert.equal(opened.state, 'online')
    assert.equal(opened.space().usedBytes, 4096)
  })
})

test('a failed read is the read’s alone, and a lack of descriptors is not the disk’s fault', async () => {
  await withDisk(async (opened, _path, faults) => {
    const file = await opened.create('f', 4096, 'guest')
    faults.read = 'EIO'
    await assert.rejects(file.read(Buffer.alloc(1), 0), {
      code: 'DISK_FAILED',
      message: /Cannot read f on n1-flash-0/,
    })
    faults.open = 'EMFILE'
    await assert.rejects(opened.open('f'), { code: 'UNAVAILABLE' })
    await assert.rejects(opened.create('g', 1, 'guest'), { code: 'UNAVAILABLE' })
    faults.open = undefined
    faults.syncDirectory = 'EMFILE'
    await assert.rejects(opened.syncNames(''), { code: 'UNAVAILABLE' })
    await assert.rejects(opened.create('new/f', 1, 'guest'), { code: 'UNAVAILABLE' })
    assert.equal(opened.state, 'online')
  })
})

test('a name that leaves the disk, or is the superblock’s, is our bug', async () => {
  await withDisk(async (opened) => {
    for (const name of ['', '/etc/x', '../x', 'a/../x', 'a//b', 'a/', 'superblock.json', 'a\0b'])
      await assert.rejects(async () => opened.create(name, 1, 'guest'), AssertionFailure)
  })
})

test('a closed disk answers UNAVAILABLE', async () => {
  await withDisk(async (opened) => {
    await opened.create('f', 4096, 'guest')
    await opened.close()
    await assert.rejects(opened.create('g', 1, 'guest'), { code: 'UNAVAILABLE' })
    await assert.rejects(opened.open('f'), { code: 'UNAVAILABLE' })
  })
})

test('what a crash left of a superblock’s replacement is removed when the disk is opened', async () => {
  await withFolder(async (path) => {
    await format(path)
    await writeFile(`${path}/superblock.json.7-1.tmp`, 'half')
    const opened = await openDisk(real, { path, node, cluster, disk })
    assert.equal(opened.space().usedBytes, 0)
    assert.deepEqual(await real.files.list(path), ['superblock.json'])
    await opened.close()
  })
})

test('a disk whose folder was deleted under open files leaves service within a second of writing', async () => {
  await withDisk(async (disk, path) => {
    const file = await disk.create('log', MiB, 'guest')
    const page = Buffer.alloc(4096)
    await file.write([page], 0)
    await rm(path, { recursive: true })
    let failure: Error | undefined
    disk.onFailed = (error) => (failure = error)
    const deadline = performance.now() + 5000
    // Nothing else would ever say so: the file system takes them, and syncs them.
    while (disk.state === 'online' && performance.now() < deadline) {
      await file.write([page], 0).catch(() => undefined)
      await file.sync().catch(() => undefined)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    assert.match(String(failure), /its superblock is gone: its folder was deleted, or unmounted/)
    await assert.rejects(file.write([page], 0), { code: 'DISK_FAILED' })
  })
})

test('a disk whose folder is gone, or another disk, leaves service when it is looked at', async () => {
  await withDisk(async (disk, path) => {
    await disk.confirm()
    await assert.rejects(disk.open('nothing'), { code: 'NOT_FOUND' })
    assert.equal(disk.state, 'online')
    await rm(path, { recursive: true })
    await assert.rejects(disk.open('nothing'), { code: 'NOT_FOUND' })
    assert.equal(disk.state, 'failed')
  })
  await withDisk(async (disk, path) => {
    await rm(path, { recursive: true })
    await format(path)
    await disk.confirm()
    assert.equal(disk.state, 'failed')
  })
  // A rotten superblock says nothing about the data beside it.
  await withDisk(async (disk, path) => {
    await writeFile(join(path, 'superblock.json'), 'rot')
    await disk.confirm()
    assert.equal(disk.state, 'online')
  })
})
