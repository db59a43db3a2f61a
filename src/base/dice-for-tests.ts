/** Chance for tests and fuzzers: all of it follows from a seed. */

/** A whole number from 0 (included) to `below` (not included). */
export type Roll = (below: number) => number

/** mulberry32: small, and the same everywhere. */
export function dice(seed: number): Roll {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

export const pick = <T>(roll: Roll, from: readonly T[]): T => from[roll(from.length)]

export const noise = (roll: Roll, count: number): Buffer =>
  Buffer.from(Array.from({ length: count }, () => roll(256)))
