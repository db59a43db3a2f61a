/**
 * `node sim/planted/try-seeds.ts NAME FIRST COUNT [--sound]`: runs seeds with one planted bug, one after the other, until
 * one fails; `--sound` leaves the bug out. A process of its own for each bug, since a patch is there for good. A line of JSON
 * tells of each seed: a `SeedTried`.
 */
import { parseArgs } from 'node:util'
import { installPatches } from '../patches/source-patch.ts'
import { bugNamed } from './bugs.ts'

export interface SeedTried {
  readonly seed: number
  readonly ms: number
  /** Why the run failed; undefined where it did not. */
  readonly failure?: string
}

const { values, positionals } = parseArgs({
  options: { sound: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const [name, first, count] = positionals
const bug = bugNamed(name)
const patches = installPatches(values.sound ? [] : bug.patches)
const { simulate } = await import('../simulate.ts')
patches.applied()

for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  const begun = performance.now()
  const failure = await simulate({ seed, plan: bug.plan ?? {} }).then(
    () => undefined,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )
  const ms = Math.round(performance.now() - begun)
  const tried: SeedTried = { seed, ms, ...(failure === undefined ? {} : { failure }) }
  console.log(JSON.stringify(tried))
  if (failure !== undefined) break
}
