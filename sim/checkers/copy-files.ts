/** What lies on the simulated disks of the copies of extent groups: what the rows say is held against it. */
import { crc32c } from '../../src/base/crc32c.ts'
import type { GroupId } from '../../src/base/ids.ts'
import { pageBytes } from '../../src/base/units.ts'
import { decodeSuperblock, superblockName } from '../../src/disk/superblock.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import { groupFileName } from '../../src/stargate/extent-store/group-file.ts'
import type { GroupRow } from '../../src/stargate/vdisk-controller/rows.ts'
import { pathOfDisk } from '../cluster.ts'
import type { SimDisk } from '../sim-disk.ts'
import { tierOfDisk } from './disk-paths.ts'

/** The folder of the copy's disk, and the copy's file, in the file system of its node. */
export function placeOfCopy(id: GroupId, { disk, number }: CopyRef): { root: string; path: string } {
  const root = pathOfDisk(tierOfDisk(disk))
  return { root, path: `${root}/${groupFileName(id, number)}` }
}

/** What is wrong with a copy's file; nothing, where the disk is known to have damaged it. */
export function copyFaultOn(disk: SimDisk, path: string, { checksums }: GroupRow): string | undefined {
  const file = disk.find(path)
  if (file?.kind !== 'file') return disk.hasLost(path) ? undefined : 'which is not there'
  const { content } = file
  if (content.damaged) return undefined
  if (!disk.isDurablyNamed(path, content)) return 'whose name a power cut may take away'
  if (!content.isDurable(checksums.length * pageBytes)) return 'whose bytes a power cut may take away'
  const page = Buffer.alloc(pageBytes)
  for (const number of [0, checksums.length - 1]) {
    content.readDurable(page, number * pageBytes)
    if (crc32c(page) !== checksums[number]) return `whose page ${number} is not what the row says`
  }
  return undefined
}

/** Whether the disk that the copy was put on is there still. */
export function holdsDisk(disk: SimDisk, root: string, copy: CopyRef): boolean {
  const file = disk.find(`${root}/${superblockName}`)
  if (file?.kind !== 'file') return false
  const bytes = Buffer.alloc(file.content.size)
  file.content.read(bytes, 0)
  return decodeSuperblock(bytes, root).incarnation === copy.incarnation
}

/** The copy can be read, and is good. */
export function isWhole(disk: SimDisk, id: GroupId, copy: CopyRef, row: GroupRow): boolean {
  const { root, path } = placeOfCopy(id, copy)
  const file = disk.find(path)
  if (file?.kind !== 'file' || file.content.damaged || !holdsDisk(disk, root, copy)) return false
  return copyFaultOn(disk, path, row) === undefined
}
