/** A cluster of processes on this machine, by the commands that a user gives. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ClusterFile, ClusterFileNode } from '../src/local/local.ts'
import type { NodeInfo } from '../src/management/management.ts'

const program = join(import.meta.dirname, '..', 'cli', 'ndfs.ts')
// Of this process' own: other suites may start clusters at the same time.
const httpPort = 20_000 + (process.pid % 1000) * 10
const nbdPort = httpPort + 10_000
const nfsPort = nbdPort + 5
const ports = [
  ...['--http-port', String(httpPort), '--nbd-port', String(nbdPort)],
  ...['--nfs-port', String(nfsPort)],
]
const disks = ['--disk', 'flash:2GiB', '--disk', 'hdd:2GiB']
let home: string
let dir: string

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'ndfs-up-'))
  dir = join(home, 'd')
})
after(async () => {
  await ndfs('down', '--dir', dir)
  await rm(home, { recursive: true })
})

interface Run {
  readonly code: number | null
  readonly out: string
  readonly error: string
}

function start(...args: string[]): {
  child: ChildProcess
  ended: Promise<Run>
  said: (text: string) => Promise<void>
} {
  let [out, error] = ['', '']
  const child = spawn(process.execPath, [program, ...args], {
    cwd: home,
    env: { ...process.env, XDG_CONFIG_HOME: home },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stderr.on('data', (bytes) => (error += String(bytes)))
  child.stdout.on('data', (bytes) => (out += String(bytes)))
  const ended = new Promise<Run>((resolve) => child.on('close', (code) => resolve({ code, out, error })))
  const said = async (text: string): Promise<void> => {
    while (!out.includes(text)) {
      if (child.exitCode !== null) assert.fail(`ended before it said ${text}: ${out}${error}`)
      await Promise.race([once(child.stdout, 'data'), ended])
    }
  }
  return { child, ended, said }
}

const ndfs = (...args: string[]): Promise<Run> => start(...args).ended

async function done(...args: string[]): Promise<string> {
  const { code, out, error } = await ndfs(...args)
  assert.equal(code, 0, `${args.join(' ')}: ${out}${error}`)
  return out
}

async function node(id: string): Promise<ClusterFileNode> {
  const file = JSON.parse(await readFile(join(dir, 'cluster.json'), 'utf8')) as ClusterFile
  const found = file.nodes.find((one) => one.id === id)
  assert.ok(found)
  return found
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const give = Date.now() + 20_000; !(await holds());) {
    if (Date.now() > give) assert.fail(`did not come true: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const pidOf = async (file: string): Promise<number> =>
  (JSON.parse(await readFile(join(dir, file), 'utf8')) as { pid: number }).pid

test('up --detach returns once three nodes serve, and the commands find them', async () => {
  const out = await done('up', '--dir', dir, ...ports, ...disks, '--detach')
  assert.match(out, /^ready/m)
  assert.equal((await stat(join(dir, 'token'))).mode & 0o777, 0o600)
  assert.equal((await node('n2')).http, `127.0.0.1:${httpPort + 1}`)
  // Found by the user's folder alone, token included.
  assert.match(await done('container', 'create', 'vms'), /with 2 copies/)
  await done('vdisk', 'create', 'vms/disk1', '--size', '1GiB', '--api', (await node('n3')).http)
  const nodes = JSON.parse(await done('node', 'list', '--json')) as NodeInfo[]
  assert.deepEqual(
    nodes.map(({ id, state }) => [id, state]),
    [
      ['n1', 'up'],
      ['n2', 'up'],
      ['n3', 'up'],
    ],
  )
})

test('a node has threads enough for its disks, whoever starts it', async () => {
  const { pid } = await node('n2')
  const tasks = await readdir(`/proc/${pid}/task`)
  const names = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/comm`, 'utf8')))
  assert.equal(names.filter((name) => name.trim() === 'libuv-worker').length, 16)
})

test('a second up on the directory is refused', async () => {
  const { code, error } = await ndfs('up', '--dir', dir, ...ports)
  assert.equal(code, 1)
  assert.match(error, /another `ndfs up` \(process \d+\) uses it/)
})

test('a setting of another node takes effect through any node', async () => {
  await done('node', 'set', 'n2', '--cache', '64MiB', '--api', (await node('n1')).http)
  assert.match(await done('node', 'show', 'n2', '--dir', dir), /of 64MiB$/m)
  await done('node', 'set', 'n2', '--block', 'rack-7', '--api', (await node('n1')).http)
  const shown = await done('node', 'show', 'n2', '--api', (await node('n3')).http)
  assert.match(shown, /^block +rack-7$/m)
  assert.match(shown, /of 64MiB$/m)
})

test('a killed node has no process in cluster.json, the others are asked, and node start brings it back', async () => {
  const { pid } = await node('n1')
  assert.ok(pid)
  process.kill(pid, 'SIGKILL')
  await until('n1 is known to be gone', async () => (await node('n1')).pid === null)
  assert.match(await done('vdisk', 'show', 'vms/disk1', '--dir', dir), /^size +1GiB$/m)
  assert.match(await done('node', 'start', 'n1', '--dir', dir), /n1 serves again/)
  const now = await node('n1')
  assert.ok(now.pid !== null && now.pid !== pid)
  assert.match(await done('node', 'start', 'n1', '--dir', dir), /serves already/)
})

test('the store is started again when it ends', async () => {
  const pid = await pidOf('store/process.json')
  process.kill(pid, 'SIGKILL')
  await until('another store runs', async () => (await pidOf('store/process.json').catch(() => pid)) !== pid)
  await until('the API answers', async () => (await ndfs('status', '--dir', dir)).code === 0)
})

test('down ends everything, a frozen node too, and takes the token back', async () => {
  const { pid } = await node('n3')
  assert.ok(pid)
  process.kill(pid, 'SIGSTOP')
  await done('down', '--dir', dir)
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' })
  assert.deepEqual(await readdir(join(home, 'ndfs', 'tokens')), [])
  assert.deepEqual((await readdir(dir)).sort(), [
    'cluster.key',
    'log',
    'ndfs.json',
    'nodes',
    'store',
    'token',
  ])
  assert.match(await done('down', '--dir', dir), /Nothing runs/)
})

test('up in the foreground opens the same cluster, and stops at the order to', async () => {
  const up = start('up', '--dir', dir, ...ports)
  await up.said('\nready')
  assert.match(await done('vdisk', 'list', '--dir', dir), /^vms\/disk1 +1GiB/m)
  up.child.kill('SIGINT')
  const { code, out } = await up.ended
  assert.equal(code, 0)
  assert.match(out, /^Opened the cluster/m)
  assert.equal((await ndfs('status', '--dir', dir)).code, 1)
})

test('all nodes, the store and up killed at once: each node is started by itself', async () => {
  await done('up', '--dir', dir, ...ports, '--detach')
  const ids = ['n1', 'n2', 'n3']
  const pids = await Promise.all([
    pidOf('up.json'),
    pidOf('store/process.json'),
    ...ids.map(async (id) => Number((await node(id)).pid)),
  ])
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  for (const id of ids.reverse()) assert.match(await done('node', 'start', id, '--dir', dir), /serves again/)
  assert.match(await done('vdisk', 'list', '--dir', dir), /^vms\/disk1/m)
  const refused = await ndfs('up', '--dir', dir, ...ports)
  assert.match(refused.error, /still runs\. End what is left with `ndfs down/)
  await done('down', '--dir', dir)
})

test('an up that cannot start says why and leaves nothing running', async () => {
  const busy = await ndfs('up', '--dir', dir, '--http-port', '70000')
  assert.equal(busy.code, 2)
  await rm(join(dir, 'nodes', 'n2', 'disks', 'n2-flash-0'), { recursive: true })
  const { code, error } = await ndfs('up', '--dir', dir, ...ports, '--detach')
  assert.equal(code, 1)
  assert.match(error, /Cannot start n2: .*\n.*superblock/)
  assert.match(await done('down', '--dir', dir), /Nothing runs/)
})

for (const [how, listens] of [
  ['are gone', false],
  ['answer nothing', true],
] as const)
  test(`a first up on engines that ${how} says that it waits, ends at once at the order to, and can be given again`, async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    if (!listens) silent.close()
    const engines = join(home, `engines-${port}.json`)
    const places = {
      zookeeper: { servers: [`127.0.0.1:${port}`], chroot: '/ndfs/none' },
      cassandra: { contactPoints: ['127.0.0.1'], port, datacenter: 'dc1', keyspace: 'ndfs_none' },
    }
    await writeFile(engines, JSON.stringify({ version: 1, ...places }))
    for (const _ of ['first', 'again']) {
      const { child, ended, said } = start('up', '--dir', join(home, `e-${port}`), '--engines', engines)
      await said('The metadata is to be on ZooKeeper')
      if (!listens) await said('Waiting for Cassandra. Cannot reach')
      const orderedAt = performance.now()
      child.kill('SIGTERM')
      const { code, error } = await ended
      const tookMs = performance.now() - orderedAt
      assert.equal(code, 1)
      assert.match(
        error,
        /^error: Cannot make the cluster: stopped while ZooKeeper and Cassandra were waited for/,
      )
      assert.ok(tookMs < 2000, `it took ${tookMs} ms`)
    }
    silent.close()
  })
