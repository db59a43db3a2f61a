/** `npm run soak:block -- --gib 2`: a whole block of three dies under load; see test/support/block-loss.ts. Options: --seed N. */
import { parseArgs } from 'node:util'
import { loseBlock } from '../test/support/block-loss.ts'
import { withCluster } from '../test/support/cluster.ts'
import { machineAndCommit } from './machine.ts'

const { values } = parseArgs({
  options: {
    gib: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
console.log(machineAndCommit())
console.log(`seed ${values.seed}`)
await withCluster({ nodes: 6, up: ['--blocks', '3'] }, (cluster) =>
  loseBlock(cluster, {
    seed: Number(values.seed),
    mib: Math.round(Number(values.gib) * 1024),
    loadMs: 10_000,
  }),
)
