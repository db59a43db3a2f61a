import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { crc32c } from '../base/crc32c.ts'
import {
  FrameReader,
  FrameWriter,
  MalformedStream,
  bodyBytesMax,
  frameTypes,
  headerBytes,
} from './framing.ts'
import type { FrameType } from './framing.ts'

interface Frame {
  readonly type: FrameType
  readonly request: number
  readonly kind: number
  readonly body: Buffer
}

function encoded(frames: readonly Frame[], piecesOf = (body: Buffer): Buffer[] => [body]): Buffer {
  const writer = new FrameWriter('terminal')
  for (const { type, request, kind, body } of frames) writer.add(type, request, kind, piecesOf(body))
  const bytes = writer.bytes
  const taken = Buffer.concat(writer.take())
  assert.equal(taken.length, bytes)
  return taken
}

function readerInto(frames: Frame[], lengthMax = bodyBytesMax): FrameReader {
  return new FrameReader(lengthMax, (type, request, kind, body) => frames.push({ type, request, kind, body }))
}

/** The picture at the top of framing.ts, by hand. */
function byHand(change: (frame: Buffer) => void = () => undefined, body = 'hello'): Buffer {
  const frame = Buffer.alloc(20 + body.length)
  frame.write('NP', 4)
  frame.writeUInt8(1, 6)
  frame.writeUInt8(7, 7)
  frame.writeUInt32LE(0x01020304, 8)
  frame.writeUInt32LE(body.length, 12)
  frame.writeUInt16LE(0x0506, 16)
  frame.writeUInt8(1, 18)
  frame.write(body, 20)
  change(frame)
  frame.writeUInt32LE(crc32c(frame.subarray(4)), 0)
  return frame
}

test('a frame is the picture at the top of framing.ts, both ways', () => {
  const frame = { type: frameTypes.request, request: 0x01020304, kind: 0x0506, body: Buffer.from('hello') }
  assert.deepEqual(encoded([frame]), byHand())
  const frames: Frame[] = []
  readerInto(frames).push(byHand())
  assert.deepEqual(frames, [frame])
})

test('however the stream is cut up, the same frames come out', () => {
  const seed = Date.now() % 2 ** 31
  console.log(`seed ${seed}`)
  const frame = fc.record<Frame>(
    {
      type: fc.constantFrom(...Object.values(frameTypes)),
      request: fc.nat(2 ** 32 - 1),
      kind: fc.nat(2 ** 16 - 1),
      body: fc
        .tuple(fc.constantFrom(0, 1, 5, 100, 2047, 2048, 5000, 70_000), fc.nat(255))
        .map(([length, fill]) => Buffer.alloc(length, fill)),
    },
    { noNullPrototype: true },
  )
  const cuts = fc.array(fc.nat(9000), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), cuts, cuts, (frames, pieceCuts, streamCuts) => {
      const stream = encoded(frames, (body) => cut(body, pieceCuts))
      const read: Frame[] = []
      const reader = readerInto(read)
      for (const piece of cut(stream, streamCuts)) reader.push(piece)
      assert.deepEqual(read, frames)
    }),
    { seed, numRuns: 150 },
  )
})

/** Cuts by the lengths given, again and again, and leaves no empty pieces in a loop. */
function cut(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = Math.max(1, lengths[turn % lengths.length])
    pieces.push(bytes.subarray(at, at + length))
    at += length
  }
  return pieces
}

test('the rest of a long body is read to where it belongs, as far as it comes, and what follows it as before', () => {
  const bodies = [Buffer.alloc(300_000, 1), Buffer.alloc(7, 2), Buffer.alloc(40_000, 3)]
  const sent = bodies.map((body, request) => ({ type: frameTypes.request, request, kind: 1, body }))
  const stream = encoded(sent)
  const frames: Frame[] = []
  const reader = readerInto(frames)
  let filled = 0
  for (let at = 0; at < stream.length;) {
    const room = reader.room()
    const count = Math.min(10_000, stream.length - at, room?.length ?? Infinity)
    if (room === undefined) reader.push(Buffer.from(stream.subarray(at, at + count)))
    else {
      room.set(stream.subarray(at, at + count))
      reader.filled(count)
      filled += count
    }
    at += count
  }
  assert.deepEqual(frames, sent)
  assert.ok(filled > 310_000, `only ${filled} bytes were read to where they belong`)
  assert.equal(reader.room()?.length, headerBytes)
})

