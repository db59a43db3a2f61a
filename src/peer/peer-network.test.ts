import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { NdfsError } from '../base/errors.ts'
import { giveBack, takeLarge } from '../base/large-buffers.ts'
import type { Incarnation, NodeId } from '../base/ids.ts'
import { MiB } from '../base/units.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { FrameReader, FrameWriter, bodyBytesMax, frameTypes } from './framing.ts'
import { CallerHandshake, nonceBytes, protocolVersions } from './handshake.ts'
import type { PeerLimits } from './limits.ts'
import type { CallOptions, PeerHandler, Peers } from './peer.ts'
import { createPeers } from './peer-network.ts'
import type { PeerNetworkOptions } from './peer-network.ts'

const platform = nodePlatform({ level: 'silent' })
const key = Buffer.alloc(32, 5)
const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId
const incarnationOf = (node: NodeId): Incarnation => `of-${node}` as Incarnation

type Change = Partial<Omit<PeerNetworkOptions, 'limits'>> & { limits?: Partial<PeerLimits> }

const peersOf = (node: NodeId, change: Change = {}): Peers =>
  createPeers({ platform, node, incarnation: incarnationOf(node), clusterId: 'c-1', key, ...change })

/** Two nodes; n2 listens and n1 knows where. */
async function withPair(
  body: (given: { caller: Peers; called: Peers; address: string }) => Promise<void>,
  change: { caller?: Change; called?: Change; address?: string } = {},
): Promise<void> {
  const caller = peersOf(n1, change.caller)
  const called = peersOf(n2, change.called)
  try {
    const address = await called.listen(change.address ?? '127.0.0.1:0')
    caller.setAddress(n2, address)
    await body({ caller, called, address })
  } finally {
    await Promise.all([caller.close(), called.close()])
  }
}

const ask = async (peers: Peers, text: string, kind = 'test.echo', options?: CallOptions): Promise<string> =>
  String(await peers.call(n2, kind, [Buffer.from(text)], options))

/** Answers when it is told to. */
function held(peers: Peers, kind: string, lane: 'terminal' | 'forward' = 'terminal') {
  const requests: { text: string; answer: () => void }[] = []
  peers.handle(kind, lane, ({ body }) => {
    const { promise, resolve } = Promise.withResolvers<readonly Uint8Array[]>()
    requests.push({ text: String(body), answer: () => resolve([body]) })
    return promise
  })
  return requests
}

test('a large body, and a large answer, are used again once they are done with', async () => {
  await withPair(async ({ caller, called }) => {
    const bodies = new Set<ArrayBufferLike>()
    const answers = new Set<ArrayBufferLike>()
    const handler: PeerHandler = ({ body }) => {
      bodies.add(body.buffer)
      const answer = takeLarge(2 * MiB)
      answers.add(answer.buffer)
      return [answer.fill(body[0])]
    }
    called.handle('test.ended', 'terminal', handler, { endsBody: true, endsAnswer: true })
    for (let turn = 0; turn < 20; turn++) {
      const answer = await caller.call(n2, 'test.ended', [Buffer.alloc(1.5 * MiB, turn)])
      assert.ok(answer.length === 2 * MiB && answer.every((byte) => byte === turn))
      giveBack(answer)
    }
    assert.ok(bodies.size < 10 && answers.size < 10, `${bodies.size} bodies, ${answers.size} answers`)
  })
})

async function until(condition: () => boolean): Promise<void> {
  for (const start = Date.now(); !condition(); await sleep(2))
    assert.ok(Date.now() - start < 6000, 'it never came')
}

