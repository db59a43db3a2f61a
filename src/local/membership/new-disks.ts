/** The disks of a machine that becomes a member: looked at first, all of them, and formatted when a person has agreed. */
import { NdfsError } from '../../base/errors.ts'
import type { DiskId } from '../../base/ids.ts'
import { formatSize } from '../../base/units.ts'
import { formatDisk } from '../../disk/folder-disk.ts'
import { decodeSuperblock, superblockName } from '../../disk/superblock.ts'
import type { Files, Platform } from '../../platform/platform.ts'
import type { ConfigFile } from '../config-file/config-file.ts'

type NewDisk = ConfigFile['disks'][number]

/**
 * Resolves to those that are to be formatted; the others an interrupted attempt to join `begunFor` has formatted. REFUSED where a
 * folder is not there, or holds anything else.
 */
export async function disksToFormat(
  files: Files,
  { disks }: Pick<ConfigFile, 'disks'>,
  begunFor: string | undefined,
): Promise<readonly NewDisk[]> {
  const blank: NewDisk[] = []
  for (const disk of disks) if (!(await isFormatted(files, disk, begunFor))) blank.push(disk)
  return blank
}

async function isFormatted(files: Files, disk: NewDisk, begunFor: string | undefined): Promise<boolean> {
  const { id, path } = disk
  const names = await files.list(path)
  if (names === undefined)
    throw refused(id, path, 'there is no such folder. Mount its file system, and make the folder in it')
  const superblock = await files.readWhole(`${path}/${superblockName}`)
  if (superblock !== undefined) {
    const found = decodeSuperblock(superblock, path)
    if (found.cluster === begunFor && found.disk === id) return true
    throw refused(
      id,
      path,
      `it is the disk ${found.disk} of the cluster ${found.cluster}. Name another folder`,
    )
  }
  const held = names.filter((name) => name !== 'lost+found' && !name.startsWith(`${superblockName}.`))
  if (held.length > 0)
    throw refused(id, path, `it is not empty (${held.slice(0, 3).join(', ')}). Name an empty folder`)
  return false
}

const refused = (id: string, path: string, reason: string): NdfsError =>
  new NdfsError('REFUSED', `Cannot format the disk ${id} at ${path}: ${reason}.`, { disk: id, path })

export async function confirmFormat(
  disks: readonly NewDisk[],
  confirm: (question: string) => Promise<boolean>,
): Promise<void> {
  if (disks.length === 0) return
  const named = disks.map(({ path, tier, capacity }) => `${path} (${tier}, ${formatSize(capacity)})`)
  if (!(await confirm(`Format ${named.join(', ')} for NDFS?`)))
    throw new NdfsError('REFUSED', 'Nothing was changed.')
}

export async function formatDisks(
  platform: Platform,
  disks: readonly NewDisk[],
  cluster: string,
): Promise<void> {
  for (const { id, path, tier, capacity } of disks)
    await formatDisk(platform, { path, cluster, disk: id as DiskId, tier, capacityBytes: capacity })
}
