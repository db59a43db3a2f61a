import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DiskId, DiskRef, Incarnation, NodeId } from '../../base/ids.ts'
import { type CopyLevel, copyLevels, type DiskPicture, standings, SurveySum, weaker } from './copy-levels.ts'

const disk = (node: string, name = 'flash-0', incarnation = 'first'): DiskRef => ({
  node: node as NodeId,
  disk: `${node}-${name}` as DiskId,
  incarnation: incarnation as Incarnation,
})
const picture = (live: Record<string, string>, failed: readonly DiskRef[] = []): DiskPicture => ({
  live: Object.entries(live).map(([node, block]) => ({ ...disk(node), block })),
  failed,
})

test('the level is what may be lost, and what is left is still readable', () => {
  const all = standings(picture({ n1: 'a', n2: 'a', n3: 'b' }))
  assert.equal(all([disk('n1'), disk('n3')]).level, 'block')
  assert.equal(all([disk('n1'), disk('n2')]).level, 'node')
  assert.equal(all([disk('n1'), disk('n1')]).level, 'one copy', 'one disk named twice is one')
  assert.equal(all([disk('n1'), disk('n9')]).level, 'one copy')
  assert.equal(all([disk('n9')]).level, 'unreadable')
  assert.equal(all([]).level, 'unreadable')
  const live = [
    { ...disk('n1'), block: 'a' },
    { ...disk('n1', 'hdd-0'), block: 'a' },
  ]
  assert.equal(standings({ live, failed: [] })([disk('n1'), disk('n1', 'hdd-0')]).level, 'disk')
})

test('a disk that came back empty is another disk, and so is one in another node', () => {
  const { level, copies } = standings(picture({ n1: 'a', n2: 'b' }))([
    disk('n1'),
    disk('n2', 'flash-0', 'second'),
  ])
  assert.deepEqual([level, copies], ['one copy', 1])
  const carried = { ...disk('n2'), disk: disk('n1').disk }
  assert.equal(standings(picture({ n1: 'a', n2: 'b' }))([carried]).level, 'unreadable')
})

test('a copy on a failed disk is the last resort, and never one more copy', () => {
  const asked = standings(picture({ n1: 'a' }, [disk('n2'), disk('n3')]))
  assert.equal(asked([disk('n2'), disk('n3')]).level, 'one copy')
  assert.equal(asked([disk('n2'), disk('n3')]).copies, 0)
  assert.equal(asked([disk('n1'), disk('n3')]).level, 'one copy')
})

test('copies in fewer blocks than they could be in are misplaced; a copy that is gone is no such thing', () => {
  const asked = standings(picture({ n1: 'a', n2: 'a', n3: 'b' }))
  assert.equal(asked([disk('n1'), disk('n2')]).misplaced, true)
  assert.equal(asked([disk('n1'), disk('n3')]).misplaced, false)
  assert.equal(asked([disk('n1'), disk('n9')]).misplaced, false)
  assert.equal(standings(picture({ n1: 'a', n2: 'a' }))([disk('n1'), disk('n2')]).misplaced, false)
})

test('in any cluster the level is what taking away each block, node and disk finds', () => {
  const anyDisk = fc.record({
    node: fc.integer({ min: 1, max: 4 }),
    index: fc.integer({ min: 0, max: 1 }),
    live: fc.boolean(),
  })
  fc.assert(
    fc.property(
      fc.uniqueArray(anyDisk, { selector: ({ node, index }) => `${node} ${index}`, maxLength: 8 }),
      fc.array(fc.nat(7), { maxLength: 3 }),
      fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 5, maxLength: 5 }),
      (disks, chosen, blocks) => {
        const all = disks.map(({ node, index, live }) => ({
          ...disk(`n${node}`, `disk-${index}`),
          block: `b${blocks[node]}`,
          live,
        }))
        const copies = chosen.flatMap((index) => (all[index] === undefined ? [] : [all[index]]))
        const live = all.filter((one) => one.live)
        const left = copies.filter((one) => one.live)
        const survives = (key: (one: (typeof all)[number]) => string): boolean =>
          left.length > 0 && left.every((lost) => left.some((one) => key(one) !== key(lost)))
        const expected: CopyLevel =
          left.length === 0
            ? 'unreadable'
            : survives(({ block }) => block)
              ? 'block'
              : survives(({ node }) => node)
                ? 'node'
                : survives(({ disk: name }) => name)
                  ? 'disk'
                  : 'one copy'
        assert.equal(standings({ live, failed: [] })(copies).level, expected)
      },
    ),
    { seed: 20_261_121, numRuns: 1000 },
  )
})

test('a sum is as weak as its weakest part, also where that has no bytes', () => {
  const sum = new SurveySum()
  assert.equal(sum.survey.weakest, undefined)
  sum.add({ level: 'block', copies: 2, misplaced: false }, 100, 2)
  sum.add({ level: 'one copy', copies: 1, misplaced: false }, 0, 2, true)
  const whole = new SurveySum()
  whole.addSurvey(sum.survey)
  whole.addSurvey(new SurveySum().survey)
  whole.add({ level: 'node', copies: 2, misplaced: true }, 7, 3)
  assert.deepEqual(whole.survey, {
    bytes: { unreadable: 0, 'one copy': 0, disk: 0, node: 7, block: 100 },
    weakest: 'one copy',
    shortBytes: 7,
    misplacedBytes: 7,
    atMost: ['one copy'],
  })
  for (const level of copyLevels) assert.equal(weaker(undefined, level), level)
  assert.equal(weaker('unreadable', undefined), 'unreadable')
})
