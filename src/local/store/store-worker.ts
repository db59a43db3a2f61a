/**
 * The worker of the store: it alone touches the file, so that a sync that takes long holds up no heartbeat.
 * Each message is one batch, one transaction and one sync (store-batch.ts).
 */
import Database from 'better-sqlite3'
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import { StoreBatches } from './store-batch.ts'
import { openStoreDatabase } from './store-database.ts'
import type { RequestsMessage, WorkerData, WorkerMessage } from './store-messages.ts'
import { encodeError, packOutcomes, unpackRequests } from './store-messages.ts'

assert(parentPort, 'the store worker was started as a program of its own')
const port = parentPort

const send = (message: WorkerMessage, transfer: readonly ArrayBuffer[] = []) =>
  port.postMessage(message, [...transfer])

/** After it nothing more is done: the process that holds this worker ends, and the file is read anew at its next start. */
function fail(error: unknown): void {
  const known =
    error instanceof NdfsError
      ? error
      : new NdfsError('DISK_FAILED', `Cannot go on with the store: ${messageOf(error)}`)
  send({ state: 'failed', error: encodeError(known) })
  port.close()
}

/** So many requests, or bytes of them, leave a write-ahead log of some ten MiB: soon read again at a restart. */
const checkpointRequests = 2000
const checkpointBytes = 4 * MiB

/**
 * Moves the write-ahead log into the file. SQLite would do it by itself inside a commit, where it keeps a failed sync to
 * itself: here it is seen (I6), and it waits until those who asked have their answers.
 */
function checkpoint(database: Database.Database): void {
  try {
    database.pragma('wal_checkpoint(PASSIVE)')
  } catch (error) {
    // With no room for the file to grow, the log keeps what it has until there is.
    if (!(error instanceof Database.SqliteError && error.code === 'SQLITE_FULL')) throw error
  }
}

function serve({ file, clusterId }: WorkerData): void {
  const database = openStoreDatabase(file, clusterId)
  const batches = new StoreBatches(database)
  let requests = 0
  let bytes = 0
  port.on('message', (message: RequestsMessage | 'close') => {
    if (message === 'close') {
      database.close()
      return port.close()
    }
    try {
      const answer = packOutcomes(batches.run(unpackRequests(message)), batches.zeusRevision)
      requests += message.kinds.length
      bytes += message.memory.byteLength
      send(answer, [answer.memory])
      if (requests >= checkpointRequests || bytes >= checkpointBytes) {
        checkpoint(database)
        requests = 0
        bytes = 0
      }
    } catch (error) {
      fail(error)
    }
  })
  send({ state: 'open' })
}

try {
  serve(workerData as WorkerData)
} catch (error) {
  fail(error)
}
