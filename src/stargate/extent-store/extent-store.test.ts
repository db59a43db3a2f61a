import assert from 'node:assert/strict'
import { mkdtemp, open, readdir, readFile, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { crc32c } from '../../base/crc32c.ts'
import { hasCode, NdfsError } from '../../base/errors.ts'
import { groupIdOf } from '../../base/ids.ts'
import type {
  CopyNumber,
  DiskId,
  Epoch,
  GroupId,
  Incarnation,
  LayerId,
  NodeId,
  Sequence,
  VDiskId,
} from '../../base/ids.ts'
import { giveBack, overwriteWhatIsGivenBack } from '../../base/large-buffers.ts'
import { groupPage, KiB, MiB, pageBytes, vDiskPage } from '../../base/units.ts'
import type { Disk } from '../../disk/disk.ts'
import { formatDisk, openDisk } from '../../disk/folder-disk.ts'
import type { PeerHandler, Peers } from '../../peer/peer.ts'
import { nodePlatform } from '../../platform/node-platform.ts'
import type { File, Files, Platform } from '../../platform/platform.ts'
import type { CopyRef, ExtentStore, FoundCopy, GroupAccess, Trailer } from './extent-store.ts'
import { inventoryFolders } from './extent-store.ts'
import { groupFileName, isGroupId, parseGroupFileName, readTrailer } from './group-file.ts'
import { OpenFiles } from './open-files.ts'
import { createExtentStore } from './replicated-extent-store.ts'
import { createSpaceView } from './space-view.ts'
import { encodeExtentRequest } from './wire.ts'

overwriteWhatIsGivenBack()
const silent = { debug() {}, info() {}, warn() {}, error() {}, with: () => silent }
const platform: Platform = { ...nodePlatform({ level: 'silent' }), log: silent }

/** Nodes in one process: requests and answers are copied, as a network does; a node can be cut off. */
class Network {
  readonly #handlers = new Map<string, PeerHandler>()
  readonly cutOff = new Set<string>()
  readonly calls: string[] = []
  /** What becomes of a request's body on its way. */
  damage: (body: Buffer) => void = () => undefined

  peersOf(node: string): Peers {
    const call: Peers['call'] = async (to, kind, body) => {
      this.calls.push(`${to} ${kind}`)
      const handler = this.#handlers.get(`${to} ${kind}`)
      if (this.cutOff.has(to) || this.cutOff.has(node) || handler === undefined)
        throw new NdfsError('PEER_UNREACHABLE', `Cannot reach ${to}`)
      const sent = Buffer.concat(body)
      this.damage(sent)
      const answer = await handler({
        from: node as NodeId,
        incarnation: '0'.repeat(16) as Incarnation,
        kind,
        body: sent,
        // As a connection tells it of long bodies.
        checksumOfPages: crc32c(sent.subarray(0, sent.length - (sent.length % pageBytes))),
      })
      return Buffer.concat(answer)
    }
    return {
      handle: (kind, _lane, handler) => void this.#handlers.set(`${node} ${kind}`, handler),
      setAddress: () => undefined,
      call,
      backlogBytes: () => 0,
      onDisconnected: () => undefined,
      listen: (address) => Promise.resolve(address),
      close: () => Promise.resolve(),
    }
  }
}

interface World {
  readonly network: Network
  readonly disks: readonly Disk[]
  readonly stores: readonly ExtentStore[]
  /** The store of the owner, on the first node. */
  readonly store: ExtentStore
  readonly bad: string[]
  /** Nodes that the first one heard of anew. */
  readonly heardAgain: NodeId[]
  /** The epoch in every vDisk's row. */
  rowEpoch: Epoch
  /** Every store closed, and others on the same disks. */
  restart(): Promise<void>
}

/** `files`: what disks are made of. */
async function worldOf(
  t: TestContext,
  nodes: number,
  capacityBytes = 64 * MiB,
  files = platform.files,
): Promise<World> {
  const root = await mkdtemp(join(tmpdir(), 'ndfs-extent-store-'))
  const network = new Network()
  const disks: Disk[] = []
  let stores: ExtentStore[] = []
  const bad: string[] = []
  const heardAgain: NodeId[] = []
  for (let i = 1; i <= nodes; i++) {
    const options = {
      path: join(root, `n${i}`),
      node: `n${i}` as NodeId,
      cluster: 'c',
      disk: `n${i}-flash-0` as DiskId,
    }
    await formatDisk(platform, { ...options, tier: 'flash', capacityBytes })
    disks.push(await openDisk({ ...platform, files }, options))
  }
  const start = (): void => {
    stores = disks.map((disk, i) =>
      createExtentStore({
        platform,
        peers: network.peersOf(disk.ref.node),
        node: disk.ref.node,
        block: `b${i + 1}`,
        clusterId: 'c',
        disks: [disk],
        epochOf: () => Promise.resolve(world.rowEpoch),
        remoteCandidates: () => [],
        hearOfSpace: () => Promise.resolve(),
        hearAgain: (node) => Promise.resolve(void heardAgain.push(node)),
        remoteTier: () => 'flash',
      }),
    )
    stores[0].onBadCopy = (_access, copy, reason) => bad.push(`${copy.node} ${reason}`)
  }
  t.after(async () => {
    await Promise.all(stores.map((store) => store.close()))
    await Promise.all(disks.map((disk) => disk.close()))
    await rm(root, { recursive: true })
  })
  const world: World = {
    network,
    disks,
    bad,
    heardAgain,
    rowEpoch: 2 as Epoch,
    get stores() {
      return stores
    },
    get store() {
      return stores[0]
    },
    async restart() {
      await Promise.all(stores.map((store) => store.close()))
      start()
    },
  }
  start()
  return world
}

const pagesOf = (count: number, salt = 0): Buffer => {
  const bytes = Buffer.alloc(count * pageBytes)
  for (let at = 0; at < bytes.length; at += 4)
    bytes.writeUInt32LE((Math.imul(at + 1, 0x9e3779b1) + salt) >>> 0, at)
  return bytes
}
const sumsOf = (pages: Buffer): Uint32Array =>
  Uint32Array.from({ length: pages.length / pageBytes }, (_, page) =>
    crc32c(pages.subarray(page * pageBytes, (page + 1) * pageBytes)),
  )
const trailerFor = (pages: Buffer): Trailer => ({
  container: 'vms',
  layer: 1 as LayerId,
  copies: 2,
  extents: [
    { page: vDiskPage(256), count: pages.length / pageBytes, at: groupPage(0), sequence: 9 as Sequence },
  ],
  zeros: [],
  checksums: sumsOf(pages),
})
const accessTo = (world: World, counter = 1, disks = world.disks): GroupAccess => ({
  group: groupIdOf(5 as VDiskId, 2 as Epoch, counter),
  vdisk: 5 as VDiskId,
  epoch: 2 as Epoch,
  copies: disks.map((disk, index): CopyRef => ({ ...disk.ref, number: (index + 1) as CopyNumber })),
})
const pathOf = (world: World, access: GroupAccess, copy: number): string =>
  join(world.disks[copy].path, groupFileName(access.group, access.copies[copy].number))

async function overwrite(path: string, position: number, bytes: Buffer): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(bytes, 0, bytes.length, position)
  await file.close()
}
async function flip(path: string, position: number): Promise<void> {
  const there = (await readFile(path))[position]
  await overwrite(path, position, Buffer.of(there ^ 0x10))
}

