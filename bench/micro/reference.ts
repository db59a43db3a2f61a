/**
 * What everything is held against: a round of work that uses nothing of ours. A page is copied and checksummed by Node.js's own library, and
 * small objects are made, put into a map, and looked up: bytes and objects, as in the data path, about half and half.
 */
import { crc32 } from 'node:zlib'
import type { Part } from './part.ts'

const pageBytes = 4096
const objects = 96
const source = Buffer.alloc(pageBytes, 0xa5)
const target = Buffer.alloc(pageBytes)
const known = new Map<number, { readonly number: number; readonly next: number }>()
/** Somebody has to see it, or the compiler leaves the work out. */
export const seen = { sum: 0 }

export const reference: Part = {
  name: 'reference',
  operations: 1,
  run: () => {
    source.copy(target)
    seen.sum ^= crc32(target)
    for (let i = 0; i < objects; i++) known.set(i * 7919, { number: i, next: seen.sum })
    for (let i = 0; i < objects; i++) seen.sum ^= known.get(i * 7919)!.number
  },
}
