/** The service over the real namespace, with Medusa in memory, as two nodes have it; vDisks are a double with their contract's semantics. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../../base/errors.ts'
import type { VDiskId } from '../../../base/ids.ts'
import { KiB, MiB } from '../../../base/units.ts'
import { World } from '../../namespace/fixtures.test.ts'
import { createNamespace, createRoot } from '../../namespace/medusa-namespace.ts'
import type { ClientSession, VDiskNow } from '../../io/io.ts'
import type { InodeId } from '../../namespace/namespace.ts'
import { fileTimeOf } from './attributes.ts'
import { defaultExportRules, Export, type ExportRules } from './export-rules.ts'
import { FileHandles } from './file-handle.ts'
import { MountService } from './mount-service.ts'
import { NfsService } from './nfs-service.ts'
import { access, type Attributes, type Nfs3Status, type Time } from './nfs3-types.ts'
import type { Caller } from './rpc-program.ts'
import type { FileVDisk, FileVDisks, Share, Shares } from './shares.ts'

const root: Caller = {
  ...{ host: '127.0.0.1', port: 900, localHost: '127.0.0.1' },
  credentials: { flavour: 'sys', uid: 0, gid: 0, gids: [], machine: 'c' } as unknown as Caller['credentials'],
}
const user = (uid: number, gid = uid): Caller => ({
  ...root,
  credentials: { flavour: 'sys', uid, gid, gids: [], machine: 'c' } as unknown as Caller['credentials'],
})

/** What of a vDisk NFS needs, in memory; whoever opens one under a higher number is the only writer. */
class MemoryVDisks implements FileVDisks {
  readonly disks = new Map<VDiskId, { bytes: Buffer; writer: number; modifiedAt: number }>()
  #next = 1
  /** Before each read and write: another may have changed it. */
  onAccess: (disk: { bytes: Buffer }) => void = () => undefined
  /** Before each write to a vDisk. */
  onWrite: () => Promise<void> = () => Promise.resolve()

  create(): Promise<VDiskId> {
    const id = this.#next++ as VDiskId
    this.disks.set(id, { bytes: Buffer.alloc(0), writer: 0, modifiedAt: 0 })
    return Promise.resolve(id)
  }

  openFor(writer: ClientSession, id: VDiskId): Promise<FileVDisk & { close(): void }> {
    return Promise.resolve({ ...this.open(id, writer), close: () => undefined })
  }

  open(id: VDiskId, writer?: ClientSession): FileVDisk {
    const disk = this.disks.get(id)
    if (disk === undefined) throw new NdfsError('NOT_FOUND', `no vDisk ${id}`)
    if (writer !== undefined) disk.writer = Math.max(disk.writer, writer.number)
    const assertNewest = (): void => {
      if (writer !== undefined && writer.number < disk.writer)
        throw new NdfsError('STALE_SESSION', 'an older writer')
    }
    const now = (): VDiskNow => ({ sizeBytes: disk.bytes.length, modifiedAt: disk.modifiedAt })
    const changed = (): void => void (disk.modifiedAt = Math.max(disk.modifiedAt + 1, Date.now() * 1000))
    const sized = (bytes: number): void => {
      changed()
      const grown = Buffer.alloc(bytes)
      disk.bytes.copy(grown, 0, 0, bytes)
      disk.bytes = grown
    }
    return {
      now: () => now(),
      get lastKnown() {
        return now()
      },
      read: (offset, target) => {
        this.onAccess(disk)
        if (offset + target.length > disk.bytes.length) throw new NdfsError('REFUSED', 'past the end')
        disk.bytes.copy(target, 0, offset)
      },
      write: async (offset, payload) => {
        await this.onWrite()
        this.onAccess(disk)
        assertNewest()
        if (offset + payload.length > disk.bytes.length) throw new NdfsError('REFUSED', 'past the end')
        payload.copy(disk.bytes, offset)
        changed()
      },
      grow: async (bytes) => {
        assertNewest()
        if (bytes > disk.bytes.length) sized(bytes)
      },
      resize: async (bytes) => sized(bytes),
    }
  }

