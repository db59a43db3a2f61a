/** What rots, and what is deleted, while guests write: it is noticed and made anew without anybody's doing, and `ndfs check` is clean. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus, ScrubInfo } from '../src/management/management.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { flipByte, groupFiles } from './support/group-files.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, sleep, until } from './support/run.ts'
import { WrittenSectors } from './support/written-sectors.ts'

const MiB = 1024 * 1024
const size = 64 * MiB

/** Writes at random until it is stopped; then all that it was told is there. */
async function guest(cluster: Cluster, node: string, vdisk: string) {
  const client = await NbdClient.open(cluster.node(node).nbd.address, vdisk)
  const sectors = new WrittenSectors(size)
  let over = false
  const writing = sectors.write(client, 4, 1024, () => over)
  const stop = async (): Promise<void> => {
    over = true
    await writing
    assert.equal(sectors.unansweredWrites, 0, 'the connection was lost')
    await sectors.verify(client)
    client.close()
  }
  return { sectors, stop }
}

async function cleanCheck(cluster: Cluster, seconds: number): Promise<void> {
  let last = ''
  await until(
    'ndfs check ends with 0',
    async () => {
      const { code, stdout, stderr } = await cluster.tryNdfs('check')
      last = stdout + stderr
      return code === 0
    },
    seconds,
    500,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${last}`)
  })
  figure(last.trim().split('\n').at(-1)!)
}

test(
  'R31: bytes that rot in 1 % of the extent groups of a node, and that nobody reads, are found and made anew',
  { timeout: 300_000 },
  () =>
    withCluster({ nodes: 4 }, async (cluster) => {
      const resting = await cluster.createVDisk('64MiB', 'resting')
      const client = await NbdClient.open(cluster.node('n1').nbd.address, resting)
      const content = randomBytes(size)
      for (let at = 0; at < size; at += MiB) await client.write(at, content.subarray(at, at + MiB))
      await cluster.drain(resting)
      const busy = await cluster.createVDisk('64MiB', 'busy')
      const { stop } = await guest(cluster, 'n2', busy)

      const files = groupFiles(cluster.dir).filter(({ group }) => group.startsWith('1-'))
      const [{ node }] = files
      const its = files.filter((file) => file.node === node)
      const rotten = its.slice(0, Math.ceil(its.length / 100))
      for (const { path } of rotten) await flipByte(path, 0)
      const begun = performance.now()
      await cluster.ndfs('scrub', 'set', '--every', '20s')
      const { found, repaired } = await untilScrubbed(cluster)
      assert.deepEqual({ found, repaired }, { found: rotten.length, repaired: rotten.length })
      const seconds = ((performance.now() - begun) / 1000).toFixed(0)
      figure(
        `${rotten.length} of the ${its.length} extent groups of ${node} rotted: healed ${seconds} s later, at a round in 20 s`,
      )
      assert.match(await cluster.ndfs('status'), /^scrub .*; 1 wrong found, 1 made anew$/m)
      await cleanCheck(cluster, 60)
      await stop()
      for (let at = 0; at < size; at += MiB)
        assert((await client.read(at, MiB)).equals(content.subarray(at, at + MiB)))
      client.close()
      await cleanCheck(cluster, 30)
    }),
)

/** A whole round was read since, on every node, and nothing waits. */
async function untilScrubbed(cluster: Cluster): Promise<ScrubInfo> {
  const since = Date.now()
  let info: ScrubInfo | undefined
  await until(
    'the scrub has read every copy, and nothing waits to be made anew',
    async () => {
      info = await cluster.json<ScrubInfo>('scrub', 'show')
      const rounds = info.nodes.filter(
        ({ begunAt, lastCompleteAt = 0 }) => lastCompleteAt > since && begunAt > since,
      )
      return rounds.length === info.nodes.length && info.waiting === 0
    },
    120,
    500,
  )
  return info!
}

test(
  'R7: the folder of a disk is deleted while guests write: the disk leaves service, and what it held is made anew elsewhere',
  { timeout: 300_000 },
  () =>
    withCluster({ nodes: 4 }, async (cluster) => {
      const vdisk = await cluster.createVDisk('64MiB')
      const { stop, sectors } = await guest(cluster, 'n2', vdisk)
      await until('much was written', () => sectors.acknowledgedWrites > 600, 60)
      const owner = await cluster.owner(vdisk)
      const lost = `${owner}-flash-0`
      const begun = performance.now()
      rmSync(join(cluster.dir, 'nodes', owner, 'disks', lost), { recursive: true })
      const stateOf = async (): Promise<string | undefined> =>
        (await cluster.disks()).find(({ id }) => id === lost)?.state
      await until('the disk left service', async () => (await stateOf()) === 'failed', 20, 100)
      figure(
        `the folder of a disk is deleted: out of service after ${((performance.now() - begun) / 1000).toFixed(1)} s`,
      )
      const acknowledged = sectors.acknowledgedWrites
      await until('guests write on', () => sectors.acknowledgedWrites > acknowledged + 50, 30)
      await until(
        'nothing lacks a copy',
        async () => {
          const { survival, repair } = await cluster.json<ClusterStatus>('status')
          return survival.shortBytes === 0 && repair === undefined
        },
        90,
        500,
      )
      figure(`full copies again after ${((performance.now() - begun) / 1000).toFixed(1)} s`)
      await cleanCheck(cluster, 60)
      await sleep(1000)
      await stop()
      await cleanCheck(cluster, 30)
    }),
)
