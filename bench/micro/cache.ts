/** The extent cache: what a hit, a miss and a page that takes another's place cost. */
import { assert } from '../../src/base/assert.ts'
import { MiB, pageBytes } from '../../src/base/units.ts'
import { createExtentCache } from '../../src/stargate/extent-cache/page-cache.ts'
import { type Part, scattered } from './part.ts'

const cacheBytes = 16 * MiB
const pages = cacheBytes / pageBytes
const atOnce = 64
const source = Buffer.alloc(pageBytes, 1)
const target = Buffer.alloc(pageBytes)

/** 256 pages of each group. */
const group = (n: number): number => 1 + Math.floor(n / 256)

export function cacheParts(): Part[] {
  const full = createExtentCache({ limitBytes: cacheBytes })
  for (let n = 0; n < pages; n++) full.put(group(n), n % 256, source, 0)
  const turning = createExtentCache({ limitBytes: cacheBytes })
  let next = 0
  let put = 0
  const repeated = (one: () => void) => () => {
    for (let i = 0; i < atOnce; i++) one()
  }
  return [
    {
      name: 'extent cache hit, 4 KiB',
      operations: atOnce,
      run: repeated(() => {
        const n = scattered(next++, pages)
        assert(full.get(group(n), n % 256, target, 0, 0, pageBytes) > 0, 'a page is not there')
      }),
    },
    {
      name: 'extent cache miss',
      operations: atOnce,
      run: repeated(() => {
        assert(full.get(1_000_000 + (next++ & 0xffff), 5, target, 0, 0, pageBytes) === 0, 'a page is there')
      }),
    },
    {
      name: 'extent cache put, another page goes',
      operations: atOnce,
      run: repeated(() => {
        const n = put++ % 2 ** 30
        turning.put(group(n), n % 256, source, 0)
      }),
    },
  ]
}
