/**
 * `npm run soak:chaos -- --seed N --minutes 5`: guests at work while nodes of a real cluster fail at random, one at a time; see
 * test/support/chaos.ts. Five nodes, each in a network namespace of its own where this is root's.
 *
 * `--beyond-promise`: more nodes fail than there are copies, and disks are lost: guests wait or get errors, never wrong bytes.
 */
import { parseArgs } from 'node:util'
import { runBeyondPromise } from '../test/support/beyond-promise.ts'
import { describeChaos, runChaos } from '../test/support/chaos.ts'
import { withCluster } from '../test/support/cluster.ts'
import { Namespaces, withoutNamespaces } from '../test/support/namespaces.ts'
import { machineAndCommit } from './machine.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '5' },
    nodes: { type: 'string', default: '5' },
    vdisks: { type: 'string', default: '5' },
    'beyond-promise': { type: 'boolean', default: false },
  },
})
const [seed, minutes, nodes, vdisks] = [values.seed, values.minutes, values.nodes, values.vdisks].map(Number)
const began = performance.now()
const say = (line: string): void =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}`)

console.log(machineAndCommit())
console.log(`seed ${seed}`)
const left = withoutNamespaces()
if (left !== false) console.log(`left out: cutting networks: ${left}`)
const namespaces = left === false ? new Namespaces(nodes) : undefined
const ofNamespaces = namespaces === undefined ? {} : { namespaces }
try {
  if (values['beyond-promise'])
    await withCluster({ nodes, up: ['--write-wait', '10s'], ...ofNamespaces }, async (cluster) => {
      const result = await runBeyondPromise(cluster, { seed, say })
      say(
        `${result.writes} writes and ${result.reads} reads were right; ${result.errors} errors, no wrong byte`,
      )
    })
  else
    await withCluster({ nodes, ...ofNamespaces }, async (cluster) => {
      const result = await runChaos(cluster, {
        ...{ seed, ms: minutes * 60_000, fioVDisks: vdisks, fioMiB: 40, say },
        ...ofNamespaces,
      })
      for (const line of describeChaos(result)) say(line)
    })
} finally {
  namespaces?.remove()
}
