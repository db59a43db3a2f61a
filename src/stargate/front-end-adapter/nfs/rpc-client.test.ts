import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { hasCode } from '../../../base/errors.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import type { Socket } from '../../../platform/platform.ts'
import { encodeNlm4Result, encodeTestArguments, decodeNlm4Result } from './nlm4-messages.ts'
import { nlm4Procedure, nlm4ProgramNumber } from './nlm4-protocol.ts'
import { encodeRecord, RecordReader } from './record-reader.ts'
import { connectRpc } from './rpc-client.ts'
import { decodeCall, encodeSuccess } from './rpc.ts'
import { XdrReader, type XdrWriter } from './xdr.ts'

const platform = nodePlatform({ level: 'silent' })
const target = { program: nlm4ProgramNumber, version: 4, procedure: nlm4Procedure.granted }
const granted = {
  cookie: Buffer.of(1, 2, 3),
  exclusive: true,
  lock: {
    caller: 'ndfs',
    handle: Buffer.from('handle'),
    owner: Buffer.from('owner'),
    svid: 1,
    offset: 0n,
    length: 0n,
  },
}
const encode = (writer: XdrWriter): void => encodeTestArguments(writer, granted)

/** A server that does with each call what the test says. */
async function start(t: TestContext, serve: (xid: number, args: XdrReader, socket: Socket) => void) {
  const sockets: Socket[] = []
  const listener = await platform.sockets.listen('127.0.0.1:0', (socket) => {
    sockets.push(socket)
    const input = new RecordReader()
    socket.onClose = () => {}
    socket.onData = (bytes) => {
      input.push(bytes)
      for (let record = input.next(); record !== undefined; record = input.next()) {
        const reader = new XdrReader(record)
        serve(decodeCall(reader).xid, reader, socket)
      }
    }
  })
  const client = await connectRpc(platform, listener.address, 5000)
  t.after(async () => {
    client.close()
    for (const socket of sockets) socket.destroy()
    await listener.close()
  })
  return client
}

test('a call comes back with its results, whatever the order of the answers', async (t) => {
  const late: (() => void)[] = []
  const client = await start(t, (xid, args, socket) => {
    const cookie = args.opaque(10)
    const answer = encodeRecord((writer) => {
      encodeSuccess(writer, xid)
      encodeNlm4Result(writer, { cookie, status: 'GRANTED' })
    })
    late.unshift(() => socket.write(answer))
    if (late.length === 3) for (const send of late) send()
  })
  const calls = Array.from({ length: 3 }, (_, number) =>
    client.call(
      target,
      (writer) => encodeTestArguments(writer, { ...granted, cookie: Buffer.of(number) }),
      5000,
    ),
  )
  const results = (await Promise.all(calls)).map(decodeNlm4Result)
  assert.deepEqual(
    results.map(({ cookie }) => cookie[0]),
    [0, 1, 2],
  )
})

test('a call that is not answered in time fails; an answer that comes later is dropped', async (t) => {
  let answerLate = (): void => {}
  const client = await start(t, (xid, _, socket) => {
    answerLate = () => void socket.write(encodeRecord((writer) => encodeSuccess(writer, xid)))
  })
  await assert.rejects(client.call(target, encode, 20), (error) => hasCode(error, 'TIMED_OUT'))
  answerLate()
  const second = client.call(target, encode, 5000)
  await platform.clock.sleep(20)
  answerLate()
  await second
})

test('calls under way fail where the connection breaks or talks nonsense, and later ones at once', async (t) => {
  for (const end of [
    (socket: Socket) => socket.destroy(),
    (socket: Socket) => void socket.write([Buffer.from('ffffffff', 'hex')]),
    (socket: Socket) => void socket.write([Buffer.from('80000008'.padEnd(24, '0'), 'hex')]),
  ]) {
    const client = await start(t, (_, __, socket) => end(socket))
    const unreachable = (error: unknown): boolean => hasCode(error, 'PEER_UNREACHABLE')
    await assert.rejects(client.call(target, encode, 5000), unreachable)
    await assert.rejects(client.call(target, encode, 5000), unreachable)
  }
})

test('where nobody listens there is no connection', async () => {
  const listener = await platform.sockets.listen('127.0.0.1:0', () => {})
  await listener.close()
  await assert.rejects(connectRpc(platform, listener.address, 1000), (error) =>
    hasCode(error, 'PEER_UNREACHABLE'),
  )
})
