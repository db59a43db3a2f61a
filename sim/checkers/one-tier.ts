/** I8: all copies of an extent group are on the tier that its row says, or the row says `mixed`. */
import { tierOfDisk } from './disk-paths.ts'
import type { MadeChange } from './metadata-shadow.ts'

/** What is wrong with a change of a group's row. */
export function tierFault({ groups }: MadeChange): string | undefined {
  for (const { id, after } of groups) {
    if (after?.state !== 'whole' || after.mixed === true) continue
    const odd = after.copies.find(({ disk }) => tierOfDisk(disk) !== after.tier)
    if (odd !== undefined) return `group ${id} is on ${after.tier}, and its copy ${odd.number} on ${odd.disk}`
  }
  return undefined
}
