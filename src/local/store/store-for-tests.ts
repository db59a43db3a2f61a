/** Stores in memory, and what else tests of the store share. Nothing that runs for a user imports it. */
import type Database from 'better-sqlite3'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import { PeerNetwork } from '../../peer/peer-network.ts'
import { nodePlatform } from '../../platform/node-platform.ts'
import { openStoreDatabase } from './store-database.ts'
import { ImmediateStoreEngine } from './store-engine.ts'
import { storeNode } from './store-process.ts'
import { StoreServer } from './store-server.ts'

export const testPlatform = nodePlatform({ level: 'silent' })
export const testCluster = { clusterId: '0123456789abcdef', key: Buffer.alloc(32, 7) }

export const testPeers = (node: string, incarnation = 'aaaaaaaaaaaaaaaa'): PeerNetwork =>
  new PeerNetwork({
    platform: testPlatform,
    node: node as NodeId,
    incarnation: incarnation as Incarnation,
    ...testCluster,
  })

export interface MemoryStore {
  /** Calls to `storeNode` by it need no socket. */
  readonly peers: PeerNetwork
  close(): Promise<void>
}

/** A store whose server and clients share this process. The database outlives it as a disk outlives a process. */
export async function memoryStore(database?: Database.Database): Promise<MemoryStore> {
  const peers = testPeers(storeNode)
  const engine = new ImmediateStoreEngine(database ?? openStoreDatabase(':memory:', testCluster.clusterId))
  const server = await StoreServer.start(peers, engine, testPlatform)
  return {
    peers,
    async close() {
      server.close()
      await peers.close()
      await engine.close()
    },
  }
}

export async function withDirectory<T>(body: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-store-'))
  try {
    return await body(directory)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
