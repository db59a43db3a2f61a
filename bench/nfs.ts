/**
 * `npm run bench:nfs`: files over NFS, beside nfs-ganesha on a folder of the same disk, in the same run and in turn.
 *
 * The client is QEMU's own (`qemu-img bench`): an image of 1 GiB, written full from its beginning before each round, 4 KiB at steps of 68 KiB, or 1 MiB
 * after the other, before the round's writes have scattered a third of its pages and behind them; what is read comes from memory on both sides. NDFS answers a WRITE when it is on stable media of two nodes; nfs-ganesha has one copy, and
 * answers when the kernel has it. Then, of NDFS alone, files made by 32 calls at once, and the listing of a directory (READDIRPLUS).
 *
 * Options: --rounds N (3), --files N for the directory (20,000), --dir DIR on the disk to be measured. For root on Debian.
 */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { Cluster } from '../test/support/cluster.ts'
import { pidsOf, processorSeconds } from '../test/support/processor-time.ts'
import { run } from '../test/support/run.ts'
import { type Judged, meets } from './goals.ts'
import { installPackages } from './install-packages.ts'
import { circumstances, machineAndCommit } from './machine.ts'
import { measureDirectory } from './nfs-directory.ts'
import { Ganesha } from './peers/ganesha.ts'
import { keepResults } from './results.ts'
import { withScratch } from './scratch.ts'
import { goalsTable, table } from './table.ts'

const MiB = 1024 ** 2
const imageMiB = 1024
const stepBytes = 17 * 4096
/** Of the nodes: QEMU asks a port mapper, and each has its own. */
const addresses = ['127.0.0.11', '127.0.0.12', '127.0.0.13']
const listen = addresses.flatMap((address, i) => ['--listen', `n${i + 1}=${address}`])

interface Job {
  readonly name: string
  readonly writes: boolean
  readonly bytes: number
  readonly stepBytes: number
  readonly depth: number
  readonly count: number
  /** Of NDFS to nfs-ganesha, at least. */
  readonly wanted?: number
}

const largeReads = { writes: false, bytes: MiB, stepBytes: MiB, depth: 8, count: 8192, wanted: 0.85 } as const
const jobs: readonly Job[] = [
  { name: 'read 1 MiB d8, in order', ...largeReads },
  { name: 'read d32', writes: false, bytes: 4096, stepBytes, depth: 32, count: 200_000, wanted: 1 },
  { name: 'read d1', writes: false, bytes: 4096, stepBytes, depth: 1, count: 15_000 },
  { name: 'write d32', writes: true, bytes: 4096, stepBytes, depth: 32, count: 80_000, wanted: 0.65 },
  { name: 'write d1', writes: true, bytes: 4096, stepBytes, depth: 1, count: 5_000 },
  { name: 'read 1 MiB d8, scattered', ...largeReads },
]

const wholeImage: Job = {
  ...{ name: 'all', writes: false, bytes: MiB, stepBytes: MiB, depth: 8 },
  count: imageMiB,
}

interface Server {
  readonly name: string
  /** Words before a client's own. */
  readonly inside: readonly string[]
  url(file: string): string
  pids(): readonly number[]
}

