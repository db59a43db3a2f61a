import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { GiB } from '../base/units.ts'
import { nodePlatform } from '../platform/node-platform.ts'
import { readClusterFile, refreshClusterFile } from './cluster-file.ts'
import { layoutOf, openOrMakeCluster, planNodes, type FormatDisk, type Layout } from './layout.ts'
import type { UpOptions } from './local.ts'
import { configVersion, type LocalNodeConfig } from './node-config.ts'
import { noteThisProcess } from './processes.ts'
import { replaceJson } from './versioned-file.ts'

const platform = nodePlatform({ level: 'silent' })
const disks = [
  { tier: 'flash', capacityBytes: 2 * GiB },
  { tier: 'hdd', capacityBytes: 3 * GiB },
] as const

async function aDirectory(t: TestContext): Promise<Layout> {
  const dir = await mkdtemp(join(tmpdir(), 'ndfs-layout-'))
  t.after(() => rm(dir, { recursive: true }))
  return layoutOf(dir)
}

function make(layout: Layout, options: Partial<UpOptions> = {}, format: FormatDisk = async () => undefined) {
  return openOrMakeCluster(
    layout,
    { dir: layout.dir, disks, ...options },
    platform,
    format,
    async () => undefined,
  )
}

test('nodes are spread over blocks in turn, with disks of their own names', () => {
  const nodes = planNodes({ dir: '/d', nodes: 4, blocks: 2, disks }, 0)
  assert.deepEqual(
    nodes.map(({ id, block }) => [id, block]),
    [
      ['n1', 'b1'],
      ['n2', 'b2'],
      ['n3', 'b1'],
      ['n4', 'b2'],
    ],
  )
  assert.deepEqual(
    nodes[2].disks.map(({ id }) => id),
    ['n3-flash-0', 'n3-hdd-0'],
  )
})

test('disks take together at most half of the free space where nobody says more', () => {
  const nodes = planNodes({ dir: '/d' }, 120 * GiB)
  assert.equal(nodes.length, 3)
  assert.deepEqual(
    nodes[0].disks.map(({ tier }) => tier),
    ['flash', 'hdd'],
  )
  const sum = nodes.flatMap((node) => node.disks).reduce((bytes, disk) => bytes + disk.capacityBytes, 0)
  assert.equal(sum, 60 * GiB)
})

test('the folders above a new cluster are durable before it counts as whole', async (t) => {
  const above = await aDirectory(t)
  const layout = layoutOf(join(above.dir, 'new', 'cluster'))
  await mkdir(layout.dir, { recursive: true })
  const done: string[] = []
  const files: typeof platform.files = {
    ...platform.files,
    async syncDirectory(path) {
      await platform.files.syncDirectory(path)
      done.push(path)
    },
    async replaceWhole(path, bytes, mode) {
      await platform.files.replaceWhole(path, bytes, mode)
      if (path === layout.cluster && Buffer.from(bytes).toString().includes('"whole"')) done.push('whole')
    },
  }
  await openOrMakeCluster(
    layout,
    { dir: layout.dir, disks },
    { ...platform, files },
    async () => undefined,
    async () => undefined,
  )
  assert.equal(done.at(-1), 'whole')
  for (const folder of [above.dir, join(above.dir, 'new'), tmpdir()]) assert(done.includes(folder), folder)
})

test('a plan that cannot work is refused with what to do', () => {
  assert.throws(() => planNodes({ dir: '/d', nodes: 0 }, GiB), /--nodes takes 1 to/)
  assert.throws(() => planNodes({ dir: '/d', nodes: 2, blocks: 3 }, GiB), /--blocks takes 1 to 2/)
  assert.throws(() => planNodes({ dir: '/d', disks: [disks[1]] }, GiB), /without flash/)
  assert.throws(
    () => planNodes({ dir: '/d', disks: [{ tier: 'flash', capacityBytes: 1 }] }, GiB),
    /smallest is 1GiB/,
  )
  assert.throws(() => planNodes({ dir: '/d' }, 5 * GiB), /Free space/)
})

