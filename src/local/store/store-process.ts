/**
 * `ndfs store`: the small process that holds a machine's Zeus and Medusa, and has no other duty (M17).
 *
 *     nodes ══ Unix socket ══▶ store-server ──▶ engine ══ thread ══▶ worker ──▶ DIR/store.db
 *
 *  1. What it answered is durable: after `kill -9` at any moment the next process has it.
 *  2. A second process on the same directory is refused.
 *  3. A file of another cluster, or of a version that it does not know, is refused and left as it is.
 */
import { join } from 'node:path'
import { NdfsError } from '../../base/errors.ts'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import { PeerNetwork } from '../../peer/peer-network.ts'
import type { Address, Platform } from '../../platform/platform.ts'
import { StoreServer } from './store-server.ts'
import { WorkerStoreEngine } from './worker-store-engine.ts'

/** What the store is called among peers. */
export const storeNode = 'store' as NodeId

export interface StoreOptions {
  readonly platform: Platform
  /** The store's own directory. It is made where there is none. */
  readonly dir: string
  readonly socketPath: string
  /** Where it listens beside the socket. */
  readonly listen?: Address
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
  const { platform, dir, clusterId, key, socketPath, listen } = options
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
  const engine = await WorkerStoreEngine.open(file, clusterId, clock).catch(async (error: unknown) => {
    await lock.release()
    throw error
  })
  // The names of new files are to outlive a power cut as their bytes do.
  await files.syncDirectory(dir)
  const incarnation = chance.bytes(8).toString('hex') as Incarnation
  const peers = new PeerNetwork({ platform, node: storeNode, incarnation, clusterId, key })
  const server = await StoreServer.start(peers, engine, platform)
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
