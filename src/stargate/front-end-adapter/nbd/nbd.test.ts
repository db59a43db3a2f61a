import { test } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MiB } from '../../../base/units.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { MemoryExports } from './memory-exports.ts'
import { startNbd } from './nbd-fixture.ts'
import { command } from './nbd-protocol.ts'
import { createNbdServer } from './nbd.ts'
import { RawClient } from './raw-client.ts'

const platform = nodePlatform({ level: 'silent' })

test('one server listens on TCP and on a Unix socket', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-nbd-'))
  const server = createNbdServer({ platform, exports: new MemoryExports({ 'vms/a': 1 * MiB }) })
  const addresses = [
    await server.listen('127.0.0.1:0'),
    await server.listen(`unix:${join(directory, 'nbd')}`),
  ]
  for (const address of addresses) {
    const client = new RawClient(await platform.sockets.connect(address, 5000))
    await client.enter('vms/a')
    client.request(command.flush, 1n)
    assert.equal((await client.reply()).error, 0)
  }
  assert.equal(server.statistics().connections, 2)
  await server.close()
  assert.equal(server.statistics().connections, 0)
  for (const address of addresses) await assert.rejects(platform.sockets.connect(address, 1000))
  await rm(directory, { recursive: true })
})

test('connections, and negotiations among them, are bounded; those that stand go on', async (t) => {
  const { server, connect } = await startNbd(t, platform, { limits: { connectionsMax: 3, handshakesMax: 2 } })
  const first = await connect()
  await first.enter('vms/a')
  const [second, third] = [await connect(), await connect()]
  await second.take(18)
  await third.take(18)
  const fourth = await connect()
  await fourth.untilEnded()
  assert.equal(server.statistics().turnedAway, 1)
  assert.deepEqual([server.statistics().connections, server.statistics().negotiating], [3, 2])
  third.destroy()
  while (server.statistics().connections > 2) await platform.clock.sleep(2)
  const fifth = await connect()
  await fifth.enter('vms/b')
  first.request(command.flush, 9n)
  assert.equal((await first.reply()).cookie, 9n)
})

test('a server that closes answers what is under way and closes the vDisks', async (t) => {
  const { exports, server, connect } = await startNbd(t, platform)
  const vdisk = exports.vdisk('vms/a')
  const { promise, resolve } = Promise.withResolvers<void>()
  vdisk.before = () => promise
  const [client, idle, negotiating] = [await connect(), await connect(), await connect()]
  await client.enter('vms/a')
  await idle.enter('vms/b')
  await negotiating.take(18)
  client.request(command.write, 1n, 0, 2, { payload: Buffer.from('ok') })
  while (vdisk.underWay === 0) await platform.clock.sleep(1)
  const closed = server.close()
  client.request(command.write, 2n, 0, 2, { payload: Buffer.from('no') })
  await idle.untilEnded()
  await negotiating.untilEnded()
  resolve()
  assert.equal((await client.reply()).cookie, 1n)
  await client.untilEnded()
  await closed
  assert.equal(vdisk.bytes.toString('latin1', 0, 2), 'ok')
  assert.deepEqual([vdisk.openNow, exports.vdisk('vms/b').openNow], [0, 0])
})

test('statistics count what was done and what was refused', async (t) => {
  const { server, connect } = await startNbd(t, platform)
  const client = await connect()
  await client.enter('vms/a')
  client.request(command.write, 1n, 0, 4096, { payload: Buffer.alloc(4096) })
  client.request(command.read, 2n, 0, 512)
  client.request(command.trim, 3n, 0, 512)
  client.request(command.read, 4n, 2 * MiB, 512)
  for (const bytes of [0, 512, 0, 0]) await client.reply(bytes)
  const { reads, writes, trims, readBytes, writtenBytes, errors } = server.statistics()
  assert.deepEqual([reads, writes, trims, readBytes, writtenBytes, errors], [1, 1, 1, 512, 4096, 1])
})
