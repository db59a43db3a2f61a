/**
 * Group commit: many requests to Zeus and Medusa in one transaction, so that one sync makes them all durable. Each is
 * judged on what those before it left; each is answered for itself; nobody is answered before the commit.
 *
 *  1. A request that is refused has changed nothing, and those beside it go on.
 *  2. A full disk rolls the whole batch back; then each request is tried alone, so that reads and deletions go on.
 *  3. Any other failure of SQLite (a failed write or sync) is thrown, and its thrower is not to be used again (I6):
 *     whether the batch will be found after a restart is unknown, so nobody may be told anything else.
 */
import Database from 'better-sqlite3'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { MedusaAsks, MedusaKind } from '../../medusa/medusa-requests.ts'
import { SqliteMedusa } from '../../medusa/sqlite-medusa.ts'
import { SqliteZeus } from '../../zeus/sqlite-zeus.ts'
import type { ZeusAsks, ZeusEngineKind } from '../../zeus/zeus-requests.ts'

export interface StoreRequest {
  readonly kind: string
  readonly body: Uint8Array
}

export type StoreOutcome = Uint8Array | NdfsError

export class StoreBatches {
  readonly #zeus: SqliteZeus
  readonly #medusa: SqliteMedusa
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #rollback: Database.Statement
  readonly #database: Database.Database

  constructor(database: Database.Database) {
    this.#database = database
    this.#zeus = new SqliteZeus(database)
    this.#medusa = new SqliteMedusa(database)
    this.#begin = database.prepare('BEGIN')
    this.#commit = database.prepare('COMMIT')
    this.#rollback = database.prepare('ROLLBACK')
  }

  get zeusRevision(): number {
    return this.#zeus.revision
  }

  /** The outcome of each request, in their order; what they changed is durable. */
  run(requests: readonly StoreRequest[]): StoreOutcome[] {
    return this.#transaction(requests) ?? requests.map((request) => this.#alone(request))
  }

  /** Nothing where the disk was full: then nothing was changed. */
  #transaction(requests: readonly StoreRequest[]): StoreOutcome[] | undefined {
    this.#begin.run()
    try {
      const outcomes = requests.map((request) => this.#one(request))
      this.#commit.run()
      return outcomes
    } catch (error) {
      // SQLite may have rolled back by itself.
      if (this.#database.inTransaction) this.#rollback.run()
      this.#zeus.reload()
      if (error instanceof Database.SqliteError && error.code === 'SQLITE_FULL') return undefined
      throw error
    }
  }

  #alone(request: StoreRequest): StoreOutcome {
    return (
      this.#transaction([request])?.[0] ??
      new NdfsError(
        'OUT_OF_SPACE',
        'Cannot change metadata: the disk that holds the store is full. Make room on it',
      )
    )
  }

  #one({ kind, body }: StoreRequest): StoreOutcome {
    try {
      return encodeControl(this.#answer(kind, body))
    } catch (error) {
      if (error instanceof NdfsError) return error
      throw error
    }
  }

  #answer(kind: string, body: Uint8Array): unknown {
    if (this.#zeus.handles(kind)) return this.#zeus.run(kind, decodeControl<ZeusAsks<ZeusEngineKind>>(body))
    if (this.#medusa.handles(kind)) return this.#medusa.run(kind, decodeControl<MedusaAsks<MedusaKind>>(body))
    throw new NdfsError('REFUSED', `Cannot do ${kind}: the store does not know it`, { kind })
  }
}
