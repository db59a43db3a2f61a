/**
 * `DIR/cluster.json`: where the nodes are now. It is derived whenever a process starts or ends, from what the processes
 * noted about themselves, and replaced atomically; whoever writes it writes the same.
 */
import type { Clock, Files, Platform } from '../platform/platform.ts'
import { layoutOf, nodesThere, readCluster, type Layout } from './layout.ts'
import type { ClusterFile, ClusterFileNode } from './local.ts'
import { readLocalNodeConfig, type LocalNodeConfig } from './node-config.ts'
import { runningProcess } from './processes.ts'

const lockPollMs = 10

/** Nothing happens where `layout` holds no whole cluster: a node may be run without one. */
export async function refreshClusterFile({ files, clock }: Platform, layout: Layout): Promise<void> {
  const cluster = await readCluster(files, layout)
  if (cluster?.state !== 'whole') return
  // Two who read at once might write in the other order, and leave the older state behind.
  const lock = await lockWhenFree(files, layout.logs, clock)
  try {
    const there = await nodesThere(files, layout, cluster)
    const nodes = await Promise.all(there.map(({ id }) => entryOf(files, layout, id)))
    await files.replaceWhole(layout.clusterFile, encodeClusterFile({ nodes }))
  } finally {
    await lock.release()
  }
}

async function entryOf(files: Files, layout: Layout, id: string): Promise<ClusterFileNode> {
  const node = layout.node(id)
  const running = await runningProcess(files, node.process)
  return clusterFileNode(await readLocalNodeConfig(files, node.config), running?.pid ?? null)
}

export const clusterFileNode = (config: LocalNodeConfig, pid: number | null): ClusterFileNode => ({
  id: config.node,
  block: config.block,
  pid,
  http: config.listen.http,
  peer: config.listen.peer,
  nbd: { address: config.listen.nbd, socket: config.nbdSocket },
  ...(config.listen.nfs === undefined ? {} : { nfs: { address: config.listen.nfs } }),
})

export const encodeClusterFile = (file: ClusterFile): Buffer =>
  Buffer.from(`${JSON.stringify(file, undefined, 2)}\n`)

/** `undefined` where no cluster runs in `dir`. */
export async function readClusterFile(files: Files, dir: string): Promise<ClusterFile | undefined> {
  const bytes = await files.readWhole(layoutOf(dir).clusterFile)
  return bytes && (JSON.parse(bytes.toString()) as ClusterFile)
}

async function lockWhenFree(files: Files, path: string, clock: Clock): Promise<{ release(): Promise<void> }> {
  for (;;) {
    const lock = await files.lock(path)
    if (lock) return lock
    await clock.sleep(lockPollMs)
  }
}
