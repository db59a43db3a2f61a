/**
 * I7: a copy's file is removed only after the row said so: the group's row is `deleting`, for as long as the grace runs, or names
 * other copies than this one, or is gone, and with it the index row. And no group that the map names is ever `deleting`.
 */
import type { CopyNumber, GroupId } from '../../src/base/ids.ts'
import type { Tier } from '../../src/disk/disk.ts'
import type { CopyRef } from '../../src/stargate/extent-store/extent-store.ts'
import { tierOfDisk } from './disk-paths.ts'
import type { MadeChange, MetadataShadow } from './metadata-shadow.ts'

/** What reclaim.ts waits between mark and unlinking, by a clock that drifts by under 1 % (and some for rounding). */
const graceMsLeast = 2000 / 1.01 - 2

export class DeletionFirst {
  readonly #metadata: MetadataShadow
  readonly #markedAt = new Map<GroupId, number>()

  constructor(metadata: MetadataShadow) {
    this.#metadata = metadata
  }

  /** What is wrong with a change that is about to count. */
  changed({ groups }: MadeChange, now: number): string | undefined {
    for (const { id, after } of groups) {
      if (after === undefined) this.#markedAt.delete(id)
      if (after?.state !== 'deleting') continue
      if (!this.#markedAt.has(id)) this.#markedAt.set(id, now)
      const vdisk = this.#metadata.states.get(Number(id.split('-')[0]) as never)
      if (vdisk?.state === 'live' && this.#metadata.isNamed(id))
        return `group ${id} is being deleted, and the map names it`
    }
    return undefined
  }

  /** A file of a group is about to go from a disk. */
  removed(node: string, tier: Tier, group: GroupId, number: CopyNumber, now: number): string | undefined {
    const isIt = (copy: CopyRef): boolean =>
      copy.node === node && tierOfDisk(copy.disk) === tier && copy.number === number
    const row = this.#metadata.groups.get(group)
    const what = `copy ${number} of group ${group} is removed from ${node}, ${tier}`
    if (row === undefined) {
      if (this.#metadata.planned.get(group)?.some(isIt) !== true) return undefined
      return `${what}: it was planned there, and no row says that it is being deleted`
    }
    if (!row.copies.some(isIt)) return undefined
    if (row.state !== 'deleting')
      return `${what}, and its row is ${row.state}${this.#metadata.isNamed(group) ? ', and the map names it' : ''}`
    const waitedMs = now - (this.#markedAt.get(group) ?? now)
    if (waitedMs < graceMsLeast) return `${what} ${waitedMs.toFixed(1)} ms after its row said so`
    return undefined
  }
}
