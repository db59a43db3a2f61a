/**
 * Makes the disks and the store of a new cluster: only here, where its directory is made, so that a node never formats by itself, and
 * a store that was lost is never made anew.
 */
import { join } from 'node:path'
import type { DiskId } from '../base/ids.ts'
import { formatDisk } from '../disk/folder-disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { FormatDisk, MakeStore } from './layout.ts'

export const formatClusterDisk =
  (platform: Platform): FormatDisk =>
  async ({ id, path, tier, capacityBytes, clusterId }) => {
    await formatDisk(platform, { path, cluster: clusterId, disk: id as DiskId, tier, capacityBytes })
  }

export const makeStoreFile: MakeStore = async (folder, clusterId) => {
  const { openStoreDatabase } = await import('./store/store-database.ts')
  openStoreDatabase(join(folder, 'store.db'), clusterId).close()
}
