import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import { quietLog, RestingClock } from '../stargate/namespace/fixtures.test.ts'
import type { InodeId } from '../stargate/namespace/namespace.ts'
import { FileScrub, type FileScrubRound } from './file-scrub.ts'

const hour = 3_600_000

const vms = 3 as InodeId

function stage(saved?: FileScrubRound) {
  const clock = new RestingClock()
  const begun = clock.time
  const state = {
    damaged: 0,
    isDown: false,
    everyMs: (10 * hour) as number | undefined,
    saved: new Map<InodeId, FileScrubRound>(saved && [[vms, saved]]),
    containers: [vms],
    rounds: [] as number[],
    read: [] as InodeId[],
  }
  const scrub = new FileScrub({
    ...{ clock, log: quietLog },
    periodMs: () => state.everyMs,
    containers: () => state.containers.map((root) => ({ name: `c${root}`, root })),
    admit: () => Promise.resolve(() => undefined),
    check: async ({ root }, { found, checked }) => {
      if (state.isDown) throw new NdfsError('UNAVAILABLE', 'the store is down')
      state.rounds.push((clock.time - begun) / hour)
      state.read.push(root)
      for (let i = 0; i < state.damaged; i++)
        found({ kind: 'damaged file', what: 'a file', inode: 4 as InodeId })
      for (let i = 0; i < 5; i++) await checked('file', 0)
    },
    load: (root) => Promise.resolve(state.saved.get(root)),
    save: async (root, round) => void state.saved.set(root, round),
  })
  return { clock, begun, state, scrub }
}

test('scrub of files: one round in a period, at leisure, and what it found is kept until a round finds it no more', async () => {
  const { clock, begun, state, scrub } = stage()
  state.damaged = 2
  scrub.start()
  await clock.sleep(500)
  assert.deepEqual([state.saved.size, scrub.found], [0, 2], 'under way')
  await clock.sleep(hour)
  assert.deepEqual(state.saved.get(vms), { begunAt: begun, endedAt: begun + 1000, read: 5, found: 2 })
  state.damaged = 0
  await clock.sleep(8 * hour)
  assert.equal(scrub.found, 2)
  await clock.sleep(2 * hour)
  assert.deepEqual([state.rounds, scrub.found], [[0, 10], 0])
  state.everyMs = undefined
  scrub.look()
  await clock.sleep(100 * hour)
  assert.deepEqual(state.rounds, [0, 10])
  state.everyMs = hour
  scrub.look()
  await clock.sleep(2000)
  assert.equal(state.rounds.length, 3)
  scrub.stop()
})

test('scrub of files goes on from what was kept, and again where the store was down', async () => {
  const before = stage()
  const { clock, state, scrub } = stage({
    begunAt: before.begun - 9 * hour,
    endedAt: before.begun,
    read: 5,
    found: 1,
  })
  state.isDown = true
  scrub.start()
  await clock.sleep(hour / 2)
  assert.equal(scrub.found, 1)
  await clock.sleep(hour)
  assert.deepEqual(state.rounds, [])
  state.isDown = false
  await clock.sleep(hour)
  assert.equal(state.rounds.length, 1)
  scrub.stop()
})

// In a cluster that starts each of three nodes saw others for a moment, and a container was nobody's: for a period nobody read it.
test('scrub of files: a container that becomes this node’s by a change of nodes is read where it is due, and told of no more when it goes', async () => {
  const { clock, begun, state, scrub } = stage()
  const other = 4 as InodeId
  const third = 5 as InodeId
  state.saved.set(third, { begunAt: begun - hour, endedAt: begun, read: 1, found: 7 })
  state.containers = []
  state.damaged = 1
  scrub.start()
  await clock.sleep(hour)
  assert.deepEqual([state.read, scrub.found], [[], 0])
  state.containers = [vms, other, third]
  scrub.look()
  await clock.sleep(hour)
  assert.deepEqual([state.read, scrub.found], [[vms, other], 9])
  state.containers = [vms]
  scrub.look()
  await clock.sleep(1)
  assert.equal(scrub.found, 1)
  await clock.sleep(9 * hour)
  assert.deepEqual(state.read, [vms, other, vms])
  scrub.stop()
})
