/**
 * GlusterFS from Debian's packages: its daemon, and three bricks as processes: two with data and an arbiter, which holds names and versions only,
 * so that two copies don't go different ways. An image is a file of the volume, by fio's gfapi engine.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isFree } from '../../test/support/cluster.ts'
import { until } from '../../test/support/run.ts'
import { answers, Daemons } from '../daemons.ts'
import type { Job, JobId } from '../jobs.ts'
import { said } from '../machine.ts'
import { residentBytes } from '../../test/support/resident-memory.ts'
import type { Resident, Target, TargetNotes } from '../target.ts'

/** Of its own, as fio's engine can name an address and no port; a GlusterFS of this machine may use the others. */
const address = '127.0.0.2'
const port = 24007
const volume = 'bench'
const bricks = ['brick1', 'brick2', 'arbiter']

/** Those that GlusterFS brings for disks of virtual machines (its group "virt"), without sharding, which one file does not need. */
const settings: Readonly<Record<string, string>> = {
  'performance.quick-read': 'off',
  'performance.read-ahead': 'off',
  'performance.io-cache': 'off',
  'performance.low-prio-threads': '32',
  'network.remote-dio': 'disable',
  'performance.strict-o-direct': 'on',
  // Else the client acknowledges from its own memory.
  'performance.write-behind': 'off',
  'performance.client-io-threads': 'on',
  'cluster.eager-lock': 'enable',
  'cluster.quorum-type': 'auto',
  'cluster.locking-scheme': 'granular',
  'cluster.lookup-optimize': 'off',
  'cluster.choose-local': 'off',
  'client.event-threads': '4',
  'server.event-threads': '4',
  'diagnostics.brick-log-level': 'WARNING',
  'diagnostics.client-log-level': 'WARNING',
}

export class GlusterFs implements Target {
  readonly name = 'GlusterFS'
  readonly jobs: readonly JobId[] = [
    'sequential-write',
    'sequential-read',
    'random-read-d32',
    'random-write-d1',
    'random-write-d32',
  ]
  readonly notes: TargetNotes = {
    version: said('glusterd', '--version').split('\n')[0],
    setup:
      "two bricks and an arbiter as three processes, files around the page cache, fio's gfapi engine, the settings that GlusterFS brings for disks of " +
      'virtual machines, no sharding, write-behind off',
    durable:
      'random writes at d1, which are sent with O_DSYNC; all others are acknowledged when two bricks have written them, which the disks may hold in their own caches',
  }
  readonly #folder: string
  readonly #daemons: Daemons

  constructor(root: string) {
    this.#folder = join(root, 'gluster')
    this.#daemons = new Daemons(this.#folder)
  }

  async start(): Promise<void> {
    if (!(await isFree(port, address)))
      throw new Error(
        `Cannot start GlusterFS: something listens on ${address}:${port}, and fio's engine knows no other port. ` +
          'End it, or leave GlusterFS out with --only.',
      )
    for (const name of ['', 'work', 'run', 'log']) mkdirSync(join(this.#folder, name))
    const volfile = join(this.#folder, 'glusterd.vol')
    writeFileSync(volfile, configuration(this.#folder))
    const log = join(this.#folder, 'log/glusterd.log')
    const words = ['--no-daemon', `--volfile=${volfile}`, `--log-file=${log}`]
    const pidFile = `--pid-file=${join(this.#folder, 'pid')}`
    const daemon = this.#daemons.start('glusterd', 'glusterd', ...words, pidFile)
    await daemon.until('it answers', () => answers(this.#gluster('pool', 'list')))
    const paths = bricks.map((brick) => `${address}:${join(this.#folder, brick)}`)
    await this.#gluster('volume', 'create', volume, 'replica', '3', 'arbiter', '1', ...paths, 'force')
    for (const [name, value] of Object.entries(settings))
      await this.#gluster('volume', 'set', volume, name, value)
    await this.#gluster('volume', 'start', volume)
    await until('the bricks of GlusterFS run', () => this.#bricks().length === bricks.length)
  }

  #gluster(...args: string[]): Promise<string> {
    const socket = `--glusterd-sock=${join(this.#folder, 'glusterd.socket')}`
    const log = `--log-file=${join(this.#folder, 'log/cli.log')}`
    return this.#daemons.tool('gluster', socket, log, '--mode=script', ...args)
  }

  async place({ id }: Pick<Job, 'id'>): Promise<readonly string[]> {
    const durable = id === 'random-write-d1' ? ['sync=dsync'] : []
    return ['ioengine=gfapi_async', `volume=${volume}`, `brick=${address}`, 'filename=image', ...durable]
  }

  /** gfapi waits ten seconds at its end, doing nothing, for what it believes to be under way: hence fewer jobs than with Ceph. */
  secondsBesides(): number {
    return 20
  }

  async settled(): Promise<void> {}

  pids(): readonly number[] {
    return this.#daemons.pids()
  }

  async memory(): Promise<readonly Resident[]> {
    return this.#bricks().map(({ pid, name }) => ({
      process: name,
      bytes: residentBytes(pid),
      cacheBytes: 0,
    }))
  }

  #bricks(): { readonly pid: number; readonly name: string }[] {
    return this.#daemons.all().flatMap(({ pid, command }) => {
      const name = bricks.find((brick) => command.includes('glusterfsd') && command.includes(`/${brick} `))
      return name === undefined ? [] : [{ pid, name }]
    })
  }

  async stop(): Promise<void> {
    // They lie outside of the folder, whatever the configuration says, and GlusterFS leaves them behind.
    const sockets = this.#daemons.all().flatMap(({ command }) => / -S (\S+\.socket)/.exec(command)?.[1] ?? [])
    await this.#daemons.stopAll()
    for (const path of [...sockets, this.#folder]) rmSync(path, { recursive: true, force: true })
  }
}

const configuration = (folder: string): string => `volume management
    type mgmt/glusterd
    option working-directory ${folder}/work
    option run-directory ${folder}/run
    option logging-directory ${folder}/log
    option glusterd-sockfile ${folder}/glusterd.socket
    option transport-type socket
    option transport.socket.bind-address ${address}
    option transport.socket.listen-port ${port}
    option max-port 60999
end-volume
`
