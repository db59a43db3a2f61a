/**
 * Durable changes of Medusa a second, one by one and with 64 under way, from a client over a Unix socket to the file
 * of a store in the same process.
 * Group commit at 64 is to reach 10,000 a second. `node bench/parts/store.ts [SECONDS]`
 */
import { join } from 'node:path'
import type { Epoch } from '../../src/base/ids.ts'
import { newChangeId } from '../../src/medusa/medusa.ts'
import type { Medusa } from '../../src/medusa/medusa.ts'
import { StoreMedusa } from '../../src/medusa/store-medusa.ts'
import { testCluster, testPeers, testPlatform, withDirectory } from '../../src/local/store/store-for-tests.ts'
import { runStore, storeNode } from '../../src/local/store/store-process.ts'

const seconds = Number(process.argv[2] ?? 3)
const epoch = 1 as Epoch

async function changesPerSecond(medusa: Medusa, depth: number): Promise<number> {
  const start = performance.now()
  const end = start + seconds * 1000
  let changes = 0
  const stream = async (key: string): Promise<void> => {
    const partition = { table: 'map', key } as const
    const value = Buffer.alloc(200, key)
    for (let version = 0; performance.now() < end; version++, changes++) {
      const { outcome } = await medusa.change(partition, {
        id: newChangeId(testPlatform.chance),
        expected: { epoch: version === 0 ? (0 as Epoch) : epoch, version },
        epoch,
        put: [{ key: String(version % 1024).padStart(4, '0'), value }],
      })
      if (outcome !== 'applied') throw new Error(`conflict in ${key} at ${version}`)
    }
  }
  await Promise.all(Array.from({ length: depth }, (_, i) => stream(`${depth}.${i}`)))
  return changes / ((performance.now() - start) / 1000)
}

await withDirectory(async (directory) => {
  const socketPath = join(directory, 's.sock')
  const store = await runStore({ platform: testPlatform, dir: directory, socketPath, ...testCluster })
  const peers = testPeers('n1')
  peers.setAddress(storeNode, store.address)
  const medusa = new StoreMedusa(peers, storeNode)
  for (const depth of [1, 64]) {
    const rate = await changesPerSecond(medusa, depth)
    process.stdout.write(
      `store, 1 row of 200 bytes a change, depth ${depth}: ${Math.round(rate)} changes/s\n`,
    )
  }
  await peers.close()
  await store.close()
})
