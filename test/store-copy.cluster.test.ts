/** The store's files are lost with their disk, and come back from the copy on another one: nothing that was acknowledged is missing. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus } from '../src/management/management.ts'
import { withCluster, type Cluster } from './support/cluster.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, until } from './support/run.ts'

const page = 4096
/** Another file system than that of the clusters of tests: as `st_dev` tells, another disk. */
const secondDisk = '/dev/shm'

const storeFiles = (cluster: Cluster): string[] =>
  readdirSync(join(cluster.dir, 'store')).filter((name) => name.startsWith('store.db'))

function loseStore(cluster: Cluster): void {
  for (const name of storeFiles(cluster)) rmSync(join(cluster.dir, 'store', name))
}

const noSecondDisk = !existsSync(secondDisk) && `there is no ${secondDisk}`

test(
  'R31: the store’s files are lost, and the copy on a second disk has all that was acknowledged',
  { timeout: 240_000, skip: noSecondDisk },
  async () => {
    const second = mkdtempSync(join(secondDisk, 'ndfs-copy-'))
    try {
      await withCluster({ nodes: 3, up: ['--store-copy', second] }, async (cluster) => {
        assert.notEqual(statSync(second).dev, statSync(cluster.dir).dev)
        const survival = async () => (await cluster.json<ClusterStatus>('status')).survival
        await until('the copy is in step', async () => (await survival()).metadata === 'two disks', 20)
        assert.equal((await survival()).sentence, 'survives a block; nothing is stored yet')

        const vdisk = await cluster.createVDisk('64MiB')
        const write = async (from: number, value: number): Promise<void> => {
          const client = await NbdClient.open(cluster.node('n1').nbd.address, vdisk)
          for (let at = from; at < from + 256; at++) await client.write(at * page, Buffer.alloc(page, value))
          client.close()
        }
        const expectPages = async (from: number, value: number): Promise<void> => {
          const client = await NbdClient.open(cluster.node('n2').nbd.address, vdisk)
          const bytes = await client.read(from * page, 256 * page)
          assert.ok(bytes.equals(Buffer.alloc(256 * page, value)))
          client.close()
        }
        await write(0, 1)
        await cluster.drain(vdisk)
        await write(256, 2)
        // Made last: nothing is acknowledged before the copy has it.
        const last = await cluster.createVDisk('16MiB', 'last')
        const { epoch } = await cluster.vdisk(vdisk)
        await cluster.killAll()
        loseStore(cluster)

        // An empty store in its place would grant epochs anew.
        await assert.rejects(cluster.up(), /store\.db is not there, and it was/)
        await cluster.down()
        assert.deepEqual(storeFiles(cluster), [])
        const began = performance.now()
        const said = await cluster.ndfs('store', 'restore')
        figure(`the store restored in ${((performance.now() - began) / 1000).toFixed(1)} s`)
        assert.match(said, /^Restored the store from .*: it stands after \d+ changes, the last of 20/)
        await cluster.up()
        assert.equal((await cluster.vdisk(last)).sizeBytes, 16 * 1024 * 1024)
        await expectPages(0, 1)
        await expectPages(256, 2)
        // I4: whatever the copy does not know of, no epoch is granted twice.
        assert.ok((await cluster.vdisk(vdisk)).epoch > epoch + 8000)
        await write(512, 3)
        await expectPages(512, 3)
        await until('a new copy is in step', async () => (await survival()).metadata === 'two disks', 20)

        const whileItRuns = await cluster.tryNdfs('store', 'restore', '--force')
        assert.notEqual(whileItRuns.code, 0)
        assert.match(whileItRuns.stderr, /still runs/)
        await cluster.down()
        const whileItIsThere = await cluster.tryNdfs('store', 'restore')
        assert.match(whileItIsThere.stderr, /store\.db is there/)
        // The whole of the cluster's own folder may lie on the disk that is lost.
        for (const name of ['ndfs.json', 'cluster.key', 'token']) rmSync(join(cluster.dir, name))
        const put = await cluster.ndfs('store', 'restore', '--force', '--from', second)
        assert.match(put, /Put back with it: ndfs\.json, cluster\.key, token/)
        await cluster.up()
        await expectPages(512, 3)
      })
    } finally {
      rmSync(second, { recursive: true, force: true })
    }
  },
)

test('a folder on the store’s own disk is no second disk', { timeout: 60_000 }, async () => {
  await withCluster({ nodes: 1 }, async (cluster) => {
    await cluster.down()
    const { code, stderr } = await cluster.tryNdfs(
      'up',
      '--detach',
      '--store-copy',
      join(cluster.scratch, 'two'),
    )
    assert.notEqual(code, 0)
    assert.match(stderr, /is on the same disk as the store/)
  })
})
