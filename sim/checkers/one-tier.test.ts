import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CopyNumber, DiskId, Incarnation, NodeId } from '../../src/base/ids.ts'
import { groupId, groupRow, MedusaStory } from './checkers-for-tests.ts'
import { tierFault } from './one-tier.ts'

const copies = (...disks: readonly string[]) =>
  disks.map((disk) => ({
    node: disk.slice(0, 2) as NodeId,
    disk: disk as DiskId,
    incarnation: '0' as Incarnation,
    number: 1 as CopyNumber,
  }))

test('I8: copies are on the tier of the row, or the row says mixed', () => {
  const medusa = new MedusaStory(tierFault)
  const apart = copies('n1-hdd-0', 'n2-flash-0')
  assert.equal(medusa.group(groupId(1), groupRow('a', copies('n1-hdd-0', 'n2-hdd-0'))), undefined)
  assert.equal(medusa.group(groupId(2), groupRow('a', apart, { mixed: true })), undefined)
  assert.match(
    medusa.group(groupId(3), groupRow('a', apart))!,
    /group 1-1-3 is on hdd, and its copy 1 on n2-flash-0/,
  )
})
