/**
 * The scrub reads every copy on this node's disks and holds it against its row, continually (R31, DESIGN section 9; why by node and
 * by rows: docs/decisions/0006).
 *
 *   round begins ─▶ a copy, when it is due ─▶ … ─▶ all were read ─▶ rest until the period is over ─▶ round begins
 *                       └─ wrong, and its row names it still ─▶ its vDisk's owner makes it anew; asked again until the row names another
 *
 *  1. Every copy is read once in a period, as long as the node runs and guests leave it time: admission control lets each in.
 *  2. A copy is due when as large a part of the period has gone by as of the copies was passed; they are counted now and then, for they
 *     come and go. What was missed is caught up with at four times that rate at the most. In between there is one timer, for the next copy.
 *  3. How far it is, is kept every few minutes: a node that is started again goes on from there.
 *  4. A race with deletion, compaction or repair is no finding: see copy-check.ts.
 *
 * Not here: reading and verifying (extent store), rows (vDisk controller), making anew (the owner).
 */
import { messageOf, NdfsError } from '../base/errors.ts'
import type { GroupId } from '../base/ids.ts'
import type { Clock, Log, Timer } from '../platform/platform.ts'
import type {
  CheckedCopy,
  Walked,
  WalkedCopy,
  WalkPlace,
} from '../stargate/vdisk-controller/vdisk-controller.ts'
import { Rest, restMsMax } from './rest.ts'

export interface ScrubContext {
  readonly clock: Clock
  readonly log: Log
  /** Every copy once in so long; undefined: none is read. */
  readonly periodMs: () => number | undefined
  /** The next copies on this node's disks, behind that place. */
  readonly walk: (place: WalkPlace) => Promise<Walked>
  /** Let in by admission control, read and held against its row; `bytes`: what was read. */
  readonly check: (copy: WalkedCopy) => Promise<{ readonly checked: CheckedCopy; readonly bytes: number }>
  /** True: its row does not name it any more. */
  readonly repair: (copy: WalkedCopy, reason: string) => Promise<boolean>
  readonly load: () => Promise<ScrubProgress | undefined>
  readonly save: (progress: ScrubProgress) => Promise<void>
}

/** What is kept. Times are milliseconds since 1970. */
export interface ScrubProgress {
  readonly begunAt: number
  readonly place: WalkPlace
  readonly isOver: boolean
  /** Copies behind which the round is, and all that there were when they were counted last. */
  readonly passed: number
  readonly total: number
  /** Read in this round. */
  readonly copies: number
  readonly bytes: number
  readonly last?: {
    readonly begunAt: number
    readonly endedAt: number
    readonly copies: number
    readonly bytes: number
  }
  /** Wrong copies, since the node was made. */
  readonly found: number
  readonly repaired: number
}

/** How things stand, for status and metrics. */
export interface ScrubTold {
  /** Of this round, 0 to 1. */
  readonly progress: number
  readonly begunAt: number
  readonly lastCompleteAt?: number
  readonly copies: number
  readonly bytes: number
  readonly found: number
  readonly repaired: number
  /** Found, and not made anew yet. */
  readonly waiting: number
}

/** How much faster than evenly it catches up. */
const catchUpFactor = 4
/** How far it is, is kept so often; more often where the period is short. */
const saveEveryMs = 10 * 60_000
const savesOfRound = 10
/** How often copies are counted. */
const countsOfRound = 10
/** A round in which there was nothing to read is begun again sooner than after a period. */
const emptyRoundShare = 10
/** Between pieces of the walk that hold nothing of this node. */
const emptyPieceMs = 50
const retryMs = 1000
const retryMsMax = 60_000
/** Wrong copies that wait for their owners: the next round finds the others. */
const waitingMax = 1000

export class Scrub {
  readonly #context: ScrubContext
  readonly #begin: WalkPlace
  readonly #rest: Rest
  /** Copies of the last piece that are still to be read. */
  #piece: WalkedCopy[] = []
  #behindPiece: WalkPlace | undefined
  #isLastPiece = false
  #progress: ScrubProgress | undefined
  readonly #waiting = new Map<string, { readonly copy: WalkedCopy; readonly reason: string }>()
  #repairTimer: Timer | undefined
  #repairing = false
  #repairPauseMs = 0
  /** On the monotonic clock: not faster than `catchUpFactor` allows. */
  #notBefore = 0
  #savedAt = 0
  #countedAt = Number.NEGATIVE_INFINITY
  #copies = 0
  #bytes = 0

