import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Inode, InodeType } from '../../namespace/namespace.ts'
import { access } from './nfs3-types.ts'
import { allows, allowsData, allowsRemoval, grantedAccess, may } from './permissions.ts'

const inodeOf = (mode: number, type: InodeType = 'file', uid = 10, gid = 20): Inode =>
  ({ mode, type, uid, gid }) as Inode
const user = (uid: number, gid: number, ...gids: number[]) => ({ uid, gid, gids })
const root = user(0, 0)
const all = 0x3f

test('owner, group and others each have bits of their own, and no others', () => {
  const inode = inodeOf(0o421)
  const bits = [may.read, may.write, may.execute]
  const of = (who: ReturnType<typeof user>): boolean[] => bits.map((bit) => allows(inode, who, bit))
  assert.deepEqual(of(user(10, 20)), [true, false, false])
  assert.deepEqual(of(user(11, 20)), [false, true, false])
  assert.deepEqual(of(user(11, 1, 5, 20)), [false, true, false])
  assert.deepEqual(of(user(11, 1)), [false, false, true])
})

test('root may everything but execute what nobody may', () => {
  assert.ok(allows(inodeOf(0), root, may.read | may.write))
  assert.ok(!allows(inodeOf(0o666), root, may.execute))
  assert.ok(allows(inodeOf(0o001), root, may.execute))
  assert.ok(allows(inodeOf(0, 'directory'), root, may.execute))
})

test('the owner of an open file reads and writes it, whatever its bits are now', () => {
  assert.ok(allowsData(inodeOf(0), user(10, 1), may.write))
  assert.ok(!allowsData(inodeOf(0), user(11, 20), may.write))
})

test('a name in a sticky directory is its owner’s or the directory’s', () => {
  const directory = inodeOf(0o1777, 'directory', 1)
  const file = inodeOf(0o666, 'file', 2)
  assert.ok(allowsRemoval(directory, file, user(1, 1)))
  assert.ok(allowsRemoval(directory, file, user(2, 1)))
  assert.ok(allowsRemoval(directory, file, root))
  assert.ok(!allowsRemoval(directory, file, user(3, 1)))
  assert.ok(allowsRemoval(inodeOf(0o777, 'directory', 1), file, user(3, 1)))
})

test('ACCESS tells what may be done with files and directories', () => {
  assert.equal(grantedAccess(inodeOf(0o640), user(11, 20), all, false), access.read)
  assert.equal(
    grantedAccess(inodeOf(0o750, 'directory'), user(10, 20), all, false),
    access.read | access.lookup | access.modify | access.extend | access.delete,
  )
  assert.equal(grantedAccess(inodeOf(0o777), root, all, true), access.read | access.execute)
  assert.equal(grantedAccess(inodeOf(0o777), root, access.read, false), access.read)
})
