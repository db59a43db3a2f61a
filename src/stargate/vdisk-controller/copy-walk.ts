/**
 * The copies on some disks, in the order of their vDisks' numbers and their groups' ids, as the indexes of groups have them: a place in that
 * order can be kept, and gone on from. Groups that come or go meanwhile are met, or not, by where their ids stand. The rows say which
 * copies count: whoever reads one looks at its row first.
 */
import type { DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'
import { decodePlannedCopies, groupKeysEnd, groupsOfPartition } from './rows.ts'

/** What was walked by: all up to that group of that vDisk. */
export interface WalkPlace {
  readonly vdisk: VDiskId
  readonly group: GroupId
}

export interface WalkedCopy {
  readonly vdisk: VDiskId
  readonly group: GroupId
  readonly copy: CopyRef
}

export interface Walked {
  readonly copies: readonly WalkedCopy[]
  readonly place: WalkPlace
  /** Nothing lies behind it. */
  readonly isEnd: boolean
}

export const walkBegins: WalkPlace = { vdisk: 0 as VDiskId, group: '' as GroupId }

const rowsAtOnce = 256

/** One piece of the walk, from behind `place` on; it may hold no copy at all. */
export async function walkCopies(
  medusa: Pick<Medusa, 'scan'>,
  vdisks: readonly VDiskId[],
  place: WalkPlace,
  isHere: (disk: DiskRef) => boolean,
): Promise<Walked> {
  const isPassed = place.group === groupKeysEnd
  const left = vdisks
    .filter((vdisk) => vdisk > place.vdisk || (vdisk === place.vdisk && !isPassed))
    .sort((a, b) => a - b)
  if (left.length === 0) return { copies: [], place, isEnd: true }
  const [vdisk] = left
  const after = vdisk === place.vdisk ? place.group : ''
  const options = { after, before: groupKeysEnd, limit: rowsAtOnce }
  const { rows } = await medusa.scan(groupsOfPartition(vdisk), options)
  const copies = rows.flatMap(({ key, value }) =>
    decodePlannedCopies(value)
      .filter((copy) => copy.left !== true && isHere(copy))
      .map(({ node, disk, incarnation, number }) => ({
        ...{ vdisk, group: key as GroupId },
        copy: { node, disk, incarnation, number },
      })),
  )
  if (rows.length === rowsAtOnce)
    return { copies, place: { vdisk, group: rows[rowsAtOnce - 1].key as GroupId }, isEnd: false }
  // Behind the last group of this one.
  return { copies, place: { vdisk, group: groupKeysEnd as GroupId }, isEnd: left.length === 1 }
}
