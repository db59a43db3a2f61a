/** Peers on machines of their own, as far as they can tell: what they do about TLS is seen here, over loopback. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasCode } from '../base/errors.ts'
import type { Incarnation, NodeId } from '../base/ids.ts'
import { hostAndPort } from '../base/networks.ts'
import { MiB } from '../base/units.ts'
import { issueCertificate, makeAuthority, serialBytes } from '../local/certificates.ts'
import type { Certified } from '../local/certificates.ts'
import { distantSockets } from '../platform/distant-sockets-for-tests.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { nodeTls } from '../platform/node-tls.ts'
import type { Log, Platform, TlsSide } from '../platform/platform.ts'
import { createPeers } from './peer-network.ts'
import type { PeerNetworkOptions } from './peer-network.ts'
import type { Peers } from './peer.ts'

const day = 86_400_000
const [n1, n2] = ['n1', 'n2'] as NodeId[]
const here = '127.0.0.1'
const serial = (): Buffer => randomBytes(serialBytes)
const anAuthority = (name: string): Certified => makeAuthority(name, { from: Date.now(), days: 10 }, serial())
const authority = anAuthority('a cluster')
const stranger = anAuthority('another cluster')
const certified = (name: string, by = authority, from = Date.now()): Certified =>
  issueCertificate(by, [name], { from, days: 5 }, serial())
const sideOf = (own: Certified, ...trusted: readonly Certified[]): TlsSide =>
  nodeTls.side({
    kind: 'certificate',
    ...own,
    authorities: (trusted.length > 0 ? trusted : [authority]).map(({ certificate }) => certificate).join(''),
  })

/** How many platforms there are: what they draw is the same in each run, and another in each of them. */
let distant = 0

/** All connections seem to come from, and go to, another machine. What is logged is kept. */
function distantPlatform(): { platform: Platform; logged: string[] } {
  const logged: string[] = []
  const note = (message: string, facts?: object): void =>
    void logged.push(`${message} ${JSON.stringify(facts)}`)
  const log: Log = { debug: note, info: note, warn: note, error: note, with: () => log }
  const platform = nodePlatform({ level: 'silent' })
  // A plain frame begins with its checksum: to OpenSSL one in 500 is the beginning of a record, whose rest it waits for.
  const chance = { ...platform.chance, bytes: (length: number) => Buffer.alloc(length, ++distant) }
  return { platform: { ...platform, sockets: distantSockets, chance, log }, logged }
}

interface Made {
  readonly peers: Peers
  readonly logged: string[]
}
function node(
  t: TestContext,
  name: NodeId,
  tls: PeerNetworkOptions['tls'] | undefined,
  key = 5,
  process = 'first',
): Made {
  const { platform, logged } = distantPlatform()
  const peers = createPeers({
    ...{ platform, node: name, incarnation: process as Incarnation, clusterId: 'c-1' },
    key: Buffer.alloc(32, key),
    limits: { handshakeMs: 500, strangersMax: 8 },
    ...(tls === undefined ? {} : { tls }),
  })
  t.after(() => peers.close())
  return { peers, logged }
}

/** n1, which knows where n2 listens; n2 says what it is told. */
async function pair(t: TestContext, tls: { n1?: () => TlsSide; n2?: () => TlsSide }, keys = [5, 5]) {
  const [caller, called] = [node(t, n1, tls.n1, keys[0]), node(t, n2, tls.n2, keys[1])]
  called.peers.handle('echo', 'terminal', ({ from, body }) => [Buffer.from(from), body])
  const address = await called.peers.listen(`${here}:0`)
  caller.peers.setAddress(n2, address)
  const ask = (text = 'x'): Promise<string> => caller.peers.call(n2, 'echo', [Buffer.from(text)]).then(String)
  return { caller, called, ask, address, port: hostAndPort(address).port }
}
const isUnreachable = (error: unknown): boolean => hasCode(error, 'PEER_UNREACHABLE')
const lastly = async (logged: readonly string[], wanted: RegExp): Promise<void> => {
  for (let tries = 0; !logged.some((line) => wanted.test(line)); tries++) {
    assert.ok(tries < 300, `${wanted} is not in:\n${logged.join('\n')}`)
    await sleep(5)
  }
}

test('nodes that name each other’s certificates talk, and large bodies arrive whole', async (t) => {
  const { caller, ask } = await pair(t, {
    n1: () => sideOf(certified('n1')),
    n2: () => sideOf(certified('n2')),
  })
  assert.equal(await ask('hello'), 'n1hello')
  const large = randomBytes(5 * MiB)
  const answer = await caller.peers.call(n2, 'echo', [large])
  assert.ok(answer.subarray(2).equals(large))
})

