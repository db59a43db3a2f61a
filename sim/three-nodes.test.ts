import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allTroubles } from './faults.ts'
import { type Outcome, type Plan, simulate } from './simulate.ts'

/** Three nodes, two copies, half a minute of trouble: small enough to run often, and all that matters is in it. */
const small: Partial<Plan> = {
  nodes: 3,
  copies: 2,
  vdisks: 1,
  clientsPerVDisk: 2,
  handsMost: 3,
  sectors: 4096,
  hardTimesMs: 25_000,
  lossesMax: 0,
}

test('three nodes, a crash and a partition: what is read is what was written, and the same seed gives the same history', async () => {
  const plan: Partial<Plan> = {
    ...small,
    troubles: { kill: 1, 'power cut': 1, cut: 1, isolate: 1 },
    troubleEveryMs: [500, 2_500],
  }
  const first = await simulate({ seed: 4716, plan })
  const second = await simulate({ seed: 4716, plan })
  assert.equal(second.hash, first.hash)
  for (const trouble of ['power cut', 'isolate'] as const)
    assert.ok((first.troubles[trouble] ?? 0) > 0, `there was no ${trouble}`)
  assert.ok(first.writes > 100 && first.reads > 100, 'hardly anything was done')
})

test('in good times every request happens exactly once, and at one instant', async () => {
  const outcome = await simulate({ seed: 1, plan: { ...small, hardTimesMs: 10_000, troubles: {} } })
  assert.equal(outcome.repeated, 0)
  assert.deepEqual(outcome.errors, {})
  assert.equal(outcome.reconnects, 0)
})

for (const seed of [1, 5])
  test(`an owner that is cut off from most, and still has clients, seed ${seed}: it reads nothing old to them`, async () => {
    const plan: Partial<Plan> = {
      ...small,
      clientsPerVDisk: 4,
      handsMost: 4,
      sectors: 512,
      troubles: { isolate: 3, cut: 1, freeze: 3, 'slow way': 1 },
      troubleEveryMs: [100, 6_000],
    }
    await simulate({ seed, plan })
  })

const hardTimes = (seed: number): Promise<Outcome> =>
  simulate({
    seed,
    plan: { ...small, hardTimesMs: 20_000, troubles: allTroubles, troubleEveryMs: [100, 5_000] },
  })

for (const seed of [11, 12, 13, 14, 15, 16, 17])
  test(`all troubles at three nodes, seed ${seed}: nothing acknowledged is lost, all that is left over goes`, async () => {
    await hardTimes(seed)
  })
