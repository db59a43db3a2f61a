import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { connect } from 'node:tls'
import type { TestContext } from 'node:test'
import { hostAndPort } from '../base/networks.ts'
import { MiB } from '../base/units.ts'
import { issueCertificate, makeAuthority, serialBytes } from '../local/certificates.ts'
import type { Certified } from '../local/certificates.ts'
import { nodeSockets } from './node-sockets.ts'
import { nodeTls } from './node-tls.ts'
import { TlsFailure } from './platform.ts'
import type { SecureSocket, Socket, TlsSide } from './platform.ts'

const day = 86_400_000
const serial = (): Buffer => randomBytes(serialBytes)
const authority = makeAuthority('a test', { from: Date.now(), days: 10 }, serial())
const stranger = makeAuthority('another test', { from: Date.now(), days: 10 }, serial())
const certified = (name: string, by = authority, from = Date.now()): Certified =>
  issueCertificate(by, [name, '127.0.0.1'], { from, days: 5 }, serial())
const side = (own: Certified, trusted: readonly Certified[] = [authority]): TlsSide =>
  nodeTls.side({
    kind: 'certificate',
    ...own,
    authorities: trusted.map(({ certificate }) => certificate).join(''),
  })

/** Bytes that came, and how the connection ended. */
interface Heard {
  readonly bytes: Buffer[]
  closed: boolean
}
function hear(socket: Socket): Heard {
  const heard: Heard = { bytes: [], closed: false }
  socket.onData = (bytes) => heard.bytes.push(bytes)
  socket.onClose = () => (heard.closed = true)
  return heard
}
async function until(what: () => boolean): Promise<void> {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 2))
}

/** A connection from either side's eyes: plain. */
async function pair(t: TestContext): Promise<{ called: Socket; caller: Socket }> {
  const accepted = Promise.withResolvers<Socket>()
  const listener = await nodeSockets.listen('127.0.0.1:0', (socket) => {
    hear(socket)
    accepted.resolve(socket)
  })
  const caller = await nodeSockets.connect(listener.address, 1000)
  hear(caller)
  const called = await accepted.promise
  t.after(async () => {
    caller.destroy()
    called.destroy()
    await listener.close()
  })
  return { called, caller }
}

async function both(t: TestContext, called: TlsSide, caller: TlsSide) {
  const sockets = await pair(t)
  const heard = (socket: SecureSocket): SecureSocket => {
    hear(socket)
    return socket
  }
  const [here, there] = await Promise.allSettled([
    called.accept(sockets.called).then(heard),
    caller.connect(sockets.caller).then(heard),
  ])
  return { here, there }
}
const reasonOf = (result: PromiseSettledResult<SecureSocket>): string => {
  assert.equal(result.status, 'rejected')
  assert.ok(result.reason instanceof TlsFailure, String(result.reason))
  return result.reason.message
}
const socketOf = (result: PromiseSettledResult<SecureSocket>): SecureSocket => {
  if (result.status === 'rejected') throw result.reason
  return result.value
}

test('both sides know whom the other’s certificate names, and bytes go both ways', async (t) => {
  const { here, there } = await both(t, side(certified('n1')), side(certified('n2')))
  const [called, caller] = [socketOf(here), socketOf(there)]
  const [inCalled, inCaller] = [hear(called), hear(caller)]
  assert.ok(called.proof?.names('n2') && !called.proof.names('n1') && called.proof.names('127.0.0.1'))
  assert.ok(caller.proof?.names('n1') && !caller.proof.names('n'))
  const large = randomBytes(3 * MiB)
  let sent = 0
  caller.write([large.subarray(0, 5), large.subarray(5)])
  caller.whenSent(() => sent++)
  called.write([Buffer.from('pong')])
  await until(() => Buffer.concat(inCalled.bytes).length === large.length && inCaller.bytes.length > 0)
  assert.ok(Buffer.concat(inCalled.bytes).equals(large))
  assert.equal(Buffer.concat(inCaller.bytes).toString(), 'pong')
  await until(() => sent === 1)
  caller.end()
  await until(() => inCalled.closed && inCaller.closed)
})

test('a reader’s own memory is filled, and one who pauses is told nothing until he goes on', async (t) => {
  const { here, there } = await both(t, side(certified('n1')), side(certified('n2')))
  const [called, caller] = [socketOf(here), socketOf(there)]
  hear(caller)
  const large = randomBytes(1 * MiB)
  const target = Buffer.alloc(large.length)
  let filled = 0
  called.onData = () => assert.fail('what has room comes by no other way')
  called.room = () => target.subarray(filled)
  called.onFilled = (bytes) => (filled += bytes)
  called.onClose = () => undefined
  called.pause()
  called.room = () => undefined
  caller.write([large.subarray(0, 7)])
  await new Promise((resolve) => setTimeout(resolve, 30))
  called.onData = (bytes) => {
    bytes.copy(target, filled)
    filled += bytes.length
  }
  assert.equal(filled, 0)
  called.resume()
  await until(() => filled === 7)
  called.room = () => target.subarray(filled)
  called.onData = () => assert.fail('what has room comes by no other way')
  caller.write([large.subarray(7)])
  await until(() => filled === large.length)
  assert.ok(target.equals(large))
})

