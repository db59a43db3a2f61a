import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { placeOf } from './address.ts'
import { nodePlatform } from './node-platform.ts'
import { platformContract } from './platform-contract-suite.ts'
import type { Socket } from './platform.ts'

const platform = nodePlatform({ level: 'silent' })

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ndfs-platform-'))
  try {
    await body(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}

const run = <T>(work: Promise<T>): Promise<T> => work

platformContract('Node.js over TCP', (body) =>
  withDirectory((directory) => body({ platform, directory, run, address: '127.0.0.1:0' })),
)
platformContract('Node.js over a Unix socket', (body) =>
  withDirectory((directory) => body({ platform, directory, run, address: `unix:${directory}/socket` })),
)

/** Runs a program that has the platform at hand, and returns how it ended. */
async function programEnds(body: string): Promise<{ code: unknown; stderr: string; stdout: string }> {
  const program = `
    const { nodePlatform } = await import(${JSON.stringify(new URL('./node-platform.ts', import.meta.url).href)})
    const { clock, sockets, files, log } = nodePlatform({ level: 'info', facts: { node: 'n1' } })
    ${body}`
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [
      '--input-type=module',
      '-e',
      program,
    ])
    return { code: 0, stdout, stderr }
  } catch (error) {
    return error as { code: unknown; stderr: string; stdout: string }
  }
}

test('an exception in any callback stops the process, loudly, with the log before it written', async () => {
  const thrower = `() => { log.error('the last words', { error: new Error('its cause') }); throw new Error('a bug') }`
  const bodies = [
    `clock.after(1, ${thrower}); clock.after(60000, () => {})`,
    `clock.soon(${thrower}); clock.after(60000, () => {})`,
    `const listener = await sockets.listen('127.0.0.1:0', (socket) => {
       socket.onData = ${thrower}
       socket.onClose = () => {}
     })
     const client = await sockets.connect(listener.address, 1000)
     client.onData = client.onClose = () => {}
     client.write([Buffer.from('x')])`,
  ]
  for (const { code, stderr, stdout } of await Promise.all(bodies.map(programEnds))) {
    assert.equal(code, 1)
    assert.match(stderr, /a bug/)
    assert.match(stdout, /"level":"error".*"node":"n1".*its cause.*"msg":"the last words"/)
  }
})

test('a connection that is reset while its reader has paused is told at once, and what was held is told no more', async () => {
  const accepted = Promise.withResolvers<Socket>()
  const told: string[] = []
  const listener = await platform.sockets.listen('127.0.0.1:0', (socket) => {
    socket.onData = (bytes) => {
      told.push(String(bytes))
      socket.pause()
    }
    socket.onClose = (error) => told.push(error?.message ?? 'closed')
    accepted.resolve(socket)
  })
  const client = connect(Number(listener.address.split(':').at(-1)), '127.0.0.1')
  client.write('first')
  const socket = await accepted.promise
  for (const start = Date.now(); told.length < 1 && Date.now() - start < 5000;) await sleep(2)
  client.write('held')
  await sleep(50)
  client.resetAndDestroy()
  for (const start = Date.now(); told.length < 2 && Date.now() - start < 5000;) await sleep(2)
  socket.resume()
  await sleep(20)
  assert.deepEqual(told, ['first', 'read ECONNRESET'])
  await listener.close()
})

test('a connection that its client has reset before it was accepted is nobody’s', async () => {
  const peers: string[] = []
  const listener = await platform.sockets.listen('127.0.0.1:0', (socket) => {
    peers.push(socket.remoteAddress)
    socket.onData = socket.onFilled = socket.onClose = () => undefined
    socket.destroy()
  })
  const port = listener.address.split(':')[1]
  const reset = `const s = require('net').connect(${port}, '127.0.0.1', () => s.write('x', () => s.resetAndDestroy()))`
  // Nothing is accepted here before that process has ended.
  execFileSync(process.execPath, ['-e', reset])
  const later = await platform.sockets.connect(listener.address, 1000)
  later.onData = later.onFilled = () => undefined
  await new Promise<void>((resolve) => (later.onClose = () => resolve()))
  assert.ok(peers.length === 1 && peers[0].startsWith('127.0.0.1:'), peers.join(' '))
  await listener.close()
})

test('a datagram to port 0 is lost, as it is where nobody listens', async () => {
  const socket = await platform.sockets.bind('127.0.0.1:0', () => undefined)
  socket.send(Buffer.from('x'), '127.0.0.1:0')
  socket.send(Buffer.from('x'), '127.0.0.1:1')
  await socket.close()
})

test('a lock ends with its process, also when that is killed', async () => {
  await withDirectory(async (directory) => {
    const program = `
      const { nodePlatform } = await import(${JSON.stringify(new URL('./node-platform.ts', import.meta.url).href)})
      await nodePlatform({ level: 'silent' }).files.lock(process.argv[1])
      console.log('locked')
      setInterval(() => {}, 1000)`
    const holder = spawn(process.execPath, ['--input-type=module', '-e', program, directory])
    await new Promise((resolve) => holder.stdout.once('data', resolve))
    assert.equal(await platform.files.lock(directory), undefined)
    const ended = new Promise((resolve) => holder.once('exit', resolve))
    holder.kill('SIGKILL')
    await ended
    const lock = await platform.files.lock(directory)
    assert.ok(lock)
    await lock.release()
  })
})

test('a lock goes by the real path, and does not keep the process alive', async () => {
  const { code } = await programEnds(`await files.lock('/tmp')`)
  assert.equal(code, 0)
  await withDirectory(async (directory) => {
    const lock = await platform.files.lock(directory)
    assert.ok(lock)
    assert.equal(await platform.files.lock(`${directory}/../${directory.split('/').at(-1)}`), undefined)
    await lock.release()
  })
})

