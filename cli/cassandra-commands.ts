/** `ndfs cassandra`: how the servers see one another that hold the metadata. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { CassandraInfo } from '../src/management/management.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { cassandraText } from './tables.ts'

/** After so long heartbeats can be told (`heartbeatsPerSecond`). */
const secondLookMs = 3100

export function addCassandraCommands(ndfs: Command): void {
  const cassandra = ndfs.command('cassandra').description('the servers of Cassandra that hold the metadata')
  leaf(cassandra, 'status', 'how they see one another: takes 3 s, as heartbeats are counted').action(
    async (options: Common) => {
      // What heartbeats were before is known to the node that was asked before.
      const client = await (await clientFor(options)).ofOneNode()
      const look = () => client.get<CassandraInfo>('/api/v1/cassandra')
      let info = await look()
      if (info.servers.every(({ heartbeatsPerSecond }) => heartbeatsPerSecond === undefined)) {
        await sleep(secondLookMs)
        info = await look()
      }
      consoleOutput(options.json).result(info, cassandraText(info))
    },
  )
}
