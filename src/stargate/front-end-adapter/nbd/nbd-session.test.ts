import { test, type TestContext } from 'node:test'
import assert from 'node:assert/strict'
import { NdfsError, type NdfsErrorCode } from '../../../base/errors.ts'
import { KiB, MiB } from '../../../base/units.ts'
import { nodePlatform } from '../../../platform/node-platform.ts'
import { startNbd } from './nbd-fixture.ts'
import { command, commandFlag, encodeRequestHeader, errno } from './nbd-protocol.ts'
import type { Admission } from './nbd-session.ts'
import type { RawClient } from './raw-client.ts'

const platform = nodePlatform({ level: 'silent' })
const { read, write, flush, trim, writeZeroes, cache, blockStatus, disconnect } = command

/** Waits until something is so; a test that waits in vain is ended by the runner. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await platform.clock.sleep(1)
}

/** An event that a test brings about. */
function gate(): { opened: Promise<void>; open: () => void; fail: (code: NdfsErrorCode) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  return { opened: promise, open: resolve, fail: (code) => reject(new NdfsError(code, `Cannot: ${code}`)) }
}

async function enter(t: TestContext, name = 'vms/a', wanted = {}, options = {}) {
  const fixture = await startNbd(t, platform, options)
  const client = await fixture.connect()
  await client.enter(name, wanted)
  return { ...fixture, client, vdisk: fixture.exports.vdisk(name) }
}

async function plainRead(client: RawClient, offset: number, length: number): Promise<Buffer> {
  client.request(read, 77n, offset, length)
  const reply = await client.reply(length)
  assert.deepEqual([reply.cookie, reply.error], [77n, 0])
  return reply.data
}

test('what was written is read back, whatever its alignment', async (t) => {
  const { client } = await enter(t)
  client.request(write, 1n, 4093, 7, { payload: Buffer.from('ndfs-io') })
  assert.deepEqual(await client.reply(), { cookie: 1n, error: 0, data: Buffer.alloc(0) })
  assert.equal((await plainRead(client, 4092, 9)).toString(), '\0ndfs-io\0')
})

test('a request may arrive one byte at a time', async (t) => {
  const { client, vdisk } = await enter(t)
  const bytes = Buffer.concat([
    encodeRequestHeader({ command: write, cookie: 1n, offset: 5n, length: 3 }),
    Buffer.from('abc'),
    encodeRequestHeader({ command: read, cookie: 2n, offset: 5n, length: 3 }),
  ])
  for (const byte of bytes) {
    client.send(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal((await client.reply()).error, 0)
  assert.equal((await client.reply(3)).data.toString(), 'abc')
  assert.equal(vdisk.bytes.toString('latin1', 5, 8), 'abc')
})

test('many requests in one piece are all answered, large payloads across pieces among them', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/b')
  const payload = Buffer.alloc(300 * KiB, 'x')
  for (let index = 0; index < 8; index += 1)
    client.request(write, BigInt(index), index * payload.length + 1, payload.length, { payload })
  for (let index = 0; index < 100; index += 1) client.request(read, BigInt(100 + index), index, 10)
  for (let index = 0; index < 8; index += 1) assert.equal((await client.reply()).cookie, BigInt(index))
  for (let index = 0; index < 100; index += 1)
    assert.equal((await client.reply(10)).cookie, BigInt(100 + index))
  assert.equal(vdisk.bytes.indexOf(0, 1), 8 * payload.length + 1)
})

test('a read of the largest size is answered whole, and one byte more is refused', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/large')
  vdisk.bytes.fill('z', 3, 3 + 32 * MiB)
  const bytes = await plainRead(client, 3, 32 * MiB)
  assert.ok(bytes.equals(vdisk.bytes.subarray(3, 3 + 32 * MiB)))
  client.request(read, 1n, 0, 32 * MiB + 1)
  assert.equal((await client.reply()).error, errno.EINVAL)
})

test('replies come as they get ready, not as they were asked', async (t) => {
  const { client, vdisk } = await enter(t)
  const slow = gate()
  vdisk.before = (_, offset) => (offset === 0 ? slow.opened : undefined)
  client.request(read, 1n, 0, 8)
  client.request(read, 2n, 8, 8)
  client.request(write, 3n, 16, 2, { payload: Buffer.from('hi') })
  assert.equal((await client.reply(8)).cookie, 2n)
  assert.equal((await client.reply()).cookie, 3n)
  slow.open()
  assert.equal((await client.reply(8)).cookie, 1n)
})

