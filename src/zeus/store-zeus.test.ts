import { memoryStore, testPlatform } from '../local/store/store-for-tests.ts'
import { storeNode } from '../local/store/store-process.ts'
import { StoreZeus } from './store-zeus.ts'
import { zeusContract } from './zeus-contract-suite.ts'

zeusContract('Zeus in memory', async (body) => {
  const store = await memoryStore()
  const clients: StoreZeus[] = []
  const client = () => {
    const zeus = new StoreZeus(store.peers, storeNode, testPlatform)
    clients.push(zeus)
    return zeus
  }
  try {
    await body({ client, clock: testPlatform.clock, run: (work) => work })
  } finally {
    await Promise.all(clients.map((zeus) => zeus.close()))
    await store.close()
  }
})