interface Sample {
  readonly server: string
  readonly job: string
  readonly round: number
  /** Requests a second. */
  readonly rate: number
  readonly processorMicroseconds: number
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    files: { type: 'string', default: '20000' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const rounds = Number(values.rounds)

const client = ({ inside }: Server, ...words: readonly string[]): Promise<string> => {
  const [command, ...args] = [...inside, ...words]
  return run(command, args, { seconds: 600 })
}

async function measure(server: Server, job: Job, round: number): Promise<Sample> {
  const before = processorSeconds(server.pids())
  const said = await client(
    server,
    ...['qemu-img', 'bench', '-f', 'raw', '-t', 'none', ...(job.writes ? ['-w'] : [])],
    ...['-c', String(job.count), '-d', String(job.depth), '-s', String(job.bytes)],
    ...['-S', String(job.stepBytes), server.url('disk.raw')],
  )
  const seconds = Number(/completed in ([\d.]+) seconds/.exec(said)?.[1])
  const spent = processorSeconds(server.pids()) - before
  return {
    ...{ server: server.name, job: job.name, round },
    rate: job.count / seconds,
    processorMicroseconds: (spent * 1e6) / job.count,
  }
}

/** All of it in sequence, and once through it: from then on it lies in memory. */
async function fill(server: Server): Promise<void> {
  for (let at = 0; at < imageMiB; at += 64)
    await client(server, 'qemu-io', '-f', 'raw', '-c', `write -q -P 7 ${at}M 64M`, server.url('disk.raw'))
  await measure(server, wholeImage, 0)
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]

function medianOf(
  samples: readonly Sample[],
  server: string,
  job: string,
  of: 'rate' | 'processorMicroseconds',
) {
  return median(samples.filter((one) => one.server === server && one.job === job).map((one) => one[of]))
}

const text = ({ bytes }: Job, rate: number): string =>
  bytes < MiB ? Math.round(rate).toLocaleString('en-US') : `${((rate * bytes) / 1e6).toFixed(0)} MB/s`

installPackages(
  'the clients',
  { packages: ['qemu-utils', 'qemu-block-extra', 'iproute2'], commands: ['qemu-img', 'ip'] },
  console.log,
)
installPackages(
  'nfs-ganesha',
  { packages: ['nfs-ganesha-vfs', 'rpcbind'], commands: ['ganesha.nfsd', 'rpcbind', 'rpcinfo'] },
  console.log,
)
console.log(machineAndCommit())
await withScratch(values.dir, async (root, signal) => {
  const cluster = new Cluster(root, 'ndfs', { disks: ['flash:8GiB'], up: ['--portmap', ...listen] })
  const ganesha = new Ganesha(root)
  try {
    await cluster.up()
    await cluster.ndfs('container', 'create', 'vms')
    const ndfs: Server = {
      name: 'NDFS',
      inside: [],
      url: (file) => `nfs://${addresses[0]}/vms/${file}`,
      pids: () => pidsOf(cluster),
    }
    await ganesha.start()
    const servers: readonly Server[] = [ndfs, ganesha]
    for (const server of servers)
      await client(server, 'qemu-img', 'create', '-q', '-f', 'raw', server.url('disk.raw'), `${imageMiB}M`)
    const samples: Sample[] = []
    for (let round = 1; round <= rounds; round++) {
      for (const server of servers) await fill(server)
      for (const job of jobs)
        for (const server of round % 2 === 1 ? servers : servers.toReversed()) {
          signal.throwIfAborted()
          const sample = await measure(server, job, round)
          samples.push(sample)
          console.log(
            `  round ${round}  ${server.name.padEnd(11)}  ${job.name.padEnd(24)} ${text(job, sample.rate).padStart(10)}, ${sample.processorMicroseconds.toFixed(0)} µs of processors each`,
          )
        }
    }
    const rows = jobs.flatMap((job) =>
      servers.map(({ name }) => [
        job.name,
        name,
        text(job, medianOf(samples, name, job.name, 'rate')),
        medianOf(samples, name, job.name, 'processorMicroseconds').toFixed(0),
      ]),
    )
    console.log(`\n${table(['job', 'server', 'a second', 'µs of processors each'], rows)}`)
    const judged: Judged[] = jobs.flatMap(({ name, wanted }) => {
      if (wanted === undefined) return []
      const ratio = medianOf(samples, 'NDFS', name, 'rate') / medianOf(samples, 'nfs-ganesha', name, 'rate')
      return [
        {
          name,
          against: 'nfs-ganesha',
          ratio,
          wanted: { atLeast: wanted },
          met: meets(ratio, { atLeast: wanted }),
        },
      ]
    })
    console.log(`\n${goalsTable(judged)}`)
    const address = cluster.node('n1').nfs?.address
    if (address === undefined) throw new Error('n1 serves no NFS')
    const directory = await measureDirectory(address, Number(values.files), signal)
    console.log(
      `\n${directory.files.toLocaleString('en-US')} files made, 32 calls at once: ${Math.round(directory.createsPerSecond).toLocaleString('en-US')} a second; ` +
        `listed (READDIRPLUS) in ${directory.listSeconds.toFixed(1)} s`,
    )
    const file = keepResults('nfs', { ...circumstances(root), rounds, samples, judged, directory })
    console.log(`Written to ${file}.`)
  } finally {
    await ganesha.stop()
    await cluster.end()
  }
})
