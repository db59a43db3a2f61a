import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VDiskId } from '../../base/ids.ts'
import { KiB } from '../../base/units.ts'
import { aDirectory, aFile, bytesOf, codeOf, namesIn, newWorld, root } from './fixtures.test.ts'
import { createRoot } from './medusa-namespace.ts'
import { inlineBytesMax, isDirectoryId, linksMax, type InodeId } from './namespace.ts'
import { partitionOf } from './rows.ts'

const name = bytesOf

test('namespace creates, looks up, lists and removes a file', async () => {
  const world = await newWorld()
  const one = world.node()
  const { inode, directory, existed } = await one.create(root, name('vm.img'), aFile)
  assert.equal(existed, false)
  assert.equal(isDirectoryId(inode.id), false)
  assert.deepEqual(
    [inode.type, inode.mode, inode.uid, inode.gid, inode.links, inode.sizeBytes],
    ['file', 0o644, 1, 2, 1, 0],
  )
  assert.deepEqual(inode.content, { kind: 'inline' })
  assert.ok(directory.after.changeTime > directory.before.changeTime)
  const two = world.node()
  assert.deepEqual(await two.lookup(root, name('vm.img')), inode)
  assert.deepEqual(await two.inode(inode.id), inode)
  const { entries, done } = await two.list(root, 0n, 10)
  assert.equal(done, true)
  assert.deepEqual(
    entries.map((entry) => [entry.name.toString(), entry.inode]),
    [['vm.img', inode]],
  )
  const again = await two.create(root, name('vm.img'), aFile)
  assert.equal(again.existed, true)
  assert.deepEqual(again.inode, inode)
  const removed = await two.remove(root, name('vm.img'))
  assert.equal(removed.gone, true)
  assert.equal(removed.inode.links, 0)
  assert.equal(await codeOf(one.lookup(root, name('vm.img'))), 'NOENT')
  assert.equal(await codeOf(one.inode(inode.id)), 'STALE')
  assert.equal(await codeOf(one.remove(root, name('vm.img'))), 'NOENT')
  assert.deepEqual(await namesIn(one, root), [])
})

test('a listing that goes on has the entries of one that does not, however much has room, and no more than that is read ahead', async () => {
  const world = await newWorld()
  const one = world.node()
  const { inode: directory } = await one.create(root, name('d'), aDirectory)
  for (let i = 0; i < 1_500; i++) await one.create(directory.id, name(`disk-${i}`), aFile)
  const { entries } = await one.list(directory.id, 0n, 2_000)
  assert.equal(entries.length, 1_500)
  for (const room of [0, 1, 100, 256, 700, Infinity]) {
    const seen: (typeof entries)[number][] = []
    const parts: number[] = []
    // As a client's answer has it: what is left grows less by what was taken.
    for await (const part of one.listAhead(directory.id, 0n, () => room - seen.length)) {
      seen.push(...part.entries)
      parts.push(part.entries.length)
      assert.equal(part.done, seen.length === 1_500)
    }
    assert.deepEqual(seen, entries)
    assert.ok(Math.max(...parts) <= 256)
    if (room > 0 && room < 256) assert.equal(parts[0], room)
  }
  // However slowly it is taken, and whether all of it is: no more is read than waits to be taken.
  let scans = 0
  const medusa = world.medusa()
  const scan: typeof medusa.scan = (...asked) => {
    scans++
    return medusa.scan(...asked)
  }
  const counted = world.node({}, { medusa: { ...medusa, scan } })
  for await (const part of counted.listAhead(directory.id, 0n, () => Infinity)) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    assert.deepEqual(part.entries, entries.slice(0, 256))
    break
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.ok(scans <= 4, `${scans} scans`)
  await one.remove(directory.id, name('disk-7'))
  const left: string[] = []
  for await (const part of one.listAhead(directory.id, 0n, () => Infinity))
    left.push(...part.entries.map((entry) => entry.name.toString()))
  assert.deepEqual(
    left,
    entries.map((entry) => entry.name.toString()).filter((each) => each !== 'disk-7'),
  )
  const listed = async (id: InodeId): Promise<void> => {
    for await (const part of one.listAhead(id, 0n, () => Infinity)) assert.ok(part)
  }
  const { inode: file } = await one.create(root, name('f'), aFile)
  assert.equal(await codeOf(listed(file.id)), 'NOTDIR')
  const { inode: gone } = await one.create(root, name('g'), aDirectory)
  await one.removeDirectory(root, name('g'))
  assert.equal(await codeOf(listed(gone.id)), 'STALE')
})

