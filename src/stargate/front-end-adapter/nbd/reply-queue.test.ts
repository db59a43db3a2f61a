import { test } from 'node:test'
import assert from 'node:assert/strict'
import { KiB, MiB } from '../../../base/units.ts'
import type { Socket } from '../../../platform/platform.ts'
import { ReplyQueue } from './reply-queue.ts'
import { ReplySlabs } from './reply-slabs.ts'

/** A socket that keeps what it is given until it is told that it was sent. */
function fixture() {
  const written: string[][] = []
  const waiting: (() => void)[] = []
  const ignore = (): void => {}
  const socket: Socket = {
    remoteAddress: 'test',
    localAddress: 'tested',
    onData: ignore,
    room: () => undefined,
    onFilled: ignore,
    onClose: ignore,
    onDrain: ignore,
    write: (buffers) => written.push(buffers.map((buffer) => Buffer.from(buffer).toString())) > 0,
    whenSent: (callback) => void waiting.push(callback),
    pause: ignore,
    resume: ignore,
    end: ignore,
    destroy: ignore,
  }
  const slabs = new ReplySlabs()
  let roomMade = 0
  const queue = new ReplyQueue(socket, slabs, () => (roomMade += 1))
  const reserve = (text: string) => {
    const place = queue.reserve(text.length)
    place.slab.buffer.write(text, place.start)
    return place
  }
  const sent = (): void => waiting.splice(0).forEach((callback) => callback())
  return { queue, slabs, written, reserve, sent, roomMade: () => roomMade }
}

test('replies that lie side by side leave as one buffer, in the order in which they got ready', () => {
  const { queue, written, reserve } = fixture()
  const [a, b, c, d] = [reserve('a'), reserve('b'), reserve('c'), reserve('d')]
  for (const place of [b, c, a, d]) queue.send(place)
  queue.flush()
  queue.flush()
  assert.deepEqual(written, [['bc', 'a', 'd']])
})

test('a slab goes back when all of it was sent, and is lent again', () => {
  const { queue, slabs, reserve, sent, roomMade } = fixture()
  const [first, late] = [reserve('first'), reserve('late')]
  queue.send(first)
  queue.flush()
  sent()
  assert.ok(queue.heldBytes > 0)
  queue.send(late)
  queue.flush()
  assert.ok(queue.heldBytes > 0)
  assert.equal(roomMade(), 0)
  sent()
  assert.deepEqual([queue.heldBytes, slabs.heldBytes, roomMade()], [0, 0, 1])
  assert.equal(slabs.take(1), first.slab)
})

// A late answer of a slow peer or disk may still be written into it.
test('a slab with the place of a read that failed is never lent again', () => {
  const { queue, slabs, reserve } = fixture()
  const { slab } = reserve('a read')
  queue.abandon({ slab, start: 0, end: 6 }, true)
  assert.equal(slabs.heldBytes, 0)
  assert.notEqual(slabs.take(1), slab)
})

test('a reply that does not fit into what is left of a slab gets another, as large as it needs', () => {
  const { queue, slabs } = fixture()
  const small = queue.reserve(100)
  const large = queue.reserve(32 * MiB + 28)
  assert.notEqual(small.slab, large.slab)
  assert.ok(large.slab.buffer.length < 33 * MiB)
  assert.equal(queue.heldBytes, small.slab.buffer.length + large.slab.buffer.length)
  assert.equal(slabs.heldBytes, queue.heldBytes)
})

test('when the connection is gone nothing is sent and nothing is counted', () => {
  const { queue, slabs, written, reserve, sent } = fixture()
  const [first, second, third] = [reserve('first'), reserve('second'), reserve('third')]
  queue.send(first)
  queue.flush()
  queue.send(second)
  queue.disconnect()
  queue.flush()
  queue.send(third)
  queue.flush()
  sent()
  assert.deepEqual(written, [['first']])
  assert.ok(slabs.heldBytes >= 1 * MiB + 4 * KiB)
  queue.forget()
  assert.deepEqual([queue.heldBytes, slabs.heldBytes], [0, 0])
})
