/**
 * `npm run soak:power-cut -- [--cuts N] [--seed N] [--file-system ext4|xfs] [--forget-all] [--no-streams] [--planted
 * NAME | --without-sync]`: a cluster of real processes on disks that forget what was not flushed, and N power cuts. Needs
 * root, for what it mounts; leaves nothing behind, also when it is interrupted.
 *
 *  1. After each cut every byte that was acknowledged is there: else it ends with 1 and says `LOST`, and which is not, or
 *     `FAILED` where the cluster did not come so far as to be asked.
 *  2. The seed draws the cuts, the places of the writes and what the disks forget; when things happen the machine decides.
 *  3. With a planted bug (sim/planted/) it must find a loss, or it would find none without. `--without-sync` plants "log is
 *     written without a sync", and leaves out what may hide it: streams, whose syncs also cover the log, and disks that
 *     forget only some of what was not flushed.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { installTestTools } from '../../scripts/install-test-tools.ts'
import { makerOf, type FileSystem } from './forgetful-volumes.ts'
import { runInside, whyNotHere } from './inside.ts'
import { cutPower } from './power-cuts.ts'

const project = join(import.meta.dirname, '../..')
/** Where this process runs inside its namespaces: the folder for all it makes. */
const insideVariable = 'NDFS_POWER_CUT_INSIDE'

const { values } = parseArgs({
  options: {
    cuts: { type: 'string', default: '100' },
    seed: { type: 'string' },
    'file-system': { type: 'string', default: 'ext4' },
    planted: { type: 'string' },
    'without-sync': { type: 'boolean', default: false },
    'forget-all': { type: 'boolean', default: false },
    'no-streams': { type: 'boolean', default: false },
  },
})
const cuts = Number(values.cuts)
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32))
const fileSystem = values['file-system'] as FileSystem
const withoutSync = values['without-sync']
const planted = withoutSync ? 'log is written without a sync' : values.planted
const forgetAll = withoutSync || values['forget-all']
const streams = !withoutSync && !values['no-streams']
if (!Number.isSafeInteger(cuts) || !Number.isSafeInteger(seed) || !['ext4', 'xfs'].includes(fileSystem))
  throw new Error('--cuts and --seed take whole numbers, --file-system takes ext4 or xfs')

/** What makes the same run. */
const again = [
  ...['--cuts', String(cuts), '--seed', String(seed), '--file-system', fileSystem],
  ...(forgetAll ? ['--forget-all'] : []),
  ...(streams ? [] : ['--no-streams']),
  ...(planted === undefined ? [] : ['--planted', planted]),
]

async function outside(): Promise<number> {
  installTestTools((line) => console.log(line))
  const why = whyNotHere(makerOf(fileSystem))
  if (why !== undefined) {
    console.error(`Cannot cut power here: ${why}.`)
    return 2
  }
  const folder = mkdtempSync(join(process.env.NDFS_TEST_ROOT ?? tmpdir(), 'power-'))
  const env = { ...process.env, [insideVariable]: folder }
  try {
    return await runInside([import.meta.filename, ...again], env)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function inside(folder: string): Promise<number> {
  const bug = planted === undefined ? '' : `, with the planted bug "${planted}"`
  console.log(`${cuts} power cuts from seed ${seed}, disks with ${fileSystem}${bug}`)
  const began = performance.now()
  const say = (line: string): void => {
    console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}`)
  }
  const result = await cutPower({
    ...{ folder, seed, cuts, fileSystem, forgetAll, streams, say },
    ...(planted === undefined ? {} : { planted }),
  })
  const MiB = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(0)} MiB`
  console.log(
    `${result.cuts} cuts: ${result.acknowledgedWrites} writes of ${MiB(result.acknowledgedBytes)} acknowledged, ` +
      `${result.unansweredWrites} unanswered; ${MiB(result.verifiedBytes)} read and compared; the disks' caches forgot ` +
      `${result.writesForgotten} writes, tore ${result.writesTorn}, and lost ${result.sectorsForgotten} sectors; ` +
      `of ${result.witnesses} files that nobody had synced ${result.witnessesForgotten} were gone`,
  )
  if (result.failure === undefined) {
    console.log('Every acknowledged byte is there.')
    return 0
  }
  console.log(result.failure)
  const words = again.map((word) => (word.includes(' ') ? `"${word}"` : word))
  console.log(`Replay: npm run soak:power-cut -- ${words.join(' ')}`)
  if (planted === undefined) {
    const kept = join(project, 'test-results', basename(folder))
    cpSync(join(folder, 'log'), kept, { recursive: true })
    console.log(`The processes' logs are kept in ${kept}`)
  }
  return 1
}

const folder = process.env[insideVariable]
if (folder === undefined) process.exit(await outside())
// Whoever started this one has gone: so do all that run in here.
process.stdin.on('end', () => process.exit(130)).resume()
process.exit(await inside(folder))
