/**
 * Clients of our own that write down each call and each answer, of real processes as the simulator does of simulated ones: every write
 * has a stamp of its own in each sector of it, so that a read tells which write it saw. The histories are judged by the simulator's checkers.
 *
 * A vDisk's pages are of two kinds:
 *
 *   0            shared              one hand's own │ the next one's …
 *   ├────────────────────────────────┼──────────────┼──────────────┤
 *   written and read by all hands    written by one hand, read by all: also by the strict checker, for which each write
 *                                    happens once (sector-history.ts says why others may happen twice)
 */
import { performance } from 'node:perf_hooks'
import { findViolation, type PageOperation } from '../../sim/linearizable-pages.ts'
import {
  findSectorViolation,
  sectorBytes,
  SectorHistory,
  stampSectors,
  stampsIn,
  type SectorRead,
  type SectorWrite,
} from '../../sim/sector-history.ts'
import { SeededChance } from '../../sim/seeded-chance.ts'
import type { Door } from './doors.ts'
import { ConnectionLost, NbdError, type NbdClient } from './nbd-client.ts'
import { sleep } from './run.ts'

const pageBytes = 4096
const sectorsPerPage = pageBytes / sectorBytes
const sharedPages = 96
const ownPages = 32
/** Who comes later has the pages of who came first. */
const ownersMax = 64
const pagesOfAll = sharedPages + ownPages * ownersMax
/** Of one request. */
const pagesMost = 4
const stopPatienceMs = 3000

/** The smallest vDisk for it. */
export const recordedWorkBytes = pagesOfAll * pageBytes

export interface Refusal {
  readonly door: string
  readonly isPatient: boolean
  readonly at: number
  readonly message: string
}

export class RecordedWork {
  readonly history = new SectorHistory()
  readonly refusals: Refusal[] = []
  readonly #pauseMsMost: number
  readonly #chance: SeededChance
  readonly #working: { readonly door: Door; readonly ended: Promise<void>; stopping: boolean }[] = []
  #hands = 0
  #stamp = 0
  /** Called with each answer. */
  onAnswer: (door: Door, calledAt: number, answeredAt: number) => void = () => undefined

  /** `pauseMsMost`: between two things of one hand. */
  constructor(seed: number, pauseMsMost: number) {
    this.#chance = new SeededChance(seed, 'recorded work')
    this.#pauseMsMost = pauseMsMost
  }

  /** So many hands more, through this door. */
  join(door: Door, hands: number): void {
    for (let i = 0; i < hands; i++) {
      const working = { door, stopping: false, ended: Promise.resolve() }
      working.ended = this.#work(door, this.#hands++, () => working.stopping)
      // Whoever stops it hears of it.
      working.ended.catch(() => undefined)
      this.#working.push(working)
    }
  }

  /**
   * Resolves when all hands at this door have ended, or, where none is named, at all. Those that wait for a node that is gone end with
   * their connection.
   */
  async leave(door?: Door): Promise<void> {
    const leaving = this.#working.filter((one) => door === undefined || one.door === door)
    for (const one of leaving) one.stopping = true
    const ended = Promise.all(leaving.map((one) => one.ended))
    await Promise.race([ended, sleep(stopPatienceMs)])
    const doors = new Set(leaving.map((one) => one.door))
    for (const one of doors) if (!one.isPatient) one.close()
    await ended
    for (const one of doors) one.close()
    for (const one of leaving) this.#working.splice(this.#working.indexOf(one), 1)
  }

  async #work(door: Door, hand: number, stopped: () => boolean): Promise<void> {
    while (!stopped()) {
      const client = await door.enter(stopped)
      if (client === undefined) return
      try {
        await (this.#chance.happens(0.5) ? this.#read(client, door) : this.#write(client, door, hand))
      } catch (error) {
        if (error instanceof ConnectionLost) door.leave(client)
        else if (error instanceof NbdError) this.#refused(door, error)
        else throw error
      }
      await sleep(this.#chance.between(0, this.#pauseMsMost))
    }
  }

  #refused(door: Door, error: NbdError): void {
    const { name, isPatient } = door
    this.refusals.push({ door: name, isPatient, at: performance.now(), message: error.message })
  }

