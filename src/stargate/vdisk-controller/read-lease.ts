/**
 * May the owner serve reads now? It may while every other replica of its open episode has granted it for the time
 * being (C11), counted from when it asked. Grants of an episode that is being replaced do not count (F2).
 */
import { type DiskRef, type EpisodeId, sameDisk } from '../../base/ids.ts'
import { type Granted, leaseMs } from '../oplog/oplog.ts'

export class ReadLease {
  #episode: EpisodeId | undefined
  #grants: { readonly replica: DiskRef; until: number }[] = []

  /** The episode is named in the row, and these replicas are not on the owner's node. */
  begin(episode: EpisodeId, others: readonly DiskRef[]): void {
    this.#episode = episode
    this.#grants = others.map((replica) => ({ replica, until: Number.NEGATIVE_INFINITY }))
  }

  /** No grant counts until the next `begin`. */
  suspend(): void {
    this.#episode = undefined
  }

  granted(grant: Granted): void {
    if (grant.episode !== this.#episode || !grant.ok) return
    for (const held of this.#grants)
      if (held.replica.node === grant.node && sameDisk(held.replica, { ...grant }))
        held.until = Math.max(held.until, grant.sentAt + leaseMs)
  }

  holds(now: number): boolean {
    if (this.#episode === undefined) return false
    for (const grant of this.#grants) if (grant.until <= now) return false
    return true
  }
}