test('one who proves nothing, or the wrong thing, is refused in words', async (t) => {
  const own = certified('n1')
  const cases: [TlsSide, RegExp][] = [
    [side(certified('n2', stranger)), /signed by none of the authorities/],
    [side(certified('n2', authority, Date.now() - 6 * day)), /has expired/],
    [side(certified('n2', authority, Date.now() + day)), /not valid yet/],
  ]
  for (const [caller, reason] of cases) {
    const { here } = await both(t, side(own), caller)
    assert.match(reasonOf(here), reason)
  }
  const { there } = await both(t, side(certified('n1', stranger)), side(certified('n2')))
  assert.match(reasonOf(there), /signed by none of the authorities/)
  const { there: expired } = await both(t, side(certified('n1', authority, Date.now() - 6 * day)), side(own))
  assert.match(reasonOf(expired), /has expired/)
})

test('where several authorities are trusted one may replace the other', async (t) => {
  const either = [authority, stranger]
  const { here, there } = await both(
    t,
    side(certified('n1', stranger), either),
    side(certified('n2'), either),
  )
  assert.ok(socketOf(here).proof?.names('n2') && socketOf(there).proof?.names('n1'))
})

test('without authorities a client is asked for nothing', async (t) => {
  const { here } = await both(
    t,
    nodeTls.side({ kind: 'certificate', ...certified('n1') }),
    side(certified('n2')),
  )
  assert.equal(socketOf(here).proof, undefined)
})

test('a client that shows no certificate is refused, and an older TLS is not spoken', async (t) => {
  for (const [options, reason] of [
    [{}, /shows no certificate by an authority/],
    [{ maxVersion: 'TLSv1.2' }, /TLS failed/],
  ] as const) {
    const accepted = Promise.withResolvers<unknown>()
    const listener = await nodeSockets.listen('127.0.0.1:0', (socket) => {
      side(certified('n1')).accept(socket).then(accepted.reject, accepted.resolve)
    })
    const { port } = hostAndPort(listener.address)
    const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
    client.on('error', () => undefined)
    t.after(async () => {
      client.destroy()
      await listener.close()
    })
    assert.match(String(await accepted.promise), reason)
  }
})

test('a connection that breaks as TLS begins harms nothing', async (t) => {
  let settled = 0
  const listener = await nodeSockets.listen('127.0.0.1:0', (socket) => {
    const done = (): void => void settled++
    nodeTls
      .side({ kind: 'certificate', ...own })
      .accept(socket)
      .then(hear, () => undefined)
      .then(done, done)
  })
  const own = certified('n1')
  t.after(() => listener.close())
  const { port } = hostAndPort(listener.address)
  for (let index = 0; index < 40; index++) {
    const client = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    client.on('error', () => undefined)
    client.once('secureConnect', () => {
      client.write('the last words')
      if (index % 2 === 0) client.destroy()
      else client.end()
    })
  }
  await until(() => settled === 40)
})

test('garbage in place of TLS, silence that ends, and giving up, are failures in words', async (t) => {
  const begin = async () => {
    const { called, caller } = await pair(t)
    return {
      caller,
      called,
      accepting: side(certified('n1'))
        .accept(called)
        .then(
          () => assert.fail('it was secure'),
          (error: unknown) => error,
        ),
    }
  }
  const garbage = await begin()
  garbage.caller.write([Buffer.alloc(4000, 'GET / HTTP/1.1\r\n')])
  assert.match(String(await garbage.accepting), /does not speak TLS/)
  const noise = await begin()
  noise.caller.write([Buffer.concat([Buffer.from('16030100ff', 'hex'), randomBytes(4000)])])
  assert.match(String(await noise.accepting), /TlsFailure/)
  const silent = await begin()
  silent.caller.end()
  assert.match(String(await silent.accepting), /closed the connection before TLS began/)
  const givenUp = await begin()
  await new Promise((resolve) => setTimeout(resolve, 20))
  givenUp.called.destroy()
  assert.match(String(await givenUp.accepting), /closed the connection before TLS began/)
})

test('a caller who finds no TLS is told so', async (t) => {
  const { called, caller } = await pair(t)
  called.write([Buffer.from('NBDMAGICIHAVEOPT, and so on')])
  await assert.rejects(side(certified('n1')).connect(caller), /does not speak TLS/)
})

test('TLS that the caller began too early is not lost', async (t) => {
  const { called, caller } = await pair(t)
  called.pause()
  const [there, here] = await Promise.all([
    side(certified('n2')).connect(caller),
    new Promise((resolve) => setTimeout(resolve, 30)).then(() => side(certified('n1')).accept(called)),
  ])
  for (const one of [here, there]) hear(one)
  assert.ok(here.proof?.names('n2') && there.proof?.names('n1'))
})

test('credentials that do not fit are refused', () => {
  const [one, other] = [certified('n1'), certified('n2')]
  for (const wrong of [
    { certificate: one.certificate, key: other.key },
    { certificate: 'none', key: one.key },
    { ...one, authorities: 'none' },
  ])
    assert.throws(() => nodeTls.side({ kind: 'certificate', ...wrong }), /Cannot use the certificate/)
})
