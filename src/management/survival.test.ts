import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from '../base/units.ts'
import type { CopyLevel, CopySurvey } from '../stargate/vdisk-controller/vdisk-controller.ts'
import { SurveySum } from '../stargate/vdisk-controller/vdisk-controller.ts'
import { survivalOf, type SurvivalFacts } from './survival.ts'

const copiesAt: Record<CopyLevel, number> = { unreadable: 0, 'one copy': 1, disk: 2, node: 2, block: 2 }
const holding = (level: CopyLevel, bytes = 512 * MiB, wanted = 2, misplaced = false): CopySurvey => {
  const sum = new SurveySum()
  sum.add({ level, copies: copiesAt[level], misplaced }, bytes, wanted, level !== 'one copy')
  return sum.survey
}
const facts = (vdisks: Record<string, CopySurvey>, more: Partial<SurvivalFacts> = {}): SurvivalFacts => ({
  surveys: Object.entries(vdisks).map(([vdisk, survey]) => ({ vdisk, survey })),
  unknown: [],
  reach: 'block',
  nodesDown: [],
  failedDisks: [],
  blocks: ['b1', 'b2'],
  logNodes: 4,
  copiesMax: 2,
  metadataCopy: { state: 'none' },
  metadataLoss: { survives: 'block' },
  ...more,
})
const unknown = [{ vdisk: 'vms/d', reason: 'Medusa does not answer' }]
const sentence = (...of: Parameters<typeof facts>): string => survivalOf(facts(...of)).sentence

test('what is well survives as much as its weakest part, without a copy of the metadata not the loss of its disk', () => {
  assert.equal(
    sentence({ 'vms/a': holding('block'), 'vms/b': holding('block') }),
    "survives a block, but not the loss of the metadata's disk",
  )
  assert.match(sentence({ 'vms/a': holding('block'), 'vms/b': holding('node') }), /^survives a node, but not/)
  assert.match(sentence({ 'vms/a': holding('disk'), 'vms/b': holding('node') }), /^survives a disk, but not/)
})

test('the metadata’s disk may be lost while its copy is in step, and at no other time', () => {
  const vdisks = { 'vms/a': holding('block') }
  const inStep = survivalOf(facts(vdisks, { metadataCopy: { state: 'in step', folder: '/two' } }))
  assert.deepEqual([inStep.sentence, inStep.metadata, inStep.missing], ['survives a block', 'two disks', []])
  for (const state of ['none', 'being made', 'behind', 'broken'] as const) {
    const metadataCopy = { state, folder: '/two', behindMs: 3200, reason: 'it is slow' }
    const survival = survivalOf(facts(vdisks, { metadataCopy }))
    assert.equal(survival.sentence, "survives a block, but not the loss of the metadata's disk")
    assert.equal(survival.metadata, 'one disk')
    assert.equal(survival.missing.length, 1)
    if (state === 'behind') assert.match(survival.missing[0], /the one in \/two is 4 s behind: it is slow$/)
  }
})

test('no loss is promised that the metadata would not outlive', () => {
  const said = (
    level: CopyLevel,
    survives: 'block' | 'node' | 'disk' | 'nothing',
    state: 'in step' | 'none',
  ) =>
    survivalOf(
      facts(
        { 'vms/a': holding(level) },
        {
          metadataCopy: { state },
          metadataLoss: survives === 'block' ? { survives } : { survives, limit: 'two racks' },
        },
      ),
    )
  const two = said('block', 'node', 'in step')
  assert.deepEqual([two.level, two.dataLevel, two.metadataLevel], ['node', 'block', 'node'])
  assert.equal(two.sentence, 'survives a node, and the data alone a block: two racks')
  assert.deepEqual(two.missing, ['servers of the metadata in more places: two racks'])
  const down = said('block', 'nothing', 'in step')
  assert.deepEqual([down.level, down.dataLevel], ['nothing', 'block'])
  assert.equal(down.sentence, 'survives no loss, and the data alone a block: two racks')
  assert.equal(said('node', 'node', 'in step').sentence, 'survives a node')
  assert.equal(said('node', 'block', 'in step').level, 'node')
  assert.equal(
    said('block', 'disk', 'none').sentence,
    "survives a disk, but not the loss of the metadata's disk, and the data alone a block: two racks",
  )
  assert.equal(said('one copy', 'nothing', 'in step').level, 'one copy')
})

