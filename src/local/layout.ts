/**
 * What lies in a cluster's directory.
 *
 *   DIR/ndfs.json             what was made here: cluster id, nodes, their blocks and disks; never changed once whole
 *       cluster.json          where the nodes are now, for programs
 *       cluster.key           what the cluster's processes prove to one another (0600)
 *       token                 the operator's token (0600)
 *       up.sock               `ndfs up` takes requests here while it runs
 *       up.json               which process that is
 *       log/NAME.log          what each process said
 *       store/                Zeus and Medusa: store.json, process.json, SQLite's files
 *       store.sock            where the store listens
 *       nodes/n1/node.json    see node-config.ts
 *               process.json  which process it is
 *               nbd.sock      its NBD exports
 *               disks/…       its disks, each a folder
 *
 * `ndfs.json` is written twice: first it says that the rest is being made, last that it is whole. What an interrupted
 * making left behind holds nobody's data, and is made anew.
 */
import { mkdir, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import Type, { type Static } from 'typebox'
import { NdfsError } from '../base/errors.ts'
import { formatSize, GiB, MiB, roundDown } from '../base/units.ts'
import type { Files, Platform } from '../platform/platform.ts'
import type { DiskWish, UpOptions } from './local.ts'
import { newToken, writeToken } from './token.ts'
import { wasRemoved } from './removed-node.ts'
import { readVersioned, replaceJson } from './versioned-file.ts'

export const layoutVersion = 1

const closed = { additionalProperties: false } as const
const clusterSchema = Type.Object(
  {
    version: Type.Literal(layoutVersion),
    state: Type.Union([Type.Literal('being made'), Type.Literal('whole')]),
    clusterId: Type.String({ pattern: '^[0-9a-f]{16}$' }),
    createdAt: Type.String(),
    nodes: Type.Array(
      Type.Object(
        {
          id: Type.String(),
          block: Type.String(),
          disks: Type.Array(
            Type.Object(
              {
                id: Type.String(),
                tier: Type.Union([Type.Literal('flash'), Type.Literal('hdd')]),
                capacityBytes: Type.Integer({ minimum: 0 }),
              },
              closed,
            ),
          ),
        },
        closed,
      ),
      { minItems: 1 },
    ),
  },
  closed,
)
export type Cluster = Static<typeof clusterSchema>
export type ClusterNode = Cluster['nodes'][number]
export type ClusterDisk = ClusterNode['disks'][number]

export type Layout = ReturnType<typeof layoutOf>

/** Paths of the directory; `dir` is absolute. */
export function layoutOf(dir: string) {
  const node = (id: string) => {
    const folder = join(dir, 'nodes', id)
    return {
      folder,
      config: join(folder, 'node.json'),
      process: processFile(folder),
      nbdSocket: join(folder, 'nbd.sock'),
      disk: (disk: string) => join(folder, 'disks', disk),
    }
  }
  const store = join(dir, 'store')
  return {
    dir,
    cluster: join(dir, 'ndfs.json'),
    clusterFile: join(dir, 'cluster.json'),
    key: join(dir, 'cluster.key'),
    token: join(dir, 'token'),
    upSocket: join(dir, 'up.sock'),
    upProcess: join(dir, 'up.json'),
    logs: join(dir, 'log'),
    log: (name: string) => join(dir, 'log', `${name}.log`),
    store: { folder: store, config: join(store, 'store.json'), process: processFile(store) },
    storeSocket: join(dir, 'store.sock'),
    node,
  }
}

/** In the folder of a node or of the store. */
export const processFile = (folder: string): string => join(folder, 'process.json')

export const readCluster = (files: Files, layout: Layout): Promise<Cluster | undefined> =>
  readVersioned(files, layout.cluster, clusterSchema, layoutVersion)

/** The cluster in `dir`, which must be there and whole. */
export async function existingCluster(files: Files, layout: Layout): Promise<Cluster> {
  const cluster = await readCluster(files, layout)
  if (cluster?.state !== 'whole')
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot find a cluster in ${layout.dir}. Make one with \`ndfs up --dir ${layout.dir}\`, or name its directory with --dir.`,
      { dir: layout.dir },
    )
  return cluster
}

