import { test } from 'node:test'
import assert from 'node:assert/strict'
import {
  decodeInfoRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  decodeRequestHeader,
  emptyRequestHeader,
  encodeDataHeader,
  encodeErrorChunk,
  encodeExport,
  encodeGreeting,
  encodeNothing,
  encodeOptionReply,
  encodeRequestHeader,
  encodeSimpleReply,
  encodeStatusChunk,
} from './nbd-protocol.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const cookie = { cookieHigh: 0x01020304, cookieLow: 0xf5060708 }

test('a request header is the bytes of its picture', () => {
  const bytes = hex('25609513 0001 0006 01020304f5060708 0000010000000200 00001000')
  const header = emptyRequestHeader()
  assert.equal(decodeRequestHeader(Buffer.concat([Buffer.alloc(3), bytes]), 3, header), true)
  assert.deepEqual(header, { flags: 1, command: 6, ...cookie, offset: 2 ** 40 + 512, length: 4096 })
  assert.deepEqual(
    encodeRequestHeader({
      flags: 1,
      command: 6,
      cookie: 0x01020304f5060708n,
      offset: 2n ** 40n + 512n,
      length: 4096,
    }),
    bytes,
  )
})

test('a request header with another magic is none', () => {
  assert.equal(decodeRequestHeader(Buffer.alloc(28, 0x25), 0, emptyRequestHeader()), false)
})

test('an offset beyond what numbers hold stays larger than any size', () => {
  const header = emptyRequestHeader()
  decodeRequestHeader(encodeRequestHeader({ command: 0, cookie: 0n, offset: 2n ** 64n - 1n }), 0, header)
  assert.ok(header.offset > Number.MAX_SAFE_INTEGER)
})

test('replies are the bytes of their pictures', () => {
  const into = Buffer.alloc(64)
  encodeSimpleReply(into, 1, cookie, 28)
  assert.deepEqual(into.subarray(1, 17), hex('67446698 0000001c 01020304f5060708'))
  encodeDataHeader(into, 0, cookie, 2 ** 40 + 512, 5)
  assert.deepEqual(into.subarray(0, 28), hex('668e33ef 0001 0001 01020304f5060708 0000000d 0000010000000200'))
  encodeNothing(into, 0, cookie)
  assert.deepEqual(into.subarray(0, 20), hex('668e33ef 0001 0000 01020304f5060708 00000000'))
  encodeErrorChunk(into, 0, cookie, 5, Buffer.from('no'))
  assert.deepEqual(
    into.subarray(0, 28),
    hex('668e33ef 0001 8001 01020304f5060708 00000008 00000005 0002 6e6f'),
  )
  encodeStatusChunk(into, 0, cookie, 1, [
    { length: 4096, state: 0 },
    { length: 512, state: 3 },
  ])
  assert.deepEqual(
    into.subarray(0, 40),
    hex('668e33ef 0001 0005 01020304f5060708 00000014 00000001 00001000 00000000 00000200 00000003'),
  )
})

test('negotiation is the bytes of its pictures', () => {
  assert.deepEqual(encodeGreeting(), hex('4e42444d41474943 49484156454f5054 0003'))
  assert.deepEqual(decodeOptionHeader(hex('49484156454f5054 00000007 0000000a')), { option: 7, length: 10 })
  assert.equal(decodeOptionHeader(hex('49484156454f5055 00000007 0000000a')), undefined)
  assert.deepEqual(
    encodeOptionReply(7, 2 ** 31 + 6, Buffer.from('no')),
    hex('0003e889045565a9 00000007 80000006 00000002 6e6f'),
  )
  assert.deepEqual(encodeExport(2 ** 40, 0x0d6d), hex('0000010000000000 0d6d'))
})

test('the data of INFO is a name and the kinds that are wanted, and nothing else', () => {
  assert.deepEqual(decodeInfoRequest(hex('00000002 6162 0002 0001 0003')), {
    name: Buffer.from('ab'),
    wanted: [1, 3],
  })
  for (const bad of [
    '',
    '00000002',
    '00000002 6162',
    'ffffffff 6162 0000',
    '00000002 6162 0002 0001',
    '00000000 0000 00',
  ])
    assert.equal(decodeInfoRequest(hex(bad)), undefined, bad)
})

test('the data of SET_META_CONTEXT is a name and queries, and a count that lies is found out', () => {
  assert.deepEqual(decodeMetaContextRequest(hex('00000001 61 00000002 00000002 623a 00000000')), {
    name: Buffer.from('a'),
    queries: ['b:', ''],
  })
  for (const bad of [
    '00000001 61',
    '00000001 61 ffffffff',
    '00000001 61 00000001 00000009 62',
    '00000000 00000000 00',
  ])
    assert.equal(decodeMetaContextRequest(hex(bad)), undefined, bad)
})
