/** What Cassandra's servers tell one another, shown to an operator: one that freezes is named, and is well again when it goes on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CassandraInfo, ClusterStatus } from '../src/management/management.ts'
import { withCluster } from './support/cluster.ts'
import { withEngines } from './support/engines.ts'
import { until } from './support/run.ts'

test(
  "R5: gossip of Cassandra's servers is shown, and a server that is frozen is named until it goes on",
  { timeout: 300_000 },
  () =>
    withEngines({ zooKeepers: 1, cassandras: 3, basePort: 29810 }, (engines) =>
      withCluster({ engines }, async (cluster) => {
        const shown = () => cluster.json<CassandraInfo>('cassandra', 'status')
        const frozen = `127.0.0.3:${engines.cassandraPort}`
        const aboutIt = async (): Promise<readonly string[]> => {
          const { problems } = await cluster.json<ClusterStatus>('status')
          return problems.filter((problem) => problem.includes(frozen))
        }

        const well = await shown()
        console.log(`figure: heartbeats a second: ${rates(well)}`)
        assert.equal(well.views, 3)
        assert.deepEqual([well.problems, well.disagreements, well.silent], [[], [], []])
        for (const { clients, rack, status, heartbeatsPerSecond = 0, seenBy } of well.servers) {
          assert.match(clients, new RegExp(`^127\\.0\\.0\\.[123]:${engines.cassandraPort}$`))
          assert.deepEqual([rack, status, seenBy], [`b${clients[8]}`, 'NORMAL', 3])
          assert.ok(
            heartbeatsPerSecond >= 0.5 && heartbeatsPerSecond <= 1.7,
            `${clients}: ${heartbeatsPerSecond}`,
          )
        }
        assert.deepEqual(await aboutIt(), [])

        engines.cassandras[2].signal('SIGSTOP')
        let info = await shown()
        await until('its heartbeat is seen to stand still', async () => {
          info = await shown()
          return info.servers.some(({ clients, beats }) => clients === frozen && beats === false)
        })
        console.log(`figure: with one frozen: ${rates(info)}; ${info.problems.join('; ')}`)
        assert.deepEqual(
          info.silent.map(({ server }) => server),
          [frozen],
        )
        assert.match(info.problems.join(), /does not answer n\d .* stands still for the others/)
        const begun = performance.now()
        const [said] = await aboutIt()
        console.log(`figure: status took ${Math.round(performance.now() - begun)} ms with one frozen`)
        assert.match(said, /does not answer n\d/)

        engines.cassandras[2].signal('SIGCONT')
        await until('all is well again', async () => {
          const { views, problems, disagreements } = await shown()
          return views === 3 && problems.length === 0 && disagreements.length === 0
        })
        await until('status is well again', async () => (await aboutIt()).length === 0)
      }),
    ),
)

const rates = ({ servers }: CassandraInfo): string =>
  servers.map(({ heartbeatsPerSecond }) => heartbeatsPerSecond?.toFixed(2) ?? '-').join(', ')
