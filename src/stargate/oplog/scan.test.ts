import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Incarnation } from '../../base/ids.ts'
import { encodeBatch, noBatch, type BatchTrace } from './batch.ts'
import { makeRecord } from './fixtures.test.ts'
import { scanSegment, type SegmentScan } from './scan.ts'
import { encodeTable } from './table.ts'

const segmentBytes = 256 * 1024
const incarnation = '00112233aabbccdd' as Incarnation
const place = { incarnation, generation: 5, segmentBytes }

/** Writes batches as the log does, and keeps where each began. */
class Writer {
  readonly segment = Buffer.alloc(segmentBytes)
  readonly offsets: number[] = []
  last: BatchTrace = noBatch
  #offset = 8192

  write(content: { records: ReturnType<typeof makeRecord>[] } | { table: Buffer }, generation = 5): this {
    const target = Buffer.alloc(64 * 1024)
    const trace = encodeBatch(
      target,
      {
        incarnation,
        generation,
        offset: this.#offset,
        number: this.offsets.length,
        synced:
          this.offsets.length === 0 ? 4 * segmentBytes + 0x9000 : generation * segmentBytes + this.#offset,
        previousEnd: 4 * segmentBytes + 0x9000,
        previous: this.last,
      },
      content,
    )
    target.copy(this.segment, this.#offset, 0, trace.bytes)
    this.offsets.push(this.#offset)
    this.last = trace
    this.#offset += trace.bytes
    return this
  }

  records(...sequences: number[]): this {
    return this.write({ records: sequences.map((sequence) => makeRecord({ vdisk: 1, sequence })) })
  }

  get end(): number {
    return this.#offset
  }

  /** Damages a byte: 20 is in the header, 4096 + 50 in the first record. */
  rot(batch: number, at: number): this {
    this.segment[this.offsets[batch] + at] ^= 0x10
    return this
  }
}

const found = (scan: SegmentScan) => scan.records.map(({ header }) => header.sequence)
const lost = (scan: SegmentScan) => scan.lost.map(({ entry }) => entry.sequence)
const inHeader = 20
const inFirstRecord = 4096 + 50

test('a whole segment is read to its end', () => {
  const { segment, end } = new Writer().records(1, 2).records(3)
  const scan = scanSegment(segment, place)
  assert.deepEqual(found(scan), [1, 2, 3])
  assert.deepEqual([scan.end, scan.cutBytes, scan.hidden, scan.lost], [end, 0, [], []])
  assert.equal(scan.previousEnd, 4 * segmentBytes + 0x9000)
})

test('above the mark the log is cut at the first invalid batch, with all that is in it', () => {
  const { segment, offsets } = new Writer().records(1).records(2, 3).rot(1, inFirstRecord)
  const scan = scanSegment(segment, place)
  assert.deepEqual(found(scan), [1])
  assert.deepEqual(lost(scan), [])
  assert.equal(scan.end, offsets[1])
  assert.ok(scan.cutBytes > 0)
})

test('below the mark a bad record damages only itself', () => {
  const scan = scanSegment(
    new Writer().records(1).records(2, 3).records(4).rot(1, inFirstRecord).segment,
    place,
  )
  assert.deepEqual(found(scan), [1, 3, 4])
  assert.deepEqual(lost(scan), [2])
})

test('below the mark a bad header is made good by the next batch', () => {
  const scan = scanSegment(new Writer().records(1).records(2, 3).records(4).rot(1, inHeader).segment, place)
  assert.deepEqual(found(scan), [1, 2, 3, 4])
  assert.deepEqual(scan.hidden, [])
})

test('of two bad headers in a row the first is hidden, the second is not', () => {
  const writer = new Writer().records(1).records(2).records(3).records(4).rot(1, inHeader).rot(2, inHeader)
  const scan = scanSegment(writer.segment, place)
  assert.deepEqual(found(scan), [1, 3, 4])
  assert.deepEqual(scan.hidden, [writer.offsets[1]])
})

test('stale bytes of an older use under a valid header are no records', () => {
  const stale = new Writer().write(
    { records: [makeRecord({ vdisk: 1, sequence: 9, payload: Buffer.alloc(8000) })] },
    4,
  )
  const writer = new Writer().records(1)
  const next = new Writer().write({
    records: [makeRecord({ vdisk: 1, sequence: 2, payload: Buffer.alloc(8000) })],
  })
  // The new batch's header was written over the old one, and nothing else of it.
  const segment = stale.segment
  next.segment.copy(segment, 8192, 8192, 8192 + 4096)
  assert.deepEqual(found(scanSegment(segment, place)), [])
  // Old batches behind the end belong to another generation.
  stale.segment.copy(writer.segment, writer.end, writer.end)
  assert.deepEqual(found(scanSegment(writer.segment, place)), [1])
})

test('what lies beyond a known end never counts, however whole it is', () => {
  const writer = new Writer().records(1).records(2).records(3)
  const scan = scanSegment(writer.segment, place, { end: writer.offsets[2] })
  assert.deepEqual(found(scan), [1, 2])
  assert.equal(scan.end, writer.offsets[2])
})

test('before a known end all that is bad is damage, the last batch too', () => {
  const writer = new Writer().records(1).records(2).rot(1, inFirstRecord)
  const scan = scanSegment(writer.segment, place, { end: writer.end })
  assert.deepEqual(lost(scan), [2])
  assert.equal(scan.end, writer.end)
})

test("the last batch's bad header is made good by the first batch after it, else it is hidden", () => {
  const writer = new Writer().records(1).records(2).rot(1, inHeader)
  const [crc, bytes] = [
    makeRecord({ vdisk: 1, sequence: 2 }).header.readUInt32LE(0),
    80 + 'vdisk 1 record 2'.length,
  ]
  const entry = { crc, bytes, table: false, vdisk: 1, sequence: 2, episode: 1 } as never
  const last = { bytes: writer.last.bytes, directory: [entry] }
  assert.deepEqual(found(scanSegment(writer.segment, place, { end: writer.end, last })), [1, 2])
  assert.deepEqual(scanSegment(writer.segment, place, { end: writer.end }).hidden, [writer.offsets[1]])
})

test('the newest whole table counts, and bad ones after it are counted', () => {
  const table = (freed: number) => ({
    table: encodeTable({ segments: [], vdisks: [{ vdisk: 1, epoch: 1, freed } as never] }),
  })
  const writer = new Writer().write(table(1)).write(table(2)).write(table(3)).write(table(4)).records(1)
  const good = scanSegment(writer.segment, place)
  assert.deepEqual([good.table?.vdisks[0].freed, good.tablesLost], [4, 0])
  const one = scanSegment(writer.rot(3, 4096 + 20).segment, place)
  assert.deepEqual([one.table?.vdisks[0].freed, one.tablesLost], [3, 1])
  const two = scanSegment(writer.rot(2, 4096 + 20).segment, place)
  assert.deepEqual([two.table?.vdisks[0].freed, two.tablesLost], [2, 2])
})