  delete(id: VDiskId): Promise<void> {
    this.disks.delete(id)
    return Promise.resolve()
  }
}

class Stage {
  readonly vdisks = new MemoryVDisks()
  readonly nodes: readonly { readonly nfs: NfsService; readonly mount: MountService }[]
  readonly root: InodeId
  readonly rootHandle: Buffer
  /** Not yet: what `ofRoot` finds is made anew each time, as the node may have dropped it in between. */
  isHeardOf = true
  #export: Export

  static async begin(rules: Partial<ExportRules> = {}): Promise<Stage> {
    const world = new World()
    await createRoot(world.options())
    return new Stage(world, { ...defaultExportRules, ...rules })
  }

  private constructor(world: World, rules: ExportRules) {
    const handles = new FileHandles(Buffer.alloc(32, 'k'))
    const options = world.options()
    this.#export = new Export(rules)
    const exportNow = (): Export => this.#export
    this.nodes = [0, 1].map(() => {
      const share: Share = {
        name: 'vms',
        namespace: createNamespace(options),
        get export() {
          return exportNow()
        },
        vdisks: this.vdisks,
        space: () => ({ totalBytes: 1000, freeBytes: 600 }),
      }
      const shares: Shares = {
        exports: () => [{ name: 'vms', rules: this.#export.rules }],
        named: (name) => (name === 'vms' ? share : undefined),
        ofRoot: (id) => (id !== options.root ? undefined : this.isHeardOf ? share : { ...share }),
      }
      const { clock, log } = options.platform
      return {
        nfs: new NfsService({ clock, log, shares, handles }),
        mount: new MountService(shares, handles),
      }
    })
    this.root = options.root
    this.rootHandle = handles.encode(options.root, options.root)
  }

  /** As an operator does. */
  setRules(rules: Partial<ExportRules>): void {
    this.#export = new Export({ ...defaultExportRules, ...rules })
  }

  get nfs(): NfsService {
    return this.nodes[0].nfs
  }

  async create(name: string, caller = root, directory = this.rootHandle): Promise<Buffer> {
    const made = await this.nfs.create(
      { directory, name: Buffer.from(name), how: { mode: 'guarded', attributes: {} } },
      caller,
    )
    assert(made.status === 'OK' && made.handle !== undefined, made.status)
    return made.handle
  }

  async mkdir(name: string, mode = 0o755, directory = this.rootHandle): Promise<Buffer> {
    const made = await this.nfs.mkdir({ directory, name: Buffer.from(name), attributes: { mode } }, root)
    assert(made.status === 'OK' && made.handle !== undefined, made.status)
    return made.handle
  }

  async write(
    handle: Buffer,
    offset: number,
    bytes: Buffer,
    { node = 0, caller = root } = {},
  ): Promise<Nfs3Status> {
    const { nfs } = this.nodes[node]
    const args = { handle, offset, count: bytes.length, stability: 'unstable', data: [bytes] } as const
    return (await nfs.write(args, caller)).status
  }

  async read(
    handle: Buffer,
    offset: number,
    count: number,
    node = 0,
  ): Promise<{ bytes: Buffer; atEnd: boolean }> {
    const result = await this.nodes[node].nfs.read({ handle, offset, count }, root)
    assert(result.status === 'OK', result.status)
    return { bytes: Buffer.concat(result.data), atEnd: result.atEnd }
  }

  async attributes(handle: Buffer, node = 0): Promise<Attributes> {
    const result = await this.nodes[node].nfs.getattr({ handle }, root)
    assert(result.status === 'OK', result.status)
    return result.attributes
  }

  async lookup(name: string, caller = root, directory = this.rootHandle): Promise<Nfs3Status> {
    return (await this.nfs.lookup({ directory, name: Buffer.from(name) }, caller)).status
  }
}
const statusOf = async (answer: Promise<{ readonly status: Nfs3Status }>): Promise<Nfs3Status> =>
  (await answer).status

test('what is written by one node is read by the other, with its size, and the end is told', async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  assert.equal(await stage.write(file, 3, Buffer.from('hello')), 'OK')
  assert.deepEqual(await stage.read(file, 0, 100, 1), { bytes: Buffer.from('\0\0\0hello'), atEnd: true })
  assert.deepEqual(await stage.read(file, 3, 2, 1), { bytes: Buffer.from('he'), atEnd: false })
  assert.deepEqual(await stage.read(file, 50, 2, 1), { bytes: Buffer.alloc(0), atEnd: true })
  assert.equal((await stage.attributes(file, 1)).sizeBytes, 8)
})

test('a file of 1 MB, in one go or byte by byte by two nodes, has the right bytes and becomes a vDisk once (R1 M6)', async () => {
  const stage = await Stage.begin()
  const whole = Buffer.alloc(1 * MiB, 'whole')
  const first = await stage.create('first')
  assert.equal(await stage.write(first, 0, whole), 'OK')
  assert.ok((await stage.read(first, 0, 2 * MiB, 1)).bytes.equals(whole))
  assert.equal(stage.vdisks.disks.size, 1)
  const second = await stage.create('second')
  // Around the size at which it becomes a vDisk byte by byte, before and after it in pieces.
  const edge = 512 * KiB
  await stage.write(second, 0, whole.subarray(0, edge - 100))
  for (let at = edge - 100; at < edge + 100; at += 8)
    await Promise.all(
      [0, 1, 2, 3, 4, 5, 6, 7].map(async (i) => {
        const status = await stage.write(second, at + i, whole.subarray(at + i, at + i + 1), { node: i % 2 })
        assert.equal(status, 'OK')
      }),
    )
  await stage.write(second, edge + 100, whole.subarray(edge + 100), { node: 1 })
  assert.ok((await stage.read(second, 0, 2 * MiB)).bytes.equals(whole))
  assert.equal(stage.vdisks.disks.size, 2, 'vDisks that lost the race are deleted')
})

test('who stood still while it filled a vDisk does no harm when it goes on (M6)', async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  await stage.write(file, 0, Buffer.alloc(100 * KiB, 'old'))
  const stuck = Promise.withResolvers<void>()
  let writes = 0
  stage.vdisks.onWrite = () => (writes++ === 0 ? stuck.promise : Promise.resolve())
  const late = stage.write(file, 600 * KiB, Buffer.from('x'))
  // The other node waits for it, and then does it itself.
  assert.equal(await stage.write(file, 0, Buffer.from('new'), { node: 1 }), 'OK')
  stuck.resolve()
  assert.equal(await late, 'OK', 'it looks again, and writes what it was to write')
  assert.equal((await stage.read(file, 0, 5, 1)).bytes.toString(), 'newol')
  assert.equal((await stage.read(file, 600 * KiB, 5, 1)).bytes.toString(), 'x')
  assert.equal(stage.vdisks.disks.size, 1)
})

