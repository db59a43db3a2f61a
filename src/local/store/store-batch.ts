/**
 * Group commit: many requests to Zeus and Medusa in one transaction, so that one sync makes them all durable. Each is
 * judged on what those before it left; each is answered for itself; nobody is answered before the commit.
 *
 *  1. A request that is refused has changed nothing, and those beside it go on.
 *  2. A full disk rolls the whole batch back; then each request is tried alone, so that reads and deletions go on.
 *  3. The number of changes that the store has seen is raised with them, in the same transaction (store-database.ts): what a
 *     copy of the store is held against. A copy is led through the same requests, and refuses what comes out otherwise.
 *  4. Any other failure of SQLite (a failed write or sync) is thrown, and its thrower is not to be used again (I6):
 *     whether the batch will be found after a restart is unknown, so nobody may be told anything else.
 */
import Database from 'better-sqlite3'
import { decodeControl, encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import type { MedusaAsks, MedusaKind } from '../../medusa/medusa-requests.ts'
import { SqliteMedusa } from '../../medusa/sqlite-medusa.ts'
import { SqliteZeus } from '../../zeus/sqlite-zeus.ts'
import type { ZeusAsks, ZeusEngineKind } from '../../zeus/zeus-requests.ts'
import { positionOf } from './store-database.ts'

export interface StoreRequest {
  readonly kind: string
  readonly body: Uint8Array
}

export type StoreOutcome = Uint8Array | NdfsError

const changingKinds: ReadonlySet<string> = new Set<ZeusEngineKind | MedusaKind>([
  'zeus.set',
  'zeus.delete',
  'zeus.next',
  'zeus.claim',
  'zeus.release',
  'zeus.open-session',
  'zeus.update-session',
  'zeus.end-session',
  'medusa.change',
])

/** Those that may have changed something: a request that was refused has not. In their order, they lead a copy to the same state. */
export const changesAmong = <R extends StoreRequest>(
  requests: readonly R[],
  outcomes: readonly StoreOutcome[],
): { readonly requests: R[]; readonly answers: Uint8Array[] } => {
  const changes: { requests: R[]; answers: Uint8Array[] } = { requests: [], answers: [] }
  for (const [i, request] of requests.entries()) {
    const outcome = outcomes[i]
    if (outcome instanceof NdfsError || !changingKinds.has(request.kind)) continue
    changes.requests.push(request)
    changes.answers.push(outcome)
  }
  return changes
}

export interface BatchOptions {
  /** Milliseconds since 1970. */
  readonly wallTime?: number
  /** Called before the commit: when it throws, nothing was changed. */
  readonly check?: (outcomes: readonly StoreOutcome[]) => void
}

export class StoreBatches {
  readonly #zeus: SqliteZeus
  readonly #medusa: SqliteMedusa
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #rollback: Database.Statement
  readonly #count: Database.Statement<[number, number]>
  readonly #database: Database.Database
  #changes: number

  constructor(database: Database.Database) {
    this.#database = database
    this.#zeus = new SqliteZeus(database)
    this.#medusa = new SqliteMedusa(database)
    this.#begin = database.prepare('BEGIN')
    this.#commit = database.prepare('COMMIT')
    this.#rollback = database.prepare('ROLLBACK')
    this.#count = database.prepare('UPDATE store SET changes = ?, changed_at = ?')
    this.#changes = positionOf(database).changes
  }

  get zeusRevision(): number {
    return this.#zeus.revision
  }

  /** Changes that the store has seen since it was made. */
  get changes(): number {
    return this.#changes
  }

  /** The outcome of each request, in their order; what they changed is durable. */
  run(requests: readonly StoreRequest[], options: BatchOptions = {}): StoreOutcome[] {
    return this.#transaction(requests, options) ?? requests.map((request) => this.#alone(request, options))
  }

  /** Nothing where the disk was full: then nothing was changed. */
  #transaction(requests: readonly StoreRequest[], options: BatchOptions): StoreOutcome[] | undefined {
    const { wallTime = 0, check } = options
    const before = this.#changes
    this.#begin.run()
    try {
      const outcomes = requests.map((request) => this.#one(request))
      const changed = changesAmong(requests, outcomes).requests.length
      if (changed > 0) this.#count.run((this.#changes += changed), Math.round(wallTime))
      check?.(outcomes)
      this.#commit.run()
      return outcomes
    } catch (error) {
      // SQLite may have rolled back by itself.
      if (this.#database.inTransaction) this.#rollback.run()
      this.#zeus.reload()
      this.#changes = before
      if (error instanceof Database.SqliteError && error.code === 'SQLITE_FULL') return undefined
      throw error
    }
  }

  #alone(request: StoreRequest, options: BatchOptions): StoreOutcome {
    return (
      this.#transaction([request], options)?.[0] ??
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
