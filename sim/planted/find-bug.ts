/** Runs a planted bug's seeds in a process of its own, and says which one found it and what caught it. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { PlantedBug } from './planted-bug.ts'
import type { SeedTried } from './try-seeds.ts'

export interface Found {
  readonly bug: PlantedBug
  /** The seed that found it, or undefined where none did. */
  readonly seed: number | undefined
  readonly seeds: number
  readonly ms: number
  readonly failure: string
}

const tryScript = fileURLToPath(new URL('try-seeds.ts', import.meta.url))
/** A run that takes longer than this goes round in circles. */
const silentMs = 180_000

export async function findBug(
  bug: PlantedBug,
  first: number,
  count: number,
  { sound = false }: { readonly sound?: boolean } = {},
): Promise<Found> {
  const begun = performance.now()
  const child = spawn(
    process.execPath,
    [tryScript, bug.name, String(first), String(count), ...(sound ? ['--sound'] : [])],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let silent = setTimeout(() => child.kill('SIGKILL'), silentMs)
  const complaints: string[] = []
  child.stderr.on('data', (bytes: Buffer) => complaints.push(bytes.toString()))
  const ended = new Promise<string>((resolve) =>
    child.on('close', (code, signal) => resolve(signal ?? String(code))),
  )
  let found: SeedTried | undefined
  let seeds = 0
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(silent)
    silent = setTimeout(() => child.kill('SIGKILL'), silentMs)
    const tried = JSON.parse(line) as SeedTried
    seeds++
    if (tried.failure !== undefined) found = tried
  }
  const status = await ended
  clearTimeout(silent)
  const result = { bug, seeds, ms: Math.round(performance.now() - begun) }
  if (found !== undefined) return { ...result, seed: found.seed, failure: found.failure ?? '' }
  if (status === '0') return { ...result, seed: undefined, failure: '' }
  // The bug ended the process, or made it go round in circles: nobody could miss that either.
  if (seeds === 0 && status === '1')
    throw new Error(`${bug.name} could not be tried:\n${complaints.join('')}`)
  return {
    ...result,
    seeds: seeds + 1,
    seed: first + seeds,
    failure: `the process ended: ${status}\n${complaints.join('')}`,
  }
}

/** What caught it, in a few words: the invariant by its number where the failure names one, else the check. */
export function caughtBy(failure: string): string {
  const message = failure.replace(/^seed \d+, at [\d.]+ ms: /, '')
  const invariant = /\bI(?:10|[1-9])\b/.exec(message.split('\n', 1)[0])?.[0]
  const [, check] = checks.find(([pattern]) => pattern.test(message)) ?? [
    undefined,
    'an assertion in the code',
  ]
  return invariant === undefined ? check : `${invariant}: ${check}`
}

const checks: readonly (readonly [RegExp, string])[] = [
  [/^c\/v\d+: /, 'I2: the history is not possible'],
  [/a read of c\/v\d+ through/, 'I2: bytes that nobody wrote'],
  [/was told by c\/v\d+/, 'I5: a guest was told of an error'],
  [/map, groups and files agree/, 'I3: map, groups and files at rest'],
  [/nothing is left of deleted/, 'I7: what is left of deleted vDisks'],
  [/idle vDisks are given up/, 'progress: the logs do not become empty'],
  [/what was waited for did not happen/, 'progress: the cluster does not heal'],
  [/^the process ended/, 'the process ended'],
]
