/** `ndfs cassandra`: how the servers see one another that hold the metadata, and the configuration of one on a node's machine. */
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import type { CassandraInfo } from '../src/management/management.ts'
import { writeCassandraConfig } from '../src/local/cassandra-place.ts'
import { usualConfigFile } from '../src/local/find-api.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform } from './processes.ts'
import { cassandraText } from './tables.ts'

/** After so long heartbeats can be told (`heartbeatsPerSecond`). */
const secondLookMs = 3100

interface ConfigOptions {
  readonly config: string
  readonly folder: string
  readonly out: string
  readonly first?: boolean
  readonly json?: boolean
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
  cassandra
    .command('config')
    .description(
      "writes the configuration of the Cassandra on a node's machine, whether the cluster is made yet or not",
    )
    .option('--config <file>', "the node's configuration", usualConfigFile)
    .option('--folder <dir>', 'where it keeps everything', '/var/lib/cassandra')
    .option('--out <dir>', 'where cassandra.yaml and cassandra-rackdc.properties go', '.')
    .option('--first', 'one of the first servers, which take no rows over from others')
    .option('--json', 'the result as JSON')
    .action(async ({ config, folder, out, first = false, json }: ConfigOptions) => {
      const { files } = commandPlatform()
      const wishes = { folder: resolve(folder), first }
      const written = await writeCassandraConfig(config, wishes, resolve(out), files)
      consoleOutput(json).result({ files: written }, `Wrote ${written.join(' and ')}.`)
    })
}
