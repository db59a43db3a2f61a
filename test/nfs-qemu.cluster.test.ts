/**
 * The NFS datastore as QEMU's own NFS driver uses it: it can't be told ports, and asks the port mapper. So each node has an address of its own,
 * with port 111 and NFS' usual way of being found; all of them are this machine's loopback addresses, whose clients may mount.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, isFree, withCluster } from './support/cluster.ts'
import { run, tryRun, until } from './support/run.ts'

const MiB = 1024 ** 2
const names = ['n1', 'n2', 'n3']
/** Of this test alone, so that others may run beside it. */
const network = `127.${randomBytes(2)
  .map((byte) => 1 + (byte % 250))
  .join('.')}`
const addressOf = (node: string): string => `${network}.${node.slice(1)}`
const url = (node: string, path: string): string => `nfs://${addressOf(node)}/vms/${path}`
const own = ['--portmap', ...names.flatMap((node) => ['--listen', `${node}=${addressOf(node)}`])]

const isOurs = await isFree(111, addressOf('n1'))
/** Where `rpcbind` runs it is asked for the ports: for QEMU that is enough. Asked in its newer ways it takes all of 127.0.0.0/8 for one address. */
const skip = isOurs && process.getuid?.() !== 0 ? 'port 111 is for root, and no rpcbind has it' : false
const skipWithRpcbind = isOurs ? skip : 'rpcbind runs'

const img = (...args: string[]): Promise<string> => run('qemu-img', args, { seconds: 120 })
/** Rejects where a pattern is not what is there. */
const io = (file: string, format: string, ...commands: string[]): Promise<string> =>
  run('qemu-io', ['-f', format, ...commands.flatMap((command) => ['-c', command]), file], { seconds: 60 })

function withNodes(work: (cluster: Cluster) => Promise<void>): Promise<void> {
  return withCluster({ disks: ['flash:4GiB'], up: own }, async (cluster) => {
    await cluster.ndfs('container', 'create', 'vms')
    await work(cluster)
  })
}

test(
  'clients that know no ports find NFS at the addresses of all nodes',
  { skip: skipWithRpcbind },
  async () => {
    await withNodes(async (cluster) => {
      const ports = new Set(names.map((node) => cluster.node(node).nfs?.address.split(':')[1]))
      assert.equal(ports.size, 1, 'each node has the first port at its own address')
      const [port] = ports
      for (const node of names) {
        assert.equal(cluster.node(node).nfs?.address, `${addressOf(node)}:${port}`)
        const info = await cluster.nodeInfo(node)
        assert.equal(info.addresses.nfs, `${addressOf(node)}:${port}`)
        assert.deepEqual(info.portMapper, { by: 'ndfs' })
        const programs = await run('rpcinfo', ['-p', addressOf(node)])
        for (const line of [
          new RegExp(`100000 +2 +tcp +111`),
          new RegExp(`100000 +2 +udp +111`),
          new RegExp(`100003 +3 +tcp +${port}`),
          new RegExp(`100005 +3 +tcp +${port}`),
          new RegExp(`100005 +3 +udp +${port}`),
        ])
          assert.match(programs, line)
        assert.doesNotMatch(programs, /100003 +3 +udp/)
        for (const transport of ['udp', 'tcp']) {
          const answer = await run('rpcinfo', ['-T', transport, addressOf(node), '100005', '3'])
          assert.match(answer, /ready and waiting/)
        }
        assert.match(await run('showmount', ['-e', addressOf(node)]), /^\/vms /m)
      }
      assert.equal((await cluster.json<{ problems: string[] }>('status')).problems.length, 0)
    })
  },
)

