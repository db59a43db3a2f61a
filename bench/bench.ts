/**
 * `npm run bench`: first figures. fio over the Unix socket of a node that owns the vDisk, two copies, three nodes on this
 * machine, and beside them, on the same disk and in the same minutes, what that disk does by itself: figures of two
 * machines, or of two hours, are not to be compared. Prints a table, and writes all of it to bench-results/.
 *
 * Options: --seconds N for each figure (10), --dir DIR, on the disk to be measured (the system's folder for temporary files).
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { withCluster, type Cluster } from '../test/support/cluster.ts'
import { fio, type FioSide } from '../test/support/fio.ts'
import { appendReference } from './append-reference.ts'

interface Figure extends FioSide {
  readonly name: string
  readonly unit: 'requests/s' | 'MB/s'
}

const workingSet = '512m'
/** As large as the disks of three nodes easily hold twice. */
const vdiskSize = '2GiB'

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '10' }, dir: { type: 'string', default: tmpdir() } },
})
const seconds = Number(values.seconds)

async function measure(cluster: Cluster): Promise<Figure[]> {
  const figures: Figure[] = []
  const vdisk = await cluster.createVDisk(vdiskSize)
  const uri = cluster.unix('n1', vdisk)
  const folder = cluster.scratch
  const job = async (
    name: string,
    side: 'reads' | 'writes',
    unit: Figure['unit'],
    ...options: string[]
  ): Promise<void> => {
    const timed = ['time_based', `runtime=${seconds}`, ...options]
    const report = await fio({ uri, options: timed, seconds: seconds + 60, folder })
    keep(name, unit, report[side])
  }
  const keep = (name: string, unit: Figure['unit'], side: FioSide): void => {
    const figure = { name, unit, ...side }
    figures.push(figure)
    console.log(row(figure))
  }
  console.log(row())
  keep(
    'O_DSYNC append on the disk itself, one stream, 4 KiB',
    'requests/s',
    await appendReference(folder, seconds),
  )
  await job('sequential write, 1 MiB, d8', 'writes', 'MB/s', 'rw=write', 'bs=1m', 'iodepth=8', 'size=1g')
  await job(
    'random write, 4 KiB, d1',
    'writes',
    'requests/s',
    'rw=randwrite',
    'bs=4k',
    'iodepth=1',
    'size=1g',
    'norandommap',
  )
  await job(
    'random write, 4 KiB, d32',
    'writes',
    'requests/s',
    'rw=randwrite',
    'bs=4k',
    'iodepth=32',
    'size=1g',
    'norandommap',
  )
  keep('O_DSYNC append, once more', 'requests/s', await appendReference(folder, seconds))
  await cluster.drained(vdisk, 180)

  // From the disk: a cache that is much smaller than what is read.
  await cluster.ndfs('node', 'set', 'n1', '--cache', '16MiB')
  await job(
    'random read from the disk, 4 KiB, d1',
    'reads',
    'requests/s',
    'rw=randread',
    'bs=4k',
    'iodepth=1',
    'size=1g',
    'norandommap',
  )
  await job(
    'random read from the disk, 4 KiB, d32',
    'reads',
    'requests/s',
    'rw=randread',
    'bs=4k',
    'iodepth=32',
    'size=1g',
    'norandommap',
  )
  await job('sequential read, 1 MiB, d8', 'reads', 'MB/s', 'rw=read', 'bs=1m', 'iodepth=8', 'size=1g')

  // From memory: all that is read fits, and was read before.
  await cluster.ndfs('node', 'set', 'n1', '--cache', '2GiB')
  await fio({ uri, options: ['rw=read', 'bs=1m', 'iodepth=8', `size=${workingSet}`], seconds: 120, folder })
  for (const depth of [1, 32, 128])
    await job(
      `random read from the cache, 4 KiB, d${depth}`,
      'reads',
      'requests/s',
      ...['rw=randread', 'bs=4k', `iodepth=${depth}`, `size=${workingSet}`, 'norandommap'],
    )
  return figures
}

/** A line of the table; without a figure its head. */
function row(figure?: Figure): string {
  const cells =
    figure === undefined
      ? ['', 'rate', '', 'mean µs', 'p99 µs']
      : [
          figure.name,
          figure.unit === 'MB/s' ? (figure.bytesPerSecond / 1e6).toFixed(0) : figure.iops.toFixed(0),
          figure.unit,
          figure.meanMicroseconds.toFixed(0),
          figure.p99Microseconds.toFixed(0),
        ]
  const [name, rate, unit, mean, p99] = cells
  return `${name.padEnd(56)}${rate.padStart(9)} ${unit.padEnd(11)}${mean.padStart(9)}${p99.padStart(9)}`
}

const said = (command: string, ...args: string[]): string => {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

async function main(): Promise<void> {
  const root = mkdtempSync(join(values.dir, 'ndfs-bench-'))
  process.env.NDFS_TEST_ROOT = root
  const machine = {
    processors: `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}`,
    memoryBytes: totalmem(),
    kernel: release(),
    disk: said('df', '--output=source,fstype', root).split('\n').at(-1),
    load: readFileSync('/proc/loadavg', 'utf8').trim(),
  }
  const versions = { node: process.version, fio: said('fio', '--version') }
  const commit =
    said('git', 'rev-parse', 'HEAD') + (said('git', 'status', '--porcelain') === '' ? '' : ' and changes')
  console.log(
    `${machine.processors}, ${machine.disk}, load ${machine.load}; ${versions.node}, ${versions.fio}; ${commit}`,
  )
  try {
    let figures: Figure[] = []
    await withCluster({ disks: ['flash:8GiB', 'hdd:8GiB'] }, async (cluster) => {
      figures = await measure(cluster)
    })
    const at = new Date().toISOString()
    mkdirSync('bench-results', { recursive: true })
    const file = join('bench-results', `${at.replaceAll(':', '-')}.json`)
    writeFileSync(
      file,
      `${JSON.stringify({ at, commit, machine, versions, seconds, figures }, undefined, 2)}\n`,
    )
    console.log(`Written to ${file}.`)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

await main()
