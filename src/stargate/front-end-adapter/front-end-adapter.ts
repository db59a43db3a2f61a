/**
 * The front-end adapter takes hypervisors' requests on every node, for every vDisk, wherever its owner is (R16, R18).
 *
 *  1. The protocols (`nbd/`) turn bytes into calls of an open vDisk, check them, and answer in the protocol's own codes.
 *  2. The router (`vdisk-router.ts`) carries a call to the vDisk's owner: this node, or another, to which it is forwarded with the
 *     owner's epoch and a session number. A forwarded call is never forwarded again (C10).
 *  3. Where there is no owner that serves, this node becomes it: a VM's vDisk moves to where its traffic arrives.
 *  4. A call is repeated, under a new session number, while its outcome is unknown, until `requestWaitMaxMs`; then it fails.
 *
 * Not here: the order of writes, what is durable (vDisk controller).
 */
import type { Incarnation, NodeId, VDiskId } from '../../base/ids.ts'
import type { Owner } from '../../zeus/zeus.ts'

/** What the router knows of the cluster: a view that Zeus's watches keep. */
export interface Locations {
  names(): readonly string[]
  /** The vDisk behind an export's name; asks Zeus where it was not heard of: it may have been made a moment ago. */
  vdiskNamed(name: string): Promise<VDiskId | undefined>
  /** As Zeus has it now: a name may have been given to another vDisk since this node heard of it. */
  vdiskNamedNow(name: string): Promise<VDiskId | undefined>
  owner(vdisk: VDiskId): Owner | undefined
  /** Does that process of the node live, as far as Zeus has heard? */
  lives(node: NodeId, incarnation: Incarnation): boolean
  liveNodes(): readonly NodeId[]
  /** Calls back once when something changes. */
  changed(): Promise<void>
}
