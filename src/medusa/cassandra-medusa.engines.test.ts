import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before } from 'node:test'
import { Engines } from '../../scripts/engines/engines.ts'
import { testPlatform } from '../local/store/store-for-tests.ts'
import { cassandraMedusa, type CassandraMedusa } from './cassandra-medusa.ts'
import type { Medusa, PartitionName } from './medusa.ts'
import { medusaContract } from './medusa-contract-suite.ts'

const { clock, chance, log } = testPlatform
let dir: string
let engines: Engines
let clients: readonly CassandraMedusa[] = []
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'ndfs-cassandra-'))
  engines = new Engines({ dir, zooKeepers: 0, basePort: 25810 })
  await engines.start()
  clients = [await connect('ndfs'), await connect('ndfs'), await connect('ndfs')]
})
after(async () => {
  for (const one of clients) await one.close()
  await engines.end()
  await rm(dir, { recursive: true })
})

const connect = (keyspace: string): Promise<CassandraMedusa> =>
  cassandraMedusa({
    contactPoints: engines.cassandraAddresses,
    port: engines.cassandraPort,
    datacenter: 'dc1',
    keyspace,
    clock,
    log,
  })

/** An empty store of its own: a keyspace takes seconds to make. */
function inStore(name: string, medusa: Medusa): Medusa {
  const within = ({ table, key }: PartitionName): PartitionName => ({ table, key: key && `${name} ${key}` })
  return {
    get: (partition, ...rest) => medusa.get(within(partition), ...rest),
    scan: (partition, ...rest) => medusa.scan(within(partition), ...rest),
    getOfMany: (table, keys, rowKey) =>
      medusa.getOfMany(
        table,
        keys.map((key) => `${name} ${key}`),
        rowKey,
      ),
    change: (partition, change) => medusa.change(within(partition), change),
    close: () => Promise.resolve(),
  }
}

let stores = 0
medusaContract('Medusa on Cassandra', async (body) => {
  const name = `${Date.now()}_${++stores}`
  let next = 0
  await body({ client: () => inStore(name, clients[next++]), clock, chance, run: (work) => work })
})
