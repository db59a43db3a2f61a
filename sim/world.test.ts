import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Platform, Socket } from '../src/platform/platform.ts'
import { World } from './world.ts'

const seed = Math.floor(Math.random() * 2 ** 32)
console.log(`seed ${seed}`)

const addressOf = (node: string): string => `${node}:9440`

/** Sends back what comes, and writes it to a file first. */
async function echoNode(
  { files, sockets, log }: Platform,
  node: string,
): Promise<{ close(): Promise<void> }> {
  await files.makeDirectory('/data')
  const before = await files.readWhole('/data/log')
  const file = before
    ? await files.open('/data/log', { writable: true, durable: true })
    : await files.open('/data/log', { create: true, durable: true })
  await files.syncDirectory('/data')
  let position = before?.length ?? 0
  log.info('echoes', { position })
  const listener = await sockets.listen(addressOf(node), (socket) => {
    socket.onData = (bytes) => {
      const at = position
      position += bytes.length
      void file.write([bytes], at).then(() => socket.write([bytes]))
    }
    socket.onClose = (error) => log.info('a client left', { error })
  })
  return { close: () => listener.close() }
}

/** Connects again and again, and counts what comes back. */
async function pingClient(
  { clock, chance, sockets }: Platform,
  nodes: string[],
  counts: number[],
): Promise<void> {
  for (;;) {
    const target = chance.below(nodes.length)
    try {
      const socket = await sockets.connect(addressOf(nodes[target]), 500)
      await new Promise<void>((resolve) => {
        const ping = () => socket.write([chance.bytes(1 + chance.below(5000))])
        socket.onClose = () => resolve()
        socket.onData = (bytes) => {
          counts[target] += bytes.length
          if (chance.below(20) === 0) socket.end()
          else ping()
        }
        ping()
        clock.after(1000, () => socket.destroy())
      })
    } catch {
      await clock.sleep(50)
    }
  }
}

/** Three nodes and two clients, while nodes are killed, lose power, freeze and are cut off. */
async function hardTimes(seed: number): Promise<{ hash: string; counts: number[]; trace: string[] }> {
  const trace: string[] = []
  const world = new World({ seed, trace: (line) => trace.push(line) })
  const chance = world.chance('hard times')
  const nodes = ['n1', 'n2', 'n3']
  const counts = nodes.map(() => 0)
  const start = (node: string) => world.start(node, (platform) => echoNode(platform, node))
  for (const node of nodes) start(node)
  for (const client of ['c1', 'c2'])
    world.start(client, async (platform) => {
      void pingClient(platform, nodes, counts)
      return { close: async () => undefined }
    })
  for (let round = 0; round < 8; round++) {
    const node = nodes[chance.below(3)]
    await world.run(world.now + chance.between(50, 500))
    const trouble = chance.below(4)
    if (trouble === 0) world.kill(node)
    else if (trouble === 1) world.crash(node, { silent: chance.happens(0.5) })
    else if (trouble === 2) world.freeze(node, 200)
    else world.isolate(node)
    await world.run(world.now + chance.between(50, 500))
    world.healAll()
    if (trouble < 2) start(node)
  }
  await world.run(world.now + 1000)
  return { hash: world.eventHash, counts, trace }
}

test('the same seed gives the same history, event for event, and another seed another', async () => {
  const first = await hardTimes(seed)
  const second = await hardTimes(seed)
  const other = await hardTimes(seed + 1)
  assert.deepEqual(second.trace, first.trace)
  assert.equal(second.hash, first.hash)
  assert.notEqual(other.hash, first.hash)
  for (const count of first.counts) assert.ok(count > 0, `no work was done: ${first.counts.join()}`)
})

