/**
 * Where a page's bytes are, taken at one instant from the index and the map: the base beneath, and the fragments above.
 * What it says stays true over an await, whatever drains meanwhile: the base's group is not freed while reads of it are under way. But the
 * fragments' bytes are the log's: who is not the drain itself copies what it needs of them before it awaits.
 */
import type { GroupHandle } from '../extent-cache/extent-cache.ts'
import { coversPage, type Fragment, fragmentsOldestFirst, needsBase } from './log-index.ts'
import { hole } from './map-row.ts'

export interface PagePlan {
  /** `hole`: zeros. Else the group (or `bad`) whose page lies beneath the paint. */
  readonly base: GroupHandle
  readonly at: number
  /** Oldest first; over the base. */
  readonly paint: readonly Fragment[]
}

/** `mapped`: what the map says of the page; asked only where the fragments leave something open. */
export function planPage(
  head: Fragment | undefined,
  mapped: () => { group: GroupHandle; at: number },
): PagePlan {
  if (head === undefined) {
    const { group, at } = mapped()
    return { base: group, at, paint: [] }
  }
  const fragments = fragmentsOldestFirst(head)
  const oldest = fragments[0]
  if (coversPage(oldest)) {
    if (oldest.source.kind === 'extent')
      return { base: oldest.source.group, at: oldest.source.page, paint: fragments.slice(1) }
    return { base: hole, at: 0, paint: fragments }
  }
  if (!needsBase(head)) return { base: hole, at: 0, paint: fragments }
  const { group, at } = mapped()
  return { base: group, at, paint: fragments }
}
