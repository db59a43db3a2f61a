/** A virtual machine whose only disk is a vDisk: it doesn't notice that the node which served it has died. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { withCluster } from './support/cluster.ts'
import { debianKernel, guestWords, makeInitramfs } from './support/guest.ts'
import { figure, run } from './support/run.ts'
import { without } from './support/tools.ts'

const skip = without(
  'qemu-system-x86_64',
  'qemu-img',
  'busybox',
  'mkfs.ext4',
  'e2fsck',
  'depmod',
  'apt-get',
  'ldd',
)
const files = 24

/** Makes a file system, writes and syncs file after file, and checks all of them as read from the disk. */
const writing = `
set -e
mkfs.ext4 -q -E nodiscard /dev/vda
mount -t ext4 /dev/vda /mnt
for i in $(seq ${files}); do
  dd if=/dev/urandom of=/mnt/$i bs=64k count=$((i % 7 * 8 + 1)) 2>/dev/null
  (cd /mnt && sha256sum $i >> sums && sync)
  echo "WRITTEN $i"
  sleep 1
done
echo 3 > /proc/sys/vm/drop_caches
cd /mnt && sha256sum -c sums > /tmp/checked && echo "GOOD $(grep -c OK /tmp/checked)"
cd / && umount /mnt && echo UNMOUNTED
`

/** A fresh machine: nothing is cached. */
const checking = `
set -e
e2fsck -f -n /dev/vda && echo CLEAN
mount -t ext4 -o ro /dev/vda /mnt
cd /mnt && sha256sum -c sums > /tmp/checked && echo "GOOD $(grep -c OK /tmp/checked)"
cd / && umount /mnt
`

test(
  'R11 R16: a guest on ext4 goes on when the owner of its vDisk is killed, and its files are whole',
  { skip, timeout: 400_000 },
  () =>
    withCluster({}, async (cluster) => {
      const kernel = await debianKernel()
      const vdisk = await cluster.createVDisk('256MiB')
      const { uri } = await cluster.connect(vdisk)
      const initramfs = join(cluster.scratch, 'writing.gz')
      await makeInitramfs(initramfs, kernel, ['/usr/sbin/mkfs.ext4'], writing)
      const guest = cluster.service('qemu-system-x86_64', guestWords(kernel, initramfs, uri))

      await guest.until('a third is written', () => guest.output.includes(`WRITTEN ${files / 3}`), 120)
      const first = await cluster.owner(vdisk)
      await cluster.kill(first)
      const killedAt = performance.now()
      const before = written(guest.output)
      await guest.until('it writes on', () => written(guest.output) > before + 1, 60)
      figure(
        `a guest writes and syncs on ${((performance.now() - killedAt) / 1000).toFixed(1)} s after its vDisk's owner was killed`,
      )
      assert.notEqual(await cluster.owner(vdisk), first)
      await cluster.startNode(first)
      await guest.until('all files are written', () => guest.output.includes('UNMOUNTED'), 120)
      assert.match(guest.output, new RegExp(`GOOD ${files}\\b`))
      assert.doesNotMatch(guest.output, /I\/O error|EXT4-fs error/)

      // Now without the node that served it last, in another machine, by another way.
      const second = await cluster.owner(vdisk)
      await cluster.kill(second)
      const fresh = join(cluster.scratch, 'checking.gz')
      await makeInitramfs(fresh, kernel, ['/usr/sbin/e2fsck'], checking)
      const node = await cluster.someOther(second)
      const said = await run('qemu-system-x86_64', guestWords(kernel, fresh, cluster.unix(node, vdisk)), {
        seconds: 120,
      })
      assert.match(said, /CLEAN/, said)
      assert.match(said, new RegExp(`GOOD ${files}\\b`), said)

      // And the file system as this machine's own tools see it.
      const image = join(cluster.scratch, 'image.raw')
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', cluster.tcp(node, vdisk), image])
      await run('/usr/sbin/e2fsck', ['-f', '-n', image])
    }),
)

/** The number of the last file that was synced. */
const written = (output: string): number => Number([...output.matchAll(/WRITTEN (\d+)/g)].at(-1)?.[1] ?? 0)
