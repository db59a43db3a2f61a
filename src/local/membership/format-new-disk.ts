/** `ndfs disk format`: a disk that was put into the configuration of a member, for the next start of its node. */
import { NdfsError } from '../../base/errors.ts'
import type { Platform } from '../../platform/platform.ts'
import { nodeConfigOf, readConfigFile } from '../config-file/config-file.ts'
import type { MembershipOptions } from './membership.ts'
import { confirmFormat, disksToFormat, formatDisks } from './new-disks.ts'

export async function formatNewDisk(
  id: string,
  { file, confirm }: MembershipOptions,
  platform: Platform,
): Promise<void> {
  const config = await readConfigFile(platform.files, file)
  const { cluster } = nodeConfigOf(file, config)
  const disks = config.disks.filter((disk) => disk.id === id)
  if (disks.length === 0)
    throw new NdfsError(
      'NOT_FOUND',
      `Cannot format ${id}: ${file} names no such disk. There are ${config.disks.map((disk) => disk.id).join(', ')}.`,
      { disk: id },
    )
  await confirmFormat(await disksToFormat(platform.files, { disks }, undefined), confirm)
  await formatDisks(platform, disks, cluster.id)
}
