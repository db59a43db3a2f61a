import { test } from 'node:test'
import assert from 'node:assert/strict'
import { nfs3Decoders, type Nfs3Arguments, type Nfs3Procedure } from './nfs3-arguments.ts'
import { refusalOfName } from './nfs3-types.ts'
import { XdrError, XdrReader } from './xdr.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

function decoded<Name extends Nfs3Procedure>(name: Name, text: string): Nfs3Arguments[Name] {
  const reader = new XdrReader([hex(text)])
  const args = nfs3Decoders[name](reader)
  assert.equal(reader.left, 0, `${name} left something`)
  return args
}

const refused = (name: Nfs3Procedure, text: string): void =>
  assert.throws(() => nfs3Decoders[name](new XdrReader([hex(text)])), XdrError)

// `ndfs` and a number: a handle of 12 bytes.
const fh = (number: number): string => `0000000c 6e646673 00000000 0000000${number}`
const handle = (number: number): Buffer => hex(`6e646673 00000000 0000000${number}`)
const nothingSet = '00000000 00000000 00000000 00000000 00000000 00000000'
const unset = {
  mode: undefined,
  uid: undefined,
  gid: undefined,
  sizeBytes: undefined,
  accessTime: undefined,
  modifyTime: undefined,
}

test('arguments as libnfs sends them', () => {
  assert.deepEqual(decoded('getattr', fh(2)), { handle: handle(2) })
  assert.deepEqual(decoded('lookup', `${fh(1)} 00000005 736d616c 6c000000`), {
    directory: handle(1),
    name: Buffer.from('small'),
  })
  assert.deepEqual(decoded('access', `${fh(2)} 00000001`), { handle: handle(2), wanted: 1 })
  assert.deepEqual(decoded('read', `${fh(2)} 00000000 00000000 0000000b`), {
    handle: handle(2),
    offset: 0,
    count: 11,
  })
  assert.deepEqual(
    decoded(
      'write',
      `${fh(3)} 00000000 00000000 0000000d 00000000 0000000d 70757420 6279206c 69626e66 73000000`,
    ),
    { handle: handle(3), offset: 0, count: 13, stability: 'unstable', data: [Buffer.from('put by libnfs')] },
  )
  assert.deepEqual(
    decoded(
      'create',
      `${fh(1)} 00000004 636f7079 00000001 00000001 000001b0 00000000 ${'00000000'.repeat(4)}`,
    ),
    {
      directory: handle(1),
      name: Buffer.from('copy'),
      how: { mode: 'guarded', attributes: { ...unset, mode: 0o660 } },
    },
  )
  assert.deepEqual(
    decoded(
      'setattr',
      `${fh(3)} 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000`,
    ),
    { handle: handle(3), attributes: { ...unset, sizeBytes: 0 }, guard: undefined },
  )
  assert.deepEqual(decoded('readdirplus', `${fh(1)} 00000000 00000000 00000000 00000000 00002000 00002000`), {
    handle: handle(1),
    cookie: 0n,
    verifier: Buffer.alloc(8),
    namesCount: 8192,
    count: 8192,
  })
  assert.deepEqual(decoded('commit', `${fh(3)} 00000000 00000000 00000000`), {
    handle: handle(3),
    offset: 0,
    count: 0,
  })
})

test('all that can be set, and a guard', () => {
  const all =
    '00000001 000001ff 00000001 00000002 00000001 00000003 00000001 00000100 00000200 ' +
    '00000001 00000002 00000004 00000005'
  const attributes = {
    mode: 0o777,
    uid: 2,
    gid: 3,
    sizeBytes: 2 ** 40 + 512,
    accessTime: 'now',
    modifyTime: { seconds: 4, nanoseconds: 5 },
  }
  assert.deepEqual(decoded('setattr', `${fh(1)} ${all} 00000001 00000006 00000007`), {
    handle: handle(1),
    attributes,
    guard: { seconds: 6, nanoseconds: 7 },
  })
  refused('setattr', `${fh(1)} ${all.slice(0, -27)} 00000003 00000000`)
})

