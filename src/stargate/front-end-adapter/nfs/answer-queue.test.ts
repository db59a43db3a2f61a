import { test } from 'node:test'
import assert from 'node:assert/strict'
import { lendViewsOf } from '../../../base/large-buffers.ts'
import { HandClock } from '../../../platform/clock-for-tests.ts'
import type { Clock, Socket } from '../../../platform/platform.ts'
import { AnswerQueue } from './answer-queue.ts'

function start() {
  const clock = new HandClock()
  const written: string[][] = []
  const sending: (() => void)[] = []
  const socket = {
    write: (buffers: readonly Uint8Array[]) =>
      written.push(buffers.map((each) => Buffer.from(each).toString())) > 0,
    whenSent: (callback: () => void) => sending.push(callback),
  } as unknown as Socket
  const seen = { held: 0, sent: 0, stalled: 0 }
  const queue = new AnswerQueue({
    socket,
    clock: clock as unknown as Clock,
    stallMs: 100,
    held: (bytes) => (seen.held += bytes),
    sent: () => (seen.sent += 1),
    stalled: () => (seen.stalled += 1),
  })
  const answer = (...parts: string[]): void => queue.add(parts.map((part) => Buffer.from(part)))
  return { clock, queue, written, seen, answer, takeOne: () => sending.shift()?.() }
}

test('answers that are ready leave in one write, and are held until the system has them', () => {
  const { queue, written, seen, answer, takeOne } = start()
  answer('one', 'two')
  answer('three')
  assert.equal(written.length, 0)
  queue.flush()
  queue.flush()
  assert.deepEqual(written, [['one', 'two', 'three']])
  assert.deepEqual([seen.held, queue.unsentBytes], [11, 11])
  answer('x')
  queue.flush()
  takeOne()
  assert.deepEqual([seen.held, seen.sent, queue.unsentBytes], [1, 1, 1])
})

test('a client that takes nothing for long is told of, one that takes little is not', () => {
  const { clock, queue, seen, answer, takeOne } = start()
  answer('one')
  queue.flush()
  for (let time = 90; time < 900; time += 90) {
    clock.moveTo(time)
    answer('more')
    queue.flush()
    takeOne()
  }
  assert.equal(seen.stalled, 0)
  clock.moveTo(1100)
  assert.equal(seen.stalled, 1)
})

test('a connection on which nothing waits has no timer that matters, and never stalls', () => {
  const { clock, queue, seen, answer, takeOne } = start()
  answer('one')
  queue.flush()
  takeOne()
  clock.moveTo(99)
  answer('two')
  queue.flush()
  clock.moveTo(150)
  assert.equal(seen.stalled, 0)
  takeOne()
  clock.moveTo(10_000)
  assert.equal(seen.stalled, 0)
  assert.equal(clock.timers.size, 0)
})

test('after the end nothing is held, sent or told', () => {
  const { clock, queue, written, seen, answer, takeOne } = start()
  answer('one')
  queue.flush()
  answer('two')
  queue.close()
  assert.equal(seen.held, 0)
  answer('three')
  queue.flush()
  takeOne()
  clock.moveTo(10_000)
  assert.deepEqual([written.length, seen.held, seen.sent, seen.stalled], [1, 0, 0, 0])
})

test('what others have lent is given back once: when it was sent, or when it never will be', () => {
  const { queue, takeOne } = start()
  const givenBack: string[] = []
  const lent = (text: string): Buffer[] => {
    const memory = Buffer.from(new ArrayBuffer(text.length)).fill(text)
    lendViewsOf(memory.buffer, () => givenBack.push(text))
    return [Buffer.from('head'), memory]
  }
  queue.add(lent('sent'))
  queue.flush()
  assert.deepEqual(givenBack, [])
  takeOne()
  assert.deepEqual(givenBack, ['sent'])
  queue.add(lent('on its way'))
  queue.flush()
  queue.add(lent('queued'))
  queue.close()
  assert.deepEqual(givenBack, ['sent', 'queued'])
  queue.add(lent('late'))
  assert.deepEqual(givenBack, ['sent', 'queued', 'late'])
  takeOne()
  assert.deepEqual(givenBack, ['sent', 'queued', 'late', 'on its way'])
})
