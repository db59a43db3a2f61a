import { test } from 'node:test'
import assert from 'node:assert/strict'
import { DirectoryListing, DirectoryListingPlus } from './directory-listing.ts'
import type { Nfs3Procedure } from './nfs3-arguments.ts'
import { nfs3Encoders, type Nfs3Results } from './nfs3-results.ts'
import type { Attributes, Change } from './nfs3-types.ts'
import { XdrWriter } from './xdr.ts'

function encoded<Name extends Nfs3Procedure>(name: Name, result: Nfs3Results[Name]): string {
  const writer = new XdrWriter()
  nfs3Encoders[name](writer, result)
  return Buffer.concat(writer.finish()).toString('hex')
}

const plain = (text: string): string => text.replaceAll(/\s/g, '')

const attributes: Attributes = {
  type: 'link',
  mode: 0o777,
  links: 2,
  uid: 3,
  gid: 4,
  sizeBytes: 2 ** 40 + 5,
  usedBytes: 6,
  device: { major: 7, minor: 8 },
  fileSystemId: 2n ** 63n + 9n,
  fileId: 10n,
  accessTime: { seconds: 11, nanoseconds: 12 },
  modifyTime: { seconds: 13, nanoseconds: 14 },
  changeTime: { seconds: 15, nanoseconds: 16 },
}
const fattr = plain(
  '00000005 000001ff 00000002 00000003 00000004 0000010000000005 0000000000000006 00000007 00000008 ' +
    '8000000000000009 000000000000000a 0000000b 0000000c 0000000d 0000000e 0000000f 00000010',
)
const there = `00000001${fattr}`
const none = '00000000'
const change: Change = {
  before: {
    sizeBytes: 1,
    modifyTime: { seconds: 2, nanoseconds: 3 },
    changeTime: { seconds: 4, nanoseconds: 5 },
  },
  after: attributes,
}
const wcc = plain(`00000001 0000000000000001 00000002 00000003 00000004 00000005 ${there}`)
const noWcc = none + none
const ok = '00000000'
const handle = Buffer.from('ndfs1')
const fh = plain('00000005 6e646673 31000000')
const verifier = Buffer.from('0102030405060708', 'hex')
const verf = '0102030405060708'

test('attributes are the bytes of their picture', () => {
  assert.equal(fattr.length / 2, 84)
  assert.equal(encoded('getattr', { status: 'OK', attributes }), ok + fattr)
  const file: Attributes = { ...attributes, type: 'file', device: undefined }
  const bytes = encoded('getattr', { status: 'OK', attributes: file })
  assert.equal(bytes.slice(8, 16), '00000001')
  assert.equal(bytes.slice(80, 96), '0'.repeat(16))
})

test('results that went well are the bytes of their pictures', () => {
  assert.equal(encoded('null', undefined), '')
  assert.equal(encoded('setattr', { status: 'OK', change }), ok + wcc)
  assert.equal(
    encoded('lookup', { status: 'OK', handle, attributes, directoryAttributes: attributes }),
    ok + fh + there + there,
  )
  assert.equal(encoded('lookup', { status: 'OK', handle }), ok + fh + none + none)
  assert.equal(encoded('access', { status: 'OK', granted: 0x1f, attributes }), `${ok}${there}0000001f`)
  assert.equal(
    encoded('readlink', { status: 'OK', target: Buffer.from('..'), attributes }),
    `${ok}${there}000000022e2e0000`,
  )
  assert.equal(
    encoded('read', { status: 'OK', data: [Buffer.from('ab'), Buffer.from('cde')], atEnd: true, attributes }),
    `${ok}${there}${plain('00000005 00000001 00000005 61626364 65000000')}`,
  )
  assert.equal(
    encoded('write', { status: 'OK', count: 9, committed: 'fileSync', verifier, change }),
    `${ok}${wcc}0000000900000002${verf}`,
  )
  for (const name of ['create', 'mkdir', 'symlink', 'mknod'] as const) {
    assert.equal(
      encoded(name, { status: 'OK', handle, attributes, directoryChange: change }),
      `${ok}00000001${fh}${there}${wcc}`,
    )
    assert.equal(encoded(name, { status: 'OK' }), ok + none + none + noWcc)
  }
  assert.equal(encoded('remove', { status: 'OK', directoryChange: change }), ok + wcc)
  assert.equal(encoded('rmdir', { status: 'OK', directoryChange: change }), ok + wcc)
  assert.equal(
    encoded('rename', { status: 'OK', fromChange: change, toChange: { after: attributes } }),
    ok + wcc + none + there,
  )
  assert.equal(encoded('link', { status: 'OK', attributes, directoryChange: change }), ok + there + wcc)
  assert.equal(encoded('commit', { status: 'OK', verifier, change }), ok + wcc + verf)
})

