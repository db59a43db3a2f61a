import { KiB, MiB } from '../base/units.ts'

/**
 * The bounds of the peer protocol (I9). Answers are bounded in number (`handledMax`) and by what each handler may answer;
 * while the caller doesn't read them no further request is started.
 */
export interface PeerLimits {
  /**
   * Bytes of requests to one peer on one lane that were sent and have no answer. As much as the peer handles at once: what
   * lies beyond would only wait there instead of here. It must not be full of what is long and can wait, for heartbeats and guests come
   * behind it: repair has 68 MiB under way at the most.
   */
  readonly inFlightBytesMax: number
  /** Requests to one peer on one lane that were sent and have no answer. */
  readonly inFlightMax: number
  /**
   * Requests that wait here, unsent, until those in flight make room. They hold only memory that the caller holds
   * anyway, so they are counted, not weighed; one more is rejected with UNAVAILABLE, and was not sent.
   */
  readonly waitingMax: number
  /** Bytes of requests that one connection has under way here; beyond it its socket is not read. */
  readonly handledBytesMax: number
  /** Requests that one connection has under way here; the same. */
  readonly handledMax: number
  /** Connections that have not proved yet who they are; one more pushes the oldest out. */
  readonly strangersMax: number
  /** How long a connection may take to prove who it is, on either side. */
  readonly handshakeMs: number
  /** The largest body before that. */
  readonly handshakeBytesMax: number
  readonly connectMs: number
  /** Where a call says nothing else (F10). */
  readonly timeoutMs: number
}

export const peerLimits: PeerLimits = {
  inFlightBytesMax: 96 * MiB,
  inFlightMax: 8192,
  waitingMax: 8192,
  handledBytesMax: 96 * MiB,
  handledMax: 4096,
  strangersMax: 64,
  handshakeMs: 2000,
  handshakeBytesMax: 4 * KiB,
  connectMs: 2000,
  timeoutMs: 10_000,
}
