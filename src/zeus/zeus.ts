/**
 * Zeus is the cluster's configuration and coordination: few keys, changed seldom, seen by all.
 *
 *  1. Keys hold JSON values with versions; a change may ask for the version that it has seen. Changes to all keys
 *     have one order; watchers see every key's newest value after each, in that order (values in between may be skipped).
 *  2. A session lives while its node is heard of (within `timeoutMs`, on the store's clock). While it lives there
 *     is a key `session/NODE`; when it ends the key goes, and every watcher hears of it.
 *  3. `claim` gives a vDisk to at most one (node, incarnation, epoch) at a time, and epochs only grow.
 *  4. A change that resolves is durable. PEER_UNREACHABLE and TIMED_OUT leave the outcome unknown: read again.
 *
 * Safety never rests on sessions: the fence of the oplog gives it (DESIGN section 7).
 * Not here: data, metadata of data (Medusa).
 */
import type { Release } from '../base/formats.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'

export interface Versioned {
  readonly key: string
  readonly value: unknown
  /** From 1; grows by one with each change of this key. */
  readonly version: number
}

export interface Owner {
  readonly node: NodeId
  readonly incarnation: Incarnation
  readonly epoch: Epoch
  /** It gave the vDisk up: whoever wants may claim it. `next` is the node that should. */
  readonly released?: boolean
  readonly next?: NodeId
}

export type ClaimReason =
  /** The owner's session is gone, it released the vDisk, or there never was one. */
  | 'free'
  /** There is proof that the owner serves nobody (M16): taken although its session lives. */
  | 'no-service'

export interface Zeus {
  get(key: string): Promise<Versioned | undefined>
  /** All keys that begin with `prefix`, sorted. */
  list(prefix: string): Promise<Versioned[]>
  /**
   * Sets a key and resolves to its new version. `expected`: the version it must have (0: it must not exist);
   * left out: whatever it has. Rejects with CONFLICT, whose facts have `version` (the present one). A key never has the same
   * version twice, also when it was deleted in between: who waited long with an old one changes nothing.
   */
  set(key: string, value: unknown, expected?: number): Promise<number>
  delete(key: string, expected?: number): Promise<void>
  /** The next number of a counter, from 1; never given twice. */
  next(counter: string): Promise<number>

  /**
   * Calls back for every key under `prefix` as it is now, then `onCaughtUp`, then for each change
   * (`undefined`: deleted). After a lost connection it catches up by itself.
   */
  watch(prefix: string, onChange: (key: string, now: Versioned | undefined) => void): Watch

  /** Opens this node's session; an older incarnation's session of the same node ends at once (m15). `value` is shown to all. */
  openSession(node: NodeId, incarnation: Incarnation, value: unknown): Promise<Session>
  /** For the supervisor that saw the process end. Nothing happens where that incarnation has no session. */
  endSession(node: NodeId, incarnation: Incarnation): Promise<void>

  /** The owner as last granted; `undefined` where there never was one. */
  owner(vdisk: VDiskId): Promise<Owner | undefined>
  /**
   * Makes (node, incarnation) the owner under an epoch above the last one and not below `atLeast`. Rejects with
   * IN_USE (facts: `owner`) where another's session lives and the reason does not allow to take it.
   * The key `owner/VDISK` changes, so watchers hear of it.
   */
  claim(
    vdisk: VDiskId,
    by: { node: NodeId; incarnation: Incarnation },
    reason: ClaimReason,
    atLeast: Epoch,
  ): Promise<Owner>
  /** Gives the vDisk up; nothing happens where `epoch` is not the present one. */
  release(vdisk: VDiskId, epoch: Epoch, next?: NodeId): Promise<void>
  close(): Promise<void>
}

export interface Watch {
  /** Resolves when all that was there at the start was reported. */
  readonly caughtUp: Promise<void>
  stop(): void
}

export interface Session {
  readonly alive: boolean
  /** Called once when the session was lost: ended by the store, or unheard of for longer than the timeout. */
  onLost: (reason: string) => void
  /** Changes what `session/NODE` shows. */
  update(value: unknown): Promise<void>
  /** Ends it at once, in order. */
  end(): Promise<void>
}

/** Milliseconds without a sign of life after which a session ends (DESIGN section 8). */
export const sessionTimeoutMs = 1500

