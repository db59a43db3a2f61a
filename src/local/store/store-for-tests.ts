/** Stores in memory, and what else tests of the store share. Nothing that runs for a user imports it. */
import type Database from 'better-sqlite3'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Incarnation, NodeId } from '../../base/ids.ts'
import type { Millis } from '../../base/units.ts'
import { PeerNetwork } from '../../peer/peer-network.ts'
import { nodePlatform } from '../../platform/node-platform.ts'
import type { Clock } from '../../platform/platform.ts'
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

/** A clock that is moved by hand, with the timers that were set on it. */
export class HandClock implements Clock {
  time = 0
  readonly timers = new Set<{ due: number; callback: () => void }>()
  now(): Millis {
    return this.time as Millis
  }
  wallTime(): number {
    return this.time
  }
  after(ms: number, callback: () => void) {
    const timer = { due: this.time + ms, callback }
    this.timers.add(timer)
    return { cancel: () => void this.timers.delete(timer) }
  }
  async sleep(): Promise<void> {}
  soon(): void {}
  /** Moves on, ringing each timer when it is due, or all that are due only at the end. */
  move(ms: number, how: 'smoothly' | 'at once' = 'smoothly'): void {
    const end = this.time + ms
    if (how === 'at once') this.time = end
    for (;;) {
      const due = [...this.timers].filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due)
      if (due.length === 0) break
      this.time = Math.max(this.time, due[0].due)
      this.timers.delete(due[0])
      due[0].callback()
    }
    this.time = end
  }
}

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
