/**
 * Where a name's entry stands in its directory: a cookie of 63 bits, 61 of a keyed hash of the name and two that tell names of one hash
 * apart. So a name is found without a scan, a listing goes by cookies, and an entry keeps its own while others come and go.
 *
 * The key is the container's secret: without it nobody finds names of one hash, of which a directory can hold four.
 */
import { createHmac } from 'node:crypto'

const collisionBits = 2n
/** Entries of one hash. */
export const slotsOfName = 1 << Number(collisionBits)
const lowestCookie = BigInt(slotsOfName)

export type NameHash = (name: Buffer) => bigint

export const nameHashBits = 61

export const nameHash =
  (secret: Buffer): NameHash =>
  (name) =>
    createHmac('sha256', secret).update(name).digest().readBigUInt64BE(0) >> 3n

/** The cookies at which a name's entry may stand. */
export function cookiesOf(hash: bigint): readonly bigint[] {
  // The lowest cookies mean something else to clients: the beginning, and `.` and `..`.
  const first = (hash << collisionBits) | 0n
  const base = first < lowestCookie ? lowestCookie : first
  return Array.from({ length: slotsOfName }, (_, slot) => base + BigInt(slot))
}

export const entryKey = (cookie: bigint): string => `e${cookie.toString(16).padStart(16, '0')}`
export const cookieOf = (key: string): bigint => BigInt(`0x${key.slice(1)}`)
/** Below the keys of all entries, and above them. */
export const entriesBegin = 'e'
export const entriesEnd = 'f'
