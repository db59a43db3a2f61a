/**
 * `npm test`: builds, then runs the unit tests, a few at once, then one after the other what measures in bench/ and the suites in test/, which
 * start clusters of their own. `npm test -- --only PATTERN` runs the files whose path contains PATTERN. `npm run test:long` runs those that take
 * minutes each (`test/*.long.test.ts`, on engines too), `npm run test:cluster` the others with real Cassandra and ZooKeeper (`*.engines.test.ts`), and nothing else.
 *
 * A line for each file tells how it went; what failed is shown whole. A test that can't run here is left out by name,
 * with the reason; where CI=1 that is a failure. Then the files that took longest are named. The last line counts.
 */
import { spawnSync } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { installCassandra, withoutCassandra } from './engines/cassandra.ts'
import { installZooKeeper, withoutZooKeeper } from './engines/zookeeper.ts'
import { installTestTools } from './install-test-tools.ts'
import { checkSeed, seedFile, sourcesIn, summaryOf } from './seed.ts'
import { emptyFolder, runTestFile, type FileResult } from './test-file.ts'

/** Far more than any of them needs: what takes longer hangs. */
const unitLimitSeconds = 180
const suiteLimitSeconds = 420
const longLimitSeconds = 1800
/** Files named at the end. */
const slowestShown = 10

const root = join(import.meta.dirname, '..')
const resultsFolder = join(root, 'test-results')
const inCI = process.env.CI === '1' || process.env.CI === 'true'

class Tally {
  passed = 0
  failed = 0
  leftOut = 0
  readonly #took: { readonly file: string; readonly seconds: number }[] = []

  add(result: FileResult): void {
    const { file, seconds, tests, failed, troubles, output } = result
    const passed = tests.filter(({ outcome }) => outcome === 'passed').length
    const left = tests.filter(({ outcome }) => outcome === 'left out')
    this.#took.push({ file, seconds })
    this.passed += passed
    this.failed += failed + (inCI ? left.length : 0)
    this.leftOut += left.length
    const mark = failed > 0 ? 'FAIL' : 'ok  '
    console.log(`${mark} ${seconds.toFixed(1).padStart(6)} s ${String(passed).padStart(4)} passed  ${file}`)
    for (const { title, reason } of left) console.log(`     left out: ${title}: ${reason}`)
    for (const line of output.match(/^.*ℹ? ?figure: .*$/gm) ?? [])
      console.log(`     ${line.replace(/^.*figure: /, '')}`)
    if (failed === 0) return
    for (const trouble of troubles) console.log(`     ${file}: ${trouble}`)
    console.log(output)
  }

  /** Where a shorter run is to be had. */
  showSlowest(): void {
    const slowest = this.#took.toSorted((a, b) => b.seconds - a.seconds).slice(0, slowestShown)
    if (slowest.length < slowestShown) return
    console.log('The slowest files:')
    for (const { file, seconds } of slowest) console.log(`     ${seconds.toFixed(1).padStart(6)} s  ${file}`)
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      long: { type: 'boolean', default: false },
      engines: { type: 'boolean', default: false },
    },
  })
  const kind = values.long ? 'long' : values.engines ? 'engines' : 'usual'
  const only = values.only ?? ''
  const files = (...patterns: string[]): string[] =>
    patterns
      .flatMap((pattern) => globSync(pattern, { cwd: root }))
      .filter((file) => file.includes(only) && hasTests(file))
      .sort()
  const usual = (...patterns: string[]): string[] =>
    kind === 'usual' ? files(...patterns).filter((file) => kindOf(file) === 'usual') : []
  const units = usual('{src,sim,cli,scripts}/**/*.test.ts', 'bench/*.test.ts')
  const measuring = usual('bench/micro/*.test.ts')
  const suites = files(kind === 'engines' ? '{src,test}/**/*.test.ts' : 'test/**/*.test.ts').filter(
    (file) => kindOf(file) === kind,
  )
  const tally = new Tally()
  const stopped = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopped.abort())

  process.chdir(root)
  emptyFolder(resultsFolder)
  if (!build()) {
    console.log('0 passed, 1 failed')
    return 1
  }
  const run = async (file: string, limitSeconds: number): Promise<void> => {
    if (stopped.signal.aborted) return
    const results = join(resultsFolder, basename(file, '.test.ts'))
    tally.add(await runTestFile(file, limitSeconds, results, stopped.signal))
  }
  await eachInParallel(units, availableParallelism(), (file) => run(file, unitLimitSeconds))
  for (const file of measuring) await run(file, unitLimitSeconds)
  if (suites.length > 0) installTestTools((line) => console.log(line))
  if (suites.some((file) => file.includes('.engines.')) && !haveEngines()) tally.failed++
  else for (const file of suites) await run(file, kind === 'long' ? longLimitSeconds : suiteLimitSeconds)
  if (stopped.signal.aborted) tally.failed++
  if (kind === 'usual' && only === '') console.log(enginesSentence())

  tally.showSlowest()
  console.log(summaryOf(checkSeed(readFileSync(seedFile, 'utf8'), sourcesIn(root))))
  if (tally.leftOut > 0)
    console.log(`${tally.leftOut} left out${inCI ? ', which counts as failed here' : ''}`)
  if (tally.failed > 0) console.log(`Logs of clusters that failed are in ${resultsFolder}.`)
  if (tally.passed + tally.failed + tally.leftOut === 0) {
    console.log(`No test file's path contains ${only}.`)
    tally.failed++
  }
  console.log(`${tally.passed} passed, ${tally.failed} failed`)
  return tally.failed === 0 ? 0 : 1
}

const kindOf = (file: string): 'long' | 'engines' | 'usual' =>
  file.endsWith('.long.test.ts') ? 'long' : file.endsWith('.engines.test.ts') ? 'engines' : 'usual'

const withoutEngines = (): string | undefined => withoutZooKeeper() ?? withoutCassandra()

/** Whether they are there, installed now where they were not. */
function haveEngines(): boolean {
  installZooKeeper((line) => console.log(line))
  installCassandra((line) => console.log(line))
  const missing = withoutEngines()
  if (missing !== undefined) console.log(`Cannot test with real engines: ${missing}`)
  return missing === undefined
}

function enginesSentence(): string {
  const missing = withoutEngines()
  const why = missing === undefined ? '' : ` (${missing}; it installs what it needs)`
  return `Not part of this run: the suites on real Cassandra and ZooKeeper, \`npm run test:cluster\`${why}`
}

/** Some only hold what several test files share: they are named so that they are no part of the build. */
const hasTests = (file: string): boolean =>
  /from 'node:test'|-suite\.ts'/.test(readFileSync(join(root, file), 'utf8'))

function build(): boolean {
  const { status } = spawnSync('npm', ['run', '--silent', 'build'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  return status === 0
}

async function eachInParallel<T>(
  items: readonly T[],
  workers: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const left = items[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (const item of left) await work(item)
  }
  await Promise.all(Array.from({ length: workers }, worker))
}

process.exitCode = await main()
