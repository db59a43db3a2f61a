/** The thread that keeps the copy of the store, from outside. */
import { Worker } from 'node:worker_threads'
import { messageOf } from '../../base/errors.ts'
import type { CopyMessage, CopyOrder, CopyWorkerData } from './copy-messages.ts'

export interface CopyThread {
  onMessage: (message: CopyMessage) => void
  /** It ended, or can't go on. May be called more than once. */
  onEnded: (reason: string) => void
  /** Resolves when it has ended. */
  readonly exited: Promise<void>
  order: (order: CopyOrder) => void
  /** Now, in the middle of whatever it does; one that hangs in its disk ends with the process. */
  terminate(): void
}

export function startCopyThread(workerData: CopyWorkerData): CopyThread {
  const beside = import.meta.url.endsWith('.ts') ? './copy-worker.ts' : './copy-worker.js'
  const worker = new Worker(new URL(beside, import.meta.url), { workerData })
  const { promise: exited, resolve } = Promise.withResolvers<void>()
  const thread: CopyThread = {
    onMessage: () => {},
    onEnded: () => {},
    exited,
    order: (order) => worker.postMessage(order, order.order === 'apply' ? [order.memory] : []),
    terminate: () => void worker.terminate(),
  }
  worker.on('message', (message: CopyMessage) => thread.onMessage(message))
  worker.on('error', (error) => thread.onEnded(messageOf(error)))
  worker.on('exit', () => {
    resolve()
    thread.onEnded('its thread ended')
  })
  return thread
}
