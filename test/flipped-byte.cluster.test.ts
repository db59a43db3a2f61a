/** A disk that returns other bytes than it was given: no guest ever sees them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Cluster, withCluster } from './support/cluster.ts'
import { flipByte, groupFiles, type GroupFile } from './support/group-files.ts'
import { errno, NbdClient, NbdError } from './support/nbd-client.ts'
import { until } from './support/run.ts'

const MiB = 1024 * 1024
const size = 16 * MiB
/** So small that each read goes to the disk. */
const noCache = '4KiB'
/** The first byte of the group's first page: every group has one. */
const flippedAt = 0
/** A copy ends in what tells it from the others. */
const trailerBytesMax = 128 * 1024

async function writeAll(client: NbdClient, content: Buffer): Promise<void> {
  for (let at = 0; at < size; at += MiB) await client.write(at, content.subarray(at, at + MiB))
}

async function readAll(client: NbdClient): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let at = 0; at < size; at += MiB) pieces.push(await client.read(at, MiB))
  return Buffer.concat(pieces)
}

/** Where all its bytes lie in whole groups: the log holds nothing of it, and no read is answered from memory. */
async function writtenAndDrained(
  cluster: Cluster,
  vdisk: string,
): Promise<{ client: NbdClient; content: Buffer }> {
  for (const { id } of cluster.nodes) await cluster.ndfs('node', 'set', id, '--cache', noCache)
  const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
  const content = randomBytes(size)
  await writeAll(client, content)
  await cluster.drain(vdisk)
  return { client, content }
}

function copiesByGroup(cluster: Cluster): Map<string, GroupFile[]> {
  const byGroup = new Map<string, GroupFile[]>()
  for (const file of groupFiles(cluster.dir))
    byGroup.set(file.group, [...(byGroup.get(file.group) ?? []), file])
  return byGroup
}

test('bytes that a disk returns are not taken on trust', { timeout: 180_000 }, () =>
  withCluster({}, async (cluster) => {
    const vdisk = await cluster.createVDisk('16MiB')
    const { client, content } = await writtenAndDrained(cluster, vdisk)
    const owner = await cluster.owner(vdisk)

    await test('R13 R26: each extent group lies on disks of two nodes, byte for byte the same', async () => {
      const groups = [...copiesByGroup(cluster).values()]
      assert(groups.length >= size / (4 * MiB), `there are ${groups.length} groups`)
      for (const copies of groups) {
        assert.equal(new Set(copies.map(({ node }) => node)).size, 2)
        const [one, other] = await Promise.all(copies.map(({ path }) => readFile(path)))
        // The trailers name their copies; the pages before them are equal.
        const pages = Math.max(one.length - trailerBytesMax, 4096)
        assert(one.subarray(0, pages).equals(other.subarray(0, pages)))
      }
    })

    await test('R17: a flipped byte in one copy is never read: the read is right, and the copy is repaired', async () => {
      const damaged = groupFiles(cluster.dir).filter(({ node }) => node === owner)
      assert(damaged.length > 0, 'the owner holds no copy')
      for (const { path } of damaged) await flipByte(path, flippedAt)

      assert((await readAll(client)).equals(content), 'a read returned other bytes than were written')
      assert((await cluster.metric(owner, 'ndfs_extent_bad_pages_total')) > 0, 'no bad page was counted')
      await until(
        'every damaged copy is repaired',
        async () => (await cluster.metric(owner, 'ndfs_extent_copies_repaired_total')) >= damaged.length,
        60,
        200,
      )
      const log = readFileSync(join(cluster.dir, 'log', `${owner}.log`), 'utf8')
      const told = /cop(y|ies).*(repair|rebuilt|bad)|(repair|rebuilt|bad).*cop(y|ies)/i
      assert.match(log, told, 'the log does not tell of it')

      // The repaired copies must do without the others: damage those too.
      const two = (): boolean => [...copiesByGroup(cluster).values()].every(({ length }) => length === 2)
      await until('the bad copies are gone', two, 60)
      for (const { node, path } of groupFiles(cluster.dir))
        if (node !== owner) await flipByte(path, flippedAt)
      assert((await readAll(client)).equals(content), 'the repaired copies do not hold what was written')
    })

    await test('R17: where all copies are bad the guest gets an I/O error, and never other bytes', async () => {
      const [damaged] = copiesByGroup(cluster).values()
      const good = damaged.find(({ node }) => node === owner)
      assert(good !== undefined)
      const first = (await readFile(good.path)).subarray(0, 4096)
      const page = content.indexOf(first)
      assert(page >= 0 && page % 4096 === 0, 'the page is not found in the vDisk')
      for (const { node, path } of damaged) await flipByte(path, node === owner ? flippedAt : flippedAt + 1)

      await assert.rejects(
        client.read(page, 4096),
        (error) => error instanceof NbdError && error.errno === errno.EIO,
      )
      // The rest is read as ever, and a write over it makes it whole again.
      const next = (page + 8 * MiB) % size
      assert((await client.read(next, 4096)).equals(content.subarray(next, next + 4096)))
      await client.write(page, first)
      assert((await client.read(page, 4096)).equals(first))
    })
    client.close()
  }),
)
