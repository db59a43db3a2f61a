/**
 * One copy that a row names, read from its disk and held against the row. What is wrong is confirmed by the row, read again after the copy
 * was: a group that is freed says `deleting` before its files go, and a copy that is swapped for another is unlinked only when the row
 * names the other. So whoever is still named then was wrong, and no race with deletion, compaction or repair makes a copy bad.
 */
import type { GroupId } from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { CopyFault, CopyRef, ExtentStore } from '../extent-store/extent-store.ts'
import { namesCopy } from './group-copies.ts'
import { readGroupRow } from './group-rows.ts'
import type { GroupRow } from './rows.ts'

export interface CopyCheckContext {
  readonly medusa: Pick<Medusa, 'get'>
  readonly extents: Pick<ExtentStore, 'verify'>
}

export type CheckedCopy =
  | { readonly state: 'right' }
  /** The row doesn't name it any more. */
  | { readonly state: 'moved on' }
  | { readonly state: 'wrong'; readonly fault: CopyFault; readonly reason: string }

export const namesNow = (row: GroupRow | undefined, copy: CopyRef): row is GroupRow =>
  row?.state === 'whole' && namesCopy(row.copies, copy)

/** `row`: as it was read before. Rejects where the copy, or the row, can't be read now. */
export async function checkCopy(
  { medusa, extents }: CopyCheckContext,
  group: GroupId,
  copy: CopyRef,
  row: GroupRow,
): Promise<CheckedCopy> {
  const verdict = await extents.verify(group, copy, row.checksums)
  if (verdict.state === 'right') return verdict
  if (!namesNow(await readGroupRow(medusa, group), copy)) return { state: 'moved on' }
  return { state: 'wrong', fault: verdict.state, reason: verdict.reason }
}
