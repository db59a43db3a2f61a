/** Space: a vDisk beyond what one node has, the log's share of it, the cache's size, and a cluster that is full. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { fio } from './support/fio.ts'
import { errno, NbdClient, NbdError } from './support/nbd-client.ts'
import { figure, until } from './support/run.ts'
import { without } from './support/tools.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB
const smallDisks = ['flash:1GiB', 'hdd:1GiB']
/** What the log may take of a flash disk, unless set otherwise. */
const oplogShare = 0.25

/** Sizes of the oplog's files, by disk; every disk of the cluster is named. */
function oplogBytes(cluster: Cluster): Map<string, number> {
  const nodes = join(cluster.dir, 'nodes')
  return new Map(
    readdirSync(nodes).flatMap((node) =>
      readdirSync(join(nodes, node, 'disks')).map((disk): [string, number] => {
        const folder = join(nodes, node, 'disks', disk, 'oplog')
        const files = existsSync(folder) ? readdirSync(folder) : []
        return [disk, files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)]
      }),
    ),
  )
}

test(
  'R11 R24: a vDisk larger than any one node is filled and verified, and the oplog keeps to its share of the flash',
  { skip: without('fio'), timeout: 400_000 },
  () =>
    withCluster({ nodes: 4, disks: smallDisks }, async (cluster) => {
      const perNode = (await cluster.disks())
        .filter(({ node }) => node === 'n1')
        .reduce((sum, { capacityBytes }) => sum + capacityBytes, 0)
      assert.equal(perNode, 2 * GiB)
      const vdisk = await cluster.createVDisk('2304MiB')
      const taken = async (): Promise<number> =>
        (await cluster.disks()).reduce((sum, { usedBytes = 0 }) => sum + usedBytes, 0)
      assert((await taken()) < 1.2 * GiB, 'a vDisk takes space before it is written to')

      let most = 0
      let over = false
      const watching = (async () => {
        while (!over) {
          for (const [disk, bytes] of oplogBytes(cluster)) {
            if (disk.includes('hdd')) assert.equal(bytes, 0, `the oplog lies on ${disk}`)
            most = Math.max(most, bytes)
          }
          await new Promise((resolve) => setTimeout(resolve, 500))
        }
      })()
      const options = ['rw=write', 'bs=1m', 'iodepth=8', 'size=2304m', 'verify=crc32c', 'verify_fatal=1']
      try {
        const folder = cluster.scratch
        const { writes } = await fio({ uri: cluster.unix('n1', vdisk), options, seconds: 300, folder })
        figure(
          `2304 MiB written to four nodes of 2 GiB at ${Math.round(writes.bytesPerSecond / 1e6)} MB/s, and verified`,
        )
      } finally {
        over = true
      }
      await watching
      assert(most > 0, 'no oplog was found')
      assert(most <= oplogShare * GiB, `the oplog took ${most} bytes of a flash disk of 1 GiB`)
      const used = (await cluster.disks()).filter(({ usedBytes = 0 }) => usedBytes > 0)
      assert.equal(new Set(used.map(({ node }) => node)).size, 4, 'the data lies on all four nodes')
    }),
)

test(
  'R28: the extent cache is 2 GiB a node by default, and its size changes while it runs',
  { timeout: 120_000 },
  () =>
    withCluster({}, async (cluster) => {
      const { cache } = await cluster.nodeInfo('n1')
      assert.equal(cache?.limitBytes, 2 * GiB)
      const vdisk = await cluster.createVDisk('64MiB')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
      const content = randomBytes(MiB)
      for (let at = 0; at < 32; at++) await client.write(at * MiB, content)
      await cluster.drain(vdisk)
      const readAll = async (): Promise<void> => {
        for (let at = 0; at < 32; at++) assert((await client.read(at * MiB, MiB)).equals(content))
      }
      const used = async (): Promise<number> => (await cluster.nodeInfo('n1')).cache?.usedBytes ?? 0

      await readAll()
      await until('what was read is cached', async () => (await used()) >= 30 * MiB, 10)
      const misses = await cluster.metric('n1', 'ndfs_extent_cache_misses_total')
      await readAll()
      assert.equal(
        await cluster.metric('n1', 'ndfs_extent_cache_misses_total'),
        misses,
        'a second read misses',
      )

      await cluster.ndfs('node', 'set', 'n1', '--cache', '8MiB')
      await readAll()
      assert((await used()) <= 8 * MiB, `the cache holds ${await used()} bytes of 8 MiB`)
      await cluster.ndfs('node', 'set', 'n1', '--cache', '1GiB')
      await readAll()
      await until('the cache grows again', async () => (await used()) >= 30 * MiB, 10)
      client.close()

      // What was set stays set when the node starts again.
      await cluster.kill('n1')
      await cluster.startNode('n1')
      assert.equal((await cluster.nodeInfo('n1')).cache?.limitBytes, GiB)
    }),
)

