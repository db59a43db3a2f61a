/**
 * The ndfs command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no node could be reached, 4 the node was removed from its cluster and
 * is not to be started again, 5 this release is too old or too new for the cluster; those of `ndfs check` it says itself.
 */
import { Command, CommanderError } from 'commander'
import { saysOtherFormat } from '../src/base/formats.ts'
import { version } from '../src/base/version.ts'
import { NoNodeReachable } from '../src/local/api-client.ts'
import type { Program } from '../src/local/local.ts'
import { saysRemoved } from '../src/local/removed-node.ts'
import { addCassandraCommands } from './cassandra-commands.ts'
import { addCertificateCommands } from './certificate-commands.ts'
import { addCheckCommand } from './check-command.ts'
import { addClusterCommands } from './cluster-commands.ts'
import { printError } from './console-output.ts'
import { addConfigCommands } from './config-commands.ts'
import { addMachineCommands } from './machine-commands.ts'
import { addMembershipCommands } from './membership-commands.ts'
import { addMetadataCommands } from './metadata-commands.ts'
import { addScrubCommands } from './scrub-commands.ts'
import { addUpgradeCommands } from './upgrade-commands.ts'

const exitCode = { done: 0, failed: 1, usage: 2, unreachable: 3, removed: 4, otherFormat: 5 } as const

/** All that the command knows, by which its manual page is written too. */
export function ndfsCommand(program: Program): Command {
  const ndfs = new Command('ndfs')
    .description('The local disks of ordinary servers as one datastore for virtual machines')
    .version(version)
    .showHelpAfterError('(add --help for what there is)')
    // What stands behind a subcommand is meant for it, also where the command above knows an option of that name.
    .enablePositionalOptions()
    .exitOverride()
  // Subcommands take over settings that were made before they were added.
  addMachineCommands(ndfs, program)
  addClusterCommands(ndfs, program)
  addCheckCommand(ndfs)
  addScrubCommands(ndfs)
  addConfigCommands(ndfs)
  addCertificateCommands(ndfs)
  addMembershipCommands(ndfs)
  addMetadataCommands(ndfs)
  addCassandraCommands(ndfs)
  addUpgradeCommands(ndfs)
  return ndfs
}

export async function main(program: Program): Promise<void> {
  try {
    await ndfsCommand(program).parseAsync()
  } catch (error) {
    process.exitCode = exitCodeOf(error)
    if (!(error instanceof CommanderError)) printError(error, process.argv.includes('--json'))
    // A process that failed half-way may have opened what would keep it alive.
    process.exit()
  }
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.done : exitCode.usage
  if (saysRemoved(error)) return exitCode.removed
  if (saysOtherFormat(error)) return exitCode.otherFormat
  return error instanceof NoNodeReachable ? exitCode.unreachable : exitCode.failed
}
