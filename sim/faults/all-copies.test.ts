import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../src/base/errors.ts'
import type { NodeId } from '../../src/base/ids.ts'
import { KiB, MiB, pageBytes, vDiskOffset } from '../../src/base/units.ts'
import { groupsFolder } from '../../src/stargate/extent-store/group-file.ts'
import { Cluster, disksOfNode, pathOfDisk } from '../cluster.ts'
import type { SimFile, SimNode } from '../sim-disk.ts'

const pages = 64
const rotten = 17
const writtenByte = 0x5a

function* filesUnder(node: SimNode | undefined): Generator<SimFile> {
  if (node?.kind === 'file') yield node
  else for (const inside of node?.names.values() ?? []) yield* filesUnder(inside)
}

const groupFiles = (cluster: Cluster): SimFile[] =>
  cluster.names.flatMap((name) =>
    disksOfNode.flatMap((tier) => [
      ...filesUnder(cluster.world.disk(name).find(`${pathOfDisk(tier)}/${groupsFolder}`)),
    ]),
  )

/** What each page reads as through the node: its byte, `bad` for an I/O error; a page of mixed bytes fails the test. */
async function read(cluster: Cluster, node: NodeId): Promise<(number | 'bad')[]> {
  const opened = await cluster.node(node)!.router.open('c/v')
  const seen: (number | 'bad')[] = []
  for (let page = 0; page < pages; page++) {
    const target = Buffer.alloc(pageBytes, 0xee)
    try {
      await opened.read(vDiskOffset(page * pageBytes), target)
      assert.ok(
        target.every((byte) => byte === target[0]),
        `page ${page} is a mix`,
      )
      seen.push(target[0])
    } catch (error) {
      if (!hasCode(error, 'CORRUPT_EXTENT')) throw error
      seen.push('bad')
    }
  }
  opened.close()
  return seen
}

async function write(cluster: Cluster, offset: number, length: number, byte: number): Promise<void> {
  const opened = await cluster.node(cluster.names[0])!.router.open('c/v')
  await opened.write(vDiskOffset(offset), Buffer.alloc(length, byte))
  opened.close()
}

/** A vDisk whose bytes lie in extent groups only, one page of which has rotted in every copy. */
async function withRottenPage(seed: number): Promise<Cluster> {
  const cluster = await Cluster.start({ seed, nodes: 3, oplogSegmentBytes: MiB, cacheBytes: 64 * KiB })
  const { world } = cluster
  await world.play(async () => {
    const { management } = cluster.node(cluster.names[0])!
    await management.createContainer({ name: 'c', copies: 2 })
    await management.createVDisk({ container: 'c', name: 'v', sizeBytes: pages * pageBytes })
    await write(cluster, 0, pages * pageBytes, writtenByte)
  })
  // Idle, it drains to empty and is given up; nothing of it is cached any more where it is opened next.
  await world.run(world.now + 120_000)
  const files = groupFiles(cluster)
  assert.equal(files.length, 2)
  for (const file of files) file.content.flipByte(rotten * pageBytes + 100)
  return cluster
}

const allRead = (bad: 'bad' | number): (number | 'bad')[] =>
  Array.from({ length: pages }, (_, page) => (page === rotten ? bad : writtenByte))

test('a page that is bad in every copy is an I/O error through each node, never zeros or other bytes', async () => {
  const cluster = await withRottenPage(1)
  for (const node of cluster.names)
    assert.deepEqual(await cluster.world.play(() => read(cluster, node)), allRead('bad'))
  cluster.database.close()
})

test('a page that is bad in every copy stays bad when it is written in part, drained and taken over', async () => {
  const cluster = await withRottenPage(2)
  const { world } = cluster
  await world.play(() => write(cluster, rotten * pageBytes, 512, 0x11))
  await world.run(world.now + 120_000)
  for (const name of cluster.names) cluster.end(name, 'power cut')
  for (const name of cluster.names) cluster.startNode(name)
  await world.run(() => cluster.serving().length === cluster.names.length)
  for (const node of cluster.names)
    assert.deepEqual(await world.play(() => read(cluster, node)), allRead('bad'))
  cluster.database.close()
})

test('a page that is bad in every copy is right again once it was written whole', async () => {
  const cluster = await withRottenPage(3)
  const { world } = cluster
  await world.play(() => write(cluster, rotten * pageBytes, pageBytes, 0x22))
  for (const node of cluster.names)
    assert.deepEqual(await world.play(() => read(cluster, node)), allRead(0x22))
  await world.run(world.now + 120_000)
  for (const node of cluster.names)
    assert.deepEqual(await world.play(() => read(cluster, node)), allRead(0x22))
  cluster.database.close()
})
