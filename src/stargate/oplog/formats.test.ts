import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '../../base/crc32c.ts'
import type { DiskId, Incarnation } from '../../base/ids.ts'
import { batchEntriesMax, decodeBatchHeader, encodeBatch, noBatch } from './batch.ts'
import { epochOf, makeRecord, sequenceOf, vdiskId } from './fixtures.test.ts'
import { decodeSegmentHeader, encodeSegmentHeader } from './segment.ts'
import { decodeTable, encodeTable } from './table.ts'

const incarnation = '00112233aabbccdd' as Incarnation

function withCrc(hex: string): Buffer {
  const bytes = Buffer.from(hex.replaceAll(/\s+/g, ''), 'hex')
  bytes.writeUInt32LE(crc32c(bytes.subarray(4)), 0)
  return bytes
}

function padded(hex: string): Buffer {
  const bytes = Buffer.alloc(4096)
  Buffer.from(hex.replaceAll(/\s+/g, ''), 'hex').copy(bytes)
  bytes.writeUInt32LE(crc32c(bytes.subarray(4)), 0)
  return bytes
}

const ascii = (text: string): string => Buffer.from(text).toString('hex')

test('a segment header lies on the disk as its picture says', () => {
  const byHand = padded(`
    00000000 4e465347 01000000 07000000 00000004 0a000000 ${ascii(incarnation)} ${ascii('n1-flash-0')}`)
  const encoded = Buffer.alloc(4096, 0xff)
  const header = { generation: 7, segmentBytes: 0x400_0000, disk: 'n1-flash-0' as DiskId, incarnation }
  encodeSegmentHeader(encoded, header)
  assert.deepEqual(encoded, byHand)
  assert.deepEqual(decodeSegmentHeader(byHand, 0), header)
  byHand[13] ^= 1
  assert.equal(decodeSegmentHeader(byHand, 0), undefined)
})

test('a table lies on the disk as its picture says', () => {
  const byHand = withCrc(`
    00000000 01000000 02000000 00000000
    05000000 00300000
    0900000000000000 6400000000000000 03000000 00000000
    0a00000000000000 0000000001000000 01000000 00000000`)
  const table = {
    segments: [{ generation: 5, end: 0x3000 }],
    vdisks: [
      { vdisk: vdiskId(9), freed: sequenceOf(100), epoch: epochOf(3) },
      { vdisk: vdiskId(10), freed: sequenceOf(2 ** 32), epoch: epochOf(1) },
    ],
  }
  assert.deepEqual(encodeTable(table), byHand)
  assert.deepEqual(decodeTable(byHand), table)
  byHand[20] ^= 1
  assert.equal(decodeTable(byHand), undefined)
})

test('a batch lies on the disk as its picture says, and repeats the directory of the one before', () => {
  const record = makeRecord({ vdisk: 9, sequence: 100, episode: 4, payload: Buffer.from('abc') })
  const crc = record.header.subarray(0, 4).toString('hex')
  const header = padded(`
    00000000 4e464248 0100 0100 00200000 ${ascii(incarnation)}
    02000000 00500000 03000000 0100 0000
    0050000200000000 0090ff0100000000 00300000 00000000
    ${crc} 53000000 090000000000 640000000000 04000000
    78563412 10000080 000000000000 000000000000 00000000`)
  const previous = {
    bytes: 0x3000,
    directory: Buffer.from(`7856341210000080${'00'.repeat(16)}`, 'hex'),
  }
  const segment = Buffer.alloc(0x8000)
  const place = {
    incarnation,
    generation: 2,
    offset: 0x5000,
    number: 3,
    synced: 0x0200_5000,
    previousEnd: 0x01ff_9000,
  }
  const target = Buffer.alloc(0x2000, 0xff)
  const trace = encodeBatch(target, { ...place, previous }, { records: [record] })
  assert.deepEqual(target.subarray(0, 4096), header)
  const entries = Buffer.alloc(4096)
  Buffer.concat([record.header, ...record.payload]).copy(entries)
  assert.deepEqual(target.subarray(4096), entries)
  assert.equal(trace.bytes, 0x2000)
  assert.deepEqual(trace.directory, header.subarray(72, 96))

  target.copy(segment, 0x5000)
  const decoded = decodeBatchHeader(segment, 0x5000, incarnation)
  assert.ok(decoded)
  assert.deepEqual(decoded.directory, [
    { crc: record.header.readUInt32LE(0), bytes: 83, table: false, vdisk: 9, sequence: 100, episode: 4 },
  ])
  assert.deepEqual(decoded.previousDirectory, [
    { crc: 0x1234_5678, bytes: 16, table: true, vdisk: 0, sequence: 0, episode: 0 },
  ])
  assert.equal(decoded.previousBytes, 0x3000)
  assert.equal(decoded.synced, place.synced)
  assert.equal(decoded.previousEnd, place.previousEnd)

  segment.copy(segment, 0x3000, 0x5000, 0x7000)
  assert.equal(decodeBatchHeader(segment, 0x3000, incarnation), undefined, 'it is not where it belongs')
  assert.equal(
    decodeBatchHeader(segment, 0x5000, 'fedcba9876543210' as Incarnation),
    undefined,
    'of another disk',
  )
})

test('a batch of an unknown version is refused with a sentence, not cut off', () => {
  const segment = Buffer.alloc(0x2000)
  const place = {
    incarnation,
    generation: 1,
    offset: 0,
    number: 0,
    synced: 0,
    previousEnd: 0,
    previous: noBatch,
  }
  encodeBatch(segment, place, { records: [] })
  segment.writeUInt16LE(2, 8)
  segment.writeUInt32LE(crc32c(segment.subarray(4, 4096)), 0)
  assert.throws(() => decodeBatchHeader(segment, 0, incarnation), { code: 'REFUSED' })
})

test('two directories of the most entries fit a batch header', () => {
  const records = Array.from({ length: batchEntriesMax }, (_, index) =>
    makeRecord({ vdisk: 1, sequence: index + 1 }),
  )
  const target = Buffer.alloc(1024 * 1024)
  const place = { incarnation, generation: 1, offset: 0, number: 0, synced: 0, previousEnd: 0 }
  const previous = encodeBatch(target, { ...place, previous: noBatch }, { records })
  encodeBatch(target, { ...place, previous }, { records })
  const decoded = decodeBatchHeader(target, 0, incarnation)
  assert.equal(decoded?.directory.length, batchEntriesMax)
  assert.deepEqual(decoded.previousDirectory, decoded.directory)
})
