/**
 * C11: a node whose ZooKeeper server runs beside it is cut off with it. That server goes on answering it for a while. The node must know
 * that its session is over before others see it. From a follower it reads nothing old; from a leader only until that has given up.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { zooKeeperServer } from '../scripts/engines/zookeeper.ts'
import { nodePlatform } from '../src/platform/node-platform.ts'
import { zooKeeperZeus } from '../src/zeus/zookeeper-zeus.ts'
import { Namespaces, withoutNamespaces } from './support/namespaces.ts'

const port = 2181

/** Milliseconds of a clock that all processes of the machine share. */
const now = (): number => Number(process.hrtime.bigint()) / 1e6

function isLeader(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connect({ host, port }, () => socket.write('srvr'))
    socket.on('data', (bytes) => (text += String(bytes)))
    socket.once('close', () => resolve(text.includes('Mode: leader'))).once('error', () => {})
  })
}

/** In the node's own namespace: says all the time whether its session lives, and what it reads. */
const program = (server: string): string => `
  const { nodePlatform } = await import(${JSON.stringify(new URL('../src/platform/node-platform.ts', import.meta.url).href)})
  const { zooKeeperZeus } = await import(${JSON.stringify(new URL('../src/zeus/zookeeper-zeus.ts', import.meta.url).href)})
  const now = () => Number(process.hrtime.bigint()) / 1e6
  const zeus = zooKeeperZeus({ servers: ['${server}'], chroot: '/cut', platform: nodePlatform({ level: 'silent' }) })
  const session = await zeus.openSession('n1', 'aaaaaaaaaaaaaaaa', {})
  setInterval(() => session.alive && console.log('alive ' + now()), 2)
  for (;;) {
    const begun = now()
    const value = (await zeus.get('a').catch(() => undefined))?.value
    if (value !== undefined) console.log('read ' + begun + ' ' + value)
  }`

for (const mode of ['follower', 'leader'] as const)
  test(
    `C11: a node that is cut off with ZooKeeper's ${mode} knows that its session is over before others do`,
    { skip: withoutNamespaces() },
    async () => {
      const dir = await mkdtemp(join(tmpdir(), 'ndfs-zeus-cut-'))
      const network = new Namespaces(3)
      const hosts = network.nodes.map((node) => network.addressOf(node))
      const members = hosts.map((host) => ({ host, clientPort: port, quorumPort: 2888, electionPort: 3888 }))
      const servers = network.nodes.map((node, index) =>
        zooKeeperServer({
          ...{ dir: join(dir, node), members, index },
          within: ['ip', 'netns', 'exec', network.namespaceOf(node)],
        }),
      )
      const stop: (() => unknown)[] = []
      try {
        for (const server of servers) server.begin()
        for (const server of servers) await server.serving(30)
        let leader = -1
        while (leader < 0) {
          await sleep(100)
          leader = (await Promise.all(hosts.map(isLeader))).indexOf(true)
        }
        const cut = mode === 'leader' ? leader : (leader + 1) % 3
        const others = hosts.filter((_, index) => index !== cut).map((host) => `${host}:${port}`)
        const platform = nodePlatform({ level: 'silent' })
        const there = zooKeeperZeus({ servers: others, chroot: '/cut', platform })
        stop.push(() => there.close())
        let goneAt: number | undefined
        let shown = false
        there.watch('session/', (_, entry) => {
          shown = entry !== undefined
          if (!shown) goneAt ??= now()
        })
        const child = spawn(
          'ip',
          [
            ...['netns', 'exec', network.namespaceOf(network.nodes[cut]), process.execPath],
            ...['--input-type=module', '-e', program(`${hosts[cut]}:${port}`)],
          ],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        )
        stop.push(() => child.kill('SIGKILL'))
        const said: string[] = []
        let rest = ''
        child.stdout.on('data', (bytes) => {
          const lines = (rest + String(bytes)).split('\n')
          rest = lines.pop() ?? ''
          said.push(...lines)
        })
        const setAt: number[] = []
        let over = false
        const writing = (async () => {
          for (let value = 1; !over; value++) {
            while (!over && (await there.set('a', value).catch(() => undefined)) === undefined);
            setAt[value] = now()
          }
        })()
        while (!shown || !said.some((line) => line.startsWith('read'))) await sleep(10)
        await sleep(1_500)
        const cutAt = now()
        network.cut(network.nodes[cut])
        while (goneAt === undefined) await sleep(10)
        await sleep(1_000)
        over = true
        await writing

        const facts = said.map((line) => line.split(' '))
        const aliveAt = Math.max(
          ...facts.filter(([what]) => what === 'alive').map(([, time]) => Number(time)),
        )
        const reads = facts
          .filter(([what]) => what === 'read')
          .map(([, begun, value]) => [Number(begun), Number(value)])
        const old = reads.filter(([begun, value]) => (setAt[value + 1] ?? Infinity) < begun)
        const after = (time: number): number => Math.round(time - cutAt)
        console.log(
          `figure: cut off with ZooKeeper's ${mode}: alive until ${after(aliveAt)} ms, the last read begun at ${after(Math.max(...reads.map(([begun]) => begun)))} ms (${reads.length} in all, ${old.length} old), gone for others at ${after(goneAt)} ms`,
        )
        assert.ok(aliveAt > cutAt && aliveAt < goneAt)
        // A leader that is cut off leaves at 1.3 s, and the others may have another some 0.1 s before that (docs/decisions/0017).
        const excused = mode === 'leader' ? old.filter(([begun]) => after(begun) < 1_500) : []
        assert.deepEqual(old, excused)
      } finally {
        for (const end of stop.reverse()) await end()
        await Promise.all(servers.map((server) => server.kill()))
        network.remove()
        await rm(dir, { recursive: true })
      }
    },
  )
