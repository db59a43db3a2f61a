/** The first line of `ndfs status` is what is true: with all nodes, without one, and with it again; the same in API and metrics. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterStatus } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, until } from './support/run.ts'

const page = 4096

test(
  'R6, R31: two nodes in two blocks survive a block; one of them is one copy left, said within seconds',
  { timeout: 180_000 },
  () =>
    withCluster({ nodes: 2, up: ['--blocks', '2'] }, async (cluster) => {
      const status = (): Promise<ClusterStatus> => cluster.json<ClusterStatus>('status')
      const firstLine = async (): Promise<string> => (await cluster.ndfs('status')).split('\n')[0]
      assert.match(await firstLine(), /^survives a block, .* metadata's disk; nothing is stored yet$/)

      const vdisk = await cluster.createVDisk('64MiB')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
      for (let at = 0; at < 512; at++) await client.write(at * page, Buffer.alloc(page, 1))
      assert.equal(await firstLine(), "survives a block, but not the loss of the metadata's disk")
      assert.equal(await cluster.metric('n1', 'ndfs_survives', 'loss="block"'), 1)
      await cluster.drain(vdisk)
      for (let at = 0; at < 8; at++) await client.write(at * page, Buffer.alloc(page, 2))
      assert.equal(await firstLine(), "survives a block, but not the loss of the metadata's disk")

      await cluster.kill('n2')
      const began = performance.now()
      await until('status says so', async () => (await status()).survival.level !== 'block', 10, 100)
      figure(`status: one copy is said ${((performance.now() - began) / 1000).toFixed(1)} s after the kill`)
      const { survival, health } = await status()
      assert.equal(survival.level, 'one copy')
      assert.match(survival.sentence, /^one copy of .*MiB left: vms\/disk1; n2 is down$/)
      assert(survival.bytes['one copy'] >= 512 * page, survival.sentence)
      assert.equal(survival.bytes.block + survival.bytes.node + survival.bytes.unreadable, 0)
      assert.equal(health, 'degraded')
      assert.equal(await firstLine(), survival.sentence)
      assert.equal(await cluster.metric('n1', 'ndfs_survives'), 0)
      assert((await cluster.metric('n1', 'ndfs_data_bytes', 'level="one copy"')) >= 512 * page)

      await cluster.startNode('n2')
      await until('both are there', async () => (await status()).survival.level === 'block', 30, 200)
      // Both are in one block now: the same copies, and no more than a node may go.
      await cluster.ndfs('node', 'set', 'n2', '--block', 'b1')
      assert.match(await firstLine(), /^survives a node, but not/)
      client.close()
    }),
)
