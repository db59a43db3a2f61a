/**
 * Where new groups and logs go, as one vDisk's owner asks for it: as many disks as copies on distinct nodes, or an
 * error that says why not.
 */
import { NdfsError } from '../../base/errors.ts'
import type { DiskRef, NodeId } from '../../base/ids.ts'
import type { DiskSpace, SpacePurpose, Tier } from '../../disk/disk.ts'
import {
  type Candidate,
  type CopyPlacementRequest,
  type ExtentStore,
  type Placement,
  trailerRoomBytes,
} from '../extent-store/extent-store.ts'
import type { SpaceLeft } from './compaction-victims.ts'

/** How long a node that failed is chosen last (F10). */
const avoidMs = 60_000

/** Nodes that failed an append or a write a moment ago: chosen last, never excluded. */
export class Suspects {
  readonly #until = new Map<NodeId, number>()

  add(node: NodeId, now: number): void {
    this.#until.delete(node)
    this.#until.set(node, now + avoidMs)
  }

  /** Who failed last comes last. */
  now(now: number): NodeId[] {
    for (const [node, until] of this.#until) if (until <= now) this.#until.delete(node)
    return [...this.#until.keys()]
  }
}

/** A disk that may hold replicas of logs. */
export interface LogCandidate {
  readonly ref: DiskRef
  readonly block: string
  /** It is being left: chosen where a write would wait otherwise, or go where one failed a moment ago. */
  readonly leaving?: boolean
}

/**
 * The replicas of a new episode: of nodes that did not fail a moment ago the owner's own log disk first, then blocks not used yet,
 * spread by the vDisk's number so that all nodes carry alike; then disks that are being left; then of nodes that did fail (F10), as
 * `suspects` has them. Fewer than `copies` where there are too few nodes.
 */
export function placeLog(
  copies: number,
  spread: number,
  owner: NodeId,
  candidates: readonly LogCandidate[],
  suspects: readonly NodeId[],
): DiskRef[] {
  const nodes = [...new Set(candidates.map(({ ref }) => ref.node))].sort()
  const rank = ({ ref }: LogCandidate): number =>
    ref.node === owner ? -1 : (nodes.indexOf(ref.node) + spread) % nodes.length
  const ordered = [...candidates].sort((a, b) => rank(a) - rank(b) || (a.ref.disk < b.ref.disk ? -1 : 1))
  const chosen: LogCandidate[] = []
  const sound = nodes.filter((node) => !suspects.includes(node))
  const stages: { readonly among: readonly NodeId[]; readonly leaving: boolean }[] = [
    { among: sound, leaving: false },
    { among: sound, leaving: true },
    // A suspect is worse than a block used twice, and who failed last is worst: a log that keeps choosing the node that
    // hangs never goes on.
    ...suspects.flatMap((node) => [
      { among: [node], leaving: false },
      { among: [node], leaving: true },
    ]),
  ]
  for (const { among, leaving } of stages)
    for (const distinctBlocks of [true, false])
      for (const candidate of ordered) {
        if (chosen.length === copies) break
        if (!among.includes(candidate.ref.node) || (candidate.leaving === true) !== leaving) continue
        if (chosen.some(({ ref }) => ref.node === candidate.ref.node)) continue
        if (distinctBlocks && chosen.some(({ block }) => block === candidate.block)) continue
        chosen.push(candidate)
      }
  return chosen.map(({ ref }) => ref)
}

export interface GroupWish {
  readonly copies: number
  /** Of pages. */
  readonly bytes: number
  readonly purpose: SpacePurpose
  readonly owner: NodeId
  readonly avoid: readonly NodeId[]
  /** See `PlacementRequest`. */
  readonly draw?: number
}

/** Disks for the copies of a new group, on flash where there is room. OUT_OF_SPACE or TOO_FEW_REPLICAS where there are too few. */
export function placeGroup(extents: ExtentStore, wish: GroupWish): Placement {
  const placement = extents.place({ ...wish, bytes: wish.bytes + trailerRoomBytes, tier: 'flash' })
  if (placement.disks.length >= wish.copies) return placement
  const live = new Set(
    extents.candidates().flatMap((candidate) => (candidate.live ? [candidate.ref.node] : [])),
  )
  if (live.size < wish.copies)
    throw new NdfsError(
      'TOO_FEW_REPLICAS',
      `Cannot place ${wish.copies} copies of an extent group: ${live.size} nodes with disks are up. Start nodes that are down`,
      { copies: wish.copies, nodes: live.size },
    )
  throw new NdfsError(
    'OUT_OF_SPACE',
    `Cannot place ${wish.copies} copies of an extent group: disks with room are on ${placement.disks.length} nodes. Delete vDisks or add disks`,
    { copies: wish.copies, reached: placement.disks.length },
  )
}

export interface CopyWish extends Omit<CopyPlacementRequest, 'bytes'> {
  /** Of pages. */
  readonly bytes: number
}

/** A disk for another copy of a group, beside those that it has. OUT_OF_SPACE or TOO_FEW_REPLICAS where there is none. */
export function placeCopy(extents: ExtentStore, wish: CopyWish): Candidate {
  const placed = extents.placeCopy({ ...wish, bytes: wish.bytes + trailerRoomBytes })
  if (placed !== undefined) return placed
  const holders = wish.beside.map(({ node }) => node)
  const isOther = ({ ref, live, leaving }: Candidate): boolean =>
    live && !holders.includes(ref.node) && !(wish.stays === true && leaving === true)
  if (!extents.candidates().some(isOther))
    throw new NdfsError(
      'TOO_FEW_REPLICAS',
      'Cannot make another copy of an extent group: no node is up that has none. Start nodes that are down, or add one',
      { holders },
    )
  throw new NdfsError(
    'OUT_OF_SPACE',
    `Cannot make another copy of an extent group: no disk${wish.stays === true ? ' that stays,' : ''} of a node that has none${wish.stays === true ? ',' : ''} has room. Delete vDisks or add disks`,
    { bytes: wish.bytes },
  )
}

export interface SpaceUse {
  readonly copies: number
  /** Of the vDisk, in one copy each: dead, and on their way out. */
  readonly deadBytes: number
  /** vDisks of this node that compact just now, this one included. */
  readonly compacting: number
}

/** What is left for groups of so many copies, on disks that are in reach and not being left. */
export function spaceLeft(candidates: readonly Candidate[], use: SpaceUse): SpaceLeft {
  const { copies, deadBytes, compacting } = use
  const byNode = new Map<NodeId, DiskSpace[]>()
  for (const { ref, space, live, leaving } of candidates)
    if (live && leaving !== true) byNode.set(ref.node, [...(byNode.get(ref.node) ?? []), space])
  const ofNodes = (bytesOf: (space: DiskSpace) => number): number[] =>
    [...byNode.values()].map((spaces) => sumOf(spaces.map((space) => Math.max(0, bytesOf(space)))))
  const guestFree = ofNodes(({ guestFreeBytes }) => guestFreeBytes)
  const maintenanceFree = ofNodes(({ maintenanceFreeBytes }) => maintenanceFreeBytes)
  const usedBytes = sumOf(ofNodes(({ usedBytes }) => usedBytes))
  const guestBytes = usedBytes + copies * bytesInCopies(guestFree, copies)
  // Half of what is left, all that was copied and is not given back yet included; each node does so, by what it heard a second ago.
  const mayBeCopied = (bytesInCopies(maintenanceFree, copies) - deadBytes) / 2
  return {
    taken: guestBytes === 0 ? 1 : Math.max(0, usedBytes - copies * deadBytes) / guestBytes,
    copyBytesMax: Math.max(0, Math.floor(mayBeCopied / Math.max(1, byNode.size * compacting))),
  }
}

/** How many bytes have room where each has `copies` places on different nodes: the nodes with most room are of use only as far as the others go with them. */
export function bytesInCopies(freeOfNodes: readonly number[], copies: number): number {
  const rising = [...freeOfNodes].sort((a, b) => a - b)
  if (rising.length < copies) return 0
  let least = Infinity
  for (let alone = 0; alone < copies; alone++)
    least = Math.min(least, sumOf(rising.slice(0, rising.length - alone)) / (copies - alone))
  return least
}

const sumOf = (numbers: readonly number[]): number => numbers.reduce((sum, one) => sum + one, 0)

/** The tier that the copies lie on, for the row (I8). UNAVAILABLE where that is not known yet. */
export function tierOf(extents: ExtentStore, disks: readonly DiskRef[]): Tier {
  const tiers = disks.map((disk) => {
    const tier = extents.tierOf(disk)
    if (tier !== undefined) return tier
    throw new NdfsError(
      'UNAVAILABLE',
      `Cannot say on which tier an extent group is: ${disk.node} has not been heard of, nor its disk ${disk.disk}. Start the node`,
      { node: disk.node },
    )
  })
  return tiers.includes('hdd') ? 'hdd' : 'flash'
}