// Contract io.ts: "When `write` resolves the change is on stable media"; DESIGN I1: acknowledged means durable.
test('a write is answered only after the vDisk has resolved it', async (t) => {
  const { client, vdisk } = await enter(t)
  const durable = gate()
  vdisk.before = (operation) => (operation === 'write' ? durable.opened : undefined)
  client.request(write, 1n, 0, 2, { payload: Buffer.from('ab'), flags: commandFlag.fua })
  await until(() => vdisk.underWay === 1)
  client.request(flush, 2n)
  assert.equal((await client.reply()).cookie, 2n)
  assert.equal(client.waiting, 0)
  durable.open()
  assert.equal((await client.reply()).cookie, 1n)
})

test('zeroing and trimming read back as zeros, and no-hole keeps the space', async (t) => {
  const { client, vdisk } = await enter(t)
  vdisk.bytes.fill('q')
  client.request(writeZeroes, 1n, 10, 20, { flags: commandFlag.noHole | commandFlag.fastZero })
  client.request(trim, 2n, 100, 50, { flags: commandFlag.fua })
  client.request(writeZeroes, 3n, 200, 1)
  for (const cookie of [1n, 2n, 3n])
    assert.deepEqual(await client.reply(), { cookie, error: 0, data: Buffer.alloc(0) })
  assert.equal(vdisk.keptSpace, 1)
  const zeros = [...vdisk.bytes.entries()].filter(([, byte]) => byte === 0).map(([at]) => at)
  assert.deepEqual(
    [zeros[0], zeros[19], zeros[20], zeros[69], zeros[70], zeros.length],
    [10, 29, 100, 149, 200, 71],
  )
})

test('zeroing goes beyond the largest payload, in pieces that the vDisk takes', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/large')
  vdisk.bytes.fill('q')
  client.request(writeZeroes, 1n, 5, 150 * MiB)
  assert.equal((await client.reply()).error, 0)
  assert.equal(vdisk.bytes.lastIndexOf(0), 150 * MiB + 4)
  client.request(trim, 2n, 0, 160 * MiB)
  assert.equal((await client.reply()).error, 0)
  assert.ok(vdisk.bytes.every((byte) => byte === 0))
})

test('a cache request reaches the vDisk as a hint', async (t) => {
  const { client, vdisk } = await enter(t)
  client.request(cache, 1n, 4096, 8192)
  assert.equal((await client.reply()).error, 0)
  assert.deepEqual(vdisk.prefetched, [[4096, 8192]])
})

test('requests of no bytes succeed without the vDisk', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/a', { structured: true })
  vdisk.before = () => Promise.reject(new NdfsError('DISK_FAILED', 'Cannot be asked'))
  for (const code of [read, write, trim, writeZeroes, cache]) {
    client.request(code, BigInt(code), 7, 0)
    const reply = await client.reply()
    assert.deepEqual([reply.cookie, reply.error, reply.data.length], [BigInt(code), 0, 0])
  }
})

test('nonsense is refused and the connection goes on', async (t) => {
  const { client } = await enter(t)
  client.request(99, 1n, 0, 1000)
  client.request(read, 2n, 1 * MiB - 1, 2)
  client.request(write, 3n, 1 * MiB - 1, 2, { payload: Buffer.from('ab') })
  client.request(write, 4n, 0, 2, { payload: Buffer.from('ab'), flags: commandFlag.df })
  client.request(write, 5n, 0, 33 * MiB, { payload: Buffer.alloc(33 * MiB) })
  client.request(flush, 6n)
  const { EINVAL, ENOSPC } = errno
  for (const [cookie, error] of [
    [1n, EINVAL],
    [2n, EINVAL],
    [3n, ENOSPC],
    [4n, EINVAL],
    [5n, EINVAL],
    [6n, 0],
  ] as const)
    assert.deepEqual(await client.reply(), { cookie, error, data: Buffer.alloc(0) })
})

test('wrong magic, and a payload beyond all measure, close the connection', async (t) => {
  const { client, connect, deserted, vdisk } = await enter(t)
  client.send(Buffer.alloc(28))
  await client.untilEnded()
  const other = await connect()
  await other.enter('vms/a')
  other.request(write, 1n, 0, 65 * MiB)
  await other.untilEnded()
  await deserted()
  assert.equal(vdisk.openNow, 0)
})

