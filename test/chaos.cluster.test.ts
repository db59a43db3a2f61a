/** Guests at work while nodes fail, shortly; `npm run soak:chaos` does it for minutes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runChaos } from './support/chaos.ts'
import { withCluster } from './support/cluster.ts'
import { Namespaces, withoutNamespaces } from './support/namespaces.ts'
import { figure } from './support/run.ts'
import { without } from './support/tools.ts'

test(
  'nodes fail at random, one at a time: no wrong byte, no error, one owner in each epoch',
  { skip: without('fio') || withoutNamespaces(), timeout: 300_000 },
  async () => {
    const seed = Date.now() % 1_000_000
    const namespaces = new Namespaces(4)
    try {
      await withCluster({ nodes: 4, namespaces }, async (cluster) => {
        const say = (line: string): void => console.log(line)
        console.log(`seed ${seed}`)
        const result = await runChaos(cluster, {
          ...{ seed, ms: 15_000, fioVDisks: 1, fioMiB: 8, namespaces, say },
        })
        const faults = [...result.faults].map(([kind, count]) => `${count} ${kind}`).join(', ')
        figure(`${faults}: longest stall ${(result.longestStallMs / 1000).toFixed(1)} s`)
        assert(result.recorded.writes > 100, 'clients did next to nothing')
      })
    } finally {
      namespaces.remove()
    }
  },
)
