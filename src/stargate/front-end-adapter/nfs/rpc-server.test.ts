import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { NdfsError } from '../../../base/errors.ts'
import { KiB, MiB, pageBytes } from '../../../base/units.ts'
import { dice } from '../../../base/dice-for-tests.ts'
import { fuzzPlatform, FuzzSocket } from '../../../platform/fuzz-platform-for-tests.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import type { Socket } from '../../../platform/platform.ts'
import { createExtentCache } from '../../extent-cache/page-cache.ts'
import {
  callRecord,
  mount,
  nfs,
  place,
  range,
  readBytes,
  startNfs,
  timeoutMs,
  writing,
} from './nfs-fixture-for-tests.ts'
import { RecordReader } from './record-reader.ts'
import { nothing, nullProcedure, procedure, type Caller } from './rpc-program.ts'
import { createRpcServer } from './rpc-server.ts'
import { decodeReply } from './rpc.ts'
import { XdrReader } from './xdr.ts'

const platform = nodePlatform({ level: 'silent' })

/** Waits until something is so; a test that waits in vain is ended by the runner. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await platform.clock.sleep(1)
}

/** An event that a test brings about. */
function gate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}

/** What comes over a socket, reply by reply. */
function listen(socket: Socket) {
  const input = new RecordReader()
  const heard: { xid: number; results: XdrReader }[] = []
  const state = { ended: false }
  const read = (): void => {
    for (let record = input.next(); record !== undefined; record = input.next()) {
      const results = new XdrReader(record)
      heard.push({ xid: decodeReply(results).xid, results })
    }
  }
  socket.onData = (bytes) => {
    input.push(bytes)
    read()
  }
  socket.onClose = () => (state.ended = true)
  return { heard, state, xids: () => heard.map(({ xid }) => xid) }
}

async function rawClient(t: TestContext, options = {}) {
  const fixture = await startNfs(t, platform, options)
  const socket = await fixture.socket()
  const file = fixture.tree.root.entries?.get('data')
  assert.ok(file)
  return { ...fixture, client: { socket, ...listen(socket) }, handle: fixture.tree.handleOf(file) }
}

test('a client mounts, looks up, writes and reads', async (t) => {
  const { tree, server, connect } = await startNfs(t, platform)
  const client = await connect()
  const mounted = await client.call({ ...mount, procedure: 1 }, (writer) => writer.text('/vms'), timeoutMs)
  assert.equal(mounted.uint32(), 0)
  const root = mounted.opaque(64)
  assert.deepEqual(root, tree.handleOf(tree.root))
  const found = await client.call(nfs('lookup'), place(root, 'data'), timeoutMs)
  assert.equal(found.uint32(), 0)
  const handle = found.opaque(64)
  const data = Buffer.alloc(1 * MiB, 'a long line')
  assert.equal((await client.call(nfs('write'), writing(handle, 777, data), timeoutMs)).uint32(), 0)
  assert.ok(tree.root.entries?.get('data')?.bytes?.subarray(777).equals(data))
  const read = readBytes(await client.call(nfs('read'), range(handle, 777, 1 * MiB), timeoutMs))
  assert.ok(read.equals(data))
  const { calls, refused, heldBytes, callsByProcedure, receivedBytes, sentBytes } = server.statistics()
  assert.deepEqual([calls, refused, heldBytes], [4, 0, 0])
  assert.ok(receivedBytes > 1 * MiB && sentBytes > 1 * MiB)
  const named = Object.entries(callsByProcedure).filter(([, count]) => count > 0)
  assert.deepEqual(named.map(([name]) => name).sort(), [
    'MOUNT3.MNT',
    'NFS3.LOOKUP',
    'NFS3.READ',
    'NFS3.WRITE',
  ])
})

test('calls that make no sense are refused, and the connection stands', async (t) => {
  const { server, connect } = await startNfs(t, platform)
  const client = await connect()
  const refusal = async (program: number, version: number, number: number): Promise<unknown> => {
    const called = client.call({ program, version, procedure: number }, () => {}, timeoutMs)
    const error = await called.then(
      () => assert.fail('it was done'),
      (each: unknown) => each,
    )
    assert.ok(error instanceof NdfsError && error.code === 'REFUSED')
    return error.facts.refusal
  }
  assert.deepEqual(await refusal(200_000, 1, 0), { status: 'PROG_UNAVAIL' })
  assert.deepEqual(await refusal(100003, 4, 0), { status: 'PROG_MISMATCH', low: 3, high: 3 })
  assert.deepEqual(await refusal(100003, 3, 22), { status: 'PROC_UNAVAIL' })
  assert.deepEqual(await refusal(100003, 3, 1), { status: 'GARBAGE_ARGS' })
  await client.call(nfs('null'), () => {}, timeoutMs)
  assert.equal(server.statistics().refused, 4)
})

