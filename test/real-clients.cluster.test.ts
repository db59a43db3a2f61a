/** Must-have clients, as their makers ship them, against a cluster: what they write they read again, wherever they ask. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { withCluster } from './support/cluster.ts'
import { sha256, writeImage } from './support/files.ts'
import { fio, mixedSizes } from './support/fio.ts'
import { run, tryRun } from './support/run.ts'
import { without } from './support/tools.ts'

const skip = without('nbdinfo', 'nbdcopy', 'qemu-img', 'qemu-io', 'fio')
const imageMiB = 96

test('real NBD clients are served', { skip, timeout: 300_000 }, () =>
  withCluster({}, async (cluster) => {
    const vdisk = await cluster.createVDisk('256MiB')
    const image = join(cluster.scratch, 'image.raw')
    await writeImage(image, imageMiB)
    const hash = await sha256(image)
    // The first request decides who owns it.
    await run('qemu-io', ['-f', 'raw', '-c', 'read 0 4k', cluster.tcp('n1', vdisk)])
    const owner = await cluster.owner(vdisk)
    const other = await cluster.someOther(owner)
    const ways = {
      'the owner, by TCP': cluster.tcp(owner, vdisk),
      'the owner, by its Unix socket': cluster.unix(owner, vdisk),
      'a node that does not own it, by TCP': cluster.tcp(other, vdisk),
      'a node that does not own it, by its Unix socket': cluster.unix(other, vdisk),
    }
    const [, , throughOther] = Object.values(ways)

    await cluster.ndfs('vdisk', 'create', 'vms/copied', '--size', `${imageMiB}MiB`)
    const copied = { here: cluster.unix(owner, 'vms/copied'), there: cluster.tcp(other, 'vms/copied') }

    const nodes = [owner, other]
    await test('nbdinfo lists the exports and tells their sizes', async () => {
      for (const node of nodes) {
        const list = await run('nbdinfo', ['--list', `nbd://${cluster.node(node).nbd.address}`])
        assert.match(list, /export="vms\/disk1"/)
        assert.match(list, /export="vms\/copied"/)
      }
      for (const uri of Object.values(ways)) {
        const info = await run('nbdinfo', [uri])
        assert.match(info, /export-size: 268435456/)
        for (const ability of ['can_flush', 'can_fua', 'can_trim', 'can_zero', 'can_multi_conn', 'can_df'])
          assert.match(info, new RegExp(`${ability}: true`), ability)
        assert.match(info, /base:allocation/)
      }
    })

    await test('nbdcopy puts an image in through one node and gets it out through another', async () => {
      await run('nbdcopy', ['--flush', image, copied.there])
      const out = join(cluster.scratch, 'out.raw')
      for (const uri of Object.values(copied)) {
        await run('nbdcopy', [uri, out])
        assert.equal(await sha256(out), hash, uri)
      }
    })

    await test('block status names what was never written as a hole that reads as zeroes', async () => {
      const map = await run('nbdinfo', ['--map', cluster.tcp(other, vdisk)])
      assert.match(map, /^\s*0\s+268435456\s+3\s+hole,zero\s*$/)
    })

    await test('qemu-img converts an image onto a vDisk and compares it as identical', async () => {
      for (const uri of [
        ways['a node that does not own it, by TCP'],
        ways['the owner, by its Unix socket'],
      ]) {
        await run('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image, uri])
        for (const at of Object.values(ways)) {
          // The vDisk is larger than the image: beyond it there are zeroes.
          const { code, stdout } = await tryRun('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', image, at])
          assert.equal(code, 0, stdout)
        }
      }
    })

    await test('R12: a misaligned guest reads what it wrote, discarded and zeroed, by qemu-io', async () => {
      for (const [way, uri] of Object.entries(ways)) {
        const commands = [
          'write -P 0x11 0 1M',
          'write -P 0x22 511 4098',
          'write -P 0x33 100001 7',
          'write -P 0x44 65535 131073',
          'flush',
          'read -P 0x11 0 511',
          'read -P 0x22 511 4098',
          'read -P 0x11 4609 60926',
          'read -P 0x44 65535 34466',
          'read -P 0x44 100001 7',
          'read -P 0x44 100008 96600',
          'read -P 0x11 196608 1k',
          'discard 8k 64k',
          'read -P 0 8k 57343',
          'read -P 0x44 72k 8k',
          'write -z 300001 4099',
          'read -P 0 300001 4099',
          'read -P 0x11 299k 1000',
          'read -P 0x11 304100 1k',
          'write -z -u 512k 64k',
          'read -P 0 512k 64k',
          'read -P 0x11 576k 4k',
          'write -f -P 0x55 700000 3',
          'read -P 0x55 700000 3',
          'read -P 0x11 700003 5',
        ]
        const words = commands.flatMap((command) => ['-c', command])
        const said = await run('qemu-io', ['-f', 'raw', ...words, uri])
        assert.doesNotMatch(said, /verification failed|error|Pattern/i, `${way}\n${said}`)
      }
    })

    await test('a read past the end is refused, and the connection lives on', async () => {
      for (const uri of Object.values(ways)) {
        const words = ['-c', 'read 256M 4k', '-c', 'read 0 4k']
        const { stdout, stderr } = await tryRun('qemu-io', ['-f', 'raw', ...words, uri])
        assert.match(stdout + stderr, /read failed|past|Invalid|out of range/i)
        assert.match(stdout, /read 4096\/4096 bytes at offset 0/)
      }
    })

    for (const depth of [1, 32])
      await test(`fio verifies blocks of 512 bytes to 1 MiB, ${depth} at once, on the owner and through another node`, async () => {
        const size = depth === 1 ? 'size=12m' : 'size=64m'
        for (const uri of [ways['the owner, by its Unix socket'], throughOther]) {
          const options = [
            'rw=randwrite',
            mixedSizes,
            size,
            `iodepth=${depth}`,
            'verify=crc32c',
            'verify_fatal=1',
          ]
          const { writes } = await fio({ uri, options, seconds: 90, folder: cluster.scratch })
          assert(writes.requests > 100)
        }
      })
  }),
)
