/**
 * A cluster for a test: real processes, started with `ndfs up --detach` in a folder of their own, on ports that are free.
 *
 * `withCluster` sees to it that nothing stays behind, whatever happens in the test. When it fails, the last lines of each
 * process's log are printed, and the logs are kept in test-results/.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { ClusterFile, ClusterFileNode } from '../../src/local/local.ts'
import type { DiskInfo, NodeInfo, VDiskInfo } from '../../src/management/management.ts'
import type { Engines } from '../../scripts/engines/engines.ts'
import { withDrainRequests } from './drain-request.ts'
import { keepLogs, lastWords } from './logs.ts'
import type { Namespaces } from './namespaces.ts'
import { run, Service, tryRun, until, type Finished } from './run.ts'

export interface ClusterOptions {
  readonly nodes?: number
  /** For each node, as the command line takes them. */
  readonly disks?: readonly string[]
  /** Further words for `ndfs up`. */
  readonly up?: readonly string[]
  /** They hold the metadata, in place of a store of the machine. */
  readonly engines?: Engines
  /** A bug of sim/planted/ that all of its processes have; they run from the source then, where it can be planted. */
  readonly planted?: string
  /** As many as there are nodes: each has its process and its address in one of them. */
  readonly namespaces?: Namespaces
}

const project = join(import.meta.dirname, '../..')
export const ndfsProgram = process.env.NDFS_PROGRAM ?? join(project, 'dist/cli/ndfs.js')
const programInNamespace = join(import.meta.dirname, 'ndfs-in-namespace.ts')
const usualDisks = ['flash:4GiB', 'hdd:8GiB']
const linesShown = 40
const upSeconds = 90

/** All clusters and files of a test lie here; socket paths must stay short. */
function newRoot(): { root: string; own: boolean } {
  const given = process.env.NDFS_TEST_ROOT
  return given === undefined
    ? { root: mkdtempSync(join(tmpdir(), 'ndfs-test-')), own: true }
    : { root: given, own: false }
}

export async function withCluster(
  options: ClusterOptions,
  work: (cluster: Cluster) => Promise<void>,
): Promise<void> {
  const { root, own } = newRoot()
  const name = `c${randomBytes(3).toString('hex')}`
  const cluster = new Cluster(root, name, options)
  try {
    await cluster.up()
    await work(cluster)
  } catch (error) {
    const kept = keepLogs(root, join(project, 'test-results'))
    console.error(
      `${lastWords(join(cluster.dir, 'log'), linesShown)}\nThe logs are kept in ${kept.join(' ')}`,
    )
    throw error
  } finally {
    try {
      await cluster.end()
    } finally {
      rmSync(own ? root : cluster.dir, { recursive: true, force: true, maxRetries: 3 })
    }
  }
}

export class Cluster {
  readonly dir: string
  /** For files of the test: gone with the cluster. */
  readonly scratch: string
  readonly env: NodeJS.ProcessEnv
  readonly #options: ClusterOptions
  readonly #services: Service[] = []
  readonly #program: string
  #ports: { http: number; nbd: number; nfs: number } | undefined

  constructor(root: string, name: string, options: ClusterOptions) {
    this.dir = join(root, name)
    this.scratch = join(root, `${name}.files`)
    this.#options = options
    mkdirSync(this.scratch, { recursive: true })
    this.env = { ...process.env, XDG_CONFIG_HOME: join(root, `${name}.config`) }
    for (const variable of ['NDFS_API', 'NDFS_TOKEN']) delete this.env[variable]
    if (options.namespaces !== undefined) this.env.NDFS_NAMESPACES = options.namespaces.prefix
    this.#program = options.namespaces === undefined ? ndfsProgram : programInNamespace
    if (options.planted === undefined) return
    this.#program = join(project, 'cli/ndfs.ts')
    this.env.NDFS_PLANTED_BUG = options.planted
    this.env.NODE_OPTIONS = `--import ${new URL('../../sim/planted/install-bug.ts', import.meta.url).href}`
  }

  get nodes(): readonly ClusterFileNode[] {
    return (JSON.parse(readFileSync(join(this.dir, 'cluster.json'), 'utf8')) as ClusterFile).nodes
  }

  node(id: string): ClusterFileNode {
    const found = this.nodes.find((node) => node.id === id)
    assert(found !== undefined, `there is no node ${id}`)
    return found
  }