/** Those that were not removed from it. */
export async function nodesThere(files: Files, layout: Layout, cluster: Cluster): Promise<ClusterNode[]> {
  const there: ClusterNode[] = []
  for (const node of cluster.nodes)
    if (!(await wasRemoved(files, layout.node(node.id).folder))) there.push(node)
  return there
}

/** Prepares one disk's folder: src/disk knows how. */
export type FormatDisk = (
  disk: ClusterDisk & { path: string; clusterId: string; node: string },
) => Promise<void>

/** Makes the store's file: one that is missing later was lost. */
export type MakeStore = (folder: string, clusterId: string) => Promise<void>

/** Opens the cluster in the directory, or makes it. The caller holds the directory's lock. */
export async function openOrMakeCluster(
  layout: Layout,
  options: UpOptions,
  platform: Platform,
  format: FormatDisk,
  makeStore: MakeStore,
): Promise<{ readonly cluster: Cluster; readonly made: boolean }> {
  const { files } = platform
  const found = await readCluster(files, layout)
  if (found?.state === 'whole') {
    refuseContradictions(found, options)
    return { cluster: found, made: false }
  }
  if (found === undefined) await refuseForeignDirectory(layout)
  else
    for (const name of ['nodes', 'store']) await rm(join(layout.dir, name), { recursive: true, force: true })
  return { cluster: await makeCluster(layout, options, platform, format, makeStore), made: true }
}

async function makeCluster(
  layout: Layout,
  options: UpOptions,
  { files, chance, clock }: Platform,
  format: FormatDisk,
  makeStore: MakeStore,
): Promise<Cluster> {
  const cluster: Cluster = {
    version: layoutVersion,
    state: 'being made',
    clusterId: chance.bytes(8).toString('hex'),
    createdAt: new Date(clock.wallTime()).toISOString(),
    nodes: planNodes(options, await files.freeBytes(layout.dir)),
  }
  await replaceJson(files, layout.cluster, cluster)
  await writeSecret(files, layout.key, chance.bytes(32).toString('hex'))
  await writeToken(files, layout.token, newToken(chance))
  await mkdir(layout.store.folder, { recursive: true })
  await makeStore(layout.store.folder, cluster.clusterId)
  await syncTree(files, [layout.store.folder, layout.dir])
  for (const { id, disks } of cluster.nodes) {
    const node = layout.node(id)
    await mkdir(node.folder, { recursive: true })
    for (const disk of disks) {
      const path = node.disk(disk.id)
      await mkdir(path, { recursive: true })
      await format({ ...disk, path, clusterId: cluster.clusterId, node: id })
    }
    await syncTree(files, [node.folder, dirname(node.folder)])
  }
  await syncFoldersAbove(files, layout.dir)
  const whole: Cluster = { ...cluster, state: 'whole' }
  await replaceJson(files, layout.cluster, whole)
  return whole
}

const writeSecret = (files: Files, path: string, text: string): Promise<void> =>
  files.replaceWhole(path, Buffer.from(`${text}\n`), 0o600)

async function syncTree(files: Files, folders: readonly string[]): Promise<void> {
  for (const folder of folders) await files.syncDirectory(folder)
}

/**
 * The directory may be as new as what is in it, and those above it too: without their names a power cut would take the whole
 * cluster. A folder that can't be opened or synced is none that was just made.
 */
export async function syncFoldersAbove(files: Files, dir: string): Promise<void> {
  for (let folder = dirname(dir), below = dir; folder !== below; [folder, below] = [dirname(folder), folder])
    try {
      await files.syncDirectory(folder)
    } catch (error) {
      if (!['EACCES', 'EPERM', 'EINVAL', 'EROFS'].includes(String((error as NodeJS.ErrnoException).code)))
        throw error
      return
    }
}

