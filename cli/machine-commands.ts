/**
 * Commands that start, stop, examine or connect to processes of this machine. What only one of them needs is loaded when
 * it is given: most commands are done in less time than all of that takes to load.
 */
import { Option, type Command } from 'commander'
import { join, resolve } from 'node:path'
import { NdfsError } from '../src/base/errors.ts'
import { down } from '../src/local/down.ts'
import { nodesMax, nodesUsual } from '../src/local/layout.ts'
import type { DiskWish, ListenWish, Program, UpOptions } from '../src/local/local.ts'
import { runStoreProcess } from '../src/local/run-node.ts'
import type { Restored } from '../src/local/store/restore-store.ts'
import { whenAborted } from '../src/local/when-aborted.ts'
import {
  countArgument,
  diskArgument,
  durationArgument,
  listenArgument,
  sizeArgument,
  vDiskArgument,
  type VDiskArgument,
} from './arguments.ts'
import { consoleOutput } from './console-output.ts'
import { commandPlatform, dirOption, runAsProcess, servicePlatform, stopOrder } from './processes.ts'

/** As QEMU and libnbd name them. */
const clientFiles = (dir: string): { caFile: string; certFile: string; keyFile: string } => ({
  caFile: join(dir, 'ca-cert.pem'),
  certFile: join(dir, 'client-cert.pem'),
  keyFile: join(dir, 'client-key.pem'),
})

interface UpFlags {
  readonly dir: string
  readonly nodes?: number
  readonly blocks?: number
  readonly httpPort?: number
  readonly nbdPort?: number
  readonly nfsPort?: number
  readonly nfsEverywhere?: boolean
  readonly portmap?: boolean
  readonly cache?: number
  readonly writeWait?: number
  readonly disk?: readonly DiskWish[]
  readonly listen?: readonly ListenWish[]
  readonly storeCopy?: string
  readonly engines?: string
  readonly detach?: boolean
  readonly detachedChild?: boolean
  readonly json?: boolean
}

const portArgument = countArgument(1, 65535)

export function addMachineCommands(ndfs: Command, program: Program): void {
  ndfs
    .command('up')
    .description('makes or starts a cluster on this machine, and stays until Ctrl-C')
    .addOption(dirOption())
    .option('--nodes <n>', `how many nodes (${nodesUsual})`, countArgument(1, nodesMax))
    .option('--blocks <n>', 'over how many blocks they are spread (one per node)', countArgument(1, nodesMax))
    .option('--http-port <port>', 'of the first node; the others follow (9440)', portArgument)
    .option('--nbd-port <port>', 'of the first node; the others follow (10809)', portArgument)
    .option(
      '--nfs-port <port>',
      'of the first node, and of each with an address of its own; the others follow (2049)',
      portArgument,
    )
    .option('--nfs-everywhere', "NFS at all addresses of a node's machine: one may move from node to node")
    .option('--portmap', 'clients find the ports of NFS at port 111, or by the rpcbind that runs there')
    .option('--cache <size>', 'extent cache of each node (2GiB)', sizeArgument)
    .option(
      '--write-wait <time>',
      'how long a write waits for its copies before it fails (60s)',
      durationArgument,
    )
    .option('--disk <tier:size>', 'a disk of each node, flash or hdd; repeatable', diskArgument)
    .option(
      '--listen <name=address>',
      'an address of its own for a node, or for the store beside its socket; repeatable',
      listenArgument,
    )
    .option(
      '--store-copy <dir>',
      "where the store's copy is kept: on another disk than --dir (one of the nodes' disks, where one is)",
    )
    .option(
      '--engines <file>',
      'ZooKeeper and Cassandra that run already, in place of a store of this machine (JSON; docs/operating.md)',
    )
    .option('--detach', 'returns once the cluster serves, and leaves it running')
    .option('--json', 'events as JSON, a line each')
    .addOption(new Option('--detached-child').hideHelp())
    .action((flags: UpFlags) => runUp(flags, program))

  ndfs
    .command('down')
    .description('ends all processes of a cluster on this machine')
    .addOption(dirOption())
    .option('--json', 'events as JSON, a line each')
    .action(async ({ dir, json }: { dir: string; json?: boolean }) => {
      const output = consoleOutput(json)
      const ended = await down(dir, commandPlatform(), output)
      output.result({ event: 'down', ended }, ended === 0 ? `Nothing runs in ${resolve(dir)}.` : 'All ended.')
    })

  ndfs
    .command('connect')
    .description('an NBD endpoint for one VM that outlives nodes')
    .argument('<container/name>', 'the vDisk', vDiskArgument)
    .requiredOption('--socket <path>', 'the Unix socket to make')
    .option('--api <host:port>', 'the API of a node (also NDFS_API)')
    .option('--dir <dir>', "the cluster's directory, on this machine")
    .option('--give-up <time>', 'without a node for so long requests fail', durationArgument, 180_000)
    .option(
      '--tls <dir>',
      'TLS with nodes on other machines, by ca-cert.pem, client-cert.pem and client-key.pem in this folder',
    )
    .option('--json', 'events as JSON, a line each')
    .action(
      async (
        { container, name }: VDiskArgument,
        options: { socket: string; api?: string; dir?: string; giveUp: number; tls?: string; json?: boolean },
      ) => {
        const { socket, api, dir, giveUp, tls, json } = options
        const wishes = { ...(api === undefined ? {} : { api }), ...(dir === undefined ? {} : { dir }) }
        const secure = tls === undefined ? {} : { tls: clientFiles(resolve(tls)) }
        const wanted = { name: `${container}/${name}`, socket, giveUpMs: giveUp, ...wishes, ...secure }
        const { connect } = await import('../src/local/connect.ts')
        await runAsProcess((stopped) => connect(wanted, commandPlatform(), consoleOutput(json), stopped))
      },
    )

  ndfs
    .command('doctor')
    .description('whether this machine and this directory are fit for a cluster')
    .addOption(dirOption())
    .option('--json', 'the result as JSON')
    .action(async ({ dir, json }: { dir: string; json?: boolean }) => {
      const { doctor } = await import('../src/local/doctor.ts')
      const findings = await doctor(resolve(dir))
      const mark = { ok: 'ok     ', warning: 'warning', fatal: 'FATAL  ' }
      consoleOutput(json).result(
        findings,
        findings.map(({ state, text }) => `${mark[state]}  ${text}`).join('\n'),
      )
      if (findings.some(({ state }) => state === 'fatal'))
        throw new NdfsError('REFUSED', 'Cannot run a cluster here before what is marked FATAL is mended.')
    })

  const store = ndfs
    .command('store')
    .description('the store of a cluster of this machine, by itself; `up` runs it')
    .option('--config <file>', 'what it is told')
    .option('--json', 'log lines as JSON')
    .action(({ config, json }: { config?: string; json?: boolean }) => {
      if (config === undefined) return store.error("error: required option '--config <file>' not specified")
      return runAsProcess((stopped) => runStoreProcess(config, servicePlatform(json), stopped))
    })
  store
    .command('restore')
    .description(
      'puts the copy of the store in the place of one that was lost; nothing of the cluster may run',
    )
    .addOption(dirOption())
    .option('--from <dir>', 'where the copy lies (left out: where the cluster keeps it)')
    .option('--force', "also where the store's file is there: it is kept beside the restored one")
    .option('--json', 'the result as JSON')
    .action(async (flags: { dir: string; from?: string; force?: boolean; json?: boolean }) => {
      const { restoreStore } = await import('../src/local/store/restore-store.ts')
      const { dir, from, force = false, json } = flags
      const wish = { dir: resolve(dir), force, ...(from === undefined ? {} : { from: resolve(from) }) }
      const restored = await restoreStore(wish, commandPlatform())
      consoleOutput(json).result(restored, restoredText(restored, dir))
    })
}

