/**
 * What `ndfs check` and the scrub find wrong, in the words of rows and disks.
 *
 *   bad copy            a row names it, it is there, and its bytes are not what the row says, or can't be read
 *   missing copy        a row names it, and its file is not there or too short, or its disk is gone; or a row names too few
 *   misplaced copies    fewer distinct nodes or blocks than could be
 *   dangling pointer    the map names a group, or a page of one, that no row has
 *   orphan              a file, a copy or a group that nothing names, and that nobody is about to free
 *   damaged metadata    a row that has to be there is missing, old, or can't be read
 *   lost pages          the map says that all copies were bad: reads fail until they are overwritten (F9)
 */
import type { CopyNumber, DiskRef, GroupId, VDiskId } from '../../base/ids.ts'

export type FindingKind =
  | 'lost pages'
  | 'damaged metadata'
  | 'dangling pointer'
  | 'missing copy'
  | 'bad copy'
  | 'misplaced copies'
  | 'orphan'

export interface Finding {
  readonly kind: FindingKind
  /** A sentence. */
  readonly what: string
  readonly vdisk?: VDiskId
  readonly group?: GroupId
  readonly node?: string
  readonly disk?: string
  readonly copy?: number
}

export const copyFinding = (
  kind: FindingKind,
  group: GroupId,
  vdisk: VDiskId,
  { node, disk, number }: DiskRef & { readonly number: CopyNumber },
  reason: string,
): Finding => ({
  ...{ kind, vdisk, group, node, disk, copy: number },
  what: `copy ${number} of extent group ${group} on ${disk}: ${reason}`,
})
