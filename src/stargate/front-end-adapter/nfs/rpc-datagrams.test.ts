import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { dice } from '../../../base/dice-for-tests.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import type { DatagramSocket } from '../../../platform/platform.ts'
import { callRecord, mount, nfs, startNfs } from './nfs-fixture-for-tests.ts'
import { recordMarkBytes } from './record-reader.ts'
import type { RpcLimits } from './rpc-limits.ts'
import { nothing, nullProcedure, procedure, type Procedure } from './rpc-program.ts'
import { createRpcServer } from './rpc-server.ts'
import { decodeReply, type RpcReply } from './rpc.ts'
import { XdrReader, type XdrWriter } from './xdr.ts'

const platform = nodePlatform({ level: 'silent' })
const number = 7

interface Heard extends RpcReply {
  readonly bytes: number
  readonly results: XdrReader
}

/** A client that hears what comes, and the server of one program whose procedures the test gives. */
async function start(t: TestContext, procedures: readonly Procedure[], limits: Partial<RpcLimits> = {}) {
  const server = createRpcServer({
    platform,
    programs: [
      { name: 'X', number, versions: new Map([[1, [nullProcedure, ...procedures]]]) },
      { name: 'Y', number: number + 1, versions: new Map([[1, [nullProcedure]]]) },
    ],
    datagramPrograms: new Set([number]),
    limits,
  })
  const address = await server.bind('127.0.0.1:0')
  const heard: Heard[] = []
  const client: DatagramSocket = await platform.sockets.bind('127.0.0.1:0', (bytes) => {
    const results = new XdrReader([bytes])
    heard.push({ ...decodeReply(results), bytes: bytes.length, results })
  })
  t.after(() => Promise.all([server.close(), client.close()]))
  const send = (bytes: Buffer): void => client.send(bytes, address)
  const call = (xid: number, procedure: number, encode?: (writer: XdrWriter) => void, program = number) =>
    send(message(xid, { program, version: 1, procedure }, encode))
  return { server, heard, send, call }
}

const message = (...args: Parameters<typeof callRecord>): Buffer =>
  callRecord(...args).subarray(recordMarkBytes)

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries += 1) {
    assert.ok(tries < 500, 'it does not come about')
    await platform.clock.sleep(5)
  }
}

test('a call in a datagram is answered by one', async (t) => {
  const double = procedure<number, number>({
    name: 'DOUBLE',
    decode: (reader) => reader.uint32(),
    serve: (args, { host, port }) => {
      assert.equal(host, '127.0.0.1')
      assert.ok(port > 0)
      return 2 * args
    },
    encode: (writer, result) => writer.uint32(result),
  })
  const { server, heard, call } = await start(t, [double])
  call(1, 1, (writer) => writer.uint32(21))
  await until(() => heard.length === 1)
  assert.equal(heard[0].xid, 1)
  assert.equal(heard[0].results.uint32(), 42)
  assert.equal(heard[0].results.left, 0)
  assert.equal(server.statistics().callsByProcedure['X1.DOUBLE'], 1)
})

test('what is not served by datagrams, or makes no sense, is refused in the words of RPC', async (t) => {
  const one = procedure<number, void>({
    name: 'ONE',
    decode: (reader) => reader.uint32(),
    serve: nothing,
    encode: nothing,
  })
  const { server, heard, call } = await start(t, [one])
  call(1, 0, undefined, number + 1)
  call(2, 9)
  call(3, 1)
  await until(() => heard.length === 3)
  const refusals = Object.fromEntries(heard.map(({ xid, refusal }) => [xid, refusal?.status]))
  assert.deepEqual(refusals, { 1: 'PROG_UNAVAIL', 2: 'PROC_UNAVAIL', 3: 'GARBAGE_ARGS' })
  assert.equal(server.statistics().refused, 3)
})

test('what is no call has no answer, and what follows is served', async (t) => {
  const { server, heard, send, call } = await start(t, [], { datagramBytesMax: 2048 })
  const seed = Math.floor(Math.random() * 2 ** 32)
  t.diagnostic(`seed ${seed}`)
  const roll = dice(seed)
  const noCalls = [
    Buffer.alloc(0),
    Buffer.of(1),
    Buffer.alloc(60_000),
    // A reply, and a call that is cut off.
    Buffer.from('00000001000000010000000000000000', 'hex'),
    message(1, { program: number, version: 1, procedure: 0 }).subarray(0, 18),
    Buffer.concat([message(1, { program: number, version: 1, procedure: 0 }), Buffer.alloc(2048)]),
  ]
  for (const bytes of noCalls) send(bytes)
  for (let count = 0; count < 200; count += 1)
    send(Buffer.from(Array.from({ length: roll(120) }, (_, at) => (at > 3 && at < 8 ? 1 : roll(256)))))
  await until(() => server.statistics().dropped >= noCalls.length)
  await platform.clock.sleep(50)
  assert.deepEqual(heard, [])
  assert.equal(server.statistics().calls, 0)
  call(5, 0)
  await until(() => heard.length === 1)
})

