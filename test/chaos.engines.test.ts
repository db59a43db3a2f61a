/** Guests at work while Cassandra, ZooKeeper and hosts fail, shortly; `npm run soak:engines` does it for minutes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { describeChaos } from './support/chaos.ts'
import { chaosOnEngines } from './support/engine-hosts.ts'
import { withoutNamespaces } from './support/namespaces.ts'
import { figure } from './support/run.ts'
import { without } from './support/tools.ts'

test(
  'R2 R4 R7: Cassandra and ZooKeeper fail beside the nodes, one at a time: no wrong byte, no error, one owner in each epoch',
  { skip: without('fio') || withoutNamespaces(), timeout: 300_000 },
  async () => {
    const seed = Date.now() % 1_000_000
    console.log(`seed ${seed}`)
    const say = (line: string): void => console.log(line)
    const result = await chaosOnEngines(
      { seed, ms: 10_000, faultsLeast: 2, fioVDisks: 1, fioMiB: 8, say },
      28810,
    )
    for (const line of describeChaos(result)) figure(line)
    assert(result.recorded.writes > 100, 'clients did next to nothing')
  },
)
