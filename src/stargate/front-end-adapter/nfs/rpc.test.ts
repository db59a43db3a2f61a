import { test } from 'node:test'
import assert from 'node:assert/strict'
import { decodeCall, decodeReply, encodeCall, encodeRefusal, encodeSuccess, type RpcRefusal } from './rpc.ts'
import { XdrError, XdrReader, XdrWriter } from './xdr.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const reader = (text: string): XdrReader => new XdrReader([hex(text)])
const written = (write: (writer: XdrWriter) => void): string => {
  const writer = new XdrWriter()
  write(writer)
  return Buffer.concat(writer.finish()).toString('hex')
}

const authSys = '00000001 0000001c 001dfbf1 00000006 6c69626e 66730000 00000000 00000000 00000000'
const noAuth = '00000000 00000000'
// What libnfs 4.0 sends to mount `/vms`.
const mnt = `2c2dfbf2 00000000 00000002 000186a5 00000003 00000001 ${authSys} ${noAuth} 00000004 2f766d73`

test('a call as libnfs sends it', () => {
  const read = reader(mnt)
  assert.deepEqual(decodeCall(read), {
    xid: 0x2c2dfbf2,
    program: 100005,
    version: 3,
    procedure: 1,
    credentials: { flavour: 'sys', machine: 'libnfs', uid: 0, gid: 0, gids: [] },
  })
  assert.equal(read.text(100), '/vms')
})

test('a call of ours is the bytes of its picture', () => {
  const call = { xid: 7, program: 100021, version: 4, procedure: 5 }
  assert.equal(
    written((writer) => encodeCall(writer, { ...call, credentials: { flavour: 'none' } })),
    hex(`00000007 00000000 00000002 000186b5 00000004 00000005 ${noAuth} ${noAuth}`).toString('hex'),
  )
  const credentials = { flavour: 'sys', machine: 'nod', uid: 1, gid: 2, gids: [3, 4] } as const
  const bytes = written((writer) => encodeCall(writer, { ...call, credentials }))
  assert.equal(
    bytes.slice(48),
    hex(
      `00000001 00000020 00000000 00000003 6e6f6400 00000001 00000002 00000002 00000003 00000004 ${noAuth}`,
    ).toString('hex'),
  )
  assert.deepEqual(decodeCall(reader(bytes)), { ...call, credentials })
})

test('replies are the bytes of their pictures, and are read as they were meant', () => {
  const cases: [RpcRefusal | undefined, string][] = [
    [undefined, `00000001 00000000 ${noAuth} 00000000`],
    [{ status: 'PROG_UNAVAIL' }, `00000001 00000000 ${noAuth} 00000001`],
    [{ status: 'PROG_MISMATCH', low: 3, high: 4 }, `00000001 00000000 ${noAuth} 00000002 00000003 00000004`],
    [{ status: 'PROC_UNAVAIL' }, `00000001 00000000 ${noAuth} 00000003`],
    [{ status: 'GARBAGE_ARGS' }, `00000001 00000000 ${noAuth} 00000004`],
    [{ status: 'SYSTEM_ERR' }, `00000001 00000000 ${noAuth} 00000005`],
    [{ status: 'RPC_MISMATCH' }, '00000001 00000001 00000000 00000002 00000002'],
    [{ status: 'AUTH_ERROR', why: 'BADCRED' }, '00000001 00000001 00000001 00000001'],
    [{ status: 'AUTH_ERROR', why: 'TOOWEAK' }, '00000001 00000001 00000001 00000005'],
  ]
  for (const [refusal, text] of cases) {
    const bytes = hex(`01020304 ${text}`).toString('hex')
    const encode = (writer: XdrWriter): void =>
      refusal ? encodeRefusal(writer, 0x01020304, refusal) : encodeSuccess(writer, 0x01020304)
    assert.equal(written(encode), bytes)
    assert.deepEqual(decodeReply(reader(bytes)), { xid: 0x01020304, refusal })
  }
})

test('a call of another version of RPC, or with credentials that we do not take, is refused', () => {
  const start = '00000009 00000000 00000002 000186a3 00000003 00000001'
  const refusalOf = (text: string): unknown => {
    const call = decodeCall(reader(text))
    return 'refusal' in call ? call.refusal : call.credentials
  }
  assert.deepEqual(refusalOf('00000009 00000000 00000003'), { status: 'RPC_MISMATCH' })
  const denied = (why: string) => ({ status: 'AUTH_ERROR', why })
  assert.deepEqual(refusalOf(`${start} 00000006 00000000 ${noAuth}`), denied('TOOWEAK'), 'RPCSEC_GSS')
  assert.deepEqual(refusalOf(`${start} 00000002 00000000 ${noAuth}`), denied('REJECTEDCRED'), 'AUTH_SHORT')
  assert.deepEqual(refusalOf(`${start} 00000001 00000004 00000000 ${noAuth}`), denied('BADCRED'), 'cut off')
  assert.deepEqual(refusalOf(`${start} 00000000 00000191 ${'00'.repeat(404)}`), denied('BADCRED'), 'too long')
  const groups = '00000011'
  const many = `00000001 00000058 00000000 00000000 00000000 00000000 ${groups} ${'00000000'.repeat(17)}`
  assert.deepEqual(refusalOf(`${start} ${many} ${noAuth}`), denied('BADCRED'), '17 groups')
  const machine = `00000001 00000114 00000000 00000100 ${'61'.repeat(256)} 00000000 00000000 00000000`
  assert.deepEqual(refusalOf(`${start} ${machine} ${noAuth}`), denied('BADCRED'), 'a machine of 256 bytes')
  assert.deepEqual(refusalOf(`${start} ${authSys} 00000001 00000000`), denied('BADVERF'))
  assert.deepEqual(refusalOf(`${start} ${noAuth} ${noAuth}`), { flavour: 'none' })
})

test('what is no call, or ends within its head, can not be answered', () => {
  assert.throws(() => decodeCall(reader('00000009 00000001 00000000')), XdrError)
  for (let words = 0; words < 6; words += 1)
    assert.throws(() => decodeCall(reader(mnt.replaceAll(' ', '').slice(0, 8 * words))), XdrError)
  assert.throws(() => decodeReply(reader('00000009 00000000')), XdrError)
})