test('inodes of a directory lie as its listing goes, from the directory’s own place on, and none has the id of one before', async () => {
  const world = await newWorld()
  const one = world.node()
  const { inode: directory } = await one.create(root, name('d'), aDirectory)
  for (let i = 0; i < 50; i++) await one.create(directory.id, name(`disk-${i}`), aFile)
  const { entries } = await one.list(directory.id, 0n, 100)
  assert.equal(entries.length, 50)
  const steps = entries.slice(1).filter(({ inode }, i) => inode.id < entries[i].inode.id)
  assert.ok(steps.length <= 1, `${steps.length} steps back, where one may be, at the end of all places`)
  const ids = new Set<number>()
  for (let i = 0; i < 20; i++) {
    ids.add((await one.create(directory.id, name('lock'), aFile)).inode.id)
    await one.remove(directory.id, name('lock'))
  }
  assert.equal(ids.size, 20)
})

test('namespace keeps what a new inode brings along', async () => {
  const world = await newWorld()
  const one = world.node()
  const link = (await one.create(root, name('l'), { ...aFile, type: 'link', target: name('../a\xff') })).inode
  assert.deepEqual((await one.inode(link.id)).target, name('../a\xff'))
  assert.equal(link.sizeBytes, name('../a\xff').length)
  const device = { major: 8, minor: 17 }
  const block = (await one.create(root, name('b'), { ...aFile, type: 'block', device })).inode
  assert.deepEqual((await one.inode(block.id)).device, device)
  const verifier = Buffer.from('01234567')
  const exclusive = (await one.create(root, name('x'), { ...aFile, verifier })).inode
  assert.deepEqual((await one.create(root, name('x'), { ...aFile, verifier })).inode.verifier, verifier)
  const { after } = await one.setAttributes(exclusive.id, { mode: 0o600 })
  assert.equal(after.verifier, undefined)
  assert.equal(after.mode, 0o600)
  assert.equal(await codeOf(one.create(root, name('y'), { ...aFile, type: 'link' })), 'INVAL')
  assert.equal(await codeOf(one.create(root, name('y'), { ...aFile, target: name('x') })), 'INVAL')
  const long = Buffer.alloc(4097, 'a')
  assert.equal(
    await codeOf(one.create(root, name('y'), { ...aFile, type: 'link', target: long })),
    'NAMETOOLONG',
  )
  assert.equal(await codeOf(one.write(link.id, 0, name('x'))), 'INVAL')
  assert.equal(await codeOf(one.read(block.id, 0, 1)), 'INVAL')
})

test('namespace makes the root once', async () => {
  const world = await newWorld()
  const one = world.node()
  await one.create(root, name('a'), aFile)
  await createRoot(world.options())
  assert.deepEqual(await namesIn(one, root), ['a'])
  const inode = await one.inode(root)
  assert.deepEqual([inode.type, inode.mode, inode.uid, inode.gid, inode.links], ['directory', 0o755, 0, 0, 2])
  assert.equal(await one.parent(root), root)
})

