import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fuzzConnections, fuzzDecoders } from './nfs.fuzz.ts'

// The long way: `node src/stargate/front-end-adapter/nfs/nfs.fuzz.ts`.
test('whatever bytes come, each decoder reads them or says that it cannot', (t) => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  t.diagnostic(`seed ${seed}`)
  assert.ok(fuzzDecoders(1300, seed) > 30)
})

test('whatever a connection sends, nothing breaks and nothing is left behind', async (t) => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  t.diagnostic(`seed ${seed}`)
  const did = await fuzzConnections(20_000, seed)
  // Enough of it is sound to come through to the services, and enough is not.
  for (const count of [did.repeated, did.refused, did.failed, did.garbled]) assert.ok(count > 10)
  for (const name of ['READ', 'WRITE', 'CREATE', 'READDIRPLUS', 'REMOVE'])
    assert.ok(did.callsByProcedure[`NFS3.${name}`] > 10, name)
})
