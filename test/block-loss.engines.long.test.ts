/** A whole block dies with its nodes and its engines; `npm run soak:engines -- --block` does it with more data. */
import { test } from 'node:test'
import { blockLossOnEngines } from './support/engine-hosts.ts'
import { withoutNamespaces } from './support/namespaces.ts'
import { figure } from './support/run.ts'
import { without } from './support/tools.ts'

test(
  'R4 R7 R8 R9: a block dies with its nodes, Cassandras and ZooKeeper: guests and metadata go on, copies are made anew, and it comes back',
  { skip: without('fio') || withoutNamespaces(), timeout: 600_000 },
  async () => {
    const seed = Date.now() % 1_000_000
    figure(`seed ${seed}`)
    await blockLossOnEngines({ seed, mib: 16, loadMs: 2000 }, 30810)
  },
)
