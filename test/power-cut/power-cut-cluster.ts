/**
 * A cluster each of whose disks forgets what was not flushed when its power is cut: every NDFS disk has a device and a file
 * system of its own, and so has the machine's own disk, with the store, the configuration and the cluster's names.
 *
 *   machine ──▶ DIR, store/, nodes/n1/node.json …
 *   n1-flash-0, n1-hdd-0 … ──▶ DIR/nodes/n1/disks/…
 *
 * Only logs for people lie elsewhere: they tell what happened before a cut.
 */
import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { markedProcesses } from '../../scripts/marked-processes.ts'
import { Cluster, isAlive } from '../support/cluster.ts'
import { run, until } from '../support/run.ts'
import {
  ForgetfulVolumes,
  unmountSoon,
  type CutReport,
  type FileSystem,
  type Volume,
} from './forgetful-volumes.ts'
import { Witnesses } from './witnesses.ts'

export const nodes = ['n1', 'n2', 'n3'] as const
const disks = ['flash', 'hdd'] as const
const MiB = 1024 * 1024
const diskBytes = 1024 * MiB
/** What a file system takes for itself, journal included. */
const volumeBytes = diskBytes + 320 * MiB
const machineBytes = 4096 * MiB
/** The cluster's processes bear it in their environment. */
const mark = 'NDFS_POWER_CUT'

export interface PowerCutOptions {
  readonly folder: string
  readonly seed: number
  readonly fileSystem: FileSystem
  /** Each cut forgets all that was not flushed. */
  readonly forgetAll: boolean
  /** A bug of sim/planted/ that the cluster's processes have. */
  readonly planted?: string
}

export class PowerCutCluster {
  readonly cluster: Cluster
  readonly witnesses: Witnesses
  readonly #volumes: ForgetfulVolumes
  readonly #machine: Volume
  readonly #disks: Volume[] = []
  readonly #logs: string
  readonly #mark: string
  readonly #fileSystem: FileSystem

  constructor({ folder, seed, fileSystem, forgetAll, planted }: PowerCutOptions) {
    this.#fileSystem = fileSystem
    this.#logs = join(folder, 'log')
    mkdirSync(this.#logs, { recursive: true })
    this.#volumes = new ForgetfulVolumes(folder, seed, forgetAll)
    this.#machine = { name: 'machine', fileSystem, path: join(folder, 'm'), sizeBytes: machineBytes }
    mkdirSync(this.#machine.path)
    this.witnesses = new Witnesses(join(this.#machine.path, 'witnesses'))
    this.cluster = new Cluster(this.#machine.path, 'c', {
      disks: disks.map((tier) => `${tier}:1GiB`),
      ...(planted === undefined ? {} : { planted }),
    })
    this.#mark = folder
    this.cluster.env[mark] = folder
  }

  /** The machine with an empty file system. Next is `powerOn`. */
  prepare(): Promise<void> {
    return this.#volumes.make(this.#machine)
  }

  /** Once the cluster was made and is down: gives each of its disks a device of its own. The power is off then. */
  async separateDisks(): Promise<void> {
    const { dir } = this.cluster
    for (const node of nodes)
      for (const name of disks.map((tier) => `${node}-${tier}-0`)) {
        const path = join(dir, 'nodes', node, 'disks', name)
        const volume = { name, fileSystem: this.#fileSystem, path, sizeBytes: volumeBytes }
        await this.#volumes.make(volume)
        const before = join(dir, `${name}.before`)
        // A node that finds no disk mounted must not find one that looks like it.
        renameSync(path, before)
        await this.#volumes.mount(volume)
        cpSync(before, path, { recursive: true })
        rmSync(before, { recursive: true })
        this.#disks.push(volume)
      }
    await unmountSoon(this.#logsInCluster)
    await this.#volumes.unmountAll()
  }

  /** The power is there again: the file systems come up. Next is `cluster.up`. */
  async powerOn(): Promise<void> {
    await this.#volumes.mount(this.#machine)
    this.witnesses.ask()
    await this.#mountLogs()
    for (const disk of this.#disks) await this.#volumes.mount(disk)
  }

  /** The power of everything fails at once. */
  cutEverything(): Promise<CutReport> {
    // Looked for before: a process that waits for its disk may make who looks at it wait too.
    const known = this.#processes()
    this.witnesses.leave()
    return this.#volumes.cut(
      this.#volumes.mounted.slice(),
      () => known.forEach(kill),
      async () => {
        await until(
          'all processes are gone',
          () => {
            const left = this.#processes()
            left.forEach(kill)
            return left.length === 0
          },
          30,
          10,
        )
        await unmountSoon(this.#logsInCluster)
      },
    )
  }

  /** The power of some nodes fails at one moment; the others go on, and so does the store. */
  async cutNodes(victims: readonly string[]): Promise<CutReport> {
    const pids = victims.map((node) => this.cluster.node(node).pid).filter((pid) => pid !== null)
    return this.#volumes.cut(
      this.#disks.filter(({ name }) => victims.includes(nodeOf(name))),
      () => pids.forEach(kill),
      () => until(`${victims.join(' and ')} are gone`, () => !pids.some(isAlive), 30, 10),
    )
  }

  /** Resolves when they serve. One of two may need the other for that: they start side by side. */
  async startNodes(victims: readonly string[]): Promise<void> {
    for (const disk of this.#disks) if (victims.includes(nodeOf(disk.name))) await this.#volumes.mount(disk)
    await Promise.all(victims.map((node) => this.cluster.startNode(node)))
  }

  /** Everything that runs is killed; what is mounted goes with this process. */
  end(): void {
    this.#processes().forEach(kill)
    this.#volumes.stop()
  }

  #processes(): number[] {
    return markedProcesses(mark, this.#mark).map(({ pid }) => pid)
  }

  get #logsInCluster(): string {
    return join(this.cluster.dir, 'log')
  }

  async #mountLogs(): Promise<void> {
    mkdirSync(this.#logsInCluster, { recursive: true })
    await run('mount', ['--bind', this.#logs, this.#logsInCluster])
  }
}

const nodeOf = (disk: string): string => disk.slice(0, disk.indexOf('-'))

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended since.
  }
}
