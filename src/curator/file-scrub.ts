/**
 * The scrub of files: what of containers lies in the metadata is read once in a period and held against itself, as `ndfs check` does it, but at
 * leisure. Every node does so for the containers whose roots' numbers point at it.
 *
 *   round begins ─▶ container by container, a pause behind each file and directory ─▶ what was found is kept ─▶ rest until the period is over
 *
 * A round that is interrupted is begun again. There is no other copy of a row within the store to heal it from: what is wrong is told, in the log
 * and by `ndfs status`, until a round finds it no more.
 *
 * Not here: what is wrong and what is not (namespace).
 */
import { messageOf, NdfsError } from '../base/errors.ts'
import type { Clock, Log } from '../platform/platform.ts'
import type { FileCheckContext, InodeId } from '../stargate/namespace/namespace.ts'
import { Rest, restMsMax } from './rest.ts'

export interface ScrubbedContainer {
  readonly name: string
  readonly root: InodeId
}

export interface FileScrubContext {
  readonly clock: Clock
  readonly log: Log
  /** A round in so long; undefined: none. */
  readonly periodMs: () => number | undefined
  /** Those that this node looks after now. */
  readonly containers: () => readonly ScrubbedContainer[]
  readonly admit: (bytes: number) => Promise<() => void>
  readonly check: (
    container: ScrubbedContainer,
    context: Omit<FileCheckContext, 'faultOfVDisk' | 'vdisks'>,
  ) => Promise<void>
  readonly load: () => Promise<FileScrubRound | undefined>
  readonly save: (round: FileScrubRound) => Promise<void>
}

/** The last whole round. Times are milliseconds since 1970. */
export interface FileScrubRound {
  readonly begunAt: number
  readonly endedAt: number
  /** Files and directories. */
  readonly read: number
  readonly found: number
}

/** Behind each file and directory: ten million are read in three days, eight at once. */
const pauseMs = 200
const retryMs = 60_000
/** Of one container in one round. */
const triesMax = 5
/** Findings of one round that are written to the log. */
const loggedMax = 100

export class FileScrub {
  readonly #context: FileScrubContext
  readonly #rest: Rest
  #last: FileScrubRound | undefined
  /** In the round that is under way. */
  #found = 0

  constructor(context: FileScrubContext) {
    this.#context = context
    this.#rest = new Rest(context.clock)
  }

  start(): void {
    void this.#run()
  }

  /** The period was changed. */
  look(): void {
    this.#rest.wake()
  }

  stop(): void {
    this.#rest.stop()
  }

  /** What is wrong, as far as is known: what the last round has found, or this one already more. */
  get found(): number {
    return Math.max(this.#last?.found ?? 0, this.#found)
  }

  async #run(): Promise<void> {
    const { log, load } = this.#context
    for (let isLoaded = false; !this.#rest.stopped;)
      try {
        if (!isLoaded) this.#last = await load()
        isLoaded = true
        const dueInMs = this.#untilDue()
        if (dueInMs > 0) await this.#rest.for(dueInMs)
        if (!this.#rest.stopped && this.#untilDue() <= 0) await this.#round()
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        log.debug('the scrub of files begins again', { reason: messageOf(error) })
        await this.#rest.for(retryMs)
      }
  }

  #untilDue(): number {
    const { clock, periodMs } = this.#context
    const period = periodMs()
    if (period === undefined) return restMsMax
    return this.#last === undefined ? 0 : Math.min(period, this.#last.begunAt + period - clock.wallTime())
  }

  async #round(): Promise<void> {
    const { clock, containers, save } = this.#context
    const begunAt = Math.round(clock.wallTime())
    let read = 0
    this.#found = 0
    const mine = containers()
    for (const container of mine) {
      read += await this.#readAll(container)
      if (this.#rest.stopped) return
    }
    const round = { begunAt, endedAt: Math.round(clock.wallTime()), read, found: this.#found }
    this.#last = round
    this.#found = 0
    // Of one in which there was nothing to read nothing has to be known.
    if (mine.length > 0) await save(round)
  }

  /** How many files and directories there were. Metadata that is away for a moment costs the container, and not the round. */
  async #readAll(container: ScrubbedContainer): Promise<number> {
    const { clock, log, admit, check } = this.#context
    const foundBefore = this.#found
    for (let tries = 1; ; tries++)
      try {
        let read = 0
        this.#found = foundBefore
        await check(container, {
          admit,
          stopped: () => this.#rest.stopped,
          found: ({ kind, what, inode }) => {
            this.#found++
            if (this.#found <= loggedMax) log.warn(`the scrub found a ${kind}`, { what, inode })
          },
          checked: async () => {
            read++
            await clock.sleep(pauseMs)
          },
          leftOver: () => undefined,
          unfinished: (what) => log.debug('the scrub of files passes by', { what }),
        })
        return read
      } catch (error) {
        if (!(error instanceof NdfsError) || tries === triesMax || this.#rest.stopped) throw error
        log.debug(`the scrub of container ${container.name} begins again`, { reason: messageOf(error) })
        await this.#rest.for(retryMs)
      }
  }
}
