/**
 * Which extent groups of a vDisk are copied, that what is dead in them is given back: those with the fewest live pages. How much may be
 * dead goes by the room that there is. Pure.
 */
import { pageBytes, pagesPerGroupMax } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import type { LiveGroups } from './group-ledger.ts'

/** What compaction has to go by, of the disks that new groups may go to. */
export interface SpaceLeft {
  /** The part of guests' share of the disks that is taken, from 0 to 1, without what is dead and on its way out. */
  readonly taken: number
  /** Bytes of pages that may be copied now: drains need room beside them, and nothing is given back before it was copied (I10). */
  readonly copyBytesMax: number
}

/**
 * With room on the disks, half of what groups take may be dead, and only those are copied of which half is: each byte copied gives back
 * one. From this part on that is taken, less may be dead and fuller groups are copied, until nothing may be when all is taken.
 */
const takenWhereScarce = 0.8
/** Their rows are read together, and each may name a thousand extents. */
const victimsMax = 256

/** From 0, where nobody minds what is dead, to 1, where guests find no room. */
export const scarcity = ({ taken }: Pick<SpaceLeft, 'taken'>): number =>
  Math.min(1, Math.max(0, (taken - takenWhereScarce) / (1 - takenWhereScarce)))

/** From the first to the second, as room gets scarce. */
const between = (plenty: number, none: number, scarce: number): number => plenty + (none - plenty) * scarce

/** The groups to compact now: those with the fewest live pages, or none where there is little to gain. */
export function victimsAmong(live: LiveGroups, space: SpaceLeft): GroupHandle[] {
  const scarce = scarcity(space)
  const needed = Math.ceil(live.pages / pagesPerGroupMax)
  // Groups above what the live pages need: so many times as many, and a few small ones before anyone minds.
  const excess = live.count - Math.floor(between(2, 1, scarce) * needed + between(16, 0, scarce))
  if (excess <= 0) return []
  // Guests may be waiting: little more than a drain took is gained in one go.
  const gainMax = scarce > 0 ? excess : Infinity
  const fullest = Math.floor(between(1 / 2, 7 / 8, scarce) * pagesPerGroupMax)
  // The fuller they are, the more must be taken together for a whole group to be gained.
  const pagesMax = Math.min(
    Math.floor(between(4, 16, scarce)) * pagesPerGroupMax,
    Math.floor(space.copyBytesMax / pageBytes),
  )
  const victims: GroupHandle[] = []
  let copied = 0
  let worth = 0
  for (const [group, pages] of emptiest(live, fullest, pagesMax)) {
    const gained = victims.length - Math.ceil(copied / pagesPerGroupMax)
    if (copied + pages > pagesMax || victims.length === victimsMax || gained >= gainMax) break
    copied += pages
    victims.push(group)
    // A last group that holds little would cost more than it gives back: the choice ends where it is full enough.
    if (victims.length * fullest >= pagesPerGroupMax * Math.ceil(copied / pagesPerGroupMax))
      worth = victims.length
  }
  return victims.slice(0, worth)
}

/** Those with the fewest live pages first, as many as have `pagesMax` together, and none with more than `fullest`. One vDisk may have millions. */
function emptiest(
  live: LiveGroups,
  fullest: number,
  pagesMax: number,
): (readonly [group: GroupHandle, pages: number])[] {
  const withSoMany = new Uint32Array(fullest + 1)
  for (const [, pages] of live.each()) if (pages <= fullest) withSoMany[pages]++
  let most = 0
  for (let sum = 0; most < fullest; most++) {
    sum += most * withSoMany[most]
    if (sum > pagesMax) break
  }
  const found: (readonly [group: GroupHandle, pages: number])[] = []
  for (const one of live.each()) if (one[1] <= most) found.push(one)
  return found.sort((a, b) => a[1] - b[1])
}