test('namespace takes names of any 255 bytes but slash and zero', async () => {
  const world = await newWorld()
  const one = world.node()
  const odd = [
    Buffer.from([0xff, 0xfe, 0x80]),
    Buffer.alloc(255, 0xc3),
    name('...'),
    name('ä'),
    Buffer.from([0xe4]),
  ]
  for (const each of odd) await one.create(root, each, aFile)
  assert.equal((await namesIn(one, root)).length, odd.length)
  for (const each of odd) assert.equal((await one.remove(root, each)).gone, true)
  assert.equal(await codeOf(one.create(root, Buffer.alloc(256, 'a'), aFile)), 'NAMETOOLONG')
  assert.equal(await codeOf(one.lookup(root, Buffer.alloc(256, 'a'))), 'NAMETOOLONG')
  for (const bad of ['', 'a/b', 'a\0b']) {
    assert.equal(await codeOf(one.create(root, name(bad), aFile)), 'INVAL')
    assert.equal(await codeOf(one.rename(root, name('a'), root, name(bad))), 'INVAL')
  }
})

test('namespace answers the codes that each operation has for what is not as it should be', async () => {
  const world = await newWorld()
  const one = world.node()
  const file = (await one.create(root, name('file'), aFile)).inode
  const directory = (await one.create(root, name('dir'), aDirectory)).inode
  await one.create(directory.id, name('inside'), aFile)
  assert.equal(await codeOf(one.lookup(file.id, name('x'))), 'NOTDIR')
  assert.equal(await codeOf(one.create(file.id, name('x'), aFile)), 'NOTDIR')
  assert.equal(await codeOf(one.list(file.id, 0n, 1)), 'NOTDIR')
  assert.equal(await codeOf(one.parent(file.id)), 'NOTDIR')
  for (const gone of [424242 as InodeId, 424243 as InodeId]) {
    assert.equal(await codeOf(one.lookup(gone, name('x'))), 'STALE')
    assert.equal(await codeOf(one.create(gone, name('x'), aFile)), 'STALE')
    assert.equal(await codeOf(one.list(gone, 0n, 1)), 'STALE')
    assert.equal(await codeOf(one.setAttributes(gone, { mode: 0 })), 'STALE')
    assert.equal(await codeOf(one.inode(gone)), 'STALE')
    assert.equal(await codeOf(one.rename(root, name('file'), gone, name('x'))), 'STALE')
    assert.equal(await codeOf(one.remove(gone, name('x'))), 'STALE')
  }
  assert.equal(await codeOf(one.write(424242 as InodeId, 0, name('x'))), 'STALE')
  assert.equal(await codeOf(one.link(424242 as InodeId, root, name('x'))), 'STALE')
  assert.equal(await codeOf(one.remove(root, name('dir'))), 'ISDIR')
  assert.equal(await codeOf(one.removeDirectory(root, name('file'))), 'NOTDIR')
  assert.equal(await codeOf(one.removeDirectory(root, name('dir'))), 'NOTEMPTY')
  assert.equal(await codeOf(one.removeDirectory(root, name('.'))), 'INVAL')
  assert.equal(await codeOf(one.removeDirectory(directory.id, name('..'))), 'NOTEMPTY')
  assert.equal(await codeOf(one.remove(root, name('.'))), 'ISDIR')
  assert.equal(await codeOf(one.link(directory.id, root, name('x'))), 'ISDIR')
  assert.equal(await codeOf(one.link(file.id, root, name('dir'))), 'EXIST')
  assert.equal(await codeOf(one.link(file.id, file.id, name('x'))), 'NOTDIR')
  assert.equal(await codeOf(one.write(directory.id, 0, name('x'))), 'ISDIR')
  assert.equal(await codeOf(one.read(directory.id, 0, 1)), 'ISDIR')
  assert.equal(await codeOf(one.setAttributes(directory.id, { sizeBytes: 0 })), 'ISDIR')
  assert.equal(await codeOf(one.rename(root, name('none'), root, name('x'))), 'NOENT')
  assert.equal(await codeOf(one.rename(root, name('file'), root, name('dir'))), 'ISDIR')
  assert.equal(await codeOf(one.rename(root, name('dir'), root, name('file'))), 'NOTDIR')
  assert.equal(await codeOf(one.rename(root, name('dir'), directory.id, name('x'))), 'INVAL')
  assert.equal(await codeOf(one.rename(root, name('.'), root, name('x'))), 'INVAL')
  assert.equal(await codeOf(one.rename(root, name('file'), file.id, name('x'))), 'NOTDIR')
  assert.deepEqual(await namesIn(one, root), ['dir', 'file'])
  assert.equal((await one.create(directory.id, name('..'), aFile)).inode.id, root)
  assert.equal((await one.lookup(directory.id, name('.'))).id, directory.id)
  assert.equal((await one.lookup(root, name('..'))).id, root)
})

