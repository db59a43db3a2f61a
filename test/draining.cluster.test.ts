/** Nodes and disks are taken out of use, in order, while a guest writes and verifies: nothing is lost, and nobody waits long. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterStatus, DiskInfo, NodeInfo } from '../src/management/management.ts'
import { type Cluster, isAlive, withCluster } from './support/cluster.ts'
import { fio, mixedSizes } from './support/fio.ts'
import { groupFiles } from './support/group-files.ts'
import { figure, sleep, until } from './support/run.ts'
import { without } from './support/tools.ts'

/** A guest notices a change of owner, and no more. */
const stallMsMax = 5000

async function refused(cluster: Cluster, pattern: RegExp, ...command: string[]): Promise<void> {
  const { code, stderr } = await cluster.tryNdfs(...command)
  assert.notEqual(code, 0, `${command.join(' ')} was not refused`)
  assert.match(stderr, pattern)
}

async function drainAndRemoveNode(cluster: Cluster, node: string): Promise<void> {
  const { pid } = cluster.node(node)
  await refused(cluster, /Drain it first/, 'node', 'remove', node)
  await cluster.ndfs('node', 'drain', node)
  const began = performance.now()
  await sleep(500)
  // Interrupted by the death of the very node, and gone on with by itself.
  await cluster.kill(node)
  await sleep(300)
  await cluster.startNode(node)
  const watched = await cluster.ndfs('node', 'drain', node, '--watch')
  assert.match(watched, new RegExp(`${node} is drained: nothing is left on it`))
  figure(`a node was drained in ${((performance.now() - began) / 1000).toFixed(1)} s, with a kill in between`)
  assert.deepEqual(
    groupFiles(cluster.dir).filter((file) => file.node === node),
    [],
    'files of extent groups are left there',
  )
  const running = cluster.node(node).pid
  await cluster.ndfs('node', 'remove', node)
  await until(`the process of ${node} has ended`, () => running !== null && !isAlive(running), 20)
  assert.ok(pid !== running)
  const nodes = await cluster.json<NodeInfo[]>('node', 'list')
  assert.ok(!nodes.some(({ id }) => id === node))
}

async function drainAndRemoveDisk(cluster: Cluster, disk: string): Promise<void> {
  await refused(cluster, /Drain it first/, 'disk', 'remove', disk)
  await cluster.ndfs('disk', 'drain', disk, '--watch')
  await cluster.ndfs('disk', 'remove', disk)
  const disks = await cluster.json<DiskInfo[]>('disk', 'list')
  assert.ok(!disks.some(({ id }) => id === disk))
}

async function restInMaintenance(cluster: Cluster, node: string): Promise<void> {
  await cluster.ndfs('node', 'maintenance', node, 'on', '--for', '10m', '--watch')
  const before = await cluster.metricOfAll('ndfs_extent_copies_replaced_total')
  await cluster.kill(node)
  await sleep(4000)
  const { problems, leaving } = await cluster.json<ClusterStatus>('status')
  assert.ok(problems.some((problem) => problem.includes(`${node} is down, in maintenance`)))
  assert.equal(leaving?.[0].mode, 'maintenance')
  assert.equal(await cluster.metricOfAll('ndfs_extent_copies_replaced_total'), before)
  await cluster.startNode(node)
  await cluster.ndfs('node', 'maintenance', node, 'off')
}

test(
  'a node and a disk are drained and removed, and a node rests in maintenance, while fio writes and verifies',
  { skip: without('fio'), timeout: 400_000 },
  () =>
    withCluster({ nodes: 4 }, async (cluster) => {
      const vdisk = await cluster.createVDisk('256MiB')
      const { uri } = await cluster.connect(vdisk)
      const folder = cluster.scratch
      const options = ['rw=randwrite', mixedSizes, 'size=96m', 'iodepth=8', 'verify=crc32c', 'verify_fatal=1']
      const slowly = ['rate=400m,2m', 'verify_backlog=256', 'verify_backlog_batch=128']
      let isOver = false
      const writing = fio({ uri, options: [...options, ...slowly], seconds: 300, folder }).finally(
        () => (isOver = true),
      )
      const changing = (async () => {
        const owner = await cluster.owner(vdisk)
        await sleep(5000)
        await drainAndRemoveNode(cluster, owner)
        const [a, b, c] = cluster.nodes.map(({ id }) => id)
        await drainAndRemoveDisk(cluster, `${a}-hdd-0`)
        await cluster.ndfs('node', 'drain', b)
        await refused(cluster, /their writes would wait/, 'node', 'drain', c)
        await refused(cluster, /their writes would wait/, 'node', 'maintenance', c, 'on')
        await cluster.ndfs('node', 'drain', b, '--undo')
        await restInMaintenance(cluster, c)
        figure(`all was done ${isOver ? 'after' : 'while'} fio wrote`)
      })()
      const [wrote, changed] = await Promise.allSettled([writing, changing])
      if (changed.status === 'rejected') throw changed.reason
      if (wrote.status === 'rejected') throw wrote.reason
      figure(`longest stall ${(wrote.value.longestMs / 1000).toFixed(1)} s`)
      assert.ok(wrote.value.longestMs < stallMsMax)
      await fio({ uri, options: [...options, 'verify_only=1'], seconds: 120, folder })
      await cluster.down()
      await cluster.up()
      assert.equal(cluster.nodes.length, 3)
      // What its log held is drained once it has heard of the others' disks.
      let status: ClusterStatus | undefined
      await until('nothing is left to do', async () => {
        status = await cluster.json<ClusterStatus>('status')
        return status.problems.length === 0
      }).catch(() => undefined)
      assert.deepEqual(status?.problems, [], status?.survival.sentence)
      assert.equal(status.leaving, undefined)
    }),
)
