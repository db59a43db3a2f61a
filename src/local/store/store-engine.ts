/**
 * The store's engine: Zeus and Medusa behind one door, by which the server (store-server.ts) is kept from knowing
 * whether a worker with a file or a database in memory does the work.
 *
 *  1. Requests take effect in the order of the calls, and their promises settle in that order.
 *  2. When `run` resolves, what the request changed is durable.
 *  3. UNAVAILABLE leaves the outcome unknown.
 */
import type Database from 'better-sqlite3'
import { NdfsError } from '../../base/errors.ts'
import { StoreBatches } from './store-batch.ts'

export interface StoreEngine {
  run(kind: string, body: Buffer): Promise<Uint8Array>
  /** Called when changes of Zeus have become durable, with its revision. */
  onZeusChanged: (revision: number) => void
  close(): Promise<void>
}

/** An engine that does each request at once, here: as fast and as durable as its database. */
export class ImmediateStoreEngine implements StoreEngine {
  onZeusChanged: (revision: number) => void = () => {}
  readonly #batches: StoreBatches

  /** The database stays the caller's: it outlives the engine as a disk outlives a process. */
  constructor(database: Database.Database) {
    this.#batches = new StoreBatches(database)
  }

  async run(kind: string, body: Buffer): Promise<Uint8Array> {
    const before = this.#batches.zeusRevision
    const [outcome] = this.#batches.run([{ kind, body }])
    if (this.#batches.zeusRevision !== before) this.onZeusChanged(this.#batches.zeusRevision)
    if (outcome instanceof NdfsError) throw outcome
    return outcome
  }

  async close(): Promise<void> {}
}
