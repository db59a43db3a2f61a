/** The store as it runs: a process of its own, a file, the peer protocol over a Unix socket; killed and frozen. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import type { Epoch, Incarnation, NodeId } from '../../base/ids.ts'
import { changeForCertain, newChangeId } from '../../medusa/medusa.ts'
import { medusaContract } from '../../medusa/medusa-contract-suite.ts'
import { StoreMedusa } from '../../medusa/store-medusa.ts'
import type { PeerNetwork } from '../../peer/peer-network.ts'
import { StoreZeus } from '../../zeus/store-zeus.ts'
import { until, zeusContract } from '../../zeus/zeus-contract-suite.ts'
import { testCluster, testPeers, testPlatform, withDirectory } from './store-for-tests.ts'
import { runStore, storeNode } from './store-process.ts'

const { clock, chance } = testPlatform
const incarnation = 'aaaaaaaaaaaaaaaa' as Incarnation

/** A program of its own, that ends when its parent is gone. */
async function start(directory: string, name: string, program: string): Promise<ChildProcess> {
  const path = join(directory, `${name}.mjs`)
  await writeFile(path, `process.stdin.on('end', () => process.exit(1)).resume()\n${program}`)
  return spawn(process.execPath, [path], { stdio: ['pipe', 'pipe', 'inherit'] })
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill(signal)
  await ended
}

const file = (name: string) => JSON.stringify(join(import.meta.dirname, name))

const storeProgram = (directory: string) => `
  import { runStore } from ${file('store-process.ts')}
  import { testCluster, testPlatform as platform } from ${file('store-for-tests.ts')}
  const store = await runStore({
    platform,
    dir: ${JSON.stringify(join(directory, 'store'))},
    socketPath: ${JSON.stringify(join(directory, 's.sock'))},
    ...testCluster,
  })
  process.on('SIGTERM', () => store.close().then(() => process.exit(0)))
  process.stdout.write('serves')
`

async function startStore(directory: string): Promise<ChildProcess> {
  const child = await start(directory, 'store', storeProgram(directory))
  assert.ok(child.stdout)
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => assert.fail('it ended'))])
  return child
}

function peersOf(name: string, directory: string): PeerNetwork {
  const peers = testPeers(name)
  peers.setAddress(storeNode, `unix:${join(directory, 's.sock')}`)
  return peers
}

interface Stand {
  readonly directory: string
  /** The peers of one more node. */
  readonly node: (name?: string) => PeerNetwork
  readonly kill: () => Promise<void>
  readonly restart: () => Promise<void>
}

function withStoreProcess(body: (stand: Stand) => Promise<void>): Promise<void> {
  return withDirectory(async (directory) => {
    const nodes: PeerNetwork[] = []
    let child = await startStore(directory)
    const node = (name = `n${nodes.length + 1}`) => {
      const peers = peersOf(name, directory)
      nodes.push(peers)
      return peers
    }
    const kill = () => end(child, 'SIGKILL')
    const restart = async () => void (child = await startStore(directory))
    try {
      await body({ directory, node, kill, restart })
    } finally {
      await Promise.all(nodes.map((peers) => peers.close()))
      await end(child, 'SIGKILL')
    }
  })
}

zeusContract('Zeus in the store process', (body) =>
  withStoreProcess(async ({ node }) => {
    const clients: StoreZeus[] = []
    const client = () => {
      const zeus = new StoreZeus(node(), storeNode, testPlatform)
      clients.push(zeus)
      return zeus
    }
    await body({ client, clock, run: (work) => work }).finally(() =>
      Promise.all(clients.map((zeus) => zeus.close())),
    )
  }),
)

medusaContract('Medusa in the store process', (body) =>
  withStoreProcess(async ({ node }) => {
    const client = () => new StoreMedusa(node(), storeNode)
    await body({ client, clock, chance, run: (work) => work })
  }),
)

test('after kill -9 in the middle of many changes every one that was acknowledged is there', () =>
  withStoreProcess(async ({ node, kill, restart }) => {
    const medusa = new StoreMedusa(node(), storeNode)
    const streams = 32
    for (let round = 0; round < 3; round++) {
      const acknowledged = new Array<number>(streams).fill(0)
      const stream = async (i: number): Promise<void> => {
        for (let version = 0; ; version++) {
          await medusa.change(
            { table: 'map', key: `${round}.${i}` },
            {
              id: newChangeId(chance),
              expected: { epoch: 0 as Epoch, version },
              epoch: 0 as Epoch,
              put: [{ key: String(version), value: Buffer.alloc(300, version) }],
            },
          )
          acknowledged[i] = version + 1
        }
      }
      const all = Promise.allSettled(Array.from({ length: streams }, (_, i) => stream(i)))
      await until(clock, () => acknowledged.every((count) => count >= 10))
      await kill()
      await all
      await restart()
      for (const [i, count] of acknowledged.entries()) {
        const { static: now, rows } = await medusa.get({ table: 'map', key: `${round}.${i}` })
        // One more than acknowledged may have been made: its answer was cut off.
        assert.ok(now.version === count || now.version === count + 1)
        assert.equal(rows.length, now.version)
        assert.ok(rows.every(({ key: row, value }) => value.equals(Buffer.alloc(300, Number(row)))))
      }
    }
  }))

