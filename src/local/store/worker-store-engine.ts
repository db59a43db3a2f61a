/**
 * The engine with a file: a worker thread does one batch after the other, and whatever arrives meanwhile is the next
 * batch. So the more wait, the more share a sync.
 */
import { Worker } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import type { Clock } from '../../platform/platform.ts'
import type { StoreRequest } from './store-batch.ts'
import type { StoreEngine } from './store-engine.ts'
import type { WorkerData, WorkerMessage } from './store-messages.ts'
import { decodeError, packRequests, unpackOutcomes } from './store-messages.ts'

/** A batch takes some milliseconds at most, and so does waiting behind it. */
const batchRequestsMax = 256
const batchBytesMax = 8 * MiB
/** More than all nodes of a machine have under way at once; the rest is told to come back, and memory stays bounded (I9). */
const waitingRequestsMax = 8192
const waitingBytesMax = 64 * MiB

interface Waiting extends StoreRequest {
  readonly resolve: (answer: Uint8Array) => void
  readonly reject: (error: NdfsError) => void
}

export class WorkerStoreEngine implements StoreEngine {
  onZeusChanged: (revision: number) => void = () => {}
  /** Called once when the worker cannot go on: the process must end, and start anew from the file. */
  onFailed: (error: NdfsError) => void = () => {}
  readonly #clock: Clock
  readonly #worker: Worker
  readonly #exited: Promise<void>
  #waiting: Waiting[] = []
  #waitingBytes = 0
  /** The batch that the worker has. */
  #running: readonly Waiting[] = []
  #closingBatch = false
  #zeusRevision = 0
  #over: NdfsError | undefined

  /** Opens the file, or makes it; rejects with the reason where that can't be. */
  static async open(file: string, clusterId: string, clock: Clock): Promise<WorkerStoreEngine> {
    const engine = new WorkerStoreEngine({ file, clusterId }, clock)
    await engine.#opened.promise
    return engine
  }

  readonly #opened = Promise.withResolvers<void>()

  private constructor(workerData: WorkerData, clock: Clock) {
    this.#clock = clock
    const beside = import.meta.url.endsWith('.ts') ? './store-worker.ts' : './store-worker.js'
    this.#worker = new Worker(new URL(beside, import.meta.url), { workerData })
    this.#worker.on('message', (message: WorkerMessage) => this.#onMessage(message))
    this.#worker.on('error', (error) =>
      this.#fail(
        new NdfsError(
          'UNAVAILABLE',
          `Cannot go on with the store: ${messageOf(error)}`,
          {},
          { cause: error },
        ),
      ),
    )
    this.#exited = new Promise((resolve) =>
      this.#worker.on('exit', () => {
        this.#fail(new NdfsError('UNAVAILABLE', 'Cannot go on with the store: its worker ended'))
        resolve()
      }),
    )
  }

  run(kind: string, body: Buffer): Promise<Uint8Array> {
    if (this.#over) return Promise.reject(this.#over)
    if (this.#waiting.length >= waitingRequestsMax || this.#waitingBytes + body.length > waitingBytesMax)
      return Promise.reject(
        new NdfsError('UNAVAILABLE', `Cannot take ${kind}: too many requests wait for the store. Try again`, {
          waiting: this.#waiting.length,
        }),
      )
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    this.#waiting.push({ kind, body, resolve, reject })
    this.#waitingBytes += body.length
    this.#sendSoon()
    return promise
  }

  async close(): Promise<void> {
    this.#over ??= new NdfsError('UNAVAILABLE', 'Cannot ask the store: it is shutting down')
    this.#rejectAll(this.#over)
    this.#worker.postMessage('close')
    await this.#exited
  }

  /** When all that has arrived was taken in: so that requests that came together go together. */
  #sendSoon(): void {
    if (this.#closingBatch || this.#running.length > 0) return
    this.#closingBatch = true
    this.#clock.soon(() => {
      this.#closingBatch = false
      if (!this.#over && this.#running.length === 0 && this.#waiting.length > 0) this.#send()
    })
  }

  #send(): void {
    let count = 0
    let bytes = 0
    while (count < this.#waiting.length && count < batchRequestsMax) {
      bytes += this.#waiting[count].body.length
      if (count > 0 && bytes > batchBytesMax) break
      count++
    }
    const batch = this.#waiting.slice(0, count)
    this.#waiting = this.#waiting.slice(count)
    for (const { body } of batch) this.#waitingBytes -= body.length
    this.#running = batch
    const message = packRequests(batch)
    this.#worker.postMessage(message, [message.memory])
  }

  #onMessage(message: WorkerMessage): void {
    switch (message.state) {
      case 'open':
        return this.#opened.resolve()
      case 'failed':
        return this.#fail(decodeError(message.error))
      case 'done': {
        const batch = this.#running
        this.#running = []
        const outcomes = unpackOutcomes(message)
        if (this.#over) return
        assert(outcomes.length === batch.length, 'the worker answered another batch than it was given')
        for (const [i, outcome] of outcomes.entries())
          if (outcome instanceof NdfsError) batch[i].reject(outcome)
          else batch[i].resolve(outcome)
        if (message.zeusRevision !== this.#zeusRevision) {
          this.#zeusRevision = message.zeusRevision
          this.onZeusChanged(message.zeusRevision)
        }
        return this.#sendSoon()
      }
      default:
        return message satisfies never
    }
  }

  #fail(error: NdfsError): void {
    this.#opened.reject(error)
    if (this.#over) return
    this.#over = new NdfsError('UNAVAILABLE', error.message, error.facts, { cause: error })
    this.#rejectAll(this.#over)
    this.onFailed(error)
  }

  #rejectAll(error: NdfsError): void {
    const all = [...this.#running, ...this.#waiting]
    this.#running = []
    this.#waiting = []
    this.#waitingBytes = 0
    for (const { reject } of all) reject(error)
  }
}