test('figures of a file system', () => {
  assert.equal(
    encoded('fsstat', {
      status: 'OK',
      totalBytes: 2 ** 40,
      freeBytes: 2,
      availableBytes: 3,
      totalFiles: 4,
      freeFiles: 5,
      availableFiles: 6,
      steadySeconds: 7,
      attributes,
    }),
    `${ok}${there}${plain(
      '0000010000000000 0000000000000002 0000000000000003 0000000000000004 0000000000000005 0000000000000006 00000007',
    )}`,
  )
  assert.equal(
    encoded('fsinfo', {
      status: 'OK',
      readBytesMax: 1,
      readBytesPreferred: 2,
      readBytesMultiple: 3,
      writeBytesMax: 4,
      writeBytesPreferred: 5,
      writeBytesMultiple: 6,
      readdirBytesPreferred: 7,
      fileBytesMax: 2 ** 42,
      timeDelta: { seconds: 8, nanoseconds: 9 },
      properties: 0x1b,
    }),
    `${ok}${none}${plain(
      '00000001 00000002 00000003 00000004 00000005 00000006 00000007 0000040000000000 00000008 00000009 0000001b',
    )}`,
  )
  assert.equal(
    encoded('pathconf', {
      status: 'OK',
      linksMax: 1,
      nameBytesMax: 255,
      noTruncation: true,
      chownRestricted: false,
      caseInsensitive: false,
      casePreserving: true,
    }),
    `${ok}${none}${plain('00000001 000000ff 00000001 00000000 00000000 00000001')}`,
  )
})

test('what went wrong is told with what clients need for their caches', () => {
  const stale = '00000046'
  assert.equal(encoded('getattr', { status: 'STALE' }), stale)
  assert.equal(encoded('lookup', { status: 'NOENT', directoryAttributes: attributes }), `00000002${there}`)
  for (const name of [
    'access',
    'readlink',
    'read',
    'readdir',
    'readdirplus',
    'fsstat',
    'fsinfo',
    'pathconf',
  ] as const) {
    assert.equal(encoded(name, { status: 'STALE', attributes }), stale + there)
    assert.equal(encoded(name, { status: 'BADHANDLE' }), `00002711${none}`)
  }
  for (const name of ['setattr', 'write', 'commit'] as const)
    assert.equal(encoded(name, { status: 'NOSPC', change }), `0000001c${wcc}`)
  for (const name of ['create', 'mkdir', 'symlink', 'mknod', 'remove', 'rmdir'] as const)
    assert.equal(encoded(name, { status: 'JUKEBOX', directoryChange: change }), `00002718${wcc}`)
  assert.equal(encoded('rename', { status: 'XDEV' }), `00000012${noWcc}${noWcc}`)
  assert.equal(encoded('link', { status: 'MLINK', attributes }), `0000001f${there}${noWcc}`)
})

test('entries of a directory, with attributes and handles or without', () => {
  const listing = new DirectoryListing(4096)
  assert.ok(listing.offer({ fileId: 2n ** 63n, name: Buffer.from('disk1'), cookie: 1n }))
  assert.ok(listing.offer({ fileId: 3n, name: Buffer.from('..'), cookie: 2n }))
  assert.equal(
    encoded('readdir', { status: 'OK', verifier, listing, atEnd: true, attributes }),
    `${ok}${there}${verf}${plain(
      '00000001 8000000000000000 00000005 6469736b31000000 0000000000000001 ' +
        '00000001 0000000000000003 00000002 2e2e0000 0000000000000002 00000000 00000001',
    )}`,
  )
  const plus = new DirectoryListingPlus(4096, 4096)
  assert.ok(plus.offer({ fileId: 3n, name: Buffer.from('a'), cookie: 1n, attributes, handle }))
  assert.ok(plus.offer({ fileId: 4n, name: Buffer.from('b'), cookie: 2n }))
  assert.equal(
    encoded('readdirplus', { status: 'OK', verifier, listing: plus, atEnd: false }),
    `${ok}${none}${verf}` +
      plain(`00000001 0000000000000003 00000001 61000000 0000000000000001 ${there} 00000001 ${fh}`) +
      plain(
        `00000001 0000000000000004 00000001 62000000 0000000000000002 00000000 00000000 00000000 00000000`,
      ),
  )
})
