/**
 * Files of extent groups that no row knows of, on one disk. A row comes before its file and goes after it: what no row knows of is an
 * orphan, as long as the file is still there when it is looked at once more.
 */
import type { CopyNumber, DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import { partsOfGroupId } from '../../base/ids.ts'
import type { Medusa } from '../../medusa/medusa.ts'
import type { Clock } from '../../platform/platform.ts'
import type { CopyRef, ExtentStore, FoundCopy } from '../extent-store/extent-store.ts'
import { inventoryFolders } from '../extent-store/extent-store.ts'
import { copyFinding, type Finding } from './check-findings.ts'
import { readGroupRow } from './group-rows.ts'
import { namesCopy } from './group-copies.ts'
import { graceMs } from './reclaim.ts'
import { decodePlannedCopies, groupsOfPartition } from './rows.ts'

export interface FileCheckContext {
  readonly medusa: Pick<Medusa, 'get'>
  readonly clock: Clock
  readonly extents: Pick<ExtentStore, 'inventory'>
  readonly found: (finding: Finding) => void
  readonly stopped: () => boolean
}

/** Index rows asked for at once. */
const groupsAtOnce = 256

/** Rejects where the disk, or Medusa, can't be read. */
export async function checkFiles(context: FileCheckContext, disk: DiskRef): Promise<void> {
  const { extents, clock, found, stopped } = context
  const unknown: { readonly folder: number; readonly file: FoundCopy }[] = []
  for (let folder = 0; folder < inventoryFolders && !stopped(); folder++)
    for (const file of await unknownOf(context, disk, await extents.inventory(disk, folder)))
      unknown.push({ folder, file })
  if (unknown.length === 0 || stopped()) return
  await clock.sleep(graceMs)
  for (const { folder, file } of unknown) {
    if (stopped()) return
    const still = (await extents.inventory(disk, folder)).filter(
      ({ group, number }) => group === file.group && number === file.number,
    )
    for (const { group, number } of await unknownOf(context, disk, still)) {
      const { vdisk } = partsOfGroupId(group)
      found(copyFinding('orphan', group, vdisk, copyOf(disk, number), 'no row knows of its file'))
    }
  }
}

/** Those that neither the index nor their group's row has. */
async function unknownOf(
  { medusa }: FileCheckContext,
  disk: DiskRef,
  files: readonly FoundCopy[],
): Promise<FoundCopy[]> {
  const byVDisk = new Map<VDiskId, FoundCopy[]>()
  for (const file of files) {
    const { vdisk } = partsOfGroupId(file.group)
    const list = byVDisk.get(vdisk)
    if (list === undefined) byVDisk.set(vdisk, [file])
    else list.push(file)
  }
  const unknown: FoundCopy[] = []
  for (const [vdisk, list] of byVDisk)
    for (let i = 0; i < list.length; i += groupsAtOnce) {
      const part = list.slice(i, i + groupsAtOnce)
      const { rows } = await medusa.get(groupsOfPartition(vdisk), [
        ...new Set(part.map(({ group }) => group)),
      ])
      const planned = new Map(rows.map(({ key, value }) => [key as GroupId, decodePlannedCopies(value)]))
      for (const file of part) {
        const copy = copyOf(disk, file.number)
        if (namesCopy(planned.get(file.group) ?? [], copy)) continue
        const row = await readGroupRow(medusa, file.group)
        if (row === undefined || !namesCopy(row.copies, copy)) unknown.push(file)
      }
    }
  return unknown
}

const copyOf = ({ node, disk, incarnation }: DiskRef, number: CopyNumber): CopyRef => ({
  ...{ node, disk, incarnation, number },
})
