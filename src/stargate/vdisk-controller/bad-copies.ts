/**
 * Copies of one vDisk's extent groups that reads have found to be bad, for as long as a row names them: they are there, and are none. In
 * memory only: whoever owns the vDisk next finds them again.
 */
import { type GroupId, sameDisk } from '../../base/ids.ts'
import type { CopyRef } from '../extent-store/extent-store.ts'

/** Beyond it the oldest are forgotten. A disk that has so many bad ones has other troubles. */
const groupsMax = 10_000

const namesCopy = (copies: readonly CopyRef[], copy: CopyRef): boolean =>
  copies.some((one) => sameDisk(one, copy) && one.number === copy.number)

export class BadCopies {
  readonly #bad = new Map<GroupId, readonly CopyRef[]>()

  get size(): number {
    return this.#bad.size
  }

  has(group: GroupId): boolean {
    return this.#bad.has(group)
  }

  add(group: GroupId, copy: CopyRef): void {
    const known = this.#bad.get(group) ?? []
    if (!namesCopy(known, copy)) this.#bad.set(group, [...known, copy])
    for (const oldest of this.#bad.keys()) {
      if (this.#bad.size <= groupsMax) break
      this.#bad.delete(oldest)
    }
  }

  /** The row names these copies: which of them are not known to be bad. Those that it doesn't name any more are forgotten. */
  goodOf(group: GroupId, named: readonly CopyRef[]): readonly CopyRef[] {
    const known = this.#bad.get(group)
    if (known === undefined) return named
    const bad = known.filter((copy) => namesCopy(named, copy))
    if (bad.length > 0) this.#bad.set(group, bad)
    else this.#bad.delete(group)
    return named.filter((copy) => !namesCopy(bad, copy))
  }
}