async function readBack(world: World, access: GroupAccess, pages: Buffer, from = 0): Promise<Buffer> {
  const target = Buffer.alloc(pages.length)
  await world.store.read(access, groupPage(from), pages.length / pageBytes, sumsOf(pages), target)
  return target
}

async function takeBack(world: World, access: GroupAccess, pages: Buffer, from = 0): Promise<Buffer> {
  const taken = await world.store.take(access, groupPage(from), pages.length / pageBytes, sumsOf(pages))
  const bytes = Buffer.from(taken)
  giveBack(taken)
  return bytes
}

/** Of both ways to read: into memory that is given, and into memory of the read's own. */
function testReads(name: string, run: (t: TestContext, read: typeof readBack) => Promise<void>): void {
  test(name, (t) => run(t, readBack))
  test(`${name} (taken)`, (t) => run(t, takeBack))
}

async function inventoryOf(world: World, index: number): Promise<FoundCopy[]> {
  const found: FoundCopy[] = []
  for (let folder = 0; folder < inventoryFolders; folder++)
    found.push(...(await world.store.inventory(world.disks[index].ref, folder)))
  return found
}

async function written(world: World, count = 8): Promise<{ access: GroupAccess; pages: Buffer }> {
  const access = accessTo(world)
  const pages = pagesOf(count)
  await world.store.write(access, groupPage(0), [pages], 'guest', trailerFor(pages))
  return { access, pages }
}

// Seed, extent store: it sends a copy to another node's extent store.
test('R26: what was written is on each copy’s disk, and is read back', async (t) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written(world)
  assert.deepEqual(await readBack(world, access, pages), pages)
  for (const copy of [0, 1, 2]) {
    const file = await readFile(pathOf(world, access, copy))
    assert.ok(file.subarray(0, pages.length).equals(pages))
    assert.equal(file.length % pageBytes, 0)
  }
  assert.equal(world.network.calls.filter((call) => call.endsWith('extents.read')).length, 0)
  assert.deepEqual(
    await readBack(world, access, pages.subarray(3 * pageBytes, 5 * pageBytes), 3),
    pages.subarray(3 * pageBytes, 5 * pageBytes),
  )
})

