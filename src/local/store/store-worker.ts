/**
 * The worker of the store: it alone touches the file, so that a sync that takes long holds up no heartbeat.
 * Each message is one batch, one transaction and one sync (store-batch.ts).
 */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { StoreBatches } from './store-batch.ts'
import { openStoreDatabase, positionOf } from './store-database.ts'
import type { WorkerData, WorkerMessage, WorkerOrder } from './store-messages.ts'
import { encodeError, packOutcomes, unpackRequests } from './store-messages.ts'
import { WriteAheadLog } from './write-ahead-log.ts'

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

function serve({ file, clusterId }: WorkerData): void {
  const database = openStoreDatabase(file, clusterId)
  const batches = new StoreBatches(database)
  const log = new WriteAheadLog(database)
  const obey = (order: WorkerOrder): void => {
    switch (order) {
      case 'close':
        database.close()
        return port.close()
      case 'freeze':
        return send({ state: 'frozen', ...(log.freeze() ? { position: positionOf(database) } : {}) })
      case 'thaw':
        return log.thaw()
      default: {
        const outcomes = batches.run(unpackRequests(order), { wallTime: order.wallTime })
        const answer = packOutcomes(outcomes, batches)
        send(answer, [answer.memory])
        log.grew(order.kinds.length, order.memory.byteLength)
      }
    }
  }
  port.on('message', (order: WorkerOrder) => {
    try {
      obey(order)
    } catch (error) {
      fail(error)
    }
  })
  send({ state: 'open', position: positionOf(database) })
}

try {
  serve(workerData as WorkerData)
} catch (error) {
  fail(error)
}
