/**
 * Zeus as a node sees it where the machine's store holds it: each call is a request to the store. Watches
 * (store-zeus-watches.ts) and sessions (store-zeus-session.ts) outlive a restart of the store by themselves; any other
 * call that the restart cuts off rejects, and its caller decides.
 */
import { NdfsError } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { Peers } from '../peer/peer.ts'
import type { Platform } from '../platform/platform.ts'
import { StoreSession } from './store-zeus-session.ts'
import { StoreWatches } from './store-zeus-watches.ts'
import { ZeusCaller } from './zeus-caller.ts'
import type { Claimant, Entry } from './zeus-requests.ts'
import { jsonOf, ownerKey } from './zeus-requests.ts'
import type { ClaimReason, Owner, Session, Versioned, Watch, Zeus } from './zeus.ts'

export class StoreZeus implements Zeus {
  readonly #platform: Pick<Platform, 'clock' | 'chance'>
  readonly #store: ZeusCaller
  readonly #watches: StoreWatches
  readonly #sessions = new Set<StoreSession>()

  constructor(peers: Peers, store: NodeId, platform: Pick<Platform, 'clock' | 'chance'>) {
    this.#platform = platform
    this.#store = new ZeusCaller(peers, store)
    this.#watches = new StoreWatches(this.#store, platform)
  }

  async get(key: string): Promise<Versioned | undefined> {
    const { entry } = await this.#store.call('zeus.get', { key })
    return entry && versionedOf(entry)
  }

  async list(prefix: string): Promise<Versioned[]> {
    return (await this.#store.call('zeus.list', { prefix })).entries.map(versionedOf)
  }

  async set(key: string, value: unknown, expected?: number): Promise<number> {
    const asks = { key, json: jsonOf(value), ...(expected === undefined ? {} : { expected }) }
    return (await this.#store.call('zeus.set', asks)).version
  }

  async delete(key: string, expected?: number): Promise<void> {
    await this.#store.call('zeus.delete', { key, ...(expected === undefined ? {} : { expected }) })
  }

  async next(counter: string): Promise<number> {
    return (await this.#store.call('zeus.next', { counter })).number
  }

  watch(prefix: string, onChange: (key: string, now: Versioned | undefined) => void): Watch {
    if (this.#store.closed)
      throw new NdfsError('UNAVAILABLE', `Cannot watch ${prefix}: this node has closed Zeus`, { prefix })
    return this.#watches.add(prefix, onChange)
  }

  async openSession(node: NodeId, incarnation: Incarnation, value: unknown): Promise<Session> {
    const sentAt = this.#platform.clock.now()
    await this.#store.call('zeus.open-session', { node, incarnation, json: jsonOf(value) })
    const session = new StoreSession(this.#store, this.#platform.clock, { node, incarnation }, sentAt, () =>
      this.#sessions.delete(session),
    )
    this.#sessions.add(session)
    return session
  }

  async endSession(node: NodeId, incarnation: Incarnation): Promise<void> {
    await this.#store.call('zeus.end-session', { node, incarnation })
  }

  async owner(vdisk: VDiskId): Promise<Owner | undefined> {
    return (await this.get(ownerKey(vdisk)))?.value as Owner | undefined
  }

  async claim(vdisk: VDiskId, by: Claimant, reason: ClaimReason, atLeast: Epoch): Promise<Owner> {
    return (await this.#store.call('zeus.claim', { vdisk, by, reason, atLeast })).owner
  }

  async release(vdisk: VDiskId, epoch: Epoch, next?: NodeId): Promise<void> {
    await this.#store.call('zeus.release', { vdisk, epoch, ...(next === undefined ? {} : { next }) })
  }

  /** Stops watching, and beating for open sessions, which then run out: whoever leaves in order ends them first. */
  async close(): Promise<void> {
    this.#watches.close()
    for (const session of this.#sessions) session.abandon()
    this.#store.close()
  }
}

function versionedOf({ key, json, version }: Entry): Versioned {
  return { key, value: JSON.parse(json) as unknown, version }
}
