import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import type { LayerId } from '../../base/ids.ts'
import { vDiskOffset } from '../../base/units.ts'
import { encodeRecord, type Tail } from '../oplog/oplog.ts'
import { asEpisode, asEpoch, asSequence, asVDisk, diskRef, TestNode, TestWorld } from './fixtures.test.ts'
import type { Episode, VDiskState } from './rows.ts'
import { endOf, recoverLog } from './takeover.ts'

const vdisk = asVDisk(1)
const open: Episode = { id: asEpisode(3), first: asSequence(11), replicas: [diskRef('n1'), diskRef('n2')] }

interface TestTail {
  readonly first?: number
  readonly last: number
  readonly acknowledged: number
  readonly damage?: readonly number[]
}

function fenced(node: string, tail: TestTail | undefined, acknowledged = 0) {
  return {
    ref: diskRef(node),
    tail:
      tail === undefined
        ? undefined
        : ({
            episode: open.id,
            first: asSequence(tail.first ?? open.first),
            last: asSequence(tail.last),
            acknowledged: asSequence(tail.acknowledged),
            ...(tail.damage === undefined ? {} : { damage: tail.damage.map(asSequence) }),
          } satisfies Tail),
    acknowledged: asSequence(Math.max(acknowledged, tail?.acknowledged ?? 0)),
  }
}
const endsAt = (drained: number, ...tails: ReturnType<typeof fenced>[]) =>
  endOf(open, asSequence(drained), tails)

test('an episode ends where its records say that guests were told, and everything beyond is kept (M1)', () => {
  assert.deepEqual(endsAt(0, fenced('n1', { last: 20, acknowledged: 17 })), { mark: 17, last: 20 })
  assert.deepEqual(
    endsAt(0, fenced('n1', { last: 20, acknowledged: 17 }), fenced('n2', { last: 18, acknowledged: 18 })),
    { mark: 18, last: 20 },
  )
})

test('where every replica answers, what all of them have behind the mark is as good as acknowledged, and no more (M1 I10)', () => {
  const both = (...tails: [TestTail, TestTail]) =>
    endsAt(15, fenced('n1', tails[0]), fenced('n2', tails[1])).mark
  const whole: TestTail = { last: 20, acknowledged: 17 }
  assert.equal(both(whole, { last: 19, acknowledged: 16 }), 19)
  assert.equal(both(whole, { last: 16, acknowledged: 15 }), 17, 'what guests were told stays so')
  assert.equal(both(whole, { ...whole, damage: [16, 19, 20] }), 18, 'a lost record is on one of them alone')
  assert.equal(both(whole, { ...whole, first: 16 }), 20, 'what was drained is gone')
  assert.equal(both(whole, { ...whole, first: 19 }), 17)
  assert.equal(endsAt(15, fenced('n1', whole), fenced('n2', undefined)).mark, 17)
  assert.equal(endsAt(15, fenced('n1', whole)).mark, 17, 'the other may hold less')
})

test('the mark is never below what is drained, nor below the episode before (S1)', () => {
  assert.deepEqual(endsAt(15, fenced('n1', { last: 20, acknowledged: 12 })), { mark: 15, last: 20 })
  assert.deepEqual(endsAt(0, fenced('n1', { last: 12, acknowledged: 3 })), { mark: 10, last: 12 })
  assert.deepEqual(
    endsAt(0, fenced('n1', undefined)),
    { mark: 10, last: 10 },
    'unknown there: it holds nothing (M2)',
  )
  assert.deepEqual(
    endsAt(30, fenced('n1', undefined)),
    { mark: 30, last: 30 },
    'all of it was drained and freed',
  )
})

test('acknowledged records that no answering log has are damage, never a shorter log', () => {
  assert.throws(
    () => endsAt(0, fenced('n1', { last: 14, acknowledged: 16 })),
    (error) => hasCode(error, 'UNAVAILABLE') && error.facts.mark === 16 && error.facts.last === 14,
  )
  assert.deepEqual(
    endsAt(0, fenced('n1', { last: 14, acknowledged: 16 }), fenced('n2', { last: 16, acknowledged: 15 })),
    { mark: 16, last: 16 },
  )
})

// --- over log disks --------------------------------------------------------------------------------------------------

function record(sequence: number, episode: number, epoch: number, first: number, acknowledged: number) {
  return encodeRecord(
    {
      kind: 'data',
      vdisk,
      layer: 1 as LayerId,
      sequence: asSequence(sequence),
      acknowledged: asSequence(acknowledged),
      epoch: asEpoch(epoch),
      episode: asEpisode(episode),
      episodeFirst: asSequence(first),
      offset: vDiskOffset(0),
      length: 1,
      time: 0,
    },
    [Buffer.from(`record ${sequence}`)],
  )
}

class Logs {
  readonly world = new TestWorld(1)
  readonly node = new TestNode(this.world, 'n3')
  readonly n1 = [...this.world.logs.values()][0]
  readonly n2 = [...this.world.logs.values()][1]

