/**
 * How many calls a second one peer answers another, over loopback, in two processes.
 *
 *   node bench/parts/peer.ts [seconds for each figure]
 */
import { fork } from 'node:child_process'
import type { Incarnation, NodeId } from '../../src/base/ids.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { nodePlatform } from '../../src/platform/node-platform.ts'
import { createPeers } from '../../src/peer/peer-network.ts'

const seconds = Number(process.argv[2] ?? 2)
const called = 'n2' as NodeId

const peersOf = (node: NodeId) =>
  createPeers({
    platform: nodePlatform({ level: 'warn' }),
    node,
    incarnation: '0123456789abcdef' as Incarnation,
    clusterId: 'c-bench',
    key: Buffer.alloc(32, 7),
  })

if (process.send === undefined) await measure()
else await answer()

async function answer(): Promise<void> {
  const peers = peersOf(called)
  const answers = new Map([64, 4 * KiB, MiB].map((bytes) => [bytes, [Buffer.alloc(bytes)]]))
  const small = [Buffer.alloc(64)]
  peers.handle('bench.write', 'terminal', () => small)
  peers.handle('bench.read', 'terminal', ({ body }) => answers.get(body.readUInt32LE(0)) ?? small)
  process.send?.(await peers.listen('127.0.0.1:0'))
}

async function measure(): Promise<void> {
  const child = fork(import.meta.filename)
  const address = await new Promise<string>((resolve) => child.once('message', resolve))
  const peers = peersOf('n1' as NodeId)
  peers.setAddress(called, address)

  const run = async (kind: string, bytes: number, depth: number): Promise<void> => {
    const body = [Buffer.alloc(kind === 'bench.write' ? bytes : 64)]
    body[0].writeUInt32LE(bytes, 0)
    const start = performance.now()
    const end = start + seconds * 1000
    let calls = 0
    const worker = async (): Promise<void> => {
      while (performance.now() < end) {
        await peers.call(called, kind, body)
        calls++
      }
    }
    await Promise.all(Array.from({ length: depth }, worker))
    const rate = calls / ((performance.now() - start) / 1000)
    const megabytes = bytes >= 4 * KiB ? `, ${Math.round((rate * bytes) / 1e6)} MB/s` : ''
    process.stdout.write(
      `${kind.padEnd(12)} ${String(bytes).padStart(8)} B  d${depth}: ${Math.round(rate)} calls/s${megabytes}\n`,
    )
  }
  await run('bench.write', 64, 64)
  for (const kind of ['bench.write', 'bench.read'])
    for (const [bytes, depth] of [
      [64, 1],
      [64, 64],
      [4 * KiB, 1],
      [4 * KiB, 32],
      [MiB, 8],
    ])
      await run(kind, bytes, depth)
  await peers.close()
  child.kill()
}
