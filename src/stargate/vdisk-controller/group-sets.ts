/**
 * The index of one vDisk's extent groups, as it was read at one version: which groups have copies on which disks. Groups on the
 * same disks share one entry, so that weighing them costs as much as there are combinations of disks.
 *
 * A copy in the index counts where it names no more of them than the vDisk asks for. Where it names more, a repair is under way,
 * or was broken off: the group's row has to say which count.
 */
import { NdfsError } from '../../base/errors.ts'
import type { DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import type { Medusa, Static } from '../../medusa/medusa.ts'
import { decodePlannedCopies, groupsOfPartition } from './rows.ts'

export interface GroupsOnDisks {
  readonly disks: readonly DiskRef[]
  readonly groups: GroupId[]
}

export interface GroupSets {
  readonly at: Static
  readonly sets: readonly GroupsOnDisks[]
  /** Their rows have to be read. */
  readonly unsettled: readonly GroupId[]
  readonly groups: number
}

/** Rows of one answer: about 150 KB. */
const rowsAtOnce = 1000
/** An index that is changed each time is that of a vDisk whose log is drained over and over. */
const readsMax = 4

export const isAt = ({ epoch, version, changeId }: Static, now: Static): boolean =>
  epoch === now.epoch && version === now.version && changeId === now.changeId

/** Reads the index at one version. UNAVAILABLE where it changes faster than it can be read. */
export async function readGroupSets(
  medusa: Pick<Medusa, 'scan'>,
  vdisk: VDiskId,
  copies: number,
): Promise<GroupSets> {
  for (let reads = 0; reads < readsMax; reads++) {
    const read = await readOnce(medusa, vdisk, copies)
    if (read !== undefined) return read
  }
  throw tooBusy(vdisk)
}

export const tooBusy = (vdisk: VDiskId): NdfsError =>
  new NdfsError(
    'UNAVAILABLE',
    `Cannot survey vDisk ${vdisk}: its index of groups changes faster than it can be read`,
    { vdisk },
  )

async function readOnce(
  medusa: Pick<Medusa, 'scan'>,
  vdisk: VDiskId,
  copies: number,
): Promise<GroupSets | undefined> {
  const sets = new Map<string, GroupsOnDisks>()
  const unsettled: GroupId[] = []
  let groups = 0
  let at: Static | undefined
  for (let after = ''; ;) {
    const part = await medusa.scan(groupsOfPartition(vdisk), { after, before: '~', limit: rowsAtOnce })
    if (at !== undefined && !isAt(at, part.static)) return undefined
    at = part.static
    for (const { key, value } of part.rows) {
      const group = key as GroupId
      const disks = decodePlannedCopies(value)
      groups++
      if (disks.length > copies) unsettled.push(group)
      else {
        const name = disks.map(({ node, disk, incarnation }) => `${node} ${disk} ${incarnation}`).join(',')
        const known = sets.get(name)
        if (known !== undefined) known.groups.push(group)
        else
          sets.set(name, {
            disks: disks.map(({ node, disk, incarnation }) => ({ node, disk, incarnation })),
            groups: [group],
          })
      }
    }
    if (part.rows.length < rowsAtOnce) return { at, sets: [...sets.values()], unsettled, groups }
    after = part.rows[rowsAtOnce - 1].key
  }
}