test('of two pieces of a group that fail at once, that for which the disk is to blame takes it out of service, and no further one is begun (I6)', async (t) => {
  const begun: number[] = []
  const open: Files['open'] = async (...given) => {
    const file = await platform.files.open(...given)
    const write: File['write'] = async (buffers, position) => {
      if (!given[0].includes('groups/')) return file.write(buffers, position)
      begun.push(position)
      await new Promise(setImmediate)
      const code = position === 0 ? 'ENOSPC' : 'EIO'
      throw Object.assign(new Error(`${code}: made to fail`), { code })
    }
    return {
      ...{ write, read: file.read.bind(file), sync: file.sync.bind(file), size: file.size.bind(file) },
      ...{ truncate: file.truncate.bind(file), close: file.close.bind(file) },
    }
  }
  const world = await worldOf(t, 1, 64 * MiB, { ...platform.files, open })
  await assert.rejects(world.store.write(accessTo(world), groupPage(0), [pagesOf(1024)], 'guest'), {
    code: 'OUT_OF_SPACE',
  })
  assert.deepEqual(begun, [0, 512 * KiB])
  assert.equal(world.disks[0].state, 'failed')
})

test('pages may come one by one, in several buffers, and the checksums of all come back', async (t) => {
  const world = await worldOf(t, 2)
  const access = accessTo(world)
  const pages = pagesOf(5)
  const parts = [pages.subarray(0, pageBytes), pages.subarray(pageBytes)]
  assert.deepEqual(await world.store.write(access, groupPage(0), parts, 'guest'), sumsOf(pages))
  assert.deepEqual(await readBack(world, access, pages), pages)
})

test('a stream’s group takes later writes where they belong, and its trailer when it is drained', async (t) => {
  const world = await worldOf(t, 2)
  const access = accessTo(world)
  const pages = pagesOf(12)
  const part = (from: number, to: number) => pages.subarray(from * pageBytes, to * pageBytes)
  await Promise.all([
    world.store.write(access, groupPage(0), [part(0, 4)], 'guest', undefined, 1024),
    world.store.write(access, groupPage(8), [part(8, 12)], 'guest', undefined, 1024),
    world.store.write(access, groupPage(4), [part(4, 8)], 'guest', undefined, 1024),
  ])
  await world.store.finish(access, trailerFor(pages))
  assert.deepEqual(await readBack(world, access, pages), pages)
  for (const index of [0, 1]) {
    const file = await world.disks[index].open(groupFileName(access.group, access.copies[index].number))
    const trailer = await readTrailer(file)
    await file.close()
    assert.deepEqual(trailer, {
      ...trailerFor(pages),
      cluster: 'c',
      group: access.group,
      number: access.copies[index].number,
    })
  }
})

test('nothing is written to a finished group, also when its file was opened anew', async (t) => {
  const world = await worldOf(t, 2)
  const { access } = await written(world)
  const more = world.store.write(access, groupPage(8), [pagesOf(1)], 'guest')
  await assert.rejects(more, (error) => hasCode(error, 'REFUSED'))
  await world.restart()
  const again = world.store.write(access, groupPage(8), [pagesOf(1)], 'guest')
  await assert.rejects(again, (error) => hasCode(error, 'REFUSED'))
})

test('finish may be repeated, by a later owner too, and mends a torn trailer', async (t) => {
  const world = await worldOf(t, 2)
  const access = accessTo(world)
  const pages = pagesOf(4)
  await world.store.write(access, groupPage(0), [pages], 'guest')
  await world.store.finish(access, trailerFor(pages))
  const path = pathOf(world, access, 0)
  const whole = await readFile(path)
  await flip(path, whole.length - 30)
  await world.restart()
  await world.store.finish({ ...access, epoch: 3 as Epoch }, trailerFor(pages))
  assert.ok((await readFile(path)).equals(whole))
  assert.deepEqual(await readBack(world, access, pages), pages)
})

test('an owner that was taken over finishes no group that the later one has finished (I4)', async (t) => {
  const world = await worldOf(t, 2)
  const access = accessTo(world)
  const pages = pagesOf(4)
  await world.store.write(access, groupPage(0), [pages], 'guest')
  const trailer = trailerFor(pages)
  const standing = { drained: 8 as Sequence, through: 9 as Sequence, sizeBytes: 4096, modifiedAt: 0 }
  const later = { ...trailer, standing }
  await world.store.finish({ ...access, epoch: 3 as Epoch }, later)
  const path = pathOf(world, access, 0)
  const whole = await readFile(path)
  await assert.rejects(world.store.finish(access, trailer), (error) => hasCode(error, 'FENCED'))
  assert.ok((await readFile(path)).equals(whole))
})

test('R27: a group is touched only as what its row says', async (t) => {
  const world = await worldOf(t, 1)
  const access = accessTo(world)
  const pages = pagesOf(1)
  const wrong: GroupAccess[] = [
    { ...access, vdisk: 6 as VDiskId },
    { ...access, epoch: 0 as Epoch },
    { ...access, copies: [] },
  ]
  for (const one of wrong) {
    await assert.rejects(world.store.write(one, groupPage(0), [pages], 'guest'), { name: 'AssertionFailure' })
    await assert.rejects(world.store.read(one, groupPage(0), 1, sumsOf(pages), Buffer.alloc(pageBytes)), {
      name: 'AssertionFailure',
    })
  }
  const later = { ...access, epoch: 3 as Epoch }
  await assert.rejects(world.store.write(later, groupPage(0), [pages], 'guest'), { name: 'AssertionFailure' })
})

