/** I8: all copies of an extent group are on the tier that its row says, or the row says `mixed`. */
import { tierOfDisk } from './disk-paths.ts'
import type { MadeChange } from './metadata-shadow.ts'

/** What is wrong with a change of a group's row. */
export function tierFault({ group }: MadeChange): string | undefined {
  if (group?.after.state !== 'whole' || group.after.mixed === true) return undefined
  const { id, after } = group
  const odd = after.copies.find(({ disk }) => tierOfDisk(disk) !== after.tier)
  return odd === undefined
    ? undefined
    : `group ${id} is on ${after.tier}, and its copy ${odd.number} on ${odd.disk}`
}
