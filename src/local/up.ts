/**
 * `ndfs up`: a cluster on this machine, made at the first time, started again at every other.
 *
 * In this order: is the machine fit (doctor.ts), is the directory ours alone, what is in it (layout.ts), which ports
 * (ports.ts), what each process is told (node-config.ts), and then the processes (supervisor.ts). `up` has served its
 * purpose when all nodes serve; from then on it waits for the order to stop.
 */
import { mkdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { Platform } from '../platform/platform.ts'
import type { NodeInfo } from '../management/management.ts'
import { ask } from './api-client.ts'
import type { Child } from './child.ts'
import { clusterFileNode, encodeClusterFile } from './cluster-file.ts'
import { serveControl } from './control-socket.ts'
import { doctor } from './doctor.ts'
import { endNodeSession } from './end-node-session.ts'
import { formatClusterDisk, makeStoreFile } from './format-disk.ts'
import {
  existingCluster,
  layoutOf,
  nodesThere,
  nodesUsual,
  openOrMakeCluster,
  type Cluster,
  type Layout,
  type MakeStore,
} from './layout.ts'
import type { ClusterFileNode, Output, Program, UpOptions } from './local.ts'
import { LogFollower, readableLine } from './log-lines.ts'
import {
  cacheBytesUsual,
  configVersion,
  readLocalNodeConfig,
  readStoreConfig,
  type EnginesConfig,
  type LocalNodeConfig,
  readEnginesFile,
  type StoreConfig,
  writeWaitMaxMsUsual,
} from './node-config.ts'
import { everywhere, loopback, peerPortsAboveHttp, portMapperPort, portRange, type PortUse } from './ports.ts'
import { noteThisProcess, runningProcess } from './processes.ts'
import { chooseCopyFolder, copySmallFiles } from './store/copy-folder.ts'
import { movedPlacesIn } from './store/store-database.ts'
import { Supervisor } from './supervisor.ts'
import { giveTokenToUser, readToken, takeTokenFromUser } from './token.ts'
import { replaceJson } from './versioned-file.ts'
import { whenAborted } from './when-aborted.ts'

const nodesTimeoutMs = 5000

export interface Up {
  readonly layout: Layout
  /** Ends all that was started, nodes first, the store last. */
  stop(): Promise<void>
}

export interface UpOutput extends Output {
  /** Whether the processes' log lines are shown as well. */
  readonly followLogs: boolean
}

/** `stopped`: aborts when the order to stop comes; what was started by then is ended, and the promise rejects. */
export async function up(
  options: UpOptions,
  program: Program,
  platform: Platform,
  output: UpOutput,
  stopped: AbortSignal,
): Promise<Up> {
  const dir = resolve(options.dir)
  const layout = layoutOf(dir)
  await examine(dir, options.nodes ?? nodesUsual, output)
  await mkdir(layout.logs, { recursive: true })
  const lock = await takeDirectory(layout, platform)
  const undo: (() => Promise<void>)[] = [() => lock.release()]
  const stop = async (): Promise<void> => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    const { cluster, made } = await openOrMakeCluster(
      layout,
      { ...options, dir },
      platform,
      formatClusterDisk(platform),
      await storeMaker(options, platform, output, stopped),
    )
    output.line(`${made ? 'Made' : 'Opened'} the cluster ${cluster.clusterId} in ${dir}.`)
    const nodes = await configure(cluster, layout, options, platform, output)
    undo.push(await announce(layout, nodes, platform))
    await startProcesses({ layout, nodes, program, platform, output, stopped, undo })
    if (options.portmap) await warnOfPortMappers(nodes, output)
    printHowToUse(nodes, dir, output)
    return { layout, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Where the metadata of a new cluster begins. */
async function storeMaker(
  { engines }: UpOptions,
  platform: Platform,
  output: Output,
  stopped: AbortSignal,
): Promise<MakeStore> {
  if (engines === undefined) return makeStoreFile
  const places = await enginesIn(platform.files, resolve(engines))
  const { makeOnEngines } = await import('./move/move-metadata.ts')
  return (_, clusterId) => makeOnEngines(places, clusterId, platform, output, stopped)
}

async function examine(dir: string, nodes: number, output: Output): Promise<void> {
  const findings = await doctor(dir, nodes)
  for (const { state, text } of findings) if (state === 'warning') output.line(`Warning: ${text}`)
  const fatal = findings.filter(({ state }) => state === 'fatal')
  if (fatal.length > 0)
    throw new NdfsError(
      'REFUSED',
      `Cannot start a cluster here. ${fatal.map(({ text }) => text).join(' ')}`,
      { dir },
    )
}

async function takeDirectory(layout: Layout, { files }: Platform): Promise<{ release(): Promise<void> }> {
  const { dir } = layout
  const lock = await files.lock(dir)
  if (lock === undefined) {
    const other = await runningProcess(files, layout.upProcess)
    throw new NdfsError(
      'IN_USE',
      `Cannot start the cluster in ${dir}: another \`ndfs up\`${other ? ` (process ${other.pid})` : ''} uses it. ` +
        `Stop that one with \`ndfs down --dir ${dir}\`, or name another --dir.`,
      { dir },
    )
  }
  return lock
}

async function configure(
  cluster: Cluster,
  layout: Layout,
  options: UpOptions,
  { files, sockets }: Platform,
  output: Output,
): Promise<LocalNodeConfig[]> {
  refuseUnknownListeners(cluster, options)
  await refuseLeftovers(cluster, layout, files)
  const count = cluster.nodes.length
  const taken = new Set<number>()
  const range = async (use: PortUse, given?: number, usual?: number): Promise<number> => {
    const { first, moved } = await portRange(use, given, count, taken, sockets, usual)
    for (let port = first; port < first + count; port++) taken.add(port)
    if (moved && use !== 'peer')
      output.line(`The usual ports for ${use} are busy: the nodes take ${first} and up.`)
    return first
  }
  // What was asked for is given out before what may move.
  const given = { http: options.httpPort, nbd: options.nbdPort, nfs: options.nfsPort }
  const ports = { http: 0, nbd: 0, nfs: 0, peer: 0 }
  const uses = ['http', 'nbd', 'nfs'] as const
  for (const use of uses) if (given[use] !== undefined) ports[use] = await range(use, given[use])
  for (const use of uses) if (given[use] === undefined) ports[use] = await range(use)
  const storeIp = addressOf('store', options)
  // Behind those of the nodes there is one for the store.
  ports.peer = await range('peer', undefined, ports.http + peerPortsAboveHttp)
  const storeAddress = storeIp && `${storeIp}:${ports.peer + count}`

  const member = { id: cluster.clusterId, keyFile: layout.key }
  const copy = await placeStoreCopy(cluster, layout, options, files)
  const storeTls = (await readStoreConfig(files, layout.store.config).catch(absent))?.tls
  const store: StoreConfig = {
    version: configVersion,
    cluster: member,
    dir: layout.store.folder,
    socket: layout.storeSocket,
    ...(storeAddress === undefined ? {} : { listen: storeAddress }),
    ...(copy === undefined ? {} : { copy }),
    ...(storeTls === undefined ? {} : { tls: storeTls }),
  }
  await replaceJson(files, layout.store.config, store)
  const moved = movedPlacesIn(join(layout.store.folder, 'store.db')) as EnginesConfig | undefined
  const engines = options.engines === undefined ? moved : await enginesIn(files, resolve(options.engines))
  const there = await nodesThere(files, layout, cluster)
  return Promise.all(
    there.map(async ({ id, block, disks }): Promise<LocalNodeConfig> => {
      // Ports stay where they are, whichever nodes were removed.
      const index = cluster.nodes.findIndex((one) => one.id === id)
      const node = layout.node(id)
      const before = await readLocalNodeConfig(files, node.config).catch(absent)
      const ip = addressOf(id, options) ?? loopback
      const isAlone = cluster.nodes.every(
        (one) => one.id === id || (addressOf(one.id, options) ?? loopback) !== ip,
      )
      // Clients, and hypervisors above all, look for NFS at one port, which can be had once at each address.
      const nfsPort = isAlone ? ports.nfs : ports.nfs + index
      const config: LocalNodeConfig = {
        version: configVersion,
        cluster: member,
        node: id,
        block,
        dir: node.folder,
        storeSocket: layout.storeSocket,
        ...(storeAddress === undefined ? {} : { storeAddress }),
        listen: {
          http: `${ip}:${ports.http + index}`,
          peer: `${ip}:${ports.peer + index}`,
          nbd: `${ip}:${ports.nbd + index}`,
          nfs: `${ip}:${nfsPort}`,
          ...(options.nfsEverywhere ? { nfsEverywhere: `${everywhere}:${nfsPort}` } : {}),
          ...(options.portmap
            ? { portMapper: `${options.nfsEverywhere ? everywhere : ip}:${portMapperPort}` }
            : {}),
        },
        nbdSocket: node.nbdSocket,
        tokenFile: layout.token,
        disks: disks.map(({ id, tier, capacityBytes }) => ({ id, path: node.disk(id), tier, capacityBytes })),
        cacheBytes: options.cacheBytes ?? before?.cacheBytes ?? cacheBytesUsual,
        writeWaitMaxMs: options.writeWaitMaxMs ?? before?.writeWaitMaxMs ?? writeWaitMaxMsUsual,
        ...enginesOf(id, before, engines, moved !== undefined),
        ...(before?.oplogShare === undefined ? {} : { oplogShare: before.oplogShare }),
        ...(before?.tls === undefined ? {} : { tls: before.tls }),
        ...(before?.nbdTls === undefined ? {} : { nbdTls: before.nbdTls }),
      }
      await replaceJson(files, node.config, config)
      return config
    }),
  )
}

async function enginesIn(files: Platform['files'], file: string): Promise<EnginesConfig> {
  const { zookeeper, cassandra } = await readEnginesFile(files, file)
  return { zookeeper, cassandra }
}

/** What a cluster was made on, or moved to, is where its metadata is: these engines refuse nodes of any other. */
function enginesOf(
  node: string,
  before: LocalNodeConfig | undefined,
  engines: EnginesConfig | undefined,
  isMoved: boolean,
): { engines?: EnginesConfig } {
  if (before !== undefined && before.engines === undefined && engines !== undefined && !isMoved)
    throw new NdfsError(
      'REFUSED',
      `Cannot start ${node} on engines: its cluster was made with a store of this machine, which has its metadata. ` +
        'Leave --engines away, name another --dir, or move the metadata with `ndfs migrate-metadata`.',
      { node },
    )
  const now = engines ?? before?.engines
  return now === undefined ? {} : { engines: now }
}

const addressOf = (name: string, { listen }: UpOptions): string | undefined =>
  listen?.findLast((wish) => wish.name === name)?.address

function refuseUnknownListeners({ nodes }: Cluster, { listen = [] }: UpOptions): void {
  const names = [...nodes.map(({ id }) => id), 'store']
  const unknown = listen.find(({ name }) => !names.includes(name))
  if (unknown)
    throw new NdfsError(
      'REFUSED',
      `Cannot let ${unknown.name} listen on ${unknown.address}: there are ${names.join(', ')}.`,
    )
}

/** A second disk that fails is no reason not to start: the store says that it has no copy, and why. */
async function placeStoreCopy(
  cluster: Cluster,
  layout: Layout,
  { storeCopy }: UpOptions,
  files: Platform['files'],
): Promise<StoreConfig['copy']> {
  const before = await readStoreConfig(files, layout.store.config).catch(absent)
  const wish = storeCopy === undefined ? undefined : resolve(storeCopy)
  const copy = await chooseCopyFolder(layout, cluster, wish, before?.copy)
  if (copy !== undefined)
    await copySmallFiles(files, layout, copy.folder).catch((error: unknown) => {
      if (wish !== undefined) throw error
    })
  return copy
}

function absent(error: unknown): undefined {
  if (error instanceof NdfsError && error.code === 'NOT_FOUND') return undefined
  throw error
}

/** Nodes outlive an `up` that was killed. Two supervisors, or two stores, would be worse than a moment's rest. */
async function refuseLeftovers(cluster: Cluster, layout: Layout, files: Platform['files']): Promise<void> {
  const places = [
    ['store', layout.store.process],
    ...cluster.nodes.map(({ id }) => [id, layout.node(id).process]),
  ]
  for (const [name, path] of places) {
    const running = await runningProcess(files, path)
    if (running)
      throw new NdfsError(
        'IN_USE',
        `Cannot start the cluster in ${layout.dir}: its ${name} (process ${running.pid}) still runs. ` +
          `End what is left with \`ndfs down --dir ${layout.dir}\`, then start again.`,
        { process: name, pid: running.pid },
      )
  }
}

/** Says to the rest of the machine where the cluster is. Resolves to how that is taken back. */
async function announce(
  layout: Layout,
  nodes: readonly LocalNodeConfig[],
  { files }: Platform,
): Promise<() => Promise<void>> {
  const token = await readToken(files, layout.token)
  if (token === undefined)
    throw new NdfsError('NOT_FOUND', `Cannot find the operator token ${layout.token}. Put the file back.`)
  await noteThisProcess(files, layout.upProcess)
  await files.replaceWhole(
    layout.clusterFile,
    encodeClusterFile({ nodes: nodes.map((node): ClusterFileNode => clusterFileNode(node, null)) }),
  )
  for (const { listen } of nodes) await giveTokenToUser(files, listen.http, token)
  return async () => {
    for (const { listen } of nodes) await takeTokenFromUser(files, listen.http, token)
    await rm(layout.clusterFile, { force: true })
    await rm(layout.upProcess, { force: true })
  }
}

/** Resolves to how that is taken back. */
async function announceAdded(
  node: string,
  layout: Layout,
  { files }: Platform,
): Promise<() => Promise<void>> {
  const { listen } = await readLocalNodeConfig(files, layout.node(node).config)
  const token = await readToken(files, layout.token)
  if (token === undefined) return () => Promise.resolve()
  await giveTokenToUser(files, listen.http, token)
  return () => takeTokenFromUser(files, listen.http, token)
}

async function startProcesses(parts: {
  layout: Layout
  nodes: readonly LocalNodeConfig[]
  program: Program
  platform: Platform
  output: UpOutput
  stopped: AbortSignal
  undo: (() => Promise<void>)[]
}): Promise<void> {
  const { layout, nodes, program, platform, output, stopped, undo } = parts
  const followers = new Map<string, LogFollower>()
  const follow = ({ name, logPath, logStart }: Child): void => {
    // A process that is started again writes on into the file that is already followed.
    if (!output.followLogs || followers.has(name)) return
    const show = (line: string): void => output.line(readableLine(name, line))
    followers.set(name, new LogFollower(logPath, logStart, platform.clock, show))
  }
  const supervisor = new Supervisor({
    layout,
    program,
    platform,
    hasStore: nodes.every(({ engines }) => engines === undefined),
    endSession: (node) => endNodeSession(node, layout, platform),
    say: (line) => output.line(line),
    onChild: follow,
  })
  undo.push(async () => {
    await supervisor.stop()
    await Promise.all([...followers.values()].map((follower) => follower.stop()))
  })
  const started = supervisor.start(nodes.map(({ node }) => node))
  await Promise.race([started, stoppedEarly(stopped)])
  const known = new Set(nodes.map(({ node }) => node))
  const control = await serveControl(layout.upSocket, platform, async ({ start }) => {
    // One that was added since is in the cluster's file.
    const there = (
      await nodesThere(platform.files, layout, await existingCluster(platform.files, layout))
    ).map(({ id }) => id)
    if (!there.includes(start))
      throw new NdfsError('NOT_FOUND', `Cannot find the node ${start}: there are ${there.join(', ')}.`)
    if (!known.has(start)) {
      known.add(start)
      undo.push(await announceAdded(start, layout, platform))
    }
    return { started: await supervisor.startNode(start) }
  })
  undo.push(() => control.close())
}

async function stoppedEarly(signal: AbortSignal): Promise<never> {
  await whenAborted(signal)
  throw new NdfsError('UNAVAILABLE', 'Cannot go on: stopped before the cluster was ready.')
}

/** Who asked for it hears where clients don't find the ports; all that knows them is served. */
async function warnOfPortMappers(nodes: readonly LocalNodeConfig[], output: Output): Promise<void> {
  const answer = await ask(nodes[0].listen.http, '/api/v1/nodes', nodesTimeoutMs).catch(() => undefined)
  if (answer?.status !== 200) return
  for (const { id, portMapper } of answer.body as readonly NodeInfo[])
    if (portMapper?.reason !== undefined)
      output.line(`Warning: port mapper of ${id}: ${portMapper.by}, as ${portMapper.reason}.`)
}

function printHowToUse(nodes: readonly LocalNodeConfig[], dir: string, output: Output): void {
  const [{ listen, nbdSocket }] = nodes
  const lines = [
    '',
    'How to use it:',
    '  npx ndfs container create vms',
    '  npx ndfs vdisk create vms/disk1 --size 20GiB',
    `  qemu-img convert -n -O raw debian.img nbd://${listen.nbd}/vms/disk1`,
    `  qemu-system-x86_64 … -drive file=nbd://${listen.nbd}/vms/disk1,format=raw,if=virtio`,
    `Faster, on this machine: nbd+unix:///vms/disk1?socket=${nbdSocket}`,
    `To outlive a node: npx ndfs connect vms/disk1 --dir ${dir} --socket PATH`,
    'Nodes:',
    ...nodes.map(
      ({ node, listen }) => `  ${node}: API http://${listen.http}, NBD ${listen.nbd}, NFS ${listen.nfs}`,
    ),
    '',
  ]
  for (const line of lines) output.line(line)
  output.line(
    `ready: ${nodes.length} nodes serve reads and writes; stop them with Ctrl-C or \`npx ndfs down --dir ${dir}\``,
  )
  output.event({
    event: 'ready',
    dir,
    nodes: nodes.map(({ node, listen, nbdSocket }) => ({ id: node, ...listen, nbdSocket })),
  })
}
