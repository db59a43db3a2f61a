/**
 * The vDisk controller serves the vDisks that this node owns: it puts their writes in one order, tells random from
 * sequential (R20), makes each durable in its log or in extent groups, drains the log into the map (R25), and takes a
 * vDisk over when its owner is gone. docs/vdisk-protocol.md tells it message by message.
 *
 *  1. A write, zero, discard or resize that resolves is on stable media on `copies` nodes, and so is everything
 *     acknowledged before it (I1). With too few nodes it waits, at most `writeWaitMaxMs`, then rejects with
 *     TOO_FEW_REPLICAS: it may still take effect.
 *  2. A read gives the last acknowledged bytes or a newer write's that was in flight (I2), and only while this node can
 *     prove that it still is the owner.
 *  3. A vDisk of which this node is no longer the owner rejects everything with NOT_OWNER or FENCED; what was under way
 *     has an unknown outcome.
 *  4. Of a vDisk that this node owns, extent groups whose copies lie on disks that are gone get full copies again, by themselves; and
 *     behind that, what lies on disks that are being left moves off them, its log too.
 *  5. Memory for undrained bytes is bounded by node and by vDisk; writes wait for a drain beyond that (I9).
 *
 * Not here: which node a request should go to (front-end adapter), who goes first (admission control), sockets, disks.
 */
import type { Epoch, EpisodeId, DiskRef, NodeId, Sequence, VDiskId } from '../../base/ids.ts'
import type { VDiskOffset } from '../../base/units.ts'
import type { ClaimReason } from '../../zeus/zeus.ts'
import type { Maybe, Run, VDiskNow } from '../io/io.ts'

// What may be lost, and what is left then, is part of this contract: pure functions of pictures.
export * from './copy-levels.ts'
// So are the words for what a check finds.
export * from './check-findings.ts'
export type { CheckedCopy } from './copy-check.ts'
export type { Walked, WalkedCopy, WalkPlace } from './copy-walk.ts'

/**
 * Whom a request comes from, for requests that may have been sent twice. A request is refused with STALE_SESSION where
 * a newer number of the same sender was seen before it got its place in the vDisk's order (C10, F3).
 */
export interface Sender {
  /** A node's process: `node/NODE.INCARNATION`. A client: `client/NAME`, whose number the vDisk's row remembers. */
  readonly name: string
  readonly number: number
}

/** One vDisk that this node owns. Ranges lie inside `sizeBytes`: the adapters have checked, and it is asserted. */
export interface HostedVDisk extends VDiskNow {
  readonly id: VDiskId
  readonly epoch: Epoch
  /** Undefined while it serves. */
  readonly stopped: Error | undefined
  read(offset: VDiskOffset, target: Buffer): Maybe<void>
  /** See OpenVDisk.lend. */
  lend(offset: VDiskOffset, length: number): Maybe<readonly Buffer[]> | undefined
  write(offset: VDiskOffset, payload: Buffer, senders: readonly Sender[]): Promise<void>
  zero(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void>
  discard(offset: VDiskOffset, length: number, senders: readonly Sender[]): Promise<void>
  resize(sizeBytes: number, senders: readonly Sender[]): Promise<void>
  /** To so many bytes at least: of several who do so at once none cuts off what another has got. */
  grow(sizeBytes: number, senders: readonly Sender[]): Promise<void>
  prefetch(offset: VDiskOffset, length: number): Maybe<void>
  status(offset: VDiskOffset, length: number, runsMax: number): Promise<readonly Run[]>
  /**
   * Lets a client in: its newest number is remembered, durably, before anything of it is served (F3), and the vDisk was
   * this owner's still at some instant of the call. NOT_OWNER, FENCED or NOT_FOUND where it was not.
   */
  admit(senders: readonly Sender[]): Promise<void>
  /** Drains everything that is acknowledged at the call, or rejects with what stands in the way. */
  drain(): Promise<void>
  describe(): HostedDescription
}

export interface HostedDescription {
  readonly id: VDiskId
  readonly epoch: Epoch
  readonly sizeBytes: number
  readonly copies: number
  readonly acknowledged: Sequence
  readonly drained: Sequence
  readonly undrainedBytes: number
  readonly episode: { readonly id: EpisodeId; readonly replicas: readonly DiskRef[] } | undefined
  readonly sealedEpisodes: number
  readonly liveGroups: number | undefined
  /** Why writes wait, or why it does not serve; undefined where all is well. */
  readonly waitsFor?: string
  /** Extent groups with fewer copies than asked for; undefined where all are full. */
  readonly repair?: RepairList
}

/** What is left to repair of a vDisk, or of several that ask for as many copies. */
export interface RepairList {
  /** Copies asked for. */
  readonly copies: number
  /** Fewest copies first. `bytes`: of the copies that are to be made; about, for not every row has been read. */
  readonly endangered: readonly { readonly left: number; readonly groups: number; readonly bytes: number }[]
  /** Full groups with copies that are to be elsewhere; `bytes`: of those copies, about. Undefined where there are none. */
  readonly moving?: { readonly groups: number; readonly bytes: number }
  /** Why it does not go on; undefined while it does. */
  readonly waitsFor?: string
}

export interface VDiskController {
  /** It is served here, or about to be, or about to be given up. */
  holds(vdisk: VDiskId): boolean
  hosted(vdisk: VDiskId): HostedVDisk | undefined
  /** Owns the vDisk when it resolves, and serves it. Concurrent calls share one claim. IN_USE (facts `owner`) where another serves it. */
  claim(vdisk: VDiskId, reason: ClaimReason): Promise<HostedVDisk>
  /** Writes the row of a new vDisk; the caller then publishes its name. */
  create(vdisk: VDiskId, name: string, sizeBytes: number, copies: 1 | 2 | 3): Promise<void>
  /** Claims it, if need be, refuses guests from then on, frees what it held. The caller removes the name first. */
  delete(vdisk: VDiskId): Promise<void>
  /** Gives it up in order, to `next` where one is named. */
  release(vdisk: VDiskId, next?: NodeId): Promise<void>
  all(): readonly HostedVDisk[]
  statistics(): VDiskControllerStatistics
  close(): Promise<void>
}

export interface VDiskControllerStatistics {
  readonly hosted: number
  readonly undrainedBytes: number
  readonly undrainedBytesMax: number
  readonly drains: number
  readonly drainedBytes: number
  readonly takeovers: number
  readonly reopenedEpisodes: number
  readonly streamWrites: number
  readonly logWrites: number
  readonly groupsFreed: number
  /** Bad copies that were made good. */
  readonly copiesRepaired: number
  /** Copies that were gone and have been made anew, elsewhere. */
  readonly copiesReplaced: number
  readonly repairedBytes: number
  /** Copies that were on disks which are being left, and are elsewhere now. */
  readonly copiesMoved: number
  readonly movedBytes: number
  /** Of copies made anew, and of copies moved. */
  readonly repairBytesPerSecond: number
  /** By copies asked for; nothing where all groups are full. */
  readonly repairs: readonly RepairList[]
  readonly compactedBytes: number
}
