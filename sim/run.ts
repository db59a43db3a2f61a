/**
 * `npm run sim -- [--seed FIRST] [--runs K] [--minutes M] [--trace FILE]`: simulated clusters, one seed after the other.
 *
 *  1. One seed is one run: the same code and the same seed give the same events, told by their hash.
 *  2. The first failure ends it, with its seed and the command that replays it; `--keep-going` looks for more.
 *  3. Many runs are shared among as many processes as there are processors. That changes no run.
 *
 * Without a seed it begins at a random one. How to read a failure: docs/testing.md.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { troubles } from './faults.ts'
import { simulate } from './simulate.ts'
import { describeRun, type RunResult, Summary } from './summary.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    runs: { type: 'string', default: '1' },
    /** After so many no further run is begun. */
    minutes: { type: 'string' },
    trace: { type: 'string' },
    'only-logs': { type: 'boolean', default: false },
    workers: { type: 'string', default: String(availableParallelism()) },
    'keep-going': { type: 'boolean', default: false },
    /** A line for each run. */
    list: { type: 'boolean', default: false },
  },
})
const wholeNumber = (name: string, given: string): number => {
  const number = Number(given)
  if (!Number.isSafeInteger(number) || number < 0)
    throw new Error(`--${name} takes a whole number, not ${given}`)
  return number
}
const first =
  values.seed === undefined ? Math.floor(Math.random() * 2 ** 32) : wholeNumber('seed', values.seed)
const runs = wholeNumber('runs', values.runs)
const minutes = values.minutes === undefined ? Infinity : wholeNumber('minutes', values.minutes)
const progressEveryMs = 10_000
/**
 * Runs leave little behind, so garbage is looked for seldom. Buffers count with all else: by themselves they would have it
 * looked for each 64 MiB, which is once a run. One thread, as each processor has a worker.
 */
const workerFlags = [
  '--max-semi-space-size=32',
  '--initial-heap-size=512',
  '--single-threaded-gc',
  ...(Number(process.versions.node.split('.')[0]) >= 24
    ? ['--external-memory-accounted-in-global-limit']
    : []),
]

if (runs === 1 || values.trace !== undefined) await runHere()
else await runInWorkers()

/** One after the other in this process, each event written down where a trace is wanted. */
async function runHere(): Promise<void> {
  const file = values.trace === undefined ? undefined : openSync(values.trace, 'w')
  const isOfInterest = (line: string): boolean =>
    !values['only-logs'] || / (debug|info|warn|error): | trouble: | quiet/.test(line)
  const trace =
    file === undefined
      ? undefined
      : (line: string) => void (isOfInterest(line) && writeSync(file, `${line}\n`))
  for (let seed = first; seed < first + runs; seed++) {
    const begun = performance.now()
    try {
      const outcome = await simulate({ seed, ...(trace === undefined ? {} : { trace }) })
      console.log(describeRun({ seed, ms: performance.now() - begun, outcome }))
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.stack : ''
      failed(seed, `${error instanceof Error ? error.message : String(error)}\n${cause}`)
      if (!values['keep-going']) break
    }
  }
  if (file !== undefined) closeSync(file)
}

async function runInWorkers(): Promise<void> {
  const summary = new Summary()
  let next = first
  let stopping = false
  const progress = setInterval(() => console.log(summary.progress(runs)), progressEveryMs)
  const take = (result: RunResult): void => {
    summary.add(result)
    if (values.list) console.log(describeRun(result))
    if (result.failure === undefined) return
    failed(result.seed, result.failure)
    stopping ||= !values['keep-going']
  }
  const work = (worker: ChildProcess): Promise<void> =>
    new Promise((resolve, reject) => {
      let seed = next
      const giveNext = (): void => {
        if (stopping || next >= first + runs || performance.now() > minutes * 60_000) {
          worker.disconnect()
          return resolve()
        }
        seed = next++
        worker.send(seed)
      }
      worker.on('message', (result: RunResult) => {
        take(result)
        giveNext()
      })
      worker.once('exit', (code, signal) => {
        if (code !== 0) reject(new Error(`the process that ran seed ${seed} ended with ${signal ?? code}`))
      })
      giveNext()
    })
  const count = Math.min(runs, Math.max(1, wholeNumber('workers', values.workers)))
  const workers = Array.from({ length: count }, () =>
    fork(new URL('worker.ts', import.meta.url), { execArgv: workerFlags }),
  )
  try {
    await Promise.all(workers.map(work))
  } finally {
    clearInterval(progress)
    for (const worker of workers) worker.kill()
  }
  for (const line of summary.report(Object.keys(troubles))) console.log(line)
}

function failed(seed: number, why: string): void {
  console.error(why)
  console.error(`Replay it: npm run sim -- --seed ${seed} --trace ${seed}.trace`)
  process.exitCode = 1
}
