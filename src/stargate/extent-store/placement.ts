/**
 * Where the copies of an extent group go: candidates in, disks out. Pure.
 *
 *  1. Never two copies on one node; fewer copies than asked for where there are too few nodes with room (I1: the caller
 *     then waits, it does not settle for less).
 *  2. What the choice is made by, the weightiest first:
 *       nodes that did not fail a moment ago (F10: the others last, but never left out)
 *       disks that are not being left (a guest doesn't wait for a drain)
 *       nodes in a block that has no copy yet, so that the copies are in as many live blocks as there are (I1, M13)
 *       disks with room that guests may use: the reserve of one is for when no other has any (I10)
 *       disks of the tier asked for (I8: copies come before tiers; see `isMixed`)
 *       the owner's own node (R6)
 *       by lot, in proportion to free space, where the request has a draw; else the disk with the largest part of its space free
 *       names, so that equal candidates give equal answers everywhere.
 *  3. Lots, because many choose at once, by what they heard a second ago: the disk with most room would get all that they write until
 *     then (R18, R22). In the long run each disk is as full as the others all the same.
 */
import type { DiskRef, NodeId } from '../../base/ids.ts'
import type { DiskSpace, SpacePurpose, Tier } from '../../disk/disk.ts'

export interface Candidate {
  readonly ref: DiskRef
  readonly block: string
  readonly tier: Tier
  readonly space: DiskSpace
  readonly live: boolean
  /** It is being left, in order: chosen only where a guest would wait otherwise. */
  readonly leaving?: boolean
}

export interface PlacementRequest {
  readonly copies: number
  readonly tier: Tier
  /** What a copy's file takes: pages and trailer. */
  readonly bytes: number
  readonly purpose: SpacePurpose
  /** The first copy goes here where there is room (R6). */
  readonly owner: NodeId
  /** Chosen last: they failed a moment ago (F10). */
  readonly avoid: readonly NodeId[]
  /** Drawn anew for each group: a number below 2^32. */
  readonly draw?: number
}

export interface Placement {
  /** One for each copy, the owner's own first; fewer than asked for where there are too few nodes with room. */
  readonly disks: readonly DiskRef[]
  /** Some copy had to go to another tier than asked for: the row says so, and tiering mends it. */
  readonly mixed: boolean
}

export function place(request: PlacementRequest, candidates: readonly Candidate[]): Candidate[] {
  const chosen: Candidate[] = []
  let left = candidates.filter(({ live, space }) => live && freeFor(request.purpose, space) >= request.bytes)
  while (chosen.length < request.copies && left.length > 0) {
    const blocks = new Set(chosen.map(({ block }) => block))
    // One at a time is enough: a choice within a block never takes another block, tier or node from a later choice.
    const best = left.reduce((a, b) => (compare(request, blocks, a, b) <= 0 ? a : b))
    chosen.push(best)
    left = left.filter(({ ref }) => ref.node !== best.ref.node)
  }
  return chosen
}

/** Of a group that lost a copy: what is asked of the disk for another. */
export interface CopyPlacementRequest {
  readonly tier: Tier
  readonly bytes: number
  readonly owner: NodeId
  readonly avoid: readonly NodeId[]
  /**
   * The group's other copies: never a node of one of them, also where that is down. It may come back with its copy, and two
   * copies would lie on one node (I1).
   */
  readonly beside: readonly DiskRef[]
  /** Bytes on their way to the disk that its space does not show yet: many copies at once go to many disks. */
  readonly underWay: (disk: DiskRef) => number
  /** Only disks that are not being left: a copy moves to none that it would have to leave again. */
  readonly stays?: boolean
  /** Only disks in blocks that none of these is in: a copy moves to such a one, or not at all. */
  readonly inOtherBlock?: boolean
}

/** Repair leaves as much of each disk to drains, which would have to stop without: half of what guests leave (I10, M20). */
const repairReserveShare = 0.05

/** What copies may still take of a disk, in bytes; below zero where drains have had some of what is theirs alone. */
export const roomForCopies = ({ capacityBytes, maintenanceFreeBytes }: DiskSpace): number =>
  maintenanceFreeBytes - capacityBytes * repairReserveShare

/** Chosen as in `place`, beside the copies that there are; undefined where no disk has room. */
export function placeCopy(
  request: CopyPlacementRequest,
  candidates: readonly Candidate[],
): Candidate | undefined {
  const { beside, bytes, underWay, stays = false, inOtherBlock = false } = request
  const holds = ({ ref }: Candidate): boolean => beside.some(({ node }) => node === ref.node)
  const blocks = new Set(candidates.filter((one) => one.live && holds(one)).map(({ block }) => block))
  const wish: PlacementRequest = { ...request, copies: 1, purpose: 'maintenance' }
  let best: { readonly candidate: Candidate; readonly after: Candidate } | undefined
  for (const candidate of candidates) {
    const { space, ref, live, leaving } = candidate
    if ((stays && leaving === true) || (inOtherBlock && blocks.has(candidate.block))) continue
    const usedBytes = space.usedBytes + underWay(ref)
    const guestFreeBytes = space.guestFreeBytes - underWay(ref)
    const maintenanceFreeBytes = space.maintenanceFreeBytes - underWay(ref)
    if (!live || holds(candidate) || bytes > roomForCopies({ ...space, maintenanceFreeBytes })) continue
    const after = { ...candidate, space: { ...space, usedBytes, guestFreeBytes, maintenanceFreeBytes } }
    if (best === undefined || compare(wish, blocks, after, best.after) < 0) best = { candidate, after }
  }
  return best?.candidate
}

/** See `Placement.mixed`. */
export const isMixed = (request: PlacementRequest, chosen: readonly Candidate[]): boolean =>
  chosen.some(({ tier }) => tier !== request.tier)

const freeFor = (purpose: SpacePurpose, space: DiskSpace): number =>
  purpose === 'guest' ? space.guestFreeBytes : space.maintenanceFreeBytes

/** Below zero where `a` is the better choice. */
function compare(request: PlacementRequest, blocks: ReadonlySet<string>, a: Candidate, b: Candidate): number {
  const first = (holds: (candidate: Candidate) => boolean): number => Number(holds(b)) - Number(holds(a))
  const freePart = ({ space }: Candidate): number => freeFor(request.purpose, space) / space.capacityBytes
  return (
    first(({ ref }) => !request.avoid.includes(ref.node)) ||
    first(({ leaving }) => leaving !== true) ||
    first(({ block }) => !blocks.has(block)) ||
    first(({ space }) => space.guestFreeBytes >= request.bytes) ||
    first(({ tier }) => tier === request.tier) ||
    first(({ ref }) => ref.node === request.owner) ||
    (request.draw === undefined
      ? 0
      : lot(request.draw, request.purpose, a) - lot(request.draw, request.purpose, b)) ||
    freePart(b) - freePart(a) ||
    order(a.ref.node, b.ref.node) ||
    order(a.ref.disk, b.ref.disk) ||
    order(a.ref.incarnation, b.ref.incarnation)
  )
}

/** The least wins, each as often as its share of what is free (weighted rendezvous). */
function lot(draw: number, purpose: SpacePurpose, { ref, space }: Candidate): number {
  let hash = draw | 0
  for (const char of `${ref.node} ${ref.disk}`)
    hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) ^ (hash >>> 15)
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d)
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b)
  const uniform = (((hash ^ (hash >>> 16)) >>> 0) + 0.5) / 2 ** 32
  return -Math.log(uniform) / Math.max(1, freeFor(purpose, space))
}

const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