test('namespace counts the directories in a directory', async () => {
  const world = await newWorld()
  const one = world.node()
  const a = (await one.create(root, name('a'), aDirectory)).inode
  const b = (await one.create(root, name('b'), aDirectory)).inode
  const links = async (id: InodeId) => (await one.inode(id)).links
  assert.equal(await links(root), 4)
  await one.rename(root, name('b'), a.id, name('b'))
  assert.deepEqual([await links(root), await links(a.id), await one.parent(b.id)], [3, 3, a.id])
  assert.equal((await one.lookup(b.id, name('..'))).id, a.id)
  await one.create(root, name('c'), aDirectory)
  await one.rename(a.id, name('b'), root, name('c'))
  assert.deepEqual([await links(root), await links(a.id)], [4, 2])
  await one.removeDirectory(root, name('a'))
  await one.removeDirectory(root, name('c'))
  assert.equal(await links(root), 2)
  assert.equal(await codeOf(one.inode(b.id)), 'STALE')
  assert.equal(await codeOf(one.create(a.id, name('x'), aFile)), 'STALE')
})

test('namespace renames in one step, over what was there', async () => {
  const world = await newWorld()
  const one = world.node()
  const a = (await one.create(root, name('a'), aFile)).inode
  const b = (await one.create(root, name('b'), aFile)).inode
  const directory = (await one.create(root, name('dir'), aDirectory)).inode
  const { replaced, gone, from, to } = await one.rename(root, name('a'), root, name('b'))
  assert.deepEqual([replaced?.id, replaced?.links, gone], [b.id, 0, true])
  assert.deepEqual(from, to)
  assert.equal((await one.lookup(root, name('b'))).id, a.id)
  const moved = await one.rename(root, name('b'), directory.id, name('c'))
  assert.deepEqual([moved.replaced, moved.gone], [undefined, false])
  assert.equal((await one.lookup(directory.id, name('c'))).id, a.id)
  assert.ok((await one.inode(a.id)).changeTime > a.changeTime)
  assert.deepEqual(await namesIn(one, root), ['dir'])
  const same = await one.rename(directory.id, name('c'), directory.id, name('c'))
  assert.equal(same.gone, false)
  const empty = (await one.create(root, name('empty'), aDirectory)).inode
  assert.equal(await codeOf(one.rename(root, name('empty'), root, name('dir'))), 'NOTEMPTY')
  await one.create(directory.id, name('d'), aFile)
  const over = await one.rename(root, name('dir'), root, name('empty'))
  assert.deepEqual([over.replaced?.id, over.gone], [empty.id, true])
  assert.equal(await codeOf(one.create(empty.id, name('x'), aFile)), 'STALE')
  assert.deepEqual(await namesIn(one, directory.id), ['c', 'd'])
})