test('a trailer that says other checksums than its pages have stops the write before a byte leaves', async (t) => {
  const world = await worldOf(t, 2)
  const access = accessTo(world)
  const trailer = trailerFor(pagesOf(2, 1))
  await assert.rejects(world.store.write(access, groupPage(0), [pagesOf(2)], 'guest', trailer), {
    name: 'AssertionFailure',
  })
  assert.deepEqual(world.network.calls, [])
  await assert.rejects(stat(pathOf(world, access, 0)))
})

// Seed, data integrity: a bad copy is answered from another one.
testReads(
  'a flipped byte in one copy: the right bytes, and one report of the bad copy',
  async (t, readBack) => {
    const world = await worldOf(t, 2)
    const { access, pages } = await written(world)
    await flip(pathOf(world, access, 0), 3 * pageBytes + 17)
    assert.deepEqual(await readBack(world, access, pages), pages)
    assert.deepEqual(world.bad, ['n1 page 3: checksum mismatch'])
    assert.equal(world.store.statistics().badPages, 1)
    assert.equal(world.store.statistics().pagesReadFromPeers, 1)
  },
)

testReads('copies that are bad in different pages make one good read', async (t, readBack) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written(world)
  for (const page of [1, 2, 5]) await flip(pathOf(world, access, 0), page * pageBytes)
  await flip(pathOf(world, access, 1), 2 * pageBytes)
  assert.deepEqual(await readBack(world, access, pages), pages)
  assert.deepEqual(world.bad, [
    'n1 pages 1 to 2: checksum mismatch',
    'n1 page 5: checksum mismatch',
    'n2 page 2: checksum mismatch',
  ])
})

testReads('every copy flipped: CORRUPT_EXTENT, never the bytes', async (t, readBack) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written(world)
  for (const copy of [0, 1, 2]) await flip(pathOf(world, access, copy), 6 * pageBytes + 1)
  await assert.rejects(readBack(world, access, pages), (error) => {
    assert.ok(hasCode(error, 'CORRUPT_EXTENT'))
    assert.deepEqual(error.facts, { group: access.group, pages: ['page 6'], missing: 0 })
    return true
  })
  assert.equal(world.bad.length, 3)
  assert.deepEqual(await readBack(world, access, pages.subarray(0, pageBytes)), pages.subarray(0, pageBytes))
})

testReads('two pages that were swapped on the disk are both bad', async (t, readBack) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const path = pathOf(world, access, 0)
  await overwrite(path, pageBytes, pages.subarray(4 * pageBytes, 5 * pageBytes))
  await overwrite(path, 4 * pageBytes, pages.subarray(pageBytes, 2 * pageBytes))
  assert.deepEqual(await readBack(world, access, pages), pages)
  assert.deepEqual(world.bad, ['n1 page 1: checksum mismatch', 'n1 page 4: checksum mismatch'])
})

testReads('a copy that is cut short or gone is bad, and says which', async (t, readBack) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const file = await open(pathOf(world, access, 0), 'r+')
  await file.truncate(2 * pageBytes)
  await file.close()
  assert.deepEqual(await readBack(world, access, pages), pages)
  assert.match(world.bad[0], /^n1 pages 0 to 7: .*ends/)
  await world.store.remove(access.group, access.copies[0], 2 as Epoch)
  await world.store.remove(access.group, access.copies[1], 2 as Epoch)
  await assert.rejects(readBack(world, access, pages), (error) => {
    assert.ok(hasCode(error, 'CORRUPT_EXTENT'))
    assert.equal(error.facts.missing, 2, 'the caller is to look at the row again')
    return true
  })
})

testReads('single pages are read where a long read meets the end of a damaged file', async (t, readBack) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const file = await open(pathOf(world, access, 0), 'r+')
  await file.truncate(6 * pageBytes)
  await file.close()
  await flip(pathOf(world, access, 1), 2 * pageBytes)
  assert.deepEqual(await readBack(world, access, pages), pages)
})

testReads(
  'F9: bad here and unreachable there is PEER_UNREACHABLE: nobody may conclude that the bytes are gone',
  async (t, readBack) => {
    const world = await worldOf(t, 2)
    const { access, pages } = await written(world)
    await flip(pathOf(world, access, 0), 0)
    world.network.cutOff.add('n2')
    await assert.rejects(readBack(world, access, pages), (error) => hasCode(error, 'PEER_UNREACHABLE'))
    assert.deepEqual(world.bad, ['n1 page 0: checksum mismatch'], 'a copy that can’t be reached is not bad')
    world.network.cutOff.clear()
    assert.deepEqual(await readBack(world, access, pages), pages)
  },
)

