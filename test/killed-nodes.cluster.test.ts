/** Nodes are killed with KILL, at any moment: guests wait a little, and lose nothing that was acknowledged. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { verifyWhileNodesDie } from './support/dying-nodes.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, sleep, tryRun, until } from './support/run.ts'
import { without } from './support/tools.ts'
import { WrittenSectors } from './support/written-sectors.ts'

/** A guest's I/O through another node goes on at the latest by then. */
const takeoverMsMax = 5000
const MiB = 1024 * 1024

test(
  'R7: fio verifies all it wrote through ndfs connect while nodes are killed one at a time',
  { skip: without('fio'), timeout: 400_000 },
  () =>
    withCluster({}, async (cluster) => {
      const vdisk = await cluster.createVDisk('128MiB')
      const { uri } = await cluster.connect(vdisk)
      await verifyWhileNodesDie(cluster, uri, 'ndfs connect', '96m')
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
