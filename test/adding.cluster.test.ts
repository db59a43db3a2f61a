/** A cluster grows while a guest writes: a node that is added takes part at once, a disk from the next start of its node on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterStatus, DiskInfo, NodeInfo } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { groupFiles } from './support/group-files.ts'
import { NbdClient } from './support/nbd-client.ts'
import { until } from './support/run.ts'

const MiB = 1024 * 1024

test('R9: a node and a disk are added to a cluster that runs, and used', { timeout: 300_000 }, () =>
  withCluster({ nodes: 2, up: ['--blocks', '1'] }, async (cluster) => {
    const vdisk = await cluster.createVDisk('256MiB')
    const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
    for (let at = 0; at < 16; at++) await client.write(at * MiB, Buffer.alloc(MiB, at + 1))
    await cluster.drain(vdisk)
    // The only block has all copies: those of the new node's block are put right in the background.
    const { node, block, started } = await cluster.json<{ node: string; block: string; started: boolean }>(
      ...['node', 'add', '--block', 'b9', '--disk', 'flash:4GiB', '--disk', 'hdd:4GiB'],
    )
    assert.deepEqual({ node, block, started }, { node: 'n3', block: 'b9', started: true })
    const status = (): Promise<ClusterStatus> => cluster.json<ClusterStatus>('status')
    await until(
      'the copies are spread over both blocks',
      async () => (await status()).survival.level === 'block',
      60,
    )
    assert.ok(groupFiles(cluster.dir).some((file) => file.node === 'n3'))
    const nodes = await cluster.json<NodeInfo[]>('node', 'list')
    assert.deepEqual(
      nodes.map(({ id }) => id),
      ['n1', 'n2', 'n3'],
    )

    const { disks } = await cluster.json<{ disks: string[] }>('disk', 'add', 'n2', '--disk', 'hdd:2GiB')
    assert.deepEqual(disks, ['n2-hdd-1'])
    const listed = async (): Promise<string[]> =>
      (await cluster.json<DiskInfo[]>('disk', 'list'))
        .filter(({ node: of }) => of === 'n2')
        .map(({ id }) => id)
    assert.deepEqual(await listed(), ['n2-flash-0', 'n2-hdd-0'])
    await cluster.kill('n2')
    await cluster.startNode('n2')
    assert.deepEqual((await listed()).sort(), ['n2-flash-0', 'n2-hdd-0', 'n2-hdd-1'])
    const bytes = await client.read(5 * MiB, 4096)
    assert.ok(bytes.equals(Buffer.alloc(4096, 6)))
    client.close()

    const { code, stderr } = await cluster.tryNdfs('node', 'add', '--disk', 'hdd:4GiB')
    assert.notEqual(code, 0)
    assert.match(stderr, /without flash/)
    // All of it is there after a rest.
    await cluster.down()
    await cluster.ndfs('up', '--detach', '--dir', cluster.dir)
    assert.equal(cluster.nodes.length, 3)
  }),
)
