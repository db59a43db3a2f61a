/** A whole block dies under load; `npm run soak:block` does it with more data. */
import { test } from 'node:test'
import { loseBlock } from './support/block-loss.ts'
import { withCluster } from './support/cluster.ts'
import { without } from './support/tools.ts'

test(
  'R7 R8 R31: a block dies under load, nothing is lost, copies are made anew in the others, and status is true at every moment',
  { skip: without('fio'), timeout: 180_000 },
  () =>
    withCluster({ nodes: 6, up: ['--blocks', '3'] }, (cluster) =>
      loseBlock(cluster, { seed: Date.now() % 1_000_000, mib: 64, loadMs: 2000 }),
    ),
)
