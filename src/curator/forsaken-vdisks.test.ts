import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/ids.ts'
import { quietLog, RestingClock } from '../stargate/namespace/fixtures.test.ts'
import type { VDiskNameValue } from '../zeus/zeus.ts'
import { ForsakenVDisks } from './forsaken-vdisks.ts'

const minute = 60_000

/** n1 looks after the even ones. */
function stage() {
  const clock = new RestingClock()
  const names = new Map<string, VDiskNameValue>()
  const looked: number[] = []
  const state = { isDown: false, nodes: ['n2', 'n1'] as NodeId[] }
  const add = (id: number, ageMs: number, file = 4): void =>
    void names.set(`vms/file-${id}`, {
      id: id as VDiskId,
      createdAt: clock.wallTime() - ageMs,
      ...(file === 0 ? {} : { file }),
    })
  const forsaken = new ForsakenVDisks({
    ...{ clock, log: quietLog, node: 'n1' as NodeId, names: () => names },
    liveNodes: () => state.nodes,
    clear: async ({ vdisk }) => {
      if (state.isDown) throw new NdfsError('UNAVAILABLE', 'the store is down')
      looked.push(vdisk)
      return true
    },
  })
  const after = async (ms: number): Promise<number[]> => {
    await clock.sleep(ms)
    return looked.splice(0)
  }
  return { add, after, forsaken, state }
}

test('forsaken vDisks: each node looks through those that its number points at, and that were made for a file', async () => {
  const { add, after, forsaken } = stage()
  for (const id of [2, 3, 4]) add(id, 11 * minute)
  add(6, 11 * minute, 0)
  forsaken.start()
  assert.deepEqual(await after(1), [2, 4])
  assert.deepEqual(await after(23 * 60 * minute), [])
  assert.deepEqual(await after(60 * minute), [2, 4], 'a day later')
  forsaken.lookSoon()
  assert.deepEqual(await after(10 * minute), [2, 4], 'somebody had died')
  forsaken.stop()
  assert.deepEqual(await after(48 * 60 * minute), [])
})

test('forsaken vDisks: a young one is looked at when it is not, and one that could not be, again', async () => {
  const { add, after, forsaken, state } = stage()
  add(2, 9 * minute)
  forsaken.start()
  assert.deepEqual(await after(1), [])
  state.isDown = true
  assert.deepEqual(await after(10 * minute), [])
  state.isDown = false
  assert.deepEqual(await after(10 * minute), [2])
  assert.deepEqual(await after(60 * minute), [])
  forsaken.stop()
})

// In a cluster that starts, n1 saw two nodes, by which 3 is n2's, and n2 three, by which it is n1's: for a day nobody looked at it.
test('forsaken vDisks: what becomes this node’s by a change of nodes is looked at behind the last one', async () => {
  const { add, after, forsaken, state } = stage()
  add(3, 11 * minute)
  forsaken.start()
  assert.deepEqual(await after(minute), [])
  state.nodes = ['n1', 'n2', 'n3', 'n4'] as NodeId[]
  forsaken.nodesChanged()
  await after(1000)
  state.nodes = ['n1', 'n2', 'n3'] as NodeId[]
  forsaken.nodesChanged()
  assert.deepEqual(await after(5000), [3])
  forsaken.stop()
})
