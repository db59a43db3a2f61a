/** `ndfs cassandra`: how the servers see one another that hold the metadata, and the configuration of one beside a node. */
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { CassandraInfo, ClusterStatus } from '../src/management/management.ts'
import { writeCassandraConfig } from '../src/local/cassandra-place.ts'
import { datacenterArgument } from './arguments.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform } from './processes.ts'
import { cassandraText } from './tables.ts'

/** After so long heartbeats can be told (`heartbeatsPerSecond`). */
const secondLookMs = 3100

interface ConfigOptions extends Common {
  readonly folder: string
  readonly out: string
  readonly datacenter: string
  readonly first?: boolean
}

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
  leaf(cassandra, 'config <node>', 'writes the configuration of the Cassandra beside a node')
    .option('--folder <dir>', 'where it keeps everything', '/var/lib/cassandra')
    .option('--out <dir>', 'where cassandra.yaml and cassandra-rackdc.properties go', '.')
    .option('--datacenter <name>', "as in the nodes' configuration", datacenterArgument, 'dc1')
    .option('--first', 'one of the first servers, which take no rows over from others')
    .action(async (node: string, { folder, out, datacenter, first = false, ...options }: ConfigOptions) => {
      const { cluster, nodes } = await (await clientFor(options)).get<ClusterStatus>('/api/v1/status')
      const wishes = { datacenter, folder: resolve(folder), first }
      const { files } = commandPlatform()
      const written = await writeCassandraConfig({ cluster, nodes }, node, wishes, resolve(out), files)
      consoleOutput(options.json).result({ files: written }, `Wrote ${written.join(' and ')}.`)
    })
}
