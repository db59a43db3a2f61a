/** The requests of StoreZeus, its watches and its sessions: one typed way to the machine's store. */
import { decodeControl, encodeControl } from '../base/control.ts'
import { NdfsError } from '../base/errors.ts'
import type { NodeId } from '../base/ids.ts'
import type { Peers } from '../peer/peer.ts'
import type { ZeusAnswer, ZeusAsks, ZeusKind } from './zeus-requests.ts'

export class ZeusCaller {
  readonly #peers: Peers
  readonly #store: NodeId
  #closed = false

  constructor(peers: Peers, store: NodeId) {
    this.#peers = peers
    this.#store = store
  }

  get closed(): boolean {
    return this.#closed
  }

  async call<K extends ZeusKind>(kind: K, asks: ZeusAsks<K>, timeoutMs?: number): Promise<ZeusAnswer<K>> {
    if (this.#closed) throw new NdfsError('UNAVAILABLE', 'Cannot ask Zeus: this node has closed it', { kind })
    const options = timeoutMs === undefined ? {} : { timeoutMs }
    const answer = await this.#peers.call(this.#store, kind, [encodeControl(asks)], options)
    return decodeControl<ZeusAnswer<K>>(answer)
  }

  close(): void {
    this.#closed = true
  }
}
