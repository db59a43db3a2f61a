import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { Owner } from '../zeus/zeus.ts'
import { assignments, idle, unheardOf } from './assign.ts'

const node = (name: string): NodeId => name as NodeId
const owner = (name: string, more: Partial<Owner> = {}): Owner => ({
  node: node(name),
  incarnation: `${name}-1` as Incarnation,
  epoch: 3 as Epoch,
  ...more,
})
const view = (owners: Record<number, Owner>, live: string[]) => ({
  owners: new Map(Object.entries(owners).map(([id, value]) => [Number(id) as VDiskId, value])),
  liveNodes: () => live.map(node),
  lives: (name: NodeId, incarnation: Incarnation) => live.includes(name) && incarnation === `${name}-1`,
})

test('a dead node’s vDisks are spread over the live ones', () => {
  const plan = assignments(view({ 1: owner('n1'), 2: owner('n1'), 3: owner('n2') }, ['n2', 'n3']))
  assert.deepEqual(
    [...plan],
    [
      [1, 'n3'],
      [2, 'n2'],
    ],
  )
})

test('a node that was restarted is not the process that owned the vDisk', () => {
  const restarted = { ...owner('n1'), incarnation: 'n1-0' as Incarnation }
  assert.deepEqual([...assignments(view({ 4: restarted }, ['n1']))], [[4, 'n1']])
})

test('a vDisk that was released in order needs no owner, and one that was handed over goes where it was meant to', () => {
  const plan = assignments(
    view(
      {
        5: owner('n1', { released: true }),
        6: owner('n1', { released: true, next: node('n3') }),
        7: owner('n1', { released: true, next: node('n9') }),
      },
      ['n1', 'n2', 'n3'],
    ),
  )
  assert.deepEqual(
    [...plan],
    [
      [6, 'n3'],
      [7, 'n2'],
    ],
  )
})

test('nobody is given anything where nobody lives', () => {
  assert.equal(assignments(view({ 1: owner('n1') }, [])).size, 0)
})

test('what was granted to a process that never heard so is claimed by it again, and by nobody else', () => {
  const seen = view({ 1: owner('n1'), 2: owner('n1'), 3: owner('n2'), 4: owner('n1', { released: true }) }, [
    'n1',
    'n2',
  ])
  assert.deepEqual(
    unheardOf(seen, node('n1'), (vdisk) => vdisk === 2),
    [1],
  )
  assert.equal(assignments(seen).size, 0)
})

test('vDisks that nobody owns are looked after by one live node each', () => {
  const released = owner('n1', { released: true })
  const owners = {
    1: released,
    2: released,
    3: released,
    4: owner('n2'),
    5: { ...released, next: node('n2') },
  }
  const looksAfter = (name: string) => idle(view(owners, ['n2', 'n3']), node(name))
  assert.deepEqual([looksAfter('n2'), looksAfter('n3'), looksAfter('n1')], [[2], [1, 3], []])
  assert.deepEqual(idle(view(owners, []), node('n1')), [])
})