for (const where of ['TCP', 'a Unix socket', 'no socket at all, to itself'])
  test(`requests and answers go over ${where}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'ndfs-peer-'))
    const address = where === 'TCP' ? '127.0.0.1:0' : `unix:${directory}/peer`
    await withPair(
      async ({ caller: other, called }) => {
        const itself = where.startsWith('no socket')
        const caller = itself ? called : other
        const froms: unknown[] = []
        called.handle('test.echo', 'terminal', ({ from, incarnation, kind, body }) => {
          froms.push([from, incarnation, kind])
          return [body.subarray(0, 1), body.subarray(1)]
        })
        called.handle('test.later', 'forward', async ({ body }) => {
          await sleep(5)
          return [Buffer.from('later: '), body]
        })
        called.handle('test.fail', 'terminal', async () => {
          throw new NdfsError('CONFLICT', 'Cannot do it as things stand', { last: 7, of: ['a'] })
        })
        called.handle('test.fail-at-once', 'terminal', () => {
          throw new NdfsError('FENCED', 'no', {})
        })
        assert.equal(await ask(caller, 'hello'), 'hello')
        assert.equal(await ask(caller, ''), '')
        assert.equal(await ask(caller, 'x', 'test.later', { lane: 'forward' }), 'later: x')
        const expected = itself ? n2 : n1
        assert.deepEqual(froms[0], [expected, incarnationOf(expected), 'test.echo'])
        await assert.rejects(ask(caller, 'x', 'test.fail'), (error) => {
          assert.ok(error instanceof NdfsError)
          assert.equal(error.code, 'CONFLICT')
          assert.equal(error.message, 'Cannot do it as things stand')
          assert.deepEqual(error.facts, { last: 7, of: ['a'] })
          return true
        })
        await assert.rejects(ask(caller, 'x', 'test.fail-at-once'), { code: 'FENCED' })
        await assert.rejects(ask(caller, 'x', 'test.unknown'), { code: 'NOT_FOUND' })
        await assert.rejects(ask(caller, 'x', 'test.later'), {
          code: 'REFUSED',
          message: /it belongs on forward/,
        })
        await assert.rejects(ask(caller, 'x', 'test.later', { lane: 'forward', timeoutMs: 1 }), {
          code: 'TIMED_OUT',
        })
        const big = Buffer.alloc(bodyBytesMax, 0xab)
        assert.ok((await caller.call(n2, 'test.echo', [big.subarray(0, 5), big.subarray(5)])).equals(big))
        assert.equal(caller.backlogBytes(n2, 'terminal'), 0)
      },
      { address },
    )
    await rm(directory, { recursive: true })
  })

test('many calls at once over one connection arrive in order, and each gets its own answer', async () => {
  await withPair(async ({ caller, called }) => {
    const seed = Date.now() % 1e6
    console.log(`seed ${seed}`)
    let state = seed
    const below = (bound: number): number => (state = (state * 48271) % 2147483647) % bound
    const arrived: number[] = []
    called.handle('test.numbered', 'terminal', ({ body }) => {
      arrived.push(body.readUInt32LE(0))
      return below(2) === 0 ? [body] : sleep(below(4)).then(() => [body])
    })
    const numbers = Array.from({ length: 600 }, (_, index) => index)
    await Promise.all(
      numbers.map(async (number) => {
        const body = Buffer.alloc(4 + below(below(10) === 0 ? 200_000 : 3000), number)
        body.writeUInt32LE(number, 0)
        const cut = below(body.length)
        const answer = await caller.call(n2, 'test.numbered', [body.subarray(0, cut), body.subarray(cut)])
        assert.ok(answer.equals(body))
      }),
    )
    assert.deepEqual(arrived, numbers)
  })
})

for (const [what, change, sentence] of [
  ['without the cluster’s key', { key: Buffer.alloc(32, 6) }, /does not have the key of the cluster/],
  ['of another cluster', { clusterId: 'c-2' }, /caller is of cluster c-2, the node called of c-1/],
  ['of an unknown protocol version', { versions: { least: 8, greatest: 9 } }, /speaks versions 8 to 9/],
] as const)
  test(`a node ${what} does not get in, and is told why`, async () => {
    await withPair(
      async ({ caller, called }) => {
        let handled = 0
        called.handle('test.echo', 'terminal', () => {
          handled++
          return []
        })
        await assert.rejects(ask(caller, 'x'), { code: 'PEER_UNREACHABLE', message: sentence })
        assert.equal(handled, 0)
      },
      { caller: change },
    )
  })

test('a node whose release can’t serve the cluster’s format is no peer, and the call tells that it was refused', async () => {
  const formats = (oldest: number, newest: number) => ({
    formats: { release: { version: '0.1.0', oldest, newest }, now: () => 2 },
  })
  await withPair(
    async ({ caller }) => {
      await assert.rejects(ask(caller, 'x'), (error: NdfsError) => {
        assert.equal(error.code, 'PEER_UNREACHABLE')
        assert.match(
          error.message,
          /the node called is of NDFS 0\.1\.0, which serves format 1, .* format is 2/,
        )
        return error.facts.refused === true
      })
    },
    { caller: formats(1, 2), called: formats(1, 1) },
  )
})

test('a node that answers at another’s address is not talked to', async () => {
  await withPair(async ({ caller, address }) => {
    caller.setAddress('n3' as NodeId, address)
    await assert.rejects(caller.call('n3' as NodeId, 'test.echo', []), {
      code: 'PEER_UNREACHABLE',
      message: /here is n2, and n3 was called/,
    })
  })
})

test('a call to an unknown node, or to where nobody listens, is PEER_UNREACHABLE', async () => {
  await withPair(async ({ caller, called }) => {
    await assert.rejects(caller.call('n9' as NodeId, 'test.echo', []), { code: 'PEER_UNREACHABLE' })
    await called.close()
    const calls = [1, 2, 3].map(() => ask(caller, 'x'))
    for (const call of calls)
      await assert.rejects(call, { code: 'PEER_UNREACHABLE', message: /ECONNREFUSED/ })
  })
})

test('when a connection breaks its calls are rejected before anyone is told, and the next call connects again', async () => {
  await withPair(async ({ caller, called, address }) => {
    const requests = held(called, 'test.held')
    const events: string[] = []
    caller.onDisconnected((node) => events.push(`${node} gone`))
    const calls = [1, 2].map((number) =>
      ask(caller, `${number}`, 'test.held').catch((error: NdfsError) => events.push(error.code)),
    )
    await until(() => requests.length === 2)
    await called.close()
    await Promise.all(calls)
    await until(() => events.length === 3)
    assert.deepEqual(new Set(events), new Set(['PEER_UNREACHABLE', 'n2 gone']))

    const again = peersOf(n2)
    again.handle('test.echo', 'terminal', ({ body }) => [body])
    await again.listen(address)
    assert.equal(await ask(caller, 'back'), 'back')
    await again.close()
  })
})

test('calls to an address that changed are rejected, and later ones go to the new one', async () => {
  await withPair(async ({ caller, called }) => {
    const requests = held(called, 'test.held')
    const call = ask(caller, 'x', 'test.held')
    await until(() => requests.length === 1)
    const moved = peersOf(n2)
    moved.handle('test.held', 'terminal', () => [Buffer.from('moved')])
    const rejected = assert.rejects(call, { code: 'PEER_UNREACHABLE', message: /its address changed/ })
    caller.setAddress(n2, await moved.listen('127.0.0.1:0'))
    await rejected
    assert.equal(await ask(caller, 'x', 'test.held'), 'moved')
    caller.setAddress(n2, undefined)
    await assert.rejects(ask(caller, 'x', 'test.held'), { code: 'PEER_UNREACHABLE' })
    await moved.close()
  })
})

test('a full lane holds its own calls back in order, and stops neither the other lane nor another peer', async () => {
  await withPair(
    async ({ caller, called }) => {
      const requests = held(called, 'test.held')
      called.handle('test.echo', 'forward', ({ body }) => [body])
      const body = Buffer.alloc(400_000, 'b')
      const calls = [0, 1, 2, 3, 4].map((number) => {
        body.writeUInt8(48 + number, 0)
        return ask(caller, String(body), 'test.held')
      })
      const small = ask(caller, 'small', 'test.held')
      await assert.rejects(ask(caller, 'one too many', 'test.held'), {
        code: 'UNAVAILABLE',
        message: /Nothing was sent/,
      })
      await until(() => requests.length === 2)
      assert.equal(caller.backlogBytes(n2, 'terminal'), 3 * 400_000 + 5)
      assert.equal(await ask(caller, 'through', 'test.echo', { lane: 'forward' }), 'through')
      assert.equal(requests.length, 2)
      for (let answered = 0; answered < 6; answered++) {
        await until(() => requests.length > answered)
        requests[answered].answer()
      }
      await Promise.all([...calls, small])
      assert.equal(requests.map(({ text }) => text[0]).join(''), '01234s')
      assert.equal(caller.backlogBytes(n2, 'terminal'), 0)
    },
    { caller: { limits: { inFlightBytesMax: 1_000_000, waitingMax: 6 } } },
  )
})

test('a node reads no more requests than it may handle at once, and goes on when some are answered', async () => {
  await withPair(
    async ({ caller, called }) => {
      const requests = held(called, 'test.held')
      const body = 'x'.repeat(200_000)
      const calls = Array.from({ length: 40 }, () => ask(caller, body, 'test.held'))
      await until(() => requests.length >= 5)
      await sleep(30)
      assert.ok(requests.length < 10, `${requests.length} requests were taken`)
      for (let answered = 0; answered < 40; answered++) {
        await until(() => requests.length > answered)
        requests[answered].answer()
      }
      await Promise.all(calls)
    },
    { called: { limits: { handledBytesMax: MiB } } },
  )
})

test('a caller that does not read its answers is not read either', async () => {
  await withPair(async ({ called, address }) => {
    let handled = 0
    called.handle('test.big', 'terminal', () => {
      handled++
      return [Buffer.alloc(MiB)]
    })
    const { socket, writer } = await provenByHand(address)
    socket.pause()
    writer.add(frameTypes.name, 0, 1, [Buffer.from('test.big')])
    socket.write(Buffer.concat(writer.take()))
    for (let request = 0; request < 200; request++) {
      writer.add(frameTypes.request, request, 1, [Buffer.alloc(1000)])
      socket.write(Buffer.concat(writer.take()))
      await sleep(1)
    }
    await sleep(50)
    assert.ok(handled < 100, `${handled} requests were taken`)
    socket.resume()
    await until(() => handled === 200)
    socket.destroy()
  })
})

test('a call that gets no answer times out, its late answer is ignored, and the connection stands while it is heard of', async () => {
  await withPair(async ({ caller, called }) => {
    const requests = held(called, 'test.held')
    called.handle('test.echo', 'terminal', ({ body }) => [body])
    let disconnected = 0
    caller.onDisconnected(() => disconnected++)
    await ask(caller, 'x')
    const late = ask(caller, 'late', 'test.held', { timeoutMs: 1000 })
    await until(() => requests.length === 1)
    await ask(caller, 'x')
    await assert.rejects(late, { code: 'TIMED_OUT', message: /outcome is unknown/ })
    requests[0].answer()
    assert.equal(await ask(caller, 'still here'), 'still here')
    assert.equal(disconnected, 0)
  })
})

test('a connection on which nothing is heard for as long as a call may take is given up', async () => {
  await withPair(async ({ caller, called }) => {
    const requests = held(called, 'test.held')
    called.handle('test.echo', 'terminal', ({ body }) => [body])
    await ask(caller, 'x')
    const gone = new Promise<NodeId>((resolve) => caller.onDisconnected(resolve))
    const other = ask(caller, 'patient', 'test.held')
    const impatient = ask(caller, 'impatient', 'test.held', { timeoutMs: 300 })
    await assert.rejects(impatient, { code: 'TIMED_OUT' })
    await assert.rejects(other, { code: 'PEER_UNREACHABLE' })
    assert.equal(await gone, n2)
    assert.equal(requests.length, 2)
    assert.equal(await ask(caller, 'on a new connection'), 'on a new connection')
  })
})

test('a host that takes connections and says nothing is given up', async () => {
  const silent = createServer()
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  await withPair(
    async ({ caller }) => {
      caller.setAddress(n2, `127.0.0.1:${(silent.address() as AddressInfo).port}`)
      await assert.rejects(ask(caller, 'x'), {
        code: 'PEER_UNREACHABLE',
        message: /did not prove who it is in time/,
      })
    },
    { caller: { limits: { handshakeMs: 50 } } },
  )
  silent.close()
})

test('strangers are bounded in time and number, and don’t keep a peer out', async () => {
  await withPair(
    async ({ caller, called, address }) => {
      called.handle('test.echo', 'terminal', ({ body }) => [body])
      const port = Number(address.split(':')[1])
      let closed = 0
      for (let stranger = 0; stranger < 20; stranger++) {
        const socket = connect(port, '127.0.0.1')
        socket.on('error', () => undefined)
        socket.on('close', () => closed++)
        socket.resume()
      }
      await until(() => closed >= 16)
      assert.equal(await ask(caller, 'x'), 'x')
      await until(() => closed === 20)
    },
    { called: { limits: { strangersMax: 4, handshakeMs: 1000 } } },
  )
})

test('garbage closes its connection and disturbs nobody, before and after the proof', async () => {
  await withPair(async ({ caller, called, address }) => {
    called.handle('test.echo', 'terminal', ({ body }) => [body])
    await ask(caller, 'x')
    const seed = Date.now() % 1e6
    console.log(`seed ${seed}`)
    let state = seed
    const below = (bound: number): number => (state = (state * 48271) % 2147483647) % bound
    const writer = new FrameWriter('terminal')
    const frame = (
      type: (typeof frameTypes)[keyof typeof frameTypes],
      kind: number,
      body: Buffer,
    ): Buffer => {
      writer.add(type, 1, kind, [body])
      return Buffer.concat(writer.take())
    }
    const flipped = frame(frameTypes.request, 1, Buffer.alloc(100))
    flipped[50] ^= 1
    for (const garbage of [
      Buffer.from('GET / HTTP/1.1\r\nHost: n2\r\n\r\n'),
      Buffer.alloc(3000, 0),
      Buffer.from(Array.from({ length: 500 }, () => below(256))),
      flipped,
      frame(frameTypes.request, 77, Buffer.alloc(1)),
      frame(frameTypes.answer, 0, Buffer.alloc(1)),
      frame(frameTypes.hello, 0, Buffer.alloc(1)),
      frame(frameTypes.name, 2000, Buffer.from('test.echo')),
      frame(frameTypes.name, 1, Buffer.alloc(65, 'x')),
      Buffer.concat([
        frame(frameTypes.name, 1, Buffer.from('a')),
        frame(frameTypes.name, 1, Buffer.from('b')),
      ]),
    ]) {
      const stranger = connect(Number(address.split(':')[1]), '127.0.0.1')
      stranger.on('error', () => undefined)
      stranger.resume()
      stranger.write(garbage)
      await new Promise((resolve) => stranger.once('close', resolve))
      const { socket } = await provenByHand(address)
      socket.resume()
      socket.write(garbage)
      await new Promise((resolve) => socket.once('close', resolve))
    }
    assert.equal(await ask(caller, 'undisturbed'), 'undisturbed')
  })
})

test('a body over the limit is refused before it is read, and a stranger’s limit is lower', async () => {
  await withPair(async ({ called, address }) => {
    called.handle('test.echo', 'terminal', ({ body }) => [body])
    const header = (length: number): Buffer => {
      const writer = new FrameWriter('terminal')
      writer.add(frameTypes.hello, 0, 0, [])
      const bytes = Buffer.concat(writer.take())
      bytes.writeUInt32LE(length, 12)
      return bytes
    }
    const stranger = connect(Number(address.split(':')[1]), '127.0.0.1')
    stranger.on('error', () => undefined)
    stranger.resume()
    stranger.write(header(5000))
    await new Promise((resolve) => stranger.once('close', resolve))
    const { socket } = await provenByHand(address)
    socket.resume()
    socket.write(header(bodyBytesMax + 1))
    await new Promise((resolve) => socket.once('close', resolve))
  })
})

test('a caller that connects again has its older connection closed, so that nothing of it starts late', async () => {
  await withPair(async ({ called, address }) => {
    called.handle('test.echo', 'terminal', ({ body }) => [body])
    const first = await provenByHand(address)
    first.socket.resume()
    const closed = new Promise((resolve) => first.socket.once('close', resolve))
    const second = await provenByHand(address)
    await closed
    assert.equal(second.socket.destroyed, false)
    second.socket.destroy()
  })
})

test('after close, calls are UNAVAILABLE and those under way are rejected', async () => {
  await withPair(async ({ caller, called }) => {
    const requests = held(called, 'test.held')
    const call = ask(caller, 'x', 'test.held')
    await until(() => requests.length === 1)
    const rejected = assert.rejects(call, { code: 'PEER_UNREACHABLE' })
    await caller.close()
    await rejected
    await assert.rejects(ask(caller, 'x', 'test.held'), { code: 'UNAVAILABLE' })
  })
})

test('a handler that throws what is no NdfsError stops the process', async () => {
  const url = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href)
  const program = `
    const { nodePlatform } = await import(${url('../platform/node-platform.ts')})
    const { createPeers } = await import(${url('./peer-network.ts')})
    const platform = nodePlatform({ level: 'error' })
    const peers = createPeers({ platform, node: 'n1', incarnation: 'i', clusterId: 'c', key: Buffer.alloc(32) })
    peers.handle('test.bug', 'terminal', async () => { throw new TypeError('a bug in a handler') })
    peers.call('n1', 'test.bug', []).catch(() => {})
    setInterval(() => {}, 1000)`
  const ended = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program])
  await assert.rejects(ended, (error: Error & { code: number; stdout: string; stderr: string }) => {
    assert.equal(error.code, 1)
    assert.match(error.stderr, /a bug in a handler/)
    assert.match(error.stdout, /test\.bug/)
    return true
  })
})

/** A connection on which the handshake was done without PeerNetwork: for what a sound peer never sends. */
async function provenByHand(address: string): Promise<{ socket: Socket; writer: FrameWriter }> {
  const socket = connect(Number(address.split(':')[1]), '127.0.0.1')
  socket.on('error', () => undefined)
  const self = {
    cluster: 'c-1',
    node: 'n7' as NodeId,
    incarnation: incarnationOf('n7' as NodeId),
    key,
    versions: protocolVersions,
  }
  const handshake = new CallerHandshake(self, n2, 'terminal', platform.chance.bytes(nonceBytes))
  const writer = new FrameWriter('terminal')
  const send = (
    messages: readonly { type: (typeof frameTypes)[keyof typeof frameTypes]; body: Buffer }[],
  ): void => {
    for (const { type, body } of messages) writer.add(type, 0, 0, [body])
    socket.write(Buffer.concat(writer.take()))
  }
  const proven = new Promise<void>((resolve) => {
    const reader = new FrameReader(bodyBytesMax, (type, _request, _kind, body) => {
      if (type > frameTypes.refused) return
      const step = handshake.receive({ type, body })
      if (step.send.length > 0) send(step.send)
      if (step.state === 'proven') resolve()
    })
    socket.on('data', (bytes: Buffer) => reader.push(bytes))
  })
  send([handshake.begin()])
  await proven
  return { socket, writer }
}
