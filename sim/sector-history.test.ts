import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  findSectorViolation,
  SectorHistory,
  sectorBytes,
  stampSectors,
  stampsIn,
  zeroStamp,
} from './sector-history.ts'

type Write = [stamp: number, calledAt: number, answeredAt?: number, overBy?: number]
type Read = [stamp: number, calledAt: number, answeredAt: number]

/** What is wrong with writes and reads of one sector. */
function verdict(writes: Write[], reads: Read[]): string | undefined {
  const history = new SectorHistory()
  for (const [stamp, calledAt, answeredAt, overBy] of writes)
    history.writes.push({
      stamp,
      first: 7,
      count: 1,
      by: 'a client',
      calledAt,
      ...(answeredAt === undefined ? {} : { answeredAt }),
      ...(overBy === undefined ? {} : { overBy }),
    })
  for (const [stamp, calledAt, answeredAt] of reads)
    history.reads.push({ first: 7, stamps: Uint32Array.of(stamp), by: 'a client', calledAt, answeredAt })
  return findSectorViolation(history)?.message
}

test('the newest answered write is read, and while another is under way either of the two', () => {
  assert.equal(
    verdict(
      [
        [1, 0, 10],
        [2, 20, 40],
      ],
      [
        [1, 15, 16],
        [1, 25, 26],
        [2, 27, 28],
        [2, 50, 51],
      ],
    ),
    undefined,
  )
  assert.match(verdict([[1, 0, 10]], [[zeroStamp, 15, 16]])!, /went back to 0/)
  assert.match(
    verdict(
      [
        [1, 0, 10],
        [2, 20, 30],
      ],
      [[1, 35, 36]],
    )!,
    /went back to 1/,
  )
})

test('what was read once is not un-read, whether its write was answered or not', () => {
  const reads: Read[] = [
    [2, 20, 21],
    [1, 30, 31],
  ]
  assert.match(
    verdict(
      [
        [1, 0, 10],
        [2, 15],
      ],
      reads,
    )!,
    /went back to 1 after it had held 2/,
  )
})

test('a write under way may happen twice, with another one in between; afterwards not', () => {
  const writes: Write[] = [
    [1, 0, 100],
    [2, 20, 30],
  ]
  assert.equal(
    verdict(writes, [
      [1, 10, 11],
      [2, 40, 41],
      [1, 50, 51],
    ]),
    undefined,
  )
  assert.match(
    verdict(writes, [
      [2, 110, 111],
      [1, 120, 121],
    ])!,
    /went back to 1/,
  )
})

test('a write without answer may happen late, but not after its client’s next session did something', () => {
  const second: Write = [2, 20, 30]
  assert.equal(verdict([[1, 0], second], [[1, 1000, 1001]]), undefined)
  assert.match(verdict([[1, 0, undefined, 15], second], [[1, 1000, 1001]])!, /went back to 1/)
})

test('nothing is read that nobody wrote, nor before it was written', () => {
  assert.match(verdict([], [[3, 0, 1]])!, /nobody had written yet/)
  assert.match(verdict([[3, 10, 20]], [[3, 0, 1]])!, /nobody had written yet/)
})

test('zeroes may be of any of their writes', () => {
  assert.equal(
    verdict(
      [
        [1, 0, 10],
        [zeroStamp, 20, 30],
        [2, 40, 50],
        [zeroStamp, 60, 70],
      ],
      [
        [zeroStamp, 35, 36],
        [2, 55, 56],
        [zeroStamp, 80, 81],
      ],
    ),
    undefined,
  )
})

test('a page read at once is not a mix of two writes that cover all of it', () => {
  const history = new SectorHistory()
  for (const stamp of [1, 2])
    history.writes.push({ stamp, first: 8, count: 8, by: 'a client', calledAt: 0, answeredAt: 100 })
  const stamps = Uint32Array.of(1, 1, 1, 2, 2, 2, 2, 2)
  history.reads.push({ first: 8, stamps, by: 'a client', calledAt: 10, answeredAt: 11 })
  assert.match(findSectorViolation(history)!.message, /of two writes that cover both/)
})

test('sectors tell their stamps, and a foreign or mixed one is found', () => {
  const bytes = Buffer.alloc(3 * sectorBytes)
  stampSectors(bytes.subarray(0, 2 * sectorBytes), 9, 4)
  assert.deepEqual([...stampsIn(bytes, 4)], [9, 9, zeroStamp])
  assert.throws(() => stampsIn(bytes, 5), /was written to sector 4/)
  bytes[700] ^= 1
  assert.throws(() => stampsIn(bytes, 4), /a mix/)
})