test('after a long body the next header is read to where it belongs, so that no byte of a long body is copied; after a short one it is not', () => {
  const bodies = [20_000, 30_000, 7, 7].map((length) => Buffer.alloc(length, length))
  const sent = bodies.map((body, request) => ({ type: frameTypes.request, request, kind: 1, body }))
  const stream = encoded(sent)
  const frames: Frame[] = []
  const reader = readerInto(frames)
  const first = headerBytes + 10
  reader.push(Buffer.from(stream.subarray(0, first)))
  const rooms: (number | undefined)[] = []
  let at = first
  while (frames.length < 3) {
    const room = reader.room()
    rooms.push(room?.length)
    if (room === undefined) reader.push(Buffer.from(stream.subarray(at, at + 7)))
    else {
      stream.copy(room, 0, at)
      reader.filled(room.length)
    }
    at += room?.length ?? 7
  }
  assert.deepEqual(rooms, [19_990, headerBytes, 30_000, headerBytes, undefined])
  assert.equal(reader.room(), undefined)
  reader.push(Buffer.from(stream.subarray(at)))
  assert.deepEqual(frames, sent)
})

test('what is filled is checked as what is pushed', () => {
  const stream = encoded([{ type: frameTypes.request, request: 1, kind: 1, body: Buffer.alloc(50_000) }])
  const reader = readerInto([])
  reader.push(stream.subarray(0, 100))
  reader.room()?.set(stream.subarray(100, 2000))
  reader.room()?.fill(9, 1900, 1901)
  assert.throws(() => reader.filled(stream.length - 100), MalformedStream)
})

test('long pieces are sent by reference and short ones are copied', () => {
  const writer = new FrameWriter('forward')
  const long = Buffer.alloc(4096, 'l')
  const short = Buffer.from('short')
  writer.add(frameTypes.request, 1, 1, [short, long, short])
  writer.add(frameTypes.request, 2, 1, [short])
  const taken = writer.take()
  assert.equal(taken.length, 3)
  assert.equal(taken[1], long)
  assert.equal(taken[0].length, headerBytes + 5)
  assert.equal(taken[2].length, 5 + headerBytes + 5)
  assert.equal(writer.bytes, 0)
})

test('a frame that breaks a rule is refused, each rule by name', () => {
  for (const [bytes, sentence] of [
    [byHand((frame) => frame.write('XX', 4)), /not the peer protocol/],
    [byHand((frame) => frame.writeUInt8(2, 6)), /version 2, this node knows 1/],
    [byHand((frame) => frame.writeUInt8(0, 7)), /type 0/],
    [byHand((frame) => frame.writeUInt8(10, 7)), /type 10/],
    [byHand((frame) => frame.writeUInt8(3, 18)), /lane 3/],
    [byHand((frame) => frame.writeUInt8(1, 19)), /flags/],
    [byHand((frame) => frame.writeUInt32LE(bodyBytesMax + 1, 12)), /41943041 bytes/],
    [Buffer.concat([byHand(), byHand((frame) => frame.writeUInt8(2, 18))]), /another lane/],
    [Buffer.from('GET / HTTP/1.1\r\nHost: n1\r\n\r\n'), /not the peer protocol/],
  ] as const)
    assert.throws(() => readerInto([]).push(bytes), { name: 'MalformedStream', message: sentence })
})

test('any flipped bit is noticed, or leaves the reader waiting for a longer body', () => {
  const good = byHand()
  for (let bit = 0; bit < good.length * 8; bit++) {
    for (const pieces of [1, good.length]) {
      const bad = Buffer.from(good)
      bad[bit >> 3] ^= 1 << (bit & 7)
      const frames: Frame[] = []
      const reader = readerInto(frames)
      try {
        for (const piece of cut(bad, [Math.ceil(bad.length / pieces)])) reader.push(piece)
      } catch (error) {
        assert.ok(error instanceof MalformedStream)
      }
      assert.deepEqual(frames, [], `bit ${bit}`)
    }
  }
})
