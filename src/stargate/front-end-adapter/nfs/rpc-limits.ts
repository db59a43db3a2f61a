/** The bounds of the server of ONC RPC (I9), each with its reason. */
import { KiB, MiB } from '../../../base/units.ts'

export interface RpcLimits {
  /** A hundred hypervisors, each with some connections (`nconnect` of Linux: up to 16), and room; a client beyond them is closed at once. */
  readonly connectionsMax: number
  /**
   * Calls of one connection that are under way. What makers of NFS servers advise Linux clients to keep in flight at most, who else would go
   * up to 65,536; what is held back waits in their kernel.
   */
  readonly callsMax: number
  /** Bytes held for one connection: calls under way, the answers that they may have, answers not yet taken. Sixteen of the largest. */
  readonly connectionBytesMax: number
  /**
   * The same for all connections together. Clients that take no answers may use it up: then each connection still has `ownBytes`, and one
   * call of any size when it holds nothing else.
   */
  readonly bytesMax: number
  /** What a connection may hold whatever the others do: a queue of small calls. */
  readonly ownBytes: number
  /**
   * A client that for so long takes nothing of what waits for it is closed, at the latest after twice that. For so long Linux waits
   * for an answer before it sends a call again.
   */
  readonly stallMs: number
  /** Calls that came in datagrams and are under way. What comes beyond them is dropped, and sent again by who misses the answer. */
  readonly datagramCallsMax: number
  /** Bytes of a call in a datagram: a lock, with the longest names that it may have. A longer one is dropped. */
  readonly datagramBytesMax: number
  /**
   * Bytes that the answer to a datagram may have beyond those of the call: some ports, or exports. Who sends calls in the name of another
   * can't make us send him much more than that; a longer answer is to be asked for by TCP.
   */
  readonly datagramAnswerBytesMore: number
  /** What a connection that is closed from our side may take to finish its calls and take its answers. */
  readonly leaveMs: number
  /** Answers that are kept for who sends a call again: what some thousand changes a second leave in `keptMs`. */
  readonly keptAnswersMax: number
  /** Their bytes; each has a few hundred. */
  readonly keptBytesMax: number
  /** For so long. Linux sends a call again after one minute. */
  readonly keptMs: number
}

export const rpcLimits: RpcLimits = {
  connectionsMax: 1024,
  callsMax: 128,
  connectionBytesMax: 16 * MiB,
  bytesMax: 512 * MiB,
  ownBytes: 512 * KiB,
  stallMs: 60_000,
  datagramCallsMax: 256,
  datagramBytesMax: 4 * KiB,
  datagramAnswerBytesMore: 256,
  leaveMs: 5_000,
  keptAnswersMax: 65_536,
  keptBytesMax: 32 * MiB,
  keptMs: 150_000,
}
