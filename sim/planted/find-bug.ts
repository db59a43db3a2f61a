/**
 * Looks for a planted bug in processes of its own: by seeds, one after the other, or by the directed scenario that tells its
 * history.
 */
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { PlantedBug } from './planted-bug.ts'
import type { SeedTried } from './try-seeds.ts'

export interface Found {
  readonly bug: PlantedBug
  readonly found: boolean
  /** The seed that found it; undefined where a scenario did, or none. */
  readonly seed: number | undefined
  /** Seeds that were tried. */
  readonly seeds: number
  readonly ms: number
  readonly failure: string
}

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url))
const root = pathOf('../..')
/** A run that takes longer than this goes round in circles. */
const silentMs = 180_000

/** `sound`: without the bug. */
export async function findBug(
  bug: PlantedBug,
  first: number,
  count: number,
  { sound = false }: { readonly sound?: boolean } = {},
): Promise<Found> {
  const begun = performance.now()
  const { scenario } = bug
  const tried =
    scenario === undefined
      ? await bySeeds(bug, first, count, sound)
      : await byScenario(bug.name, scenario.file, scenario.tests, sound)
  return { bug, ...tried, ms: Math.round(performance.now() - begun) }
}

type Tried = Omit<Found, 'bug' | 'ms'>

async function bySeeds(bug: PlantedBug, first: number, count: number, sound: boolean): Promise<Tried> {
  const child = start(
    [pathOf('try-seeds.ts'), bug.name, String(first), String(count), ...(sound ? ['--sound'] : [])],
    {},
  )
  let last: SeedTried | undefined
  let seeds = 0
  for await (const line of createInterface({ input: child.stdout })) {
    child.isAlive()
    last = JSON.parse(line) as SeedTried
    seeds++
  }
  const { status, complaints } = await child.ended
  if (last?.failure !== undefined) return { found: true, seed: last.seed, seeds, failure: last.failure }
  if (status === '0') return { found: false, seed: undefined, seeds, failure: '' }
  if (seeds === 0 && status === '1') throw new Error(`${bug.name} could not be tried:\n${complaints}`)
  // The bug ended the process, or made it go round in circles: nobody could miss that either.
  return {
    found: true,
    seed: first + seeds,
    seeds: seeds + 1,
    failure: `the process ended: ${status}\n${complaints}`,
  }
}

async function byScenario(name: string, file: string, tests: string, sound: boolean): Promise<Tried> {
  const planted = sound ? [] : ['--import', pathOf('install-bug.ts')]
  const child = start([...planted, '--test-reporter=tap', '--test-name-pattern', tests, join(root, file)], {
    NDFS_PLANTED_BUG: name,
  })
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => {
    child.isAlive()
    output += bytes.toString()
  })
  const { status, complaints } = await child.ended
  if (!/^ok |^not ok /m.test(output))
    throw new Error(`${name}: no test of ${file} matches ${tests}\n${output}${complaints}`)
  const failure =
    /^ +error: (?:\|-\n)?\s*'?(.*)/m.exec(output)?.[1] ?? `the process ended: ${status}\n${complaints}`
  const found = status !== '0'
  return { found, seed: undefined, seeds: 0, failure: found ? failure : '' }
}

function start(args: readonly string[], environment: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // All but the patched modules are the same for every bug. A test that runs this must not take the child for one of its own.
    env: {
      NODE_COMPILE_CACHE: join(tmpdir(), 'ndfs-planted-cache'),
      ...process.env,
      ...environment,
      NODE_TEST_CONTEXT: undefined,
    },
  })
  const silent = setTimeout(() => child.kill('SIGKILL'), silentMs)
  let complaints = ''
  child.stderr.on('data', (bytes: Buffer) => (complaints += bytes.toString()))
  const ended = new Promise<{ status: string; complaints: string }>((resolve) =>
    child.on('close', (code, signal) => {
      clearTimeout(silent)
      resolve({ status: signal ?? String(code), complaints })
    }),
  )
  return { stdout: child.stdout, ended, isAlive: () => void silent.refresh() }
}

/** What caught it, in a few words: the invariant, by the checker that names it or by the check that failed. */
export function caughtBy(failure: string): string {
  const message = failure.replace(/^seed \d+, at [\d.]+ ms: /, '')
  const [invariant] = /^I(?:10|[1-9])(?=: )/.exec(message) ?? []
  if (invariant !== undefined) return invariant
  const [, check] = checks.find(([pattern]) => pattern.test(message)) ?? [undefined, undefined]
  if (check !== undefined) return check
  const [named] = /\bI(?:10|[1-9])\b/.exec(message.split('\n', 1)[0]) ?? []
  return named === undefined ? 'an assertion in the code' : `${named}, by an assertion in the code`
}

const checks: readonly (readonly [RegExp, string])[] = [
  [/^c\/v\d+: /, 'I2, by the history'],
  [/a read of c\/v\d+ through/, 'I2, by bytes that nobody wrote'],
  [/was told by c\/v\d+/, 'I5, by an error that a guest was told'],
  [/map, groups and files agree/, 'I3, by map, groups and files at rest'],
  [/nothing is left of deleted/, 'I7, by what is left of deleted vDisks'],
  [/idle vDisks are given up/, 'progress: logs do not become empty'],
  [/Cannot (?:reach|serve) vDisk/, 'progress: nobody can serve the vDisk'],
  [/what was waited for did not happen/, 'progress: the cluster does not heal'],
  [/^the process ended/, 'the process ended'],
]
