/** The NFS datastore as Linux's own kernel uses it: a guest that has it mounted by two nodes. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import {
  debianKernel,
  guestNetwork,
  makeInitramfs,
  networkGuestWords,
  nfsModules,
  nfsMount,
} from './support/guest.ts'
import { figure } from './support/run.ts'
import { without } from './support/tools.ts'

const skip = without('qemu-system-x86_64', 'busybox', 'depmod', 'apt-get', 'ldd')

const processes = 10
const filesOfEach = 20

/** By one node all is written, by the other it is read, where nothing is remembered for a while; a step that went well is told by its name. */
const working = (cluster: Cluster): string => `
set -e
${guestNetwork}
${nfsMount(cluster, 'n1', '/mnt/a')}
${nfsMount(cluster, 'n2', '/mnt/b', ',noac')}
echo MOUNTED
cd /mnt/a
mkdir -p tree/inner
for i in 0 1 100 4095 4096 70000 524287 524288 3000001; do
  head -c $i /dev/urandom > tree/$i
done
(cd tree && sha256sum * 2>/dev/null > /tmp/sums) || true
(cd /mnt/b/tree && sha256sum -c /tmp/sums > /tmp/checked) && echo "SUMS $(grep -c OK /tmp/checked)"
ln tree/100 tree/hard && ln -s 100 tree/soft && mv tree/70000 tree/inner/moved
[ "$(stat -c %h /mnt/b/tree/100)" = 2 ] && [ "$(readlink /mnt/b/tree/soft)" = 100 ] && [ -s /mnt/b/tree/inner/moved ] && echo LINKS
chmod 640 tree/100 && [ "$(stat -c %a /mnt/b/tree/hard)" = 640 ] && echo MODES
echo some > tree/log && echo more >> tree/log && [ "$(cat /mnt/b/tree/log)" = "$(printf 'some\\nmore')" ] && echo APPENDED
truncate -s 10 tree/524288 && [ "$(stat -c %s /mnt/b/tree/524288)" = 10 ] && echo CUT
mkdir many
for p in $(seq ${processes}); do
  (for i in $(seq ${filesOfEach}); do echo $p.$i > many/$p.$i; done) &
done
wait
[ "$(ls /mnt/b/many | wc -l)" = ${processes * filesOfEach} ] && echo MANY
rmdir many 2>/dev/null || echo FULL
rm -r many tree && [ -z "$(ls /mnt/b)" ] && echo EMPTY
df /mnt/b | tail -1
tar -cf - -C / bin/busybox modules | tar -xf - -C /mnt/a && echo UNPACKED
cmp /bin/busybox /mnt/b/bin/busybox && echo SAME
i=0
while [ $i -lt 40 ]; do
  head -c 30000 /dev/urandom > steady.$i; sha256sum steady.$i >> /tmp/steady; i=$((i+1)); echo "STEADY $i"; sleep 0.5
done
sha256sum -c /tmp/steady > /tmp/checked && echo "STEADY GOOD $(grep -c OK /tmp/checked)"
cd / && umount /mnt/a && umount /mnt/b && echo UNMOUNTED
`

test(
  "Linux's kernel mounts a container by two nodes: what it writes by one it reads by the other, and a node that is killed is no more than a delay (R1 R10 R16 R18)",
  { skip, timeout: 400_000 },
  () =>
    withCluster({ disks: ['flash:4GiB'] }, async (cluster) => {
      await cluster.ndfs('container', 'create', 'vms')
      const kernel = await debianKernel(nfsModules)
      const initramfs = join(cluster.scratch, 'nfs.gz')
      await makeInitramfs(initramfs, kernel, [], working(cluster))
      const guest = cluster.service('qemu-system-x86_64', networkGuestWords(kernel, initramfs))
      await guest.until('it writes one file after the other', () => guest.output.includes('STEADY 10'), 240)
      await cluster.kill('n1')
      const killedAt = performance.now()
      await cluster.startNode('n1')
      await guest.until('it goes on', () => guest.output.includes('STEADY 13'), 60)
      figure(
        `a guest on NFS goes on ${((performance.now() - killedAt) / 1000).toFixed(1)} s after its node was killed and started again`,
      )
      await guest.until('it has ended', () => guest.output.includes('GUEST-ENDED'), 120)
      const { output } = guest
      for (const said of ['MOUNTED', 'SUMS 9', 'LINKS', 'MODES', 'APPENDED', 'CUT', 'MANY', 'FULL', 'EMPTY'])
        assert.ok(output.includes(said), `not ${said}:\n${output}`)
      for (const said of ['UNPACKED', 'SAME', 'STEADY GOOD 40', 'UNMOUNTED'])
        assert.ok(output.includes(said), `not ${said}:\n${output}`)
    }),
)
