/** A cluster moves from its store to real Cassandra and ZooKeeper, and is killed on the way. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { ndfsProgram, withCluster } from './support/cluster.ts'
import { withEngines } from './support/engines.ts'
import { killedCommand } from './support/killed-command.ts'
import { Guest, KnownFiles } from './support/known-bytes.ts'
import { figure, tryRun } from './support/run.ts'

const MiB = 1024 * 1024
const smallFiles = 120

test(
  'metadata moves to engines, killed on the way: every byte of vDisks and files is there, and the store is never used again',
  { timeout: 420_000 },
  () =>
    withEngines({ basePort: 24810 }, (engines) =>
      withCluster({}, async (cluster) => {
        const make = async (name: string, mib: number): Promise<Guest> =>
          new Guest(cluster, await cluster.createVDisk(`${mib}MiB`, name), mib * MiB)
        const drained = await make('drained', 40)
        await drained.fill()
        await drained.change(60)
        const undrained = await make('undrained', 16)
        await undrained.change(40)
        const files = new KnownFiles(cluster)
        const small = Array.from({ length: smallFiles }, (_, i) => [`small-${i}`, 100 + i * 50] as const)
        await files.store(new Map([...small, ['large', 2 * MiB]]))
        await cluster.down()

        const migrate = ['migrate-metadata', '--engines', cluster.enginesFile(engines)]
        const killed = async (at: number | RegExp): Promise<boolean> => {
          const { output, ended } = await killedCommand(cluster, migrate, at)
          assert.ok(!ended || /is on the engines/.test(output), output)
          figure(
            `killed at ${String(at)} ${ended ? '(it was quicker)' : ''}, after: ${output.trim().split('\n').at(-1)}`,
          )
          return !ended
        }
        // While the keyspace is made, then while rows are copied.
        assert.ok(await killed(1000 + Math.random() * 4000))
        assert.ok(await killed(/of \d+ partitions\./))

        // What was begun counts for nothing: the store serves, and what it is changed to is what moves.
        await cluster.up()
        await undrained.change(30)
        const late = await make('late', 8)
        await late.change(20)
        await cluster.ndfs('vdisk', 'delete', (await make('gone', 8)).name, '--force')
        await files.remove('small-7')
        await cluster.down()
        assert.ok(await killed(/Copied \d+ partitions;/))
        // All is there, and the store still counts; and then it doesn't any more.
        assert.ok(await killed(/all are the same/))
        // Between that and the key in ZooKeeper, or behind it: whoever is started says which.
        await killed(/never used again/)
        const isWhole = await cluster.up().then(
          () => true,
          (error: unknown) => {
            assert.match(String(error), /does not hold cluster/)
            return false
          },
        )
        if (isWhole) await cluster.down()
        figure(`it was killed ${isWhole ? 'behind the last step' : 'between the last two steps'}`)

        const began = performance.now()
        assert.match(await cluster.ndfs(...migrate), /The metadata is on the engines/)
        figure(`the move was ended in ${((performance.now() - began) / 1000).toFixed(1)} s`)
        // Given again it has nothing to do; and nothing brings the store back.
        assert.match(await cluster.ndfs(...migrate), /The metadata is on the engines/)
        const config = join(cluster.dir, 'store', 'store.json')
        const store = await tryRun(process.execPath, [ndfsProgram, 'store', '--config', config])
        assert.match(store.stderr, /its metadata was moved to engines/)
        for (const words of [[], ['--force']])
          assert.match((await cluster.tryNdfs('store', 'restore', ...words)).stderr, /was moved to engines/)

        await cluster.up()
        for (const guest of [drained, undrained, late]) await guest.verify()
        await files.verify()
        await late.change(20)
        await make('new', 8)
        const check = await cluster.tryNdfs('check')
        assert.equal(check.code, 0, check.stdout)
        await late.verify()
      }),
    ),
)
