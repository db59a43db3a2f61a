/** Where the simulated disks' files lie in a node's file system, and what a path says of them. */
import type { CopyNumber, GroupId } from '../../src/base/ids.ts'
import type { Tier } from '../../src/disk/disk.ts'
import { groupsFolder, parseGroupFileName } from '../../src/stargate/extent-store/group-file.ts'
import { disksOfNode, pathOfDisk } from '../cluster.ts'

/** By the name of a disk, which is `node-tier-number`. */
export const tierOfDisk = (disk: string): Tier => (disk.includes('-flash-') ? 'flash' : 'hdd')

/** The tier of the disk on which the path lies; undefined outside of all disks. */
export const tierOfPath = (path: string): Tier | undefined =>
  disksOfNode.find((tier) => path === pathOfDisk(tier) || path.startsWith(`${pathOfDisk(tier)}/`))

/** Which copy of which group a file is. */
export function copyAt(path: string): { tier: Tier; group: GroupId; number: CopyNumber } | undefined {
  const tier = tierOfPath(path)
  if (tier === undefined || !path.startsWith(`${pathOfDisk(tier)}/${groupsFolder}/`)) return undefined
  const copy = parseGroupFileName(path.slice(path.lastIndexOf('/') + 1))
  return copy === undefined ? undefined : { tier, ...copy }
}