  /** Starts it; again after `down`, or after all was killed. `more`: further words for `ndfs up`, this time. */
  async up(...more: string[]): Promise<void> {
    const { nodes = 3, disks = usualDisks, up = [], namespaces, engines } = this.#options
    this.#ports ??= {
      ...{ http: await freePorts(nodes), nbd: await freePorts(nodes), nfs: await freePorts(nodes) },
    }
    const { http, nbd, nfs } = this.#ports
    await this.ndfs(
      ...['up', '--detach', '--dir', this.dir, '--nodes', String(nodes)],
      ...['--http-port', String(http), '--nbd-port', String(nbd), '--nfs-port', String(nfs)],
      ...disks.flatMap((disk) => ['--disk', disk]),
      ...(namespaces === undefined || engines !== undefined
        ? []
        : ['--listen', `store=${namespaces.storeAddress}`]),
      ...(namespaces?.nodes ?? []).flatMap((node) => ['--listen', `${node}=${namespaces?.addressOf(node)}`]),
      ...(engines === undefined ? [] : ['--engines', this.enginesFile(engines)]),
      ...[...up, ...more],
    )
  }

  /** Each cluster has a place of its own in engines: its keyspace, and another one by any other `place`. */
  keyspace(place = ''): string {
    return `ndfs_${basename(this.dir)}${place}`
  }

  /** For `--engines`. */
  enginesFile({ zooKeeperAddresses, cassandraAddresses, cassandraPort }: Engines, place = ''): string {
    const file = join(this.scratch, `engines${place}.json`)
    const zookeeper = { servers: zooKeeperAddresses, chroot: `/ndfs/${basename(this.dir)}${place}` }
    const cassandra = {
      ...{ contactPoints: cassandraAddresses, port: cassandraPort },
      ...{ datacenter: 'dc1', keyspace: this.keyspace(place) },
    }
    writeFileSync(file, JSON.stringify({ version: 1, zookeeper, cassandra }))
    return file
  }

  async down(): Promise<void> {
    await this.ndfs('down', '--dir', this.dir)
  }

  /** Everything that a test started here is gone when it resolves. */
  async end(): Promise<void> {
    for (const service of this.#services.splice(0).reverse()) await service.stop()
    const { code, stderr } = await this.tryNdfs('down', '--dir', this.dir)
    rmSync(this.scratch, { recursive: true, force: true })
    assert(code === 0 || !existsSync(this.dir), `ndfs down failed: ${stderr}`)
  }

  /** What the command printed. Commands of the API are told the directory, so that they need no `--dir`. */
  ndfs(...args: string[]): Promise<string> {
    return run(process.execPath, [this.#program, ...this.#located(args)], {
      env: this.env,
      seconds: upSeconds,
    })
  }

  tryNdfs(...args: string[]): Promise<Finished> {
    return tryRun(process.execPath, [this.#program, ...this.#located(args)], {
      env: this.env,
      seconds: upSeconds,
    })
  }

  async json<T>(...args: string[]): Promise<T> {
    return JSON.parse(await this.ndfs(...args, '--json')) as T
  }

  #located(args: readonly string[]): readonly string[] {
    return args.includes('--dir') || args.includes('--api') ? args : [...args, '--dir', this.dir]
  }

  /** A container and a vDisk in it. Resolves to `container/name`. */
  async createVDisk(size: string, name = 'disk1', container = 'vms'): Promise<string> {
    const { code } = await this.tryNdfs('container', 'show', container)
    // Whoever reaches a node at an address of its own comes without TLS in tests, unless they are about that.
    const { namespaces } = this.#options
    const allow = namespaces === undefined ? [] : ['--nbd-allow', namespaces.network]
    if (code !== 0) await this.ndfs('container', 'create', container, ...allow)
    await this.ndfs('vdisk', 'create', `${container}/${name}`, '--size', size)
    return `${container}/${name}`
  }

  vdisk(name: string): Promise<VDiskInfo> {
    return this.json<VDiskInfo>('vdisk', 'show', name)
  }

  disks(): Promise<DiskInfo[]> {
    return this.json<DiskInfo[]>('disk', 'list')
  }

  nodeInfo(id: string): Promise<NodeInfo> {
    return this.json<NodeInfo>('node', 'show', id)
  }

  /** The owner once there is one: whoever serves the first request becomes it. */
  async owner(vdisk: string): Promise<string> {
    let owner: string | undefined
    await until(`${vdisk} has an owner`, async () => (owner = (await this.vdisk(vdisk)).owner) !== undefined)
    assert(owner !== undefined)
    return owner
  }

  async someOther(...than: string[]): Promise<string> {
    const other = this.nodes.find(({ id, pid }) => !than.includes(id) && pid !== null)
    assert(other !== undefined, 'no other node runs')
    return other.id
  }

  /** Resolves when its log holds nothing that isn't in the extent store too. */
  async drained(vdisk: string, seconds = 60): Promise<void> {
    await until(
      `${vdisk} is drained`,
      async () => (await this.vdisk(vdisk)).undrainedBytes === 0,
      seconds,
      200,
    )
  }

  /** Has it drained, and waits until it is; what its owner is asked in vain is asked of the next one. */
  drain(vdisk: string, seconds = 60): Promise<void> {
    return withDrainRequests(this.dir, (ask) =>
      until(
        `${vdisk} is drained`,
        async () => {
          const shown = await this.vdisk(vdisk).catch((error: unknown) => {
            // While it moves from one owner to the next nobody knows how much is in its log, and we are told to ask again.
            if (!String(error).includes('no node owns it now')) throw error
            return undefined
          })
          if (shown === undefined) return false
          const { id, owner, undrainedBytes } = shown
          if (undrainedBytes !== 0 && owner !== undefined)
            await ask(owner, (await this.nodeInfo(owner)).addresses.peer, id).catch(() => undefined)
          return undrainedBytes === 0
        },
        seconds,
        200,
      ),
    )
  }

  /** An export by the node's TCP port, or by its Unix socket. */
  tcp(node: string, vdisk: string): string {
    return `nbd://${this.node(node).nbd.address}/${vdisk}`
  }
  unix(node: string, vdisk: string): string {
    return `nbd+unix:///${vdisk}?socket=${this.node(node).nbd.socket}`
  }

  /** Signals the node's process, and with KILL waits until it is gone. */
  async kill(node: string, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { pid } = this.node(node)
    assert(pid !== null, `${node} does not run`)
    process.kill(pid, signal)
    if (signal === 'SIGKILL') await until(`${node} is gone`, () => !isAlive(pid))
  }

  /** Zeus and Medusa; `up` starts it again. */
  async killStore(): Promise<void> {
    const { pid } = JSON.parse(readFileSync(join(this.dir, 'store/process.json'), 'utf8')) as { pid: number }
    process.kill(pid, 'SIGKILL')
    await until('the store is gone', () => !isAlive(pid))
  }

  /** KILL for all of the cluster's processes at once, the store and `up` too. */
  async killAll(): Promise<void> {
    const pids = ['up.json', 'store/process.json', ...this.nodes.map(({ id }) => `nodes/${id}/process.json`)]
      .map((file) => join(this.dir, file))
      .filter((path) => existsSync(path))
      .map((path) => (JSON.parse(readFileSync(path, 'utf8')) as { pid: number }).pid)
      .filter(isAlive)
    // `up` first: it would start the store again.
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    await until('all processes are gone', () => !pids.some(isAlive))
  }

  /** Resolves when the node serves. */
  async startNode(node: string): Promise<void> {
    await this.ndfs('node', 'start', node)
  }

  /** A program that runs until the cluster is ended. */
  service(command: string, args: readonly string[]): Service {
    const service = new Service(command, args, this.env)
    this.#services.push(service)
    return service
  }

  /** `ndfs connect`: resolves to the URI once it serves. `more`: further words for it. */
  async connect(
    vdisk: string,
    ...more: string[]
  ): Promise<{ readonly uri: string; readonly socket: string }> {
    const socket = join(this.scratch, `${vdisk.replaceAll('/', '-')}.sock`)
    const args = [this.#program, 'connect', vdisk, '--socket', socket, '--dir', this.dir, ...more]
    const service = this.service(process.execPath, args)
    await service.until('its socket is there', () => existsSync(socket))
    return { uri: `nbd+unix:///${vdisk}?socket=${socket}`, socket }
  }

  /** One number of the node's `GET /metrics`; those of several label sets that have `labels` are summed. */
  async metric(node: string, name: string, labels = ''): Promise<number> {
    const text = await (await fetch(`http://${this.node(node).http}/metrics`)).text()
    const lines = text
      .split('\n')
      .filter((line) => new RegExp(`^${name}[{ ]`).test(line) && line.includes(labels))
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  /** The same, over all nodes that run. */
  async metricOfAll(name: string, labels = ''): Promise<number> {
    const running = this.nodes.filter(({ pid }) => pid !== null)
    const values = await Promise.all(running.map(({ id }) => this.metric(id, name, labels)))
    return values.reduce((sum, value) => sum + value, 0)
  }
}

/** A process that has ended and that nobody has looked at yet counts as gone. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !['Z', 'X'].includes(stat.slice(stat.lastIndexOf(')') + 2)[0])
  } catch {
    return false
  }
}

/** Below those that the system gives to clients, so that none of them is taken in between. */
const portMin = 12_000
const portMax = 32_000

/** The first of `count` ports in a row on which nobody listens. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = portMin + Math.floor(Math.random() * (portMax - portMin - count))
    const free = await Promise.all(Array.from({ length: count }, (_, index) => isFree(first + index)))
    if (free.every(Boolean)) return first
  }
}

export const isFree = (port: number, address = '127.0.0.1'): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })
