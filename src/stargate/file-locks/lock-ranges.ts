/** What becomes of the locks of a file: values in, values out. */
import {
  type ByteRange,
  type FileLock,
  isSameOwner,
  type LockOwner,
  type OfferId,
  overlap,
} from './file-locks.ts'

export interface HeldLock extends FileLock {
  /** The client's, when it was taken: void once the client has a newer one. */
  readonly era: number
  /** Taken for an owner that waited. */
  readonly offer?: OfferId
}

/** The owner has it from now on, in place of whatever it had there. */
export function withLock(locks: readonly HeldLock[], taken: HeldLock): HeldLock[] {
  const others = withoutRange(locks, taken.owner, taken.range)
  let { start, end } = taken.range
  const apart: HeldLock[] = []
  for (const lock of others) {
    const joins =
      lock.offer === undefined &&
      lock.exclusive === taken.exclusive &&
      lock.era === taken.era &&
      isSameOwner(lock.owner, taken.owner) &&
      lock.range.start <= end &&
      lock.range.end >= start
    if (!joins) apart.push(lock)
    else {
      if (lock.range.start < start) start = lock.range.start
      if (lock.range.end > end) end = lock.range.end
    }
  }
  return [...apart, { ...taken, range: { start, end } }]
}

/** What the owner has there stays beside the offer, until that is accepted. */
export const withOffer = (
  locks: readonly HeldLock[],
  offered: HeldLock & { readonly offer: OfferId },
): HeldLock[] => [...withoutOffer(locks, offered.offer), offered]

export const withoutOffer = (locks: readonly HeldLock[], offer: OfferId): HeldLock[] =>
  locks.filter((lock) => lock.offer !== offer)

/** Nothing else of its owner stays where the offer is. */
export function withAccepted(locks: readonly HeldLock[], offer: OfferId): HeldLock[] {
  let left = [...locks]
  for (const { owner, range } of locks.filter((lock) => lock.offer === offer))
    left = left.flatMap((lock) => (lock.offer === offer ? [lock] : withoutRange([lock], owner, range)))
  return left
}

export function withoutRange(
  locks: readonly HeldLock[],
  owner: LockOwner,
  { start, end }: ByteRange,
): HeldLock[] {
  return locks.flatMap((lock) => {
    const { range } = lock
    if (!overlap(range, { start, end }) || !isSameOwner(lock.owner, owner)) return [lock]
    const left: HeldLock[] = []
    if (range.start < start) left.push({ ...lock, range: { start: range.start, end: start } })
    if (range.end > end) left.push({ ...lock, range: { start: end, end: range.end } })
    return left
  })
}