test('structured replies carry offset and data, and errors their reason', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/a', { structured: true })
  vdisk.bytes.write('abcd', 513)
  client.request(read, 1n, 513, 4, { flags: commandFlag.df })
  const data = await client.reply()
  assert.deepEqual(data, {
    cookie: 1n,
    error: 0,
    type: 1,
    flags: 1,
    data: Buffer.concat([Buffer.from('0000000000000201', 'hex'), Buffer.from('abcd')]),
  })
  vdisk.before = () =>
    Promise.reject(new NdfsError('CORRUPT_EXTENT', 'Cannot read page 3: all copies are bad'))
  client.request(read, 2n, 0, 4)
  const failed = await client.reply()
  assert.deepEqual([failed.error, failed.type, failed.flags], [errno.EIO, 0x8001, 1])
  assert.equal(failed.data.toString('utf8', 6), 'Cannot read page 3: all copies are bad')
})

test('errors of the vDisk are told in the protocol’s words', async (t) => {
  const { client, vdisk } = await enter(t)
  let code: NdfsErrorCode = 'OUT_OF_SPACE'
  vdisk.before = () => Promise.reject(new NdfsError(code, 'Cannot'))
  for (const [next, error] of [
    ['OUT_OF_SPACE', errno.ENOSPC],
    ['TOO_FEW_REPLICAS', errno.EIO],
    ['UNAVAILABLE', errno.ESHUTDOWN],
    ['REFUSED', errno.EPERM],
  ] as const) {
    code = next
    client.request(write, 1n, 0, 1, { payload: Buffer.from('x') })
    assert.equal((await client.reply()).error, error)
    client.request(read, 2n, 0, 1)
    assert.equal((await client.reply()).error, error)
  }
})

test('block status tells holes, one run or many', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/large', { context: true })
  vdisk.stored.fill(1, 1, 3)
  client.request(blockStatus, 1n, 512, 20_000)
  const numbersOf = (data: Buffer) =>
    Array.from({ length: data.length / 4 }, (_, index) => data.readUInt32BE(4 * index))
  const many = await client.reply()
  assert.deepEqual([many.type, numbersOf(many.data)], [5, [1, 3584, 3, 8192, 0, 8224, 3]])
  client.request(blockStatus, 2n, 512, 20_000, { flags: commandFlag.reqOne })
  assert.deepEqual(numbersOf((await client.reply()).data), [1, 3584, 3])
  // Far beyond the largest request, in one answer.
  client.request(blockStatus, 3n, 0, 160 * MiB)
  assert.deepEqual(numbersOf((await client.reply()).data), [1, 4096, 3, 8192, 0, 160 * MiB - 12288, 3])
  client.request(blockStatus, 4n, 12288, 140 * MiB, { flags: commandFlag.reqOne })
  assert.deepEqual(numbersOf((await client.reply()).data), [1, 140 * MiB, 3])
})

test('a vDisk that shrank refuses what lies beyond its new end', async (t) => {
  const { client, vdisk } = await enter(t)
  client.request(write, 1n, 1 * MiB - 4, 4)
  await platform.clock.sleep(5)
  vdisk.resize(512 * KiB)
  client.send(Buffer.from('late'))
  assert.equal((await client.reply()).error, errno.ENOSPC)
  client.request(read, 2n, 1 * MiB - 4, 4)
  assert.equal((await client.reply()).error, errno.EINVAL)
})

test('DISC lets what is under way finish, answers it, and closes', async (t) => {
  const { client, vdisk, deserted } = await enter(t)
  const slow = gate()
  vdisk.before = () => slow.opened
  client.request(write, 1n, 0, 2, { payload: Buffer.from('ok') })
  client.request(disconnect, 2n)
  await until(() => vdisk.underWay === 1)
  assert.equal(vdisk.openNow, 1)
  slow.open()
  assert.deepEqual(await client.reply(), { cookie: 1n, error: 0, data: Buffer.alloc(0) })
  await client.untilEnded()
  await deserted()
  assert.equal(vdisk.openNow, 0)
})

