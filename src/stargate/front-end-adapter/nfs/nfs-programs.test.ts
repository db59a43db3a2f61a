/** The programs beside NFS: their bytes, and that each procedure comes to the method of its name. */
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mount3Program } from './mount3-protocol.ts'
import { nfs3Procedure, nfs3Program, type Nfs3Service } from './nfs3-protocol.ts'
import * as nlm from './nlm4-messages.ts'
import { nlm4Procedure, nlm4Program, type Nlm4Service } from './nlm4-protocol.ts'
import { encodeNsmNotice, nsm1Procedure, nsm1Program } from './nsm1-protocol.ts'
import { encodePortMapping, portmap2Program } from './portmap2-protocol.ts'
import type { Caller, Program } from './rpc-program.ts'
import { XdrError, XdrReader, XdrWriter } from './xdr.ts'

const caller: Caller = {
  ...{ host: '10.0.0.7', port: 700, localHost: '10.0.0.1' },
  credentials: { flavour: 'none' },
}
const plain = (text: string): string => text.replaceAll(/\s/g, '')

const written = (write: (writer: XdrWriter) => void): string => {
  const writer = new XdrWriter()
  write(writer)
  return Buffer.concat(writer.finish()).toString('hex')
}

/** The bytes of the results of a procedure for those of its arguments. */
async function call(program: Program, number: number, args: string): Promise<string> {
  const [procedures] = [...program.versions.values()]
  const procedure = procedures[number]
  assert.ok(procedure, `there is no procedure ${number}`)
  const reader = new XdrReader([Buffer.from(plain(args), 'hex')])
  const decoded = procedure.decode(reader)
  assert.equal(reader.left, 0)
  const result = await procedure.serve(decoded, caller)
  return written((writer) => procedure.encode(writer, result))
}

/** Answers each call with the arguments that it had, and notes its name. */
function recorder(answers: Record<string, unknown>): { calls: [string, unknown][]; service: never } {
  const calls: [string, unknown][] = []
  const service = Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => [
      name,
      (args: unknown, from: Caller) => {
        assert.equal(from, caller)
        calls.push([name, args])
        return answer
      },
    ]),
  )
  return { calls, service: service as never }
}

const path = plain('00000004 2f766d73')

test('MOUNT gives handles, and lists exports and mounts', async () => {
  const { calls, service } = recorder({
    mnt: { status: 'OK', handle: Buffer.from('ndfs1'), flavours: [1, 0] },
    dump: [{ host: 'esx1', path: Buffer.from('/vms') }],
    umnt: undefined,
    umntall: undefined,
    export: [
      { path: Buffer.from('/vms'), groups: ['a', 'bc'] },
      { path: Buffer.from('/x'), groups: [] },
    ],
  })
  const program = mount3Program(service)
  assert.equal(program.number, 100005)
  assert.equal(await call(program, 0, ''), '')
  assert.equal(
    await call(program, 1, path),
    plain('00000000 00000005 6e646673 31000000 00000002 00000001 00000000'),
  )
  assert.equal(await call(program, 2, ''), plain(`00000001 00000004 65737831 ${path} 00000000`))
  assert.equal(await call(program, 3, path), '')
  assert.equal(await call(program, 4, ''), '')
  assert.equal(
    await call(program, 5, ''),
    plain(
      `00000001 ${path} 00000001 00000001 61000000 00000001 00000002 62630000 00000000 ` +
        '00000001 00000002 2f780000 00000000 00000000',
    ),
  )
  const names = calls.map(([name]) => name)
  assert.deepEqual(names, ['mnt', 'dump', 'umnt', 'umntall', 'export'])
  assert.deepEqual(calls[0][1], { path: Buffer.from('/vms') })
  const refusing = mount3Program(recorder({ mnt: { status: 'ACCES' } }).service)
  assert.equal(await call(refusing, 1, path), '0000000d')
  await assert.rejects(call(program, 1, `00000401 ${'61'.repeat(0x404)}`), XdrError)
})

test('the port mapper tells ports, and does not call others for a client', async () => {
  const nfs = { program: 100003, version: 3, protocol: 6, port: 2049 }
  const { calls, service } = recorder({ set: true, unset: false, getport: 2049, dump: [nfs, nfs] })
  const program = portmap2Program(service)
  const mapping = plain('000186a3 00000003 00000006 00000801')
  assert.equal(
    written((writer) => encodePortMapping(writer, nfs)),
    mapping,
  )
  assert.equal(await call(program, 1, mapping), '00000001')
  assert.equal(await call(program, 2, mapping), '00000000')
  assert.equal(await call(program, 3, mapping), '00000801')
  assert.equal(await call(program, 4, ''), `00000001${mapping}00000001${mapping}00000000`)
  assert.deepEqual(calls[2], ['getport', nfs])
  const [procedures] = [...program.versions.values()]
  assert.equal(procedures[5], undefined)
})

