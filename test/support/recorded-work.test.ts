import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SectorHistory } from '../../sim/sector-history.ts'
import { judge, withStaleRead } from './recorded-work.ts'
import { servedIn, servedTwice } from './served-epochs.ts'

const sectors = 8

/** One thing after another on one page: writes of these stamps, each followed by a read of what was written. */
function historyOf(stamps: readonly number[], page: number): SectorHistory {
  const history = new SectorHistory()
  for (const [index, stamp] of stamps.entries()) {
    const at = index * 10
    const first = page * sectors
    history.writes.push({ stamp, first, count: sectors, by: 'a', calledAt: at, answeredAt: at + 1 })
    history.reads.push({
      first,
      stamps: new Uint32Array(sectors).fill(stamp),
      by: 'b',
      calledAt: at + 2,
      answeredAt: at + 3,
    })
  }
  return history
}

test('a recorded history in which each read saw the newest write is a right one', () => {
  for (const page of [0, 200]) assert.equal(judge(historyOf([1, 2, 3], page)), undefined)
})

test('one planted stale read makes it a wrong one, on shared pages and on those of one hand', () => {
  for (const page of [0, 200])
    assert.match(judge(withStaleRead(historyOf([1, 2, 3], page))) ?? '', /went back to 1 after it had held 2/)
})

test('a read of what was never written is found', () => {
  const history = historyOf([1], 0)
  history.writes.splice(0)
  assert.match(judge(history) ?? '', /which nobody had written yet/)
})

test('two processes that served one vDisk in one epoch are found in their logs', () => {
  const line = (epoch: number): string =>
    `{"level":"info","time":"2026-01-01T00:00:00Z","epoch":${epoch},"msg":"vDisk 7 (vms/a) is served here"}\n`
  const half = '{"level":"info","time":"2026-01-01T00:00:00Z","epoch":3,"msg":"vDisk 7 (vms/a) is served here'
  const first = servedIn(`${line(1)}other words\n${line(2)}${half}`, 'n1')
  assert.deepEqual(
    first.map(({ vdisk, epoch }) => [vdisk, epoch]),
    [
      ['7', 1],
      ['7', 2],
    ],
  )
  assert.equal(servedTwice([...first, ...servedIn(line(3), 'n2')]), undefined)
  assert.deepEqual(
    servedTwice([...first, ...servedIn(line(2), 'n2')])?.map(({ node }) => node),
    ['n1', 'n2'],
  )
})
