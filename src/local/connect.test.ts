import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { nodePlatform } from '../platform/node-platform.ts'
import { MemoryExports } from '../stargate/front-end-adapter/nbd/memory-exports.ts'
import { createNbdServer } from '../stargate/front-end-adapter/nbd/nbd.ts'
import { command } from '../stargate/front-end-adapter/nbd/nbd-protocol.ts'
import { connect } from './connect.ts'
import { connectNbd } from './nbd-client.ts'
import type { ClusterFile } from './local.ts'

const platform = nodePlatform({ level: 'silent' })

test('connect serves the vDisk of a cluster on a socket, under its name and as the default, until it is stopped', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'ndfs-connect-'))
  t.after(() => rm(dir, { recursive: true }))
  const exports = new MemoryExports({ 'vms/disk1': 1024 * 1024 })
  const node = createNbdServer({ platform, exports })
  t.after(() => node.close())
  const address = await node.listen('127.0.0.1:0')
  const cluster: ClusterFile = {
    nodes: [
      {
        id: 'n1',
        block: 'b1',
        pid: null,
        http: '',
        peer: '',
        nbd: { address: '127.0.0.1:1', socket: '/nowhere' },
      },
      { id: 'n2', block: 'b2', pid: 7, http: '', peer: '', nbd: { address, socket: '/nowhere' } },
    ],
  }
  await writeFile(join(dir, 'cluster.json'), JSON.stringify(cluster))

  const socket = join(dir, 'vm.sock')
  const stopped = new AbortController()
  const lines: string[] = []
  let ready = (): void => undefined
  const isReady = new Promise<void>((resolve) => (ready = resolve))
  const output = {
    line: (line: string) => void lines.push(line),
    event: ({ event }: { event: string }) => {
      if (event === 'ready') ready()
    },
  }
  const running = connect(
    { name: 'vms/disk1', socket, giveUpMs: 5000, dir },
    platform,
    output,
    stopped.signal,
  )
  await isReady
  assert.deepEqual(lines, [
    `connected vms/disk1 through n2 (${address})`,
    `ready: nbd+unix:///?socket=${socket}`,
  ])

  for (const [index, name] of ['', 'vms/disk1'].entries()) {
    let answered = (_error: number): void => undefined
    const answer = new Promise<number>((resolve) => (answered = resolve))
    const client = await connectNbd(platform, `unix:${socket}`, name, 5000, {
      answered: (_, error) => answered(error),
      lost: () => undefined,
    })
    assert.equal(client.sizeBytes, 1024 * 1024)
    const payload = Buffer.from([index + 1])
    client.send({ cookie: 1, command: command.write, flags: 0, offset: index, length: 1, payload })
    assert.equal(await answer, 0)
    client.destroy()
  }
  assert.deepEqual([...exports.vdisk('vms/disk1').bytes.subarray(0, 3)], [1, 2, 0])
  await assert.rejects(
    connectNbd(platform, `unix:${socket}`, 'vms/other', 5000, {
      answered: () => undefined,
      lost: () => undefined,
    }),
    /only vms\/disk1 is served here/,
  )
  stopped.abort()
  await running
  await assert.rejects(platform.sockets.connect(`unix:${socket}`, 1000))
})
