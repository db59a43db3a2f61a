import { test } from 'node:test'
import assert from 'node:assert/strict'
import { KiB, MiB } from '../../../base/units.ts'
import { fragmentsMax, recordBytesMax, RecordError, recordMark, RecordReader } from './record-reader.ts'

function fragment(bytes: Buffer, isLast = true): Buffer {
  const mark = Buffer.alloc(4)
  mark.writeUInt32BE(recordMark(bytes.length) - (isLast ? 0 : 2 ** 31))
  return Buffer.concat([mark, bytes])
}

/** The stream in pieces of so many bytes; where the reader has room it is read there. */
function records(stream: Buffer, pieceBytes: number): { records: Buffer[][]; intoRoom: number } {
  const reader = new RecordReader()
  const found: Buffer[][] = []
  let intoRoom = 0
  for (let at = 0; at < stream.length;) {
    const room = reader.room()
    const end = Math.min(stream.length, at + Math.min(pieceBytes, room?.length ?? Infinity))
    if (room === undefined) reader.push(Buffer.from(stream.subarray(at, end)))
    else {
      stream.copy(room, 0, at, end)
      reader.filled(end - at)
      intoRoom += end - at
    }
    at = end
    for (let record = reader.next(); record !== undefined; record = reader.next()) found.push(record)
  }
  return { records: found, intoRoom }
}

const pattern = (count: number): Buffer =>
  Buffer.from(Array.from({ length: count }, (_, at) => (at * 7) % 251))

test('a mark is the length of the fragment, with its highest bit set at the last one', () => {
  assert.equal(recordMark(0x44), 0x80000044)
  const stream = Buffer.from('00000002616280000001638000000164', 'hex')
  const found = records(stream, 100).records.map((record) => Buffer.concat(record).toString())
  assert.deepEqual(found, ['abc', 'd'])
})

test('records and fragments may be cut anywhere', () => {
  const [long, short] = [pattern(300 * KiB + 3), pattern(10)]
  const stream = Buffer.concat([
    fragment(short),
    fragment(long.subarray(0, 5), false),
    fragment(Buffer.alloc(0), false),
    fragment(long.subarray(5, 100_000), false),
    fragment(long.subarray(100_000)),
    fragment(Buffer.alloc(0)),
    fragment(short),
  ])
  for (const pieceBytes of [1, 2, 3, 5, 999, 4096, 64 * KiB, 2 * MiB]) {
    const found = records(stream, pieceBytes).records
    assert.deepEqual(
      found.map((record) => record.length),
      [1, 3, 0, 1],
    )
    assert.ok(Buffer.concat(found[1]).equals(long), `pieces of ${pieceBytes}`)
    assert.ok([found[0], found[3]].every(([bytes]) => bytes.equals(short)))
  }
})

test('a record that lies in one piece is a window on it, unless that would keep much in memory for little', () => {
  const piece = Buffer.from(new ArrayBuffer(1024))
  Buffer.concat([fragment(pattern(500)), fragment(pattern(4))]).copy(piece)
  const reader = new RecordReader()
  reader.push(piece.subarray(0, 512))
  const [large] = reader.next() ?? []
  const [small] = reader.next() ?? []
  assert.equal(large.buffer, piece.buffer)
  assert.notEqual(small.buffer, piece.buffer)
  assert.equal(reader.next(), undefined)
})

test('of a large record all but its beginning is read where it belongs, into one buffer', () => {
  const data = pattern(1 * MiB)
  const { records: found, intoRoom } = records(fragment(data), 64 * KiB)
  assert.equal(found[0].length, 1)
  assert.ok(found[0][0].equals(data))
  assert.ok(intoRoom > 900 * KiB)
})

test('memory grows with what has come, not with what was announced', () => {
  const reader = new RecordReader()
  const stream = fragment(Buffer.alloc(recordBytesMax))
  reader.push(stream.subarray(0, 100))
  assert.equal(reader.next(), undefined)
  const first = reader.room()
  assert.ok(first !== undefined && first.length < 64 * KiB)
  reader.filled(first.length)
  assert.equal(reader.next(), undefined)
  const second = reader.room()
  assert.ok(second !== undefined && second.length <= 16 * 64 * KiB)
})

test('a record that is too long, in one fragment or in many, ends the stream', () => {
  assert.throws(() => records(Buffer.from('ffffffff', 'hex'), 4), RecordError)
  assert.throws(() => records(Buffer.from('7fffffff', 'hex'), 4), RecordError)
  const half = fragment(Buffer.alloc(recordBytesMax / 2), false)
  assert.equal(records(Buffer.concat([half, half]), 64 * KiB).records.length, 0)
  assert.throws(() => records(Buffer.concat([half, half, fragment(Buffer.alloc(1))]), 64 * KiB), RecordError)
  assert.equal(records(fragment(Buffer.alloc(recordBytesMax)), 64 * KiB).records.length, 1)
})

test('a record of too many fragments ends the stream, also where they are empty', () => {
  const empty = fragment(Buffer.alloc(0), false)
  const many = Buffer.concat(Array.from({ length: fragmentsMax - 1 }, () => empty))
  assert.equal(records(Buffer.concat([many, fragment(pattern(3))]), 1000).records.length, 1)
  assert.throws(() => records(Buffer.concat([many, empty, empty]), 1000), RecordError)
})

test('the bounds are of one record: any number of them may come', () => {
  const one = Buffer.concat([fragment(pattern(3), false), fragment(pattern(2))])
  const many = Buffer.concat(Array.from({ length: fragmentsMax }, () => one))
  assert.equal(records(many, 1000).records.length, fragmentsMax)
  const large = fragment(Buffer.alloc(recordBytesMax))
  assert.equal(records(Buffer.concat([large, large, large]), 64 * KiB).records.length, 3)
})
