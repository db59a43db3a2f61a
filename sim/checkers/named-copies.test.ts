import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CopyNumber, DiskId, Incarnation, NodeId } from '../../src/base/ids.ts'
import { episode, groupId, groupRow, MedusaStory, stateWith } from './checkers-for-tests.ts'
import { namedCopiesFault } from './named-copies.ts'

const copiesOn = (...nodes: readonly string[]) =>
  nodes.map((node, i) => ({
    node: node as NodeId,
    disk: `${node}-hdd-0` as DiskId,
    incarnation: '0' as Incarnation,
    number: (i + 1) as CopyNumber,
  }))

test('I1: an episode is named on as many nodes as there shall be copies', () => {
  const medusa = new MedusaStory(namedCopiesFault)
  assert.equal(medusa.state(stateWith({ episodes: [episode(1, 1)] })), undefined)
  const alone = [episode(1, 1, 9), episode(2, 10, undefined, ['a'])]
  assert.match(
    medusa.state(stateWith({ episodes: alone }))!,
    /names episode 2 on 1 nodes, and 2 are asked for/,
  )
  assert.equal(medusa.state(stateWith({ episodes: alone })), undefined)
})

test('I1: a group is whole on as many nodes as there shall be copies', () => {
  const medusa = new MedusaStory(namedCopiesFault)
  medusa.state(stateWith())
  assert.equal(medusa.group(groupId(1), groupRow('a', copiesOn('n1', 'n2'))), undefined)
  assert.match(
    medusa.group(groupId(2), groupRow('a', copiesOn('n1', 'n1')))!,
    /on 1 nodes, and 2 are asked for/,
  )
})
