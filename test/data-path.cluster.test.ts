/** The way of a write, told by what the nodes count and by what lies on their disks. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { fio } from './support/fio.ts'
import { groupFiles } from './support/group-files.ts'
import { NbdClient } from './support/nbd-client.ts'
import { without } from './support/tools.ts'

const page = 4096

interface Homes {
  readonly oplog: number
  readonly extentStore: number
}

async function homes(cluster: Cluster): Promise<Homes> {
  return {
    oplog: await cluster.metricOfAll('ndfs_writes_total', 'home="oplog"'),
    extentStore: await cluster.metricOfAll('ndfs_writes_total', 'home="extent-store"'),
  }
}

test('a write finds its way', { skip: without('fio'), timeout: 240_000 }, () =>
  withCluster({}, async (cluster) => {
    const vdisk = await cluster.createVDisk('256MiB')
    const write = async (...options: string[]): Promise<Homes> => {
      const before = await homes(cluster)
      await fio({ uri: cluster.unix('n1', vdisk), options, seconds: 60, folder: cluster.scratch })
      const after = await homes(cluster)
      return { oplog: after.oplog - before.oplog, extentStore: after.extentStore - before.extentStore }
    }

    await test('R20: random writes go to the oplog', async () => {
      const { oplog, extentStore } = await write(
        'rw=randwrite',
        'bs=4k',
        'iodepth=16',
        'size=256m',
        'io_size=8m',
      )
      assert(oplog >= 2048, `${oplog} writes went to the oplog`)
      assert.equal(extentStore, 0)
    })

    await test('R20: short sequential writes go to the oplog', async () => {
      const { oplog, extentStore } = await write('rw=write', 'bs=64k', 'iodepth=1', 'size=2m')
      assert(oplog >= 32, `${oplog} writes went to the oplog`)
      assert.equal(extentStore, 0)
    })

    await test('R20: a sequential stream with more than 1.5 MB outstanding goes to the extent store', async () => {
      const { oplog, extentStore } = await write('rw=write', 'bs=1m', 'iodepth=8', 'size=128m')
      assert(extentStore > 64, `${extentStore} of 128 writes went to the extent store`)
      assert(oplog < 64)
    })

    await test('R25: the oplog drains in the order received: what is read afterwards is what was written last', async () => {
      await cluster.ndfs('vdisk', 'create', 'vms/order', '--size', '16MiB')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, 'vms/order')
      const rounds = 40
      // Overlapping, misaligned, each half over the one before.
      for (let round = 1; round <= rounds; round++)
        for (let at = 0; at < 8; at++)
          await client.write(at * 64 * page + round * 512, Buffer.alloc(page, round))
      await cluster.drained('vms/order')
      client.close()
      const owner = await cluster.owner('vms/order')
      await cluster.kill(owner)
      const other = await NbdClient.open(
        cluster.node(await cluster.someOther(owner)).nbd.address,
        'vms/order',
      )
      for (let at = 0; at < 8; at++) {
        const bytes = await other.read(at * 64 * page, 64 * page)
        for (let sector = 0; sector < 512; sector++) {
          // Each round begins one sector further and is eight long: the last that reached a sector began there.
          const last = sector >= 1 && sector < rounds + 8 ? Math.min(sector, rounds) : 0
          assert(
            bytes.subarray(sector * 512, (sector + 1) * 512).every((byte) => byte === last),
            `sector ${sector}`,
          )
        }
      }
      other.close()
      await cluster.startNode(owner)
      assert(groupFiles(cluster.dir).length > 0)
    })
  }),
)
