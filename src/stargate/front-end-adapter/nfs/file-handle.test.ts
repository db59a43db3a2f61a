import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InodeId } from '../../namespace/namespace.ts'
import { fileHandleBytes, FileHandles } from './file-handle.ts'

const key = Buffer.alloc(32, 'k')
const ids = [1, 7, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1] as InodeId[]

test('a handle says which inode of which container, to every node with the key', () => {
  for (const root of ids)
    for (const inode of ids) {
      const handle = new FileHandles(key).encode(root, inode)
      assert.equal(handle.length, fileHandleBytes)
      const reader = new FileHandles(Buffer.from(key))
      for (let again = 0; again < 2; again++) assert.deepEqual(reader.decode(handle), { root, inode })
    }
})

test('a handle that was made up, changed, cut or made with another key is none', () => {
  const handles = new FileHandles(key)
  const handle = handles.encode(ids[1], ids[3])
  handles.decode(handle)
  for (let bit = 0; bit < 8 * fileHandleBytes; bit++) {
    const other = Buffer.from(handle)
    other[bit >> 3] ^= 1 << (bit & 7)
    assert.equal(handles.decode(other), undefined, `bit ${bit}`)
  }
  for (const length of [0, 1, fileHandleBytes - 1])
    assert.equal(handles.decode(handle.subarray(0, length)), undefined)
  assert.equal(handles.decode(Buffer.concat([handle, Buffer.alloc(4)])), undefined)
  assert.equal(new FileHandles(Buffer.alloc(32, 'l')).decode(handle), undefined)
})
