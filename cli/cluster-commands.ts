/** Commands that go through the HTTP API of any node. */
import { type Command, Option } from 'commander'
import { ApiClient } from '../src/local/api-client.ts'
import { findApi, type ApiWishes } from '../src/local/find-api.ts'
import type { Program } from '../src/local/local.ts'
import { startNode } from '../src/local/node-start.ts'
import { runNodeProcess } from '../src/local/run-node.ts'
import type {
  ClusterStatus,
  ContainerInfo,
  DiskInfo,
  NodeInfo,
  VDiskInfo,
} from '../src/management/management.ts'
import { addDiskAddCommand, addNodeAddCommand } from './add-commands.ts'
import { blockArgument, countArgument, sizeArgument, vDiskArgument, type VDiskArgument } from './arguments.ts'
import { consoleOutput } from './console-output.ts'
import { containerChangeOf, type ExportOptions, withExportOptions } from './export-options.ts'
import { addDrainCommand, addMaintenanceCommand, addRemoveCommand } from './leaving-commands.ts'
import { addDiskFormatCommand } from './membership-commands.ts'
import { commandPlatform, dirOption, runAsProcess, servicePlatform } from './processes.ts'
import {
  containerFacts,
  containersTable,
  disksTable,
  nodeFacts,
  nodesTable,
  statusText,
  vDiskFacts,
  vDisksTable,
} from './tables.ts'

export interface Common extends ApiWishes {
  readonly json?: boolean
}
interface Forced extends Common {
  readonly force?: boolean
}

const pathOf = ({ container, name }: VDiskArgument): string =>
  `/api/v1/vdisks/${encodeURIComponent(container)}/${encodeURIComponent(name)}`
const containerPath = (name: string): string => `/api/v1/containers/${encodeURIComponent(name)}`
const nodePath = (id: string): string => `/api/v1/nodes/${encodeURIComponent(id)}`
const forced = ({ force }: Forced): string => (force ? '?force=true' : '')

export async function clientFor(wishes: ApiWishes): Promise<ApiClient> {
  return new ApiClient(await findApi(commandPlatform().files, wishes))
}

export const leaf = (parent: Command, name: string, description: string): Command =>
  parent
    .command(name)
    .description(description)
    .addOption(new Option('--api <host:port>', 'the API of a node (also NDFS_API)'))
    .option('--dir <dir>', 'the directory of a cluster of this machine')
    .option('--json', 'the result as JSON')

export function addClusterCommands(ndfs: Command, program: Program): void {
  leaf(ndfs, 'status', 'the state of the cluster').action(async (options: Common) => {
    const status = await (await clientFor(options)).get<ClusterStatus>('/api/v1/status')
    consoleOutput(options.json).result(status, statusText(status))
  })
  addContainerCommands(ndfs.command('container').description('containers: where vDisks are made'))
  addVDiskCommands(ndfs.command('vdisk').description('vDisks: the block devices of virtual machines'))
  addNodeCommands(ndfs.command('node').description('nodes'), program)
  const disk = ndfs.command('disk').description('physical disks')
  leaf(disk, 'list', 'all disks').action(async (options: Common) => {
    const disks = await (await clientFor(options)).get<DiskInfo[]>('/api/v1/disks')
    consoleOutput(options.json).result(disks, disksTable(disks))
  })
  addDrainCommand(disk, 'disk', leaf, clientFor)
  addRemoveCommand(disk, 'disk', leaf, clientFor)
  addDiskAddCommand(disk)
  addDiskFormatCommand(disk)
}

function addContainerCommands(container: Command): void {
  withExportOptions(leaf(container, 'create <name>', 'makes a container'))
    .option('--copies <n>', 'on how many nodes each byte is kept', countArgument(1, 3))
    .action(async (name: string, { copies, ...options }: Common & ExportOptions & { copies?: number }) => {
      const body = { name, ...(copies === undefined ? {} : { copies }), ...containerChangeOf(options) }
      const made = await (await clientFor(options)).change<ContainerInfo>('POST', '/api/v1/containers', body)
      consoleOutput(options.json).result(made, `Made the container ${made.name}, with ${made.copies} copies.`)
    })
  leaf(container, 'list', 'all containers').action(async (options: Common) => {
    const containers = await (await clientFor(options)).get<ContainerInfo[]>('/api/v1/containers')
    consoleOutput(options.json).result(containers, containersTable(containers))
  })
  leaf(container, 'show <name>', 'a container').action(async (name: string, options: Common) => {
    const shown = await (await clientFor(options)).get<ContainerInfo>(containerPath(name))
    consoleOutput(options.json).result(shown, containerFacts(shown))
  })
  const set = withExportOptions(
    leaf(container, 'set <name>', 'changes settings of a container, at once'),
  ).action(async (name: string, options: Common & ExportOptions) => {
    const change = containerChangeOf(options)
    if (Object.keys(change).length === 0)
      set.error('error: name what is to change, such as --nfs-allow', { exitCode: 2 })
    const changed = await (
      await clientFor(options)
    ).change<ContainerInfo>('PATCH', containerPath(name), change)
    consoleOutput(options.json).result(changed, containerFacts(changed))
  })
  leaf(container, 'delete <name>', 'deletes a container')
    .option('--force', 'with the vDisks in it')
    .action(async (name: string, options: Forced) => {
      await (await clientFor(options)).change('DELETE', `${containerPath(name)}${forced(options)}`)
      consoleOutput(options.json).result({ deleted: name }, `Deleted the container ${name}.`)
    })
}

