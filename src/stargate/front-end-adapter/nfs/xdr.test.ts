import { test } from 'node:test'
import assert from 'node:assert/strict'
import { XdrError, XdrReader, XdrWriter } from './xdr.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const reader = (...parts: string[]): XdrReader => new XdrReader(parts.map(hex))
const written = (write: (writer: XdrWriter) => void, bytes?: number): string => {
  const writer = new XdrWriter(bytes)
  write(writer)
  const { length } = writer
  const message = Buffer.concat(writer.finish())
  assert.equal(message.length, length)
  return message.toString('hex')
}

test('numbers are the bytes of their pictures', () => {
  const read = reader('ffffffff 80000000 00000002 00000100 00000200 ffffffff fffffffe')
  assert.equal(read.uint32(), 2 ** 32 - 1)
  assert.equal(read.int32(), -(2 ** 31))
  assert.equal(read.bool(), true)
  assert.equal(read.uint64(), 2 ** 40 + 512)
  assert.equal(read.bigUint64(), 2n ** 64n - 2n)
  assert.equal(read.left, 0)
  assert.equal(
    written((writer) => {
      writer.uint32(2 ** 32 - 1)
      writer.int32(-1)
      writer.bool(true)
      writer.uint64(2 ** 40 + 512)
      writer.bigUint64(2n ** 64n - 2n)
    }),
    'ffffffff ffffffff 00000001 0000010000000200 fffffffffffffffe'.replaceAll(' ', ''),
  )
})

test('a number of bytes that numbers do not hold stays larger than any size', () => {
  assert.ok(reader('ffffffff ffffffff').uint64() > Number.MAX_SAFE_INTEGER)
  assert.throws(() => new XdrWriter().uint64(2 ** 53), /no number of bytes/)
})

test('byte strings have their length in front, unless it is fixed, and padding behind', () => {
  const read = reader('00000005 68656c6c 6fdead00 616263ff 00000000 00000001 e4000000')
  assert.equal(read.opaque(5).toString(), 'hello')
  assert.equal(read.fixed(3).toString(), 'abc')
  assert.equal(read.opaque(10).length, 0)
  assert.equal(read.text(10), 'ä')
  assert.equal(read.left, 0)
  assert.equal(
    written((writer) => {
      writer.opaque(Buffer.from('hello'))
      writer.fixed(Buffer.from('abc'))
      writer.text('ä')
    }),
    '0000000568656c6c6f0000006162630000000001e4000000',
  )
})

test('what is longer than it may be, or than what is there, is refused before anything is taken', () => {
  assert.throws(() => reader('00000006 68656c6c 6f210000').opaque(5), XdrError)
  assert.throws(() => reader('ffffffff 68656c6c').opaque(2 ** 32), XdrError)
  assert.throws(() => reader('ffffffff 68656c6c').pieces(2 ** 32), XdrError)
  assert.throws(() => reader('00000005 68656c6c 6f').opaque(5), XdrError, 'padding is missing')
  assert.throws(() => reader('00000005 68656c6c 6f').pieces(5), XdrError, 'padding is missing')
  assert.throws(() => reader('000000').uint32(), XdrError)
  assert.throws(() => reader('00000000 0000').uint64(), XdrError)
  assert.throws(() => reader().uint32(), XdrError)
  assert.throws(() => reader('00000011').array(16, (each) => each.uint32()), XdrError)
  assert.throws(() => reader('ffffffff 00000001').array(2 ** 32, (each) => each.uint32()), XdrError)
  assert.throws(() => reader('00000002').oneOf(['a', 'b']), XdrError)
})

test('a message may be cut anywhere', () => {
  const whole = hex('00000005 68656c6c 6f000000 00000100 00000200 00000003 61626300 00000007')
  for (let first = 0; first <= whole.length; first += 1)
    for (let second = first; second <= whole.length; second += 1) {
      const pieces = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)]
      const read = new XdrReader(pieces)
      assert.equal(read.opaque(5).toString(), 'hello')
      assert.equal(read.uint64(), 2 ** 40 + 512)
      const taken = read.pieces(3)
      assert.ok(taken.every(({ length }) => length > 0))
      assert.equal(Buffer.concat(taken).toString(), 'abc')
      assert.equal(read.uint32(), 7)
      assert.equal(read.left, 0)
    }
})

