/**
 * Clients of this node that wait for locks. In each file they have their turns in the order in which they came: one whose lock can't be had
 * yet holds up those behind it that want the same bytes.
 *
 *  (none)  → waiting   LOCK was answered with BLOCKED                                              [add]
 *  waiting → told      the lock was taken for it, as an offer, and the client is called back       [#look]
 *  told    → (none)    it has taken it; or it did not want it, or was not reached, and the offer is withdrawn   [#tell]
 *  any     → (none)    it has got the lock by asking again, has cancelled, unlocked or started again   [drop]
 *
 *  1. An offer is withdrawn only where the client can't think that it has the lock: it was never reached, or it denied the first call that
 *     reached it. A call without an answer may have been heard; then the lock stays, and the client's own CANCEL, UNLOCK or next start ends it.
 *  2. Whoever was dropped while the lock was taken for it, or while it was called, has nothing of that: what was offered is withdrawn. Where it
 *     has got the lock by asking again that is another one.
 *
 * All of it is this node's memory. A waiter that dies with it is told nothing; Linux's client asks again every 30 s by itself. An offer that
 * stands then keeps others out until that, or until its client cancels or starts again.
 */
import { NdfsError, messageOf } from '../../../base/errors.ts'
import type { Clock, Chance, Log, Timer } from '../../../platform/platform.ts'
import {
  excludeEachOther,
  type FileLock,
  type FileLocks,
  isSameClient,
  isSameLock,
  isSameOwner,
  isSameRange,
  type LockClient,
  type LockOwner,
  type OfferId,
} from '../../file-locks/file-locks.ts'
import type { ClientPlace } from './lock-managers.ts'
import type { Nlm4Lock } from './nlm4-messages.ts'

/** Who waits, and how the client is told. */
export interface LockWait {
  readonly file: string
  readonly wanted: FileLock
  /** Of the client's status monitor. */
  readonly state: number
  readonly client: ClientPlace
  /** As the client has written it. */
  readonly lock: Nlm4Lock
}

export type Heard =
  | 'taken'
  | 'refused'
  /** Not now. */
  | 'later'
  | 'unanswered'
  | 'unreached'

export interface LockWaitersParts {
  readonly locks: FileLocks
  readonly clock: Clock
  readonly chance: Chance
  readonly log: Log
  /** GRANTED, to the client's lock manager. `begins` is asked just before it is called, perhaps after a while; where it says no it is not. */
  readonly tell: (wait: LockWait, begins: () => boolean) => Promise<Heard>
}

interface Waiter extends LockWait {
  readonly offer: OfferId
  told: boolean
  /** The last that told of it: to come, under way, or over. */
  call: Promise<unknown>
  calling: boolean
}

interface Line {
  /** In the order in which they came. */
  readonly waiters: Waiter[]
  looking: boolean
  /** Something got free during a look. */
  again: boolean
  pauseMs: number
  timer: Timer | undefined
}

/** Each holds a client's process. */
const waitersMax = 1024
/**
 * Between looks of a node's own: for what got free without its being told. That is rare, and each look is a handful of reads of each file
 * that is waited for.
 */
const pauseMsMin = 1000
const pauseMsMax = 8000
/** A client that is not reached for so long loses its turn. Others wait behind it. */
const reachWithinMs = 10_000
/** For so long one that was reached is asked what it has made of it. */
const answerWithinMs = 60_000
const tellAgainMs = 500
const tellAgainMsMax = 5000
/** About five minutes: a metadata store that is away for longer leaves offers to their clients' next start. */
const withdrawalsMax = 40

export class LockWaiters {
  readonly #parts: LockWaitersParts
  readonly #lines = new Map<string, Line>()
  #count = 0
  #closed = false

  constructor(parts: LockWaitersParts) {
    this.#parts = parts
    parts.locks.onFreed = (file) => this.#freed(file)
  }

  get count(): number {
    return this.#count
  }