test('the cluster’s key is asked for within TLS as well', async (t) => {
  const sides = { n1: () => sideOf(certified('n1')), n2: () => sideOf(certified('n2')) }
  const { ask, caller } = await pair(t, sides, [5, 6])
  await assert.rejects(ask(), isUnreachable)
  await lastly(caller.logged, /does not have the key of the cluster/)
})

test('who is called is refused by the caller where its certificate is no good, or names another', async (t) => {
  for (const [own, reason] of [
    [certified('n2', stranger), /signed by none of the authorities/],
    [certified('n2', authority, Date.now() - 6 * day), /has expired: issue a new one/],
    [certified('n3'), /its certificate names DNS:n3: issue one that names n2/],
  ] as const) {
    const { ask, caller } = await pair(t, { n1: () => sideOf(certified('n1')), n2: () => sideOf(own) })
    await assert.rejects(ask(), isUnreachable)
    await lastly(caller.logged, reason)
  }
})

test('a caller is refused where its certificate is no good, or names another than it claims to be', async (t) => {
  for (const [own, reason] of [
    [certified('n1', stranger), /signed by none of the authorities/],
    [certified('n1', authority, Date.now() - 6 * day), /has expired: issue a new one/],
    [certified('n3'), /the caller says that it is n1, and its certificate names DNS:n3/],
  ] as const) {
    const { ask, called } = await pair(t, {
      n1: () => sideOf(own, authority),
      n2: () => sideOf(certified('n2')),
    })
    await assert.rejects(ask(), isUnreachable)
    await lastly(called.logged, reason)
  }
})

test('plain where TLS is expected, and TLS where plain is, ends at once and in words', async (t) => {
  const plain = await pair(t, { n2: () => sideOf(certified('n2')) })
  await assert.rejects(plain.ask(), isUnreachable)
  await lastly(plain.called.logged, /A connection was refused .*it does not speak TLS/)
  const secure = await pair(t, { n1: () => sideOf(certified('n1')) })
  await assert.rejects(secure.ask(), isUnreachable)
  await lastly(secure.called.logged, /it speaks TLS, which is not spoken here/)
  await lastly(secure.caller.logged, /can’t be talked to .*closed the connection before TLS began/)
})

test('garbage, silence and crowds are closed, and leave a sound peer its place', async (t) => {
  const { ask, called, port } = await pair(t, {
    n1: () => sideOf(certified('n1')),
    n2: () => sideOf(certified('n2')),
  })
  const closed = Array.from({ length: 40 }, async (_, index) => {
    const socket = connect(port, here)
    socket.on('error', () => undefined).resume()
    const over = new Promise((resolve) => socket.once('close', resolve))
    if (index % 2 === 0) socket.write(randomBytes(2000))
    await over
  })
  assert.equal(await ask(), 'n1x')
  await Promise.all(closed)
  assert.equal(await ask(), 'n1x')
  await lastly(called.logged, /A connection was refused/)
})

test('certificates and their authority are replaced step by step, and no request breaks', async (t) => {
  const [first, second] = [authority, stranger]
  const now = { n1: sideOf(certified('n1', first)), n2: sideOf(certified('n2', first)) }
  const { caller, ask, address } = await pair(t, { n1: () => now.n1, n2: () => now.n2 })
  let answers = 0
  let done = false
  const traffic = (async () => {
    for (; !done; answers++) assert.equal(await ask('x'.repeat(100_000)), `n1${'x'.repeat(100_000)}`)
  })()
  const moreAnswers = async (): Promise<void> => {
    for (const before = answers; answers < before + 20;) await sleep(1)
  }
  await moreAnswers()
  const steps: (() => void)[] = [
    // The new authority is trusted beside the old one, then certificates by it are used, then the old one is trusted no more.
    () => (now.n1 = sideOf(certified('n1', first), first, second)),
    () => (now.n2 = sideOf(certified('n2', first), first, second)),
    () => (now.n1 = sideOf(certified('n1', second), first, second)),
    () => (now.n2 = sideOf(certified('n2', second), first, second)),
    () => (now.n1 = sideOf(certified('n1', second), second)),
    () => (now.n2 = sideOf(certified('n2', second), second)),
  ]
  for (const step of steps) {
    step()
    // The connection that stands goes on; one that is made now is made with what holds now.
    await moreAnswers()
    const fresh = node(t, n1, () => now.n1, 5, 'a later process')
    fresh.peers.setAddress(n2, address)
    assert.equal(String(await fresh.peers.call(n2, 'echo', [])), 'n1')
  }
  done = true
  await traffic
  assert.ok(!caller.logged.some((line) => /can’t be talked to|broke/.test(line)), caller.logged.join('\n'))
})
