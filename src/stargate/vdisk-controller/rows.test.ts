import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { hasCode } from '../../base/errors.ts'
import type { GroupId, LayerId } from '../../base/ids.ts'
import { groupPage, vDiskPage } from '../../base/units.ts'
import { decodeExtentPayload, encodeExtentPayload } from './extent-payload.ts'
import { asEpisode, asSequence, diskRef } from './fixtures.test.ts'
import {
  decodeGroupRow,
  decodePlannedCopies,
  decodeVDiskState,
  encodeGroupRow,
  encodePlannedCopies,
  encodeVDiskState,
  type GroupRow,
  type VDiskState,
} from './rows.ts'

const copies = ['n1', 'n2'].map((node, i) => ({ ...diskRef(node), number: (i + 1) as never }))
/** Not at a multiple of four in its buffer: what Medusa returns may lie anywhere. */
const checksums = Uint32Array.of(1, 0xffff_ffff, 0x0102_0304)

const state: VDiskState = {
  name: 'container/vdisk',
  state: 'live',
  copies: 2,
  sizeBytes: 2 ** 45 + 512,
  layer: 1 as LayerId,
  drained: asSequence(2 ** 40),
  episodes: [
    {
      id: asEpisode(4097),
      first: asSequence(1),
      end: asSequence(7),
      replicas: [diskRef('n1'), diskRef('n2')],
    },
    { id: asEpisode(4099), first: asSequence(8), replicas: [diskRef('n1'), diskRef('n3')] },
  ],
  clients: { 'client/vm-1': 7 },
}

const groupRow: GroupRow = {
  layer: 1 as LayerId,
  tier: 'flash',
  state: 'whole',
  copies,
  extents: [
    { page: vDiskPage(2 ** 33), count: 2, at: groupPage(0), sequence: asSequence(2 ** 40) },
    { page: vDiskPage(5), count: 1, at: groupPage(2), sequence: asSequence(3) },
  ],
  checksums,
}

test('rows read back as they were written', () => {
  assert.deepEqual(decodeVDiskState(encodeVDiskState(state)), state)
  assert.deepEqual(decodeGroupRow(encodeGroupRow(groupRow)), groupRow)
  assert.deepEqual(decodePlannedCopies(encodePlannedCopies(copies)), copies)
})

test('a row of a version that this code does not know is refused (I5)', () => {
  const { row } = decodeControl<{ row: unknown }>(encodeVDiskState(state))
  assert.throws(
    () => decodeVDiskState(encodeControl({ version: 2, row })),
    (error) => hasCode(error, 'DAMAGED_METADATA'),
  )
})

test('the payload of an extent record has the bytes of its picture (C6)', () => {
  const piece = { group: '1-2-3' as GroupId, copies, page: 9, at: 0, checksums }
  const payload = { head: Buffer.from('head'), tail: Buffer.from('the tail'), pieces: [piece] }
  const bytes = Buffer.concat(encodeExtentPayload(payload))
  const controlBytes = bytes.readUInt32LE(0)
  assert.deepEqual(decodeControl(bytes.subarray(4, 4 + controlBytes)), {
    version: 1,
    head: 4,
    tail: 8,
    pieces: [{ ...piece, checksums: Buffer.from('01000000ffffffff04030201', 'hex') }],
  })
  assert.equal(bytes.subarray(4 + controlBytes).toString(), 'headthe tail')
  assert.deepEqual(decodeExtentPayload(Buffer.concat([Buffer.alloc(1), bytes]).subarray(1)), payload)
})

test('an extent record without ragged edges holds pieces alone', () => {
  const payload = { head: Buffer.alloc(0), tail: Buffer.alloc(0), pieces: [] }
  assert.deepEqual(decodeExtentPayload(Buffer.concat(encodeExtentPayload(payload))), payload)
})

test('an extent record of another version is refused', () => {
  const control = encodeControl({ version: 2, head: 0, tail: 0, pieces: [] })
  const length = Buffer.alloc(4)
  length.writeUInt32LE(control.length)
  assert.throws(
    () => decodeExtentPayload(Buffer.concat([length, control])),
    (error) => hasCode(error, 'REFUSED'),
  )
})