test('who reads or writes while another cuts the file off finds it as it is then', async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  await stage.write(file, 0, Buffer.alloc(1 * MiB, 'x'))
  let cuts = 0
  stage.vdisks.onAccess = (disk) => {
    if (cuts++ < 2) disk.bytes = disk.bytes.subarray(0, 10)
  }
  assert.deepEqual(await stage.read(file, 5, 100), { bytes: Buffer.alloc(5, 'x'), atEnd: true })
  cuts = 0
  assert.equal(await stage.write(file, 20, Buffer.from('y')), 'OK')
  assert.equal((await stage.read(file, 0, 100)).bytes.toString(), `${'x'.repeat(10)}${'\0'.repeat(10)}y`)
})

test("the times of a vDisk's file are its owner's, until a client sets them, until it is written again (M6)", async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  await stage.write(file, 0, Buffer.alloc(1 * MiB, 'x'))
  const modifiedAt = async (node: number): Promise<bigint> =>
    fileTimeOf((await stage.attributes(file, node)).modifyTime)
  const ownersTime = (): bigint => BigInt([...stage.vdisks.disks.values()][0].modifiedAt) * 1000n
  assert.equal(await modifiedAt(1), ownersTime())
  const { changeTime } = await stage.attributes(file, 0)
  const past = { seconds: 7, nanoseconds: 8 }
  const set = (guard: Time): Promise<Nfs3Status> =>
    statusOf(stage.nfs.setattr({ handle: file, attributes: { modifyTime: past }, guard }, root))
  assert.equal(await set({ ...changeTime, nanoseconds: changeTime.nanoseconds + 1 }), 'NOT_SYNC')
  assert.equal(await set(changeTime), 'OK')
  assert.equal(await modifiedAt(1), fileTimeOf(past))
  const later = await stage.attributes(file, 1)
  assert.ok(fileTimeOf(later.changeTime) > fileTimeOf(changeTime))
  assert.equal(await stage.write(file, 0, Buffer.from('y')), 'OK')
  for (const node of [0, 1]) assert.equal(await modifiedAt(node), ownersTime())
})

