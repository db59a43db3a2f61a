/**
 * A node that is started without one of its disks, as after a mount that failed: it serves with the others, what the disk held is made anew,
 * nothing is written to the folder that is there in its place, and with the disk it is as before.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, renameSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus, DiskInfo } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { groupFiles } from './support/group-files.ts'
import { NbdClient } from './support/nbd-client.ts'
import { figure, until } from './support/run.ts'

const MiB = 1024 * 1024
const pieces = 24

test('R6: a node starts without a disk that is missing, and with it again', { timeout: 180_000 }, () =>
  withCluster({ nodes: 3, up: ['--disk', 'flash:2GiB', '--disk', 'flash:2GiB'] }, async (cluster) => {
    const status = (): Promise<ClusterStatus> => cluster.json<ClusterStatus>('status')
    const readsAll = async (): Promise<void> => {
      const client = await NbdClient.open(cluster.node('n2').nbd.address, vdisk)
      for (let i = 0; i < pieces; i++)
        assert.ok((await client.read(i * MiB, MiB)).equals(Buffer.alloc(MiB, i + 1)), `MiB ${i}`)
      client.close()
    }
    const vdisk = await cluster.createVDisk('64MiB')
    const client = await NbdClient.open(cluster.node('n2').nbd.address, vdisk)
    for (let i = 0; i < pieces; i++) await client.write(i * MiB, Buffer.alloc(MiB, i + 1))
    client.close()
    await cluster.drain(vdisk)
    const { disk } = groupFiles(cluster.dir).find((file) => file.disk.startsWith('n2-flash-'))!
    const state = async (): Promise<DiskInfo['state'] | undefined> =>
      (await cluster.json<DiskInfo[]>('disk', 'list')).find(({ id }) => id === disk)?.state

    const folder = join(cluster.dir, 'nodes/n2/disks', disk)
    await cluster.kill('n2')
    renameSync(folder, `${folder}.aside`)
    mkdirSync(folder)
    const began = performance.now()
    await cluster.startNode('n2')
    assert.equal(await state(), 'missing')
    const { health, problems } = await status()
    assert.equal(health, 'degraded')
    assert.match(
      problems.join('\n'),
      new RegExp(
        `^disk ${disk} of n2 is missing since n2 was started\\. .* it has no superblock\\. Is the file system mounted\\?.* restart n2`,
        'm',
      ),
    )
    await until('its copies are made anew', async () => (await status()).survival.level === 'block', 60, 200)
    figure(`missing disk: full copies ${((performance.now() - began) / 1000).toFixed(1)} s after the start`)
    await readsAll()
    assert.deepEqual(readdirSync(folder), [], 'something was written where the disk was')

    await cluster.kill('n2')
    rmdirSync(folder)
    renameSync(`${folder}.aside`, folder)
    await cluster.startNode('n2')
    assert.equal(await state(), 'online')
    await until('all is well', async () => (await status()).health === 'ok', 60, 200)
    await readsAll()
    await cluster.ndfs('check')
  }),
)
