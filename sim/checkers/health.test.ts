import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId, Sequence, VDiskId } from '../../src/base/ids.ts'
import type { Holding } from '../../src/stargate/oplog/oplog.ts'
import type { VDiskState } from '../../src/stargate/vdisk-controller/rows.ts'
import { episode, stateWith, vdisk } from './checkers-for-tests.ts'
import { findOwnerFaults, findWhatLogsKeep, type ServingNodes } from './health.ts'

/** Nodes that each host the vDisk, serving or stopped, or don't, and keep so many bytes of its log. */
function nodes(of: Record<string, { hosts?: 'serving' | 'stopped'; keeps?: number }>): ServingNodes {
  const names = Object.keys(of) as NodeId[]
  return {
    serving: () => names,
    node: (name) => {
      const { hosts, keeps = 0 } = of[name]
      const stopped = hosts === 'stopped' ? new Error('fenced') : undefined
      const holding = { vdisk, bytes: keeps, episodes: [] as Holding['episodes'] } as Holding
      return {
        controller: { all: () => (hosts === undefined ? [] : [{ id: vdisk, stopped }]) },
        replicas: [{ holdings: () => [holding] }],
      }
    },
  }
}

const states = (odd: Partial<VDiskState> = {}) => new Map<VDiskId, VDiskState>([[vdisk, stateWith(odd)]])

test('I4: in the end a vDisk that is used has one owner', () => {
  const lines = (of: Parameters<typeof nodes>[0], odd: Partial<VDiskState> = {}): string[] =>
    findOwnerFaults(nodes(of), states(odd))
  assert.deepEqual(lines({ n1: { hosts: 'serving' }, n2: { hosts: 'stopped' } }), [])
  assert.deepEqual(lines({ n1: { hosts: 'stopped' } }), ['I4: c/v has 0 owners: none'])
  assert.deepEqual(lines({ n1: { hosts: 'serving' }, n2: { hosts: 'serving' } }), [
    'I4: c/v has 2 owners: n1, n2',
  ])
  assert.deepEqual(lines({ n1: {} }, { state: 'deleted' }), [])
})

test('I1, I10: in the end the log of an idle vDisk is empty, and so are the disks', () => {
  const lines = (keeps: number, odd: Partial<VDiskState> = {}): string[] =>
    findWhatLogsKeep(nodes({ n1: { keeps } }), states(odd))
  assert.deepEqual(lines(0), [])
  assert.deepEqual(lines(9, { drained: 4 as Sequence, episodes: [episode(1, 1)] }), [
    'I1: c/v has 1 episodes, drained to 4',
    'I10: n1 keeps 9 bytes of the log of vDisk 1',
  ])
})
