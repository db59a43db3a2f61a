import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VDiskId } from '../../src/base/ids.ts'
import type { Content, InodeId } from '../../src/stargate/namespace/namespace.ts'
import { PromotedOnce } from './promoted-once.ts'

const inline: Content = { kind: 'inline' }
const promoting = (vdisk: number, filler: number): Content => ({
  kind: 'promoting',
  vdisk: vdisk as VDiskId,
  filler,
})
const filled = (vdisk: number): Content => ({ kind: 'vdisk', vdisk: vdisk as VDiskId })
const file = 2 as InodeId

const faultsOf = (...contents: (Content | undefined)[]): (string | undefined)[] => {
  const checker = new PromotedOnce()
  return contents.map((content) => checker.changed(file, content)).filter((fault) => fault !== undefined)
}

test('a file becomes one vDisk, filled by one and then another, and is removed', () => {
  assert.deepEqual(faultsOf(inline, promoting(7, 1), promoting(7, 2), filled(7), filled(7), undefined), [])
})

test('a file that becomes another vDisk is told, and one that is none again, or is filled again', () => {
  assert.deepEqual(faultsOf(promoting(7, 1), promoting(8, 1)), ['file 2 was vDisk 7, and is 8'])
  assert.deepEqual(faultsOf(filled(7), inline), ['file 2 was vdisk, and is inline again'])
  assert.deepEqual(faultsOf(filled(7), promoting(7, 2)), ['file 2 is filled again'])
  assert.deepEqual(faultsOf(promoting(7, 2), promoting(7, 1)), ['filler 1 of file 2 comes after 2'])
})