  async has(
    disk: Logs['n1'],
    episode: number,
    first: number,
    last: number,
    acknowledged: number,
  ): Promise<void> {
    for (let sequence = first; sequence <= last; sequence++)
      await disk.append(vdisk, asEpoch(1), asEpisode(episode), [
        record(sequence, episode, 1, first, acknowledged),
      ])
  }

  state(drained: number, ...episodes: { id: number; first: number; end?: number }[]): VDiskState {
    return {
      name: 'c/v',
      state: 'live',
      copies: 2,
      sizeBytes: 4096,
      layer: 1 as LayerId,
      drained: asSequence(drained),
      episodes: episodes.map(({ id, first, end }) => ({
        id: asEpisode(id),
        first: asSequence(first),
        ...(end === undefined ? {} : { end: asSequence(end) }),
        replicas: [this.n1.ref, this.n2.ref],
      })),
      clients: {},
    }
  }

  recover(state: VDiskState, epoch = 2) {
    const { oplogs, platform } = this.node
    return this.world.clock.run(recoverLog({ ...platform, oplogs }, vdisk, asEpoch(epoch), state))
  }
}

test('a takeover fences, and keeps every record that any survivor has in sequence (M1)', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 5, 2)
  await logs.has(logs.n2, 1, 1, 4, 3)
  const { entries, mark } = await logs.recover(logs.state(0, { id: 1, first: 1 }))
  assert.equal(mark, 4)
  assert.deepEqual(
    entries.map(({ sequence }) => sequence),
    [1, 2, 3, 4, 5],
  )
  assert.equal(Buffer.concat([...entries[4].payload]).toString(), 'record 5')
  await assert.rejects(logs.n1.append(vdisk, asEpoch(1), asEpisode(1), [record(6, 1, 1, 1, 3)]), (error) =>
    hasCode(error, 'FENCED'),
  )
})

test('a takeover goes on with one replica when the other is gone, and reads only what is undrained', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 5, 4)
  await logs.has(logs.n2, 1, 1, 5, 4)
  logs.n1.state = 'gone'
  const { entries, mark } = await logs.recover(logs.state(3, { id: 1, first: 1 }))
  assert.equal(mark, 4)
  assert.deepEqual(
    entries.map(({ sequence }) => sequence),
    [4, 5],
  )
})

test('sealed episodes are read to their end, and not beyond', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 9, 2)
  await logs.has(logs.n2, 1, 1, 4, 2)
  await logs.has(logs.n2, 2, 5, 6, 5)
  const { entries, mark } = await logs.recover(
    logs.state(0, { id: 1, first: 1, end: 4 }, { id: 2, first: 5 }),
  )
  assert.equal(mark, 5)
  assert.deepEqual(
    entries.map(({ sequence }) => sequence),
    [1, 2, 3, 4, 5, 6],
  )
})

test('a vDisk whose log was sealed needs no fence', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 3, 2)
  const { entries, mark } = await logs.recover(logs.state(1, { id: 1, first: 1, end: 3 }))
  assert.equal(mark, 3)
  assert.equal(entries.length, 2)
  assert.deepEqual(await logs.recover(logs.state(7), 3), { entries: [], mark: 7 })
})

test('a rotten record is read from another replica; when all are rotten the vDisk stays offline and says why (F7)', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 5, 5)
  await logs.has(logs.n2, 1, 1, 5, 5)
  logs.n1.records(vdisk, asEpisode(1))[2].writeUInt8(0xff, 85)
  const state = logs.state(0, { id: 1, first: 1 })
  const { entries } = await logs.recover(state)
  assert.deepEqual(
    entries.map(({ sequence }) => sequence),
    [1, 2, 3, 4, 5],
  )
  assert.equal(Buffer.concat([...entries[2].payload]).toString(), 'record 3')
  logs.n2.records(vdisk, asEpisode(1))[2].writeUInt8(0xff, 85)
  await assert.rejects(
    logs.recover(state, 3),
    (error) => hasCode(error, 'UNAVAILABLE') && error.facts.sequence === 3,
  )
})

test('without any replica of the open episode the vDisk is offline, and the message names its disks', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 5, 5)
  logs.n1.state = 'gone'
  logs.n2.state = 'silent'
  await assert.rejects(
    logs.recover(logs.state(0, { id: 1, first: 1 })),
    (error) => hasCode(error, 'UNAVAILABLE') && /n1-flash-0.*n2-flash-0/.test(error.message),
  )
})

test('a blank disk in the place of a replica is no answer (M2)', async () => {
  const logs = new Logs()
  const state = logs.state(0, { id: 1, first: 1 })
  const other = { ...state.episodes[0], replicas: [{ ...logs.n1.ref, incarnation: 'older' as never }] }
  await assert.rejects(logs.recover({ ...state, episodes: [other] }), (error) =>
    hasCode(error, 'UNAVAILABLE'),
  )
})

test('a takeover that meets a higher epoch is over', async () => {
  const logs = new Logs()
  await logs.has(logs.n1, 1, 1, 5, 5)
  await logs.n1.fence(vdisk, asEpoch(9))
  logs.n2.state = 'gone'
  await assert.rejects(logs.recover(logs.state(0, { id: 1, first: 1 })), (error) => hasCode(error, 'FENCED'))
})
