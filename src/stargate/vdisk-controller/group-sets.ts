/**
 * The index of one vDisk's extent groups: which groups have copies on which disks. Groups on the same disks share one entry, so that
 * weighing them costs as much as there are combinations of disks.
 *
 * A copy in the index counts where it names no more of them than the vDisk asks for. Where it names more, a repair is under way,
 * or was broken off: the group's row has to say which count.
 *
 * An index that changes while it is read in parts misses nothing, if that takes less time than a group stays in the index after nothing
 * needs it any more (`graceMs` of reclaim.ts): what was in a group that is gone from a part not read yet was dead before the reading
 * began, and what stands in one that came behind the place of reading was in its log, or in another group that is still there, when it
 * began.
 */
import { NdfsError } from '../../base/errors.ts'
import type { DiskRef, GroupId, VDiskId } from '../../base/ids.ts'
import type { Medusa, Static } from '../../medusa/medusa.ts'
import type { Clock } from '../../platform/platform.ts'
import { graceMs } from './reclaim.ts'
import { decodePlannedCopies, groupKeysEnd, groupsOfPartition } from './rows.ts'

export interface GroupsOnDisks {
  readonly disks: readonly DiskRef[]
  readonly groups: GroupId[]
}

export interface GroupSets {
  /** Undefined: it changed while it was read. */
  readonly at: Static | undefined
  readonly sets: readonly GroupsOnDisks[]
  /** Their rows have to be read. */
  readonly unsettled: readonly GroupId[]
  readonly groups: number
}

/** Rows of one answer: about 150 KB. */
const rowsAtOnce = 1000
/** An index that is changed each time is that of a vDisk whose log is drained over and over. */
const readsMax = 3
/** Clocks differ by less than that. */
const changingReadMsMax = 0.75 * graceMs

export const isAt = ({ epoch, version, changeId }: Static, now: Static): boolean =>
  epoch === now.epoch && version === now.version && changeId === now.changeId

/** UNAVAILABLE where it changes faster than it can be read. */
export async function readGroupSets(
  medusa: Pick<Medusa, 'scan'>,
  clock: Clock,
  vdisk: VDiskId,
  copies: number,
): Promise<GroupSets> {
  for (let reads = 0; reads < readsMax; reads++) {
    const begun = clock.now()
    const read = await readOnce(medusa, vdisk, copies)
    if (read.at !== undefined || clock.now() - begun < changingReadMsMax) return read
  }
  throw tooBusy(vdisk)
}

export const tooBusy = (vdisk: VDiskId): NdfsError =>
  new NdfsError(
    'UNAVAILABLE',
    `Cannot survey vDisk ${vdisk}: its index of groups changes faster than it can be read`,
    { vdisk },
  )

async function readOnce(medusa: Pick<Medusa, 'scan'>, vdisk: VDiskId, copies: number): Promise<GroupSets> {
  const sets = new Map<string, GroupsOnDisks>()
  const unsettled: GroupId[] = []
  let groups = 0
  let first: Static | undefined
  let isSame = true
  for (let after = ''; ;) {
    const part = await medusa.scan(groupsOfPartition(vdisk), {
      after,
      before: groupKeysEnd,
      limit: rowsAtOnce,
    })
    first ??= part.static
    isSame &&= isAt(first, part.static)
    for (const { key, value } of part.rows) {
      const group = key as GroupId
      const disks = decodePlannedCopies(value).filter(({ left }) => left !== true)
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
    if (part.rows.length < rowsAtOnce)
      return { at: isSame ? first : undefined, sets: [...sets.values()], unsettled, groups }
    after = part.rows[rowsAtOnce - 1].key
  }
}
