/**
 * Which extent groups a vDisk has, and how many pages of its map name each: what tells live groups from dead ones.
 *
 *   registered ──▶ pinned while written, or named by an undrained record ──▶ counted by the map ──▶ dead ──▶ freed
 *
 * The counts come from one complete scan of the map after the claim, and then from the owner's own changes; until every partition
 * was counted, nothing is dead (I7). Deadness is stable: no new entry ever names a group whose count fell to nothing.
 */
import { assert } from '../../base/assert.ts'
import { vBlocksPerPartition } from '../../base/units.ts'
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { bad, hole, type VBlock } from './map-row.ts'

/** Those that the map names. */
export interface LiveGroups {
  readonly count: number
  /** Pages of them that it names. */
  readonly pages: number
  /** Without those that something else holds on to. */
  readonly each: () => Iterable<readonly [group: GroupHandle, pages: number]>
}

export class GroupLedger {
  /** Map entries that name the group. Groups with none are absent. */
  readonly #named = new Map<GroupHandle, number>()
  #pagesNamed = 0
  /** Reasons why a group must stay though no map entry names it. */
  readonly #pins = new Map<GroupHandle, number>()
  /** Every group that has a row in the index. */
  readonly #known = new Set<GroupHandle>()
  readonly #freeing = new Set<GroupHandle>()
  #partitionsCounted = 0
  #complete = false

  get complete(): boolean {
    return this.#complete
  }
  get live(): number {
    return this.#named.size
  }
  /** About how many: those that nothing is known to name, and nothing holds. */
  get dead(): number {
    return this.#complete ? Math.max(0, this.#known.size - this.#named.size - this.#pins.size) : 0
  }
  get known(): number {
    return this.#known.size
  }

  /** Pages that map entries name, as far as they were counted. */
  pagesNamed(group: GroupHandle): number {
    return this.#named.get(group) ?? 0
  }

  /** It is dead, and on its way out: nothing may begin with it any more. */
  isFreeing(group: GroupHandle): boolean {
    return this.#freeing.has(group)
  }

  /** Nothing points to it, for certain, and it is not on its way out yet. */
  isDead(group: GroupHandle): boolean {
    return (
      this.#complete &&
      this.#known.has(group) &&
      !this.#named.has(group) &&
      !this.#pins.has(group) &&
      !this.#freeing.has(group)
    )
  }

  registered(group: GroupHandle): void {
    this.#known.add(group)
  }

  pin(group: GroupHandle): void {
    assert(!this.#freeing.has(group), 'a group that is being freed is not used again')
    this.#pins.set(group, (this.#pins.get(group) ?? 0) + 1)
  }

  unpin(group: GroupHandle): void {
    const pins = this.#pins.get(group)
    assert(pins !== undefined, 'what is unpinned was pinned')
    if (pins > 1) this.#pins.set(group, pins - 1)
    else this.#pins.delete(group)
  }

  /** The scan has seen all of this partition, the first that was not counted yet. */
  countedPartition(): void {
    this.#partitionsCounted++
  }

  countedAll(): void {
    this.#complete = true
  }

  countVBlock(block: VBlock): void {
    for (const group of block.groups) this.#add(group, 1)
  }

  /** The map's entry of one page changed. What lies in a partition not yet counted will be seen by the scan. */
  changed(vBlock: number, before: GroupHandle, after: GroupHandle): void {
    if (!this.#complete && Math.floor(vBlock / vBlocksPerPartition) >= this.#partitionsCounted) return
    this.#add(before, -1)
    this.#add(after, 1)
  }

  /** Groups to which nothing points: at most `most` of them, each given out once until `freed` or `spared`. */
  takeDead(most: number): GroupHandle[] {
    const dead: GroupHandle[] = []
    if (!this.#complete) return dead
    for (const group of this.#known) {
      if (dead.length >= most) break
      if (this.#named.has(group) || this.#pins.has(group) || this.#freeing.has(group)) continue
      this.#freeing.add(group)
      dead.push(group)
    }
    return dead
  }

  freed(group: GroupHandle): void {
    this.#freeing.delete(group)
    this.#known.delete(group)
  }

  /** It could not be freed now (a copy's node is down): it will be given out again, when all others have been. */
  spared(group: GroupHandle): void {
    this.#freeing.delete(group)
    if (this.#known.delete(group)) this.#known.add(group)
  }

  liveGroups(): LiveGroups {
    return { count: this.#named.size, pages: this.#pagesNamed, each: () => this.#unpinned() }
  }

  *#unpinned(): Iterable<readonly [GroupHandle, number]> {
    for (const named of this.#named) if (!this.#pins.has(named[0])) yield named
  }

  #add(group: GroupHandle, by: number): void {
    if (group === hole || group === bad) return
    const count = (this.#named.get(group) ?? 0) + by
    assert(count >= 0, 'a group is not named less than never')
    if (by > 0) assert(!this.#freeing.has(group), 'a dead group is not named again')
    if (count === 0) this.#named.delete(group)
    else this.#named.set(group, count)
    this.#pagesNamed += by
  }
}