test('a call may arrive one byte at a time', async (t) => {
  const { client } = await rawClient(t)
  for (const byte of Buffer.concat([callRecord(1, nfs('null')), callRecord(2, nfs('null'))])) {
    client.socket.write([Buffer.of(byte)])
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until(() => client.heard.length === 2)
  assert.deepEqual(client.xids(), [1, 2])
})

test('answers come in the order in which they are ready', async (t) => {
  const { client, tree, handle } = await rawClient(t)
  const { opened, open } = gate()
  tree.before = (name) => (name === 'read' ? opened : undefined)
  client.socket.write([callRecord(1, nfs('read'), range(handle, 0, 10)), callRecord(2, nfs('null'))])
  await until(() => client.heard.length === 1)
  open()
  await until(() => client.heard.length === 2)
  assert.deepEqual(client.xids(), [2, 1])
})

test('answers that are ready in one turn leave in one write', async () => {
  const { platform: fuzz, clock, connect } = fuzzPlatform()
  const { promise, resolve } = Promise.withResolvers<void>()
  const late = procedure<undefined, void>({
    name: 'LATE',
    decode: nothing,
    serve: () => promise,
    encode: nothing,
  })
  const program = { name: 'X', number: 7, versions: new Map([[1, [nullProcedure, late]]]) }
  const server = createRpcServer({ platform: fuzz, programs: [program] })
  await server.listen('fuzz')
  const socket = new FuzzSocket(dice(1))
  const writes: number[] = []
  socket.onWrite = (buffers) => writes.push(buffers.length)
  connect(socket)
  const target = { program: 7, version: 1 }
  const calls = [0, 0, 1, 1, 1, 0].map((number, xid) => callRecord(xid, { ...target, procedure: number }))
  socket.onData(Buffer.concat(calls))
  assert.deepEqual(writes, [3])
  resolve()
  await clock.settle()
  assert.deepEqual(writes, [3, 3])
})

test('what is no call, or no record, ends the connection and nothing else', async (t) => {
  const { server, socket, connect } = await startNfs(t, platform)
  const standing = await connect()
  for (const bytes of [
    '80000008 00000001 00000001',
    '80000000',
    'ffffffff',
    '7fffffff',
    '80000004 00000001',
  ]) {
    const broken = await socket()
    const { state } = listen(broken)
    broken.write([Buffer.from(bytes.replaceAll(' ', ''), 'hex')])
    await until(() => state.ended)
  }
  assert.equal(server.statistics().garbled, 5)
  await standing.call(nfs('null'), () => {}, timeoutMs)
  await until(() => server.statistics().connections === 1)
})

test('calls under way are bounded; reading goes on when there is room', async (t) => {
  const { client, server, tree, handle } = await rawClient(t, { limits: { callsMax: 3 } })
  const gates: ReturnType<typeof gate>[] = []
  tree.before = () => {
    gates.push(gate())
    return gates.at(-1)?.opened
  }
  const calls = Array.from({ length: 10 }, (_, xid) => callRecord(xid, nfs('read'), range(handle, 0, 10)))
  client.socket.write(calls)
  await until(() => gates.length === 3)
  await platform.clock.sleep(20)
  assert.equal(gates.length, 3)
  for (let answered = 1; answered <= 10; answered += 1) {
    gates[answered - 1].open()
    await until(() => client.heard.length === answered)
    await until(() => gates.length === Math.min(10, answered + 3))
  }
  assert.equal(server.statistics().heldBytes, 0)
})

test('a client that takes no answers is held up, and does not hold up others', async (t) => {
  const limits = { connectionBytesMax: 2 * MiB, ownBytes: 256 * KiB, stallMs: 60_000 }
  const { client, server, connect, handle } = await rawClient(t, { limits })
  client.socket.pause()
  const calls = Array.from({ length: 200 }, (_, xid) =>
    callRecord(xid, nfs('read'), range(handle, 0, 300 * KiB)),
  )
  client.socket.write(calls)
  let last = -1
  await until(() => {
    const { calls: done } = server.statistics()
    const isSame = done === last && done > 5
    last = done
    return isSame
  })
  await platform.clock.sleep(50)
  assert.ok(server.statistics().heldBytes <= 2 * MiB + 1 * KiB)
  assert.ok(server.statistics().calls < 100)
  const other = await connect()
  await other.call(nfs('null'), () => {}, timeoutMs)
  client.socket.resume()
  await until(() => client.heard.length === 200)
  await until(() => server.statistics().heldBytes === 0)
})

test('what all connections hold is bounded; beyond that each has a little of its own, and one call of any size', async (t) => {
  const limits = { connectionBytesMax: 10 * MiB, bytesMax: 910 * KiB, ownBytes: 64 * KiB }
  const { client, server, tree, socket, handle } = await rawClient(t, { limits })
  const { opened, open } = gate()
  tree.before = () => opened
  const underWay = (): number => server.statistics().callsByProcedure['NFS3.READ'] ?? 0
  const reads = (count: number, bytes: number): Buffer[] =>
    Array.from({ length: count }, (_, xid) => callRecord(xid, nfs('read'), range(handle, 0, bytes)))
  // Each holds what it may be answered. One more than can be begun is looked at.
  client.socket.write(reads(10, 300 * KiB))
  await until(() => underWay() === 4)
  const small = await socket()
  const toSmall = listen(small)
  small.write(reads(10, 20 * KiB))
  await until(() => underWay() === 4 + 4)
  const large = await socket()
  const toLarge = listen(large)
  large.write(reads(10, 300 * KiB))
  await until(() => underWay() === 4 + 4 + 2)
  await platform.clock.sleep(20)
  assert.equal(underWay(), 10)
  assert.ok(server.statistics().heldBytes < (3 * 300 + 3 * 20 + 300 + 5) * KiB)
  open()
  await until(() => [client, toSmall, toLarge].every(({ heard }) => heard.length === 10))
  await until(() => server.statistics().heldBytes === 0)
})

test('a client that takes no answers for long is closed', async (t) => {
  const limits = { connectionBytesMax: 16 * MiB, stallMs: 30 }
  const { client, server, handle } = await rawClient(t, { limits })
  client.socket.pause()
  const calls = Array.from({ length: 200 }, (_, xid) =>
    callRecord(xid, nfs('read'), range(handle, 0, 300 * KiB)),
  )
  client.socket.write(calls)
  await until(() => server.statistics().connections === 0)
  assert.deepEqual([server.statistics().stalled, server.statistics().heldBytes], [1, 0])
})

test('connections are bounded; those that stand go on', async (t) => {
  const { server, socket, connect } = await startNfs(t, platform, { limits: { connectionsMax: 2 } })
  const [first, second] = [await connect(), await connect()]
  await until(() => server.statistics().connections === 2)
  const { state } = listen(await socket())
  await until(() => state.ended)
  assert.equal(server.statistics().turnedAway, 1)
  await first.call(nfs('null'), () => {}, timeoutMs)
  second.close()
  await until(() => server.statistics().connections === 1)
  await (await connect()).call(nfs('null'), () => {}, timeoutMs)
})

const statusOf = (results: XdrReader | undefined): number | undefined => results?.uint32()

test('a call that comes again over another connection is not done again', async (t) => {
  const { client, server, tree, socket } = await rawClient(t)
  const remove = callRecord(9, nfs('remove'), place(tree.handleOf(tree.root), 'data'))
  client.socket.write([remove])
  await until(() => client.heard.length === 1)
  client.socket.destroy()
  const again = await socket()
  const { heard } = listen(again)
  again.write([remove])
  again.write([callRecord(10, nfs('remove'), place(tree.handleOf(tree.root), 'data'))])
  await until(() => heard.length === 2)
  assert.equal(statusOf(client.heard[0].results), 0)
  assert.deepEqual(
    heard.map(({ xid, results }) => [xid, statusOf(results)]),
    [
      [9, 0],
      [10, 2],
    ],
  )
  assert.deepEqual([server.statistics().repeated, server.statistics().keptAnswers], [1, 2])
})

test('a call that comes again while it is under way is answered where it came last', async (t) => {
  const { client, server, tree, socket } = await rawClient(t)
  const { opened, open } = gate()
  tree.before = () => opened
  const remove = callRecord(9, nfs('remove'), place(tree.handleOf(tree.root), 'data'))
  client.socket.write([remove])
  await until(() => server.statistics().calls === 1)
  client.socket.destroy()
  const again = await socket()
  const { heard } = listen(again)
  again.write([remove])
  await until(() => server.statistics().repeated === 1)
  open()
  await until(() => heard.length === 1)
  assert.deepEqual([heard[0].xid, statusOf(heard[0].results)], [9, 0])
  await until(() => server.statistics().connections === 1)
  assert.equal(server.statistics().heldBytes, 0)
})

test('what fails without a word of the protocol is a SYSTEM_ERR, and may be tried again', async (t) => {
  const { server, tree, connect } = await startNfs(t, platform)
  const client = await connect()
  tree.before = () => Promise.reject(new NdfsError('UNAVAILABLE', 'Cannot: a test'))
  const remove = place(tree.handleOf(tree.root), 'data')
  await assert.rejects(client.call(nfs('remove'), remove, timeoutMs), /SYSTEM_ERR/)
  assert.deepEqual([server.statistics().failed, server.statistics().keptAnswers], [1, 0])
  tree.before = () => undefined
  assert.equal((await client.call(nfs('remove'), remove, timeoutMs)).uint32(), 0)
})

test('any other exception of a procedure is a bug, and is thrown on', async () => {
  const { platform: fuzz, connect } = fuzzPlatform()
  const serve = (): never => {
    throw new TypeError('a bug')
  }
  const broken = procedure<undefined, void>({ name: 'BUG', decode: nothing, serve, encode: nothing })
  const program = { name: 'X', number: 7, versions: new Map([[1, [broken]]]) }
  const server = createRpcServer({ platform: fuzz, programs: [program] })
  await server.listen('fuzz')
  const socket = new FuzzSocket(dice(1))
  connect(socket)
  const call = callRecord(1, { program: 7, version: 1, procedure: 0 })
  assert.throws(() => socket.onData(call), /a bug/)
})

test('a procedure knows who calls', async (t) => {
  const callers: Caller[] = []
  const who = procedure<undefined, void>({
    name: 'WHO',
    decode: nothing,
    serve: (_, caller) => void callers.push(caller),
    encode: nothing,
  })
  const programs = [{ name: 'X', number: 7, versions: new Map([[1, [who]]]) }]
  const { connect } = await startNfs(t, platform, { programs })
  const credentials = { flavour: 'sys', machine: 'esx1', uid: 1, gid: 2, gids: [3, 4] } as const
  const client = await connect(credentials)
  await client.call({ program: 7, version: 1, procedure: 0 }, () => {}, timeoutMs)
  assert.equal(callers[0].host, '127.0.0.1')
  assert.ok(callers[0].port > 0)
  assert.deepEqual(callers[0].credentials, credentials)
})

test('a server that closes answers what is under way', async (t) => {
  const { client, server, tree, handle } = await rawClient(t)
  const { opened, open } = gate()
  tree.before = () => opened
  client.socket.write([callRecord(1, nfs('read'), range(handle, 0, 10))])
  await until(() => server.statistics().calls === 1)
  const closed = server.close()
  client.socket.write([callRecord(2, nfs('null'))])
  await platform.clock.sleep(20)
  open()
  await until(() => client.state.ended)
  await closed
  assert.deepEqual(client.xids(), [1])
  assert.equal(server.statistics().connections, 0)
})

test('what the cache lends reaches a client that waits as it was, whatever is read meanwhile, and is given back', async (t) => {
  const cache = createExtentCache({ limitBytes: 64 * MiB })
  const fill = (group: number, byte: number): void =>
    cache.put(group, 0, Buffer.alloc(MiB, byte), 0, MiB / pageBytes)
  const lending = procedure<number, readonly Buffer[]>({
    name: 'LEND',
    decode: (reader) => reader.uint32(),
    serve: (group) => {
      const view = cache.lend(group, 0, 0, MiB)
      assert.ok(view)
      return [view]
    },
    encode: (writer, views) => writer.pieces(views),
  })
  const program = { name: 'LENDING', number: 400_000, versions: new Map([[1, [nullProcedure, lending]]]) }
  const target = { program: 400_000, version: 1, procedure: 1 }
  const { client, server, socket } = await rawClient(t, { programs: [program] })
  const answers = 16
  for (let group = 1; group <= answers; group++) fill(group, group)
  const calls = (): Buffer[] =>
    Array.from({ length: answers }, (_, index) =>
      callRecord(index + 1, target, (writer) => writer.uint32(index + 1)),
    )
  client.socket.pause()
  client.socket.write(calls())
  await until(() => server.statistics().calls === answers)
  assert.ok(cache.statistics().lentBytes > 0)
  for (let group = 100; group < 228; group++) fill(group, 0xee)
  client.socket.resume()
  await until(() => client.heard.length === answers)
  for (const { xid, results } of client.heard)
    assert.ok(results.opaque(MiB).equals(Buffer.alloc(MiB, xid)), `answer ${xid} has others' bytes`)
  await until(() => cache.statistics().lentBytes === 0)

  // A client that goes away while answers wait for it leaves nothing lent.
  for (let group = 1; group <= answers; group++) fill(group, group)
  const gone = await socket()
  gone.pause()
  gone.write(calls())
  await until(() => server.statistics().calls === 2 * answers)
  assert.ok(cache.statistics().lentBytes > 0)
  gone.destroy()
  await until(() => cache.statistics().lentBytes === 0)
})
