/** The metadata of a machine with a configuration of its own moves from the store beside its node to engines. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePorts } from './support/cluster.ts'
import { ConfiguredMachine } from './support/configured-machine.ts'
import { withEngines } from './support/engines.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure } from './support/run.ts'

const MiB = 1024 * 1024
const content = Buffer.alloc(MiB, 7)

test(
  'metadata moves to engines by the configuration of the node beside the store, and the node serves from there',
  { timeout: 240_000 },
  () =>
    withEngines({ zooKeepers: 1, cassandras: 1, basePort: 24810 }, async (engines) => {
      const root = mkdtempSync(join(tmpdir(), 'ndfs-move-'))
      const machine = new ConfiguredMachine(root, 1, await freePorts(4))
      try {
        await machine.ndfs('init', '--config', machine.file, '--yes')
        const store = machine.start('store')
        const node = await machine.startNode()
        machine.showToken(join(root, 'n1/token'))
        await machine.ndfs('container', 'create', 'vms', '--copies', '1', '--api', machine.http)
        await machine.ndfs('vdisk', 'create', 'vms/disk1', '--size', '64MiB', '--api', machine.http)
        const writer = await NbdClient.open(machine.nbd, 'vms/disk1')
        await writer.write(3 * MiB, content)
        writer.close()
        await node.stop()

        const zookeeper = { servers: engines.zooKeeperAddresses, chroot: '/ndfs/moved' }
        const { cassandraAddresses: contactPoints, cassandraPort: port } = engines
        const cassandra = { contactPoints, port, datacenter: 'dc1', keyspace: 'ndfs_moved' }
        const places = join(root, 'engines.json')
        writeFileSync(places, JSON.stringify({ version: 1, zookeeper, cassandra }))
        const migrate = ['migrate-metadata', '--config', machine.file, '--engines', places]
        const tooEarly = await machine.tryNdfs(...migrate)
        assert.equal(tooEarly.code, 1)
        assert.match(
          tooEarly.stderr,
          /the store, or `ndfs up`, still runs in .*End all nodes, and then the store/,
        )
        await store.stop()

        const began = performance.now()
        const moved = await machine.ndfs(...migrate)
        figure(`moved in ${((performance.now() - began) / 1000).toFixed(1)} s`)
        assert.match(moved, /Name the engines in the configuration of each node/)
        assert.match(await machine.ndfs(...migrate), /The metadata is on the engines/)
        const again = await machine.tryNdfs('store', '--config', machine.file)
        assert.match(again.stderr, /its metadata was moved to engines/)

        machine.setStores(`zeus: { zookeeper: ${JSON.stringify(zookeeper)} }
medusa: { cassandra: ${JSON.stringify(cassandra)} }`)
        await machine.startNode()
        const reader = await NbdClient.open(machine.nbd, 'vms/disk1')
        assert.ok((await reader.read(3 * MiB, MiB)).equals(content))
        await reader.write(0, content)
        reader.close()
        const check = await machine.tryNdfs('check', '--api', machine.http)
        assert.equal(check.code, 0, check.stdout)
      } finally {
        await machine.end()
        rmSync(root, { recursive: true, force: true })
      }
    }),
)
