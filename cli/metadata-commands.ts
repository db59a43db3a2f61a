/** `ndfs metadata backup` and `ndfs rebuild-metadata`: what is kept of the metadata on the nodes' disks, and how all of it is made anew from there. */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { RebuiltMetadata } from '../src/local/rebuild-metadata.ts'
import type { MetadataBackupInfo } from '../src/management/management.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform, dirOption } from './processes.ts'
import { ageText } from './tables.ts'

export function addMetadataCommands(ndfs: Command): void {
  const metadata = ndfs.command('metadata').description("what is kept of the metadata on the nodes' disks")
  leaf(metadata, 'backup', 'takes a backup now, beside those of every ten minutes').action(
    async (options: Common) => {
      const client = await clientFor(options)
      const taken = await client.change<MetadataBackupInfo>('POST', '/api/v1/metadata-backups', {})
      const said = [
        `Backed up the metadata (${taken.bytes} bytes):`,
        ...taken.places.map((place) => `- ${place}`),
      ]
      consoleOutput(options.json).result(taken, said.join('\n'))
    },
  )

  ndfs
    .command('rebuild-metadata')
    .description(
      "makes the store anew from the nodes' disks, where it and its copy are lost; nothing of the cluster may run",
    )
    .addOption(dirOption())
    .option('--force', 'also where there is a store: it is kept beside the new one')
    .option('--engines <file>', 'on other engines than those that the nodes are configured with (JSON)')
    .option('--without-disks', 'also where disks can not be read: what only they hold is missing')
    .option('--json', 'the result as JSON')
    .action(async (flags: RebuildFlags) => {
      const { rebuildMetadata } = await import('../src/local/rebuild-metadata.ts')
      const { dir, force = false, withoutDisks = false, engines, json } = flags
      const output = consoleOutput(json)
      const named = engines === undefined ? {} : { engines: resolve(engines) }
      const rebuilt = await rebuildMetadata(
        { dir: resolve(dir), force, withoutDisks, ...named },
        commandPlatform(),
        output,
      )
      output.result(rebuilt, rebuiltText(rebuilt, flags))
    })

  ndfs
    .command('migrate-metadata')
    .description(
      'moves the metadata from the store to ZooKeeper and Cassandra; nothing of the cluster may run',
    )
    .addOption(dirOption())
    .option(
      '--config <file>',
      "the node's configuration beside the store, in a cluster of several machines (in place of --dir)",
    )
    .requiredOption('--engines <file>', 'the engines, which run and are empty (JSON; docs/operating.md)')
    .option('--json', 'the result as JSON')
    .action(async (flags: { dir: string; config?: string; engines: string; json?: boolean }) => {
      const { migrateMetadata } = await import('../src/local/move/migrate-metadata.ts')
      const { dir, config, engines, json } = flags
      const output = consoleOutput(json)
      const from = config === undefined ? { dir: resolve(dir) } : { config: resolve(config) }
      const migrated = await migrateMetadata({ from, engines: resolve(engines) }, commandPlatform(), output)
      const how =
        config === undefined
          ? `Start the cluster with \`ndfs up --dir ${dir}\`.`
          : 'Name the engines in the configuration of each node (zeus.zookeeper, medusa.cassandra) in place of the store, and start the nodes.'
      output.result(migrated, `The metadata is on the engines. ${how}`)
    })
}

interface RebuildFlags {
  readonly dir: string
  readonly force?: boolean
  readonly withoutDisks?: boolean
  readonly engines?: string
  readonly json?: boolean
}

function rebuiltText(
  { backupAt, vdisks, groups, files, notes, missingDisks, kept }: RebuiltMetadata,
  { dir, engines }: RebuildFlags,
): string {
  return [
    `Rebuilt the metadata: ${vdisks} vDisks with ${groups} extent groups, ${files} files and directories.`,
    backupAt === undefined
      ? 'No backup was found: names of files, directories and small files are lost.'
      : `Names, settings, directories and small files are those of the backup of ${ageText(backupAt)}: what was made, ` +
        'renamed or written in small files later is missing, and what was deleted later is back, whole or in part.',
    ...(missingDisks.length > 0
      ? [
          `Not read: ${missingDisks.join(', ')}. What only they held is missing, or an older state of it is back.`,
        ]
      : []),
    ...(notes.length > 0 ? ['Not certain:', ...notes.map((note) => `- ${note}`)] : []),
    'Locks of files are forgotten; pages of which every copy was bad may read as they were before.',
    ...(kept === undefined ? [] : [`The store that was there is kept in ${kept}.`]),
    `Start the cluster with \`ndfs up --dir ${dir}${engines === undefined ? '' : ` --engines ${engines}`}\`, and look it through with \`ndfs check\`.`,
  ].join('\n')
}
