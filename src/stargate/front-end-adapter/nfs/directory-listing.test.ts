import { test } from 'node:test'
import assert from 'node:assert/strict'
import { DirectoryListing, DirectoryListingPlus } from './directory-listing.ts'
import { nfs3Encoders } from './nfs3-results.ts'
import type { Attributes } from './nfs3-types.ts'
import { XdrWriter } from './xdr.ts'

const time = { seconds: 1, nanoseconds: 2 }
const attributes: Attributes = {
  type: 'file',
  mode: 0o644,
  links: 1,
  uid: 0,
  gid: 0,
  sizeBytes: 1,
  usedBytes: 1,
  fileSystemId: 1n,
  fileId: 1n,
  accessTime: time,
  modifyTime: time,
  changeTime: time,
}
const verifier = Buffer.alloc(8)
const name = (length: number): Buffer => Buffer.alloc(length, 'x')

/** Bytes of READDIR3resok or READDIRPLUS3resok: all but the status. */
function bytesOf(listing: DirectoryListing | DirectoryListingPlus): number {
  const writer = new XdrWriter()
  const result = { status: 'OK', verifier, atEnd: false, attributes } as const
  if (listing instanceof DirectoryListing) nfs3Encoders.readdir(writer, { ...result, listing })
  else nfs3Encoders.readdirplus(writer, { ...result, listing })
  return writer.length - 4
}

test('an answer to READDIR has the bytes that the client has room for, and not one more', () => {
  for (let count = 0; count < 600; count += 1) {
    const listing = new DirectoryListing(count)
    let offered = 0
    while (listing.offer({ fileId: 1n, name: name(offered % 9), cookie: BigInt(offered) })) offered += 1
    assert.equal(listing.entries, offered)
    // Attributes, verifier, and two words: what there is without entries.
    if (count < 104) {
      assert.equal(offered, 0)
      continue
    }
    const bytes = bytesOf(listing)
    const next = 4 + 8 + 4 + Math.ceil((offered % 9) / 4) * 4 + 8
    assert.ok(bytes <= count && bytes + next > count, `${bytes} bytes where ${count} are asked for`)
  }
})

test('an answer to READDIRPLUS keeps within both counts', () => {
  const handle = Buffer.alloc(13)
  for (let count = 104; count < 2000; count += 7)
    for (const namesCount of [100, 500, 2 ** 32 - 1]) {
      const listing = new DirectoryListingPlus(namesCount, count)
      const entry = { fileId: 1n, name: name(7), cookie: 1n, attributes, handle }
      while (listing.offer(entry));
      const namesBytes = 4 + 8 + 4 + 8 + 8
      const bytes = bytesOf(listing)
      const next = namesBytes + 4 + 84 + 4 + 4 + 16
      assert.ok(bytes <= count)
      assert.ok(listing.entries * namesBytes <= namesCount)
      assert.ok(bytes + next > count || (listing.entries + 1) * namesBytes > namesCount)
    }
})

test('the first entry is let in whatever the count of names says, unless the answer has no room', () => {
  const entry = { fileId: 1n, name: name(255), cookie: 1n }
  const listing = new DirectoryListingPlus(0, 4096)
  assert.ok(listing.offer(entry))
  assert.ok(!listing.offer(entry))
  assert.ok(!new DirectoryListingPlus(2 ** 32 - 1, 300).offer(entry))
})

test('a client with room for gigabytes is answered in one megabyte', () => {
  const listing = new DirectoryListing(2 ** 32 - 1)
  while (listing.offer({ fileId: 1n, name: name(255), cookie: 1n }));
  const bytes = bytesOf(listing)
  assert.ok(bytes <= 2 ** 20 && bytes > 2 ** 20 - 300)
})