  async #read(client: NbdClient, door: Door): Promise<void> {
    const [page, count] = this.#range(0, pagesOfAll)
    await this.#readAt(client, door, page, count)
  }

  async #readAt(client: NbdClient, door: Door, page: number, count: number): Promise<void> {
    const calledAt = performance.now()
    const bytes = await client.read(page * pageBytes, count * pageBytes)
    const answeredAt = performance.now()
    const first = page * sectorsPerPage
    const stamps = stampsIn(bytes, first, `a read through ${door.name}`)
    this.history.reads.push({ first, stamps, by: door.name, calledAt, answeredAt })
    this.onAnswer(door, calledAt, answeredAt)
  }

  async #write(client: NbdClient, door: Door, hand: number): Promise<void> {
    const [page, count] = this.#chance.happens(0.5)
      ? this.#range(0, sharedPages)
      : this.#range(sharedPages + ownPages * (hand % ownersMax), ownPages)
    const first = page * sectorsPerPage
    const payload = Buffer.alloc(count * pageBytes)
    const stamp = ++this.#stamp
    stampSectors(payload, stamp, first)
    const write: SectorWrite = {
      stamp,
      first,
      count: count * sectorsPerPage,
      by: `hand ${hand} through ${door.name}`,
      calledAt: performance.now(),
    }
    this.history.writes.push(write)
    await client.write(page * pageBytes, payload)
    write.answeredAt = performance.now()
    this.onAnswer(door, write.calledAt, write.answeredAt)
  }

  #range(from: number, pages: number): [page: number, count: number] {
    const count = 1 + this.#chance.below(pagesMost)
    return [from + this.#chance.below(pages - count + 1), count]
  }

  /** Reads all of it once more. */
  async readAll(door: Door): Promise<void> {
    const client = await door.enter(() => false)
    for (let page = 0; client !== undefined && page < pagesOfAll; page += pagesMost)
      await this.#readAt(client, door, page, pagesMost)
  }

  get counts(): { readonly writes: number; readonly unanswered: number; readonly reads: number } {
    const { writes, reads } = this.history
    const unanswered = writes.filter(({ answeredAt }) => answeredAt === undefined).length
    return { writes: writes.length - unanswered, unanswered, reads: reads.length }
  }

  /** What is wrong with the history; undefined: a single disk could have behaved so (I2). */
  judge(): string | undefined {
    return judge(this.history)
  }

  /** Whether the judgement would be another if one read had gone back to what had been overwritten: else it is worth nothing. */
  findsStaleRead(): boolean {
    return judge(withStaleRead(this.history)) !== undefined
  }
}

export function judge(history: SectorHistory): string | undefined {
  const violation = findSectorViolation(history)
  if (violation !== undefined) return `${violation.message}\n${violation.involved.map(describe).join('\n')}`
  return findViolation(strictOperations(history))?.message
}

/** Of pages that one hand alone writes. */
function* strictPages(
  operation: { readonly first: number },
  sectors: number,
): Generator<{ readonly page: number; readonly at: number }> {
  for (let at = 0; at < sectors; at += sectorsPerPage) {
    const page = (operation.first + at) / sectorsPerPage
    if (page >= sharedPages) yield { page, at }
  }
}

function strictOperations({ writes, reads }: SectorHistory): PageOperation[] {
  const operations: PageOperation[] = []
  for (const write of writes)
    for (const { page } of strictPages(write, write.count))
      operations.push({
        kind: 'write',
        page,
        value: write.stamp,
        calledAt: write.calledAt,
        answeredAt: write.answeredAt,
      })
  for (const read of reads)
    for (const { page, at } of strictPages(read, read.stamps.length))
      operations.push({
        kind: 'read',
        page,
        value: read.stamps[at],
        calledAt: read.calledAt,
        answeredAt: read.answeredAt,
      })
  return operations
}

/** Where two acknowledged writes to one page follow each other, one more read sees the first of them after the second. */
export function withStaleRead(history: SectorHistory): SectorHistory {
  const acknowledged = history.writes.filter(({ answeredAt }) => answeredAt !== undefined)
  for (const older of acknowledged) {
    const newer = acknowledged.find(
      ({ first, calledAt }) => first === older.first && calledAt > (older.answeredAt ?? Infinity),
    )
    if (newer?.answeredAt === undefined) continue
    const planted = new SectorHistory()
    planted.writes.push(...history.writes)
    planted.reads.push(...history.reads, {
      first: older.first,
      stamps: new Uint32Array(sectorsPerPage).fill(older.stamp),
      by: 'a planted stale read',
      calledAt: newer.answeredAt + 1e-3,
      answeredAt: newer.answeredAt + 2e-3,
    })
    return planted
  }
  throw new Error('No page was written twice: there is nothing to plant.')
}

const describe = (operation: SectorWrite | SectorRead): string => {
  const { first, by, calledAt, answeredAt } = operation
  const what =
    'stamp' in operation
      ? `write ${operation.stamp} of sectors ${first}+${operation.count}`
      : `read of sectors ${first}+${operation.stamps.length}`
  return `  ${what} by ${by}, from ${calledAt.toFixed(3)} to ${answeredAt?.toFixed(3) ?? 'no answer'}`
}