  /** `begin`: the place before all copies. */
  constructor(context: ScrubContext, begin: WalkPlace) {
    this.#context = context
    this.#begin = begin
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
    this.#repairTimer?.cancel()
    this.#rest.stop()
  }

  /** Undefined until it is known what was scrubbed before. */
  describe(): ScrubTold | undefined {
    const progress = this.#progress
    if (progress === undefined) return undefined
    const { begunAt, copies, bytes, last, found, repaired } = progress
    return {
      ...{ begunAt, copies, bytes, found, repaired, waiting: this.#waiting.size },
      progress: shareOf(progress),
      ...(last === undefined ? {} : { lastCompleteAt: last.endedAt }),
    }
  }

  /** Since this process began. */
  get counts(): { readonly copies: number; readonly bytes: number } {
    return { copies: this.#copies, bytes: this.#bytes }
  }

  async #run(): Promise<void> {
    const { log } = this.#context
    let pauseMs = 0
    while (!this.#rest.stopped)
      try {
        this.#progress ??= (await this.#context.load()) ?? this.#newRound({ found: 0, repaired: 0 })
        await this.#step(this.#progress)
        pauseMs = 0
      } catch (error) {
        // Medusa, Zeus or a disk can't be read now: nothing is passed over for that.
        if (!(error instanceof NdfsError)) throw error
        pauseMs = Math.min(retryMsMax, Math.max(retryMs, 2 * pauseMs))
        log.debug('the scrub waits', { reason: messageOf(error), pauseMs })
        await this.#rest.for(pauseMs)
      }
  }

  #newRound({ last, found, repaired }: Pick<ScrubProgress, 'last' | 'found' | 'repaired'>): ScrubProgress {
    return {
      begunAt: Math.round(this.#context.clock.wallTime()),
      ...{ place: this.#begin, isOver: false, passed: 0, total: 0, copies: 0, bytes: 0, found, repaired },
      ...(last === undefined ? {} : { last }),
    }
  }

  async #step(progress: ScrubProgress): Promise<void> {
    const { periodMs, clock } = this.#context
    const period = periodMs()
    if (period === undefined) return this.#rest.for(restMsMax)
    // Begun by a clock that was put right since: what was read of the round counts on.
    if (progress.begunAt > clock.wallTime())
      progress = { ...progress, begunAt: Math.round(clock.wallTime() - shareOf(progress) * period) }
    if (progress.isOver) {
      const rest = progress.passed > 0 ? period : period / emptyRoundShare
      const left = progress.begunAt + rest - clock.wallTime()
      this.#progress = left > 0 ? progress : this.#newRound(progress)
      this.#countedAt = Number.NEGATIVE_INFINITY
      return left > 0 ? this.#rest.for(left) : undefined
    }
    this.#progress = progress
    if (this.#piece.length === 0) return this.#nextPiece(progress)
    if (progress.passed >= progress.total || clock.now() - this.#countedAt >= period / countsOfRound)
      return this.#count(progress)
    const waitMs = this.#untilDue(progress, period)
    if (waitMs > 0) return this.#rest.for(waitMs)
    await this.#scrub(this.#piece[0], period)
    this.#piece.shift()
    if (clock.now() - this.#savedAt >= Math.min(saveEveryMs, period / savesOfRound)) await this.#save()
  }

  async #nextPiece(progress: ScrubProgress): Promise<void> {
    const { walk, clock } = this.#context
    // All of the last one was read.
    const place = this.#behindPiece ?? progress.place
    if (this.#isLastPiece) {
      this.#behindPiece = undefined
      this.#isLastPiece = false
      const { begunAt, copies, bytes } = progress
      const last = { begunAt, endedAt: Math.round(clock.wallTime()), copies, bytes }
      this.#progress = { ...progress, isOver: true, last }
      // Of one in which there was nothing to read nothing has to be known.
      return progress.passed > 0 ? this.#save() : undefined
    }
    const piece = await walk(place)
    this.#progress = { ...progress, place }
    this.#piece = [...piece.copies]
    this.#behindPiece = piece.place
    this.#isLastPiece = piece.isEnd
    if (piece.copies.length === 0 && !piece.isEnd) await this.#rest.for(emptyPieceMs)
  }

  /** What is left of this piece, and what lies behind it. */
  async #count(progress: ScrubProgress): Promise<void> {
    const { walk, clock } = this.#context
    let behind = this.#piece.length
    let place = this.#behindPiece
    for (let isEnd = this.#isLastPiece; !isEnd && place !== undefined && !this.#rest.stopped;) {
      const piece = await walk(place)
      behind += piece.copies.length
      isEnd = piece.isEnd
      place = piece.place
    }
    this.#countedAt = clock.now()
    this.#progress = { ...progress, total: progress.passed + behind }
  }

  #untilDue(progress: ScrubProgress, period: number): number {
    const { clock } = this.#context
    const due = progress.begunAt + shareOf(progress) * period - clock.wallTime()
    return Math.max(due, this.#notBefore - clock.now())
  }

  async #scrub(copy: WalkedCopy, period: number): Promise<void> {
    const { check, clock, log } = this.#context
    const { checked, bytes } = await check(copy)
    const before = this.#progress!
    // One that has moved on since was passed in no time.
    if (bytes > 0) this.#notBefore = clock.now() + period / Math.max(1, before.total) / catchUpFactor
    const { vdisk, group } = copy
    const read = bytes > 0 ? 1 : 0
    this.#copies += read
    this.#bytes += bytes
    const isWrong = checked.state === 'wrong'
    this.#progress = {
      ...before,
      // Several copies of one group are on one node only where it is misplaced: none is passed over.
      place: this.#piece[1]?.group === group ? before.place : { vdisk, group },
      passed: before.passed + 1,
      copies: before.copies + read,
      bytes: before.bytes + bytes,
      found: before.found + (isWrong && !this.#waiting.has(keyOf(copy)) ? 1 : 0),
    }
    if (!isWrong) return
    const { disk, number } = copy.copy
    log.warn(`the scrub found a wrong copy of extent group ${group}`, {
      ...{ disk, copy: number, fault: checked.fault, reason: checked.reason },
    })
    this.#savedAt = Number.NEGATIVE_INFINITY
    if (this.#waiting.size >= waitingMax) return
    this.#waiting.set(keyOf(copy), { copy, reason: checked.reason })
    this.#repairPauseMs = 0
    this.#repairSoon(0)
  }

  #repairSoon(ms: number): void {
    if (this.#rest.stopped || this.#repairing) return
    this.#repairTimer?.cancel()
    this.#repairTimer = this.#context.clock.after(ms, () => void this.#repairWaiting())
  }

  async #repairWaiting(): Promise<void> {
    const { log, repair } = this.#context
    if (this.#repairing) return
    this.#repairing = true
    for (const [key, { copy, reason }] of [...this.#waiting]) {
      if (this.#rest.stopped) break
      try {
        if (!(await repair(copy, reason))) continue
        this.#waiting.delete(key)
        const progress = this.#progress!
        this.#progress = { ...progress, repaired: progress.repaired + 1 }
      } catch (error) {
        if (!(error instanceof NdfsError)) throw error
        log.debug(`a wrong copy of extent group ${copy.group} waits`, { reason: messageOf(error) })
      }
    }
    this.#repairing = false
    if (this.#waiting.size === 0) return
    this.#repairPauseMs = Math.min(retryMsMax, Math.max(retryMs, 2 * this.#repairPauseMs))
    this.#repairSoon(this.#repairPauseMs)
  }

  async #save(): Promise<void> {
    this.#savedAt = this.#context.clock.now()
    await this.#context.save(this.#progress!)
  }
}

const shareOf = ({ isOver, passed, total }: ScrubProgress): number =>
  isOver ? 1 : passed / Math.max(1, passed, total)

const keyOf = ({ group, copy }: { group: GroupId; copy: { number: number } }): string =>
  `${group}.${copy.number}`
