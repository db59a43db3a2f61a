/** `ndfs scrub`: how the continual reading of all copies stands, and how often each is read. */
import type { Command } from 'commander'
import type { ScrubInfo } from '../src/management/management.ts'
import { periodArgument } from './arguments.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput } from './console-output.ts'
import { scrubTable } from './tables.ts'

export function addScrubCommands(ndfs: Command): void {
  const scrub = ndfs.command('scrub').description('every copy is read and verified continually')
  leaf(scrub, 'show', 'how far each node is, and what was found').action(async (options: Common) => {
    const info = await (await clientFor(options)).get<ScrubInfo>('/api/v1/scrub')
    consoleOutput(options.json).result(info, scrubTable(info))
  })
  leaf(scrub, 'set', 'changes how often every copy is read, on all nodes')
    .requiredOption('--every <time>', 'such as 14d, 12h, 30m; off: never', periodArgument)
    .action(async ({ every, ...options }: Common & { every: number }) => {
      const body = { everySeconds: every }
      const info = await (await clientFor(options)).change<ScrubInfo>('PATCH', '/api/v1/scrub', body)
      consoleOutput(options.json).result(info, scrubTable(info))
    })
}