function addVDiskCommands(vdisk: Command): void {
  const name = 'container/name'
  leaf(vdisk, 'create', 'makes a vDisk, all zeros')
    .argument(`<${name}>`, 'its name', vDiskArgument)
    .requiredOption('--size <size>', 'such as 20GiB', sizeArgument)
    .action(async (wanted: VDiskArgument, { size, ...options }: Common & { size: number }) => {
      const body = { ...wanted, sizeBytes: size }
      const made = await (await clientFor(options)).change<VDiskInfo>('POST', '/api/v1/vdisks', body)
      consoleOutput(options.json).result(made, `Made the vDisk ${made.name}.`)
    })
  leaf(vdisk, 'list', 'all vDisks').action(async (options: Common) => {
    const vdisks = await (await clientFor(options)).get<VDiskInfo[]>('/api/v1/vdisks')
    consoleOutput(options.json).result(vdisks, vDisksTable(vdisks))
  })
  leaf(vdisk, 'show', 'a vDisk')
    .argument(`<${name}>`, 'its name', vDiskArgument)
    .action(async (wanted: VDiskArgument, options: Common) => {
      const shown = await (await clientFor(options)).get<VDiskInfo>(pathOf(wanted))
      consoleOutput(options.json).result(shown, vDiskFacts(shown))
    })
  leaf(vdisk, 'resize', 'changes the size of a vDisk')
    .argument(`<${name}>`, 'its name', vDiskArgument)
    .requiredOption('--size <size>', 'such as 40GiB', sizeArgument)
    .option('--force', 'also to a smaller size: what is cut off is lost')
    .action(async (wanted: VDiskArgument, { size, force, ...options }: Forced & { size: number }) => {
      const body = { sizeBytes: size, ...(force ? { force } : {}) }
      const changed = await (await clientFor(options)).change<VDiskInfo>('PATCH', pathOf(wanted), body)
      consoleOutput(options.json).result(changed, `Changed the size of ${changed.name}.`)
    })
  leaf(vdisk, 'delete', 'deletes a vDisk')
    .argument(`<${name}>`, 'its name', vDiskArgument)
    .option('--force', 'also while a client has it open')
    .action(async (wanted: VDiskArgument, options: Forced) => {
      await (await clientFor(options)).change('DELETE', `${pathOf(wanted)}${forced(options)}`)
      const deleted = `${wanted.container}/${wanted.name}`
      consoleOutput(options.json).result({ deleted }, `Deleted the vDisk ${deleted}.`)
    })
}

function addNodeCommands(node: Command, program: Program): void {
  node
    .option('--config <file>', 'runs one node by itself, as this file says')
    .option('--json', 'log lines as JSON')
    .action(async ({ config, json }: { config?: string; json?: boolean }) => {
      if (config === undefined) return node.help({ error: true })
      await runAsProcess((stopped) => runNodeProcess(config, servicePlatform(json), stopped))
    })
  leaf(node, 'list', 'all nodes').action(async (options: Common) => {
    const nodes = await (await clientFor(options)).get<NodeInfo[]>('/api/v1/nodes')
    consoleOutput(options.json).result(nodes, nodesTable(nodes))
  })
  leaf(node, 'show <node>', 'a node').action(async (id: string, options: Common) => {
    const shown = await (await clientFor(options)).get<NodeInfo>(nodePath(id))
    consoleOutput(options.json).result(shown, nodeFacts(shown))
  })
  const set = leaf(node, 'set <node>', 'changes settings of a node, at once')
    .option('--cache <size>', 'the limit of its extent cache, such as 4GiB', sizeArgument)
    .option(
      '--block <block>',
      'the chassis that it is in: copies lie in as many blocks as there are',
      blockArgument,
    )
    .action(async (id: string, { cache, block, ...options }: Common & { cache?: number; block?: string }) => {
      if (cache === undefined && block === undefined)
        set.error('error: name --cache or --block', { exitCode: 2 })
      const body = {
        ...(cache === undefined ? {} : { cacheBytes: cache }),
        ...(block === undefined ? {} : { block }),
      }
      const changed = await (await clientFor(options)).change<NodeInfo>('PATCH', nodePath(id), body)
      consoleOutput(options.json).result(changed, nodeFacts(changed))
    })
  addDrainCommand(node, 'node', leaf, clientFor)
  addRemoveCommand(node, 'node', leaf, clientFor)
  addMaintenanceCommand(node, leaf, clientFor)
  addNodeAddCommand(node)
  node
    .command('start <node>')
    .description('starts a node of this machine that was killed')
    .addOption(dirOption())
    .option('--json', 'the result as JSON')
    .action(async (id: string, { dir, json }: { dir: string; json?: boolean }) => {
      const { started } = await startNode(id, dir, program, commandPlatform())
      consoleOutput(json).result(
        { node: id, started },
        started ? `${id} serves again.` : `${id} serves already.`,
      )
    })
}
