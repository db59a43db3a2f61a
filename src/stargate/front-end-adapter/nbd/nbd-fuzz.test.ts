import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzz } from './nbd.fuzz.ts'

// The long way: `node src/stargate/front-end-adapter/nbd/nbd.fuzz.ts`.
test('whatever bytes come, nothing breaks and nothing is left behind', async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  t.diagnostic(`seed ${seed}`)
  const did = await fuzz(5000, seed)
  // Enough of it is sound to come through to the vDisk.
  for (const count of [did.reads, did.writes, did.zeroes, did.trims, did.flushes, did.errors])
    assert.ok(count > 10)
})
