/**
 * `ndfs node --config FILE` and `ndfs store --config FILE`: one process of a cluster, by itself.
 *
 * A process holds the lock of its folder from its first act to its end, and notes there who it is.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { NdfsError } from '../base/errors.ts'
import type { Files, Platform } from '../platform/platform.ts'
import { refreshClusterFile } from './cluster-file.ts'
import { layoutOf, processFile } from './layout.ts'
import { isConfigFile, nodeConfigOf, readConfigFile, storeConfigOf } from './config-file/config-file.ts'
import {
  type NodeConfig,
  nodeConfigOfLocal,
  readClusterKey,
  readLocalNodeConfig,
  readStoreConfig,
  type StoreConfig,
} from './node-config.ts'
import { noteThisProcess, runningProcess } from './processes.ts'
import { noteRemoved, saysRemoved } from './removed-node.ts'
import { TlsFiles } from './tls-files.ts'
import { whenAborted } from './when-aborted.ts'

/** What runs until it is told to stop, or can't go on. */
interface Running {
  close(): Promise<void>
}

/** An operator writes YAML, and `ndfs up` JSON. */
async function nodeConfigIn(files: Files, file: string): Promise<NodeConfig> {
  if (isConfigFile(file)) return nodeConfigOf(file, await readConfigFile(files, file))
  return nodeConfigOfLocal(await readLocalNodeConfig(files, file))
}

async function storeConfigIn(files: Files, file: string): Promise<StoreConfig> {
  if (isConfigFile(file)) return storeConfigOf(file, await readConfigFile(files, file))
  return readStoreConfig(files, file)
}

/** Resolves when it was told to stop, and has. */
export async function runNodeProcess(file: string, platform: Platform, stopped: AbortSignal): Promise<void> {
  const config = await nodeConfigIn(platform.files, resolve(file))
  const run = inFolder(config.node, config.dir, platform, stopped, async (fail) => {
    const { runNode } = await import('../node.ts')
    const node = await runNode(config, platform)
    node.onFatal = fail
    if (!isConfigFile(file)) await refreshClusterFile(platform, layoutOf(resolve(config.dir, '..', '..')))
    platform.log.info('The node runs.', { http: node.addresses.http, nbd: node.addresses.nbd.address })
    return node
  })
  await run.catch(async (error: unknown) => {
    if (saysRemoved(error)) await noteRemoved(platform.files, config.dir)
    throw error
  })
}

export async function runStoreProcess(file: string, platform: Platform, stopped: AbortSignal): Promise<void> {
  const config = await storeConfigIn(platform.files, resolve(file))
  const key = await readClusterKey(platform.files, config.cluster.keyFile)
  await inFolder('store', config.dir, platform, stopped, async (fail) => {
    const { runStore } = await import('./store/store-process.ts')
    const tls = config.tls && (await TlsFiles.open(config.tls, 'peers', platform))
    const store = await runStore({
      platform,
      dir: config.dir,
      mustExist: true,
      ...(config.copy === undefined ? {} : { copyFolder: config.copy.folder }),
      socketPath: config.socket,
      ...(config.listen === undefined ? {} : { listen: config.listen }),
      ...(tls === undefined ? {} : { tls: () => tls.side }),
      clusterId: config.cluster.id,
      key,
    })
    store.onFatal = fail
    return store
  })
}

async function inFolder(
  name: string,
  folder: string,
  platform: Platform,
  stopped: AbortSignal,
  start: (fail: (error: Error) => void) => Promise<Running>,
): Promise<void> {
  const { files } = platform
  await mkdir(folder, { recursive: true })
  const note = processFile(folder)
  // A file of its own: the parts inside may lock the folder for themselves.
  const lockFile = join(folder, 'process.lock')
  await writeFile(lockFile, '', { flag: 'a' })
  const lock = await files.lock(lockFile)
  if (lock === undefined) {
    const other = await runningProcess(files, note)
    throw new NdfsError(
      'IN_USE',
      `Cannot start ${name}: another process${other ? ` (${other.pid})` : ''} runs in ${folder}. End that one first.`,
      { folder },
    )
  }
  await noteThisProcess(files, note)
  try {
    let fail: (error: Error) => void = () => undefined
    const failed = new Promise<never>((_, reject) => (fail = reject))
    const running = await start(fail)
    await Promise.race([whenAborted(stopped), failed])
    await running.close()
  } finally {
    await rm(note, { force: true })
    await lock.release()
  }
}
