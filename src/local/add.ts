/**
 * `ndfs node add` and `ndfs disk add`: an embedded cluster grows by a node, or a node by a disk.
 *
 *   disks formatted ─▶ ndfs.json names them ─▶ node.json ─▶ (a node) started by `up`
 *
 *  1. What ndfs.json does not name is no part of the cluster: a crash before that leaves a folder that the next attempt clears.
 *  2. Names are never used twice, also not those of nodes and disks that were removed.
 *  3. A node takes part from its first start on; a disk from the next start of its node.
 */
import { mkdir, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import type { Platform } from '../platform/platform.ts'
import { askControl } from './control-socket.ts'
import { formatClusterDisk } from './format-disk.ts'
import {
  type Cluster,
  type ClusterDisk,
  type ClusterNode,
  diskBytesMin,
  existingCluster,
  type Layout,
  layoutOf,
  nodesMax,
} from './layout.ts'
import type { DiskWish } from './local.ts'
import { type LocalNodeConfig, readLocalNodeConfig } from './node-config.ts'
import { loopback, portMapperPort, portRange, type PortUse } from './ports.ts'
import { replaceJson } from './versioned-file.ts'

export interface AddedNode {
  readonly node: string
  readonly block: string
  /** False: nobody looks after the cluster now, and it is started with the others. */
  readonly started: boolean
}

/** Left out: disks as the first node has them; a block of its own, or that with the fewest nodes where some share one. */
export interface NodeWish {
  readonly block?: string
  readonly disks?: readonly DiskWish[]
}

export async function addNode(dir: string, wish: NodeWish, platform: Platform): Promise<AddedNode> {
  const layout = layoutOf(resolve(dir))
  const { files, sockets } = platform
  const node = await alone(layout, platform, async (cluster) => {
    const { nodes, clusterId } = cluster
    if (nodes.length >= nodesMax)
      throw new NdfsError('REFUSED', `Cannot add a node: a cluster on one machine has ${nodesMax} at most.`)
    const id = `n${nodes.length + 1}`
    const disks = namedDisks(id, wish.disks ?? nodes[0].disks, [])
    if (!disks.some(({ tier }) => tier === 'flash'))
      throw new NdfsError(
        'REFUSED',
        'Cannot add a node without flash: the log lies there. Name a disk such as --disk flash:10GiB.',
      )
    const added: ClusterNode = { id, block: wish.block ?? blockFor(cluster, id), disks }
    const place = layout.node(id)
    await rm(place.folder, { recursive: true, force: true })
    await mkdir(place.folder, { recursive: true })
    for (const disk of disks) await format(layout, clusterId, id, disk, platform)
    await files.syncDirectory(place.folder)
    await files.syncDirectory(dirname(place.folder))
    // Its configuration first: whatever ndfs.json names can be started.
    await replaceJson(files, place.config, await configFor(layout, cluster, added, platform))
    await replaceJson(files, layout.cluster, { ...cluster, nodes: [...nodes, added] })
    return added
  })
  const answer = await askControl(layout.upSocket, sockets, { start: node.id })
  return { node: node.id, block: node.block, started: answer !== undefined }
}

/** Resolves to the disk's name; its node uses it from its next start on. */
export async function addDisk(
  dir: string,
  node: string,
  wish: DiskWish,
  platform: Platform,
): Promise<string> {
  const layout = layoutOf(resolve(dir))
  const { files } = platform
  return alone(layout, platform, async (cluster) => {
    const to = cluster.nodes.find(({ id }) => id === node)
    if (to === undefined)
      throw new NdfsError(
        'NOT_FOUND',
        `Cannot find the node ${node} in ${layout.dir}: there are ${cluster.nodes.map(({ id }) => id).join(', ')}.`,
      )
    const [disk] = namedDisks(node, [wish], to.disks)
    const place = layout.node(node)
    await rm(place.disk(disk.id), { recursive: true, force: true })
    await format(layout, cluster.clusterId, node, disk, platform)
    const nodes = cluster.nodes.map((one) => (one === to ? { ...to, disks: [...to.disks, disk] } : one))
    await replaceJson(files, layout.cluster, { ...cluster, nodes })
    const config = await readLocalNodeConfig(files, place.config)
    const disks = [...config.disks, { ...disk, path: place.disk(disk.id) }]
    await replaceJson(files, place.config, { ...config, disks })
    return disk.id
  })
}

/** One at a time, whether an `up` looks after the cluster or not. */
async function alone<T>(
  layout: Layout,
  { files }: Platform,
  work: (cluster: Cluster) => Promise<T>,
): Promise<T> {
  await existingCluster(files, layout)
  const lock = await files.lock(join(layout.dir, 'nodes'))
  if (lock === undefined)
    throw new NdfsError(
      'IN_USE',
      `Cannot add anything to the cluster in ${layout.dir}: something else is being added.`,
    )
  try {
    return await work(await existingCluster(files, layout))
  } finally {
    await lock.release()
  }
}

async function format(
  layout: Layout,
  clusterId: string,
  node: string,
  disk: ClusterDisk,
  platform: Platform,
): Promise<void> {
  const path = layout.node(node).disk(disk.id)
  await mkdir(path, { recursive: true })
  await formatClusterDisk(platform)({ ...disk, path, clusterId, node })
}

/** Numbered on from those that the node has, or had, of the tier. */
function namedDisks(
  node: string,
  wishes: readonly DiskWish[],
  before: readonly ClusterDisk[],
): ClusterDisk[] {
  const next = { flash: 0, hdd: 0 }
  for (const { tier } of before) next[tier]++
  return wishes.map(({ tier, capacityBytes }) => {
    if (capacityBytes < diskBytesMin)
      throw new NdfsError(
        'REFUSED',
        `Cannot make a disk of ${formatSize(capacityBytes)}: the smallest is ${formatSize(diskBytesMin)}.`,
      )
    return { id: `${node}-${tier}-${next[tier]++}`, tier, capacityBytes }
  })
}

function blockFor({ nodes }: Cluster, id: string): string {
  const counts = new Map<string, number>()
  for (const { block } of nodes) counts.set(block, (counts.get(block) ?? 0) + 1)
  const own = `b${id.slice(1)}`
  if (counts.size === nodes.length && !counts.has(own)) return own
  return [...counts].reduce((least, one) => (one[1] < least[1] ? one : least))[0]
}

/** As the first node's, but for its ports: those behind the others', or further ones that are free. */
async function configFor(
  layout: Layout,
  { nodes }: Cluster,
  { id, block, disks }: ClusterNode,
  { files, sockets }: Platform,
): Promise<LocalNodeConfig> {
  const configs = await Promise.all(
    nodes.map((node) => readLocalNodeConfig(files, layout.node(node.id).config)),
  )
  const [first] = configs
  const taken = new Set(
    [
      ...configs.flatMap(({ listen: { http, peer, nbd, nfs } }) => [
        http,
        peer,
        nbd,
        ...(nfs === undefined ? [] : [nfs]),
      ]),
      ...(first.storeAddress === undefined ? [] : [first.storeAddress]),
    ].map(portOf),
  )
  const listen = { http: '', peer: '', nbd: '', nfs: '' }
  for (const use of ['http', 'peer', 'nbd', 'nfs'] as const satisfies readonly PortUse[]) {
    const beside = first.listen[use]
    const usual = beside === undefined ? undefined : portOf(beside) + nodes.length
    const { first: port } = await portRange(use, undefined, 1, taken, sockets, usual)
    taken.add(port)
    listen[use] = `${loopback}:${port}`
  }
  const portMapper =
    first.listen.portMapper === undefined ? {} : { portMapper: `${loopback}:${portMapperPort}` }
  const place = layout.node(id)
  return {
    ...first,
    node: id,
    block,
    dir: place.folder,
    listen: { ...listen, ...portMapper },
    nbdSocket: place.nbdSocket,
    disks: disks.map((disk) => ({ ...disk, path: place.disk(disk.id) })),
  }
}

const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1))
