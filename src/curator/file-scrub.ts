/**
 * The scrub of files: what of containers lies in the metadata is read once in a period and held against itself, as `ndfs check` does it, but at
 * leisure. Every node does so for the containers whose roots' numbers point at it.
 *
 *   container is due ─▶ its round, a pause behind each file and directory ─▶ what was found is kept ─▶ rest until the next one is due
 *
 * When a container was read last is known of the container, and not of the node that did: nodes come and go, and with them whom a number
 * points at. A round that is interrupted is begun again. There is no other copy of a row within the store to heal it from: what is wrong is
 * told, in the log and by `ndfs status`, until a round finds it no more.
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
  readonly load: (root: InodeId) => Promise<FileScrubRound | undefined>
  readonly save: (root: InodeId, round: FileScrubRound) => Promise<void>
}

/** The last whole round of a container. Times are milliseconds since 1970. */
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
/** Findings of one round that are written to the log. */
const loggedMax = 100

export class FileScrub {
  readonly #context: FileScrubContext
  readonly #rest: Rest
  /** Of each container that this node looks after; undefined: it was never read. */
  readonly #last = new Map<InodeId, FileScrubRound | undefined>()
  #underWay: { readonly root: InodeId; found: number } | undefined

  constructor(context: FileScrubContext) {
    this.#context = context
    this.#rest = new Rest(context.clock)
  }

  start(): void {
    void this.#run()
  }

  /** The period was changed, or which containers this node looks after. */
  look(): void {
    this.#rest.wake()
  }

  stop(): void {
    this.#rest.stop()
  }

  /** What is wrong, as far as is known: what the last rounds have found, or those under way already more. */
  get found(): number {
    let found = 0
    for (const [root, last] of this.#last) {
      const now = this.#underWay?.root === root ? this.#underWay.found : 0
      found += Math.max(last?.found ?? 0, now)
    }
    return found
  }

  async #run(): Promise<void> {
    const { log } = this.#context
    while (!this.#rest.stopped)
      try {
        await this.#step()
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        log.debug('the scrub of files begins again', { reason: messageOf(error) })
        await this.#rest.for(retryMs)
      }
  }

  /** What there is to do first. Between the look at what is ours and the rest nothing is awaited: no call of `look` is missed. */
  async #step(): Promise<void> {
    const mine = this.#context.containers()
    const roots = new Set(mine.map(({ root }) => root))
    for (const root of this.#last.keys()) if (!roots.has(root)) this.#last.delete(root)
    const unknown = mine.find(({ root }) => !this.#last.has(root))
    if (unknown !== undefined) {
      this.#last.set(unknown.root, await this.#context.load(unknown.root))
      return
    }
    let next: ScrubbedContainer | undefined
    let dueInMs: number = restMsMax
    for (const container of mine) {
      const ms = this.#untilDue(container)
      if (ms >= dueInMs) continue
      next = container
      dueInMs = ms
    }
    if (next === undefined || dueInMs > 0) await this.#rest.for(dueInMs)
    else await this.#round(next)
  }

  #untilDue({ root }: ScrubbedContainer): number {
    const { clock, periodMs } = this.#context
    const period = periodMs()
    if (period === undefined) return restMsMax
    const last = this.#last.get(root)
    return last === undefined ? 0 : Math.min(period, last.begunAt + period - clock.wallTime())
  }

  async #round(container: ScrubbedContainer): Promise<void> {
    const { clock, containers, save } = this.#context
    const { root } = container
    const begunAt = Math.round(clock.wallTime())
    const now = { root, found: 0 }
    this.#underWay = now
    try {
      const read = await this.#readAll(container, now)
      // One that was taken away, or is another node's by now, is not ours to tell of.
      if (this.#rest.stopped || !containers().some((one) => one.root === root)) return
      const round = { begunAt, endedAt: Math.round(clock.wallTime()), read, found: now.found }
      this.#last.set(root, round)
      await save(root, round)
    } finally {
      this.#underWay = undefined
    }
  }

  /** How many files and directories there were. */
  async #readAll(container: ScrubbedContainer, now: { found: number }): Promise<number> {
    const { clock, log, admit, check } = this.#context
    let read = 0
    await check(container, {
      admit,
      stopped: () => this.#rest.stopped,
      found: ({ kind, what, inode }) => {
        now.found++
        if (now.found <= loggedMax) log.warn(`the scrub found a ${kind}`, { what, inode })
      },
      checked: async () => {
        read++
        await clock.sleep(pauseMs)
      },
      leftOver: () => undefined,
      unfinished: (what) => log.debug('the scrub of files passes by', { what }),
    })
    return read
  }
}
