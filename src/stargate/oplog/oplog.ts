/**
 * The oplog takes writes and makes them durable on several nodes' flash before anyone is told (R23, R24).
 * It is **the one order of a vDisk's writes** (DESIGN section 3).
 *
 * This file is the contract of the *replica*: one log on one flash disk, which keeps the records of all vDisks whose
 * episodes name that disk. The owner's side of it (episodes, acknowledging, what a vDisk's log holds) is in the vDisk
 * controller, which alone knows which replicas a vDisk has.
 *
 *  1. `append` resolves when its records, **and everything before them in this physical log**, are on stable media (C4).
 *     Records of all vDisks share one sync (group commit).
 *  2. A record under a lower epoch than the highest seen for its vDisk is refused with FENCED; the highest is durable
 *     before it is acted on (I4).
 *  3. Per vDisk and episode the records kept are contiguous in sequence: `append` asserts that the next one continues
 *     (or, in an episode unknown to this disk, is its first), else CONFLICT, with facts `last`.
 *  4. What was fenced and then read can't change behind the reader's back: an append under an older epoch after it is
 *     refused, and one in flight is either in the tail or refused.
 *  5. After a crash: below the highest synced mark found in the log a bad record damages only itself and is reported
 *     (`damage`); above it the log is cut at the first invalid batch (F7). A blank or re-formatted disk is another disk (M2).
 *  6. Space is that of `oplogShare` of the flash disk, in preallocated segments, freed whole, when every record in
 *     them was freed (`free`). When it is short, `onPressure` names the vDisks whose records hold the oldest segments, and
 *     records that stay long are copied forward (M8). A full log rejects with OUT_OF_SPACE; nothing is lost.
 *
 * Not here: who owns what, which replicas a vDisk has, draining, reading for guests (vDisk controller).
 */
import type { DiskRef, EpisodeId, Epoch, Incarnation, NodeId, Sequence, VDiskId } from '../../base/ids.ts'
import type { EncodedRecord } from './record.ts'

// The vocabulary of records is part of this contract.
export * from './record.ts'

export interface OplogReplica {
  readonly ref: DiskRef
  /** False: the log's disk has failed (I6). Nothing is appended, fenced or granted any more; reads are still tried. */
  readonly inService: boolean
  append(vdisk: VDiskId, epoch: Epoch, episode: EpisodeId, records: readonly EncodedRecord[]): Promise<void>
  /**
   * From when it resolves, no record and no grant under an epoch below `epoch` is accepted for this vDisk, here, ever.
   * It stops granting at once, lets its last grant run out first, and a replica just started waits for
   * `leaseMs + leaseMarginMs` (F1). Rejects with FENCED where a higher epoch was seen. Idempotent.
   */
  fence(vdisk: VDiskId, epoch: Epoch): Promise<Tail[]>
  /**
   * Records of one episode, from `from` on, in sequence, at most about `bytesMax` of them; nothing where there are none.
   * Ends before a record that can't be read; where that is the first, rejects with CORRUPT_EXTENT and its `sequence`.
   */
  read(vdisk: VDiskId, episode: EpisodeId, from: Sequence, bytesMax: number): Promise<EncodedRecords>
  /** Everything of the vDisk up to `upTo` is drained: the space may go. In memory only; repeated after a restart. */
  free(vdisk: VDiskId, upTo: Sequence): void
  /** An episode was sealed at `end`: what this replica has beyond it was never acknowledged, and is cut (DESIGN section 7). */
  seal(vdisk: VDiskId, episode: EpisodeId, end: Sequence): void
  /**
   * Grants the owner under `epoch` to serve reads for `leaseMs`, counted from when it sent the request (C11).
   * Undefined: refused (fenced, or not known here). `last`: up to where the episode is kept here, whole.
   */
  grant(vdisk: VDiskId, epoch: Epoch, episode: EpisodeId): { last: Sequence } | undefined
  /** What is kept, for status, for Curator and for finding vDisks that nobody drains. */
  holdings(): readonly Holding[]
  statistics(): OplogStatistics
  /** Called at once when a fence under `epoch` was accepted here: if this node owns the vDisk under a lower one, that is over. */
  onFenced: (vdisk: VDiskId, epoch: Epoch) => void
  /** Called when the log is over three quarters full, with the vDisks whose records hold its oldest segments. */
  onPressure: (vdisks: readonly VDiskId[]) => void
  close(): Promise<void>
}

/** What a fenced replica has of one episode. */
export interface Tail {
  readonly episode: EpisodeId
  readonly first: Sequence
  readonly last: Sequence
  /** The highest acknowledged mark in any of its records, of any episode of the vDisk. */
  readonly acknowledged: Sequence
  /** Sequences that should be here and are unreadable; undefined where all is well. */
  readonly damage?: readonly Sequence[]
}

/** Whole records one after the other, as `record.ts` encodes them. */
export type EncodedRecords = Buffer

export interface Holding {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly bytes: number
  readonly episodes: readonly Tail[]
}

export interface OplogStatistics {
  readonly capacityBytes: number
  readonly usedBytes: number
  readonly records: number
  readonly syncs: number
  readonly bytesWritten: number
}

/** A reachable replica, here or on another node: the same promises, plus PEER_UNREACHABLE and TIMED_OUT (outcome unknown). */
export type RemoteReplica = Pick<OplogReplica, 'append' | 'fence' | 'read'>

/** All log disks of the cluster, by where they are: what the vDisk controller is given. */
export interface Oplogs {
  /** This node's log disks that are in service. */
  local(): readonly OplogReplica[]
  /** The replica on that disk with that incarnation; calls reject with PEER_UNREACHABLE, or NOT_FOUND for another incarnation. */
  replica(ref: DiskRef): RemoteReplica
  /** Tells replicas that need not answer; sent with the next heartbeat. */
  free(refs: readonly DiskRef[], vdisk: VDiskId, upTo: Sequence): void
  seal(refs: readonly DiskRef[], vdisk: VDiskId, episode: EpisodeId, end: Sequence): void
  /**
   * Asks for read grants for what `wanted` lists, four times a second while it lists anything, many in one message
   * a peer, and calls `granted` with the time at which the request was sent. `wake` asks at once: for an episode just opened.
   */
  keepGranted(
    wanted: () => readonly GrantWanted[],
    granted: (grant: Granted) => void,
  ): { readonly wake: () => void }
  /** No more heartbeats; notes that were not answered are dropped. */
  close(): void
}

export interface GrantWanted {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly episode: EpisodeId
  readonly replicas: readonly DiskRef[]
  /** Every replica has synced at least this far when the request is sent: one that answers with less has lost records (F7). */
  readonly acknowledged: Sequence
}

export interface Granted {
  readonly vdisk: VDiskId
  readonly epoch: Epoch
  readonly episode: EpisodeId
  readonly node: NodeId
  readonly disk: DiskRef['disk']
  readonly incarnation: Incarnation
  /** The owner's clock when the request was sent. */
  readonly sentAt: number
  /** False: the replica refused; this owner was fenced, or the replica has lost the episode. */
  readonly ok: boolean
  readonly last: Sequence
  /** As it stood in `GrantWanted` when the request was sent. */
  readonly acknowledged: Sequence
}

/** How long a grant lets the owner serve reads, from sending. */
export const leaseMs = 1000
/** What a fence waits longer than a grant runs: clocks drift by under 1 %, and it must outlast fast and slow ones. */
export const leaseMarginMs = 100
/** The share of a flash disk that the oplog takes (R24). */
export const oplogShare = 0.25