test('F9: a disk under another incarnation is no answer about what its name once held', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const other = { ...access.copies[1], incarnation: 'f'.repeat(16) as Incarnation }
  const elsewhere = { ...access, copies: [other] }
  await assert.rejects(readBack(world, elsewhere, pages), (error) => hasCode(error, 'PEER_UNREACHABLE'))
  await assert.rejects(world.store.remove(access.group, other, 2 as Epoch), (error) =>
    hasCode(error, 'PEER_UNREACHABLE'),
  )
  assert.deepEqual(world.bad, [])
})

test('I6: a disk that failed takes no pages, and is still read as a last resort', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  world.disks[0].fail(new Error('sync failed'))
  assert.deepEqual(await readBack(world, { ...access, copies: [access.copies[0]] }, pages), pages)
  await assert.rejects(
    world.store.write(accessTo(world, 2), groupPage(0), [pages], 'guest'),
    (error) => hasCode(error, 'DISK_FAILED') && error.facts.disk === world.disks[0].ref.disk,
  )
  assert.deepEqual(world.store.local(), [])
  await world.restart()
  await rm(pathOf(world, access, 0))
  const gone = readBack(world, { ...access, copies: [access.copies[0]] }, pages)
  await assert.rejects(gone, (error) => hasCode(error, 'PEER_UNREACHABLE'))
})

test('M4: a group’s file is made once, and a second creation leaves the first as it was', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const again = () => world.store.write(access, groupPage(0), [pagesOf(8, 1)], 'guest')
  await assert.rejects(again(), (error) => hasCode(error, 'ALREADY_EXISTS'))
  await world.restart()
  await assert.rejects(again(), (error) => hasCode(error, 'ALREADY_EXISTS'))
  assert.deepEqual(await readBack(world, access, pages), pages)
})

test('M4: a late removal of another copy number touches nothing', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  await world.store.remove(access.group, { ...access.copies[0], number: 7 as CopyNumber }, 2 as Epoch)
  await world.store.remove(access.group, { ...access.copies[1], number: 7 as CopyNumber }, 2 as Epoch)
  assert.deepEqual(await readBack(world, access, pages), pages)
  assert.deepEqual(world.bad, [])
})

test('removing gives the space back, is repeatable, and leaves no open file behind', async (t) => {
  const world = await worldOf(t, 2)
  const before = world.disks.map((disk) => disk.space().usedBytes)
  const { access, pages } = await written(world)
  assert.ok(world.disks[1].space().usedBytes > before[1])
  for (const copy of [...access.copies, ...access.copies])
    await world.store.remove(access.group, copy, 2 as Epoch)
  assert.deepEqual(
    world.disks.map((disk) => disk.space().usedBytes),
    before,
  )
  assert.deepEqual(
    await readdir(join(world.disks[0].path, groupFileName(access.group, 1 as CopyNumber), '..')),
    [],
  )
  const single = { ...access, copies: [access.copies[0]] }
  await assert.rejects(readBack(world, single, pages), (error) => hasCode(error, 'CORRUPT_EXTENT'))
})

test('I10: guests meet OUT_OF_SPACE while maintenance still has room, and removing helps', async (t) => {
  const world = await worldOf(t, 2, 4 * MiB)
  const pages = pagesOf(64)
  let counter = 0
  const fill = (purpose: 'guest' | 'maintenance') =>
    world.store.write(accessTo(world, ++counter), groupPage(0), [pages], purpose, trailerFor(pages))
  const full = async (purpose: 'guest' | 'maintenance') => {
    for (let i = 0; i < 100; i++)
      try {
        await fill(purpose)
      } catch (error) {
        assert.ok(hasCode(error, 'OUT_OF_SPACE'), String(error))
        return i
      }
    throw new Error('the disk never filled')
  }
  const guests = await full('guest')
  assert.ok(guests > 5)
  await fill('maintenance')
  await full('maintenance')
  // What was heard of the disk that is full was old: it is heard of anew before anybody chooses it again.
  assert.deepEqual(world.heardAgain, ['n2', 'n2'])
  assert.ok(world.disks.every((disk) => disk.state === 'online'))
  const first = accessTo(world, 1)
  assert.deepEqual(await readBack(world, first, pages), pages)
  for (const copy of first.copies) await world.store.remove(first.group, copy, 2 as Epoch)
  await fill('maintenance')
})

test('a peer that is gone: the write is PEER_UNREACHABLE, and says who', async (t) => {
  const world = await worldOf(t, 3)
  world.network.cutOff.add('n3')
  const access = accessTo(world)
  await assert.rejects(world.store.write(access, groupPage(0), [pagesOf(2)], 'guest'), (error) => {
    assert.ok(hasCode(error, 'PEER_UNREACHABLE'))
    assert.equal(error.facts.node, 'n3')
    assert.equal(error.facts.disk, 'n3-flash-0')
    return true
  })
})

test('pages that change on their way are refused by whoever gets them', async (t) => {
  const world = await worldOf(t, 2)
  world.network.damage = (body) => (body[body.length - 5000] ^= 1)
  const access = accessTo(world)
  const write = world.store.write(access, groupPage(0), [pagesOf(4)], 'guest')
  await assert.rejects(write, (error) => hasCode(error, 'REFUSED'))
  await assert.rejects(stat(pathOf(world, access, 1)), 'nothing of it reached the disk')
})