test('the status monitor hears who has started again', async () => {
  const { calls, service } = recorder({
    stat: { done: true, state: 3 },
    mon: { done: false, state: -1 },
    unmon: 5,
    unmonAll: 5,
    simuCrash: undefined,
    notify: undefined,
  })
  const program = nsm1Program(service)
  const name = plain('00000004 65737831')
  const callback = plain(`${name} 000186b5 00000004 00000010`)
  assert.equal(await call(program, 1, name), plain('00000000 00000003'))
  assert.equal(await call(program, 2, name + callback + '07'.repeat(16)), plain('00000001 ffffffff'))
  assert.equal(await call(program, 3, name + callback), '00000005')
  assert.equal(await call(program, 4, callback), '00000005')
  assert.equal(await call(program, 5, ''), '')
  const notice = { name: 'esx1', state: 7 }
  const bytes = written((writer) => encodeNsmNotice(writer, notice))
  assert.equal(bytes, `${name}00000007`)
  assert.equal(await call(program, nsm1Procedure.notify, bytes), '')
  const monitored = {
    name: 'esx1',
    callback: { name: 'esx1', program: 100021, version: 4, procedure: 16 },
  }
  assert.deepEqual(calls, [
    ['stat', { name: 'esx1' }],
    ['mon', { ...monitored, private: Buffer.alloc(16, 7) }],
    ['unmon', monitored],
    ['unmonAll', monitored.callback],
    ['simuCrash', undefined],
    ['notify', notice],
  ])
})

const cookie = plain('00000002 01020000')
const lock: nlm.Nlm4Lock = {
  caller: 'esx1',
  handle: Buffer.from('ndfs'),
  owner: Buffer.from('7@esx'),
  svid: -2,
  offset: 2n ** 63n - 1n,
  length: 2n ** 64n - 1n,
}
const lockBytes = plain(
  '00000004 65737831 00000004 6e646673 00000005 37406573 78000000 fffffffe 7fffffffffffffff ffffffffffffffff',
)
const marked = { cookie: Buffer.of(1, 2) }

function lockService(): { calls: [string, unknown][]; service: Nlm4Service } {
  const granted = { ...marked, status: 'GRANTED' }
  const { calls, service } = recorder({
    test: {
      ...marked,
      status: 'DENIED',
      holder: { exclusive: true, svid: 1, owner: Buffer.of(9), offset: 1n, length: 0n },
    },
    lock: { ...marked, status: 'BLOCKED' },
    cancel: granted,
    unlock: granted,
    granted: { ...marked, status: 'DENIED' },
    share: { ...granted, sequence: 4 },
    unshare: { ...granted, sequence: 5 },
    nmLock: granted,
    freeAll: undefined,
  })
  const more: Pick<Nlm4Service, 'answered' | 'answer'> = {
    answered: (kind, result) => void calls.push([`answered ${kind}`, result]),
    answer: (kind, result) => void calls.push([`answer ${kind}`, result]),
  }
  return { calls, service: Object.assign(service, more) }
}

const testReply = plain(
  `${cookie} 00000001 00000001 00000001 00000001 09000000 0000000000000001 0000000000000000`,
)

test('the lock manager: arguments and answers are the bytes of their pictures', async () => {
  const { calls, service } = lockService()
  const program = nlm4Program(service)
  const lockArgs = `${cookie}0000000100000000${lockBytes}0000000000000003`
  const cancelArgs = `${cookie}0000000100000000${lockBytes}`
  const testArgs = `${cookie}00000001${lockBytes}`
  assert.equal(await call(program, 1, testArgs), testReply)
  assert.equal(await call(program, 2, lockArgs), `${cookie}00000003`)
  assert.equal(await call(program, 3, cancelArgs), `${cookie}00000000`)
  assert.equal(await call(program, 4, cookie + lockBytes), `${cookie}00000000`)
  assert.equal(await call(program, 5, testArgs), `${cookie}00000001`)
  const share = `${cookie}${plain('00000004 65737831 00000004 6e646673 00000000 00000001 00000002 00000001')}`
  assert.equal(await call(program, 20, share), `${cookie}0000000000000004`)
  assert.equal(await call(program, 21, share), `${cookie}0000000000000005`)
  assert.equal(await call(program, 22, lockArgs), `${cookie}00000000`)
  assert.equal(await call(program, 23, plain('00000004 65737831 00000003')), '')
  const tested = { ...marked, exclusive: true, lock }
  const cancelled = { ...marked, block: true, exclusive: false, lock }
  const locked = { ...cancelled, reclaim: false, state: 3 }
  const shared = {
    ...marked,
    caller: 'esx1',
    handle: Buffer.from('ndfs'),
    owner: Buffer.alloc(0),
    mode: 1,
    access: 2,
    reclaim: true,
  }
  assert.deepEqual(calls, [
    ['test', tested],
    ['lock', locked],
    ['cancel', cancelled],
    ['unlock', { ...marked, lock }],
    ['granted', tested],
    ['share', shared],
    ['unshare', shared],
    ['nmLock', locked],
    ['freeAll', { name: 'esx1', state: 3 }],
  ])
  assert.equal(
    written((writer) => nlm.encodeTestArguments(writer, tested)),
    testArgs,
  )
  await assert.rejects(call(program, 4, `00000401 ${'00'.repeat(0x404)} ${lockBytes}`), XdrError)
})