test('namespace gives a file several names', async () => {
  const world = await newWorld()
  const one = world.node()
  const file = (await one.create(root, name('a'), aFile)).inode
  assert.equal((await one.link(file.id, root, name('b'))).inode.links, 2)
  assert.equal(await codeOf(one.link(file.id, root, name('b'))), 'EXIST')
  const renamed = await one.rename(root, name('a'), root, name('b'))
  assert.deepEqual([renamed.replaced, renamed.gone], [undefined, false])
  assert.deepEqual(await namesIn(one, root), ['a', 'b'])
  const first = await one.remove(root, name('a'))
  assert.deepEqual([first.gone, first.inode.links], [false, 1])
  assert.equal((await one.remove(root, name('b'))).gone, true)
  assert.equal(await codeOf(one.link(file.id, root, name('c'))), 'STALE')
  assert.deepEqual(await namesIn(one, root), [])
})

test('namespace gives no file more names than linksMax', async () => {
  const world = await newWorld()
  const one = world.node()
  const file = (await one.create(root, name('n0'), aFile)).inode
  for (let i = 1; i < linksMax; i++) await one.link(file.id, root, name(`n${i}`))
  assert.equal(await codeOf(one.link(file.id, root, name('more'))), 'MLINK')
  assert.equal(await codeOf(one.lookup(root, name('more'))), 'NOENT')
})

test('namespace sets attributes, and guards them by the change time', async () => {
  const world = await newWorld()
  const one = world.node()
  const file = (await one.create(root, name('a'), aFile)).inode
  const { before, after } = await one.setAttributes(
    file.id,
    { uid: 7, gid: 8, accessTime: 5n, modifyTime: 'now' },
    file.changeTime,
  )
  assert.deepEqual(before, file)
  assert.deepEqual([after.uid, after.gid, after.accessTime, after.modifyTime], [7, 8, 5n, after.changeTime])
  assert.ok(after.changeTime > before.changeTime)
  assert.equal(await codeOf(one.setAttributes(file.id, { mode: 0 }, file.changeTime)), 'CHANGED')
  const negative = (await one.setAttributes(file.id, { modifyTime: 4_294_967_295_999_999_999n })).after
  assert.deepEqual(await one.inode(file.id), negative)
})

test('namespace holds the bytes of small files, with holes', async () => {
  const world = await newWorld()
  const one = world.node()
  const { id } = (await one.create(root, name('a'), aFile)).inode
  await one.write(id, 100 * KiB, Buffer.alloc(50 * KiB, 'b'))
  await one.write(id, 10, name('hello'))
  const model = Buffer.alloc(150 * KiB)
  model.fill('b', 100 * KiB)
  model.write('hello', 10)
  const whole = await one.read(id, 0, 1024 * KiB)
  assert.ok(whole.bytes.equals(model))
  assert.equal(whole.inode.sizeBytes, model.length)
  assert.deepEqual((await one.read(id, 12, 2)).bytes, name('ll'))
  assert.equal((await one.read(id, model.length, 5)).bytes.length, 0)
  assert.deepEqual([...world.dump('inode').get(String(id))!.keys()].sort(), ['d00', 'd03', 'd04', 'inode'])
  await one.setAttributes(id, { sizeBytes: 12 })
  await one.setAttributes(id, { sizeBytes: 200 * KiB })
  const cut = Buffer.alloc(200 * KiB)
  cut.write('he', 10)
  assert.ok((await one.read(id, 0, 200 * KiB)).bytes.equals(cut))
  assert.deepEqual([...world.dump('inode').get(String(id))!.keys()].sort(), ['d00', 'inode'])
  assert.equal(await codeOf(one.write(id, inlineBytesMax - 1, name('x'))), 'FBIG')
  assert.equal(await codeOf(one.write(id, inlineBytesMax * 5, name('x'))), 'FBIG')
  assert.equal(await codeOf(one.setAttributes(id, { sizeBytes: inlineBytesMax })), 'FBIG')
  await one.write(id, 0, Buffer.alloc(inlineBytesMax - 1, 'z'))
  assert.ok((await one.read(id, 0, inlineBytesMax)).bytes.equals(Buffer.alloc(inlineBytesMax - 1, 'z')))
  const before = await one.inode(id)
  assert.deepEqual(await one.write(id, 0, Buffer.alloc(0)), { before, after: before })
})