test('a bad copy is rebuilt beside itself under a new number, whole, with its trailer', async (t) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written(world)
  for (const index of [0, 1]) {
    await flip(pathOf(world, access, index), pageBytes)
    const bad = access.copies[index]
    const number = (10 + index) as CopyNumber
    const rebuilt = { ...bad, number }
    await world.store.rebuildCopy(access, [bad], trailerFor(pages), () => Promise.resolve(rebuilt))
    const alone = { ...access, copies: [rebuilt] }
    assert.deepEqual(await readBack(world, alone, pages), pages)
    const file = await world.disks[index].open(groupFileName(access.group, number))
    assert.equal((await readTrailer(file))?.number, number)
    await file.close()
  }
  assert.equal(world.store.statistics().copiesRebuilt, 2)
})

test('nobody plans a copy that can’t be read, and none is written that was not planned (I3)', async (t) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written({ ...world, disks: world.disks.slice(0, 2) })
  const rebuild = (arriving: () => Promise<CopyRef | undefined>) =>
    world.store.rebuildCopy(access, [], trailerFor(pages), arriving)
  assert.equal(await rebuild(() => Promise.resolve(undefined)), undefined)
  assert.deepEqual(await inventoryOf(world, 2), [])
  for (const index of [0, 1]) await flip(pathOf(world, access, index), pageBytes)
  await assert.rejects(
    rebuild(() => assert.fail('it was planned')),
    (error) => hasCode(error, 'CORRUPT_EXTENT'),
  )
})

test('a copy that is gone is made anew on another disk, from those that are there', async (t) => {
  const world = await worldOf(t, 3)
  const { access, pages } = await written({ ...world, disks: world.disks.slice(0, 2) })
  world.network.cutOff.add('n2')
  const rebuilt = { ...world.disks[2].ref, number: 12 as CopyNumber }
  await world.store.rebuildCopy(access, [access.copies[1]], trailerFor(pages), () => Promise.resolve(rebuilt))
  assert.deepEqual(await readBack(world, { ...access, copies: [rebuilt] }, pages), pages)
  world.network.cutOff.add('n3')
  const other = { ...rebuilt, number: 13 as CopyNumber }
  await assert.rejects(
    world.store.rebuildCopy(access, [access.copies[1]], trailerFor(pages), () => Promise.resolve(other)),
    (error) => hasCode(error, 'PEER_UNREACHABLE') && error.facts.node === 'n3',
  )
})

test('a copy is rebuilt from two that are both bad, in different pages', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  await flip(pathOf(world, access, 0), pageBytes)
  await flip(pathOf(world, access, 1), 2 * pageBytes)
  const rebuilt = { ...access.copies[0], number: 3 as CopyNumber }
  await world.store.rebuildCopy(access, [access.copies[0]], trailerFor(pages), () => Promise.resolve(rebuilt))
  assert.deepEqual(await readBack(world, { ...access, copies: [rebuilt] }, pages), pages)
})

test('inventory lists exactly the copies that lie on a disk, here and at a peer', async (t) => {
  const world = await worldOf(t, 2)
  const pages = pagesOf(1)
  for (let counter = 1; counter <= 20; counter++)
    await world.store.write(accessTo(world, counter), groupPage(0), [pages], 'guest', trailerFor(pages))
  for (const index of [0, 1]) {
    const found = await inventoryOf(world, index)
    assert.deepEqual(
      found.map(({ group }) => group as string).sort(),
      Array.from({ length: 20 }, (_, i) => `5-2-${i + 1}`).sort(),
    )
    assert.ok(found.every(({ number, bytes }) => number === index + 1 && bytes === 2 * pageBytes))
  }
  world.network.cutOff.add('n2')
  await assert.rejects(world.store.inventory(world.disks[1].ref, 7), 'an incomplete list is none (I7)')
})

test('R31: a copy is verified where it lies, here and at a peer, and nobody is told of what is wrong', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const { group, copies } = access
  const verify = (index: number, checksums = sumsOf(pages)) =>
    world.store.verify(group, copies[index], checksums)
  for (const index of [0, 1]) {
    assert.deepEqual(await verify(index), { state: 'right' })
    // What the row says counts, however sound the file is.
    assert.equal((await verify(index, sumsOf(pagesOf(8, 1)))).state, 'bad')
    // In the page cache, of the system or of an open file, all may seem well.
    await flip(pathOf(world, access, index), 3 * pageBytes)
    assert.deepEqual(await verify(index), { state: 'bad', reason: '1 of its pages have other bytes: 3' })
    await truncate(pathOf(world, access, index), 5 * pageBytes)
    assert.equal((await verify(index)).state, 'short')
    await rm(pathOf(world, access, index))
    assert.deepEqual(await verify(index), { state: 'missing', reason: 'its file is not there' })
  }
  assert.deepEqual(world.bad, [])
  world.disks[0].fail(new Error('the test says so'))
  await assert.rejects(verify(0), (error) => hasCode(error, 'PEER_UNREACHABLE'))
  world.network.cutOff.add('n2')
  await assert.rejects(verify(1))
})

