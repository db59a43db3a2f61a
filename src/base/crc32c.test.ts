import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import {
  checksumsOfPages,
  crc32c,
  crc32cOfLastPages,
  crc32cOfPages,
  crc32cToSend,
  noteChecksums,
} from './crc32c.ts'
import { pageBytes } from './units.ts'

test('the known answer of CRC-32C (RFC 3720, B.4)', () => {
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa)
  assert.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43)
})

test('the checksum of pages comes from theirs, whatever lies before them', () => {
  for (const pages of [0, 1, 2, 3, 17, 1024]) {
    const bytes = randomBytes(pages * pageBytes)
    for (const before of [Buffer.alloc(0), Buffer.from([0]), randomBytes(4113), Buffer.alloc(20, 0xff)])
      assert.equal(
        crc32cOfPages(checksumsOfPages(pages === 0 ? [] : [bytes]), crc32c(before)),
        crc32c(bytes, crc32c(before)),
      )
  }
})

test('the checksum of the last pages comes from that of all, and that of what lies before them', () => {
  for (const pages of [0, 1, 5, 300]) {
    const [before, last] = [randomBytes(20), randomBytes(pages * pageBytes)]
    const both = crc32c(Buffer.concat([before, last]))
    assert.equal(crc32cOfLastPages(pages, both, crc32c(before)), crc32c(last))
  }
})

test('what was noted goes with the buffer alone, and says what the bytes were then', () => {
  const pages = randomBytes(3 * pageBytes)
  const before = crc32c(Buffer.from('head'))
  const right = crc32c(pages, before)
  assert.equal(crc32cToSend(pages, before), right)
  noteChecksums(pages, checksumsOfPages([pages]))
  assert.equal(crc32cToSend(pages, before), right)
  pages[5000] ^= 1
  assert.equal(crc32cToSend(pages, before), right)
  const window = pages.subarray(0)
  assert.equal(crc32cToSend(window, before), crc32c(pages, before))
  assert.throws(() => noteChecksums(pages, new Uint32Array(2)), { name: 'AssertionFailure' })
})