test('the file of a Unix socket where nobody listens any more is replaced', async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/socket`
    const holder = spawn(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(process.argv[1], () => console.log('listening'))`,
      path,
    ])
    await new Promise((resolve) => holder.stdout.once('data', resolve))
    await assert.rejects(
      platform.sockets.listen(`unix:${path}`, () => undefined),
      { code: 'EADDRINUSE' },
    )
    const ended = new Promise((resolve) => holder.once('exit', resolve))
    holder.kill('SIGKILL')
    await ended
    const listener = await platform.sockets.listen(`unix:${path}`, () => undefined)
    await listener.close()
  })
})

test('a file of another kind is not replaced by a socket', async () => {
  await withDirectory(async (directory) => {
    await writeFile(`${directory}/precious`, 'data')
    await assert.rejects(
      platform.sockets.listen(`unix:${directory}/precious`, () => undefined),
      {
        code: 'EADDRINUSE',
      },
    )
    assert.equal(await readFile(`${directory}/precious`, 'utf8'), 'data')
  })
})

test('a direct file refuses memory that is not aligned: it is our bug, not the disk’s fault', async () => {
  await withDirectory(async (directory) => {
    const file = await platform.files.open(`${directory}/direct`, { create: true, direct: true })
    const aligned = platform.files.alignedBuffer(8192)
    await assert.rejects(file.write([Buffer.alloc(4096)], 0), { name: 'AssertionFailure' })
    await assert.rejects(file.write([aligned.subarray(512, 4608)], 0), { name: 'AssertionFailure' })
    await assert.rejects(file.write([aligned], 512), { name: 'AssertionFailure' })
    await assert.rejects(file.read(aligned.subarray(0, 100), 0), { name: 'AssertionFailure' })
    await file.close()
  })
})

test('aligned memory begins on a page, whatever was asked for before', async () => {
  await withDirectory(async (directory) => {
    const file = await platform.files.open(`${directory}/direct`, { create: true, direct: true })
    const buffers = [1, 4096, 5000, 1 << 20, 5 << 20, 20 << 20, 8192].map((bytes) =>
      platform.files.alignedBuffer(bytes),
    )
    for (const [index, buffer] of buffers.entries()) {
      buffer.fill(index + 1)
      if (buffer.length % 4096 === 0) await file.write([buffer], 0)
    }
    for (const [index, buffer] of buffers.entries()) assert.ok(buffer.every((byte) => byte === index + 1))
    await file.close()
  })
})

test('a file is closed after the calls under way have ended', async () => {
  await withDirectory(async (directory) => {
    const file = await platform.files.open(`${directory}/file`, { create: true })
    const writes = Array.from({ length: 20 }, (_, index) =>
      file.write([Buffer.alloc(100_000, index)], index * 100_000),
    )
    // A long one of aligned memory is several calls.
    writes.push(file.write([platform.files.alignedBuffer(1 << 20).fill(7)], 1 << 21))
    await file.close()
    await Promise.all(writes)
    const written = await readFile(`${directory}/file`)
    assert.equal(written.length, 3 << 20)
    assert.ok(written.subarray(1 << 21).every((byte) => byte === 7))
  })
})

test('replaceWhole gives the mode that was asked for', async () => {
  await withDirectory(async (directory) => {
    await platform.files.replaceWhole(`${directory}/token`, Buffer.from('secret'), 0o600)
    const { mode } = await (await import('node:fs/promises')).stat(`${directory}/token`)
    assert.equal(mode & 0o777, 0o600)
  })
})

test('a connection that nobody accepts in time is given up', async () => {
  // 192.0.2.0/24 is for documentation: packets to it go nowhere, or the network says so.
  await assert.rejects(platform.sockets.connect('192.0.2.1:9', 50))
})

test('a connection comes from the address that was asked for, and both sides know both addresses', async () => {
  const sides: Socket[] = []
  const accepted = Promise.withResolvers<void>()
  const listener = await platform.sockets.listen('127.0.0.1:0', (socket) => {
    socket.onData = socket.onClose = () => undefined
    sides.push(socket)
    accepted.resolve()
  })
  const client = await platform.sockets.connect(listener.address, 1000, '127.0.0.9')
  client.onData = client.onClose = () => undefined
  await accepted.promise
  const [server] = sides
  assert.match(client.localAddress, /^127\.0\.0\.9:\d+$/)
  assert.deepEqual([server.remoteAddress, server.localAddress], [client.localAddress, listener.address])
  client.destroy()
  server.destroy()
  await listener.close()
})

test('addresses are read as they are written, and nonsense is refused with a sentence', () => {
  assert.deepEqual(placeOf('127.0.0.1:9440'), { kind: 'tcp', host: '127.0.0.1', port: 9440 })
  assert.deepEqual(placeOf('[::1]:0'), { kind: 'tcp', host: '::1', port: 0 })
  assert.deepEqual(placeOf('unix:/run/n.sock'), { kind: 'unix', path: '/run/n.sock' })
  for (const nonsense of ['', 'host', '::1:80', 'host:99999', 'unix:', `unix:/${'a'.repeat(107)}`])
    assert.throws(() => placeOf(nonsense), /Cannot use the/)
})

test('the log writes readable lines where a person watches', async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/log`
    const log = nodePlatform({ level: 'info', pretty: true, facts: { node: 'n1' }, destination: path }).log
    log.with({ disk: 'd1' }).warn('The disk is slow', { ms: 12 })
    log.debug('not shown')
    let text = ''
    while (!text.includes('\n')) text = await readFile(path, 'utf8').catch(() => '')
    assert.match(text, /WARN.*The disk is slow.*"node":"n1".*"disk":"d1".*"ms":12/)
    assert.doesNotMatch(text, /not shown/)
  })
})
