/**
 * What room other nodes' disks have, as last heard: what placement chooses from besides this node's own disks.
 *
 * It asks only when it is asked, and at most once a second: a cluster at rest exchanges nothing for it. An answer that
 * is a second old may be wrong; a disk that turns out full then refuses the group, its node is asked again, and another is chosen.
 */
import { decodeControl } from '../../base/control.ts'
import { messageOf } from '../../base/errors.ts'
import { sameDisk } from '../../base/ids.ts'
import type { DiskId, DiskRef, Incarnation, NodeId } from '../../base/ids.ts'
import type { Disk, DiskSpace, Tier } from '../../disk/disk.ts'
import type { Peers } from '../../peer/peer.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Candidate } from './extent-store.ts'

/** A disk of another node, as the cluster's configuration names it. */
export interface KnownDisk {
  readonly ref: DiskRef
  readonly block: string
  readonly tier: Tier
  /** Its node has a session, and the disk is in service. */
  readonly live: boolean
}

export interface SpaceView {
  /** What is known now. Asks the nodes again where the last answers are older than a second. */
  candidates(): readonly Candidate[]
  /** Asks all live nodes, from now on; resolves when each has answered or failed. */
  refresh(): Promise<void>
  /** Asks this node now: a disk of it has less room than it was heard to have. Resolves when it has answered or failed. */
  ask(node: NodeId): Promise<void>
}

/** What one node answers: its disks in service. */
export interface HeardSpace {
  readonly disk: DiskId
  readonly incarnation: Incarnation
  readonly space: DiskSpace
}

/** As it comes from a node: one of an earlier release does not say what maintenance may take, and lets it fill its disks. */
interface ToldSpace extends Omit<HeardSpace, 'space'> {
  readonly space: Omit<DiskSpace, 'maintenanceFreeBytes'> & Partial<DiskSpace>
}

const heardFrom = ({ space, ...disk }: ToldSpace): HeardSpace => ({
  ...disk,
  space: { maintenanceFreeBytes: space.capacityBytes - space.usedBytes, ...space },
})

const refreshIntervalMs = 1000

export const spacesOf = (disks: readonly Disk[]): HeardSpace[] =>
  disks.map((disk) => ({ disk: disk.ref.disk, incarnation: disk.ref.incarnation, space: disk.space() }))

export function createSpaceView(options: {
  platform: Platform
  peers: Peers
  /** Disks of other nodes. */
  known: () => readonly KnownDisk[]
}): SpaceView {
  const { platform, peers, known } = options
  const heard = new Map<NodeId, readonly HeardSpace[]>()
  let refreshing: Promise<void> | undefined
  let refreshedAt = -Infinity

  const ask = async (node: NodeId): Promise<void> => {
    try {
      const told = decodeControl<ToldSpace[]>(await peers.call(node, 'extents.space', []))
      heard.set(node, told.map(heardFrom))
    } catch (error) {
      // What it said last stands for as long as its node is live; a group that can't be written is placed elsewhere.
      platform.log.debug('Cannot learn how much room a node has', { node, reason: messageOf(error) })
    }
  }
  const refreshOnce = (): Promise<void> => {
    refreshing ??= Promise.all(
      [...new Set(known().flatMap(({ ref, live }) => (live ? [ref.node] : [])))].map(ask),
    ).then(() => {
      refreshing = undefined
      refreshedAt = platform.clock.now()
    })
    return refreshing
  }

  return {
    async refresh() {
      // What is under way may have been answered before the caller had reason to ask.
      await refreshing
      await refreshOnce()
    },
    ask,
    candidates() {
      if (platform.clock.now() - refreshedAt >= refreshIntervalMs) void refreshOnce()
      return known().flatMap(({ ref, block, tier, live }): Candidate[] => {
        const answer = heard
          .get(ref.node)
          ?.find(({ disk, incarnation }) => sameDisk({ ...ref, disk, incarnation }, ref))
        return answer === undefined ? [] : [{ ref, block, tier, space: answer.space, live }]
      })
    },
  }
}
