import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KiB, MiB, millis } from '../../base/units.ts'
import { homeOf, type Stream, streamOutstandingBytesMin, WriteStreams } from './write-home.ts'

const now = millis(1000)

/** Writes that all are under way at once: where each goes. */
function homesOf(writes: readonly (readonly [offset: number, length: number])[]): string[] {
  const streams = new WriteStreams()
  return writes.map(([offset, length]) => homeOf(offset, length, streams.arrived(offset, length, now), now))
}
const following = (count: number, length: number, from = 0): [number, number][] =>
  Array.from({ length: count }, (_, i) => [from + i * length, length])

// "Random IO is sent to the oplog. Sequential requests are sent directly to the extent store, unless they are short, small requests."
test('random writes go to the oplog, however many are under way (R20)', () => {
  const random: [number, number][] = Array.from({ length: 100 }, (_, i) => [
    ((i * 37) % 101) * 4 * MiB,
    256 * KiB,
  ])
  assert.deepEqual(new Set(homesOf(random)), new Set(['oplog']))
})

test('sequential writes go to the extent store when more than 1.5 MB of their stream is under way (R20)', () => {
  const homes = homesOf(following(10, 256 * KiB))
  const first = homes.indexOf('extent-store')
  assert.equal(first, Math.floor(streamOutstandingBytesMin / (256 * KiB)))
  assert.deepEqual(new Set(homes.slice(first)), new Set(['extent-store']))
})

test('short sequential writes go to the oplog, whatever their stream has under way (R20)', () => {
  assert.deepEqual(new Set(homesOf(following(1000, 4 * KiB))), new Set(['oplog']))
})

test('a stream that waits for each of its writes never has enough under way', () => {
  const streams = new WriteStreams()
  for (const [offset, length] of following(20, 1 * MiB)) {
    const stream = streams.arrived(offset, length, now)
    assert.equal(homeOf(offset, length, stream, now), 'oplog')
    streams.done(stream, length, now)
  }
})

test('a stream whose writes end together stays one while its next writes come', () => {
  const streams = new WriteStreams()
  const begun = following(4, 1 * MiB).map(([offset, length]) => streams.arrived(offset, length, now))
  for (const stream of begun) streams.done(stream, 1 * MiB, millis(1150))
  const next = streams.arrived(4 * MiB, 1 * MiB, millis(1151))
  assert.equal(homeOf(4 * MiB, 1 * MiB, next, millis(1151)), 'extent-store')
  streams.done(next, 1 * MiB, millis(1160))
  const late = streams.arrived(5 * MiB, 1 * MiB, millis(1171))
  assert.equal(homeOf(5 * MiB, 1 * MiB, late, millis(1171)), 'oplog', 'one at a time is no stream')
})

test('one large write goes to the extent store at once', () => {
  assert.deepEqual(homesOf([[512, 32 * MiB]]), ['extent-store'])
})

test('a misaligned stream goes to the extent store too: only its whole pages lie there (R12)', () => {
  assert.equal(homesOf(following(8, 320 * KiB, 63 * 512)).at(-1), 'extent-store')
})

test('streams of several files are told apart', () => {
  const writes = Array.from({ length: 10 }, (_, i) =>
    [0, 1, 2].map((file) => [file * 1000 * MiB + i * 256 * KiB, 256 * KiB] as const),
  )
  assert.deepEqual(homesOf(writes.flat()).slice(-3), ['extent-store', 'extent-store', 'extent-store'])
})

test('what a stream has under way falls when its writes end, also when the stream itself was forgotten', () => {
  const streams = new WriteStreams()
  const stream: Stream = streams.arrived(0, 2 * MiB, now)
  for (let other = 1; other < 20; other++) streams.arrived(other * 100 * MiB, 4 * KiB, now)
  streams.done(stream, 2 * MiB, now)
  assert.equal(stream.outstandingBytes, 0)
  assert.equal(streams.arrived(2 * MiB, 4 * KiB, now).outstandingBytes, 4 * KiB)
})
