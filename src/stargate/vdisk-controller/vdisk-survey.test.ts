import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasCode } from '../../base/errors.ts'
import type { CopyNumber, GroupId, LayerId } from '../../base/ids.ts'
import { groupBytesMax, pageBytes, vDiskOffset } from '../../base/units.ts'
import type { Medusa, PartitionName, Row } from '../../medusa/medusa.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { BadCopies } from './bad-copies.ts'
import { type CopyLevel, copyLevels, type DiskPicture, weaker } from './copy-levels.ts'
import { asEpisode, asEpoch, asSequence, asVDisk, diskRef, TestNode, TestWorld } from './fixtures.test.ts'
import {
  encodeGroupRow,
  encodePlannedCopies,
  encodeVDiskState,
  type Episode,
  groupPartition,
  groupsOfPartition,
  type GroupRow,
  stateRowKey,
  vdiskPartition,
  type VDiskState,
} from './rows.ts'
import { questionOf, VDiskSurveys } from './vdisk-survey.ts'

const vdisk = asVDisk(7)
const epoch = asEpoch(3)
const groupId = (counter: number): GroupId => `7-1-${counter}` as GroupId
const copiesOn = (...nodes: string[]): CopyRef[] =>
  nodes.map((node, i) => ({ ...diskRef(node), number: (i + 1) as CopyNumber }))
const live = (blocks: Record<string, string>): DiskPicture => ({
  live: Object.entries(blocks).map(([node, block]) => ({ ...diskRef(node), block })),
  failed: [],
})
const allFour = { n1: 'a', n2: 'a', n3: 'b', n4: 'c' }

/** A vDisk's rows, as somebody has written them. */
class Rows {
  readonly world = new TestWorld(1)
  readonly surveys: VDiskSurveys
  readonly reads: string[] = []
  #changes = 0

  constructor(copies: 1 | 2 | 3 = 2) {
    const { medusa, platform } = new TestNode(this.world, 'n1')
    const watched: Medusa = {
      ...medusa,
      get: (partition, keys) => {
        this.reads.push(partition.table)
        return medusa.get(partition, keys)
      },
      scan: (partition, options) => {
        this.reads.push(`${partition.table} scanned`)
        return medusa.scan(partition, options)
      },
    }
    this.surveys = new VDiskSurveys(watched, platform.clock)
    this.state({ copies })
  }