function restoredText({ from, position, files, kept }: Restored, dir: string): string {
  const { changes, changedAt } = position
  const until = changedAt === 0 ? 'before the first change' : `of ${new Date(changedAt).toISOString()}`
  return [
    `Restored the store from ${from}: it stands after ${changes} changes, the last ${until}.`,
    'While `ndfs status` said that the copy was in step, nothing that was acknowledged is missing. If it was behind when the store ' +
      'was lost, what was changed after that moment is missing: vDisks may lack their last writes.',
    ...(files.length > 0 ? [`Put back with it: ${files.join(', ')}.`] : []),
    ...(kept === undefined ? [] : [`The store that was there is kept in ${kept}.`]),
    `Start the cluster with \`ndfs up --dir ${dir}\`.`,
  ].join('\n')
}

async function runUp(flags: UpFlags, program: Program): Promise<void> {
  const { dir, nodes, blocks, httpPort, nbdPort, nfsPort, cache, writeWait, disk, listen, storeCopy, json } =
    flags
  const { nfsEverywhere, portmap, engines } = flags
  const output = consoleOutput(json)
  const options: UpOptions = {
    dir,
    ...(nodes === undefined ? {} : { nodes }),
    ...(blocks === undefined ? {} : { blocks }),
    ...(httpPort === undefined ? {} : { httpPort }),
    ...(nbdPort === undefined ? {} : { nbdPort }),
    ...(nfsPort === undefined ? {} : { nfsPort }),
    ...(nfsEverywhere === undefined ? {} : { nfsEverywhere }),
    ...(portmap === undefined ? {} : { portmap }),
    ...(cache === undefined ? {} : { cacheBytes: cache }),
    ...(writeWait === undefined ? {} : { writeWaitMaxMs: writeWait }),
    ...(disk === undefined ? {} : { disks: disk }),
    ...(listen === undefined ? {} : { listen }),
    ...(storeCopy === undefined ? {} : { storeCopy }),
    ...(engines === undefined ? {} : { engines }),
  }
  const stopped = stopOrder()
  const { beDetachedUp, upDetached } = await import('../src/local/up-detached.ts')
  if (flags.detachedChild) {
    await beDetachedUp(options, program, commandPlatform(), output, stopped)
    process.exit(0)
  }
  if (flags.detach) {
    const args = process.argv
      .slice(2)
      .map((argument) => (argument === '--detach' ? '--detached-child' : argument))
    return upDetached(dir, args, program, output, stopped.signal)
  }
  const { up } = await import('../src/local/up.ts')
  const running = await up(
    options,
    program,
    commandPlatform(),
    { ...output, followLogs: !json },
    stopped.signal,
  )
  await whenAborted(stopped.signal)
  output.line('Stopping.')
  await running.stop()
  process.exit(0)
}