test('a file is cut and grows, here and as a vDisk, and what comes on is zeros', async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  const resize = (sizeBytes: number): Promise<Nfs3Status> =>
    statusOf(stage.nfs.setattr({ handle: file, attributes: { sizeBytes } }, root))
  await stage.write(file, 0, Buffer.alloc(100, 'x'))
  for (const [sizeBytes, text] of [
    [10, 'x'.repeat(10)],
    [20, 'x'.repeat(10) + '\0'.repeat(10)],
  ] as const) {
    assert.equal(await resize(sizeBytes), 'OK')
    assert.equal((await stage.read(file, 0, 100, 1)).bytes.toString(), text)
  }
  assert.equal(await resize(3 * MiB), 'OK')
  assert.equal((await stage.attributes(file, 1)).sizeBytes, 3 * MiB)
  assert.equal((await stage.read(file, 0, 20, 1)).bytes.toString(), 'x'.repeat(10) + '\0'.repeat(10))
  // It stays a vDisk.
  assert.equal(await resize(5), 'OK')
  assert.equal((await stage.read(file, 0, 20, 1)).bytes.toString(), 'xxxxx')
  assert.equal(stage.vdisks.disks.size, 1)
  assert.equal(
    await statusOf(stage.nfs.remove({ directory: stage.rootHandle, name: Buffer.from('a') }, root)),
    'OK',
  )
  assert.equal(stage.vdisks.disks.size, 0, 'its vDisk goes with its last name')
})

test('CREATE: guarded, unchecked and exclusive, the first time and again', async () => {
  const stage = await Stage.begin()
  const create = async (name: string, how: Parameters<NfsService['create']>[0]['how']): Promise<Nfs3Status> =>
    statusOf(stage.nfs.create({ directory: stage.rootHandle, name: Buffer.from(name), how }, root))
  assert.equal(await create('a', { mode: 'guarded', attributes: {} }), 'OK')
  assert.equal(await create('a', { mode: 'guarded', attributes: {} }), 'EXIST')
  assert.equal(await create('a', { mode: 'unchecked', attributes: { sizeBytes: 0 } }), 'OK')
  const exclusive = (letter: string) => ({ mode: 'exclusive', verifier: Buffer.alloc(8, letter) }) as const
  assert.equal(await create('b', exclusive('v')), 'OK')
  assert.equal(await create('b', exclusive('v')), 'OK')
  assert.equal(await create('b', exclusive('w')), 'EXIST')
  await stage.mkdir('d')
  assert.equal(await create('d', { mode: 'unchecked', attributes: {} }), 'EXIST')
})

