/**
 * A fourth Cassandra joins three under load, beside a node that had none: it takes its share of the rows, is used, and one of the old ones can go. The
 * four stand in two blocks, or in as many as NDFS_BLOCKS says.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atOnce } from '../src/base/at-once.ts'
import type { Epoch } from '../src/base/ids.ts'
import { testPlatform } from '../src/local/store/store-for-tests.ts'
import type { CassandraInfo } from '../src/management/management.ts'
import { cassandraMedusa, type CassandraMedusa } from '../src/medusa/cassandra-medusa.ts'
import type { PartitionName } from '../src/medusa/medusa.ts'
import { changeForCertain, newChangeId } from '../src/medusa/medusa.ts'
import { RecordedChanges } from '../src/medusa/recorded-changes-for-tests.ts'
import type { Engines } from '../scripts/engines/engines.ts'
import { withCluster } from './support/cluster.ts'
import { Door } from './support/doors.ts'
import { placesIn } from './support/engine-hosts.ts'
import { withEngines } from './support/engines.ts'
import { Namespaces, withoutNamespaces } from './support/namespaces.ts'
import { askCassandra } from './support/one-cassandra.ts'
import { RecordedWork, recordedWorkBytes } from './support/recorded-work.ts'
import { figure, sleep, until } from './support/run.ts'
import { servedEpochs, servedTwice } from './support/served-epochs.ts'

const blocks = Number(process.env.NDFS_BLOCKS ?? 2)
const hosts = 4
const partitionsStored = 100
/** Cassandra itself waits half an hour and more for what is under way to be agreed on. */
const joinSeconds = 300
const { clock, chance, log } = testPlatform

test(
  'R4 R9: a fourth Cassandra joins three under load: rows spread to it, clients use it, nothing is missing when an old one is killed',
  { skip: withoutNamespaces(), timeout: 600_000 },
  async () => {
    const namespaces = new Namespaces(hosts)
    try {
      await withEngines(
        {
          basePort: 26810,
          places: placesIn(namespaces),
          zooKeepers: 3,
          cassandras: 3,
          racks: blocks,
          grows: true,
        },
        (engines) =>
          withCluster(
            { nodes: hosts, up: ['--blocks', String(blocks)], namespaces, engines },
            async (cluster) => {
              const vdisk = await cluster.createVDisk(String(recordedWorkBytes), 'recorded')
              const { socket } = await cluster.connect(vdisk)
              const door = new Door('ndfs connect', vdisk, () => socket, true)
              const work = new RecordedWork(Date.now() % 1_000_000, 20)
              const keyspace = cluster.keyspace()
              const medusas = await Promise.all([1, 2, 3].map(() => connect(engines, keyspace)))
              const changes = new RecordedChanges(3, clock, chance)
              try {
                await store(medusas[0])
                const before = await readAll(medusas[1])
                const changing = medusas.map((medusa, number) => changes.work(medusa, number))
                work.join(door, 4)
                await sleep(2000)

                const began = performance.now()
                await engines.join(joinSeconds)
                const joinedMs = performance.now() - began
                const [, , , joined] = engines.cassandraAddresses
                figure(`joined under load in ${(joinedMs / 1000).toFixed(1)} s, ${blocks} blocks`)
                await until('all servers are seen by all', async () => {
                  const { views, servers, problems, disagreements } = await cluster.json<CassandraInfo>(
                    'cassandra',
                    'status',
                  )
                  const normal = servers.filter(
                    ({ status, seenBy }) => status === 'NORMAL' && seenBy === hosts,
                  )
                  return (
                    views === hosts && normal.length === hosts && problems.length + disagreements.length === 0
                  )
                })
                await until('a node and the clients of this process ask it', async () => {
                  await readAll(medusas[2])
                  return isUsed(engines, joined, namespaces)
                })

                const shares = sharesOf(engines.nodetool(3, 'status', keyspace))
                const table = engines.nodetool(3, 'tablestats', '-F', 'json', `${keyspace}.directory`)
                const { partitions, reads } = localOf(table, keyspace)
                figure(
                  `shares of the rows: ${[...shares.values()].join(', ')} %; ${joined} holds ${partitions} of ${partitionsStored} partitions, and has read ${reads} times`,
                )
                assert.equal(shares.size, hosts)
                for (const share of shares.values())
                  assert(share > 40 && share < 100, `a share of ${share} %`)
                const sum = [...shares.values()].reduce((total, share) => total + share, 0)
                assert(Math.abs(sum - 300) < 1, `${sum} % are not three copies`)
                assert(partitions > partitionsStored * 0.4, `${partitions} partitions`)

                await engines.cassandras[0].kill()
                const after = await readAll(medusas[1])
                assert.deepEqual(after, before, 'partitions are not as they were')
                await sleep(3000)
                changes.over = true
                await Promise.all(changing)
                assert.deepEqual(await changes.wrong(medusas[2]), [])
                const { applied, unknown, longestMs } = changes.counts()
                figure(
                  `${applied} changes of Medusa acknowledged, ${unknown} unknown, all explained; the longest time without one ${(longestMs / 1000).toFixed(1)} s`,
                )
                await work.leave()
                assert.match(await cluster.ndfs('check'), /all is right/)
              } finally {
                for (const medusa of medusas) await medusa.close()
              }
              await work.readAll(door)
              door.close()
              assert.equal(work.judge(), undefined)
              assert(work.findsStaleRead(), 'a planted stale read was not found')
              assert.deepEqual(work.refusals, [])
              assert.equal(servedTwice(servedEpochs(cluster)), undefined)
            },
          ),
      )
    } finally {
      namespaces.remove()
    }
  },
)

