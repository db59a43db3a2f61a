/**
 * The engine with a file: a worker thread does one batch after the other, and whatever arrives meanwhile is the next
 * batch. So the more wait, the more share a sync. Where there is a copy on a second disk (store-copy.ts) the answers of a batch wait
 * until that has it, too, while the next one is done.
 */
import { openSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { assert } from '../../base/assert.ts'
import { messageOf, NdfsError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import type { Clock, Log } from '../../platform/platform.ts'
import { digestOf } from './copy-files.ts'
import { changesAmong, type StoreOutcome, type StoreRequest } from './store-batch.ts'
import { StoreCopy, type StoreCopyOptions, type StoreCopyStatus } from './store-copy.ts'
import type { StorePosition } from './store-database.ts'
import type { StoreEngine } from './store-engine.ts'
import type { WorkerData, WorkerMessage, WorkerOrder } from './store-messages.ts'
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

/** A batch that was done. */
interface Told {
  readonly batch: readonly Waiting[]
  readonly outcomes: readonly StoreOutcome[]
  readonly zeusRevision: number
  /** How many changes the store had seen by then. */
  readonly changes: number
}

export interface EngineCopy {
  readonly folder: string
  readonly log: Log
  /** Left out: a thread of this process. */
  readonly startThread?: StoreCopyOptions['startThread']
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
  #runningSince = 0
  /** Done, and not told yet: they wait for the copy. In their order. */
  #untold: Told[] = []
  #untoldRequests = 0
  #copy: StoreCopy | undefined
  #changes = 0
  #closingBatch = false
  #zeusRevision = 0
  #over: NdfsError | undefined

  /** Opens the file, or makes it; rejects with the reason where that can't be. */
  static async open(
    file: string,
    clusterId: string,
    clock: Clock,
    copy?: EngineCopy,
  ): Promise<WorkerStoreEngine> {
    const engine = new WorkerStoreEngine({ file, clusterId }, clock)
    const position = await engine.#opened.promise
    engine.#changes = position.changes
    if (copy !== undefined) engine.#keepCopy({ ...copy, clusterId, position, source: openSync(file, 'r') })
    return engine
  }

  readonly #opened = Promise.withResolvers<StorePosition>()

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
    const waiting = this.#waiting.length + this.#untoldRequests
    if (waiting >= waitingRequestsMax || this.#waitingBytes + body.length > waitingBytesMax)
      return Promise.reject(
        new NdfsError('UNAVAILABLE', `Cannot take ${kind}: too many requests wait for the store. Try again`, {
          waiting,
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
    // Before the file is closed, which writes to it.
    await this.#copy?.close()
    this.#rejectAll(this.#over)
    this.#worker.postMessage('close' satisfies WorkerOrder)
    await this.#exited
  }

  /** How the copy on a second disk stands. */
  copyStatus(): StoreCopyStatus {
    return this.#copy?.status() ?? { state: 'none' }
  }

  #keepCopy(options: Omit<StoreCopyOptions, 'clock' | 'freeze' | 'thaw'>): void {
    this.#copy = new StoreCopy({
      ...options,
      clock: this.#clock,
      freeze: () => this.#worker.postMessage('freeze' satisfies WorkerOrder),
      thaw: () => this.#worker.postMessage('thaw' satisfies WorkerOrder),
    })
    this.#copy.onProgress = () => this.#tell()
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
    this.#runningSince = this.#clock.wallTime()
    const message = packRequests(batch, this.#runningSince)
    this.#worker.postMessage(message, [message.memory])
  }

  #onMessage(message: WorkerMessage): void {
    switch (message.state) {
      case 'open':
        return this.#opened.resolve(message.position)
      case 'frozen':
        return this.#copy?.frozen(message.position)
      case 'failed':
        return this.#fail(decodeError(message.error))
      case 'done': {
        const batch = this.#running
        this.#running = []
        const outcomes = unpackOutcomes(message)
        assert(outcomes.length === batch.length, 'the worker answered another batch than it was given')
        this.#addToCopy(batch, outcomes, message.changes)
        if (this.#over) return
        const { zeusRevision, changes } = message
        this.#untold.push({ batch, outcomes, zeusRevision, changes })
        this.#untoldRequests += batch.length
        this.#tell()
        return this.#sendSoon()
      }
      default:
        return message satisfies never
    }
  }

  #addToCopy(batch: readonly Waiting[], outcomes: readonly StoreOutcome[], upTo: number): void {
    const from = this.#changes
    this.#changes = upTo
    if (this.#copy === undefined || upTo === from) return
    const { requests, answers } = changesAmong(batch, outcomes)
    const changes = requests.map(({ kind, body }) => ({ kind, body }))
    this.#copy.add({ requests: changes, from, upTo, wallTime: this.#runningSince, digest: digestOf(answers) })
  }

  /** Answers all whose time has come, in their order. */
  #tell(): void {
    while (this.#untold.length > 0) {
      const [{ batch, outcomes, zeusRevision, changes }] = this.#untold
      if (this.#copy?.covers(changes) === false) return
      this.#untold.shift()
      this.#untoldRequests -= batch.length
      for (const [i, outcome] of outcomes.entries())
        if (outcome instanceof NdfsError) batch[i].reject(outcome)
        else batch[i].resolve(outcome)
      if (zeusRevision === this.#zeusRevision) continue
      this.#zeusRevision = zeusRevision
      this.onZeusChanged(zeusRevision)
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
    const all = [...this.#untold.flatMap(({ batch }) => batch), ...this.#running, ...this.#waiting]
    this.#untold = []
    this.#running = []
    this.#waiting = []
    this.#waitingBytes = 0
    for (const { reject } of all) reject(error)
  }
}