test('what is in danger, or gone, is said with its size, where it is and why', () => {
  const mixed = { 'vms/a': holding('block'), 'vms/b': holding('one copy') }
  assert.equal(sentence(mixed, { nodesDown: ['n3'] }), 'one copy of 512MiB left: vms/b; n3 is down')
  const worse = { ...mixed, 'vms/c': holding('unreadable', 3 * MiB) }
  const { sentence: said, missing } = survivalOf(
    facts(worse, { nodesDown: ['n2', 'n3'], failedDisks: ['n1-hdd-0'] }),
  )
  assert.equal(said, 'at most 3MiB unreadable: vms/c; n2 and n3 are down; disk n1-hdd-0 has failed')
  assert.match(missing[0], /^besides, one copy of 512MiB is left: vms\/b$/)
  assert.match(missing[1], /^copies of at most 515MiB, which has fewer than asked for: n2, n3 and disk/)
})

test('one copy that is all that was asked for is nobody’s fault, and still one copy', () => {
  assert.equal(
    sentence({ 'tmp/a': holding('one copy', 4 * MiB, 1) }, { nodesDown: ['n3'] }),
    'one copy of 4MiB left: tmp/a; more was not asked for',
  )
})

test('what is unknown is never taken for well, and hides nothing that is known to be worse', () => {
  const well = survivalOf(facts({ 'vms/a': holding('block') }, { unknown }))
  assert.equal(well.level, 'unknown')
  assert.equal(well.sentence, 'unknown for 1 vDisk: vms/d: Medusa does not answer; the rest survives a block')
  assert.equal(
    sentence({ 'vms/a': holding('one copy') }, { unknown, nodesDown: ['n3'] }),
    'one copy of 512MiB left: vms/a; n3 is down; unknown for 1 vDisk: vms/d',
  )
  const nothing = survivalOf(facts({}, { unknown }))
  assert.deepEqual(
    [nothing.level, nothing.sentence],
    ['unknown', 'unknown for 1 vDisk: vms/d: Medusa does not answer'],
  )
})

test('where nothing is stored it says so, and no more than its disks can hold', () => {
  assert.match(sentence({}, { copiesMax: 0 }), /^survives a block, .*; nothing is stored yet$/)
  assert.match(sentence({}, { reach: 'node' }), /^survives a node, .*; nothing is stored yet$/)
  assert.equal(sentence({}, { reach: 'one copy' }), 'one copy of 0B left: nothing is stored yet')
})

test('it says what is missing for more', () => {
  const missing = (...of: Parameters<typeof facts>): string => survivalOf(facts(...of)).missing.join('\n')
  const metadata =
    'a copy of the metadata: the store has its files on one disk; `ndfs up --store-copy DIR` keeps a copy on another'
  assert.equal(missing({ 'vms/a': holding('block') }), metadata)
  assert.match(missing({ 'vms/a': holding('node') }, { blocks: ['b1'] }), /^a second block: .* are in b1/m)
  assert.match(
    missing({ 'vms/a': holding('node', 8 * MiB, 2, true) }),
    /^placement of at most 8MiB, misplaced in fewer of the 2 blocks than it could be: vms\/a$/m,
  )
  const three = { 'vms/a': holding('block') }
  assert.match(missing(three, { logNodes: 2 }), /^a node: while one more is down writes wait/m)
  assert.match(
    missing(three, { logNodes: 1 }),
    /^nodes: writes wait where 2 copies are asked for, as 1 node .* is up/m,
  )
  assert.match(missing(three, { unknown }), /^knowledge of vms\/d: Medusa does not answer$/m)
})

test('many names are some, and how many more', () => {
  const vdisks = Object.fromEntries(
    ['a', 'b', 'c', 'd', 'e'].map((name) => [`vms/${name}`, holding('one copy', 1 * MiB)]),
  )
  assert.equal(
    sentence(vdisks, { nodesDown: ['n3'] }),
    'one copy of 5MiB left: vms/a, vms/b, vms/c and 2 more; n3 is down',
  )
})
