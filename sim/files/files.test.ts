import assert from 'node:assert/strict'
import { test } from 'node:test'
import { besideFiles, type Plan, simulate } from '../simulate.ts'

test('in good times every NFS call is answered, and no vDisk is left without a file', async () => {
  const plan: Partial<Plan> = {
    ...besideFiles,
    ...{ nodes: 3, copies: 2, lossesMax: 0, hardTimesMs: 2_000, shares: 1, troubles: {} },
  }
  const { calls, errors, vDisksWithoutFile } = await simulate({ seed: 1, plan })
  assert.ok(calls > 500, `${calls} calls`)
  assert.deepEqual(errors, {})
  assert.equal(vDisksWithoutFile, 0)
})

test('files in hard times: no name is lost, and no byte, and the same seed gives the same history', async () => {
  const plan = { ...besideFiles, shares: 2 }
  const first = await simulate({ seed: 38, plan })
  const second = await simulate({ seed: 38, plan })
  assert.equal(second.hash, first.hash)
  assert.ok(first.calls > 200, `${first.calls} calls`)
  assert.equal(first.undecided, 0)
})
