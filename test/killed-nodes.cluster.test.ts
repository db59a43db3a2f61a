/** Nodes are killed with KILL, at any moment: guests wait a little, and lose nothing that was acknowledged. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { fio, mixedSizes } from './support/fio.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, sleep, tryRun, until } from './support/run.ts'
import { without } from './support/tools.ts'
import { WrittenSectors } from './support/written-sectors.ts'

/** A guest's I/O through another node goes on at the latest by then. */
const takeoverMsMax = 5000
const MiB = 1024 * 1024

/** Kills the nodes one after the other, the next when the last serves again. Resolves to how many. */
async function killOneByOne(cluster: Cluster, stopped: () => boolean): Promise<number> {
  let killed = 0
  for (;;)
    for (const { id } of cluster.nodes) {
      await sleep(2000)
      if (stopped()) return killed
      await cluster.kill(id)
      await sleep(500)
      await cluster.startNode(id)
      killed++
    }
}

/** fio writes slowly enough that all nodes die in its time, verifies as it goes, and all of it at the end. */
async function verifyWhileNodesDie(cluster: Cluster, uri: string, who: string): Promise<void> {
  const folder = cluster.scratch
  const options = ['rw=randwrite', mixedSizes, 'size=96m', 'iodepth=8', 'verify=crc32c', 'verify_fatal=1']
  const slowly = ['rate=400m,2m', 'verify_backlog=256', 'verify_backlog_batch=128']
  let over = false
  const dying = killOneByOne(cluster, () => over)
  const writing = fio({ uri, options: [...options, ...slowly], seconds: 150, folder }).finally(
    () => (over = true),
  )
  // Both are waited for, so that the cluster outlives them; what failed first is what is told.
  const [wrote, died] = await Promise.allSettled([writing, dying])
  if (wrote.status === 'rejected') throw wrote.reason
  if (died.status === 'rejected') throw died.reason
  const { longestMs, writes } = wrote.value
  figure(`${who}: ${writes.requests} writes, longest stall ${(longestMs / 1000).toFixed(1)} s`)
  const killed = died.value
  assert(killed >= 3, `only ${killed} nodes were killed in that time`)
  figure(`${who}: ${killed} nodes were killed and started again`)
  await fio({ uri, options: [...options, 'verify_only=1'], seconds: 120, folder })
}

test(
  'R7: fio verifies all it wrote through ndfs connect while nodes are killed one at a time',
  { skip: without('fio'), timeout: 400_000 },
  () =>
    withCluster({}, async (cluster) => {
      const vdisk = await cluster.createVDisk('128MiB')
      const { uri } = await cluster.connect(vdisk)
      await verifyWhileNodesDie(cluster, uri, 'ndfs connect')
    }),
)

test(
  "fio verifies all it wrote through nbdkit's retry filter while nodes are killed one at a time",
  { skip: without('fio', 'nbdkit'), timeout: 400_000 },
  () =>
    withCluster({}, async (cluster) => {
      const vdisk = await cluster.createVDisk('128MiB')
      const socket = join(cluster.scratch, 'nbdkit.sock')
      const words = ['-f', '-U', socket, '--filter=retry', 'nbd', `uri=${cluster.tcp('n1', vdisk)}`]
      const nbdkit = cluster.service('nbdkit', [
        ...words,
        'retries=120',
        'retry-delay=1',
        'retry-exponential=no',
      ])
      await nbdkit.until('its socket is there', () => existsSync(socket))
      await verifyWhileNodesDie(cluster, `nbd+unix:///?socket=${socket}`, 'nbdkit retry')
    }),
)

