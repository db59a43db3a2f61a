import { memoryStore, testPlatform } from '../local/store/store-for-tests.ts'
import { storeNode } from '../local/store/store-process.ts'
import { medusaContract } from './medusa-contract-suite.ts'
import { StoreMedusa } from './store-medusa.ts'

medusaContract('Medusa in memory', async (body) => {
  const store = await memoryStore()
  const client = () => new StoreMedusa(store.peers, storeNode)
  const { clock, chance } = testPlatform
  try {
    await body({ client, clock, chance, run: (work) => work })
  } finally {
    await store.close()
  }
})