  /**
   * The lock was denied with `waits`, in its client's present life: what waits of a former one is dropped first. False: too many wait already.
   * One that waits already stays in its place.
   */
  async add(wait: LockWait): Promise<boolean> {
    await this.#dropFormerLife(wait)
    const line = this.#lines.get(wait.file)
    if (line?.waiters.some(({ wanted }) => isSameLock(wanted, wait.wanted))) return true
    // As one that dies with the node.
    if (this.#closed) return true
    if (this.#count >= waitersMax) return false
    const waiter: Waiter = {
      ...wait,
      offer: this.#parts.chance.bytes(8).toString('hex'),
      told: false,
      call: Promise.resolve(),
      calling: false,
    }
    this.#count += 1
    if (line !== undefined) {
      line.waiters.push(waiter)
      if (line.timer === undefined && !line.looking) this.#lookLater(wait.file, line)
    } else {
      const begun = { waiters: [waiter], looking: false, again: false, pauseMs: pauseMsMin, timer: undefined }
      this.#lines.set(wait.file, begun)
      this.#lookLater(wait.file, begun)
    }
    return true
  }

  /**
   * This very lock is not waited for any more. Resolves when no call that tells of it is under way: clients do not tell such calls apart, and
   * one that came late would be taken for the answer to what they ask next.
   */
  async drop(file: string, lock: FileLock): Promise<void> {
    await this.#drop(file, ({ wanted }) => isSameLock(wanted, lock))
  }

  /** Just that range is not, neither shared nor exclusively. */
  async dropRange(file: string, owner: LockOwner, range: FileLock['range']): Promise<void> {
    await this.#drop(
      file,
      ({ wanted }) => isSameOwner(wanted.owner, owner) && isSameRange(wanted.range, range),
    )
  }

  /** The client has started again; `state`: what waits in that one already stays. */
  dropClient(client: LockClient, state?: number): void {
    for (const file of [...this.#lines.keys()])
      void this.#drop(
        file,
        (waiter) =>
          isSameClient(waiter.wanted.owner.client, client) && (state === undefined || waiter.state !== state),
      )
  }

  async #dropFormerLife({ wanted, state }: LockWait): Promise<void> {
    const { client } = wanted.owner
    const isFormer = (waiter: Waiter): boolean =>
      isSameClient(waiter.wanted.owner.client, client) && ![0, state].includes(waiter.state)
    if (state !== 0) await Promise.all([...this.#lines.keys()].map((file) => this.#drop(file, isFormer)))
  }

  /** Nobody is told any more. What is offered stays: some may just be hearing of it. */
  close(): void {
    this.#closed = true
    for (const [file, line] of this.#lines) {
      for (const waiter of [...line.waiters]) this.#remove(line, waiter)
      this.#settle(file, line)
    }
  }

  async #drop(file: string, isMeant: (waiter: Waiter) => boolean): Promise<void> {
    const line = this.#lines.get(file)
    if (line === undefined) return
    const dropped = line.waiters.filter(isMeant)
    for (const waiter of dropped) {
      this.#remove(line, waiter)
      if (waiter.told) void this.#withdraw(waiter)
    }
    this.#settle(file, line)
    // Those behind may have their turn.
    if (dropped.length > 0) this.#freed(file)
    await Promise.all(dropped.filter(({ calling }) => calling).map(({ call }) => call))
  }

  #remove(line: Line, waiter: Waiter): void {
    const at = line.waiters.indexOf(waiter)
    if (at < 0) return
    line.waiters.splice(at, 1)
    this.#count -= 1
  }

  #settle(file: string, line: Line): void {
    if (line.waiters.length > 0 || line.looking) return
    line.timer?.cancel()
    this.#lines.delete(file)
  }