test('bytes are windows on what came; only what lies across two buffers is copied, and pieces never are', () => {
  const buffers = [hex('00000008 61626364'), hex('65666768 00000004 31323334')]
  const pieces = new XdrReader(buffers).pieces(8)
  assert.deepEqual(pieces.map(String), ['abcd', 'efgh'])
  buffers[0][4] = 0x41
  buffers[1][0] = 0x45
  assert.deepEqual(pieces.map(String), ['Abcd', 'Efgh'])
  const read = new XdrReader(buffers)
  const across = read.opaque(8)
  const window = read.opaque(8)
  buffers[1].fill(0x2a)
  assert.equal(across.toString(), 'AbcdEfgh')
  assert.equal(window.toString(), '****')
})

test('lists, chains and what may be missing', () => {
  const bytes = written((writer) => {
    writer.array([1, 2], (each, item) => each.uint32(item))
    writer.chain([3], (each, item) => each.uint32(item))
    writer.optional(4, (each, item) => each.uint32(item))
    writer.optional(undefined, () => assert.fail('nothing is there'))
    writer.oneOf(['a', 'b'], 'b')
  })
  assert.equal(bytes, '0000000200000001000000020000000100000003000000000000000100000004' + '0000000000000001')
  const read = reader(bytes)
  assert.deepEqual(
    read.array(2, (each) => each.uint32()),
    [1, 2],
  )
  read.fixed(12)
  assert.equal(
    read.optional((each) => each.uint32()),
    4,
  )
  assert.equal(
    read.optional((each) => each.uint32()),
    undefined,
  )
  assert.equal(read.oneOf(['a', 'b']), 'b')
})

test('a writer that was given too little room grows, and what was written stays', () => {
  const text = 'x'.repeat(701)
  const bytes = written((writer) => {
    for (let index = 0; index < 20; index += 1) {
      writer.uint32(index)
      writer.text(text)
      writer.pieces([Buffer.from('ab'), Buffer.from('c')])
    }
  }, 8)
  const read = new XdrReader([Buffer.from(bytes, 'hex')])
  for (let index = 0; index < 20; index += 1) {
    assert.equal(read.uint32(), index)
    assert.equal(read.text(1000), text)
    assert.equal(read.text(3), 'abc')
  }
  assert.equal(read.left, 0)
})

test('long data is sent from where it lies', () => {
  const data = Buffer.alloc(5001, 1)
  const writer = new XdrWriter()
  writer.uint32(9)
  writer.pieces([data])
  writer.uint32(8)
  const message = writer.finish()
  assert.ok(message.includes(data))
  assert.equal(
    message.reduce((sum, { length }) => sum + length, 0),
    4 + 4 + 5004 + 4,
  )
  const read = new XdrReader(message)
  assert.equal(read.uint32(), 9)
  assert.equal(read.opaque(5001).length, 5001)
  assert.equal(read.uint32(), 8)
})

test('what is lent is a buffer of the message, however short: it is given back when that was sent', () => {
  const lent = [Buffer.alloc(1, 'a'), Buffer.alloc(0), Buffer.alloc(3000, 'b'), Buffer.alloc(2, 'c')]
  const writer = new XdrWriter()
  writer.uint32(7)
  writer.pieces(lent)
  writer.uint32(8)
  const message = writer.finish()
  for (const piece of lent) assert.equal(message.includes(piece), piece.length > 0)
  const reader = new XdrReader(message)
  assert.equal(reader.uint32(), 7)
  assert.deepEqual(reader.opaque(4000), Buffer.concat(lent))
  assert.equal(reader.uint32(), 8)
})
