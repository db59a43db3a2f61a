/**
 * `npm run sim:planted [-- --only NAME] [--seeds N] [--starts K] [--table]`: is every planted bug found?
 *
 * For each bug, in a process of its own, runs seeds 1, 2, 3 … until one fails, N at most; then from K - 1 other first seeds, for
 * the median. `--table` prints the table of docs/testing.md. A bug that is not found is a hole in the simulator.
 */
import { parseArgs } from 'node:util'
import { plantedBugs } from './planted/bugs.ts'
import { caughtBy, findBug, type Found } from './planted/find-bug.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '200' },
    starts: { type: 'string', default: '1' },
    table: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
})
const seedsMax = Number(values.seeds)
const starts = Array.from({ length: Number(values.starts) }, (_, i) => 1 + 1000 * i)

const median = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)]
}

const rows: string[] = []
for (const bug of plantedBugs.filter(({ name }) => name.includes(values.only))) {
  const tries: Found[] = []
  for (const start of starts) {
    const found = await findBug(bug, start, seedsMax)
    tries.push(found)
    const caught = found.seed === undefined ? 'NOT FOUND' : `seed ${found.seed}, ${caughtBy(found.failure)}`
    console.log(
      `${bug.name} (${bug.breaks}): ${caught}; ${found.seeds} seeds, ${(found.ms / 1000).toFixed(1)} s`,
    )
    if (values.verbose) console.log(found.failure.split('\n').slice(0, 3).join('\n'))
    if (found.seed === undefined) {
      process.exitCode = 1
      break
    }
  }
  const hits = tries.filter(({ seed }) => seed !== undefined)
  const catchers = [...new Set(hits.map(({ failure }) => caughtBy(failure)))].join('; ')
  const seeds = hits.length < starts.length ? 'not found' : String(median(hits.map((hit) => hit.seeds)))
  rows.push(`| ${bug.name} | ${bug.breaks} | ${bug.does} | ${seeds} | ${catchers} |`)
}
if (values.table) {
  console.log('\n| bug | breaks | what it does | median seeds | caught by |\n|---|---|---|---|---|')
  for (const row of rows) console.log(row)
}