test('the lock manager answers a message by a call, and hears the answers to its own', async () => {
  const { calls, service } = lockService()
  const program = nlm4Program(service)
  const cancelArgs = `${cookie}0000000100000000${lockBytes}`
  assert.equal(await call(program, nlm4Procedure.testMsg, `${cookie}00000001${lockBytes}`), '')
  assert.equal(await call(program, nlm4Procedure.lockMsg, `${cancelArgs}0000000000000003`), '')
  assert.equal(await call(program, nlm4Procedure.cancelMsg, cancelArgs), '')
  assert.equal(await call(program, nlm4Procedure.unlockMsg, cookie + lockBytes), '')
  assert.equal(await call(program, nlm4Procedure.grantedMsg, `${cookie}00000001${lockBytes}`), '')
  const names = calls.map(([name]) => name)
  assert.deepEqual(
    names.filter((name) => name.startsWith('answer ')),
    ['testRes', 'lockRes', 'cancelRes', 'unlockRes', 'grantedRes'].map((kind) => `answer ${kind}`),
  )
  const denied = calls.find(([name]) => name === 'answer testRes')?.[1] as nlm.Nlm4TestResult
  assert.equal(
    written((writer) => nlm.encodeTestResult(writer, denied)),
    testReply,
  )

  calls.length = 0
  await call(program, nlm4Procedure.testRes, testReply)
  await call(program, nlm4Procedure.lockRes, `${cookie}00000000`)
  await call(program, nlm4Procedure.cancelRes, `${cookie}00000009`)
  await call(program, nlm4Procedure.unlockRes, `${cookie}00000004`)
  await call(program, nlm4Procedure.grantedRes, `${cookie}00000001`)
  assert.deepEqual(calls, [
    ['answered testRes', denied],
    ['answered lockRes', { ...marked, status: 'GRANTED' }],
    ['answered cancelRes', { ...marked, status: 'FAILED' }],
    ['answered unlockRes', { ...marked, status: 'DENIED_GRACE_PERIOD' }],
    ['answered grantedRes', { ...marked, status: 'DENIED' }],
  ])
  await assert.rejects(call(program, nlm4Procedure.lockRes, `${cookie}0000000a`), XdrError)
  const [procedures] = [...program.versions.values()]
  for (const number of [16, 17, 18, 19]) assert.equal(procedures[number], undefined)
})

test('NFS: each number is the procedure of that name, and what may not be done twice is marked', () => {
  const called: string[] = []
  const service = new Proxy({} as Nfs3Service, {
    get: (_, name) => () => void called.push(String(name)),
  })
  const program = nfs3Program(service)
  const procedures = program.versions.get(3) ?? []
  const numbers = { null: 0, getattr: 1, lookup: 3, read: 6, write: 7, create: 8, rename: 14, commit: 21 }
  for (const [name, number] of Object.entries(numbers)) {
    assert.equal(nfs3Procedure[name as keyof typeof numbers], number)
    assert.equal(procedures[number]?.name, name.toUpperCase())
  }
  assert.equal(procedures.length, 22)
  for (const procedure of procedures) void procedure?.serve(undefined, caller)
  assert.deepEqual(called, Object.keys(nfs3Procedure).slice(1))
  assert.deepEqual(
    procedures.filter((each) => each?.once).map((each) => each?.name),
    ['SETATTR', 'CREATE', 'MKDIR', 'SYMLINK', 'MKNOD', 'REMOVE', 'RMDIR', 'RENAME', 'LINK'],
  )
  assert.equal(procedures[6]?.answerBytes?.({ count: 4096 }), 4096)
  assert.equal(procedures[6]?.answerBytes?.({ count: 2 ** 32 - 1 }), 2 ** 20)
})