test('namespace finds wrong, missing, unexpected and older data rows', async () => {
  const world = await newWorld()
  const one = world.node()
  const { id } = (await one.create(root, name('a'), aFile)).inode
  const at = partitionOf(id)
  await one.write(id, 0, Buffer.alloc(64 * KiB, 'a'))
  const sound = world.dump('inode').get(String(id))!.get('d00')!
  const wrong = Buffer.from(sound)
  wrong[77] ^= 1
  for (const bad of [wrong, sound.subarray(1), undefined]) {
    world.putRow(at, 'd00', bad)
    assert.equal(await codeOf(one.read(id, 0, 10)), 'DAMAGED_METADATA')
    assert.equal(await codeOf(one.write(id, 5, name('x'))), 'DAMAGED_METADATA')
    assert.equal(await codeOf(one.setAttributes(id, { sizeBytes: 5 })), 'DAMAGED_METADATA')
    assert.equal((await one.read(id, 32 * KiB, 10)).bytes.toString(), 'aaaaaaaaaa')
  }
  await one.write(id, 0, Buffer.alloc(32 * KiB, 'c'))
  assert.equal((await one.read(id, 0, 3)).bytes.toString(), 'ccc')
  world.putRow(at, 'd00', sound)
  assert.equal(await codeOf(one.read(id, 0, 10)), 'DAMAGED_METADATA')
  await one.setAttributes(id, { sizeBytes: 0 })
  await one.setAttributes(id, { sizeBytes: 10 })
  world.putRow(at, 'd00', sound)
  assert.equal(await codeOf(one.read(id, 0, 10)), 'DAMAGED_METADATA')
})

test('namespace takes a file through the states of its promotion', async () => {
  const world = await newWorld()
  const one = world.node()
  const { id } = (await one.create(root, name('a'), aFile)).inode
  await one.write(id, 0, name('bytes'))
  const vdisk = 7 as VDiskId
  const other = 8 as VDiskId
  assert.equal(await codeOf(one.endPromotion(id, vdisk, 1)), 'CHANGED')
  assert.deepEqual((await one.beginPromotion(id, vdisk)).content, { kind: 'promoting', vdisk, filler: 1 })
  assert.equal(await codeOf(one.beginPromotion(id, other)), 'CHANGED')
  assert.equal(await codeOf(one.write(id, 0, name('x'))), 'CHANGED')
  assert.equal(await codeOf(one.setAttributes(id, { sizeBytes: 0 })), 'CHANGED')
  assert.equal((await one.read(id, 0, 9)).bytes.toString(), 'bytes')
  assert.equal(await codeOf(one.undoPromotion(id, other)), 'CHANGED')
  assert.deepEqual((await one.undoPromotion(id, vdisk)).content, { kind: 'inline' })
  await one.beginPromotion(id, vdisk)
  assert.deepEqual((await one.takePromotion(id, vdisk, 1)).content, { kind: 'promoting', vdisk, filler: 2 })
  assert.equal(await codeOf(one.takePromotion(id, vdisk, 1)), 'CHANGED')
  assert.equal(await codeOf(one.endPromotion(id, vdisk, 1)), 'CHANGED')
  assert.deepEqual((await one.endPromotion(id, vdisk, 2)).content, { kind: 'vdisk', vdisk })
  assert.equal(await codeOf(one.read(id, 0, 9)), 'CHANGED')
  assert.equal(await codeOf(one.undoPromotion(id, vdisk)), 'CHANGED')
  assert.deepEqual([...world.dump('inode').get(String(id))!.keys()], ['inode'])
  await one.setAttributes(id, { modifyTime: 9n, modifiedAt: 1234 })
  await one.setAttributes(id, { mode: 0o600 })
  const { modifyTime, modifySetOver } = await one.inode(id)
  assert.deepEqual([modifyTime, modifySetOver], [9n, 1234])
  const { inode, gone } = await one.remove(root, name('a'))
  assert.deepEqual([inode.content, gone], [{ kind: 'vdisk', vdisk }, true])
})

