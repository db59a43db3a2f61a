/**
 * An address that moves: NFS clients know one, which is on one node; when that node has died it goes to another, and they go on there, with the
 * handles that they have.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Cluster } from './support/cluster.ts'
import { debianKernel, guestNetwork, makeInitramfs, networkGuestWords, nfsModules } from './support/guest.ts'
import { type Namespaces, withoutNamespaces } from './support/namespaces.ts'
import { figure, run, until } from './support/run.ts'
import { takeOver, withServiceAddress } from './support/service-address.ts'
import { without } from './support/tools.ts'

/** A small part of what a client of this test has to do there. */
const atWork = (cluster: Cluster, node: string): Promise<void> =>
  until(
    `a client is at work at ${node}`,
    async () => (await cluster.metric(node, 'ndfs_nfs_calls_total', 'WRITE')) > 200,
    60,
  )

test(
  "QEMU's NFS driver goes on at the same address on another node, and on a third one",
  {
    skip: withoutNamespaces() || without('qemu-img', '/usr/lib/*/qemu/block-nfs.so', 'busybox'),
    timeout: 240_000,
  },
  () =>
    withServiceAddress(async (cluster, namespaces) => {
      const at = (address: string): string => `nfs://${address}/vms/disk.raw`
      const service = at(namespaces.serviceAddress)
      await run('qemu-img', ['create', '-f', 'raw', service, '512M'])
      const count = 24_576
      const bench = ['bench', '-f', 'raw', '-c', String(count), '-d', '8', '-s', '16k', '-w', '--pattern=77']
      const working = run('qemu-img', [...bench, service], { seconds: 200 })
      working.catch(() => undefined) // awaited below
      for (const [from, to] of [
        ['n1', 'n2'],
        ['n2', 'n3'],
      ]) {
        await atWork(cluster, from)
        await cluster.kill(from)
        await takeOver(cluster, namespaces, from, to)
        await atWork(cluster, to)
        await cluster.startNode(from)
      }
      await working
      const read = ['-f', 'raw', '-c', `read -P 77 0 ${count * 16}k`]
      await run('qemu-io', [...read, at(namespaces.addressOf('n1'))], { seconds: 120 })
    }),
)

/** The guest writes one file after the other, and compares them all in the end. */
const files = 40
const working = (namespaces: Namespaces, port: string): string => `
set -e
${guestNetwork}
mkdir -p /mnt/a
mount -t nfs -o vers=3,nolock,proto=tcp,mountproto=tcp,addr=${namespaces.serviceAddress},port=${port},mountport=${port} ${namespaces.serviceAddress}:/vms /mnt/a
echo MOUNTED
cd /mnt/a
exec 3> open
i=0
while [ $i -lt ${files} ]; do
  head -c 600000 /dev/urandom > steady.$i; sha256sum steady.$i >> /tmp/sums
  echo line $i >&3; i=$((i+1)); echo "STEADY $i"; sleep 0.5
done
exec 3>&-
[ "$(wc -l < open)" = ${files} ] && echo "OPEN GOOD"
echo 3 > /proc/sys/vm/drop_caches
sha256sum -c /tmp/sums > /tmp/checked && echo "STEADY GOOD $(grep -c OK /tmp/checked)"
cd / && umount /mnt/a && echo UNMOUNTED
`

test(
  "Linux's kernel goes on at the same address on another node, with the files that it has open",
  {
    skip: withoutNamespaces() || without('qemu-system-x86_64', 'busybox', 'depmod', 'apt-get', 'ldd'),
    timeout: 400_000,
  },
  () =>
    withServiceAddress(async (cluster, namespaces) => {
      const port = cluster.node('n1').nfs?.address.split(':')[1] ?? ''
      const kernel = await debianKernel(nfsModules)
      const initramfs = join(cluster.scratch, 'nfs.gz')
      await makeInitramfs(initramfs, kernel, [], working(namespaces, port))
      // Its network is that of this process, which is a neighbour of the nodes.
      const guest = cluster.service('qemu-system-x86_64', networkGuestWords(kernel, initramfs))
      const written = (): number =>
        Math.max(0, ...[...guest.output.matchAll(/STEADY (\d+)/g)].map(([, count]) => Number(count)))
      await guest.until('it writes one file after the other', () => written() >= 10, 240)
      await cluster.kill('n1')
      const killedAt = performance.now()
      await takeOver(cluster, namespaces, 'n1', 'n2')
      const writtenThen = written()
      await guest.until('it goes on', () => written() >= writtenThen + 2, 90)
      figure(
        `a guest on NFS goes on ${((performance.now() - killedAt) / 1000).toFixed(1)} s after its node was killed, on the one that has its address then`,
      )
      await guest.until('it has ended', () => guest.output.includes('GUEST-ENDED'), 120)
      for (const said of ['MOUNTED', 'OPEN GOOD', `STEADY GOOD ${files}`, 'UNMOUNTED'])
        assert.ok(guest.output.includes(said), `not ${said}:\n${guest.output}`)
      assert.ok((await cluster.metric('n2', 'ndfs_nfs_calls_total', 'WRITE')) > 0)
    }),
)