test('only a group’s own name gets near a path', async (t) => {
  for (const name of ['1-1-1', '123-4294967295-0']) assert.ok(isGroupId(name))
  for (const name of ['', '1-1', '../1-1-1', '1-1-1/..', '01-1-1', '1-1-1.2', 'a-1-1', '1-1-1\n', '1-1--1'])
    assert.equal(isGroupId(name), false, JSON.stringify(name))
  assert.deepEqual(parseGroupFileName('1-2-3.4'), { group: '1-2-3', number: 4 })
  for (const name of ['1-2-3', '1-2-3.0', '1-2-3.04', 'x.1', '.1', '1-2-3.99999999999'])
    assert.equal(parseGroupFileName(name), undefined)

  const world = await worldOf(t, 2)
  const peers = world.network.peersOf('n9')
  const copy = { ...world.disks[1].ref, number: 1 as CopyNumber }
  const group = '../../superblock' as GroupId
  const kinds = ['extents.write', 'extents.read', 'extents.finish', 'extents.remove'] as const
  const refused = (error: unknown) => hasCode(error, 'REFUSED')
  for (const kind of kinds) {
    const request = encodeExtentRequest({ copy, group, at: groupPage(0), count: 0 })
    await assert.rejects(peers.call('n2' as NodeId, kind, request), refused, kind)
  }
})

test('garbage from a peer is refused and harms nothing', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const peers = world.network.peersOf('n9')
  const sound = Buffer.concat(
    encodeExtentRequest(
      { copy: access.copies[1], group: access.group, at: groupPage(0), count: 1, pagesMax: 1 },
      sumsOf(pages.subarray(0, pageBytes)),
      [pages.subarray(0, pageBytes)],
    ),
  )
  let state = 20_261_121
  t.diagnostic(`seed ${state}`)
  const chance = (below: number) => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) % below
  for (let i = 0; i < 2000; i++) {
    const body = Buffer.from(sound.subarray(0, chance(4) === 0 ? chance(sound.length) : sound.length))
    for (let change = 0; change < 3 && body.length > 0; change++)
      body[chance(Math.min(body.length, 60))] = chance(256)
    const kind = ['write', 'read', 'finish', 'inventory'][chance(4)]
    await peers.call('n2' as NodeId, `extents.${kind}`, [body]).catch((error: unknown) => {
      assert.ok(error instanceof NdfsError, String(error))
    })
  }
  assert.deepEqual(await readBack(world, access, pages), pages)
})

test('open files stay within their bound, and one in use is never closed', async (t) => {
  const world = await worldOf(t, 1)
  const files = new OpenFiles(world.disks[0], 4)
  const groups = Array.from({ length: 12 }, (_, i) => groupIdOf(1 as VDiskId, 1 as Epoch, i))
  const made = (group: GroupId) => files.create(group, 1 as CopyNumber, 2 * KiB, 'guest')
  const held = made(groups[0])
  await (await held.opening).file.write([Buffer.from('held')], 0)
  for (const group of groups.slice(1)) {
    const open = made(group)
    await open.opening
    files.release(open)
    assert.ok(files.count <= 5)
  }
  const target = Buffer.alloc(4)
  await (await held.opening).file.read(target, 0)
  assert.equal(target.toString(), 'held')
  files.release(held)
  assert.equal(files.count, 4)
  files.close()
})

test('what a later owner has unlinked is not made anew by an earlier one’s late write (sim seed 1000023)', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  world.rowEpoch = 3 as Epoch
  for (const copy of access.copies) await world.store.remove(access.group, copy, 3 as Epoch)
  const late = () => world.store.write(access, groupPage(0), [pages], 'guest')
  await assert.rejects(late(), (error) => hasCode(error, 'FENCED'))
  // Processes that were started since have not seen it unlinked: the row tells them.
  await world.restart()
  await assert.rejects(late(), (error) => hasCode(error, 'FENCED'))
  for (const copy of [0, 1]) await assert.rejects(stat(pathOf(world, access, copy)))
})

test('unlinking waits for a copy that is just being made', async (t) => {
  const world = await worldOf(t, 1)
  const access = accessTo(world)
  await written(world)
  const [disk] = world.disks
  const create = disk.create.bind(disk)
  let goOn = (): void => undefined
  disk.create = async (...asked) => {
    await new Promise<void>((resolve) => (goOn = resolve))
    return create(...asked)
  }
  const other = accessTo(world, 2)
  const writing = world.store.write(other, groupPage(0), [pagesOf(1)], 'guest')
  writing.catch(() => undefined)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const removing = world.store.remove(other.group, other.copies[0], 3 as Epoch)
  goOn()
  await Promise.all([removing, writing.catch(() => undefined)])
  await assert.rejects(stat(pathOf(world, other, 0)))
  assert.ok(await stat(pathOf(world, access, 0)))
})

