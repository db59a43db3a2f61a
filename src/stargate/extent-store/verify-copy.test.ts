/** A copy is what its group's row says it is, and nothing that it says of itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '../../base/crc32c.ts'
import { type CopyNumber, groupIdOf, type Epoch, type LayerId, type VDiskId } from '../../base/ids.ts'
import { pageBytes } from '../../base/units.ts'
import type { DiskFile } from '../../disk/disk.ts'
import type { GroupId, Incarnation, DiskId, NodeId } from '../../base/ids.ts'
import { encodeTrailer } from './trailer.ts'
import { decodeVerifyRequest, encodeVerifyRequest, verifyCopyFile } from './verify-copy.ts'

const group = groupIdOf(5 as VDiskId, 2 as Epoch, 1)
const number = 3 as CopyNumber
const pageCount = 20
/** Smaller than what is read, and no divisor of it. */
const piece = Buffer.alloc(3 * pageBytes)

const pages = Buffer.alloc(pageCount * pageBytes)
for (let at = 0; at < pages.length; at += 4) pages.writeUInt32LE(Math.imul(at + 1, 0x9e3779b1) >>> 0, at)
const checksums = sumsOf(pages)

function sumsOf(bytes: Buffer): Uint32Array {
  return Uint32Array.from({ length: bytes.length / pageBytes }, (_, page) =>
    crc32c(bytes.subarray(page * pageBytes, (page + 1) * pageBytes)),
  )
}

function trailerOf(of: Uint32Array, its: GroupId = group): Buffer {
  const common = { cluster: 'c', container: 'vms', layer: 1 as LayerId, copies: 2, extents: [], zeros: [] }
  return encodeTrailer({ ...common, group: its, number, checksums: of })
}

/** Pages, unused room, and the trailer at the end of a whole page. */
function fileOf(content: Buffer, trailer: Buffer): Buffer {
  const end = content.length + 2 * pageBytes
  return Buffer.concat([content, Buffer.alloc(end - content.length - trailer.length), trailer])
}

function verdictOf(bytes: Buffer) {
  const file = {
    size: async () => bytes.length,
    read: async (target: Uint8Array, position: number) => {
      assert.equal(position % pageBytes, 0, 'a direct file is read by whole pages')
      assert.equal(target.length % pageBytes, 0, 'a direct file is read by whole pages')
      return bytes.copy(target, 0, position, position + target.length)
    },
  } as unknown as DiskFile
  return verifyCopyFile(file, { group, number, checksums }, piece)
}

test('R17 R31: a copy whose pages are what the row says is right', async () => {
  assert.deepEqual(await verdictOf(fileOf(pages, trailerOf(checksums))), { state: 'right' })
})

test('R31: one other byte anywhere in its pages makes a copy bad', async () => {
  for (const at of [0, 3 * pageBytes - 1, 3 * pageBytes, pages.length - 1]) {
    const bytes = fileOf(pages, trailerOf(checksums))
    bytes[at] ^= 1
    const verdict = await verdictOf(bytes)
    assert.deepEqual(verdict, {
      state: 'bad',
      reason: `1 of its pages have other bytes: ${Math.floor(at / pageBytes)}`,
    })
  }
})

test('a copy that agrees with its own trailer, and not with the row, is bad', async () => {
  const other = Buffer.from(pages)
  other.fill(7, pageBytes, 3 * pageBytes)
  assert.deepEqual(await verdictOf(fileOf(other, trailerOf(sumsOf(other)))), {
    state: 'bad',
    reason: '2 of its pages have other bytes: 1+2',
  })
})

test('a copy is short where its file ends before its pages do, whatever it ends with', async () => {
  const short = pages.subarray(0, (pageCount - 1) * pageBytes)
  assert.equal((await verdictOf(short)).state, 'short')
  assert.equal((await verdictOf(Buffer.alloc(0))).state, 'short')
})

test('a trailer that is damaged, missing or of another copy makes a copy bad', async () => {
  const bytes = fileOf(pages, trailerOf(checksums))
  bytes[bytes.length - 40] ^= 1
  assert.deepEqual(await verdictOf(bytes), { state: 'bad', reason: 'its trailer is damaged' })
  assert.deepEqual(await verdictOf(pages), { state: 'bad', reason: 'its trailer is damaged' })
  const another = trailerOf(checksums, groupIdOf(5 as VDiskId, 2 as Epoch, 2))
  assert.deepEqual(await verdictOf(fileOf(pages, another)), {
    state: 'bad',
    reason: "its trailer is another copy's",
  })
})

test('a request to verify arrives as it was sent, and what makes no sense is refused', () => {
  const copy = {
    node: 'n2' as NodeId,
    disk: 'n2-flash-0' as DiskId,
    incarnation: 'abc' as Incarnation,
    number,
  }
  const request = { copy, group, checksums }
  assert.deepEqual(decodeVerifyRequest('n2' as NodeId, encodeVerifyRequest(request)), request)
  for (const wrong of [
    { ...request, group: '../../etc' as GroupId },
    { ...request, copy: { ...copy, number: 0 as CopyNumber } },
    { ...request, checksums: new Uint32Array(0) },
    { ...request, checksums: new Uint32Array(1025) },
  ])
    assert.throws(() => decodeVerifyRequest('n2' as NodeId, encodeVerifyRequest(wrong)), { code: 'REFUSED' })
})
