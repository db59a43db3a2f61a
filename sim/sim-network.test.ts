import assert from 'node:assert/strict'
import { test } from 'node:test'
import { World } from './world.ts'

const seed = 11
const codeOf = (error: Error | undefined): string =>
  error !== undefined && 'code' in error ? String(error.code) : 'none'
const addressOf = (node: string): string => `${node}:9440`

/** `b` collects what comes over one connection; returns the sender's end and what arrived, with its time. */
async function connected(world: World) {
  const arrived: { bytes: number; at: number }[] = []
  const closed: string[] = []
  await world.platform('b').sockets.listen(addressOf('b'), (socket) => {
    socket.onData = (bytes) => arrived.push({ bytes: bytes.length, at: world.now })
    socket.onClose = (error) => closed.push(`b ${codeOf(error)}`)
  })
  const socket = await world.platform('a').sockets.connect(addressOf('b'), 1000)
  socket.onData = () => undefined
  socket.onClose = (error) => closed.push(`a ${codeOf(error)}`)
  return { socket, arrived, closed }
}

test('a stalled way takes no more than a window, and goes on where it stopped; its connections stay', async () => {
  const world = new World({ seed })
  const troubles = new Set<string>()
  world.network.onTrouble = (trouble) => troubles.add(trouble)
  const { socket, arrived, closed } = await world.play(() => connected(world))
  world.network.stall('a', 'b')
  let sent = false
  socket.write([Buffer.alloc(3 * 1024 * 1024)])
  socket.whenSent(() => (sent = true))
  await world.run(world.now + 60_000)
  assert.equal(arrived.length, 0)
  assert.equal(sent, false)
  world.network.endStall('a', 'b')
  await world.run(world.now + 1000)
  assert.equal(
    arrived.reduce((sum, { bytes }) => sum + bytes, 0),
    3 * 1024 * 1024,
  )
  assert.deepEqual(closed, [])
  assert.deepEqual([...troubles], ['kept back'])
})

test('over a narrow way bytes take their time', async () => {
  const world = new World({ seed })
  const { socket, arrived } = await world.play(() => connected(world))
  world.network.narrow('a', 'b', 100)
  const begun = world.now
  socket.write([Buffer.alloc(200_000)])
  await world.run(world.now + 10_000)
  assert.ok(arrived.at(-1)!.at - begun >= 2_000)
  world.network.narrow('a', 'b', undefined)
  const again = world.now
  socket.write([Buffer.alloc(200_000)])
  await world.run(world.now + 10_000)
  assert.ok(arrived.at(-1)!.at - again < 500)
})

test('a connection that is reset tells both ends, and what was under way is gone', async () => {
  const world = new World({ seed })
  const { socket, arrived, closed } = await world.play(() => connected(world))
  socket.write([Buffer.alloc(100)])
  assert.equal(world.network.reset('b', 'c'), 0)
  assert.equal(world.network.reset('b', 'a'), 1)
  await world.run(world.now + 1000)
  assert.deepEqual(closed.sort(), ['a ECONNRESET', 'b ECONNRESET'])
  assert.equal(arrived.length, 0)
  assert.equal(world.network.reset('b', undefined), 0)
})
