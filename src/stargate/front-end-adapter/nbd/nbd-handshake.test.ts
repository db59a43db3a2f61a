import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { NdfsError } from '../../../base/errors.ts'
import { KiB } from '../../../base/units.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { startNbd } from './nbd-fixture.ts'
import { contextsOf } from './nbd-handshake.ts'
import { encodeOption, numbers, option, optionReply } from './nbd-protocol.ts'
import type { NbdLimits } from './nbd.ts'

const platform = nodePlatform({ level: 'silent' })
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const named = (name: string, ...rest: Buffer[]): Buffer =>
  Buffer.concat([numbers([4, Buffer.byteLength(name)]), Buffer.from(name), ...rest])
const asking = (name: string, ...wanted: number[]): Buffer =>
  named(name, numbers([2, wanted.length], ...wanted.map((kind) => [2, kind] as const)))
const query = (...queries: string[]): Buffer =>
  Buffer.concat([numbers([4, queries.length]), ...queries.map((text) => named(text))])

const start = (t: TestContext, limits?: Partial<NbdLimits>) => startNbd(t, platform, { limits })

test('the server greets by the book', async (t) => {
  const client = await (await start(t)).connect()
  assert.deepEqual(await client.take(18), hex('4e42444d41474943 49484156454f5054 0003'))
})

test('LIST tells the plain names', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  assert.deepEqual(await client.ask(option.list), [
    { type: optionReply.server, data: named('vms/a') },
    { type: optionReply.server, data: named('vms/b') },
    { type: optionReply.server, data: named('vms/large') },
    { type: optionReply.ack, data: Buffer.alloc(0) },
  ])
  assert.equal((await client.ask(option.list, Buffer.from('x')))[0].type, optionReply.invalid)
})

test('INFO tells size, flags and what else was asked for, and stays in negotiation', async (t) => {
  const { exports, connect } = await start(t)
  const client = await connect()
  await client.greet()
  const answers = await client.ask(option.info, asking('vms/b#host.7', 3, 1, 2, 99))
  assert.deepEqual(answers[0], { type: optionReply.info, data: hex('0000 0000000000300000 0d6d') })
  assert.deepEqual(answers[1].data, Buffer.concat([hex('0001'), Buffer.from('vms/b')]))
  assert.deepEqual(answers[2].data, Buffer.concat([hex('0002'), Buffer.from('NDFS vDisk vms/b, 3MiB')]))
  assert.deepEqual(answers[3].data, hex('0003 00000001 00001000 02000000'))
  assert.equal(answers[4].type, optionReply.ack)
  assert.equal(exports.vdisk('vms/b').openNow, 0)
  // Who only asks takes up no session.
  assert.deepEqual(exports.vdisk('vms/b').sessions, [undefined])
})

test('GO enters the export under the client’s session; don’t-fragment is offered with structured replies only', async (t) => {
  const { exports, connect } = await start(t)
  const client = await connect()
  await client.greet()
  assert.equal((await client.ask(option.structuredReply))[0].type, optionReply.ack)
  const answers = await client.ask(option.go, asking('vms/a#host.7'))
  assert.deepEqual(answers[0].data, hex('0000 0000000000100000 0ded'))
  assert.deepEqual(exports.vdisk('vms/a').sessions, [{ client: 'host', number: 7 }])
  client.request(3, 5n)
  assert.equal((await client.reply()).cookie, 5n)
})

test('requests that a client sends right behind GO are not lost', async (t) => {
  const client = await (await start(t)).connect()
  await client.take(18)
  client.send(
    numbers([4, 3]),
    encodeOption(option.go, asking('vms/a')),
    hex('25609513 0000 0003 0000000000000009'),
    Buffer.alloc(12),
  )
  await client.take(20 + 12 + 20)
  assert.deepEqual(await client.reply(), { cookie: 9n, error: 0, data: Buffer.alloc(0) })
})

test('EXPORT_NAME answers with size and flags, and 124 zeros unless the client is spared them', async (t) => {
  const { connect } = await start(t)
  for (const [flags, bytes] of [
    [1, 134],
    [3, 10],
    [0, 134],
  ]) {
    const client = await connect()
    await client.greet(flags)
    client.send(encodeOption(option.exportName, Buffer.from('vms/a')))
    const answer = await client.take(bytes)
    assert.deepEqual(answer.subarray(0, 10), hex('0000000000100000 0d6d'))
    assert.ok(answer.subarray(10).every((byte) => byte === 0))
    client.request(3, 1n)
    assert.equal((await client.reply()).error, 0)
  }
})

test('EXPORT_NAME of what does not exist closes the connection, for it has no room for an error', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  client.send(encodeOption(option.exportName, Buffer.from('vms/none')))
  await client.untilEnded()
})

test('a name that does not exist is refused, and the client may try another', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  const [unknown] = await client.ask(option.go, asking('vms/none'))
  assert.equal(unknown.type, optionReply.unknown)
  assert.match(unknown.data.toString(), /Cannot open vms\/none/)
  assert.equal((await client.ask(option.go, asking('vms/a'))).at(-1)?.type, optionReply.ack)
})

test('the empty name is refused with the names that there are', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  const [refused] = await client.ask(option.go, asking(''))
  assert.equal(refused.type, optionReply.unknown)
  assert.match(refused.data.toString(), /ask for one of vms\/a, vms\/b, vms\/large$/)
})

