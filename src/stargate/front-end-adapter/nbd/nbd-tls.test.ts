import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { KiB, MiB } from '../../../base/units.ts'
import { issueCertificate, makeAuthority, serialBytes } from '../../../local/certificates.ts'
import { distantSockets } from '../../../platform/distant-sockets-for-tests.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { nodeTls } from '../../../platform/node-tls.ts'
import type { Log, Socket, TlsCredentials } from '../../../platform/platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { encodeOption, numbers, option, optionReply } from './nbd-protocol.ts'
import { createNbdServer, type PlainClients } from './nbd.ts'
import { RawClient } from './raw-client.ts'

const validity = { from: Date.now(), days: 2 }
const serial = (): Buffer => randomBytes(serialBytes)
const authority = makeAuthority('a test', validity, serial())
const ofServer = issueCertificate(authority, ['n1'], validity, serial())
const ofClient = issueCertificate(authority, ['host-7'], validity, serial())
const client = nodeTls.side({ kind: 'certificate', ...ofClient, authorities: authority.certificate })
const server = nodeTls.side({ kind: 'certificate', ...ofServer, authorities: authority.certificate })
/** Of the container `vms`, not of `other`. */
const vmsOnly: PlainClients = { mayAny: () => true, may: (_, name) => name.startsWith('vms/') }

const named = (name: string, ...rest: Buffer[]): Buffer =>
  Buffer.concat([numbers([4, Buffer.byteLength(name)]), Buffer.from(name), ...rest])
const asking = (name: string): Buffer => named(name, numbers([2, 0]))
const query = (text: string): Buffer => Buffer.concat([numbers([4, 1]), named(text)])

interface Given {
  readonly from?: 'this machine'
  readonly tls?: 'none'
  readonly credentials?: TlsCredentials
  readonly plain?: PlainClients
}

async function start(t: TestContext, given: Given = {}) {
  const logged: string[] = []
  const note = (message: string, facts?: object): void =>
    void logged.push(`${message} ${JSON.stringify(facts)}`)
  const log: Log = { debug: note, info: note, warn: note, error: note, with: () => log }
  const usual = nodePlatform({ level: 'silent' })
  const platform = { ...usual, log, sockets: given.from === undefined ? distantSockets : usual.sockets }
  const side = given.credentials === undefined ? server : nodeTls.side(given.credentials)
  const exports = new MemoryExports({ 'other/c': 1 * MiB, 'vms/a': 3 * MiB })
  const nbd = createNbdServer({
    ...{ platform, exports, limits: { handshakeMs: 1000 } },
    ...(given.tls === 'none' ? {} : { tls: () => side }),
    ...(given.plain === undefined ? {} : { plain: given.plain }),
  })
  const address = await nbd.listen('127.0.0.1:0')
  const sockets: Socket[] = []
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    await nbd.close()
  })
  const connect = async (): Promise<{ socket: Socket; plain: RawClient }> => {
    const socket = await platform.sockets.connect(address, 1000)
    sockets.push(socket)
    return { socket, plain: new RawClient(socket) }
  }
  return { logged, exports, nbd, connect }
}
type Started = Awaited<ReturnType<typeof start>>

const codeOf = async (raw: RawClient, code: number, data?: Buffer): Promise<number | undefined> =>
  (await raw.ask(code, data)).at(-1)?.type

/** Greets, and goes on under TLS. */
async function secure({ connect }: Started, side = client, before?: (plain: RawClient) => Promise<void>) {
  const { socket, plain } = await connect()
  await plain.greet()
  await before?.(plain)
  assert.equal(await codeOf(plain, option.startTls), optionReply.ack)
  const over = await side.connect(socket)
  return new RawClient(over)
}

test('from elsewhere nothing is answered before TLS but STARTTLS and ABORT', async (t) => {
  const { connect } = await start(t)
  const { plain } = await connect()
  await plain.greet()
  const barred: [number, Buffer?][] = [
    [option.list],
    [option.info, asking('vms/a')],
    [option.go, asking('vms/a')],
    [option.go, asking('vms/none')],
    [option.go, Buffer.alloc(65 * KiB)],
    [option.structuredReply],
    [option.listMetaContext, named('vms/a', query('base:allocation'))],
    [option.setMetaContext, named('vms/a', query('base:allocation'))],
    [4711],
  ]
  for (const [code, data] of barred)
    assert.equal(await codeOf(plain, code, data), optionReply.tlsRequired, `${code}`)
  assert.equal(await codeOf(plain, option.startTls, Buffer.from('x')), optionReply.invalid)
  assert.equal(await codeOf(plain, option.abort), optionReply.ack)
  await plain.untilEnded()
})

test('from elsewhere EXPORT_NAME before TLS closes, as it has no room for an error', async (t) => {
  const { connect, exports } = await start(t)
  for (const flags of [0, 1, 3]) {
    const { plain } = await connect()
    await plain.greet(flags)
    plain.send(encodeOption(option.exportName, Buffer.from('vms/a')))
    await plain.untilEnded()
  }
  assert.equal(exports.vdisk('vms/a').openNow, 0)
})

