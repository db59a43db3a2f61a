/**
 * `node sim/run.ts [--seed N] [--runs K] [--trace FILE]`: simulated clusters, one seed after the other, until one fails.
 *
 * Without a seed it begins at a random one. A failure is printed with the command that replays it, event for event.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Outcome, simulate } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
    trace: { type: 'string' },
    'only-logs': { type: 'boolean', default: false },
  },
})
const first = values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(values.seed)
const runs = Number(values.runs)
const file = values.trace === undefined ? undefined : openSync(values.trace, 'w')
const isOfInterest = (line: string): boolean =>
  !values['only-logs'] || / (debug|info|warn|error): | trouble: | quiet/.test(line)
const trace =
  file === undefined ? undefined : (line: string) => void (isOfInterest(line) && writeSync(file, `${line}\n`))

const counted = (counts: ReadonlyMap<string, number>): string =>
  [...counts].map(([what, count]) => `${count} ${what}`).join(', ') || 'none'

function summary(seed: number, outcome: Outcome, ms: number): string {
  const { plan } = outcome
  return (
    `seed ${seed}: ${plan.nodes} nodes, ${plan.copies} copies, ${plan.vdisks} vDisks, ` +
    `${Math.round(outcome.virtualMs / 1000)} s in ${(ms / 1000).toFixed(1)} s; ` +
    `${outcome.writes} writes, ${outcome.reads} reads, ${outcome.reconnects} reconnects; ` +
    `troubles: ${counted(outcome.troubles)}; errors: ${counted(outcome.errors)}; ` +
    `${outcome.repeated > 0 ? `${outcome.repeated} histories with a repeated write; ` : ''}${outcome.hash}`
  )
}

for (let seed = first; seed < first + runs; seed++) {
  const begun = performance.now()
  try {
    const outcome = await simulate({ seed, ...(trace === undefined ? {} : { trace }) })
    console.log(summary(seed, outcome, performance.now() - begun))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    console.error(error instanceof Error && error.cause instanceof Error ? error.cause.stack : '')
    console.error(`Replay it: node sim/run.ts --seed ${seed} --trace ${seed}.trace`)
    process.exitCode = 1
    break
  }
}
if (file !== undefined) closeSync(file)
