import assert from 'node:assert/strict'
import { createServer, type AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { firstPorts, portRange } from './ports.ts'

const { sockets } = nodePlatform({ level: 'silent' })

async function busyPort(t: TestContext): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

test('a port that was asked for and is busy is refused by name', async (t) => {
  const busy = await busyPort(t)
  await assert.rejects(
    portRange('http', busy, 1, new Set(), sockets),
    new RegExp(`port ${busy} for http: another program`),
  )
  await assert.rejects(portRange('nbd', busy - 1, 3, new Set(), sockets), /Cannot use port \d+ for nbd/)
  await assert.rejects(portRange('http', 65535, 2, new Set(), sockets), /ports end at 65535/)
})

test('a default range goes around ports that are spoken for', async () => {
  const { first } = await portRange('nbd', undefined, 3, new Set(), sockets)
  const next = await portRange('nbd', undefined, 3, new Set([first + 2]), sockets)
  assert.ok(next.moved)
  assert.ok(next.first > first + 2)
  assert.ok(first >= firstPorts.nbd)
})