test('what is made new', () => {
  const named = `${fh(1)} 00000001 61000000`
  const place = { directory: handle(1), name: Buffer.from('a') }
  assert.deepEqual(decoded('create', `${named} 00000002 01020304 05060708`), {
    ...place,
    how: { mode: 'exclusive', verifier: hex('0102030405060708') },
  })
  refused('create', `${named} 00000003 ${nothingSet}`)
  assert.deepEqual(decoded('mkdir', `${named} ${nothingSet}`), { ...place, attributes: unset })
  assert.deepEqual(decoded('symlink', `${named} ${nothingSet} 00000002 2e2e0000`), {
    ...place,
    attributes: unset,
    target: Buffer.from('..'),
  })
  refused('symlink', `${named} ${nothingSet} 00001001 ${'61'.repeat(0x1004)}`)
  assert.deepEqual(decoded('mknod', `${named} 00000003 ${nothingSet} 00000008 00000001`), {
    ...place,
    node: { type: 'block', attributes: unset, device: { major: 8, minor: 1 } },
  })
  assert.deepEqual(decoded('mknod', `${named} 00000007 ${nothingSet}`), {
    ...place,
    node: { type: 'fifo', attributes: unset },
  })
  assert.deepEqual(decoded('mknod', `${named} 00000002`), { ...place, node: { type: 'directory' } })
  assert.deepEqual(decoded('mknod', `${named} 00000009`), { ...place, node: { type: 'unknown' } })
})

test('the other procedures', () => {
  assert.equal(decoded('null', ''), undefined)
  for (const name of ['readlink', 'fsstat', 'fsinfo', 'pathconf'] as const)
    assert.deepEqual(decoded(name, fh(4)), { handle: handle(4) })
  const [a, b] = [`${fh(1)} 00000001 61000000`, `${fh(2)} 00000002 62620000`]
  const from = { directory: handle(1), name: Buffer.from('a') }
  const to = { directory: handle(2), name: Buffer.from('bb') }
  assert.deepEqual(decoded('remove', a), from)
  assert.deepEqual(decoded('rmdir', b), to)
  assert.deepEqual(decoded('rename', a + b), { from, to })
  assert.deepEqual(decoded('link', fh(3) + b), { handle: handle(3), to })
  assert.deepEqual(decoded('readdir', `${fh(1)} ffffffff fffffffe 01020304 05060708 00001000`), {
    handle: handle(1),
    cookie: 2n ** 64n - 2n,
    verifier: hex('0102030405060708'),
    count: 4096,
  })
})

test('a handle of more than 64 bytes is none', () => {
  assert.equal(decoded('getattr', `00000040 ${'01'.repeat(64)}`).handle.length, 64)
  refused('getattr', `00000041 ${'01'.repeat(68)}`)
})

test('a WRITE says how much it writes twice, in the same way', () => {
  const write = (count: string, stability: string, data: string): string =>
    `${fh(1)} 00000000 00000000 ${count} ${stability} ${data}`
  assert.deepEqual(decoded('write', write('00000000', '00000002', '00000000')).data, [])
  refused('write', write('00000005', '00000002', '00000004 61626364'))
  refused('write', write('00000003', '00000002', '00000004 61626364'))
  refused('write', write('00000004', '00000003', '00000004 61626364'))
})

test('data of a WRITE that spans buffers comes in as many, without a copy', () => {
  const message = hex(`${fh(1)} 00000000 00000000 00000008 00000001 00000008 61626364 65666768`)
  const at = message.length - 5
  const { data } = nfs3Decoders.write(new XdrReader([message.subarray(0, at), message.subarray(at)]))
  assert.deepEqual(data.map(String), ['abc', 'defgh'])
  assert.ok(data.every(({ buffer }) => buffer === message.buffer))
})

test('names that are too long for us come through, to be answered; longer ones do not', () => {
  const named = (length: number): string =>
    `${fh(1)} ${length.toString(16).padStart(8, '0')} ${'61'.repeat(Math.ceil(length / 4) * 4)}`
  assert.equal(refusalOfName(decoded('lookup', named(255)).name), undefined)
  assert.equal(refusalOfName(decoded('lookup', named(256)).name), 'NAMETOOLONG')
  assert.equal(refusalOfName(decoded('lookup', named(4096)).name), 'NAMETOOLONG')
  refused('lookup', named(4097))
  for (const name of ['', 'a/b', '/', 'a\0']) assert.equal(refusalOfName(Buffer.from(name)), 'INVAL')
})
