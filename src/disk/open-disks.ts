/**
 * A node's disks at its start. One that can't be taken into use does not keep the others from it: it is missing, and what it held is made
 * anew elsewhere. Nothing is formatted here, and no folder is made: that of a file system which is not mounted looks like an empty disk.
 */
import { messageOf, NdfsError } from '../base/errors.ts'
import type { DiskId } from '../base/ids.ts'
import type { Platform } from '../platform/platform.ts'
import type { WatchedDisk } from './disk.ts'
import { type DiskOptions, isShortOfDescriptors, openDisk } from './folder-disk.ts'

/** Missing until its node is started again. */
export interface MissingDisk {
  readonly id: DiskId
  readonly reason: string
}

/** Rejects with IN_USE where another process has one of them: it has this node's name, too. */
export async function openDisks(
  platform: Platform,
  configured: readonly DiskOptions[],
): Promise<{ readonly disks: readonly WatchedDisk[]; readonly missing: readonly MissingDisk[] }> {
  const disks: WatchedDisk[] = []
  const missing: MissingDisk[] = []
  for (const options of configured)
    try {
      disks.push(await openDisk(platform, options))
    } catch (error) {
      if (!isOfTheDisk(error)) throw error
      const { disk, path } = options
      const reason =
        error instanceof NdfsError ? error.message : `Cannot use the disk at ${path}: ${messageOf(error)}.`
      platform.log.error('a disk is missing', { disk, reason })
      missing.push({ id: disk, reason })
    }
  return { disks, missing }
}

function isOfTheDisk(error: unknown): boolean {
  if (error instanceof NdfsError) return error.code === 'REFUSED'
  return typeof (error as { code?: unknown }).code === 'string' && !isShortOfDescriptors(error)
}