test('names that are none, and handles that are none, are refused', async () => {
  const stage = await Stage.begin()
  const create = (name: Buffer): Promise<Nfs3Status> =>
    statusOf(
      stage.nfs.create({ directory: stage.rootHandle, name, how: { mode: 'guarded', attributes: {} } }, root),
    )
  for (const name of ['a/b', 'a\0b', '']) assert.equal(await create(Buffer.from(name)), 'INVAL')
  for (const name of ['.', '..']) assert.equal(await create(Buffer.from(name)), 'EXIST')
  assert.equal(await create(Buffer.alloc(256, 'n')), 'NAMETOOLONG')
  assert.equal(await create(Buffer.alloc(255, 0xff)), 'OK')
  const other = new FileHandles(Buffer.alloc(32, 'o')).encode(stage.root, stage.root)
  assert.equal(await statusOf(stage.nfs.getattr({ handle: other }, root)), 'BADHANDLE')
  const elsewhere = new FileHandles(Buffer.alloc(32, 'k')).encode(3 as InodeId, 3 as InodeId)
  assert.equal(await statusOf(stage.nfs.getattr({ handle: elsewhere }, root)), 'STALE')
  const file = await stage.create('gone')
  await stage.nfs.remove({ directory: stage.rootHandle, name: Buffer.from('gone') }, root)
  assert.equal(await statusOf(stage.nfs.getattr({ handle: file }, root)), 'STALE')
  assert.equal(await stage.write(file, 0, Buffer.from('x')), 'STALE')
  assert.equal(await stage.lookup('gone'), 'NOENT')
})

test('permissions are kept: of directories, files, sticky ones, and of what only owners may set', async () => {
  const stage = await Stage.begin()
  const open = await stage.mkdir('open', 0o1777)
  const shut = await stage.mkdir('shut', 0o700)
  const file = await stage.create('file', user(7), open)
  assert.equal(await stage.lookup('x', user(8), shut), 'ACCES')
  assert.equal(await stage.write(file, 0, Buffer.from('x'), { caller: user(7) }), 'OK')
  assert.equal(await stage.write(file, 0, Buffer.from('x'), { caller: user(8) }), 'ACCES')
  const name = Buffer.from('file')
  assert.equal(await statusOf(stage.nfs.remove({ directory: open, name }, user(8))), 'PERM')
  const set = (attributes: object, caller: Caller): Promise<Nfs3Status> =>
    statusOf(stage.nfs.setattr({ handle: file, attributes }, caller))
  assert.equal(await set({ mode: 0o600 }, user(8)), 'PERM')
  assert.equal(await set({ uid: 8 }, user(7)), 'PERM')
  assert.equal(await set({ mode: 0o640 }, user(7)), 'OK')
  assert.equal((await stage.attributes(file)).mode, 0o640)
  assert.equal(await set({ uid: 8, gid: 9 }, root), 'OK')
  const { uid, gid } = await stage.attributes(file)
  assert.deepEqual([uid, gid], [8, 9])
})

test('SETATTR with a guard changes only what was not changed since', async () => {
  const stage = await Stage.begin()
  const file = await stage.create('a')
  const { changeTime } = await stage.attributes(file)
  const set = (guard: typeof changeTime): Promise<Nfs3Status> =>
    statusOf(stage.nfs.setattr({ handle: file, attributes: { mode: 0o600 }, guard }, root))
  assert.equal(await set(changeTime), 'OK')
  assert.equal(await set(changeTime), 'NOT_SYNC')
})

