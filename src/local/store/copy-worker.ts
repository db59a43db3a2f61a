/**
 * The thread that keeps the copy of the store: a second disk that is slow, or hangs, holds up nobody but it (store-copy.ts decides
 * how long answers wait for it). It does one order after the other; after a failure it does nothing more.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { CopyFiles } from './copy-files.ts'
import type { CopyMessage, CopyOrder, CopyWorkerData } from './copy-messages.ts'
import { unpackChanges } from './copy-messages.ts'
import { encodeError } from './store-messages.ts'

assert(parentPort, 'the thread of the copy was started as a program of its own')
const port = parentPort

const send = (message: CopyMessage): void => port.postMessage(message)

function fail(error: unknown): void {
  const known =
    error instanceof NdfsError
      ? error
      : new NdfsError('DISK_FAILED', `Cannot keep the copy of the store: ${messageOf(error)}`)
  send({ state: 'failed', error: encodeError(known) })
  port.close()
}

function keep({ folder, clusterId }: CopyWorkerData): void {
  const files = new CopyFiles(folder, clusterId)
  const obey = (order: CopyOrder): void => {
    switch (order.order) {
      case 'make':
        files.make(order.source, order.position)
        return send({ state: 'made', changes: order.position.changes })
      case 'apply': {
        const changes = unpackChanges(order)
        files.apply(changes)
        return send({ state: 'applied', changes: changes[changes.length - 1].upTo })
      }
      case 'close':
        files.close()
        return port.close()
      default:
        return order satisfies never
    }
  }
  port.on('message', (order: CopyOrder) => {
    try {
      obey(order)
    } catch (error) {
      fail(error)
    }
  })
  const { position } = files
  send({ state: 'open', ...(position === undefined ? {} : { position }) })
}

try {
  keep(workerData as CopyWorkerData)
} catch (error) {
  fail(error)
}
