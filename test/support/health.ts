/** What a cluster says of itself, asked for as `ndfs status` does, of nodes that can be reached. */
import type { ClusterStatus, VDiskInfo } from '../../src/management/management.ts'
import type { Cluster } from './cluster.ts'
import { sleep } from './run.ts'

const answerMs = 2500

export async function askNode<T>(cluster: Cluster, node: string, path: string): Promise<T | undefined> {
  try {
    const response = await fetch(`http://${cluster.node(node).http}/api/v1/${path}`, {
      signal: AbortSignal.timeout(answerMs),
    })
    return response.ok ? ((await response.json()) as T) : undefined
  } catch {
    return undefined
  }
}

/** The first answer of the nodes that run, `but` those. */
export async function askAny<T>(
  cluster: Cluster,
  path: string,
  but: readonly string[] = [],
): Promise<T | undefined> {
  for (const { id, pid } of cluster.nodes) {
    if (pid === null || but.includes(id)) continue
    const answer = await askNode<T>(cluster, id, path)
    if (answer !== undefined) return answer
  }
  return undefined
}

/** Who owns it now; asked until some node can tell. */
export async function ownerOf(
  cluster: Cluster,
  vdisk: string,
  but: readonly string[] = [],
): Promise<{ readonly owner: string; readonly epoch: number }> {
  const end = performance.now() + 30_000
  while (performance.now() < end) {
    const info = await askAny<VDiskInfo>(cluster, `vdisks/${vdisk}`, but)
    if (info?.owner !== undefined) return { owner: info.owner, epoch: info.epoch }
    await sleep(100)
  }
  throw new Error(`Nobody can tell who owns ${vdisk}.`)
}

/** Resolves when all nodes are up, and everything is on full copies; to how long that took. */
export async function healed(cluster: Cluster, seconds = 120): Promise<number> {
  const began = performance.now()
  let last = 'no node answers'
  while (performance.now() < began + seconds * 1000) {
    const status = await askAny<ClusterStatus>(cluster, 'status')
    if (status !== undefined) {
      last = notWell(status)
      if (last === '') return performance.now() - began
    }
    await sleep(200)
  }
  throw new Error(`Not healed within ${seconds} s: ${last}`)
}

function notWell({ health, nodes, problems, repair, survival }: ClusterStatus): string {
  const down = nodes.filter(({ state }) => state === 'down').map(({ id }) => id)
  if (health === 'ok' && down.length === 0 && repair === undefined && survival.shortBytes === 0) return ''
  return [survival.sentence, ...problems, ...down.map((node) => `${node} is down`)].join('; ')
}
