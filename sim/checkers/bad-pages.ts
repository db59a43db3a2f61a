/**
 * I5, in the map: a page becomes `bad`, so that reads of it fail until it is overwritten, only where no copy of what it was
 * made of is whole (F9). One that could only not be reached is whole.
 */
import type { SimDisk } from '../sim-disk.ts'
import { isWhole } from './copy-files.ts'
import type { MadeChange, MetadataShadow } from './metadata-shadow.ts'

/** What is wrong with a change that is about to count. */
export function badPageFault(
  { map }: MadeChange,
  metadata: MetadataShadow,
  diskOf: (node: string) => SimDisk,
): string | undefined {
  for (const { vdisk, vBlock, before, after } of map)
    for (const [page, group] of after.pages.entries()) {
      const base = before?.pages[page]
      if (group !== 'bad' || base === 'bad' || base === undefined) continue
      const row = metadata.groups.get(base)
      const whole = row?.copies.find((copy) => isWhole(diskOf(copy.node), base, copy, row))
      if (whole !== undefined)
        return `page ${page} of ${vBlock} of vDisk ${vdisk} is given up, and group ${base} has a whole copy on ${whole.disk}`
    }
  return undefined
}