test('rules that change hold from the next call on, for handles from before too', async () => {
  const stage = await Stage.begin()
  const { nfs, rootHandle: directory } = stage
  const handle = await stage.create('file')
  assert.equal(await stage.write(handle, 0, Buffer.from('before')), 'OK')
  const reads = async (): Promise<Nfs3Status> =>
    (await nfs.read({ handle, offset: 0, count: 10 }, root)).status
  const named = (name: string) => ({ directory, name: Buffer.from(name) })
  const device = { type: 'block', attributes: {}, device: { major: 8, minor: 1 } } as const
  const changing: (() => Promise<{ readonly status: Nfs3Status }>)[] = [
    () => nfs.setattr({ handle, attributes: { mode: 0o600 } }, root),
    () => nfs.create({ ...named('new'), how: { mode: 'unchecked', attributes: {} } }, root),
    () => nfs.create({ ...named('new'), how: { mode: 'exclusive', verifier: Buffer.alloc(8) } }, root),
    () => nfs.mkdir({ ...named('new'), attributes: {} }, root),
    () => nfs.symlink({ ...named('new'), attributes: {}, target: Buffer.from('x') }, root),
    () => nfs.mknod({ ...named('new'), node: device }, root),
    () => nfs.remove(named('file'), root),
    () => nfs.rmdir(named('file'), root),
    () => nfs.rename({ from: named('file'), to: named('new') }, root),
    () => nfs.link({ handle, to: named('new') }, root),
  ]
  const wanted = access.read | access.modify | access.extend | access.delete
  const granted = async (of: Buffer): Promise<number> => {
    const answer = await nfs.access({ handle: of, wanted }, root)
    assert(answer.status === 'OK')
    return answer.granted
  }

  stage.setRules({ readOnly: true })
  assert.equal(await stage.write(handle, 0, Buffer.from('behind')), 'ROFS')
  for (const change of changing) assert.equal(await statusOf(change()), 'ROFS', String(change))
  assert.deepEqual([await granted(handle), await granted(directory)], [access.read, access.read])
  assert.equal(await reads(), 'OK')

  stage.setRules({ networks: ['10.0.0.0/8'] })
  assert.equal(await reads(), 'ACCES')
  assert.equal(await stage.write(handle, 0, Buffer.from('behind')), 'ACCES')
  for (const change of changing) assert.equal(await statusOf(change()), 'ACCES', String(change))
  assert.equal(await statusOf(nfs.access({ handle, wanted }, root)), 'ACCES')

  stage.setRules({})
  assert.equal((await stage.read(handle, 0, 10)).bytes.toString(), 'before')
  assert.equal(await granted(directory), wanted)
  assert.equal(await stage.write(handle, 0, Buffer.from('behind')), 'OK')
})

test('nobody is told of an export that nobody may mount', async () => {
  const stage = await Stage.begin({ networks: [] })
  const { mount } = stage.nodes[0]
  assert.deepEqual(mount.export(), [])
  assert.equal((await mount.mnt({ path: Buffer.from('/vms') }, root)).status, 'ACCES')
})

test('a container that is not allowed to a caller is that', async () => {
  const stage = await Stage.begin({ networks: ['10.0.0.0/8'] })
  assert.equal(await statusOf(stage.nfs.getattr({ handle: stage.rootHandle }, root)), 'ACCES')
  const { mount } = stage.nodes[0]
  assert.equal((await mount.mnt({ path: Buffer.from('/vms') }, root)).status, 'ACCES')
  const allowed = { ...root, host: '10.1.1.1' }
  assert.equal((await mount.mnt({ path: Buffer.from('//vms/') }, allowed)).status, 'OK')
  assert.equal((await mount.mnt({ path: Buffer.from('/none') }, allowed)).status, 'NOENT')
  assert.equal((await mount.mnt({ path: Buffer.from('/vms/none') }, allowed)).status, 'NOENT')
  assert.deepEqual(mount.export(), [{ path: Buffer.from('/vms'), groups: ['10.0.0.0/8'] }])
  assert.deepEqual(mount.dump(), [{ host: '10.1.1.1', path: Buffer.from('//vms/') }])
})

