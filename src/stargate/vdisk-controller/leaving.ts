/** What shall be elsewhere, in order, as a vDisk's owner asks for it: docs/vdisk-protocol.md, "Orderly change". */
import type { DiskRef } from '../../base/ids.ts'

export interface Leaving {
  /** Copies move off it. */
  readonly isLeaving: (disk: DiskRef) => boolean
  /** Nothing new is placed on it where another can be had: that, and disks of nodes in maintenance. */
  readonly isPassedOver: (disk: DiskRef) => boolean
  /** It is no disk of the cluster any more, and never comes back: what no row names there is as good as unlinked. */
  readonly isRemoved: (disk: DiskRef) => boolean
  /** The one of a group's copies that should be in another block, as they lie in fewer than they could. */
  readonly misplacedAmong: <Copy extends DiskRef>(copies: readonly Copy[]) => Copy | undefined
}