test('an hour passes in no time, and each clock has its own', async () => {
  const world = new World({ seed })
  const hour = 3_600_000
  const begins = ['n1', 'n2'].map((node) => world.platform(node).clock.now())
  await world.run(hour)
  const [first, second] = ['n1', 'n2'].map((node, index) => world.platform(node).clock.now() - begins[index])
  for (const passed of [first, second]) assert.ok(Math.abs(passed / hour - 1) < 0.01)
  assert.notEqual(first, second)
  assert.equal(world.now, hour)
})

test('everything that an event made ready is done before the next one', async () => {
  const world = new World({ seed })
  const { clock } = world.platform('n1')
  const order: string[] = []
  const longChain = async () => {
    for (let i = 0; i < 1000; i++) await Promise.resolve()
    order.push('the end of a long chain')
  }
  clock.after(1, () => {
    clock.soon(() => order.push('the next event'))
    void longChain()
  })
  await world.run(10)
  assert.deepEqual(order, ['the end of a long chain', 'the next event'])
})

test('nothing of a killed process ever runs again', async () => {
  const world = new World({ seed })
  let ran = 0
  const { clock, files, sockets } = world.platform('n1')
  await world.play(async () => {
    const file = await files.open('/file', { create: true })
    const count = () => ran++
    clock.after(1, count)
    clock.soon(count)
    void clock.sleep(1).then(count)
    void file.write([Buffer.from('x')], 0).then(count)
    void sockets.connect('nowhere:1', 100).catch(count)
    world.kill('n1')
    void clock.sleep(1).then(count)
    void files.readWhole('/file').then(count)
  })
  await world.run(world.now + 1000)
  assert.equal(ran, 0)
})

test('a frozen process stands still while time passes, and then does what it missed', async () => {
  const world = new World({ seed })
  const { clock } = world.platform('n1')
  const fired: number[] = []
  for (const ms of [10, 20, 300]) clock.after(ms, () => fired.push(world.now))
  const before = clock.now()
  world.freeze('n1', 200)
  await world.run(150)
  assert.deepEqual(fired, [])
  assert.ok(clock.now() - before > 140)
  await world.run(1000)
  assert.deepEqual(fired.slice(0, 2), [200, 200])
  assert.equal(fired.length, 3)
})

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code

interface Pair {
  client: Socket
  server: Socket
  received: string[]
  closes: (string | undefined)[]
}

async function connected(world: World): Promise<Pair> {
  const received: string[] = []
  const closes: (string | undefined)[] = []
  const taken = Promise.withResolvers<Socket>()
  return world.play(async () => {
    await world.platform('n2').sockets.listen('n2:1', (socket) => {
      socket.onData = (bytes) => received.push(String(bytes))
      socket.onClose = () => undefined
      taken.resolve(socket)
    })
    const client = await world.platform('n1').sockets.connect('n2:1', 1000)
    client.onData = () => undefined
    client.onClose = (error) => closes.push(codeOf(error))
    return { client, server: await taken.promise, received, closes }
  })
}

test('what is sent through a short cut arrives after it is healed', async () => {
  const world = new World({ seed })
  const { client, received, closes } = await connected(world)
  world.cut('n1', 'n2')
  client.write([Buffer.from('a')])
  await world.run(world.now + 5000)
  client.write([Buffer.from('b')])
  assert.deepEqual(received, [])
  world.heal('n1', 'n2')
  await world.run(world.now + 10_000)
  assert.equal(received.join(''), 'ab')
  assert.deepEqual(closes, [])
})

test('a long cut, even one way, breaks the sender’s end and leaves the other half open', async () => {
  for (const [from, to] of [
    ['n1', 'n2'],
    ['n2', 'n1'],
  ]) {
    const world = new World({ seed })
    const { client, server, closes } = await connected(world)
    let serverClosed = false
    server.onClose = () => (serverClosed = true)
    world.cut(from, to, { oneWay: true })
    client.write([Buffer.from('a')])
    await world.run(world.now + 20_000)
    assert.deepEqual(closes, ['ETIMEDOUT'])
    assert.equal(serverClosed, false)
  }
})

