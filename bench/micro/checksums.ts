/** crc32c of one page, and of a frame whose pages' checksums are known. */
import { crc32c, crc32cOfPages } from '../../src/base/crc32c.ts'
import { pageBytes } from '../../src/base/units.ts'
import type { Part } from './part.ts'
import { seen } from './reference.ts'

const atOnce = 64

export function checksumParts(): Part[] {
  const page = Buffer.alloc(pageBytes, 0x3c)
  const checksums = Uint32Array.from({ length: atOnce }, (_, i) => crc32c(page.subarray(i)))
  return [
    {
      name: 'crc32c of 4 KiB',
      operations: atOnce,
      run: () => {
        for (let i = 0; i < atOnce; i++) seen.sum ^= crc32c(page)
      },
    },
    {
      name: 'crc32c of pages, by their own, each page',
      operations: atOnce,
      run: () => void (seen.sum ^= crc32cOfPages(checksums)),
    },
  ]
}
