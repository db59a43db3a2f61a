/**
 * `npm run bench:streams`: eight guests write and then read in sequence, each a vDisk of its own, over three nodes with one disk each that
 * moves 100 MB/s (R22). With two copies the disks together should take half of their sum in writes, and give all of it in reads.
 *
 * The same disks are measured before by themselves, with fio on a file of each. For root: see throttled-volumes.ts.
 *
 * Options: --seconds N of each (20), --megabytes N a second for each disk (100), --dir DIR for the disks' images.
 */
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { Cluster } from '../test/support/cluster.ts'
import { fio } from '../test/support/fio.ts'
import { pidsOf } from '../test/support/processor-time.ts'
import { dropCaches } from './drop-caches.ts'
import { meets, type Judged } from './goals.ts'
import { installPackages } from './install-packages.ts'
import { circumstances, machineAndCommit } from './machine.ts'
import { keepResults } from './results.ts'
import { withScratch } from './scratch.ts'
import { goalsTable } from './table.ts'
import { ThrottledVolumes } from './throttled-volumes.ts'

const GiB = 1024 ** 3
const streams = 8
const nodes = 3
const diskGiB = 11
/** Each is twice on the disks: together they fit, with room for what is overwritten meanwhile. */
const vdiskMiB = 512
const ofEach = ['bs=1m', 'iodepth=8', `size=${vdiskMiB}m`]

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '20' },
    megabytes: { type: 'string', default: '100' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const seconds = Number(values.seconds)
const diskBytesPerSecond = Number(values.megabytes) * 1e6
const timed = ['time_based', `runtime=${seconds}`]
const sum = (of: readonly number[]): number => of.reduce((total, each) => total + each, 0)
const text = (bytesPerSecond: number): string => `${(bytesPerSecond / 1e6).toFixed(0)} MB/s`

installPackages(
  'the jobs',
  { packages: ['fio', 'e2fsprogs', 'mount'], commands: ['fio', 'mkfs.ext4', 'losetup'] },
  (line) => console.log(line),
)
console.log(machineAndCommit())
await withScratch(values.dir, async (root, signal) => {
  const volumes = new ThrottledVolumes()
  const cluster = new Cluster(root, 'ndfs', { nodes, disks: [`flash:${diskGiB - 1}GiB`] })
  try {
    await cluster.up()
    const ids = cluster.nodes.map(({ id }) => id)
    await cluster.down()
    const folders = ids.map((id) => join(cluster.dir, 'nodes', id, 'disks', `${id}-flash-0`))
    folders.forEach((folder, i) => volumes.mountOver(folder, join(root, `disk${i}.img`), diskGiB * GiB))
    volumes.throttle([process.pid], diskBytesPerSecond)
    const raw = await Promise.all(
      folders.map((folder) =>
        fio({
          place: ['ioengine=libaio', 'direct=1', `filename=${join(folder, 'raw.tmp')}`, 'unlink=1'],
          options: ['rw=write', ...ofEach, ...timed],
          seconds: seconds + 60,
          folder: root,
          signal,
        }),
      ),
    )
    const rawWrites = sum(raw.map(({ writes }) => writes.bytesPerSecond))
    console.log(`the disks by themselves: ${text(rawWrites)} in writes`)

    await cluster.up()
    volumes.throttle(pidsOf(cluster), diskBytesPerSecond)
    const uris: string[] = []
    for (let i = 0; i < streams; i++) {
      const id = ids[i % nodes]
      uris.push(cluster.unix(id, await cluster.createVDisk(`${vdiskMiB}MiB`, `stream${i}`)))
    }
    for (const id of ids) await cluster.ndfs('node', 'set', id, '--cache', '16MiB')
    const all = (options: readonly string[]): Promise<Awaited<ReturnType<typeof fio>>[]> =>
      Promise.all(uris.map((uri) => fio({ uri, options, seconds: 10 * seconds + 120, folder: root, signal })))
    // Once in full, so that what is read lies there, and nothing waits in the logs any more.
    await all(['rw=write', ...ofEach])
    const written = await all(['rw=write', ...ofEach, ...timed])
    for (let i = 0; i < streams; i++) await cluster.drained(`vms/stream${i}`, 300)
    dropCaches()
    const read = await all(['rw=read', ...ofEach, ...timed])
    const writes = sum(written.map((one) => one.writes.bytesPerSecond))
    const reads = sum(read.map((one) => one.reads.bytesPerSecond))
    const bound = nodes * diskBytesPerSecond
    const judged: Judged[] = [
      { name: 'reads', against: 'the sum of the disks', ratio: reads / bound, wanted: { atLeast: 0.9 } },
      { name: 'writes', against: 'half of that', ratio: writes / (bound / 2), wanted: { atLeast: 0.9 } },
    ].map((goal) => ({ ...goal, met: meets(goal.ratio, goal.wanted) }))
    console.log(
      `${streams} streams: ${text(writes)} in writes, ${text(reads)} in reads\n\n${goalsTable(judged)}`,
    )
    const file = keepResults('streams', {
      ...circumstances(root),
      seconds,
      diskBytesPerSecond,
      rawWrites,
      written,
      read,
      judged,
    })
    console.log(`Written to ${file}.`)
  } finally {
    await cluster.end()
    volumes.end()
  }
})