  put(partition: PartitionName, rows: readonly Row[], remove: readonly string[] = []): void {
    const { static: now } = this.world.engine.run('medusa.get', { partition, rowKeys: [] })
    const change = {
      id: (++this.#changes).toString(16).padStart(32, '0'),
      expected: now,
      epoch,
      put: rows,
      delete: remove,
    }
    assert.equal(this.world.engine.run('medusa.change', { partition, change }).outcome, 'applied')
  }

  state(more: Partial<VDiskState>): void {
    const state: VDiskState = {
      name: 'c/v',
      state: 'live',
      copies: 2,
      sizeBytes: 2 ** 30,
      layer: 1 as LayerId,
      drained: asSequence(10),
      episodes: [],
      clients: {},
      ...more,
    }
    this.put(vdiskPartition(vdisk), [{ key: stateRowKey, value: encodeVDiskState(state) }])
  }

  index(group: GroupId, copies: readonly CopyRef[]): void {
    this.put(groupsOfPartition(vdisk), [{ key: group, value: encodePlannedCopies(copies) }])
  }

  row(group: GroupId, copies: readonly CopyRef[], pages: number, state: GroupRow['state'] = 'whole'): void {
    const row: GroupRow = {
      layer: 1 as LayerId,
      tier: 'flash',
      state,
      copies,
      extents: [],
      checksums: new Uint32Array(pages),
    }
    this.put(groupPartition(group), [{ key: group, value: encodeGroupRow(row) }])
  }

  group(counter: number, copies: readonly CopyRef[], pages = 10): void {
    this.index(groupId(counter), copies)
    this.row(groupId(counter), copies, pages)
  }

  survey(blocks: Record<string, string>, told?: Parameters<VDiskSurveys['survey']>[2]) {
    this.reads.length = 0
    return this.world.clock.run(this.surveys.survey(vdisk, questionOf(live(blocks)), told))
  }
}

const episode = (first: number, end: number | undefined, ...nodes: string[]): Episode => ({
  id: asEpisode(first),
  first: asSequence(first),
  ...(end === undefined ? {} : { end: asSequence(end) }),
  replicas: nodes.map((node) => diskRef(node)),
})

test('a survey is as weak as the group that would be lost first', async () => {
  const rows = new Rows()
  assert.equal((await rows.survey(allFour)).weakest, undefined)
  rows.group(1, copiesOn('n1', 'n3'))
  assert.equal((await rows.survey(allFour)).weakest, 'block')
  rows.group(2, copiesOn('n1', 'n2'))
  const two = await rows.survey(allFour)
  assert.deepEqual([two.weakest, two.misplacedBytes], ['node', groupBytesMax])
  const without2 = await rows.survey({ n1: 'a', n3: 'b' })
  assert.equal(without2.weakest, 'one copy')
  assert.deepEqual([without2.bytes['one copy'], without2.shortBytes], [10 * pageBytes, 10 * pageBytes])
  assert.equal((await rows.survey({ n3: 'b' })).weakest, 'unreadable')
  rows.world.close()
})

test('log that may hold something counts by its replicas: open, or sealed beyond what is drained', async () => {
  const rows = new Rows()
  rows.state({ episodes: [episode(5, 10, 'n8', 'n9')] })
  assert.equal((await rows.survey(allFour)).weakest, undefined)
  rows.state({ episodes: [episode(5, 11, 'n1', 'n9'), episode(12, undefined, 'n1', 'n3')] })
  const { weakest, atMost } = await rows.survey(allFour)
  assert.deepEqual([weakest, atMost], ['one copy', ['one copy', 'block']])
  rows.state({ episodes: [episode(12, undefined, 'n8', 'n9')] })
  assert.equal((await rows.survey(allFour)).weakest, 'unreadable')
  rows.world.close()
})

test('an owner knows what its log holds, for as long as the row has its epoch', async () => {
  const rows = new Rows()
  rows.state({ episodes: [episode(12, undefined, 'n1', 'n9')] })
  assert.equal((await rows.survey(allFour, { epoch, held: [] })).weakest, undefined)
  const held = [{ replicas: [diskRef('n1'), diskRef('n2')], bytes: 512 }]
  const told = await rows.survey(allFour, { epoch, held })
  assert.deepEqual([told.weakest, told.bytes.node, told.atMost], ['node', 512, []])
  const earlier = await rows.survey(allFour, { epoch: asEpoch(2), held: [] })
  assert.equal(earlier.weakest, 'one copy')
  rows.world.close()
})

test('a copy that a repair has planned does not count before the row names it, and its bad one does not after', async () => {
  const rows = new Rows()
  rows.group(1, copiesOn('n1', 'n9'))
  rows.index(groupId(1), copiesOn('n1', 'n9', 'n3'))
  assert.equal((await rows.survey(allFour)).weakest, 'one copy')
  rows.row(groupId(1), copiesOn('n1', 'n3'), 10)
  assert.equal((await rows.survey(allFour)).weakest, 'block', 'the row is looked at each time')
  rows.world.close()
})

test('a copy that was found to be bad is none for as long as the row names it', async () => {
  const rows = new Rows()
  rows.group(1, copiesOn('n1', 'n3'))
  rows.group(2, copiesOn('n1', 'n3'))
  const bad = new BadCopies()
  bad.add(groupId(1), copiesOn('n1', 'n3')[1])
  const told = { epoch, held: [], bad }
  const found = await rows.survey(allFour, told)
  assert.deepEqual(
    [found.weakest, found.bytes['one copy'], found.shortBytes],
    ['one copy', 10 * pageBytes, 10 * pageBytes],
  )
  const [first, second] = copiesOn('n1', 'n3')
  rows.row(groupId(1), [first, { ...second, number: 9 as CopyNumber }], 10)
  assert.equal((await rows.survey(allFour, told)).weakest, 'block')
  assert.equal(bad.size, 0)
  rows.world.close()
})

test('a bad copy that can’t be made good now is said', async () => {
  const world = new TestWorld(1)
  const node = new TestNode(world, 'n1')
  const run = <T>(work: Promise<T>): Promise<T> => world.clock.run(work)
  await run(node.host.create(vdisk, 'c/v', 2 ** 26, 2))
  const served = await run(node.host.claim(vdisk, 'free'))
  await run(served.write(vDiskOffset(0), Buffer.alloc(8192, 1), []))
  await run(served.drain())
  const disks = [...world.logs.values(), ...world.extents.values()]
  const picture: DiskPicture = { live: disks.map(({ ref, block }) => ({ ...ref, block })), failed: [] }
  const survey = () => run(node.host.survey(vdisk, questionOf(picture)))
  const [[group, { copies }]] = [...world.groupRows()]
  const access = { vdisk, group, epoch: served.epoch, copies }
  assert.equal((await survey()).weakest, 'block')
  world.extents.get(copies[1].node)!.state = 'gone'
  node.extents.onBadCopy(access, copies[1], 'rot')
  assert.equal((await survey()).weakest, 'one copy')
  world.close()
})

test('a group that is being deleted is nobody’s loss; an open one is, where the log may name it', async () => {
  const rows = new Rows()
  rows.index(groupId(1), copiesOn('n1', 'n9'))
  rows.row(groupId(1), copiesOn('n1', 'n9'), 10, 'deleting')
  rows.index(groupId(2), copiesOn('n2', 'n9'))
  assert.equal((await rows.survey(allFour)).weakest, undefined)
  rows.state({ episodes: [episode(11, undefined, 'n1', 'n3')] })
  const { weakest, bytes } = await rows.survey(allFour)
  assert.deepEqual([weakest, bytes['one copy']], ['one copy', groupBytesMax])
  rows.world.close()
})

test('an owner’s survey has what is acknowledged: on its log’s replicas, then on its groups’ disks, and nobody’s before', async () => {
  const world = new TestWorld(1)
  const { host } = new TestNode(world, 'n1')
  const run = <T>(work: Promise<T>): Promise<T> => world.clock.run(work)
  const disks = [...world.logs.values(), ...world.extents.values()]
  const without = (...gone: string[]): DiskPicture => ({
    live: disks.flatMap(({ ref, block }) => (gone.includes(ref.node) ? [] : [{ ...ref, block }])),
    failed: [],
  })
  const survey = (picture: DiskPicture) => run(host.survey(vdisk, questionOf(picture)))
  await run(host.create(vdisk, 'c/v', 2 ** 26, 2))
  assert.equal((await survey(without())).weakest, undefined)
  const served = await run(host.claim(vdisk, 'free'))
  assert.equal((await survey(without('n2', 'n3'))).weakest, undefined, 'an open episode that holds nothing')

  await run(served.write(vDiskOffset(0), Buffer.alloc(8192, 1), []))
  const written = await survey(without())
  assert.deepEqual([written.weakest, written.atMost], ['block', []])
  assert.ok(written.bytes.block >= 8192 && written.bytes.block < 12_288)
  const [peer] = served.describe().episode!.replicas.filter(({ node }) => node !== 'n1')
  assert.equal((await survey(without(peer.node))).weakest, 'one copy')
  assert.equal((await survey(without('n1', peer.node))).weakest, 'unreadable')
  // Another node, which can't ask the owner, has only the rows: nothing better.
  const other = new TestNode(world, 'n2').host
  const fromRows = await run(other.survey(vdisk, questionOf(without(peer.node))))
  assert.deepEqual([fromRows.weakest, fromRows.atMost], ['one copy', ['one copy']])

  await run(served.drain())
  const drained = await survey(without())
  assert.deepEqual([drained.weakest, drained.bytes.block], ['block', groupBytesMax])
  const alone = await survey(without('n2', 'n3'))
  assert.deepEqual([alone.weakest, alone.bytes['one copy']], ['one copy', 8192])
  world.close()
})

test('of a vDisk at rest nothing is read but two versions, and a change of the index is seen', async () => {
  const rows = new Rows()
  for (let counter = 1; counter <= 2100; counter++) rows.index(groupId(counter), copiesOn('n1', 'n3'))
  const first = await rows.survey(allFour)
  assert.deepEqual([first.weakest, first.bytes.block], ['block', 2100 * groupBytesMax])
  assert.ok(rows.reads.includes('groups-of scanned'))
  await rows.survey(allFour)
  assert.deepEqual(rows.reads, ['vdisk', 'groups-of'])
  rows.index(groupId(2101), copiesOn('n1', 'n2'))
  assert.equal((await rows.survey(allFour)).weakest, 'node')
  rows.world.close()
})

test('an index that changes while it is read is taken where that is quick, and not kept; else it is read anew, or unknown', async () => {
  const rows = new Rows()
  const { clock } = rows.world
  for (let counter = 1; counter <= 1500; counter++) rows.index(groupId(counter), copiesOn('n1', 'n3'))
  let changes = 1
  let takesMs = 0
  const { medusa, platform } = new TestNode(rows.world, 'n2')
  const changing: Medusa = {
    ...medusa,
    scan: async (...asked) => {
      const part = await medusa.scan(...asked)
      await clock.sleep(takesMs)
      // One whose place was read already.
      if (changes-- > 0) rows.index(groupId(1), copiesOn('n1', 'n2'))
      return part
    },
  }
  const surveys = new VDiskSurveys(changing, platform.clock)
  const survey = () => clock.run(surveys.survey(vdisk, questionOf(live(allFour))))
  assert.equal((await survey()).weakest, 'block', 'as it was when the survey began')
  assert.equal((await survey()).weakest, 'node')

  rows.index(groupId(1), copiesOn('n1', 'n3'))
  takesMs = 1000
  changes = 1
  assert.equal((await survey()).weakest, 'node', 'read anew')
  rows.index(groupId(1), copiesOn('n1', 'n3'))
  changes = Infinity
  await assert.rejects(survey(), (error) => hasCode(error, 'UNAVAILABLE'))
  rows.world.close()
})

test('what can’t be read is no survey; a deleted vDisk has nothing to lose', async () => {
  const rows = new Rows()
  rows.group(1, copiesOn('n8', 'n9'))
  rows.state({ state: 'deleted' })
  assert.equal((await rows.survey(allFour)).weakest, undefined)
  rows.world.losePartition(vdiskPartition(vdisk))
  await assert.rejects(rows.survey(allFour), (error) => hasCode(error, 'NOT_FOUND'))
  rows.world.close()
})

test('whatever the rows say, a survey is never better than the weakest of what they name', async () => {
  const anyNodes = fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 2 })
  const anyGroup = fc.record({
    nodes: anyNodes,
    planned: fc.option(fc.integer({ min: 1, max: 5 })),
    state: fc.constantFrom('whole', 'whole', 'whole', 'deleting', 'open'),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyGroup, { maxLength: 6 }),
      fc.array(fc.record({ nodes: anyNodes, undrained: fc.boolean() }), { maxLength: 2 }),
      fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 6, maxLength: 6 }),
      async (groups, episodes, lives, blocks) => {
        const rows = new Rows()
        const names = (nodes: readonly number[]): string[] => nodes.map((node) => `n${node}`)
        const picture = Object.fromEntries(
          [1, 2, 3, 4, 5].flatMap((node) => (lives[node] ? [[`n${node}`, `b${blocks[node]}`]] : [])),
        )
        let truth: CopyLevel | undefined
        const holds = (nodes: readonly number[]): void => {
          const left = nodes.filter((node) => lives[node])
          const level =
            left.length === 0
              ? 'unreadable'
              : left.length === 1
                ? 'one copy'
                : new Set(left.map((node) => blocks[node])).size > 1
                  ? 'block'
                  : 'node'
          truth = weaker(truth, level)
        }
        rows.state({
          episodes: episodes.map(({ nodes, undrained }, i) =>
            episode(9, undrained ? 11 + i : 10, ...names(nodes)),
          ),
        })
        for (const { nodes, undrained } of episodes) if (undrained) holds(nodes)
        groups.forEach(({ nodes, planned, state }, i) => {
          const copies = copiesOn(...names(nodes))
          const also = planned === null || nodes.includes(planned) ? [] : copiesOn(`n${planned}`)
          rows.index(groupId(i), [...copies, ...also])
          if (state !== 'open') rows.row(groupId(i), copies, 3, state)
          if (state === 'whole') holds(nodes)
        })
        const { weakest } = await rows.survey(picture)
        const rank = (level: CopyLevel | undefined): number =>
          level === undefined ? copyLevels.length : copyLevels.indexOf(level)
        assert.ok(rank(weakest) <= rank(truth), `${weakest} is said, and ${truth} is true`)
        // Nothing but open groups, or such as are deleted, makes it say less.
        if (groups.every(({ state }) => state === 'whole')) assert.equal(weakest, truth)
        rows.world.close()
      },
    ),
    { seed: 20_261_121, numRuns: 150 },
  )
})
