/** The bounds of the NBD adapter (I9), each with its reason. */
import { requestBytesMax } from '../../io/io.ts'
import { KiB, MiB } from '../../../base/units.ts'

export interface NbdLimits {
  /** A hundred VMs with four connections each, and room; a client beyond them is closed at once. */
  readonly connectionsMax: number
  /** Connections that have not yet said which export they want. A crowd of silent ones can't shut out those that stand. */
  readonly handshakesMax: number
  /** What a client may take to come to an agreement. Programs need milliseconds. The time that we need to open is not counted. */
  readonly handshakeMs: number
  /** Requests of one connection that are with the vDisk. Linux and QEMU keep at most 128 and 16 in flight. */
  readonly requestsMax: number
  /** Bytes held for one connection: payloads under way, and replies that it hasn't taken yet. About two requests of the largest size. */
  readonly connectionBytesMax: number
  /**
   * The same for all connections together. Clients that take no replies may use it up: then each connection still has
   * `ownBytes`, and one request of any size when it holds nothing else.
   */
  readonly bytesMax: number
  /** What a connection may hold whatever the others do: a slab of replies, and a queue of small writes. */
  readonly ownBytes: number
  /** What a connection that says goodbye may take to finish its requests and take its replies. */
  readonly leaveMs: number
}

export const nbdLimits: NbdLimits = {
  connectionsMax: 512,
  handshakesMax: 64,
  handshakeMs: 10_000,
  requestsMax: 128,
  connectionBytesMax: 64 * MiB,
  bytesMax: 512 * MiB,
  ownBytes: 2 * MiB,
  leaveMs: 5_000,
}

/** A write longer than the largest allowed is read to its end and refused; beyond this it is taken for an attack and the connection closed. */
export const skippedPayloadBytesMax = 2 * requestBytesMax
/** Data of an option in negotiation: a name, and far more queries than there are contexts. Longer is read over and refused. */
export const optionBytesMax = 64 * KiB
/** And beyond this closed. */
export const skippedOptionBytesMax = 1 * MiB
