import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Granted, leaseMs } from '../oplog/oplog.ts'
import { asEpisode, asEpoch, asSequence, asVDisk, diskRef } from './fixtures.test.ts'
import { ReadLease } from './read-lease.ts'

function granted(node: string, sentAt: number, episode = 1, more: Partial<Granted> = {}): Granted {
  return {
    vdisk: asVDisk(1),
    epoch: asEpoch(1),
    episode: asEpisode(episode),
    ...diskRef(node),
    sentAt,
    ok: true,
    last: asSequence(9),
    acknowledged: asSequence(9),
    ...more,
  }
}

test('reads are served while every other replica has granted them, counted from when it was asked (C11)', () => {
  const lease = new ReadLease()
  assert.equal(lease.holds(0), false, 'before an episode is named')
  lease.begin(asEpisode(1), [diskRef('n2'), diskRef('n3')])
  assert.equal(lease.holds(0), false, 'before anyone granted')
  lease.granted(granted('n2', 100))
  assert.equal(lease.holds(150), false, 'before all have')
  lease.granted(granted('n3', 120))
  assert.equal(lease.holds(100 + leaseMs - 1), true)
  assert.equal(lease.holds(100 + leaseMs), false, 'the first grant has run out')
  lease.granted(granted('n2', 400))
  assert.equal(lease.holds(120 + leaseMs - 1), true)
  assert.equal(lease.holds(120 + leaseMs), false)
})

test('an answer that comes late does not shorten a newer grant', () => {
  const lease = new ReadLease()
  lease.begin(asEpisode(1), [diskRef('n2')])
  lease.granted(granted('n2', 500))
  lease.granted(granted('n2', 100))
  assert.equal(lease.holds(500 + leaseMs - 1), true)
})

test('a refusal grants nothing, and neither does another disk of that name (M2)', () => {
  const lease = new ReadLease()
  lease.begin(asEpisode(1), [diskRef('n2')])
  lease.granted(granted('n2', 100, 1, { ok: false }))
  lease.granted(granted('n2', 100, 1, { incarnation: 'second' as never }))
  lease.granted(granted('n3', 100))
  assert.equal(lease.holds(101), false)
})

test('grants of an episode that is being replaced do not count, then only those of the new one (F2)', () => {
  const lease = new ReadLease()
  lease.begin(asEpisode(1), [diskRef('n2')])
  lease.granted(granted('n2', 100))
  assert.equal(lease.holds(101), true)
  lease.suspend()
  assert.equal(lease.holds(101), false, 'from before the update is sent')
  lease.granted(granted('n2', 110))
  assert.equal(lease.holds(111), false)
  lease.begin(asEpisode(2), [diskRef('n2')])
  lease.granted(granted('n2', 120, 1))
  assert.equal(lease.holds(121), false, 'a grant of the old episode')
  lease.granted(granted('n2', 120, 2))
  assert.equal(lease.holds(121), true)
})

test('an episode without a replica elsewhere needs nobody to grant', () => {
  const lease = new ReadLease()
  lease.begin(asEpisode(1), [])
  assert.equal(lease.holds(0), true)
})
