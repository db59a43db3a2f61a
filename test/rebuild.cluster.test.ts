/** Nothing but the nodes' disks is left, and `ndfs rebuild-metadata` brings everything back (M11). */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ClusterStatus } from '../src/management/management.ts'
import { type Cluster, withCluster } from './support/cluster.ts'
import { Guest, KnownFiles } from './support/known-bytes.ts'
import { figure } from './support/run.ts'

const MiB = 1024 * 1024
const nodes = ['n1', 'n2', 'n3']

async function loseStore(cluster: Cluster): Promise<void> {
  await cluster.killAll()
  rmSync(join(cluster.dir, 'store'), { recursive: true })
}

test(
  'the store is deleted, and the metadata is rebuilt from the disks: every byte of vDisks and files',
  { timeout: 240_000 },
  () =>
    withCluster({}, async (cluster) => {
      const make = async (name: string, mib: number): Promise<Guest> =>
        new Guest(cluster, await cluster.createVDisk(`${mib}MiB`, name), mib * MiB)
      const drained = await make('drained', 48)
      await drained.change(150)
      await drained.fill()
      await drained.change(100)
      const gone = await make('gone', 16)
      await gone.change(20)
      await cluster.ndfs('vdisk', 'delete', gone.name, '--force')

      const files = new KnownFiles(cluster)
      const small = Array.from({ length: 5 }, (_, i) => [`small-${i}`, 1 + i * 30_000] as const)
      await files.store(new Map([...small, ['large', 3 * MiB]]))

      const undrained = await make('undrained', 16)
      const backup = await cluster.json<{ places: string[] }>('metadata', 'backup')
      assert.equal(backup.places.length, 3)
      assert.ok((await cluster.json<ClusterStatus>('status')).metadataBackupAt! > 0)

      const late = await make('late', 40)
      await late.fill()
      // Its name is in no backup, and in the trailers of its extent groups.
      await cluster.drain(late.name)
      await late.change(50)
      await drained.fill()
      await drained.change(80)
      await cluster.ndfs('vdisk', 'resize', drained.name, '--size', '32MiB', '--force')
      drained.bytes = drained.bytes.subarray(0, 32 * MiB)
      await cluster.ndfs('vdisk', 'resize', drained.name, '--size', '40MiB')
      drained.bytes = Buffer.concat([drained.bytes, Buffer.alloc(8 * MiB)])
      await undrained.change(40)
      await drained.change(40)

      await loseStore(cluster)
      const began = performance.now()
      const said = await cluster.ndfs('rebuild-metadata')
      figure(`the metadata rebuilt in ${((performance.now() - began) / 1000).toFixed(1)} s`)
      assert.match(said, /those of the backup of 20.*, 0 minutes ago/)
      assert.match(said, /vms\/late is in no backup/)
      assert.doesNotMatch(said, /vms\/gone/)
      await assert.rejects(cluster.ndfs('rebuild-metadata'), /store\.db is there, and not empty/)
      await cluster.up()
      for (const guest of [drained, late, undrained]) await guest.verify()
      assert.notEqual((await cluster.tryNdfs('vdisk', 'show', gone.name)).code, 0)
      await files.verify()
      const check = await cluster.tryNdfs('check')
      assert.equal(check.code, 0, check.stdout)

      // And without a backup: names are those that extent groups bear.
      await drained.change(30)
      await loseStore(cluster)
      for (const id of nodes)
        for (const disk of ['flash-0', 'hdd-0'])
          rmSync(join(cluster.dir, 'nodes', id, 'disks', `${id}-${disk}`, 'metadata'), {
            recursive: true,
            force: true,
          })
      assert.match(await cluster.ndfs('rebuild-metadata'), /No backup was found/)
      await cluster.up()
      for (const guest of [drained, late]) await guest.verify()
    }),
)
