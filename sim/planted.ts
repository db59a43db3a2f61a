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
  for (const start of bug.scenario === undefined ? starts : [0]) {
    const tried = await findBug(bug, start, seedsMax)
    const { found, seed, seeds, ms, failure } = tried
    const where = seed === undefined ? 'by its scenario' : `by seed ${seed}, ${seeds} tried`
    console.log(
      `${found ? `found ${where}` : 'NOT FOUND'} in ${(ms / 1000).toFixed(1)} s: ${bug.name} (${bug.breaks}); ${found ? caughtBy(failure) : ''}`,
    )
    if (values.verbose && found) console.log(failure.split('\n').slice(0, 3).join('\n'))
    tries.push(tried)
    if (!found) {
      process.exitCode = 1
      break
    }
  }
  rows.push(rowOf(tries))
}
if (values.table) {
  console.log('\n| bug | breaks | what it does | median seeds | caught by |\n|---|---|---|---|---|')
  for (const row of rows) console.log(row)
}

function rowOf(tries: readonly Found[]): string {
  const [{ bug }] = tries
  const hits = tries.filter(({ found }) => found)
  const catchers = [...new Set(hits.map(({ failure }) => caughtBy(failure)))].join('; ')
  const seeds =
    hits.length < tries.length
      ? 'not found'
      : bug.scenario === undefined
        ? String(median(hits.map((hit) => hit.seeds)))
        : `\`${bug.scenario.tests}\``
  return `| ${bug.name} | ${bug.breaks} | ${bug.does} | ${seeds} | ${catchers} |`
}
