/** Status promises no loss that the rows in Cassandra would not outlive, whatever the data would; and shows when those were repaired. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CassandraInfo, ClusterStatus } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { withEngines } from './support/engines.ts'
import { figure, until } from './support/run.ts'

test(
  'R6, R31: with Cassandras in two racks no block may be lost, and with one of them down nothing',
  { timeout: 300_000 },
  () =>
    withEngines({ zooKeepers: 1, cassandras: 3, racks: 2, basePort: 24810 }, (engines) =>
      withCluster({ engines, up: ['--blocks', '2'] }, async (cluster) => {
        const survival = async () => (await cluster.json<ClusterStatus>('status')).survival
        const survives = (loss: string) => cluster.metric('n1', 'ndfs_survives', `loss="${loss}"`)
        const { sentence, level, dataLevel, metadataLevel } = await survival()
        figure(sentence)
        assert.deepEqual([level, dataLevel, metadataLevel], ['node', 'block', 'node'])
        assert.equal(
          sentence,
          'survives a node, and the data alone a block: 3 copies of each row of the metadata on 3 servers of Cassandra in 2 racks; nothing is stored yet',
        )
        assert.deepEqual([await survives('node'), await survives('block')], [1, 0])

        // What is shown of repairs is what Cassandra itself notes.
        for (const index of [0, 2]) engines.nodetool(index, 'repair', '-pr', cluster.keyspace())
        const repairedBy = Date.now()
        await cluster.down()
        await cluster.up()
        const shown = await cluster.json<CassandraInfo>('cassandra', 'status')
        const ages = shown.servers.map(({ repairedAt }) => repairedAt && repairedBy - repairedAt)
        figure(`repaired, ms before: ${ages.map(String).join(', ')}`)
        assert.equal(shown.repairsUnknown, undefined)
        assert.deepEqual(shown.problems, [])
        assert.deepEqual(
          ages.map((age) => age !== undefined && age > 0 && age < 120_000),
          [true, false, true],
        )

        await engines.cassandras[1].kill()
        await until('the loss is known', async () => (await survival()).level === 'nothing', 30)
        const down = await survival()
        figure(down.sentence)
        assert.match(down.sentence, /^survives no loss, .* in 2 racks, of which 127\.0\.0\.2:\d+ is down/)
        assert.equal(down.dataLevel, 'block')
        assert.deepEqual([await survives('disk'), await survives('block')], [0, 0])

        engines.cassandras[1].begin()
        await engines.cassandras[1].serving(120)
        await until('it is back', async () => (await survival()).level === 'node', 60)
      }),
    ),
)
