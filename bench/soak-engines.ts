/**
 * `npm run soak:engines -- --seed N --minutes 5`: guests at work while Cassandras, ZooKeepers, nodes and the hosts of all three fail at random, one
 * at a time; see test/support/engine-faults.ts. Three hosts, each a network namespace. Needs root.
 */
import { parseArgs } from 'node:util'
import { describeChaos } from '../test/support/chaos.ts'
import { blockLossOnEngines, chaosOnEngines } from '../test/support/engine-hosts.ts'
import { machineAndCommit } from './machine.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    minutes: { type: 'string', default: '5' },
    vdisks: { type: 'string', default: '2' },
    block: { type: 'boolean', default: false },
    gib: { type: 'string', default: '1' },
  },
})
const [seed, minutes, vdisks] = [values.seed, values.minutes, values.vdisks].map(Number)
const began = performance.now()
const say = (line: string): void =>
  console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}`)

console.log(machineAndCommit())
console.log(`seed ${seed}`)
const basePort = 29810
if (values.block)
  await blockLossOnEngines({ seed, mib: Math.round(Number(values.gib) * 1024), loadMs: 10_000 }, basePort)
else {
  const result = await chaosOnEngines(
    { seed, ms: minutes * 60_000, fioVDisks: vdisks, fioMiB: 40, say },
    basePort,
  )
  for (const line of describeChaos(result)) say(line)
}