test('a directory is made once and opened afterwards', async (t) => {
  const layout = await aDirectory(t)
  const formatted: string[] = []
  const first = await make(layout, {}, async ({ id, node }) => void formatted.push(`${node} ${id}`))
  assert.ok(first.made)
  assert.equal(formatted.length, 6)
  for (const secret of [layout.key, layout.token]) assert.equal((await stat(secret)).mode & 0o777, 0o600)
  const second = await make(layout, { nodes: 3, disks }, () => assert.fail('formatted again'))
  assert.deepEqual(second, { cluster: first.cluster, made: false })
})

test('a cluster is not started with other nodes, blocks or disks than it was made with', async (t) => {
  const layout = await aDirectory(t)
  await make(layout)
  await assert.rejects(make(layout, { nodes: 4 }), /with 4 nodes: it was made with 3/)
  await assert.rejects(make(layout, { blocks: 1 }), /with 1 blocks: it was made with 3/)
  await assert.rejects(
    make(layout, { disks: [disks[0]] }),
    /with flash:2GiB: it was made with flash:2GiB hdd:3GiB/,
  )
})

test('what an interrupted making left behind is made anew', async (t) => {
  const layout = await aDirectory(t)
  await assert.rejects(
    make(layout, {}, async ({ id }) => {
      if (id === 'n2-hdd-0') throw new Error('the power went')
    }),
    /the power went/,
  )
  const { made, cluster } = await make(layout)
  assert.ok(made)
  assert.equal(cluster.state, 'whole')
})

test('a directory of somebody else, or of an unknown version, is refused', async (t) => {
  const layout = await aDirectory(t)
  await writeFile(join(layout.dir, 'thesis.tex'), '')
  await assert.rejects(make(layout), /it is not empty \(thesis\.tex\)/)
  await rm(join(layout.dir, 'thesis.tex'))
  await make(layout)
  const text = await readFile(layout.cluster, 'utf8')
  await writeFile(layout.cluster, text.replace('"version": 1', '"version": 7'))
  await assert.rejects(make(layout), /its version is 7, and this ndfs knows version 1/)
})

test('cluster.json tells where nodes are, and the id of the processes of those that run', async (t) => {
  const layout = await aDirectory(t)
  const { cluster } = await make(layout, { nodes: 2, blocks: 1 })
  await mkdir(layout.logs)
  for (const [index, { id, block }] of cluster.nodes.entries()) {
    const node = layout.node(id)
    const config: LocalNodeConfig = {
      version: configVersion,
      cluster: { id: cluster.clusterId, keyFile: layout.key },
      node: id,
      block,
      dir: node.folder,
      storeSocket: layout.storeSocket,
      listen: { http: `127.0.0.1:${9440 + index}`, peer: '127.0.0.1:1', nbd: `127.0.0.1:${10809 + index}` },
      nbdSocket: node.nbdSocket,
      tokenFile: layout.token,
      disks: [],
      cacheBytes: 0,
      writeWaitMaxMs: 1,
    }
    await replaceJson(platform.files, node.config, config)
  }
  await noteThisProcess(platform.files, layout.node('n2').process)
  await Promise.all(Array.from({ length: 5 }, () => refreshClusterFile(platform, layout)))
  assert.deepEqual(await readClusterFile(platform.files, layout.dir), {
    nodes: [
      {
        id: 'n1',
        block: 'b1',
        pid: null,
        http: '127.0.0.1:9440',
        peer: '127.0.0.1:1',
        nbd: { address: '127.0.0.1:10809', socket: layout.node('n1').nbdSocket },
      },
      {
        id: 'n2',
        block: 'b1',
        pid: process.pid,
        http: '127.0.0.1:9441',
        peer: '127.0.0.1:1',
        nbd: { address: '127.0.0.1:10810', socket: layout.node('n2').nbdSocket },
      },
    ],
  })
})
