/** `ndfs init`, `ndfs join` and `ndfs invite`: the machines of a cluster of many. */
import type { Command } from 'commander'
import { createInterface } from 'node:readline/promises'
import { NdfsError } from '../src/base/errors.ts'
import { usualConfigFile } from '../src/local/find-api.ts'
import { countArgument, durationArgument } from './arguments.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform } from './processes.ts'

interface Flags {
  readonly config: string
  readonly yes?: boolean
  readonly json?: boolean
}

const withConfig = (command: Command): Command =>
  command
    .option('--config <file>', "the node's configuration", usualConfigFile)
    .option('--json', 'the result as JSON')

export function addMembershipCommands(ndfs: Command): void {
  withConfig(ndfs.command('init'))
    .description(
      'makes a new cluster of many machines, and this one its first: formats its disks, prints a token for the next',
    )
    .option('--yes', 'formats the disks without a question; never one that holds anything')
    .action(async ({ config: file, yes, json }: Flags) => {
      const { initCluster } = await import('../src/local/membership/init.ts')
      const made = await initCluster({ file, confirm: confirmed(yes) }, commandPlatform())
      consoleOutput(json).result(
        made,
        [
          `Made the cluster ${made.cluster}. Start this node: systemctl enable --now ndfs`,
          'Then, on the next machine, within an hour:',
          `  ndfs join ${made.token}`,
          'Whoever has the token can join. `ndfs invite` prints another.',
        ].join('\n'),
      )
    })
  withConfig(ndfs.command('join'))
    .description('makes this machine a node of a cluster, by a token of that cluster: formats its disks')
    .argument('<token>', 'what `ndfs init` or `ndfs invite` printed')
    .option('--yes', 'formats the disks without a question; never one that holds anything')
    .action(async (token: string, { config: file, yes, json }: Flags) => {
      const { joinCluster } = await import('../src/local/membership/join.ts')
      const joined = await joinCluster(token, { file, confirm: confirmed(yes) }, commandPlatform())
      const { node, cluster } = joined
      consoleOutput(json).result(
        joined,
        `This machine is ${node} of the cluster ${cluster}. Start it: systemctl enable --now ndfs`,
      )
    })
  withConfig(ndfs.command('invite'))
    .description("prints a token by which others join this node's cluster")
    .option('--uses <n>', 'how many machines may use it', countArgument(1, 1000), 1)
    .option('--expires <time>', 'for how long', durationArgument, 3_600_000)
    .action(async ({ config, uses, expires, json }: Flags & { uses: number; expires: number }) => {
      const { invite } = await import('../src/local/membership/invite.ts')
      const token = await invite(config, { uses, expiresMs: expires }, commandPlatform())
      consoleOutput(json).result({ token }, token)
    })
}

export function addDiskFormatCommand(disk: Command): void {
  withConfig(disk.command('format'))
    .description(
      "formats a disk that was put into this node's configuration; it is used from the node's next start on",
    )
    .argument('<disk>', 'its id')
    .option('--yes', 'without a question; never one that holds anything')
    .action(async (id: string, { config: file, yes, json }: Flags) => {
      const { formatNewDisk } = await import('../src/local/membership/format-new-disk.ts')
      await formatNewDisk(id, { file, confirm: confirmed(yes) }, commandPlatform())
      consoleOutput(json).result({ disk: id }, `Formatted ${id}: the node uses it from its next start on.`)
    })
}

/** Where nobody can be asked, nobody has agreed. */
const confirmed =
  (yes: boolean | undefined) =>
  async (question: string): Promise<boolean> => {
    if (yes) return true
    if (!process.stdin.isTTY)
      throw new NdfsError('REFUSED', `${question} There is nobody to answer: give --yes.`)
    const terminal = createInterface({ input: process.stdin, output: process.stderr })
    try {
      return /^y(?:es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim())
    } finally {
      terminal.close()
    }
  }