test('when a client goes in mid-flight its writes finish, and then the vDisk is closed', async (t) => {
  const { client, vdisk, server, deserted } = await enter(t)
  const slow = gate()
  vdisk.before = () => slow.opened
  client.request(write, 1n, 0, 2, { payload: Buffer.from('ok') })
  client.request(read, 2n, 0, 2)
  // And it stops in the middle of another request.
  client.request(write, 3n, 0, 1000, { payload: Buffer.alloc(10) })
  await until(() => vdisk.underWay === 2)
  client.destroy()
  await platform.clock.sleep(20)
  assert.equal(vdisk.openNow, 1)
  slow.open()
  await deserted()
  assert.equal(vdisk.openNow, 0)
  assert.equal(vdisk.bytes.toString('latin1', 0, 2), 'ok')
  assert.equal(server.statistics().heldBytes, 0)
})

// DESIGN I9: "Every queue has a bound, and a full queue pushes back to the guest's socket."
test('requests with the vDisk are bounded, and those beyond wait in the socket', async (t) => {
  const { client, vdisk } = await enter(t, 'vms/a', {}, { limits: { requestsMax: 4 } })
  const slow = gate()
  vdisk.before = () => slow.opened
  for (let index = 0; index < 50; index += 1) client.request(read, BigInt(index), index, 1)
  await until(() => vdisk.underWay === 4)
  await platform.clock.sleep(20)
  assert.equal(vdisk.underWay, 4)
  slow.open()
  for (let index = 0; index < 50; index += 1) assert.equal((await client.reply(1)).error, 0)
  assert.equal(vdisk.underWayMost, 4)
})

for (const lends of [false, true])
  test(`a client that takes no replies is held at its bound, and gets them all when it does (lent: ${lends})`, async (t) => {
    const limits = { connectionBytesMax: 8 * MiB }
    const { client, server, vdisk } = await enter(t, 'vms/b', {}, { limits })
    vdisk.lends = lends
    vdisk.bytes.fill('as it was')
    client.pause()
    for (let index = 0; index < 100; index += 1) client.request(read, BigInt(index), 0, 1 * MiB)
    await until(() => server.statistics().heldBytes > 6 * MiB)
    await platform.clock.sleep(30)
    assert.ok(server.statistics().heldBytes <= 10 * MiB, `${server.statistics().heldBytes} bytes are held`)
    assert.ok(server.statistics().reads < 100)
    assert.equal(vdisk.lent > 0, lends)
    client.resume()
    for (let index = 0; index < 100; index += 1) {
      const { cookie, data } = await client.reply(1 * MiB)
      assert.equal(cookie, BigInt(index))
      assert.ok(data.equals(vdisk.bytes.subarray(0, 1 * MiB)))
    }
    await until(() => vdisk.lent === 0 && server.statistics().heldBytes === 0)
  })

for (const structured of [false, true])
  test(`what a vDisk lends is sent behind its header, and given back (structured replies: ${structured})`, async (t) => {
    const { client, vdisk, server } = await enter(t, 'vms/b', { structured })
    vdisk.lends = true
    vdisk.bytes.write('the beginning')
    vdisk.bytes.write('the end', 1 * MiB - 7)
    const slow = gate()
    vdisk.before = (_, offset) => (offset === 1 ? slow.opened : undefined)
    client.request(read, 1n, 1, 1 * MiB - 1)
    client.request(read, 2n, 0, 13)
    client.request(read, 3n, 0, 1 * MiB)
    client.request(flush, 4n)
    const short = await client.reply(13)
    assert.equal(short.data.subarray(-13).toString(), 'the beginning')
    const long = await client.reply(1 * MiB)
    assert.ok(long.data.subarray(-1 * MiB).equals(vdisk.bytes.subarray(0, 1 * MiB)))
    assert.equal((await client.reply()).cookie, 4n)
    slow.open()
    const late = await client.reply(1 * MiB - 1)
    assert.ok(late.data.subarray(1 - 1 * MiB).equals(vdisk.bytes.subarray(1, 1 * MiB)))
    await until(() => vdisk.lent === 0 && server.statistics().heldBytes === 0)
  })

test('what is lent is given back where the read fails, and where the client goes', async (t) => {
  const { client, server, vdisk, deserted } = await enter(t, 'vms/b')
  vdisk.lends = true
  const failing = gate()
  vdisk.before = () => failing.opened
  client.request(read, 1n, 0, 1 * MiB)
  await until(() => vdisk.underWay === 1)
  failing.fail('CORRUPT_EXTENT')
  assert.equal((await client.reply()).error, errno.EIO)
  await until(() => server.statistics().heldBytes === 0)
  const slow = gate()
  vdisk.before = (_, offset) => (offset === 1 ? slow.opened : undefined)
  client.pause()
  for (let index = 0; index < 20; index += 1) client.request(read, 2n, 0, 1 * MiB)
  client.request(read, 3n, 1, 1 * MiB)
  await until(() => vdisk.underWay === 1)
  assert.ok(vdisk.lent > 0)
  client.destroy()
  await platform.clock.sleep(20)
  slow.open()
  await deserted()
  await until(() => vdisk.lent === 0)
  assert.deepEqual([server.statistics().heldBytes, vdisk.openNow], [0, 0])
})

