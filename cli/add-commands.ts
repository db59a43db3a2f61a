/** `ndfs node add` and `ndfs disk add`: a cluster of this machine grows while it runs. */
import type { Command } from 'commander'
import { addDisk, addNode } from '../src/local/add.ts'
import type { DiskWish } from '../src/local/local.ts'
import { blockArgument, diskArgument } from './arguments.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform, dirOption } from './processes.ts'

interface AddOptions {
  readonly dir: string
  readonly json?: boolean
}

export function addNodeAddCommand(node: Command): void {
  node
    .command('add')
    .description('adds a node to a cluster of this machine, and starts it')
    .addOption(dirOption())
    .option('--block <block>', 'the chassis that it is in', blockArgument)
    .option(
      '--disk <tier:size>',
      'a disk, flash or hdd; repeatable (as the first node has them)',
      diskArgument,
    )
    .option('--json', 'the result as JSON')
    .action(
      async ({
        dir,
        json,
        block,
        disk: disks,
      }: AddOptions & { block?: string; disk?: readonly DiskWish[] }) => {
        const wish = { ...(block === undefined ? {} : { block }), ...(disks === undefined ? {} : { disks }) }
        const added = await addNode(dir, wish, commandPlatform())
        const { node: id, block: inBlock, started } = added
        consoleOutput(json).result(
          added,
          started
            ? `Added ${id} in block ${inBlock}: it serves.`
            : `Added ${id} in block ${inBlock}: it starts with the cluster, \`ndfs up\`.`,
        )
      },
    )
}

export function addDiskAddCommand(disk: Command): void {
  disk
    .command('add <node>')
    .description('adds a disk to a node of this machine; it is used from the next start of the node on')
    .addOption(dirOption())
    .requiredOption('--disk <tier:size>', 'flash or hdd, and how much NDFS may use of it', diskArgument)
    .option('--json', 'the result as JSON')
    .action(async (node: string, { dir, json, disk: wishes }: AddOptions & { disk: readonly DiskWish[] }) => {
      const disks: string[] = []
      for (const wish of wishes) disks.push(await addDisk(dir, node, wish, commandPlatform()))
      consoleOutput(json).result(
        { node, disks },
        `Added ${disks.join(', ')} to ${node}, which uses ${disks.length > 1 ? 'them' : 'it'} from its next start on: ` +
          `\`ndfs node maintenance ${node} on --watch\`, stop its process, \`ndfs node start ${node}\`, \`ndfs node maintenance ${node} off\`.`,
      )
    })
}