test('options that make no sense, and names that are none, are invalid', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  const bad: [number, Buffer][] = [
    [option.go, Buffer.alloc(0)],
    [option.info, hex('ffffffff 61 0000')],
    [option.go, asking('vms/a#nonsense')],
    [option.go, Buffer.concat([numbers([4, 1]), Buffer.from([0xff]), numbers([2, 0])])],
    [option.structuredReply, Buffer.from('x')],
    [option.setMetaContext, named('vms/a', query('base:allocation'))],
  ]
  for (const [code, data] of bad) assert.equal((await client.ask(code, data))[0].type, optionReply.invalid)
})

test('TLS and options from the future are unsupported and do no harm', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  for (const code of [option.startTls, 4, 11, 4711])
    assert.equal((await client.ask(code))[0].type, optionReply.unsupported)
  assert.equal((await client.ask(option.list)).at(-1)?.type, optionReply.ack)
})

test('an option that is too long is read over and refused; one beyond all measure closes', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  assert.equal((await client.ask(option.go, Buffer.alloc(65 * KiB)))[0].type, optionReply.tooBig)
  assert.equal((await client.ask(option.list)).at(-1)?.type, optionReply.ack)
  client.send(Buffer.concat([Buffer.from('IHAVEOPT'), numbers([4, option.go], [4, 2 ** 32 - 1])]))
  await client.untilEnded()
})

test('wrong magic and unknown client flags close the connection', async (t) => {
  const { connect } = await start(t)
  const wrongMagic = await connect()
  await wrongMagic.greet()
  wrongMagic.send(Buffer.alloc(16))
  await wrongMagic.untilEnded()
  const wrongFlags = await connect()
  await wrongFlags.greet(4)
  await wrongFlags.untilEnded()
})

test('ABORT is acknowledged and ends the connection', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  assert.deepEqual(await client.ask(option.abort), [{ type: optionReply.ack, data: Buffer.alloc(0) }])
  await client.untilEnded()
})

test('contexts: listing knows wildcards, setting takes only what is named', async (t) => {
  assert.deepEqual(contextsOf([], true), ['base:allocation'])
  assert.deepEqual(contextsOf(['base:'], true), ['base:allocation'])
  assert.deepEqual(contextsOf(['x:y'], true), [])
  assert.deepEqual(contextsOf([], false), [])
  assert.deepEqual(contextsOf(['base:'], false), [])
  assert.deepEqual(contextsOf(['x:y', 'base:allocation'], false), ['base:allocation'])

  const client = await (await start(t)).connect()
  await client.greet()
  await client.ask(option.structuredReply)
  const listed = await client.ask(option.listMetaContext, named('vms/a', query()))
  assert.deepEqual(listed[0].data, Buffer.concat([numbers([4, 0]), Buffer.from('base:allocation')]))
  const set = await client.ask(option.setMetaContext, named('vms/a', query('base:allocation')))
  assert.deepEqual(set[0].data, Buffer.concat([numbers([4, 1]), Buffer.from('base:allocation')]))
  assert.equal(
    (await client.ask(option.setMetaContext, named('vms/a', query('nonsense'))))[0].type,
    optionReply.invalid,
  )
})

test('a context that was chosen for another export does not hold for this one', async (t) => {
  const client = await (await start(t)).connect()
  await client.greet()
  await client.ask(option.structuredReply)
  await client.ask(option.setMetaContext, named('vms/b', query('base:allocation')))
  await client.ask(option.go, asking('vms/a'))
  client.request(7, 1n, 0, 4096)
  assert.equal((await client.reply()).error, 22)
})

test('a part that is not up yet is told as shutting down, with its reason', async (t) => {
  const { exports, connect } = await start(t)
  exports.beforeOpen = () =>
    Promise.reject(new NdfsError('UNAVAILABLE', 'Cannot open as the node is starting'))
  const client = await connect()
  await client.greet()
  const [refused] = await client.ask(option.go, asking('vms/a'))
  assert.equal(refused.type, optionReply.shutdown)
  assert.match(refused.data.toString(), /the node is starting/)
})

test('a client that does not come to an agreement in time is closed; the time that we need is not counted', async (t) => {
  const { exports, server, connect } = await start(t, { handshakeMs: 30 })
  const silent = await connect()
  await silent.untilEnded()

  exports.beforeOpen = () => platform.clock.sleep(120)
  const patient = await connect()
  await patient.enter('vms/a')
  assert.equal(server.statistics().negotiating, 0)
})

test('a vDisk that was opened for a client that has gone meanwhile is closed', async (t) => {
  const { exports, server, connect } = await start(t)
  let opened = (): void => {}
  const asked = new Promise<void>((resolve) => {
    exports.beforeOpen = () =>
      new Promise((open) => {
        opened = open
        resolve()
      })
  })
  const client = await connect()
  await client.greet()
  client.send(encodeOption(option.go, asking('vms/a')))
  await asked
  client.destroy()
  await platform.clock.sleep(20)
  opened()
  while (server.statistics().connections > 0) await platform.clock.sleep(2)
  assert.equal(exports.vdisk('vms/a').openNow, 0)
  assert.equal(exports.vdisk('vms/a').sessions.length, 1)
})
