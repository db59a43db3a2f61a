/**
 * When the write-ahead log of a store's file is moved into the file. SQLite would do it by itself inside a commit, where it keeps a
 * failed sync to itself: here it is seen (I6), and it waits until those who asked have their answers.
 */
import Database from 'better-sqlite3'
import { MiB } from '../../base/units.ts'

/** So many requests, or bytes of them, leave a write-ahead log of some ten MiB: soon read again at a restart. */
const checkpointRequests = 2000
const checkpointBytes = 4 * MiB

export class WriteAheadLog {
  readonly #database: Database.Database
  #requests = 0
  #bytes = 0
  #frozen = false

  constructor(database: Database.Database) {
    this.#database = database
  }

  /** Requests were committed. */
  grew(requests: number, bytes: number): void {
    this.#requests += requests
    this.#bytes += bytes
    if (this.#frozen || (this.#requests < checkpointRequests && this.#bytes < checkpointBytes)) return
    this.#checkpoint()
    this.#requests = 0
    this.#bytes = 0
  }

  /** Afterwards the file alone holds all that was committed, and isn't written to until `thaw`. False: its disk is full. */
  freeze(): boolean {
    this.#frozen = this.#checkpoint()
    return this.#frozen
  }

  thaw(): void {
    this.#frozen = false
  }

  /** False: not all of it could be moved. With no room for the file to grow, the log keeps what it has until there is. */
  #checkpoint(): boolean {
    try {
      const [{ busy, log, checkpointed }] = this.#database.pragma('wal_checkpoint(PASSIVE)') as [
        { busy: number; log: number; checkpointed: number },
      ]
      return busy === 0 && log === checkpointed
    } catch (error) {
      if (!(error instanceof Database.SqliteError && error.code === 'SQLITE_FULL')) throw error
      return false
    }
  }
}