  #freed(file: string): void {
    const line = this.#lines.get(file)
    if (line === undefined) return
    line.pauseMs = pauseMsMin
    void this.#look(file, line)
  }

  #lookLater(file: string, line: Line): void {
    line.timer?.cancel()
    line.timer = this.#parts.clock.after(line.pauseMs, () => {
      line.timer = undefined
      void this.#look(file, line)
    })
    line.pauseMs = Math.min(2 * line.pauseMs, pauseMsMax)
  }

  async #look(file: string, line: Line): Promise<void> {
    if (line.looking) {
      line.again = true
      return
    }
    line.looking = true
    do {
      line.again = false
      await this.#lookOnce(line)
    } while (line.again && !this.#closed)
    line.looking = false
    if (line.waiters.some(({ told }) => !told)) this.#lookLater(file, line)
    else this.#settle(file, line)
  }

  async #lookOnce(line: Line): Promise<void> {
    const before: FileLock[] = []
    for (const waiter of [...line.waiters]) {
      const { wanted } = waiter
      if (waiter.told || !line.waiters.includes(waiter)) continue
      if (!before.some((earlier) => excludeEachOther(earlier, wanted)) && (await this.#take(line, waiter)))
        continue
      before.push(wanted)
    }
  }

  /** Whether it waits no longer. */
  async #take(line: Line, waiter: Waiter): Promise<boolean> {
    const { locks, log } = this.#parts
    const { file, wanted, state, offer } = waiter
    let outcome: string
    try {
      outcome = (await locks.lock(file, wanted, { state, offer, waits: true })).outcome
    } catch (error) {
      if (!(error instanceof NdfsError)) throw error
      log.debug('A lock could not be looked for', { file, reason: messageOf(error) })
      outcome = 'unknown'
    }
    if (!line.waiters.includes(waiter)) {
      if (outcome === 'granted' || outcome === 'unknown') void this.#withdraw(waiter)
      return true
    }
    if (outcome === 'released') this.#remove(line, waiter)
    if (outcome === 'granted') {
      waiter.told = true
      void this.#tell(line, waiter)
    }
    return outcome === 'granted' || outcome === 'released'
  }

  async #tell(line: Line, waiter: Waiter): Promise<void> {
    const { clock, log, tell } = this.#parts
    const begun = clock.now()
    let mayHaveHeard = false
    for (let pauseMs = tellAgainMs; ; pauseMs = Math.min(2 * pauseMs, tellAgainMsMax)) {
      const call = tell(waiter, () => (waiter.calling = line.waiters.includes(waiter)))
      waiter.call = call
      const heard = await call
      waiter.calling = false
      // What dropped it has withdrawn the offer.
      if (!line.waiters.includes(waiter)) return
      if (heard === 'taken') return this.#end(line, waiter, () => this.#accept(waiter))
      // Not a word against a call that went before and was not answered: it may have been taken then.
      if (heard === 'refused')
        return this.#end(line, waiter, () => (mayHaveHeard ? undefined : this.#withdraw(waiter)))
      if (heard === 'unanswered') mayHaveHeard = true
      if (clock.now() - begun > (mayHaveHeard ? answerWithinMs : reachWithinMs)) {
        const { file, client } = waiter
        log.warn('A client that waits for a lock could not be told that it has it', {
          ...{ file, client: client.host, keepsIt: mayHaveHeard },
        })
        return this.#end(line, waiter, () => (mayHaveHeard ? undefined : this.#withdraw(waiter)))
      }
      await clock.sleep(pauseMs)
      if (!line.waiters.includes(waiter)) return
    }
  }

  #end(line: Line, waiter: Waiter, then: () => Promise<void> | undefined): void {
    this.#remove(line, waiter)
    this.#settle(waiter.file, line)
    void then()
  }

  /** What else the client had there may stay a while: it keeps others out of what is the client's anyway. */
  async #accept({ file, offer }: Waiter): Promise<void> {
    await this.#surely(() => this.#parts.locks.accept(file, offer), file)
  }

  /** Nobody knows of the lock: it must not stay. */
  async #withdraw({ file, offer }: Waiter): Promise<void> {
    await this.#surely(() => this.#parts.locks.withdraw(file, offer), file)
  }

  async #surely(attempt: () => Promise<void>, file: string): Promise<void> {
    const { clock, log } = this.#parts
    for (let attempts = 1; ; attempts++) {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        // Once this node closes there is nobody to try again.
        if (attempts < withdrawalsMax && !this.#closed) await clock.sleep(pauseMsMax)
        else return log.warn('An offered lock stays as it is', { file, reason: messageOf(error) })
      }
    }
  }
}
