/**
 * `npm run bench:curves`: how cost grows, with the size of a vDisk, the number of vDisks, fragmentation, the extent cache, and the number of
 * nodes. Nothing in the data path may grow with the size of the vDisk or of the cluster: at the end of each curve stands by how much each figure
 * grew from its first point to its last. bench/curves/measure-point.ts says what the figures are, curves.ts there which points there are.
 *
 * Each point takes one to three minutes, and is written to bench-results/ when it is there: what was measured of the same src/, with
 * the same options, is not measured again. So it may be stopped, and taken up where it was.
 *
 * Options: --curve NAME, repeatable (all); --points A,B,… of one curve; --operations N writes and reads at each point; --again measures what is
 * there already; --dir DIR on the disk to be measured (the system's folder for temporary files).
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { curves, shownSetup, usual } from './curves/curves.ts'
import { type Figures, measurePoint, type Setup } from './curves/measure-point.ts'
import { ndfsProgram } from '../test/support/cluster.ts'
import { machineAndCommit } from './machine.ts'

interface Kept {
  /** What was measured: figures of one source may stand in one curve. */
  readonly source: string
  readonly machine: string
  readonly setup: Setup
  readonly figures: Figures
}

/** Of the data path: what it may grow by from the first point to the last. Runs on one machine differ by up to 30 %. */
const growthMax = 1.3
const folder = 'bench-results'

const columns = {
  writeMicroseconds: 'write µs',
  coldReadMicroseconds: 'cold µs',
  warmReadMicroseconds: 'warm µs',
  claimMs: 'claim ms',
  openMs: 'open ms',
  idleMsPerSecond: 'idle ms/s',
  ownerMiB: 'owner MiB',
  otherMiB: 'other MiB',
  metadataBytesPerGiB: 'meta/GiB',
} as const satisfies Record<keyof Figures, string>
const figureNames = Object.keys(columns) as (keyof Figures)[]
const dataPath = ['writeMicroseconds', 'coldReadMicroseconds', 'warmReadMicroseconds'] as const

const { values } = parseArgs({
  options: {
    curve: { type: 'string', multiple: true },
    points: { type: 'string' },
    operations: { type: 'string' },
    again: { type: 'boolean', default: false },
    dir: { type: 'string', default: tmpdir() },
  },
})

const line = (head: string, cells: readonly string[]): string =>
  head.padEnd(10) + cells.map((cell) => cell.padStart(12)).join('')

const shown = (figure: number): string => figure.toFixed(figure < 10 ? 1 : 0)

const machine = machineAndCommit()
const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' }).trim()
/** Undefined where it has changes: then nothing that was measured before counts. */
const source =
  git('status', '--porcelain', 'src', 'cli') === '' ? git('rev-parse', '--short', 'HEAD:src') : undefined

const setupOf = (name: string, point: string): Setup => ({
  ...usual,
  ...curves[name].setup(point),
  ...(values.operations === undefined ? {} : { operations: Number(values.operations) }),
})

async function pointOf(name: string, point: string): Promise<Figures> {
  const setup = setupOf(name, point)
  const file = join(folder, `curve-${name}-${point}.json`)
  const kept = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Kept) : undefined
  const isSame =
    source !== undefined && kept?.source === source && JSON.stringify(kept.setup) === JSON.stringify(setup)
  if (isSame && !values.again) return kept.figures
  const root = mkdtempSync(join(values.dir, 'ndfs-curve-'))
  process.env.NDFS_TEST_ROOT = root
  const stop = (): never => stopEverything(root)
  process.on('SIGINT', stop).on('SIGTERM', stop)
  try {
    const figures = await measurePoint(setup)
    mkdirSync(folder, { recursive: true })
    const written: Kept = { source: source ?? 'with changes', machine, setup, figures }
    writeFileSync(file, `${JSON.stringify(written, undefined, 2)}\n`)
    return figures
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
    rmSync(root, { recursive: true, force: true })
  }
}

/** The processes of a cluster outlive who started them. */
function stopEverything(root: string): never {
  for (const name of readdirSync(root)) {
    const dir = join(root, name)
    if (existsSync(join(dir, 'ndfs.json')))
      spawnSync(process.execPath, [ndfsProgram, 'down', '--dir', dir], { stdio: 'ignore' })
  }
  rmSync(root, { recursive: true, force: true })
  process.exit(130)
}

/** What grew of the data path, though it must not. */
async function draw(name: string): Promise<string[]> {
  const { title, points: usualPoints } = curves[name]
  const points = values.points?.split(',') ?? usualPoints
  console.log(`\n${name}: ${title}\n${shownSetup(setupOf(name, points[0]))} at the first point`)
  console.log(line('', Object.values(columns)))
  const all: Figures[] = []
  for (const point of points) {
    const figures = await pointOf(name, point)
    all.push(figures)
    console.log(
      line(
        point,
        figureNames.map((figure) => shown(figures[figure])),
      ),
    )
  }
  const [first, last] = [all[0], all.at(-1)!]
  const growth = (figure: keyof Figures): number => last[figure] / first[figure]
  console.log(
    line(
      'growth',
      figureNames.map((figure) => `× ${growth(figure).toFixed(2)}`),
    ),
  )
  const grown = dataPath.filter((figure) => growth(figure) > growthMax)
  console.log(
    grown.length === 0
      ? `The data path does not grow: at most × ${growthMax} from ${points[0]} to ${points.at(-1)}.`
      : `The data path GROWS from ${points[0]} to ${points.at(-1)}: ${grown.map((figure) => columns[figure]).join(', ')}.`,
  )
  return grown.map((figure) => `${name}: ${columns[figure]}`)
}

const wanted = values.curve ?? Object.keys(curves)
const unknown = wanted.find((name) => curves[name] === undefined)
if (unknown !== undefined)
  throw new Error(`There is no curve ${unknown}. There are: ${Object.keys(curves).join(', ')}`)
if (values.points !== undefined && wanted.length !== 1)
  throw new Error('--points are those of one curve: name it with --curve')
console.log(machine)
const grown: string[] = []
for (const name of wanted) grown.push(...(await draw(name)))
for (const figure of grown) console.log(`MISSED ${figure}`)
process.exitCode = grown.length === 0 ? 0 : 1