test('watches and sessions outlive a store that is killed and started again', () =>
  withStoreProcess(async ({ node, kill, restart }) => {
    const zeus = new StoreZeus(node(), storeNode, testPlatform)
    const other = new StoreZeus(node(), storeNode, testPlatform)
    await other.set('before', 1)
    await other.set('gone', 1)
    const calls: string[] = []
    const watch = zeus.watch('', (changed, now) => calls.push(`${changed} ${now?.version ?? 'gone'}`))
    await watch.caughtUp
    await zeus.openSession('n1' as NodeId, incarnation, {})
    await kill()
    await restart()
    await other.delete('gone')
    await other.set('after', 1)
    await until(clock, () => calls.includes('after 1'))
    // The store judges by its file, and gave the session its whole timeout anew: it waits to hear of the node.
    assert.ok(await other.get('session/n1'))
    assert.deepEqual(calls.sort(), ['after 1', 'before 1', 'gone 1', 'gone gone', 'session/n1 1'])
    await zeus.close()
    await other.close()
  }))

test('changes are made exactly once while the store is killed again and again', () =>
  withStoreProcess(async ({ node, kill, restart }) => {
    const medusa = new StoreMedusa(node(), storeNode)
    let changes = 0
    let running = true
    const counting = (async () => {
      for (; running; changes++) {
        const change = {
          id: newChangeId(chance),
          expected: { epoch: 0 as Epoch, version: changes },
          epoch: 0 as Epoch,
          put: [{ key: String(changes), value: Buffer.alloc(1) }],
        }
        const { outcome } = await changeForCertain(
          medusa,
          clock,
          { table: 'vdisk', key: '1' },
          change,
          () => true,
        )
        assert.equal(outcome, 'applied')
      }
    })()
    for (let kills = 0; kills < 3; kills++) {
      const before = changes
      await until(clock, () => changes > before + 20)
      await kill()
      await restart()
    }
    running = false
    await counting
    const { static: now, rows } = await medusa.get({ table: 'vdisk', key: '1' })
    assert.equal(now.version, changes)
    assert.equal(rows.length, changes)
  }))

test('M17: a client that is frozen in the middle of its changes holds nobody up', () =>
  withStoreProcess(async ({ directory, node }) => {
    const busy = await start(
      directory,
      'busy',
      `
      import { StoreMedusa } from ${file('../../medusa/store-medusa.ts')}
      import { StoreZeus } from ${file('../../zeus/store-zeus.ts')}
      import { newChangeId } from ${file('../../medusa/medusa.ts')}
      import { testPeers, testPlatform as platform } from ${file('store-for-tests.ts')}
      const peers = testPeers('n9', '9999999999999999')
      peers.setAddress('store', ${JSON.stringify(`unix:${join(directory, 's.sock')}`)})
      const session = await new StoreZeus(peers, 'store', platform).openSession('n9', '9999999999999999', {})
      session.onLost = () => { process.stdout.write('lost'); process.exit(session.alive ? 3 : 0) }
      const medusa = new StoreMedusa(peers, 'store')
      const change = async (key) => {
        for (let version = 0; ; version++)
          await medusa.change({ table: 'map', key }, {
            id: newChangeId(platform.chance), expected: { epoch: 0, version }, epoch: 0,
            put: [{ key: 'a', value: Buffer.alloc(1000) }],
          })
      }
      for (let i = 0; i < 16; i++) void change('busy' + i).catch(() => {})
    `,
    )
    try {
      const medusa = new StoreMedusa(node(), storeNode)
      const zeus = new StoreZeus(node(), storeNode, testPlatform)
      let version = 0
      while (version < 5) {
        version = (await medusa.get({ table: 'map', key: 'busy15' }, [])).static.version
        await clock.sleep(20)
      }
      const gone = Promise.withResolvers<void>()
      const watch = zeus.watch('session/n9', (_, now) => now ?? gone.resolve())
      await watch.caughtUp
      busy.kill('SIGSTOP')
      for (let mine = 0; mine < 50; mine++) {
        const id = newChangeId(chance)
        const at = { epoch: 0 as Epoch, version: mine }
        const { outcome } = await medusa.change(
          { table: 'map', key: 'mine' },
          { id, expected: at, epoch: at.epoch },
        )
        assert.equal(outcome, 'applied')
      }
      await gone.promise
      // When it thaws it finds its session lost.
      const ended = once(busy, 'exit')
      busy.kill('SIGCONT')
      assert.deepEqual(await ended, [0, null])
      await zeus.close()
    } finally {
      await end(busy, 'SIGKILL')
    }
  }))

test('a second store in one directory is refused', () =>
  withStoreProcess(async ({ directory }) => {
    const dir = join(directory, 'store')
    const second = { platform: testPlatform, dir, socketPath: join(directory, 'b.sock'), ...testCluster }
    await assert.rejects(
      runStore(second),
      (error) => hasCode(error, 'IN_USE') && /another process holds it/.test(error.message),
    )
  }))

test('a store that is told to stop ends in order, and its successor has everything', () =>
  withDirectory(async (directory) => {
    const child = await startStore(directory)
    const peers = peersOf('n1', directory)
    const zeus = new StoreZeus(peers, storeNode, testPlatform)
    await zeus.set('a', 1)
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
    const next = await startStore(directory)
    assert.equal((await zeus.get('a'))?.value, 1)
    await zeus.close()
    await peers.close()
    await end(next, 'SIGKILL')
  }))