/** Where no cluster was made yet nothing may lie but what a first attempt writes before `ndfs.json`. */
async function refuseForeignDirectory(layout: Layout): Promise<void> {
  const names = (await readdir(layout.dir)).filter((name) => !['log', 'up.json', 'up.sock'].includes(name))
  if (names.length > 0)
    throw new NdfsError(
      'REFUSED',
      `Cannot make a cluster in ${layout.dir}: it is not empty (${names.slice(0, 3).join(', ')}) and has no ndfs.json. ` +
        'Name an empty directory, or one that does not exist yet, with --dir.',
      { dir: layout.dir },
    )
}

export const nodesUsual = 3
export const nodesMax = 32
/** Smaller ones would be full of what logs and reserves take. */
export const diskBytesMin = 1 * GiB

/** Which nodes there are to be, where, and with which disks. Disks are thin: they take space as they fill. */
export function planNodes(options: UpOptions, freeBytes: number): ClusterNode[] {
  const count = options.nodes ?? nodesUsual
  if (!(count >= 1 && count <= nodesMax))
    throw refused(`Cannot make ${count} nodes: --nodes takes 1 to ${nodesMax}.`)
  const blocks = options.blocks ?? count
  if (!(blocks >= 1 && blocks <= count))
    throw refused(`Cannot spread ${count} nodes over ${blocks} blocks: --blocks takes 1 to ${count}.`)
  const wishes = options.disks ?? usualDisks(count, freeBytes)
  if (!wishes.some(({ tier }) => tier === 'flash'))
    throw refused(
      'Cannot make nodes without flash: the log lies there. Add a disk such as --disk flash:10GiB.',
    )
  const small = wishes.find(({ capacityBytes }) => capacityBytes < diskBytesMin)
  if (small)
    throw refused(
      options.disks
        ? `Cannot make a disk of ${formatSize(small.capacityBytes)}: the smallest is ${formatSize(diskBytesMin)}.`
        : `Cannot make disks for ${count} nodes: ${formatSize(freeBytes)} are free, and half of that shared out makes disks of ` +
            `${formatSize(small.capacityBytes)}; the smallest is ${formatSize(diskBytesMin)}. Free space, or name another --dir.`,
    )
  return Array.from({ length: count }, (_, index) => {
    const id = `n${index + 1}`
    return { id, block: `b${(index % blocks) + 1}`, disks: disksOf(id, wishes) }
  })
}

function disksOf(node: string, wishes: readonly DiskWish[]): ClusterDisk[] {
  const made = { flash: 0, hdd: 0 }
  return wishes.map(({ tier, capacityBytes }) => ({
    id: `${node}-${tier}-${made[tier]++}`,
    tier,
    capacityBytes,
  }))
}

/** Together at most half of the free space over all nodes: the machine keeps the other half. */
function usualDisks(nodes: number, freeBytes: number): DiskWish[] {
  const capacityBytes = roundDown(freeBytes / 2 / nodes / 2, MiB)
  return [
    { tier: 'flash', capacityBytes },
    { tier: 'hdd', capacityBytes },
  ]
}

/** A cluster keeps the nodes and disks that it was made with. Saying the same again is no contradiction. */
function refuseContradictions(cluster: Cluster, { nodes, blocks, disks, dir }: UpOptions): void {
  const has = (what: string, asked: string, there: string) =>
    refused(
      `Cannot start the cluster in ${dir} with ${asked}: it was made with ${there}, which can't be changed. ` +
        `Leave ${what} away, or name another --dir.`,
    )
  if (nodes !== undefined && nodes !== cluster.nodes.length)
    throw has('--nodes', `${nodes} nodes`, `${cluster.nodes.length}`)
  const blocksThere = new Set(cluster.nodes.map(({ block }) => block)).size
  if (blocks !== undefined && blocks !== blocksThere)
    throw has('--blocks', `${blocks} blocks`, `${blocksThere}`)
  const there = describeDisks(cluster.nodes[0].disks)
  if (disks !== undefined && describeDisks(disks) !== there) throw has('--disk', describeDisks(disks), there)
}

const describeDisks = (disks: readonly DiskWish[]): string =>
  disks.map(({ tier, capacityBytes }) => `${tier}:${formatSize(capacityBytes)}`).join(' ')

const refused = (message: string): NdfsError => new NdfsError('REFUSED', message)
