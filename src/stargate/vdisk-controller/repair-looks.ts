/** Repair as it looks from outside of an ownership: whether a vDisk needs an owner for it, and the sum of what several have to do. */
import type { DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import { readGroupRow } from './group-rows.ts'
import {
  decodeLeftBehind,
  decodePlannedCopies,
  groupKeysEnd,
  groupsOfPartition,
  leftBehindRowKey,
} from './rows.ts'
import type { Leaving } from './leaving.ts'
import type { RepairList } from './vdisk-controller.ts'

const rowsAtOnce = 256

/**
 * A copy that no row names is on a disk that is there, or never will be; or, where more is gone, or being left, than before (`losses`), a copy that a row
 * names is gone, or could lie in another block, or one that the index names is on a disk that is being left: of a group without a row,
 * too, for somebody has to free it.
 * What is read may be a moment old: it only decides whether to claim.
 */
export async function looksForRepair(
  medusa: Medusa,
  vdisk: VDiskId,
  isGone: (disk: DiskRef) => boolean,
  { isLeaving, isRemoved, misplacedAmong }: Omit<Leaving, 'isPassedOver'>,
  losses: boolean,
): Promise<boolean> {
  const isAway = (disk: DiskRef): boolean => isGone(disk) && !isRemoved(disk)
  const partition = groupsOfPartition(vdisk)
  const [left] = (await medusa.get(partition, [leftBehindRowKey])).rows
  if (left !== undefined && !decodeLeftBehind(left.value).every(isAway)) return true
  if (!losses) return false
  let after = ''
  for (;;) {
    const { rows } = await medusa.scan(partition, { after, before: groupKeysEnd, limit: rowsAtOnce })
    for (const { key, value } of rows) {
      const planned = decodePlannedCopies(value).filter((copy) => copy.left !== true)
      if (planned.some(isLeaving)) return true
      if (!planned.some(isGone) && misplacedAmong(planned) === undefined) continue
      if (
        await isNamedBy(
          medusa,
          key as GroupId,
          (copies) => copies.some(isGone) || misplacedAmong(copies) !== undefined,
        )
      )
        return true
    }
    if (rows.length < rowsAtOnce) return false
    after = rows[rowsAtOnce - 1].key
  }
}

/** A group that has no row, or one that says `deleting`, is freed by whoever is the next owner: that doesn't have to be now. */
async function isNamedBy(
  medusa: Medusa,
  group: GroupId,
  isWork: (copies: readonly DiskRef[]) => boolean,
): Promise<boolean> {
  const row = await readGroupRow(medusa, group)
  return row?.state === 'whole' && isWork(row.copies)
}

/** By copies asked for. */
export function sumOfRepairs(lists: readonly RepairList[]): RepairList[] {
  const sums = new Map<number, RepairList>()
  for (const { copies, endangered, moving, waitsFor } of lists) {
    const before = sums.get(copies)
    const sum = new Map(before?.endangered.map((one) => [one.left, one]))
    for (const { left, groups, bytes } of endangered) {
      const same = sum.get(left)
      sum.set(left, { left, groups: groups + (same?.groups ?? 0), bytes: bytes + (same?.bytes ?? 0) })
    }
    const why = before?.waitsFor ?? waitsFor
    const moves = [before?.moving, moving].filter((one) => one !== undefined)
    sums.set(copies, {
      copies,
      endangered: [...sum.values()].sort((a, b) => a.left - b.left),
      ...(moves.length === 0
        ? {}
        : {
            moving: {
              groups: moves.reduce((total, { groups }) => total + groups, 0),
              bytes: moves.reduce((total, { bytes }) => total + bytes, 0),
            },
          }),
      ...(why === undefined ? {} : { waitsFor: why }),
    })
  }
  return [...sums.values()].sort((a, b) => a.copies - b.copies)
}
