/** A copy is wrong only where its row, read after the copy was, names it still. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CopyNumber, type DiskId, groupIdOf, type Epoch, type VDiskId } from '../../base/ids.ts'
import type { Incarnation, LayerId, NodeId } from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { CopyRef, CopyVerdict } from '../extent-store/extent-store.ts'
import { checkCopy } from './copy-check.ts'
import { encodeGroupRow, type GroupRow } from './rows.ts'

const group = groupIdOf(1 as VDiskId, 1 as Epoch, 1)
const copyOf = (number: number): CopyRef => ({
  ...{ node: 'n1' as NodeId, disk: 'n1-flash-0' as DiskId, incarnation: 'i' as Incarnation },
  number: number as CopyNumber,
})
const rowOf = (copy: CopyRef, state: GroupRow['state'] = 'whole'): GroupRow => ({
  ...{ layer: 1 as LayerId, tier: 'flash', state, copies: [copy], extents: [] },
  checksums: new Uint32Array(4),
})
const missing: CopyVerdict = { state: 'missing', reason: 'its file is not there' }

/** `now`: the row once the copy was read. */
function checked(verdict: CopyVerdict, now: GroupRow | undefined) {
  let isRead = false
  const static_ = { epoch: 1 as Epoch, version: 1, changeId: '' }
  const medusa: Pick<Medusa, 'get'> = {
    get: async () => {
      assert(isRead, 'the row that counts is read after the copy')
      const rows = now === undefined ? [] : [{ key: group, value: encodeGroupRow(now) }]
      return { static: static_, rows }
    },
  }
  const verify = async (): Promise<CopyVerdict> => {
    isRead = true
    return verdict
  }
  return checkCopy({ medusa, extents: { verify } }, group, copyOf(1), rowOf(copyOf(1)))
}

test('a copy that is named still when it was read is wrong', async () => {
  const { reason } = missing
  const wrong = { state: 'wrong', fault: 'missing', reason }
  assert.deepEqual(await checked(missing, rowOf(copyOf(1))), wrong)
  assert.deepEqual(await checked({ state: 'right' }, undefined), { state: 'right' })
})

test('a copy that was freed, or swapped for another, while it was read is not wrong', async () => {
  const movedOn = { state: 'moved on' }
  assert.deepEqual(await checked(missing, undefined), movedOn)
  assert.deepEqual(await checked(missing, rowOf(copyOf(1), 'deleting')), movedOn)
  assert.deepEqual(await checked(missing, rowOf(copyOf(2))), movedOn)
})