test('under TLS all is answered, and data goes both ways; a second STARTTLS is invalid', async (t) => {
  const given = await start(t)
  const raw = await secure(given)
  assert.equal(await codeOf(raw, option.startTls), optionReply.invalid)
  assert.equal((await raw.ask(option.list)).length, 3)
  assert.equal(await codeOf(raw, option.go, asking('vms/a')), optionReply.ack)
  const bytes = randomBytes(1 * MiB)
  raw.request(1, 1n, 4096, bytes.length, { payload: bytes })
  assert.equal((await raw.reply()).error, 0)
  raw.request(0, 2n, 4096, bytes.length)
  assert.ok((await raw.reply(bytes.length)).data.equals(bytes))
  assert.ok(given.logged.some((line) => /NBD client connected .*DNS:host-7/.test(line)))
})

test('what was agreed on in plain is forgotten when TLS begins', async (t) => {
  const given = await start(t, { plain: vmsOnly })
  const raw = await secure(given, client, async (plain) => {
    assert.equal(await codeOf(plain, option.structuredReply), optionReply.ack)
    await plain.ask(option.setMetaContext, named('vms/a', query('base:allocation')))
  })
  assert.equal(await codeOf(raw, option.go, asking('vms/a')), optionReply.ack)
  raw.request(0, 1n, 0, 4096)
  assert.equal((await raw.reply(4096)).type, undefined)
})

test('what is sent in plain behind STARTTLS is never taken for what came by TLS', async (t) => {
  const given = await start(t)
  const injected = encodeOption(option.go, asking('vms/a'))
  for (const together of [true, false]) {
    const { socket, plain } = await given.connect()
    await plain.greet()
    const startTls = encodeOption(option.startTls, Buffer.alloc(0))
    if (together) plain.send(Buffer.concat([startTls, injected]))
    else {
      plain.send(startTls)
      await new Promise((resolve) => setTimeout(resolve, 20))
      plain.send(injected)
    }
    await plain.untilEnded()
    socket.destroy()
  }
  assert.equal(given.exports.vdisk('vms/a').sessions.length, 0)
  assert.ok(given.logged.some((line) => /An NBD client was refused .*does not speak TLS/.test(line)))
})

test('who takes too long over TLS, or breaks off, leaves nothing behind', async (t) => {
  const given = await start(t)
  for (const breaksOff of [true, false]) {
    const { socket, plain } = await given.connect()
    await plain.greet()
    await plain.ask(option.startTls)
    if (breaksOff) socket.destroy()
    else await plain.untilEnded()
  }
  while (given.nbd.statistics().connections > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal(given.nbd.statistics().negotiating, 0)
})

test('a client whose certificate is another authority’s is refused', async (t) => {
  const given = await start(t)
  const other = makeAuthority('another', validity, serial())
  const stranger = issueCertificate(other, ['host-7'], validity, serial())
  const side = nodeTls.side({ kind: 'certificate', ...stranger, authorities: authority.certificate })
  const raw = await secure(given, side)
  await raw.untilEnded()
  assert.ok(given.logged.some((line) => /An NBD client was refused .*none of the authorities/.test(line)))
})

test('a network that a container allows may have its exports in plain, and TLS for the others', async (t) => {
  const given = await start(t, { plain: vmsOnly })
  const { plain } = await given.connect()
  await plain.greet()
  assert.deepEqual(
    (await plain.ask(option.list)).map(({ data }) => data.subarray(4).toString()),
    ['vms/a', ''],
  )
  for (const code of [option.info, option.go])
    for (const name of ['other/c', 'other/none'])
      assert.equal(await codeOf(plain, code, asking(name)), optionReply.tlsRequired)
  assert.equal(await codeOf(plain, option.go, asking('vms/none')), optionReply.unknown)
  assert.equal(await codeOf(plain, option.go, asking('vms/a')), optionReply.ack)
  const { plain: other } = await given.connect()
  await other.greet()
  other.send(encodeOption(option.exportName, Buffer.from('other/c')))
  await other.untilEnded()
  const raw = await secure(given)
  assert.equal(await codeOf(raw, option.go, asking('other/c')), optionReply.ack)
})

test('where no TLS is spoken an allowed network has what it may, and is told why it may not have the rest', async (t) => {
  const { connect } = await start(t, { plain: vmsOnly, tls: 'none' })
  const { plain } = await connect()
  await plain.greet()
  assert.equal(await codeOf(plain, option.startTls), optionReply.unsupported)
  const [refused] = await plain.ask(option.go, asking('other/c'))
  assert.equal(refused.type, optionReply.policy)
  assert.match(refused.data.toString(), /ndfs container set other --nbd-allow/)
  assert.equal(await codeOf(plain, option.go, asking('vms/a')), optionReply.ack)
})

test('where there is neither TLS nor a network that is allowed, nobody from elsewhere comes in', async (t) => {
  const { connect, logged, nbd } = await start(t, { tls: 'none' })
  const { plain } = await connect()
  await plain.untilEnded()
  assert.equal(plain.waiting, 0)
  assert.ok(logged.some((line) => /An NBD client was refused: no TLS is spoken here/.test(line)))
  assert.equal(nbd.statistics().turnedAway, 1)
})

test('within the machine TLS is at the client’s option', async (t) => {
  const given = await start(t, { from: 'this machine' })
  const { plain } = await given.connect()
  await plain.greet()
  assert.equal(await codeOf(plain, option.go, asking('other/c')), optionReply.ack)
  const raw = await secure(given)
  assert.equal(await codeOf(raw, option.go, asking('other/c')), optionReply.ack)
})