test('refusals that nobody reads are bounded too', async (t) => {
  const limits = { connectionBytesMax: 2 * MiB }
  const { client, server } = await enter(t, 'vms/a', { structured: true }, { limits })
  client.pause()
  const nonsense = encodeRequestHeader({ command: 1000, cookie: 1n })
  const refusedWrite = encodeRequestHeader({ command: write, cookie: 1n, offset: 2n ** 63n, length: 1 })
  const many = Buffer.concat(
    Array.from({ length: 2000 }, () => [nonsense, refusedWrite, Buffer.alloc(1)]).flat(),
  )
  for (let index = 0; index < 40; index += 1) client.send(many)
  await until(() => server.statistics().heldBytes > 2 * MiB)
  await platform.clock.sleep(30)
  assert.ok(server.statistics().heldBytes <= 5 * MiB)
  assert.ok(server.statistics().errors < 160_000)
  client.resume()
  for (let index = 0; index < 160_000; index += 1000)
    for (let each = 0; each < 1000; each += 1) await client.reply()
  await until(() => server.statistics().heldBytes === 0)
})

test('when the memory of all is used up each connection still has its own', async (t) => {
  const { client, connect, vdisk } = await enter(t, 'vms/b', {}, { limits: { bytesMax: 1 * MiB } })
  const slow = gate()
  vdisk.before = (_, offset) => (offset === 0 ? slow.opened : undefined)
  client.request(read, 1n, 0, 1 * MiB)
  client.request(read, 2n, 1, 1 * MiB)
  await until(() => vdisk.underWay === 1)
  const other = await connect()
  await other.enter('vms/b')
  for (let index = 0; index < 5; index += 1) {
    const payload = Buffer.alloc(100 * KiB)
    other.request(write, 3n, 1 * MiB, payload.length, { payload })
  }
  for (let index = 0; index < 5; index += 1) assert.equal((await other.reply()).error, 0)
  slow.open()
  assert.equal((await client.reply(1 * MiB)).cookie, 1n)
  assert.equal((await client.reply(1 * MiB)).cookie, 2n)
})

test('reads and writes go through admission control, and leave it whatever comes of them', async (t) => {
  const inside: number[] = []
  const turn = gate()
  const admission: Admission = {
    tryEnter: (_, bytes) => bytes < 1000 && inside.push(bytes) > 0,
    enter: (_, bytes) => turn.opened.then(() => void inside.push(bytes)),
    leave: (_, bytes) => void inside.splice(inside.indexOf(bytes), 1),
  }
  const { client, vdisk } = await enter(t, 'vms/a', {}, { admission })
  client.request(read, 1n, 0, 2000)
  client.request(read, 2n, 0, 20)
  assert.equal((await client.reply(20)).cookie, 2n)
  vdisk.before = () => Promise.reject(new NdfsError('DISK_FAILED', 'Cannot'))
  client.request(write, 3n, 0, 20, { payload: Buffer.alloc(20) })
  assert.equal((await client.reply()).error, errno.EIO)
  vdisk.before = undefined
  turn.open()
  assert.equal((await client.reply(2000)).cookie, 1n)
  await until(() => inside.length === 0)
})

// DESIGN F3: an older connection's requests that have no sequence number are dropped.
test('a request that waits for admission when its client goes never reaches the vDisk', async (t) => {
  const turn = gate()
  const inside: number[] = []
  const admission: Admission = {
    tryEnter: () => false,
    enter: (_, bytes) => turn.opened.then(() => void inside.push(bytes)),
    leave: () => void inside.pop(),
  }
  const { client, vdisk, server, deserted } = await enter(t, 'vms/a', {}, { admission })
  client.request(write, 1n, 0, 4, { payload: Buffer.from('late') })
  await until(() => server.statistics().writes === 1)
  client.destroy()
  await platform.clock.sleep(20)
  turn.open()
  await deserted()
  assert.equal(vdisk.bytes[0], 0)
  assert.deepEqual(inside, [])
})
