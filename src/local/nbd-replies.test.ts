import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Run } from '../stargate/io/io.ts'
import { NbdReplies, SenselessReply, type Awaited } from './nbd-replies.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/[^0-9a-f]/g, ''), 'hex')

interface Answer {
  cookie: number
  error: number
  message: string
}

function reader(awaited: Record<number, Awaited>): { replies: NbdReplies; answers: Answer[] } {
  const answers: Answer[] = []
  const replies = new NbdReplies({
    awaited: (cookie) => awaited[cookie],
    answered: (cookie, error, message) => answers.push({ cookie, error, message }),
  })
  return { replies, answers }
}

// Five replies, byte by byte as the pictures say.
const target = Buffer.alloc(8)
const simpleTarget = Buffer.alloc(2)
const runs: Run[] = []
const awaited: Record<number, Awaited> = {
  1: { offset: 0, length: 4 },
  2: { offset: 4096, length: 8, target },
  3: { offset: 0, length: 8192, runs },
  4: { offset: 0, length: 4 },
  5: { offset: 0, length: 2, target: simpleTarget },
}
const stream = hex(
  [
    // simple, done: magic, error, cookie
    '67446698 00000000 0000000000000001',
    // structured, in three chunks: 4 bytes of data at 4100, a hole of 4 at 4096, and NONE with the DONE flag
    '668e33ef 0000 0001 0000000000000002 0000000c 0000000000001004 01020304',
    '668e33ef 0000 0002 0000000000000002 0000000c 0000000000001000 00000004',
    '668e33ef 0001 0000 0000000000000002 00000000',
    // block status: context, then length and state
    '668e33ef 0001 0005 0000000000000003 00000014 00000001 00001000 00000003 00001000 00000000',
    // error: ENOSPC, with a message of two letters
    '668e33ef 0001 8001 0000000000000004 00000008 0000001c 0002 6e6f',
    // simple with data
    '67446698 00000000 0000000000000005 aabb',
  ].join(''),
)

test('NBD replies are read wherever the stream is cut', () => {
  for (let piece = 1; piece <= stream.length; piece++) {
    target.fill(0xff)
    simpleTarget.fill(0)
    runs.length = 0
    const { replies, answers } = reader(awaited)
    for (let at = 0; at < stream.length; at += piece) replies.receive(stream.subarray(at, at + piece))
    assert.deepEqual(answers, [
      { cookie: 1, error: 0, message: '' },
      { cookie: 2, error: 0, message: '' },
      { cookie: 3, error: 0, message: '' },
      { cookie: 4, error: 28, message: 'no' },
      { cookie: 5, error: 0, message: '' },
    ])
    assert.deepEqual([...target], [0, 0, 0, 0, 1, 2, 3, 4])
    assert.deepEqual([...simpleTarget], [0xaa, 0xbb])
    assert.deepEqual(runs, [
      { length: 4096, kind: 'zero' },
      { length: 4096, kind: 'data' },
    ])
  }
})

test('a stream that makes no sense is refused', () => {
  const senseless = [
    // wrong magic
    '00000000 00000000 0000000000000001',
    // an answer to nothing
    '67446698 00000000 0000000000000009',
    // data before, and beyond, what was asked for
    '668e33ef 0001 0001 0000000000000002 0000000c 0000000000000ffc 01020304',
    '668e33ef 0001 0001 0000000000000002 0000000c 0000000000001006 01020304',
    // data for a request that has no place for it
    '668e33ef 0001 0001 0000000000000001 0000000c 0000000000000000 01020304',
    // an unknown chunk, one of 4 GiB, an error without a number
    '668e33ef 0001 0007 0000000000000001 00000004 00000000',
    '668e33ef 0001 0005 0000000000000003 ffffffff 00000000',
    '668e33ef 0001 8001 0000000000000001 00000002 0000',
  ]
  for (const text of senseless)
    assert.throws(() => reader(awaited).replies.receive(hex(text)), SenselessReply, text)
})
