/**
 * `ndfs store`: the small process that holds a machine's Zeus and Medusa, and has no other duty (M17).
 *
 *     nodes ══ Unix socket ══▶ store-server ──▶ engine ══ thread ══▶ worker ──▶ DIR/store.db
 *
 *  1. What it answered is durable: after `kill -9` at any moment the next process has it.
 *  2. A second process on the same directory is refused.
 *  3. Where it is told of a second disk it keeps a copy of its file there (store-copy.ts).
 *  4. A file of another cluster, or of a version that it does not know, is refused and left as it is.
 */
import { join } from 'node:path'
import { encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import { PeerNetwork } from '../../peer/peer-network.ts'
import type { Address, Files, Platform, TlsSide } from '../../platform/platform.ts'
import { StoreServer } from './store-server.ts'
import { WorkerStoreEngine } from './worker-store-engine.ts'

/** What the store is called among peers. */
export const storeNode = 'store' as NodeId

export interface StoreOptions {
  readonly platform: Platform
  /** The store's own directory. It is made where there is none. */
  readonly dir: string
  /** The store was made before: one that isn't there was lost, and is not made anew. */
  readonly mustExist?: boolean
  /** Where its copy lies. */
  readonly copyFolder?: string
  readonly socketPath: string
  /** Where it listens beside the socket. */
  readonly listen?: Address
  /** See PeerNetworkOptions. */
  readonly tls?: () => TlsSide
  readonly clusterId: string
  readonly key: Buffer
}

export interface RunningStore {
  readonly address: Address
  /** Called once when it can't go on: the process must end, and the next one reads the file anew (I6). */
  onFatal: (error: Error) => void
  /** Answers what it holds, and ends in order. */
  close(): Promise<void>
}

/** Resolves when it serves. */
export async function runStore(options: StoreOptions): Promise<RunningStore> {
  const { platform, dir, clusterId, key, socketPath, copyFolder, listen } = options
  const { clock, files, log, chance } = platform
  const file = join(dir, 'store.db')
  await files.makeDirectory(dir)
  const lock = await files.lock(dir)
  if (!lock)
    throw new NdfsError(
      'IN_USE',
      `Cannot open the store in ${dir}: another process holds it. End that one first`,
      {
        dir,
      },
    )
  const opened = async (): Promise<WorkerStoreEngine> => {
    if (options.mustExist === true) await refuseLost(files, dir, file)
    return WorkerStoreEngine.open(
      file,
      clusterId,
      clock,
      copyFolder === undefined ? undefined : { folder: copyFolder, log },
    )
  }
  const engine = await opened().catch(async (error: unknown) => {
    await lock.release()
    throw error
  })
  // The names of new files are to outlive a power cut as their bytes do.
  await files.syncDirectory(dir)
  const incarnation = chance.bytes(8).toString('hex') as Incarnation
  const peers = new PeerNetwork({
    ...{ platform, node: storeNode, incarnation, clusterId, key },
    ...(options.tls === undefined ? {} : { tls: options.tls }),
  })
  const server = await StoreServer.start(peers, engine, platform)
  peers.handle('store.copy', 'terminal', () => [encodeControl(engine.copyStatus())])
  const close = async () => {
    server.close()
    await peers.close()
    await engine.close()
    await lock.release()
  }
  const listening = async (): Promise<Address> => {
    if (listen !== undefined) await peers.listen(listen)
    return peers.listen(`unix:${socketPath}`)
  }
  const address = await listening().catch(async (error: unknown) => {
    await close()
    throw error
  })
  const store: RunningStore = {
    address,
    // Where nobody says how to end, the process ends by this.
    onFatal: (error) => {
      throw error
    },
    close,
  }
  engine.onFailed = (error) => store.onFatal(error)
  log.info('The store serves.', { file, address })
  return store
}

/** An empty store in its place would grant epochs anew, and know none of the vDisks. */
async function refuseLost(files: Files, dir: string, file: string): Promise<void> {
  if ((await files.list(dir))?.includes('store.db') === true) return
  throw new NdfsError(
    'NOT_FOUND',
    `Cannot open the store: ${file} is not there, and it was. Is its file system mounted? Where it is lost, end the rest with ` +
      '`ndfs down`, and put the copy in its place with `ndfs store restore`.',
    { file },
  )
}
