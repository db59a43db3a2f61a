/** A cluster whose metadata is in real Cassandra and ZooKeeper: guests work, nodes and engines die one at a time, and both come back. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { withCluster } from './support/cluster.ts'
import { withEngines } from './support/engines.ts'
import { NbdClient } from './support/nbd-client.ts'
import { run } from './support/run.ts'
import { WrittenSectors } from './support/written-sectors.ts'

const MiB = 1024 * 1024

test(
  'R2 R3 R4 R9: vDisks and files on Cassandra and ZooKeeper outlive nodes and engines that are killed, one at a time',
  { timeout: 300_000 },
  () =>
    withEngines({ basePort: 27810 }, (engines) =>
      withCluster({ engines }, async (cluster) => {
        const vdisk = await cluster.createVDisk('64MiB')
        const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
        const content = randomBytes(32 * MiB)
        for (let at = 0; at < content.length; at += MiB)
          await client.write(at, content.subarray(at, at + MiB))
        await cluster.drain(vdisk)
        assert((await client.read(0, 4 * MiB)).equals(content.subarray(0, 4 * MiB)))

        const small = join(cluster.scratch, 'small')
        writeFileSync(small, randomBytes(100_000))
        const nfs = (node: string, name: string): string => {
          const [host, port] = cluster.node(node).nfs!.address.split(':')
          return `nfs://${host}/vms/${name}?nfsport=${port}&mountport=${port}`
        }
        await run('nfs-cp', [small, nfs('n2', 'small')], { seconds: 60 })

        const busy = await cluster.createVDisk('32MiB', 'busy')
        const { socket } = await cluster.connect(busy)
        const guest = await NbdClient.open(socket, busy)
        const sectors = new WrittenSectors(32 * MiB)
        let over = false
        const writing = sectors.write(guest, 8, 256, () => over)
        await engines.zooKeepers[0].kill()
        await engines.cassandras[0].kill()
        await cluster.createVDisk('1MiB', 'made-without-one-of-three')
        await cluster.kill(await cluster.owner(busy))
        engines.zooKeepers[0].begin()
        engines.cassandras[0].begin()
        await engines.cassandras[0].serving(90)
        over = true
        await writing
        await sectors.verify(guest)
        assert.match(await cluster.ndfs('check'), /all is right/)
        assert((await run('nfs-cat', [nfs('n3', 'small')], { seconds: 60 })).length > 0)
        guest.close()
        client.close()
      }),
    ),
)
