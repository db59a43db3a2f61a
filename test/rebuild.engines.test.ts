/** Cassandra has lost everything, and `ndfs rebuild-metadata` brings it back from the nodes' disks (M11). */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import type { Engines } from '../scripts/engines/engines.ts'
import { withCluster } from './support/cluster.ts'
import { withEngines } from './support/engines.ts'
import { killedCommand } from './support/killed-command.ts'
import { Guest, KnownFiles } from './support/known-bytes.ts'
import { figure } from './support/run.ts'

const MiB = 1024 * 1024

/** Every file of Cassandra's, on all servers, and not a word to ZooKeeper. */
async function loseCassandra(engines: Engines): Promise<void> {
  for (const server of engines.cassandras) await server.kill()
  for (const { logFile } of engines.cassandras) rmSync(join(dirname(logFile), 'data'), { recursive: true })
  for (const server of engines.cassandras) server.begin()
  for (const server of engines.cassandras) await server.serving(120)
}

test(
  "Cassandra's data is deleted, and rebuild-metadata brings back every byte of vDisks and files, also when it is killed on the way",
  { timeout: 420_000 },
  () =>
    withEngines({ basePort: 22810 }, (engines) =>
      withCluster({ engines }, async (cluster) => {
        const make = async (name: string, mib: number): Promise<Guest> =>
          new Guest(cluster, await cluster.createVDisk(`${mib}MiB`, name), mib * MiB)
        const drained = await make('drained', 40)
        await drained.fill()
        await drained.change(60)
        const files = new KnownFiles(cluster)
        const small = Array.from({ length: 60 }, (_, i) => [`small-${i}`, 100 + i * 500] as const)
        await files.store(new Map([...small, ['large', 2 * MiB]]))
        const undrained = await make('undrained', 16)
        await cluster.ndfs('metadata', 'backup')
        await undrained.change(40)
        await drained.change(30)
        await cluster.killAll()

        await loseCassandra(engines)
        await assert.rejects(cluster.up(), /Cassandra has none of that name/)
        // ZooKeeper has the old cluster still, and is not changed.
        await assert.rejects(cluster.ndfs('rebuild-metadata'), /Name another chroot/)

        const place = cluster.enginesFile(engines, 'again')
        const rebuild = ['rebuild-metadata', '--engines', place]
        for (const at of [/Found \d+ files/, /Copied 1 of/, /all are the same/]) {
          const { output, ended } = await killedCommand(cluster, rebuild, at)
          assert.ok(!ended, output)
          figure(`killed after: ${output.trim().split('\n').at(-1)}`)
        }
        await assert.rejects(cluster.up('--engines', place), /does not hold cluster/)
        const began = performance.now()
        assert.match(await cluster.ndfs(...rebuild), /Rebuilt the metadata/)
        figure(`the metadata rebuilt in ${((performance.now() - began) / 1000).toFixed(1)} s`)
        await assert.rejects(cluster.ndfs(...rebuild), /they serve cluster/)
        await cluster.up('--engines', place)
        for (const guest of [drained, undrained]) await guest.verify()
        await files.verify()
        await make('new', 8)
        const check = await cluster.tryNdfs('check')
        assert.equal(check.code, 0, check.stdout)
      }),
    ),
)
