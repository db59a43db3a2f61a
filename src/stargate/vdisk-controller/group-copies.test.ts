import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CopyNumber } from '../../base/ids.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { diskRef } from './fixtures.test.ts'
import { GroupCopies } from './group-copies.ts'
import type { PlannedCopy } from './rows.ts'

const copy = (node: string, number = 1): CopyRef => ({ ...diskRef(node), number: number as CopyNumber })
const left = (node: string, number = 9): PlannedCopy => ({ ...copy(node, number), left: true })
const goneAre =
  (...nodes: string[]) =>
  ({ node }: { node: string }) =>
    nodes.includes(node)
const never = () => false

test('what a death took is known at once, by copies that are left', () => {
  const copies = new GroupCopies()
  copies.surveyed(1, [copy('n1'), copy('n2')], 2)
  copies.surveyed(2, [copy('n2'), copy('n3')], 2)
  copies.known(3, [copy('n1'), copy('n3')])
  assert.deepEqual(copies.endangered(never, never), [])
  assert.deepEqual(copies.endangered(goneAre('n2'), never), [
    { group: 1, left: 1, isReadable: true },
    { group: 2, left: 1, isReadable: true },
  ])
  assert.deepEqual(copies.endangered(goneAre('n2', 'n3'), goneAre('n2')), [
    { group: 1, left: 1, isReadable: true },
    { group: 2, left: 0, isReadable: true },
    { group: 3, left: 1, isReadable: true },
  ])
  assert.equal(copies.endangered(goneAre('n2', 'n3'), never)[1].isReadable, false)
  copies.forget(2)
  copies.known(1, [copy('n1'), copy('n4')])
  assert.deepEqual(copies.endangered(goneAre('n2'), never), [])
})

test('an index row with more copies than asked for needs a look at the row, one with copies left behind does not', () => {
  const copies = new GroupCopies()
  copies.surveyed(1, [copy('n1'), copy('n2'), copy('n3', 5)], 2)
  copies.surveyed(2, [copy('n1'), copy('n3'), left('n2')], 2)
  assert.deepEqual(copies.toSettle(goneAre('n2')), [1])
  assert.equal(copies.disksLeftBehind(), undefined, 'not known before the row was read')
  assert.deepEqual(copies.toSettle(never), [1, 2], 'its disk is back')
  copies.known(1, [copy('n1'), copy('n3')], [left('n2')])
  assert.deepEqual(copies.toSettle(goneAre('n2')), [])
  assert.deepEqual(copies.disksLeftBehind(), [diskRef('n2')])
  copies.known(1, [copy('n1'), copy('n3')])
  copies.known(2, [copy('n1'), copy('n3')])
  assert.deepEqual(copies.disksLeftBehind(), [])
})

test('what the owner has done since is newer than what the scan of the index finds', () => {
  const copies = new GroupCopies()
  copies.known(1, [copy('n1'), copy('n3')])
  copies.surveyed(1, [copy('n1'), copy('n2')], 2)
  assert.deepEqual(copies.endangered(goneAre('n2'), never), [])
  copies.unsettle(1)
  assert.deepEqual(copies.toSettle(never), [1])
})
