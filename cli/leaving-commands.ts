/** `ndfs node drain` and `ndfs disk drain`: what is to be left, in order, and how far that is. */
import { Argument, type Command } from 'commander'
import { NdfsError } from '../src/base/errors.ts'
import type { ApiClient } from '../src/local/api-client.ts'
import type { ClusterStatus, Leaving } from '../src/management/management.ts'
import { durationArgument } from './arguments.ts'
import { consoleOutput, type Results } from './console-output.ts'

export interface LeavingOptions {
  readonly json?: boolean
}
interface DrainOptions extends LeavingOptions {
  readonly force?: boolean
  readonly undo?: boolean
  readonly watch?: boolean
}

export type Leaf = (parent: Command, name: string, description: string) => Command
export type ClientFor<Options> = (options: Options) => Promise<ApiClient>

const everyMs = 1000
const barWidth = 30

/** Of a node (`node`) or of a disk. */
export function addDrainCommand<Options extends object>(
  parent: Command,
  what: 'node' | 'disk',
  leaf: Leaf,
  clientFor: ClientFor<Options>,
): void {
  leaf(
    parent,
    `drain <${what}>`,
    `moves everything off a ${what}, while guests work; goes on by itself wherever it is interrupted`,
  )
    .option(
      '--undo',
      `takes it back: the ${what} is used as all others, and what has moved stays where it is`,
    )
    .option('--force', 'also where the loss of a block is then survived no more')
    .option('--watch', 'shows how far it is, until nothing is left there; to stop watching stops nothing')
    .action(async (id: string, options: Options & DrainOptions) => {
      const client = await clientFor(options)
      const mode = options.undo === true ? 'active' : 'draining'
      const body = { mode, ...(options.force === true ? { force: true } : {}) }
      const changed = await client.change('PATCH', pathOf(what, id), body)
      const output = consoleOutput(options.json)
      if (options.watch === true && mode === 'draining') return await watchLeaving(client, what, id, output)
      output.result(
        changed,
        mode === 'active'
          ? `${id} is active again.`
          : `${id} is being drained. \`ndfs status\` shows how far that is, \`ndfs ${what} drain ${id} --watch\` waits for it.`,
      )
    })
}

export function addMaintenanceCommand<Options extends object>(
  node: Command,
  leaf: Leaf,
  clientFor: ClientFor<Options>,
): void {
  leaf(
    node,
    'maintenance <node>',
    'moves vDisks and logs off a node that will be away for a while; what else lies on it stays',
  )
    .addArgument(new Argument('<on|off>').choices(['on', 'off']))
    .option('--for <time>', 'for so long its absence is no reason to repair (1h)', durationArgument)
    .option('--watch', 'shows how far it is, until the node may be stopped')
    .action(
      async (
        id: string,
        wish: 'on' | 'off',
        options: Options & LeavingOptions & { for?: number; watch?: boolean },
      ) => {
        const client = await clientFor(options)
        const body = {
          mode: wish === 'on' ? 'maintenance' : 'active',
          ...(wish === 'off' || options.for === undefined
            ? {}
            : { repairWaitsSeconds: Math.max(1, Math.round(options.for / 1000)) }),
        }
        const changed = await client.change('PATCH', pathOf('node', id), body)
        const output = consoleOutput(options.json)
        if (options.watch === true && wish === 'on') return await watchLeaving(client, 'node', id, output)
        output.result(
          changed,
          wish === 'off'
            ? `${id} is active again.`
            : `${id} goes into maintenance. \`ndfs status\` shows when it may be stopped.`,
        )
      },
    )
}

/** Of a node (`node`) or of a disk. */
export function addRemoveCommand<Options extends object>(
  parent: Command,
  what: 'node' | 'disk',
  leaf: Leaf,
  clientFor: ClientFor<Options>,
): void {
  leaf(
    parent,
    `remove <${what}>`,
    `takes a ${what} out of the cluster for good: one that was drained, or is gone and was made up for`,
  ).action(async (id: string, options: Options & LeavingOptions) => {
    await (await clientFor(options)).change('DELETE', pathOf(what, id))
    consoleOutput(options.json).result(
      { removed: id },
      `Removed ${id}. What lies on it is no part of the cluster any more.`,
    )
  })
}

export const pathOf = (what: 'node' | 'disk', id: string): string =>
  `/api/v1/${what}s/${encodeURIComponent(id)}`

/** Shows a line for each step, until it is done. */
export async function watchLeaving(
  client: ApiClient,
  what: 'node' | 'disk',
  id: string,
  output: Results,
): Promise<void> {
  let most = 0
  let last = ''
  for (;;) {
    const { leaving = [] } = await client.get<ClusterStatus>('/api/v1/status')
    const now = leaving.find((one) =>
      what === 'node' ? one.node === id && one.disk === undefined : one.disk === id,
    )
    if (now === undefined)
      throw new NdfsError('NOT_FOUND', `Cannot watch ${id} any longer: it is not being left now`, { id })
    if (now.done) return output.result(now, `${now.sentence}.`)
    most = Math.max(most, now.bytes)
    const line = `${progressBar(now, most)} ${now.sentence}`
    if (line !== last) {
      output.line(line)
      output.event({ event: 'progress', ...now })
    }
    last = line
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}

/** Of the bytes that there were when it was first looked at. */
function progressBar({ bytes }: Leaving, most: number): string {
  const part = most === 0 ? 1 : 1 - bytes / most
  const full = Math.floor(part * barWidth)
  return `[${'='.repeat(full)}${' '.repeat(barWidth - full)}] ${String(Math.floor(part * 100)).padStart(3)} %`
}