test('calls under way are bounded: a flood is dropped, and whoever asks again later is served', async (t) => {
  const gates: (() => void)[] = []
  const slow = procedure<undefined, void>({
    name: 'SLOW',
    decode: nothing,
    serve: () => new Promise<void>((resolve) => gates.push(resolve)),
    encode: nothing,
  })
  const { server, heard, call } = await start(t, [slow], { datagramCallsMax: 4 })
  for (let xid = 1; xid <= 50; xid += 1) call(xid, 1)
  await until(() => gates.length + server.statistics().dropped === 50)
  assert.equal(gates.length, 4)
  for (const open of gates.splice(0)) open()
  await until(() => heard.length === 4)
  call(51, 1)
  await until(() => gates.length === 1)
  gates[0]()
  await until(() => heard.length === 5)
})

test('an answer is hardly longer than its call; who asks for more hears that it is not to be had', async (t) => {
  const many = procedure<number, Buffer>({
    name: 'MANY',
    decode: (reader) => reader.uint32(),
    serve: (bytes) => Buffer.alloc(bytes),
    encode: (writer, bytes) => writer.opaque(bytes),
  })
  const { heard, call } = await start(t, [many])
  call(1, 1, (writer) => writer.uint32(200))
  call(2, 1, (writer) => writer.uint32(4000))
  await until(() => heard.length === 2)
  heard.sort((a, b) => a.xid - b.xid)
  assert.deepEqual(
    heard.map(({ refusal }) => refusal?.status),
    [undefined, 'SYSTEM_ERR'],
  )
  assert.ok(heard.every(({ bytes }) => bytes < 44 + 256))
})

test('what must not be done twice is not: a call that comes again has the same answer, also by TCP', async (t) => {
  let done = 0
  const count = procedure<undefined, number>({
    name: 'COUNT',
    decode: nothing,
    serve: () => (done += 1),
    encode: (writer, result) => writer.uint32(result),
    once: true,
  })
  const { server, heard, call } = await start(t, [count])
  call(1, 1)
  call(1, 1)
  await until(() => heard.length === 2)
  assert.deepEqual(
    heard.map(({ results }) => results.uint32()),
    [1, 1],
  )
  const socket = await platform.sockets.connect(await server.listen('127.0.0.1:0'), 1000)
  const answered = new Promise<Buffer>((resolve) => (socket.onData = resolve))
  socket.onClose = () => {}
  socket.write([callRecord(1, { program: number, version: 1, procedure: 1 })])
  assert.equal((await answered).readUInt32BE((await answered).length - 4), 1)
  socket.destroy()
  assert.equal(done, 1)
})

test('a server that was closed sends nothing more', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const slow = procedure<undefined, void>({
    name: 'SLOW',
    decode: nothing,
    serve: () => promise,
    encode: nothing,
  })
  const { server, heard, call } = await start(t, [slow])
  call(1, 1)
  await until(() => server.statistics().calls === 1)
  await server.close()
  resolve()
  await platform.clock.sleep(20)
  assert.deepEqual(heard, [])
})

test('MOUNT is served by datagrams where it is asked for, and NFS is not', async (t) => {
  const { server } = await startNfs(t, platform, { datagramPrograms: new Set([mount.program]) })
  const address = await server.bind('127.0.0.1:0')
  const heard: RpcReply[] = []
  const client = await platform.sockets.bind('127.0.0.1:0', (bytes) =>
    heard.push(decodeReply(new XdrReader([bytes]))),
  )
  t.after(() => client.close())
  client.send(message(1, { ...mount, procedure: 0 }), address)
  client.send(message(2, nfs('null')), address)
  await until(() => heard.length === 2)
  heard.sort((a, b) => a.xid - b.xid)
  assert.deepEqual(
    heard.map(({ refusal }) => refusal?.status),
    [undefined, 'PROG_UNAVAIL'],
  )
})
