/** NDFS itself: three nodes as processes, two copies, a vDisk over the Unix socket of a node, which then owns it. */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Cluster } from '../test/support/cluster.ts'
import { pidsOf } from '../test/support/processor-time.ts'
import { imageMiB, type Job, type JobId } from './jobs.ts'
import { residentBytes } from '../test/support/resident-memory.ts'
import type { Engines } from '../scripts/engines/engines.ts'
import type { Resident, Target, TargetName, TargetNotes } from './target.ts'

export interface NdfsOptions {
  readonly vdiskMiB?: number
  readonly disks?: readonly string[]
  /** They hold the metadata, and run already. */
  readonly engines?: Engines
}

const servedBy = 'n1'
/** So little that what is read comes from the disk. */
const cacheCold = '16MiB'
const cacheWarm = '2GiB'
const drainSecondsMax = 600

export class Ndfs implements Target {
  readonly name: TargetName
  readonly jobs: readonly JobId[] = [
    'sequential-write',
    'sequential-read',
    'random-read-d1',
    'random-read-d32',
    'cached-read-d1',
    'cached-read-d32',
    'cached-read-d128',
    'random-write-d1',
    'random-write-d32',
    'shifted-write-d32',
    'mix-d32',
  ]
  readonly notes: TargetNotes = {
    version: `Node.js ${process.version}`,
    setup: `three nodes, two copies, extent cache ${cacheCold} for reads from the disk and ${cacheWarm} for reads from memory, fio by NBD over a Unix socket`,
    durable: 'each write is on stable media of two nodes before it is acknowledged',
  }
  readonly #root: string
  readonly #folder: string
  readonly #cluster: Cluster
  readonly #vdiskMiB: number
  #vdisk = ''
  #cache = ''

  constructor(folder: string, options: NdfsOptions = {}) {
    const { vdiskMiB = imageMiB, disks = ['flash:8GiB', 'hdd:8GiB'], engines } = options
    this.name = engines === undefined ? 'NDFS' : 'NDFS on engines'
    this.#root = folder
    this.#vdiskMiB = vdiskMiB
    this.#folder = engines === undefined ? 'ndfs' : 'engined'
    this.#cluster = new Cluster(folder, this.#folder, {
      disks,
      ...(engines === undefined ? {} : { engines }),
    })
  }

  async start(): Promise<void> {
    await this.#cluster.up()
    this.#vdisk = await this.#cluster.createVDisk(`${this.#vdiskMiB}MiB`)
  }

  async place({ from }: Pick<Job, 'from'>): Promise<readonly string[]> {
    const cache = from === 'memory' ? cacheWarm : cacheCold
    if (cache !== this.#cache) await this.#cluster.ndfs('node', 'set', servedBy, '--cache', cache)
    this.#cache = cache
    return ['ioengine=nbd', `uri=${this.#cluster.unix(servedBy, this.#vdisk)}`]
  }

  /** What lies in the log is drained when it is twenty seconds old, or there is much of it. */
  secondsBesides({ id }: Job): number {
    return id.includes('write') || id === 'mix-d32' ? 20 : 0
  }

  async settled(): Promise<void> {
    await this.#cluster.drained(this.#vdisk, drainSecondsMax)
  }

  pids(): readonly number[] {
    return pidsOf(this.#cluster)
  }

  async memory(): Promise<readonly Resident[]> {
    return Promise.all(
      this.#cluster.nodes.map(async ({ id, pid }) => {
        if (pid === null) throw new Error(`Cannot tell the memory of node ${id}: it has ended.`)
        const { cache } = await this.#cluster.nodeInfo(id)
        const cacheBytes = cache?.usedBytes ?? 0
        return { process: `node ${id}`, bytes: residentBytes(pid) - cacheBytes, cacheBytes }
      }),
    )
  }

  /** What extent groups take on all disks, as the file systems count it. */
  groupBytes(): number {
    const folders = this.#cluster.nodes.flatMap(({ id }) => {
      const disks = join(this.#cluster.dir, 'nodes', id, 'disks')
      return readdirSync(disks).map((disk) => join(disks, disk, 'groups'))
    })
    const lines = execFileSync('du', ['-s', '--block-size=1', ...folders.filter((one) => existsSync(one))], {
      encoding: 'utf8',
    })
    return lines
      .trim()
      .split('\n')
      .reduce((sum, line) => sum + Number(line.split('\t')[0]), 0)
  }

  async stop(): Promise<void> {
    await this.#cluster.end()
    for (const name of [this.#folder, `${this.#folder}.config`])
      rmSync(join(this.#root, name), { recursive: true, force: true, maxRetries: 3 })
  }
}