/** What the keys hold. A container: `container/NAME`; a vDisk's name: `vdisk/CONTAINER/NAME`. */
export interface ContainerValue {
  readonly copies: 1 | 2 | 3
  readonly createdAt: number
  /** The inode of its root directory, from when files were first looked for in it. */
  readonly root?: number
  /** Everything in it is being taken away: nobody finds it any more, but who deletes it. */
  readonly deleting?: boolean
  /** Rules of its export by NFS, those that differ from the usual ones (export-rules.ts says what they mean). */
  readonly nfs?: ExportValue
  /** Networks whose hosts may have its vDisks by NBD without TLS; absent where there is none. */
  readonly nbd?: { readonly networks: readonly string[] }
}
export interface ExportValue {
  readonly networks?: readonly string[]
  readonly readOnly?: boolean
  readonly squash?: 'none' | 'root' | 'all'
  readonly anonymousUid?: number
  readonly anonymousGid?: number
  readonly privilegedPorts?: boolean
}
export interface VDiskNameValue {
  readonly id: VDiskId
  readonly createdAt: number
  /** Of one that was made for a file: the file's inode. */
  readonly file?: number
}
/** `node/NODE`: what the node is, whether it runs or not. `session/NODE`: the same with its incarnation, while it runs. */
export interface NodeValue {
  readonly block: string
  readonly peer: string
  readonly http: string
  readonly nbd: { readonly address: string; readonly socket: string }
  readonly nfs?: string
  /** How clients find the ports of NFS; absent where nobody asked for it. */
  readonly portMapper?: { readonly by: 'ndfs' | 'rpcbind' | 'nobody'; readonly reason?: string }
  readonly disks: readonly DiskValue[]
}
export interface DiskValue {
  readonly id: string
  readonly incarnation: string
  readonly tier: 'flash' | 'hdd'
  readonly capacityBytes: number
  readonly state: 'online' | 'slow' | 'failed'
  /** Why it is out of service. */
  readonly reason?: string
}
/** `setting/NODE`: what an operator set for a node; it outlives the node's process. */
export interface SettingValue {
  readonly cacheBytes?: number
  /** In place of the one that the node's own configuration names. */
  readonly block?: string
  /** Left out: it is active. */
  readonly mode?: NodeMode
  /** While it is in maintenance: until when (milliseconds since 1970) its absence is no reason to repair. */
  readonly repairWaitsUntil?: number
  /** Disks that are being left while the node stays, and those that are gone for good. */
  readonly disks?: readonly DiskSetting[]
}
/** `draining`: everything goes elsewhere; `maintenance`: vDisks and logs do; `removed`: it is no part of the cluster any more. */
export type NodeMode = 'draining' | 'maintenance' | 'removed'
export interface DiskSetting {
  readonly id: string
  readonly incarnation: string
  readonly mode: 'draining' | 'removed'
}
/** `cluster`: whose Zeus it is, where the cluster was made by `ndfs init`, or lies on engines. Engines without it hold no cluster, or not all of it. */
export const clusterKey = 'cluster'
export interface ClusterValue {
  readonly id: string
  readonly createdAt: number
}
/** `format`: how the cluster writes, and of which release each node was when it was last started. One key, so that one change sees both. */
export interface FormatValue {
  readonly format: number
  readonly nodes: Readonly<Record<string, Release>>
}
/** `member/NODE`: the machine that joined under that name, from then on for good. */
export interface MemberValue {
  readonly machine: string
  readonly joinedAt: number
}
/** `invitation/NUMBER`: how often a join token may be used, until when, and by which machines it was. */
export interface InvitationValue {
  readonly expiresAt: number
  readonly uses: number
  readonly machines: readonly string[]
}
/** `scrubbing`: for all nodes. `scrub/NODE`: how far the node's scrub is, in its own words. */
export interface ScrubSettingValue {
  /** Every copy once in so long; 0: none is scrubbed. */
  readonly everyMs: number
}
/** When the files of a container, by the inode of its root, were scrubbed last, in the scrub's own words. */
export const fileScrubKey = (root: number): string => `scrub-files/${root}`
export interface SessionValue extends NodeValue {
  readonly incarnation: Incarnation
  /** Milliseconds since 1970. */
  readonly startedAt: number
}