const connect = (engines: Engines, keyspace: string): Promise<CassandraMedusa> =>
  cassandraMedusa({
    ...{ contactPoints: engines.cassandraAddresses, port: engines.cassandraPort, datacenter: 'dc1' },
    ...{ keyspace, clock, log },
  })

const stored = Array.from({ length: partitionsStored }, (_, i): PartitionName => ({
  table: 'directory',
  key: `stored ${i}`,
}))

async function store(medusa: CassandraMedusa): Promise<void> {
  await atOnce(stored, 16, async (partition) => {
    const put = ['a', 'b', 'c'].map((key) => ({ key, value: Buffer.from(`${partition.key} ${key}`) }))
    const nothing = { epoch: 0 as Epoch, version: 0 }
    const change = { id: newChangeId(chance), expected: nothing, epoch: nothing.epoch, put }
    const { outcome } = await changeForCertain(medusa, clock, partition, change, () => true)
    assert.equal(outcome, 'applied')
  })
}

/** Serially. */
async function readAll(medusa: CassandraMedusa): Promise<readonly unknown[]> {
  const found: unknown[] = []
  await atOnce([...stored.entries()], 8, async ([at, partition]) => {
    found[at] = await medusa.get(partition)
  })
  return found
}

/** By clients of this process some times, and by some node: a driver connects to a server when it asks it first. */
async function isUsed(engines: Engines, address: string, namespaces: Namespaces): Promise<boolean> {
  const query = 'SELECT address, request_count FROM system_views.clients'
  const clients = await askCassandra({ address, port: engines.cassandraPort }, query)
  const requestsFrom = (from: string): number =>
    clients
      .filter((client) => String(client.address) === from)
      .reduce((sum, { request_count }) => sum + Number(request_count), 0)
  const byNodes = namespaces.nodes.map((node) => requestsFrom(namespaces.addressOf(node)))
  const byUs = requestsFrom(namespaces.clientAddress)
  return byNodes.some((requests) => requests > 0) && byUs > 20
}

/** Of all rows, what each server has a copy of: percent by address. */
const sharesOf = (status: string): ReadonlyMap<string, number> =>
  new Map(
    [...status.matchAll(/^UN +(\S+) .*?([\d.]+)%/gm)].map(([, address, share]) => [address, Number(share)]),
  )

/** Of one table, what one server has itself. */
function localOf(stats: string, keyspace: string): { readonly partitions: number; readonly reads: number } {
  const { [keyspace]: found } = JSON.parse(stats) as Record<
    string,
    { tables: Record<string, { number_of_partitions_estimate: number; local_read_count: number }> }
  >
  const { number_of_partitions_estimate: partitions, local_read_count: reads } = found.tables.directory
  return { partitions, reads }
}
