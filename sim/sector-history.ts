/**
 * What clients did to the sectors of one vDisk and what they saw, and whether a disk may behave so (I2).
 *
 * linearizable-pages.ts asks whether each request happened at one instant. That is more than a vDisk promises: a request
 * whose outcome got lost is sent again by the node that forwards it (C10), so a write under way may happen twice, and one
 * of another client in between. So what is demanded here is:
 *
 *  1. A write happens at least once between its call and its answer, and at no other time. One without an answer may
 *     happen at any time after its call, but not after `overBy`: what its client did since then fenced it off (F3).
 *  2. A read returns, for each sector, what the sector held at some instant between call and answer.
 *  3. What is read of one page at once is of one instant: never a mix.
 *
 * Zeroes may be written often: unlike other values they don't tell which write they come from, and are allowed
 * wherever one of their writes would do.
 */
import { zeroStamp } from './sector-stamps.ts'

// What the history is told in.
export { sectorBytes, stampSectors, stampsIn, zeroStamp } from './sector-stamps.ts'

const sectorsPerPage = 8

export interface SectorWrite {
  readonly stamp: number
  readonly first: number
  readonly count: number
  readonly by: string
  readonly calledAt: number
  answeredAt?: number
  /** It has happened by then, or never will. */
  overBy?: number
  /** When its client's next session was open: requests of that session come after it. */
  fencedAt?: number
}

export interface SectorRead {
  readonly first: number
  readonly stamps: Uint32Array
  readonly by: string
  readonly calledAt: number
  readonly answeredAt: number
}

export interface SectorViolation {
  readonly sector: number
  readonly message: string
  readonly involved: readonly (SectorWrite | SectorRead)[]
}

/** Between `after` and `by` the sector held the stamp for an instant. */
interface Witness {
  readonly stamp: number
  readonly after: number
  readonly by: number
  readonly operation: SectorWrite | SectorRead
}

export class SectorHistory {
  readonly writes: SectorWrite[] = []
  readonly reads: SectorRead[] = []
}

export function findSectorViolation(history: SectorHistory): SectorViolation | undefined {
  for (const { sector, writes, reads } of sectorsApart(history)) {
    const violation = findInSector(sector, writes, reads)
    if (violation !== undefined) return violation
  }
  return findMix(history)
}

/** A sector that was read, and what covers it. */
export interface SectorApart {
  readonly sector: number
  readonly writes: readonly SectorWrite[]
  readonly reads: readonly SectorRead[]
}

/** The sectors that were read, in order; of neighbours with the same history, writes, reads and stamps, the first. */
export function* sectorsApart({ writes, reads }: SectorHistory): Generator<SectorApart> {
  const edges = [
    ...writes.flatMap(({ first, count }) => [first, first + count]),
    ...reads.flatMap(({ first, stamps }) => [first, first + stamps.length]),
  ]
  const [edge, ...edgesBehind] = [...new Set(edges)].sort((a, b) => a - b)
  let begin = edge
  for (const end of edgesBehind) {
    const itsReads = reads.filter(({ first, stamps }) => first <= begin && begin < first + stamps.length)
    const itsWrites = writes.filter((write) => covers(write, begin))
    const isAsBefore = (sector: number): boolean =>
      itsReads.every(({ first, stamps }) => stamps[sector - first] === stamps[sector - 1 - first])
    for (let sector = begin; itsReads.length > 0 && sector < end; sector++)
      if (sector === begin || !isAsBefore(sector)) yield { sector, writes: itsWrites, reads: itsReads }
    begin = end
  }
}

const initialWrite: SectorWrite = {
  stamp: zeroStamp,
  first: 0,
  count: Infinity,
  by: 'nobody',
  calledAt: -Infinity,
  answeredAt: -Infinity,
}

function findInSector(
  sector: number,
  writes: readonly SectorWrite[],
  reads: readonly SectorRead[],
): SectorViolation | undefined {
  const writesOf = Map.groupBy([initialWrite, ...writes], ({ stamp }) => stamp)
  const stampIn = (read: SectorRead): number => read.stamps[sector - read.first]
  const witnesses = witnessesOf(writes, reads, writesOf, stampIn)
  const ordered = [...reads].sort((a, b) => a.calledAt - b.calledAt)
  // The two latest `after`s so far of distinct stamps: one of them is not the stamp that was read.
  let latest: Witness | undefined
  let second: Witness | undefined
  let next = 0
  for (const read of ordered) {
    for (; next < witnesses.length && witnesses[next].by < read.calledAt; next++) {
      const witness = witnesses[next]
      if (witness.stamp === latest?.stamp) latest = witness.after > latest.after ? witness : latest
      else if (latest === undefined || witness.after > latest.after) {
        second = latest
        latest = witness
      } else if (second === undefined || witness.after > second.after) second = witness
    }
    const stamp = stampIn(read)
    const candidates = (writesOf.get(stamp) ?? []).filter((write) => write.calledAt <= read.answeredAt)
    if (candidates.length === 0)
      return {
        sector,
        message: `sector ${sector} held ${stamp}, which nobody had written yet`,
        involved: [read, ...(writesOf.get(stamp) ?? [])],
      }
    const other = latest?.stamp === stamp ? second : latest
    if (other !== undefined && candidates.every((write) => endOf(write) < other.after))
      return {
        sector,
        message: `sector ${sector} went back to ${stamp} after it had held ${other.stamp}`,
        involved: [...candidates, other.operation, read],
      }
  }
  return undefined
}

/** The last instant at which the write may have happened. */
const endOf = (write: SectorWrite): number => write.answeredAt ?? write.overBy ?? Infinity

function witnessesOf(
  writes: readonly SectorWrite[],
  reads: readonly SectorRead[],
  writesOf: ReadonlyMap<number, readonly SectorWrite[]>,
  stampIn: (read: SectorRead) => number,
): Witness[] {
  const witnesses: Witness[] = []
  for (const write of writes)
    if (write.answeredAt !== undefined)
      witnesses.push({ stamp: write.stamp, after: write.calledAt, by: write.answeredAt, operation: write })
  for (const read of reads) {
    const stamp = stampIn(read)
    const firstCall = Math.min(...(writesOf.get(stamp) ?? []).map(({ calledAt }) => calledAt))
    witnesses.push({ stamp, after: Math.max(read.calledAt, firstCall), by: read.answeredAt, operation: read })
  }
  return witnesses.sort((a, b) => a.by - b.by)
}

/** Two writes that both cover two sectors of a page: whichever came last, it is in both. */
function findMix({ writes, reads }: SectorHistory): SectorViolation | undefined {
  const writeOf = new Map(writes.map((write) => [write.stamp, write]))
  for (const read of reads)
    for (let at = 0; at < read.stamps.length; at++) {
      const sector = read.first + at
      const write = read.stamps[at] === zeroStamp ? undefined : writeOf.get(read.stamps[at])
      if (write === undefined) continue
      for (
        let other = at + 1;
        other < read.stamps.length &&
        Math.floor((read.first + other) / sectorsPerPage) === Math.floor(sector / sectorsPerPage);
        other++
      ) {
        const otherWrite = writeOf.get(read.stamps[other])
        if (otherWrite === undefined || otherWrite === write || read.stamps[other] === zeroStamp) continue
        if (covers(write, read.first + other) && covers(otherWrite, sector))
          return {
            sector,
            message: `sectors ${sector} and ${read.first + other} of one page are of two writes that cover both`,
            involved: [write, otherWrite, read],
          }
      }
    }
  return undefined
}

const covers = ({ first, count }: SectorWrite, sector: number): boolean =>
  sector >= first && sector < first + count