test(
  "QEMU's NFS driver makes, converts, compares, measures and reads images, by any node",
  { skip },
  async () => {
    await withNodes(async (cluster) => {
      const local = join(cluster.scratch, 'local.raw')
      const data = Buffer.concat([randomBytes(3 * MiB), Buffer.alloc(5 * MiB), randomBytes(4 * MiB)])
      writeFileSync(local, data)

      await img('create', '-f', 'raw', url('n1', 'disk.raw'), '64M')
      assert.match(await img('info', url('n2', 'disk.raw')), /virtual size: 64 MiB/)
      await io(
        url('n1', 'disk.raw'),
        'raw',
        ...['write -P 0x11 0 1M', 'write -P 0x22 1M 64k', 'write -P 0x33 1000001 512', 'flush'],
      )
      await io(
        url('n3', 'disk.raw'),
        'raw',
        ...['read -P 0x11 0 1000001', 'read -P 0x33 1000001 512', 'read -P 0x22 1M 64k', 'read -P 0 2M 62M'],
      )
      const wrong = await tryRun('qemu-io', ['-f', 'raw', '-c', 'read -P 0x44 0 4k', url('n2', 'disk.raw')])
      assert.match(wrong.stdout, /Pattern verification failed/, 'qemu-io sees what is wrong')

      await img('convert', '-O', 'raw', local, url('n1', 'copy.raw'))
      await img('compare', local, url('n2', 'copy.raw'))
      await img('convert', '-f', 'raw', '-O', 'qcow2', url('n2', 'copy.raw'), url('n3', 'copy.qcow2'))
      await img('compare', '-f', 'qcow2', '-F', 'raw', url('n1', 'copy.qcow2'), local)
      await img('check', '-f', 'qcow2', url('n2', 'copy.qcow2'))
      const back = join(cluster.scratch, 'back.raw')
      await img('convert', '-f', 'qcow2', '-O', 'raw', url('n2', 'copy.qcow2'), back)
      assert.ok(readFileSync(back).equals(data))

      await img('create', '-f', 'qcow2', url('n1', 'grows.qcow2'), '1G')
      await io(url('n1', 'grows.qcow2'), 'qcow2', 'write -P 0x55 0 2M', 'write -P 0x66 900M 1M', 'flush')
      await io(url('n2', 'grows.qcow2'), 'qcow2', 'read -P 0x55 0 2M', 'read -P 0x66 900M 1M')

      const bench = ['bench', '-f', 'raw', '-c', '500', '-d', '16', '-s', '4k']
      assert.match(await img(...bench, '-w', '--pattern=119', url('n2', 'disk.raw')), /Run completed/)
      assert.match(await img(...bench, url('n3', 'disk.raw')), /Run completed/)
      await io(url('n1', 'disk.raw'), 'raw', 'read -P 119 0 2000k')
    })
  },
)

test(
  'QEMU goes on where its node is killed and comes back, and what it wrote is there',
  { skip },
  async () => {
    await withNodes(async (cluster) => {
      const local = join(cluster.scratch, 'local.raw')
      writeFileSync(local, randomBytes(96 * MiB))
      await img('create', '-f', 'raw', url('n1', 'bench.raw'), '256M')
      const count = 8192
      const writes = (): Promise<number> => cluster.metric('n1', 'ndfs_nfs_calls_total', 'WRITE')
      const bench = ['-f', 'raw', '-c', String(count), '-d', '16', '-s', '16k', '-w', '--pattern=90']
      const working = [img('convert', '-O', 'raw', local, url('n1', 'copy.raw'))]
      working[0].catch(() => undefined) // awaited below
      // A client that has mounted goes on; one that has not yet would be told that it can't.
      await until('the first of them has mounted', async () => (await writes()) > 0)
      working.push(img('bench', ...bench, url('n1', 'bench.raw')))
      for (const one of working) one.catch(() => undefined) // awaited below
      for (let killed = 0; killed < 2; killed++) {
        // Its next process counts from 0 on.
        await until(
          'they are at work',
          async () => (await cluster.metric('n1', 'ndfs_nfs_calls_total', 'WRITE')) > 200,
          60,
        )
        await cluster.kill('n1')
        await cluster.startNode('n1')
      }
      await Promise.all(working)
      await io(url('n2', 'bench.raw'), 'raw', `read -P 90 0 ${count * 16}k`)
      await img('compare', local, url('n3', 'copy.raw'))
    })
  },
)