test(
  'a guest discards all of a vDisk at once, more pages than one change of the map takes',
  { skip: without('fio'), timeout: 200_000 },
  () =>
    withCluster({}, async (cluster) => {
      const bytes = 640 * MiB
      const vdisk = await cluster.createVDisk('640MiB')
      const options = ['rw=write', 'bs=1m', 'iodepth=8', 'size=640m']
      await fio({ options, uri: cluster.unix('n1', vdisk), seconds: 120, folder: cluster.scratch })
      await cluster.drained(vdisk)
      const { pid } = cluster.node('n1')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
      await client.trim(0, bytes)
      await cluster.drained(vdisk)
      for (let at = 0; at < bytes; at += 64 * MiB)
        assert(
          (await client.read(at, MiB)).every((byte) => byte === 0),
          `what was discarded at ${at} is there`,
        )
      client.close()
      assert.equal(cluster.node('n1').pid, pid)
    }),
)

test(
  'a full cluster says so to the guest, goes on reading, and takes writes again when a vDisk is deleted',
  { timeout: 400_000 },
  () =>
    withCluster({ disks: smallDisks }, async (cluster) => {
      await cluster.createVDisk('512MiB', 'other')
      const vdisk = await cluster.createVDisk('8GiB', 'full')
      const block = randomBytes(MiB)
      const stamped = (number: number): Buffer => {
        block.writeUInt32LE(number, 0)
        return block
      }
      const other = await NbdClient.open(cluster.node('n2').nbd.address, 'vms/other')
      for (let at = 0; at < 512; at++) await other.write(at * MiB, stamped(at))
      other.close()

      const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
      const full = await fill(8192, 8, (at) => client.write(at * MiB, Buffer.from(stamped(at))))
      figure(`three nodes of 2 GiB are full after 512 MiB and ${full} MiB`)
      assert(full > 512, `only ${full} MiB were taken`)
      for (let at = 0; at < full; at += 7) {
        const bytes = await client.read(at * MiB, MiB)
        assert(bytes.equals(stamped(at)), `what was acknowledged at ${at} MiB is not there`)
      }
      // Small ones, which go to the log first, end too: each to a page of its own, as the same ones again take no more space.
      const small = randomBytes(4096)
      const lastPages = 8 * GiB - 256 * MiB
      const accepted = await fill(65_536, 32, (at) => client.write(lastPages + at * small.length, small))
      figure(`and after ${accepted} pages of 4 KiB more`)
      assert((await client.read(0, MiB)).equals(stamped(0)))

      await cluster.ndfs('vdisk', 'delete', 'vms/other')
      await until(
        'writes are taken again',
        async () => {
          try {
            await client.write(full * MiB, stamped(full))
            return true
          } catch (error) {
            assert(error instanceof NbdError && error.errno === errno.ENOSPC, String(error))
            return false
          }
        },
        120,
        1000,
      )
      assert((await client.read(full * MiB, MiB)).equals(stamped(full)))
      for (let at = 0; at < accepted; at += 101)
        assert((await client.read(lastPages + at * small.length, small.length)).equals(small))
      client.close()
    }),
)

/** Writes one after the other, `depth` at once, until one is refused. Resolves to how many before it were taken. */
async function fill(most: number, depth: number, write: (at: number) => Promise<void>): Promise<number> {
  for (let at = 0; at < most; at += depth) {
    const outcomes = await Promise.allSettled(Array.from({ length: depth }, (_, index) => write(at + index)))
    const refused = outcomes.findIndex(({ status }) => status === 'rejected')
    if (refused === -1) continue
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') {
        const reason: unknown = outcome.reason
        assert(reason instanceof NbdError && reason.errno === errno.ENOSPC, String(reason))
      }
    return at + refused
  }
  throw new Error(`all ${most} writes were taken`)
}
