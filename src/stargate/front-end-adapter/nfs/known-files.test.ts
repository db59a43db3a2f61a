/** What is remembered of long files, for how long, and by whose changes it is forgotten. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VDiskId } from '../../../base/ids.ts'
import type { Clock } from '../../../platform/platform.ts'
import type { Content, Inode, InodeId } from '../../namespace/namespace.ts'
import { KnownFiles } from './known-files.ts'

function stage(content: Content) {
  const state = { now: 0, mode: 0o600, reads: 0 }
  const inode = async (id: InodeId): Promise<Inode> => {
    state.reads++
    return { id, mode: state.mode, content } as Inode
  }
  return { state, known: new KnownFiles({ inode }, { now: () => state.now } as Clock) }
}

const id = 8 as InodeId
const long: Content = { kind: 'vdisk', vdisk: 1 as VDiskId }

test('a long file is read once, for those who ask together and for 10 ms, and then anew', async () => {
  const { state, known } = stage(long)
  const [one, other] = [known.inode(id), known.inode(id)]
  assert.equal(one, other)
  assert.equal(known.inode(id), one, 'not known yet')
  await one
  state.mode = 0o400
  state.now = 9
  assert.equal((known.inode(id) as Inode).mode, 0o600)
  state.now = 10
  assert.equal((await known.inode(id)).mode, 0o400)
  assert.equal(state.reads, 2)
})

test('what this node changes is seen at once, also where the reading had begun before', async () => {
  const { state, known } = stage(long)
  const before = known.inode(id)
  state.mode = 0o400
  known.forget(id)
  await before
  assert.equal((await known.inode(id)).mode, 0o400)
})

test('of other files nothing is remembered', async () => {
  const { state, known } = stage({ kind: 'inline' })
  for (let i = 0; i < 3; i++) await known.inode(id)
  assert.equal(state.reads, 3)
})