test('a connection attempt to a cut-off node times out, and one to a killed node is refused', async () => {
  const world = new World({ seed })
  await connected(world)
  const connect = () => world.play(() => world.platform('n1').sockets.connect('n2:1', 500))
  world.cut('n1', 'n2')
  await assert.rejects(connect(), { code: 'ETIMEDOUT' })
  world.heal('n1', 'n2')
  world.kill('n2')
  await assert.rejects(connect(), { code: 'ECONNREFUSED' })
})

test('peers of a killed process are told; those of a silent machine find out by themselves', async () => {
  const told = new World({ seed })
  const first = await connected(told)
  told.kill('n2')
  await told.run(told.now + 1000)
  assert.equal(first.closes.length, 1)

  const silent = new World({ seed })
  const second = await connected(silent)
  silent.crash('n2', { silent: true })
  await silent.run(silent.now + 60_000)
  assert.equal(second.closes.length, 0)
  second.client.write([Buffer.from('are you there?')])
  await silent.run(silent.now + 60_000)
  assert.deepEqual(second.closes, ['ETIMEDOUT'])

  const back = new World({ seed })
  const third = await connected(back)
  back.crash('n2', { silent: true })
  third.client.write([Buffer.from('are you there?')])
  await back.run(back.now + 1000)
  back.platform('n2')
  await back.run(back.now + 10_000)
  assert.deepEqual(third.closes, ['ECONNRESET'])
})

test('Unix sockets belong to a machine, which nodes may share, and are not cut', async () => {
  const world = new World({ seed })
  world.addNode('n1', { machine: 'm1' })
  world.addNode('store', { machine: 'm1' })
  world.cut('n1', 'store')
  await world.play(async () => {
    await world.platform('store').sockets.listen('unix:/run/store', (socket) => {
      socket.onClose = () => undefined
    })
    const socket = await world.platform('n1').sockets.connect('unix:/run/store', 100)
    socket.onClose = () => undefined
    await assert.rejects(world.platform('n2').sockets.connect('unix:/run/store', 100), {
      code: 'ECONNREFUSED',
    })
    socket.end()
  })
})

test('a buffer that is changed before it is sent or written is a bug that ends the run', async () => {
  const world = new World({ seed })
  const { client } = await connected(world)
  const bytes = Buffer.from('before')
  client.write([bytes])
  bytes.write('after!')
  await assert.rejects(world.run(world.now + 10), /a buffer was changed before it was sent/)

  const other = new World({ seed })
  await assert.rejects(
    other.play(async () => {
      const file = await other.platform('n1').files.open('/file', { create: true })
      const writing = file.write([bytes], 0)
      bytes.write('before')
      await writing
    }),
    /what was being written to \/file changed meanwhile/,
  )
})

test('an exception in a callback ends the run, and says seed and time', async () => {
  const world = new World({ seed })
  world.platform('n1').clock.after(5, () => assert.fail('our bug'))
  await assert.rejects(
    world.run(10),
    new RegExp(`a bug in timer of n1/1, seed ${seed}, \\d+\\.\\d+ ms: .*our bug`),
  )
})

test('a node stopped in good order is closed first', async () => {
  const world = new World({ seed })
  let closed = false
  const running = world.start('n1', async () => ({
    close: async () => {
      closed = true
    },
  }))
  await world.run(() => running.value !== undefined)
  await world.play(() => world.stop('n1', running))
  assert.equal(closed, true)
  assert.equal(running.alive, false)
  const refused = world.start('n1', () => Promise.reject(new Error('no disk')))
  await world.run(() => !refused.alive)
  assert.match(String(refused.failure), /no disk/)
})

test('a world in which nothing more can happen, or time stands still, says so', async () => {
  const world = new World({ seed })
  await assert.rejects(
    world.run(() => false),
    /did not happen/,
  )
})
