/** How many 4 KiB pages a second the extent cache gives and takes: `node src/stargate/extent-cache/extent-cache.bench.ts`. */
import { MiB, pageBytes } from '../../base/units.ts'
import { createExtentCache } from './page-cache.ts'

const cacheBytes = 256 * MiB
const pages = cacheBytes / pageBytes
const cache = createExtentCache({ limitBytes: cacheBytes })
const source = Buffer.alloc(pageBytes, 1)
const target = Buffer.alloc(32 * pageBytes)

function perSecond(name: string, calls: number, call: (i: number) => void): void {
  for (let i = 0; i < calls / 10; i++) call(i)
  const start = performance.now()
  for (let i = 0; i < calls; i++) call(i)
  const millions = calls / (performance.now() - start) / 1000
  process.stdout.write(`${name.padEnd(40)} ${millions.toFixed(2)} M/s\n`)
}

const group = (n: number) => 1 + (n >>> 10)
perSecond('put, filling and evicting', pages * 3, (i) => cache.put(group(i), i & 1023, source, 0))

// Nothing was read so far, so what was put last is what is here.
const first = pages * 2
const randomPage = (i: number) => first + ((Math.imul(i, 0x9e3779b1) >>> 0) % pages)
perSecond('get 4 KiB, random over 256 MiB', 4_000_000, (i) => {
  const n = randomPage(i)
  cache.get(group(n), n & 1023, target, (i & 31) * pageBytes, 0, pageBytes)
})
perSecond('get 4 KiB, random over 1 MiB', 4_000_000, (i) => {
  const n = first + (i & 255)
  cache.get(group(n), n & 1023, target, (i & 31) * pageBytes, 0, pageBytes)
})
perSecond('get 512 bytes, random over 256 MiB', 4_000_000, (i) => {
  const n = randomPage(i)
  cache.get(group(n), n & 1023, target, 0, 1024, 512)
})
perSecond('has, hit', 8_000_000, (i) => {
  const n = randomPage(i)
  cache.has(group(n), n & 1023)
})
perSecond('get, miss', 8_000_000, (i) => cache.get(1_000_000 + i, 5, target, 0, 0, pageBytes))
process.stdout.write(`${JSON.stringify(cache.statistics())}\n`)
