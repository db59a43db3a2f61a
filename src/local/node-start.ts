/**
 * `ndfs node start NODE --dir DIR`: starts a node that was killed. Whoever looks after the cluster does it; where nobody
 * does, because `up` was killed as well, the node is started by itself, and the store before it where that is gone too.
 */
import { resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { Platform } from '../platform/platform.ts'
import { Child } from './child.ts'
import { refreshClusterFile } from './cluster-file.ts'
import { askControl, type ControlResult } from './control-socket.ts'
import { existingCluster, layoutOf } from './layout.ts'
import type { Program } from './local.ts'
import { readLocalNodeConfig } from './node-config.ts'
import { runningProcess } from './processes.ts'
import { untilNodeServes, untilStoreListens } from './supervisor.ts'

/** Resolves when the node serves. */
export async function startNode(
  node: string,
  dir: string,
  program: Program,
  platform: Platform,
): Promise<ControlResult> {
  const layout = layoutOf(resolve(dir))
  const cluster = await existingCluster(platform.files, layout)
  if (!cluster.nodes.some(({ id }) => id === node))
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot find the node ${node} in ${layout.dir}: there are ${cluster.nodes.map(({ id }) => id).join(', ')}.`,
    )
  const answer = await askControl(layout.upSocket, platform.sockets, { start: node })
  if (answer) return answer

  const files = layout.node(node)
  const { engines } = await readLocalNodeConfig(platform.files, files.config)
  if (engines === undefined && !(await runningProcess(platform.files, layout.store.process))) {
    const store = new Child('store', ['store', '--config', layout.store.config], layout.log('store'), program)
    await untilStoreListens(layout, platform, store)
    store.leave()
  }
  if (await runningProcess(platform.files, files.process)) {
    await untilNodeServes(node, layout, platform, undefined)
    return { started: false }
  }
  const child = new Child(node, ['node', '--config', files.config], layout.log(node), program)
  await untilNodeServes(node, layout, platform, child)
  child.leave()
  await refreshClusterFile(platform, layout)
  return { started: true }
}