test('namespace finds names of one hash apart', async () => {
  const world = await newWorld()
  const one = world.node({}, { hash: () => 12345n })
  const three = ['a', 'b', 'c']
  for (const each of three) await one.create(root, name(each), aFile)
  await one.remove(root, name('a'))
  assert.equal((await one.create(root, name('c'), aFile)).existed, true)
  await one.rename(root, name('b'), root, name('d'))
  assert.deepEqual(await namesIn(one, root), ['c', 'd'])
  for (const each of ['e', 'f']) await one.create(root, name(each), aFile)
  assert.equal(await codeOf(one.create(root, name('g'), aFile)), 'REFUSED')
  assert.deepEqual(await namesIn(one, root, 1), ['c', 'd', 'e', 'f'])
})

test('namespace never names a vDisk that it has disowned, however late somebody wants it to', async () => {
  const world = await newWorld()
  const one = world.node()
  const [v5, v6, v7, v8] = [5, 6, 7, 8] as VDiskId[]
  const { id } = (await one.create(root, name('a'), aFile)).inode
  assert.equal(await one.disown(id, v6), 'never')
  assert.equal(await one.disown(id, v6), 'never')
  const { changes } = world
  assert.equal(await one.disown(id, v5), 'never', 'an older one as well')
  assert.equal(world.changes, changes)
  for (const late of [v5, v6]) assert.equal(await codeOf(one.beginPromotion(id, late)), 'CHANGED')
  await one.beginPromotion(id, v7)
  assert.equal(await one.disown(id, v7), 'named')
  assert.equal(await one.disown(id, v8), 'never', 'while it goes to another one, which may be given up')
  await one.undoPromotion(id, v7)
  assert.equal(await one.disown(id, v7), 'never')
  assert.equal(await codeOf(one.beginPromotion(id, v8)), 'CHANGED')
  const v9 = 9 as VDiskId
  await one.beginPromotion(id, v9)
  await one.endPromotion(id, v9, 1)
  assert.equal(await one.disown(id, v9), 'named')
  assert.equal(await one.disown(id, v8), 'never')
  await one.remove(root, name('a'))
  assert.equal(await one.disown(id, v9), 'never', 'its file was removed')
  assert.equal(await one.disown((id + 2) as InodeId, v9), 'missing')
})

test('namespace: a vDisk is disowned or named, never both, whatever becomes of messages', async () => {
  const vdisk = 5 as VDiskId
  const seen = new Set<string>()
  for (let seed = 1; seed <= 300; seed++) {
    const world = await newWorld(seed)
    world.delayMs = 5
    const { id } = (await world.node().create(root, name('a'), aFile)).inode
    const unsure = () =>
      world.roll(4) === 0
        ? ('made, unknown' as const)
        : world.roll(4) === 0
          ? ('not made, unknown' as const)
          : undefined
    const promoter = world.node({ onChange: unsure, slow: () => world.roll(30) })
    const clearer = world.node({ onChange: unsure, slow: () => world.roll(30) })
    const late = world.clock.sleep(world.roll(20))
    const [begun, said] = await Promise.all([
      codeOf(promoter.beginPromotion(id, vdisk)),
      late.then(() => clearer.disown(id, vdisk)),
    ])
    const { content } = await world.node().inode(id)
    assert.equal(content?.kind, said === 'named' ? 'promoting' : 'inline', `seed ${seed}: ${begun}, ${said}`)
    seen.add(said)
    world.close()
  }
  assert.deepEqual([...seen].sort(), ['named', 'never'])
})