test(
  'R16 R23: I/O through another node goes on soon after the owner is killed, with all that was acknowledged',
  { timeout: 180_000 },
  () =>
    withCluster({}, async (cluster) => {
      const size = 16 * MiB
      const vdisk = await cluster.createVDisk('16MiB')
      const sectors = new WrittenSectors(size)
      const longest: number[] = []
      for (let round = 0; round < 3; round++) {
        const first = cluster.nodes[0].id
        await ask(cluster, first, vdisk)
        const owner = await cluster.owner(vdisk)
        const other = await cluster.someOther(owner)
        const client = await NbdClient.open(cluster.node(other).nbd.address, vdisk)
        let last = performance.now()
        let longestMs = 0
        let over = false
        const writing = sectors.write(client, 8, 64, () => {
          const now = performance.now()
          longestMs = Math.max(longestMs, now - last)
          last = now
          return over
        })
        await sleep(1500)
        longestMs = 0
        await cluster.kill(owner)
        await sleep(1000)
        const acknowledged = sectors.acknowledgedWrites
        await until('writes go on', () => sectors.acknowledgedWrites > acknowledged, 30)
        over = true
        await writing
        await sectors.verify(client)
        client.close()
        longest.push(longestMs)
        await cluster.startNode(owner)
      }
      const seconds = longest.map((ms) => (ms / 1000).toFixed(1)).join(' s, ')
      figure(`the owner is killed, I/O through another node stands still for ${seconds} s`)
      assert(Math.max(...longest) <= takeoverMsMax, `I/O stood still for ${seconds} s`)
    }),
)

test(
  'R23: every acknowledged byte is there after all nodes were killed at once and started in any order',
  { timeout: 300_000 },
  () =>
    withCluster({}, async (cluster) => {
      const sizes = ['vms/a', 'vms/b'].map((name) => ({ name, sectors: new WrittenSectors(32 * MiB) }))
      for (const { name } of sizes) await cluster.createVDisk('32MiB', name.slice(4))
      for (let round = 0; round < 3; round++) {
        const clients = await Promise.all(
          sizes.map(({ name }, index) =>
            NbdClient.open(cluster.nodes[(index + round) % 3].nbd.address, name),
          ),
        )
        const writing = sizes.map(({ sectors }, index) =>
          // Small ones go to the oplog; one connection also writes streams' lengths.
          sectors.write(clients[index], 16, index === 0 ? 16 : 1024, () => false),
        )
        await sleep(2000 + Math.random() * 1500)
        if (round === 1) await killNodesAndStartShuffled(cluster)
        else {
          await cluster.killAll()
          await cluster.up()
        }
        await Promise.all(writing)
        for (const [index, { name, sectors }] of sizes.entries()) {
          const client = await NbdClient.open(cluster.nodes[(index + 2 * round) % 3].nbd.address, name)
          await sectors.verify(client)
          client.close()
        }
      }
      const writes = sizes.reduce((sum, { sectors }) => sum + sectors.acknowledgedWrites, 0)
      const unanswered = sizes.reduce((sum, { sectors }) => sum + sectors.unansweredWrites, 0)
      figure(
        `all killed at once, three times: ${writes} writes acknowledged and there, ${unanswered} unanswered`,
      )
    }),
)

/** The store and `ndfs up` live on. A node can't serve before another one is there: they are started side by side. */
async function killNodesAndStartShuffled(cluster: Cluster): Promise<void> {
  const ids = cluster.nodes.map(({ id }) => id)
  await Promise.all(ids.map((id) => cluster.kill(id)))
  const order = ids.map((id) => ({ id, at: Math.random() })).sort((a, b) => a.at - b.at)
  await Promise.all(
    order.map(async ({ id }, index) => {
      await sleep(700 * index)
      await cluster.startNode(id)
    }),
  )
}

/** The first that is asked for a vDisk that nobody owns becomes its owner. */
async function ask(cluster: Cluster, node: string, vdisk: string): Promise<void> {
  const { code, stderr } = await tryRun('qemu-io', ['-f', 'raw', '-c', 'read 0 4k', cluster.tcp(node, vdisk)])
  assert.equal(code, 0, stderr)
}
