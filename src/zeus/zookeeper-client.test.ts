/** What a client does with servers that behave in ways that real ones can't be made to: a script in place of ZooKeeper. */
import assert from 'node:assert/strict'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { test } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { hasTrouble, ZooKeeperClient } from './zookeeper-client.ts'
import { until } from './zeus-contract-suite.ts'

const { clock } = nodePlatform({ level: 'silent' })

const framed = (...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  return Buffer.concat([int(body.length), body])
}
function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}
/** Protocol 0, a timeout of 1500 ms, session 7, a password of 16 bytes. */
const welcome = framed(int(0), int(1500), Buffer.from('0000000000000007', 'hex'), int(16), Buffer.alloc(16))
const answerTo = (request: Buffer, error = 0): Buffer =>
  framed(request.subarray(4, 8), Buffer.alloc(8), int(error))

/** `serve` is given each connection with its number, from 1. */
async function withServer(
  serve: (socket: Socket, connection: number) => void,
  body: (client: ZooKeeperClient, sockets: readonly Socket[]) => Promise<void>,
): Promise<void> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    serve(socket, sockets.push(socket))
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const nothing = (): void => {}
  const client = new ZooKeeperClient({
    library: await import('node-zookeeper-client'),
    clock,
    servers: [`127.0.0.1:${(server.address() as AddressInfo).port}`],
    sessionTimeoutMs: 1500,
    ...{ onConnected: nothing, onDisconnected: nothing, onExpired: nothing, onChanged: nothing },
  })
  try {
    await body(client, sockets)
  } finally {
    await client.end()
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

/** Calls back for each request after the greeting, which is answered. */
function onRequests(socket: Socket, handle: (request: Buffer) => void): void {
  let greeted = false
  socket.on('data', (bytes) => {
    if (greeted) return handle(bytes)
    greeted = true
    socket.write(welcome)
  })
}

test('the half of an answer that came before a connection was lost is forgotten', async () => {
  await withServer(
    (socket, connection) =>
      onRequests(socket, (request) => {
        const answer = answerTo(request)
        if (connection > 1) socket.write(answer)
        else socket.write(answer.subarray(0, 9), () => setTimeout(() => socket.destroy(), 50))
      }),
    async (client, sockets) => {
      await until(clock, () => client.connected)
      await assert.rejects(client.sync('/'), (error) => hasTrouble(error, 'lost'))
      await until(clock, () => client.connected)
      await client.sync('/')
      assert.equal(sockets.length, 2)
      assert.equal(client.sessionId, '0000000000000007')
    },
  )
})

test('an answer that the library does not know costs the connection, not the process', async () => {
  await withServer(
    (socket, connection) =>
      onRequests(socket, (request) => socket.write(answerTo(request, connection === 1 ? -125 : 0))),
    async (client) => {
      await until(clock, () => client.connected)
      await assert.rejects(client.sync('/'), (error) => hasTrouble(error, 'lost'))
      await until(clock, () => client.connected)
      await client.sync('/')
    },
  )
})

test('a server that takes connections and says nothing is seen, and leaves nothing behind when the client ends', async () => {
  await withServer(
    () => {},
    async (client, sockets) => {
      await until(clock, () => client.isGreeting)
      await assert.rejects(client.sync('/'), (error) => hasTrouble(error, 'not-sent'))
      const closed = new Promise((resolve) => sockets[0].once('close', resolve))
      sockets[0].resume()
      await client.end()
      await closed
      await clock.sleep(600)
      assert.equal(sockets.length, 1)
    },
  )
})
