/**
 * Requests from node to node, and to the machine's store: framed binary over TCP or a Unix socket.
 *
 *  1. Nobody gets in without the cluster's key (both sides prove that they have it), and nobody of another cluster
 *     or of an unknown protocol version, or of a release that can't serve the cluster's format: both are told so in a sentence, then closed.
 *  2. A request is sent at most once. When `call` rejects with PEER_UNREACHABLE or TIMED_OUT its outcome is unknown.
 *  3. Requests of one lane to one peer arrive, and their handlers start, in the order in which they were sent.
 *     Answers may come in any order.
 *  4. Two lanes, each a connection with bounds of its own: `forward` for requests that may cause others, `terminal`
 *     for those that end where they arrive. A full lane never stops the reading of another (I9, M9).
 *  5. With a certificate (PeerNetworkOptions.tls) what leaves the machine is mutual TLS: each side's is signed by an authority that the other
 *     trusts, and names the node that it claims to be. The key is proved within.
 *
 * Not here: what a request means (handlers are registered by whoever joins the parts), and retries.
 */
import type { Incarnation, NodeId } from '../base/ids.ts'
import type { Address } from '../platform/platform.ts'

export type Lane = 'terminal' | 'forward'

/**
 * A handler answers with bytes, which must not change until they were sent, or throws: an NdfsError arrives at the caller
 * with its code and facts; anything else is a bug, and stops the process.
 */
export type PeerHandler = (request: PeerRequest) => Promise<readonly Uint8Array[]> | readonly Uint8Array[]

export interface PeerRequest {
  readonly from: NodeId
  /** The incarnation of the sender's process. */
  readonly incarnation: Incarnation
  readonly kind: string
  /** Often a view of what was read from the socket: who keeps a small part of it for long copies that part. See also `HandlerOptions`. */
  readonly body: Buffer
  /**
   * The crc32c of all whole pages of a long body, from its beginning on, computed when it had arrived: whoever holds it against those of
   * single pages (`crc32cOfPages`) reads no byte again. Undefined for shorter ones, and for a call within a node.
   */
  readonly checksumOfPages?: number | undefined
}

export interface HandlerOptions {
  /**
   * The handler, and all that it began, is done with the request's body when it answers: its memory is used again then. Not where it
   * throws, which it may do while a disk still reads the body.
   */
  readonly endsBody?: boolean
  /** The handler's answer is nobody's once it was sent: its memory is used again then. */
  readonly endsAnswer?: boolean
}

export interface CallOptions {
  readonly lane?: Lane
  /** 10 s where nothing else is said (F10). */
  readonly timeoutMs?: number
}

export interface Peers {
  /** Kinds are dotted: `oplog.append`. One handler a kind. */
  handle(kind: string, lane: Lane, handler: PeerHandler, options?: HandlerOptions): void
  /** Where nodes are. Connections to addresses that changed are closed. A call to an unknown node is PEER_UNREACHABLE. */
  setAddress(node: NodeId, address: Address | undefined): void
  /**
   * Connects where there is no connection yet. A call to this node itself goes to its own handlers, without a socket.
   * The body must not change until the call has ended. UNAVAILABLE: too much waits for that peer; nothing was sent.
   * PEER_UNREACHABLE with the fact `refused`: one of the two doesn't take the other as a peer.
   */
  call(to: NodeId, kind: string, body: readonly Uint8Array[], options?: CallOptions): Promise<Buffer>
  /** Bytes that wait to be sent to a peer on a lane: what callers look at to hold back. */
  backlogBytes(to: NodeId, lane: Lane): number
  /** Called when a connection to a peer broke (all calls on it were rejected before). */
  onDisconnected(callback: (node: NodeId, error: Error) => void): void
  listen(address: Address): Promise<Address>
  close(): Promise<void>
}
