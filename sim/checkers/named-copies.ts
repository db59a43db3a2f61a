/**
 * I1, in the rows: an episode that a vDisk's row comes to name, and an extent group whose row comes to be whole, lie on as many
 * distinct nodes as there shall be copies. (What a node takes with it when it is gone is another matter: the row stays.)
 */
import type { DiskRef, VDiskId } from '../../src/base/ids.ts'
import type { MadeChange, MetadataShadow } from './metadata-shadow.ts'

/** What is wrong with a change that is about to count. */
export function namedCopiesFault(
  { state, groups }: MadeChange,
  metadata: MetadataShadow,
): string | undefined {
  if (state !== undefined) {
    const { vdisk, before, after } = state
    const known = new Set(before?.episodes.map(({ id }) => id))
    for (const { id, replicas } of after.episodes)
      if (!known.has(id) && nodesOf(replicas) < after.copies)
        return `the row of vDisk ${vdisk} names episode ${id} on ${nodesOf(replicas)} nodes, and ${after.copies} are asked for`
  }
  for (const { id, before, after } of groups) {
    if (after?.state !== 'whole' || before !== undefined) continue
    const copies = metadata.states.get(Number(id.split('-')[0]) as VDiskId)?.copies ?? 1
    const nodes = nodesOf(after.copies)
    if (nodes < copies)
      return `the row of group ${id} names copies on ${nodes} nodes, and ${copies} are asked for`
  }
  return undefined
}

const nodesOf = (disks: readonly DiskRef[]): number => new Set(disks.map(({ node }) => node)).size