test('a directory is listed to its end, whatever room the client has, and each name once', async () => {
  const stage = await Stage.begin()
  const names = Array.from({ length: 150 }, (_, i) => `name-${i}-${'x'.repeat(i % 60)}`)
  await Promise.all(names.map((name) => stage.create(name)))
  for (const count of [400, 1000, 65_536]) {
    const fileIds: bigint[] = []
    for (let cookie = 0n, atEnd = false; !atEnd;) {
      const listed = await stage.nfs.readdirplus(
        { handle: stage.rootHandle, cookie, verifier: Buffer.alloc(8), namesCount: count, count },
        root,
      )
      assert(listed.status === 'OK', listed.status)
      const bytes = Buffer.concat(listed.listing.finish())
      for (let at = 0; at < bytes.length;) {
        fileIds.push(bytes.readBigUInt64BE(at + 4))
        const nameBytes = bytes.readUInt32BE(at + 12)
        at += 16 + Math.ceil(nameBytes / 4) * 4
        cookie = bytes.readBigUInt64BE(at)
        at += 8
        at += bytes.readUInt32BE(at) === 1 ? 88 : 4
        at += bytes.readUInt32BE(at) === 1 ? 8 + 32 : 4
      }
      atEnd = listed.atEnd
    }
    assert.equal(fileIds.length, names.length + 2)
    // The root is its own parent.
    assert.equal(new Set(fileIds).size, names.length + 1)
  }
  const tiny = { handle: stage.rootHandle, cookie: 0n, verifier: Buffer.alloc(8), count: 110 }
  assert.equal(await statusOf(stage.nfs.readdir(tiny, root)), 'TOOSMALL')
})

// Simulated: seed 131180, and any that makes a container while a node's watch of Zeus is behind.
test('a container that a node has not heard of yet is one all the same: renames and links within it go on', async () => {
  const stage = await Stage.begin()
  stage.isHeardOf = false
  const at = (name: string) => ({ directory: stage.rootHandle, name: Buffer.from(name) })
  const file = await stage.create('a')
  assert.equal(await statusOf(stage.nfs.rename({ from: at('a'), to: at('b') }, root)), 'OK')
  assert.equal(await statusOf(stage.nfs.link({ handle: file, to: at('c') }, root)), 'OK')
})

test('links, symbolic links, special files and renames', async () => {
  const stage = await Stage.begin()
  const directory = stage.rootHandle
  const at = (name: string) => ({ directory, name: Buffer.from(name) })
  const file = await stage.create('a')
  assert.equal(await statusOf(stage.nfs.link({ handle: file, to: at('b') }, root)), 'OK')
  assert.equal((await stage.attributes(file)).links, 2)
  const made = await stage.nfs.symlink({ ...at('s'), attributes: {}, target: Buffer.from('../x') }, root)
  assert(made.status === 'OK' && made.handle !== undefined)
  const read = await stage.nfs.readlink({ handle: made.handle }, root)
  assert(read.status === 'OK')
  assert.equal(read.target.toString(), '../x')
  assert.equal(await statusOf(stage.nfs.readlink({ handle: file }, root)), 'INVAL')
  const device = { type: 'block', attributes: {}, device: { major: 8, minor: 1 } } as const
  assert.equal(await statusOf(stage.nfs.mknod({ ...at('dev'), node: device }, root)), 'OK')
  assert.equal(await statusOf(stage.nfs.mknod({ ...at('dev2'), node: device }, user(5))), 'ACCES')
  assert.equal(await statusOf(stage.nfs.mknod({ ...at('dev3'), node: { type: 'file' } }, root)), 'BADTYPE')
  const inner = await stage.mkdir('d')
  const into = { directory: inner, name: Buffer.from('c') }
  assert.equal(await statusOf(stage.nfs.rename({ from: at('b'), to: into }, root)), 'OK')
  assert.equal(await stage.lookup('b'), 'NOENT')
  assert.equal(await statusOf(stage.nfs.rmdir(at('d'), root)), 'NOTEMPTY')
  assert.equal(await statusOf(stage.nfs.rename({ from: into, to: at('s') }, root)), 'OK')
  assert.equal(await statusOf(stage.nfs.rmdir(at('d'), root)), 'OK')
  assert.equal(await statusOf(stage.nfs.remove(at('d'), root)), 'NOENT')
  assert.equal(await statusOf(stage.nfs.readlink({ handle: made.handle }, root)), 'STALE')
})
