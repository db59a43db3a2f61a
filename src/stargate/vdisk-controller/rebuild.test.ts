/** What the rebuild makes of single facts; vdisk-story.test.ts loses and rebuilds whole histories. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type CopyNumber, groupIdOf, type LayerId, type Sequence } from '../../base/ids.ts'
import { groupPage, pageBytes, pagesPerVBlock, vDiskPage } from '../../base/units.ts'
import type { Trailer } from '../extent-store/extent-store.ts'
import { asEpisode, asEpoch, asSequence, asVDisk, diskRef } from './fixtures.test.ts'
import { decodeVBlock } from './map-row.ts'
import {
  type EpisodeOnDisk,
  type GroupOnDisks,
  type LogsOnDisks,
  rebuildVDisk,
  type VDiskOnDisks,
} from './rebuild.ts'
import { decodeGroupRow, decodePlannedCopies, groupPartition } from './rows.ts'

const vdisk = asVDisk(7)

function group(
  counter: number,
  trailer: Partial<Trailer>,
  states: GroupOnDisks['copies'][number]['state'][] = ['whole', 'whole'],
) {
  const copies = states.map((state, i) => ({
    ...{ ...diskRef(`n${i + 1}`), number: (i + 1) as CopyNumber, tier: 'flash' as const, state },
  }))
  const pages = (trailer.extents ?? []).reduce((sum, { count }) => sum + count, 0)
  const said: Trailer = {
    ...{ container: 'c/v', layer: 1 as LayerId, copies: 2, extents: [], zeros: [] },
    checksums: new Uint32Array(pages),
    standing: { drained: asSequence(0), through: asSequence(0), sizeBytes: 1024 * pageBytes, modifiedAt: 1 },
    ...trailer,
  }
  const id = groupIdOf(vdisk, asEpoch(3), counter)
  return { group: id, copies, ...(states.includes('whole') ? { trailer: said } : {}) }
}

const extent = (page: number, count: number, sequence: number, at = 0): Trailer['extents'][number] => ({
  ...{ page: vDiskPage(page), count, at: groupPage(at), sequence: sequence as Sequence },
})

function rebuilt(found: Partial<VDiskOnDisks>) {
  const made = rebuildVDisk(vdisk, { groups: [], nameless: 'x/y', lostDisk: () => undefined, ...found })
  assert.ok(made !== undefined)
  const rows = new Map<string, Map<string, Buffer>>()
  for (const { name, changes } of made.partitions)
    rows.set(`${name.table}/${name.key}`, new Map(changes.flat().map(({ key, value }) => [key, value])))
  return { ...made, rows }
}

const episode = (id: number, first: number, from: number, last: number, hasOpen = true): EpisodeOnDisk => ({
  ...{ id: asEpisode(id), disk: diskRef('n1'), episodeFirst: asSequence(first) },
  ...{ first: asSequence(from), last: asSequence(last), hasOpen },
})
const logs = (episodes: EpisodeOnDisk[], freed = 0, resized = 0): LogsOnDisks => ({
  ...{ epoch: asEpoch(5), freed: asSequence(freed), episodes, endBytes: 0, resized: asSequence(resized) },
  ofFreedGroups: [],
})

test('of each page the newest fact is in the map, be it bytes or zeros (M11)', () => {
  const fact = fc.record({ page: fc.nat(600), count: fc.integer({ min: 1, max: 40 }), zero: fc.boolean() })
  fc.assert(
    fc.property(fc.array(fact, { minLength: 1, maxLength: 30 }), fc.array(fc.nat(1000)), (facts, order) => {
      const model = new Map<number, string>()
      const groups = facts.map(({ page, count, zero }, i) => {
        const made = zero
          ? group(i, { zeros: [{ page: vDiskPage(page), count, sequence: asSequence(i + 1) }] })
          : group(i, { extents: [extent(page, count, i + 1)] })
        for (let k = 0; k < count; k++)
          if (zero) model.delete(page + k)
          else model.set(page + k, `${made.group} ${k}`)
        return made
      })
      groups.sort(
        (a, b) => (order[a.copies.length + groups.indexOf(a)] ?? 0) - (order[groups.indexOf(b)] ?? 0),
      )
      const map = rebuilt({ groups }).rows.get(`map/${vdisk}.1.0`) ?? new Map<string, Buffer>()
      const found = new Map<number, string>()
      for (const [key, value] of map) {
        if (!key.startsWith('v')) continue
        const ids: string[] = []
        const block = decodeVBlock(value.subarray(4), (id) => ids.push(id))
        block.groups.forEach((handle, page) => {
          if (handle > 0)
            found.set(Number(key.slice(1)) * pagesPerVBlock + page, `${ids[handle - 1]} ${block.pages[page]}`)
        })
      }
      assert.deepEqual([...found].sort(), [...model].sort())
    }),
    { seed: 20_261_122, numRuns: 200 },
  )
})

test('a later episode ends those before it, and an attempt that no row named counts for nothing (M1)', () => {
  const { state, epoch } = rebuilt({
    logs: logs([episode(8193, 1, 1, 20), episode(12289, 11, 11, 30), episode(12290, 25, 25, 26, false)]),
  })
  assert.equal(epoch, 5)
  assert.equal(state.drained, 0)
  assert.deepEqual(
    state.episodes.map(({ id, first, end }) => [id, first, end]),
    [
      [8193, 1, 10],
      [12289, 11, undefined],
    ],
  )
})

test('a record whose group was freed was drained, though no trailer says so; not one of an attempt, or beyond the end (I7 M11)', () => {
  const episodes = [episode(1, 1, 1, 20), episode(2, 11, 11, 30, false), episode(3, 16, 16, 40)]
  const drainedOf = (id: number, sequence: number): number =>
    rebuilt({
      logs: {
        ...logs(episodes),
        ofFreedGroups: [{ episode: asEpisode(id), sequence: asSequence(sequence) }],
      },
    }).state.drained
  assert.equal(drainedOf(1, 12), 12)
  assert.equal(drainedOf(3, 33), 33)
  assert.equal(drainedOf(1, 18), 0, 'the next episode begins before it')
  assert.equal(drainedOf(2, 12), 0, 'no row has named that episode')
})

test('a size that the log has yet to say is not the size before it, though a drain that failed has said it (M5)', () => {
  const standing = (through: number, pages: number) => ({
    standing: {
      drained: asSequence(5),
      through: asSequence(through),
      sizeBytes: pages * pageBytes,
      modifiedAt: 1,
    },
  })
  const groups = [
    group(1, { extents: [extent(0, 1, 1)], ...standing(5, 100) }),
    group(2, { extents: [extent(1, 1, 9)], ...standing(20, 10) }),
  ]
  const log = [episode(8193, 1, 6, 20)]
  assert.equal(rebuilt({ groups, logs: logs(log, 5, 12) }).state.sizeBytes, 100 * pageBytes)
  assert.equal(rebuilt({ groups, logs: logs(log, 5, 4) }).state.sizeBytes, 10 * pageBytes)
})

test('a log that lacks a stretch is replayed behind it, and that is said', () => {
  const { state, notes } = rebuilt({ logs: logs([episode(8193, 1, 1, 20), episode(12289, 31, 31, 40)]) })
  assert.equal(state.drained, 30)
  assert.deepEqual(
    state.episodes.map(({ id }) => id),
    [12289],
  )
  assert.match(notes.join(), /records 1 to 30 of its log are on no disk/)
})

test('a log that ends before what groups know of is not replayed: it would hide newer bytes', () => {
  const groups = [group(1, { extents: [extent(0, 1, 50)] })]
  const { state, notes } = rebuilt({ groups, logs: logs([episode(8193, 1, 1, 20)]) })
  assert.deepEqual([state.drained, state.episodes], [50, []])
  assert.match(notes.join(), /its log is known up to 20, and its extent groups up to 50/)
})

test('a copy that nobody has is said to be on a disk that is not there; a damaged trailer costs its copy nothing while another is whole', () => {
  const lost = diskRef('n3', 'nowhere')
  const damaged = group(1, { extents: [extent(0, 1, 1)] }, ['whole', 'damaged'])
  const single = group(2, { extents: [extent(1, 1, 2)] }, ['whole'])
  const unreadable = group(3, {}, ['damaged', 'damaged'])
  const unfinished = group(4, {}, ['unfinished'])
  const { rows, leftAlone } = rebuilt({
    groups: [damaged, single, unreadable, unfinished],
    lostDisk: () => lost,
  })
  const copiesOf = ({ group: id }: GroupOnDisks): string[] =>
    decodeGroupRow(rows.get(`group/${groupPartition(id).key}`)!.get(id)!).copies.map(({ node }) => node)
  assert.deepEqual(copiesOf(damaged), ['n1', 'n2'])
  assert.deepEqual(copiesOf(single), ['n1', 'n3'])
  assert.deepEqual(leftAlone, [unreadable.group])
  const index = rows.get(`groups-of/${vdisk}`)!
  assert.deepEqual([...index.keys()].sort(), [damaged.group, single.group, unfinished.group].sort())
  assert.equal(decodePlannedCopies(index.get(unfinished.group)!).length, 1)
})

test('what a backup or a log knows to be deleted stays deleted, and its files can be freed', () => {
  const groups = [group(1, { extents: [extent(0, 1, 1)] })]
  const { state, rows } = rebuilt({ groups, logs: logs([episode(8193, 1, 1, 20)], Number.MAX_SAFE_INTEGER) })
  assert.deepEqual([state.state, state.episodes], ['deleted', []])
  assert.ok(rows.has(`groups-of/${vdisk}`) && !rows.has(`map/${vdisk}.1.0`))
})

test('unfinished files alone bring nothing back', () => {
  const groups = [group(1, {}, ['unfinished'])]
  assert.equal(rebuildVDisk(vdisk, { groups, nameless: 'x/y', lostDisk: () => undefined }), undefined)
})