test('unlinking waits for a copy that waits to be made, also when asked again', async (t) => {
  const world = await worldOf(t, 1)
  const access = accessTo(world)
  const [disk] = world.disks
  const makeFolders = disk.makeFolders.bind(disk)
  let goOn = (): void => undefined
  disk.makeFolders = async (...asked) => {
    await new Promise<void>((resolve) => (goOn = resolve))
    return makeFolders(...asked)
  }
  const writing = world.store.write(access, groupPage(0), [pagesOf(1)], 'guest')
  writing.catch(() => undefined)
  const removed: string[] = []
  const remove = (asked: string) =>
    world.store.remove(access.group, access.copies[0], 2 as Epoch).then(() => removed.push(asked))
  const removing = [remove('once'), remove('again')]
  await new Promise((resolve) => setTimeout(resolve, 20))
  const early = [...removed]
  goOn()
  await Promise.all([...removing, writing.catch(() => undefined)])
  assert.deepEqual(early, [], 'the write would still make the file')
  await assert.rejects(stat(pathOf(world, access, 0)))
})

test('closing waits for what peers have asked, and refuses what they ask then (sim seed 77047)', async (t) => {
  const world = await worldOf(t, 2)
  const { access, pages } = await written(world)
  const remote = { ...access, copies: [access.copies[1]] }
  await world.restart()
  const [, disk] = world.disks
  const open = disk.open.bind(disk)
  let goOn = (): void => undefined
  disk.open = async (name) => {
    const file = await open(name)
    await new Promise<void>((resolve) => (goOn = resolve))
    return file
  }
  const reading = readBack(world, remote, pages)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const closing = world.stores[1].close().then(() => disk.close())
  await new Promise((resolve) => setTimeout(resolve, 20))
  goOn()
  await closing
  assert.deepEqual(await reading, pages)
  await assert.rejects(readBack(world, remote, pages), (error) => hasCode(error, 'PEER_UNREACHABLE'))
})

test('the space view asks only when asked, once a second, and knows what it heard', async (t) => {
  const world = await worldOf(t, 3)
  let now = 1000
  const clock = { ...platform.clock, now: () => now as ReturnType<typeof platform.clock.now> }
  const view = createSpaceView({
    platform: { ...platform, clock },
    peers: world.network.peersOf('n1'),
    known: () =>
      world.disks
        .slice(1)
        .map(({ ref, tier }) => ({ ref, tier, block: `of ${ref.node}`, live: ref.node !== 'n3' })),
  })
  const asked = () => world.network.calls.filter((call) => call.endsWith('extents.space')).length
  assert.equal(asked(), 0)
  await view.refresh()
  assert.equal(asked(), 1, 'a node that is not live is not asked')
  const [candidate, ...others] = view.candidates()
  assert.deepEqual(others, [])
  assert.deepEqual(candidate.space, world.disks[1].space())
  assert.deepEqual(candidate.ref, world.disks[1].ref)
  view.candidates()
  assert.equal(asked(), 1)
  now += 1001
  view.candidates()
  view.candidates()
  assert.equal(asked(), 2)
  await view.refresh()
  assert.equal(asked(), 3, 'what was under way may have been answered before')

  // A node of an earlier release, in the middle of an upgrade.
  const { maintenanceFreeBytes, ...space } = candidate.space
  const told = encodeControl([{ ...candidate.ref, space }])
  world.network.peersOf('n2').handle('extents.space', 'terminal', () => Promise.resolve([told]))
  await view.ask('n2' as NodeId)
  assert.deepEqual(view.candidates()[0].space, { ...space, maintenanceFreeBytes })
})

test('the owner’s store offers its own disks at first hand, and places copies', async (t) => {
  const world = await worldOf(t, 2)
  const remote = {
    ref: world.disks[1].ref,
    block: 'b2',
    tier: 'flash',
    space: world.disks[1].space(),
    live: true,
  } as const
  const store = createExtentStore({
    platform,
    peers: new Network().peersOf('n1'),
    node: 'n1' as NodeId,
    block: 'b1',
    clusterId: 'c',
    disks: [world.disks[0]],
    epochOf: () => Promise.resolve(undefined),
    remoteCandidates: () => [remote],
    hearOfSpace: () => Promise.resolve(),
    remoteTier: () => 'hdd',
  })
  const placement = store.place({
    copies: 2,
    tier: 'flash',
    bytes: 4 * MiB,
    purpose: 'guest',
    owner: 'n1' as NodeId,
    avoid: [],
  })
  assert.deepEqual(placement, { disks: [world.disks[0].ref, world.disks[1].ref], mixed: false })
  assert.deepEqual(decodeControl(encodeControl(store.candidates()[1])), { ...remote })
  // The configuration knows, whether the disk is a candidate or not.
  assert.deepEqual(
    world.disks.slice(0, 2).map(({ ref }) => store.tierOf(ref)),
    ['flash', 'hdd'],
  )
})
