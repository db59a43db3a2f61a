/** Makes the disks of a new cluster: only here, where its directory is made, so that a node never formats by itself. */
import type { DiskId } from '../base/ids.ts'
import { formatDisk } from '../disk/folder-disk.ts'
import type { Platform } from '../platform/platform.ts'
import type { FormatDisk } from './layout.ts'

export const formatClusterDisk =
  (platform: Platform): FormatDisk =>
  async ({ id, path, tier, capacityBytes, clusterId }) => {
    await formatDisk(platform, { path, cluster: clusterId, disk: id as DiskId, tier, capacityBytes })
  }
