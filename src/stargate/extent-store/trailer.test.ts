import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { crc32c } from '../../base/crc32c.ts'
import type { CopyNumber, Epoch, LayerId, Sequence, VDiskId } from '../../base/ids.ts'
import { groupIdOf } from '../../base/ids.ts'
import { groupPage, pageBytes, pagesPerGroupMax, vDiskPage } from '../../base/units.ts'
import { trailerRoomBytes } from './extent-store.ts'
import { decodeTrailer, encodeTrailer, trailerBytesOf, trailerRoom, type CopyTrailer } from './trailer.ts'

const sample: CopyTrailer = {
  cluster: 'c1',
  container: 'vms',
  group: groupIdOf(7 as VDiskId, 3 as Epoch, 0x1_0000_0002),
  number: 2 as CopyNumber,
  layer: 5 as LayerId,
  copies: 2,
  extents: [
    { page: vDiskPage(0x10), count: 1, at: groupPage(0), sequence: 100 as Sequence },
    { page: vDiskPage(0x1_0000_0000), count: 2, at: groupPage(1), sequence: 101 as Sequence },
  ],
  zeros: [{ page: vDiskPage(0x40), count: 0x2_0000_0000, sequence: 99 as Sequence }],
  checksums: Uint32Array.of(0x11223344, 0xaabbccdd, 0xffffffff),
  standing: {
    drained: 0x50 as Sequence,
    through: 0x66 as Sequence,
    sizeBytes: 0x3_0000_0000,
    modifiedAt: 0x6_0000_0000_0000,
  },
}

/** The picture's bytes, written down one by one. */
function byHand(): Buffer {
  const hex =
    '0700000000000000' + // vdisk
    '0200000001000000' + // counter
    '03000000' + // epoch
    '05000000' + // layer
    '02000000' + // copy number
    '02000000' + // copies
    '03000000' + // pages
    '02000000' + // extents
    '01000000' + // zeros
    '0200' + // cluster's length
    '0300' + // container's length
    '6331' + // c1
    '766d73' + // vms
    '1000000000000000' + // extent: page
    '6400000000000000' + // sequence
    '01000000' + // count
    '00000000' + // at
    '0000000001000000' + // extent: page
    '6500000000000000' + // sequence
    '02000000' + // count
    '01000000' + // at
    '4000000000000000' + // zero: page
    '6300000000000000' + // sequence
    '0000000002000000' + // count
    '44332211' + // checksums
    'ddccbbaa' +
    'ffffffff' +
    '5000000000000000' + // standing: drained
    '6600000000000000' + // through
    '0000000003000000' + // size
    '0000000000000600' + // time
    'b9000000' + // length: 185
    '02000000' + // version
    '4e444653' // NDFS
  const bytes = Buffer.from(hex, 'hex')
  const crc = Buffer.alloc(4)
  crc.writeUInt32LE(crc32c(bytes))
  return Buffer.concat([bytes, crc])
}

test('the trailer lies on the disk as its picture says', () => {
  assert.equal(encodeTrailer(sample).toString('hex'), byHand().toString('hex'))
})

test('a trailer is found from the end of its file', () => {
  const file = Buffer.concat([Buffer.alloc(3 * pageBytes, 0x5a), byHand()])
  assert.equal(trailerBytesOf(file), byHand().length)
  assert.deepEqual(decodeTrailer(file), sample)
})

test('a trailer with any byte changed, or cut anywhere, is none', () => {
  const bytes = byHand()
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 1 << (at % 8)
    assert.equal(decodeTrailer(changed), undefined, `byte ${at}`)
    assert.equal(decodeTrailer(bytes.subarray(0, at)), undefined, `cut to ${at}`)
    assert.equal(decodeTrailer(bytes.subarray(at + 1)), undefined, `begun after ${at}`)
  }
})

test('whatever an owner may say comes back, and a stream’s fits the room that its file has for it', () => {
  const plain = { noNullPrototype: true }
  const sequence = fc.maxSafeNat().map((value) => value as Sequence)
  fc.assert(
    fc.property(
      fc.array(fc.record({ gap: fc.nat(2 ** 40), sequence }), { maxLength: 300 }),
      fc.array(fc.record({ page: fc.maxSafeNat().map(vDiskPage), count: fc.maxSafeNat(), sequence }, plain), {
        maxLength: 20,
      }),
      fc.string({ maxLength: 60, unit: 'grapheme' }),
      (runs, zeros, container) => {
        const extents = runs.map(({ gap, sequence }, at) => ({
          page: vDiskPage(gap),
          count: 1,
          at: groupPage(at),
          sequence,
        }))
        const checksums = Uint32Array.from(runs, ({ gap }) => gap)
        const trailer = { ...sample, extents, zeros, container, checksums }
        const bytes = encodeTrailer(trailer)
        assert.deepEqual(decodeTrailer(bytes), trailer)
        assert.ok(encodeTrailer({ ...trailer, zeros: [] }).length <= trailerRoom(runs.length))
      },
    ),
    { seed: 20_261_121, numRuns: 100 },
  )
  assert.equal(trailerRoom(pagesPerGroupMax), trailerRoomBytes)
})
