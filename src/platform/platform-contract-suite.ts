/**
 * The promises of platform.ts as tests: whoever puts another world behind it calls this with its own.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MiB } from '../base/units.ts'
import type { Platform, Socket } from './platform.ts'

export interface PlatformUnderTest {
  readonly platform: Platform
  /** An empty directory that exists. */
  readonly directory: string
  /** Runs the world until the promise settles: virtual time has to be driven. */
  run<T>(work: Promise<T>): Promise<T>
  readonly address: string
}

export function platformContract(
  name: string,
  withPlatform: (body: (given: PlatformUnderTest) => Promise<void>) => Promise<void>,
): void {
  const it = (sentence: string, body: (given: PlatformUnderTest) => Promise<void>): void =>
    void test(`${name}: ${sentence}`, () => withPlatform((given) => given.run(body(given))))

  it('the clock never goes back, and a timer never fires early', async ({ platform: { clock } }) => {
    const start = clock.now()
    await clock.sleep(5)
    const slept = clock.now()
    assert.ok(slept - start >= 5)
    await new Promise<void>((resolve) => clock.after(3, resolve))
    assert.ok(clock.now() - slept >= 3)
  })

  it('a cancelled timer does not fire', async ({ platform: { clock } }) => {
    let fired = false
    clock.after(1, () => (fired = true)).cancel()
    await clock.sleep(10)
    assert.equal(fired, false)
  })

  it('what is to run soon runs in order, after this turn', async ({ platform: { clock } }) => {
    const order: string[] = []
    const done = new Promise<void>((resolve) => {
      clock.soon(() => order.push('first'))
      clock.soon(() => {
        order.push('second')
        resolve()
      })
    })
    await Promise.resolve().then(() => order.push('this turn'))
    await done
    assert.deepEqual(order, ['this turn', 'first', 'second'])
  })

  it('chance stays below its bound, and bytes are as many as asked for', async ({ platform: { chance } }) => {
    for (let draw = 0; draw < 100; draw++) assert.ok(chance.below(3) < 3)
    assert.equal(chance.below(1), 0)
    assert.ok(chance.below(2 ** 32) < 2 ** 32)
    assert.equal(chance.bytes(17).length, 17)
  })

  it('a file is created exclusively and reads back what was written', async ({ platform, directory }) => {
    const path = `${directory}/file`
    const file = await platform.files.open(path, { create: true })
    await assert.rejects(platform.files.open(path, { create: true }), { code: 'EEXIST' })
    await file.write([Buffer.from('one'), Buffer.alloc(0), Buffer.from('two')], 2)
    await file.sync()
    assert.equal(await file.size(), 8)
    const target = Buffer.alloc(20, 0xff)
    assert.equal(await file.read(target, 0), 8)
    assert.deepEqual(target.subarray(0, 8), Buffer.from('\0\0onetwo'))
    assert.equal(await file.read(target, 8), 0)
    await file.truncate(5)
    assert.equal(await file.size(), 5)
    await file.close()
  })

  it('a direct and durable file takes whole pages of aligned memory', async ({ platform, directory }) => {
    const buffer = platform.files.alignedBuffer(12288)
    assert.deepEqual(buffer, Buffer.alloc(12288))
    buffer.fill('a', 0, 4096).fill('b', 4096)
    const file = await platform.files.open(`${directory}/direct`, {
      create: true,
      direct: true,
      durable: true,
    })
    await file.write([buffer.subarray(4096, 8192), buffer.subarray(0, 4096)], 4096)
    const back = platform.files.alignedBuffer(16384)
    assert.equal(await file.read(back, 0), 12288)
    assert.deepEqual(
      back.subarray(0, 12288),
      Buffer.concat([Buffer.alloc(4096), buffer.subarray(4096, 8192), buffer.subarray(0, 4096)]),
    )
    await file.close()
  })

  it('a read into aligned memory sees what was written just now, and ends where the file does', async ({
    platform,
    directory,
  }) => {
    const file = await platform.files.open(`${directory}/read-around`, { create: true })
    const target = platform.files.alignedBuffer(12288)
    for (const letter of ['a', 'b']) {
      await file.write([Buffer.alloc(8000, letter)], 100)
      assert.equal(await file.read(target, 0), 8100)
      assert.deepEqual(target.subarray(100, 8100), Buffer.alloc(8000, letter))
      assert.equal(await file.read(target.subarray(0, 4096), 4096), 8100 - 4096)
      assert.equal(await file.read(target, 12288), 0)
    }
    await file.close()
  })

  it('a long write of aligned memory reads back as any other, beside short ones and before and behind them', async ({
    platform,
    directory,
  }) => {
    const bytes = 3 * MiB + 8192
    const long = platform.files.alignedBuffer(bytes)
    for (let at = 0; at < bytes; at += 8) long.writeDoubleBE(at, at)
    const file = await platform.files.open(`${directory}/long`, { create: true })
    await file.write([Buffer.from('short')], 4090)
    await file.read(Buffer.alloc(16), 4090)
    await file.write([long.subarray(0, MiB / 4), long.subarray(MiB / 4)], 4096)
    await file.write([Buffer.from('end')], bytes + 4096 - 1)
    await file.write([long.subarray(0, 4096)], 0)
    await file.sync()
    const back = Buffer.alloc(4 * MiB)
    assert.equal(await file.read(back, 0), bytes + 4096 + 2)
    const expected = Buffer.concat([long.subarray(0, 4096), long, Buffer.from('nd')])
    expected.write('e', bytes + 4096 - 1)
    assert.ok(back.subarray(0, expected.length).equals(expected))
    // Also by whoever has it open under a name that is gone.
    await platform.files.remove(`${directory}/long`)
    await file.write([long], 8192)
    await file.close()
  })

  it('what is missing is undefined, nothing, or ENOENT', async ({ platform: { files }, directory }) => {
    const missing = `${directory}/missing`
    assert.equal(await files.list(missing), undefined)
    assert.equal(await files.readWhole(missing), undefined)
    await files.remove(missing)
    await assert.rejects(files.open(missing), { code: 'ENOENT' })
    await assert.rejects(files.rename(missing, `${missing}2`), { code: 'ENOENT' })
  })

  it('a file has no names in it', async ({ platform: { files }, directory }) => {
    await files.replaceWhole(`${directory}/file`, Buffer.from('x'))
    assert.equal(await files.list(`${directory}/file`), undefined)
  })

  it('a small file is replaced whole and leaves nothing else behind', async ({
    platform: { files },
    directory,
  }) => {
    const path = `${directory}/small`
    await files.replaceWhole(path, Buffer.from('a longer first one'))
    await Promise.all([
      files.replaceWhole(path, Buffer.from('second')),
      files.replaceWhole(path, Buffer.from('second')),
    ])
    assert.equal(String(await files.readWhole(path)), 'second')
    assert.deepEqual(await files.list(directory), ['small'])
  })

  it('names are listed sorted; rename and remove change them', async ({ platform: { files }, directory }) => {
    await files.makeDirectory(`${directory}/sub`)
    for (const name of ['b', 'a', 'C']) await files.replaceWhole(`${directory}/${name}`, Buffer.from(name))
    assert.deepEqual(await files.list(directory), ['C', 'a', 'b', 'sub'])
    await files.rename(`${directory}/a`, `${directory}/sub/z`)
    await files.remove(`${directory}/b`)
    await files.syncDirectory(directory)
    assert.deepEqual(await files.list(directory), ['C', 'sub'])
    assert.deepEqual(await files.list(`${directory}/sub`), ['z'])
    assert.ok((await files.freeBytes(directory)) > 0)
  })

  it('a rename takes the place of what had the name', async ({ platform: { files }, directory }) => {
    for (const name of ['old', 'new']) await files.replaceWhole(`${directory}/${name}`, Buffer.from(name))
    await files.rename(`${directory}/new`, `${directory}/old`)
    assert.deepEqual(await files.list(directory), ['old'])
    assert.equal(String(await files.readWhole(`${directory}/old`)), 'new')
  })

  it('directories may be made again, and those above them with them', async ({
    platform: { files },
    directory,
  }) => {
    for (let times = 0; times < 2; times++) await files.makeDirectory(`${directory}/a/b`)
    assert.deepEqual(await files.list(directory), ['a'])
    assert.deepEqual(await files.list(`${directory}/a`), ['b'])
    assert.deepEqual(await files.list(`${directory}/a/b`), [])
  })

  it('a file that was opened to be read is not written to', async ({ platform: { files }, directory }) => {
    await files.replaceWhole(`${directory}/file`, Buffer.from('x'))
    const file = await files.open(`${directory}/file`)
    await assert.rejects(file.write([Buffer.from('y')], 0), { code: 'EBADF' })
    await file.close()
    assert.equal(String(await files.readWhole(`${directory}/file`)), 'x')
  })

  it('a file that was made longer has zeroes there, and one that was removed is read on by who has it open', async ({
    platform: { files },
    directory,
  }) => {
    const file = await files.open(`${directory}/file`, { create: true })
    await file.write([Buffer.from('ab')], 0)
    await file.truncate(1)
    await file.truncate(3)
    await files.remove(`${directory}/file`)
    assert.deepEqual(await files.list(directory), [])
    const target = Buffer.alloc(3, 0xff)
    assert.equal(await file.read(target, 0), 3)
    assert.deepEqual(target, Buffer.from('a\0\0'))
    await file.close()
  })

  it('locks of different paths are held side by side, and what is not there has none', async ({
    platform: { files },
    directory,
  }) => {
    const paths = [`${directory}/a`, `${directory}/b`]
    for (const path of paths) await files.makeDirectory(path)
    const locks = await Promise.all(paths.map((path) => files.lock(path)))
    for (const lock of locks) assert.ok(lock)
    for (const lock of locks) await lock?.release()
    await assert.rejects(files.lock(`${directory}/missing`), { code: 'ENOENT' })
  })

  it('a lock has one holder at a time', async ({ platform: { files }, directory }) => {
    const lock = await files.lock(directory)
    assert.ok(lock)
    assert.equal(await files.lock(directory), undefined)
    await lock.release()
    const again = await files.lock(directory)
    assert.ok(again)
    await again.release()
  })

  it('bytes go both ways in order, and an end closes both sides', async ({
    platform: { sockets },
    address,
  }) => {
    const got: Buffer[] = []
    const serverClosed = Promise.withResolvers<void>()
    const listener = await sockets.listen(address, (socket) => {
      socket.onClose = () => serverClosed.resolve()
      socket.onData = (bytes) => {
        got.push(bytes)
        if (Buffer.concat(got).length < 6) return
        socket.write([Buffer.from('answer')])
        socket.end()
      }
    })
    const client = await sockets.connect(listener.address, 1000)
    const answer: Buffer[] = []
    client.onData = (bytes) => answer.push(bytes)
    const closed = new Promise<Error | undefined>((resolve) => (client.onClose = resolve))
    const sent = new Promise<void>((resolve) => {
      client.write([Buffer.from('ab'), Buffer.from('c')])
      client.write([Buffer.from('def')])
      client.whenSent(resolve)
    })
    await sent
    assert.equal(await closed, undefined)
    await serverClosed.promise
    assert.equal(String(Buffer.concat(got)), 'abcdef')
    assert.equal(String(Buffer.concat(answer)), 'answer')
    await listener.close()
  })

  it('bytes are read to where the reader has room for them, also after a pause, and all others come as usual', async ({
    platform: { clock, sockets },
    address,
  }) => {
    const body = Buffer.alloc(1 << 20)
    let have = 0
    let filled = 0
    let heard = ''
    const whole = Promise.withResolvers<void>()
    const listener = await sockets.listen(address, (socket) => {
      socket.onClose = () => undefined
      socket.room = () => (heard === 'a' && have < body.length ? body.subarray(have) : undefined)
      socket.onFilled = (bytes) => {
        have += bytes
        filled += bytes
        if (filled < body.length / 2) return
        socket.pause()
        clock.soon(() => socket.resume())
      }
      socket.onData = (bytes) => {
        const ofBody = heard === 'a' ? bytes.copy(body, have) : 0
        have += ofBody
        heard += String(bytes.subarray(ofBody))
        if (heard === 'a' && have === 0) socket.write([Buffer.from('go on')])
        if (heard.length > 1) whole.resolve()
      }
    })
    const client = await sockets.connect(listener.address, 1000)
    client.onClose = () => undefined
    client.onData = () => {
      for (let at = 0; at < 4; at++) client.write([Buffer.alloc(body.length / 4, at + 1)])
      client.write([Buffer.from('z')])
    }
    client.write([Buffer.from('a')])
    await whole.promise
    assert.equal(heard, 'az')
    assert.equal(have, body.length)
    assert.ok(filled >= body.length / 2)
    assert.ok(body.every((byte, at) => byte === Math.floor((4 * at) / body.length) + 1))
    client.destroy()
    await listener.close()
  })

  it('what came before an end is handed on to a reader who had paused, and then the end', async ({
    platform: { clock, sockets },
    address,
  }) => {
    const heard: string[] = []
    const closed = Promise.withResolvers<void>()
    const listener = await sockets.listen(address, (socket) => {
      socket.pause()
      clock.after(50, () => socket.resume())
      socket.onData = (bytes) => {
        heard.push(String(bytes))
        socket.pause()
        clock.after(20, () => socket.resume())
      }
      socket.onClose = () => {
        heard.push('closed')
        closed.resolve()
      }
    })
    const client = await sockets.connect(listener.address, 1000)
    client.onData = client.onClose = () => undefined
    client.write([Buffer.from('first')])
    clock.after(10, () => {
      client.write([Buffer.from('last')])
      client.end()
    })
    await closed.promise
    assert.equal(heard.join(' ').replace(/(t)(l)/, '$1 $2'), 'first last closed')
    await listener.close()
  })

  it('a sender is told to stop while nobody reads, and to go on when somebody does', async ({
    platform: { sockets },
    address,
  }) => {
    let received = 0
    const accepted = Promise.withResolvers<Socket>()
    const listener = await sockets.listen(address, (socket) => {
      socket.onData = (bytes) => (received += bytes.length)
      socket.onClose = () => undefined
      socket.pause()
      accepted.resolve(socket)
    })
    const client = await sockets.connect(listener.address, 1000)
    client.onData = () => undefined
    client.onClose = () => undefined
    const drained = new Promise<void>((resolve) => (client.onDrain = resolve))
    const piece = Buffer.alloc(1 << 20)
    let pieces = 1
    while (client.write([piece])) assert.ok(pieces++ < 64, 'never told to stop')
    const socket = await accepted.promise
    const before = received
    socket.resume()
    await drained
    await new Promise<void>((resolve) => client.whenSent(resolve))
    client.end()
    await new Promise<void>((resolve) => (socket.onClose = () => resolve()))
    assert.ok(before < received)
    assert.equal(received, pieces * piece.length)
    await listener.close()
  })

  it('a datagram comes whole or not at all, and is answered where it came from', async ({
    platform: { clock, sockets },
    address,
  }) => {
    if (address.startsWith('unix:')) return
    const heard: Buffer[] = []
    const server = await sockets.bind(address, (bytes, from) => {
      server.send(Buffer.concat([Buffer.from('to '), bytes]), from)
    })
    const client = await sockets.bind(address, (bytes) => void heard.push(bytes))
    assert.notEqual(client.address, server.address)
    await assert.rejects(
      sockets.bind(server.address, () => undefined),
      { code: 'EADDRINUSE' },
    )
    const bytes = Buffer.from('one')
    // One may be lost.
    for (let tries = 0; heard.length === 0 && tries < 100; tries++) {
      client.send(bytes, server.address)
      await clock.sleep(10)
    }
    assert.deepEqual(heard[0], Buffer.from('to one'))
    client.send(Buffer.alloc(0), server.address)
    client.send(Buffer.alloc(60_000, 7), server.address)
    await clock.sleep(20)
    assert.ok(heard.slice(1).every(({ length }) => [3, 6, 60_003].includes(length)))
    await server.close()
    client.send(bytes, server.address)
    await clock.sleep(10)
    await client.close()
    const again = await sockets.bind(server.address, () => undefined)
    await again.close()
  })

  it('a connection to where nobody listens is refused', async ({ platform: { sockets }, address }) => {
    const listener = await sockets.listen(address, () => undefined)
    await listener.close()
    await assert.rejects(sockets.connect(listener.address, 1000))
  })

  it('an address in use is refused', async ({ platform: { sockets }, address }) => {
    const listener = await sockets.listen(address, (socket) => {
      socket.onData = () => undefined
      socket.onClose = () => undefined
    })
    await assert.rejects(
      sockets.listen(listener.address, () => undefined),
      { code: 'EADDRINUSE' },
    )
    await listener.close()
  })

  it('destroying a socket closes it once, and the other side hears of it', async ({
    platform: { sockets },
    address,
  }) => {
    let closes = 0
    const serverClosed = Promise.withResolvers<void>()
    const listener = await sockets.listen(address, (socket) => {
      socket.onData = () => undefined
      socket.onClose = () => serverClosed.resolve()
    })
    const client = await sockets.connect(listener.address, 1000)
    const closed = Promise.withResolvers<void>()
    client.onData = () => undefined
    client.onClose = () => {
      closes++
      closed.resolve()
    }
    client.destroy()
    client.destroy()
    await closed.promise
    await serverClosed.promise
    assert.equal(client.write([Buffer.from('late')]), true)
    assert.equal(closes, 1)
    await listener.close()
  })
}
