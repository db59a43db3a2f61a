/**
 * `ndfs check`: all metadata, every copy of every extent group and all small files, now. It shows how far it is while it runs, then what is wrong, a line
 * each, and last the sum.
 *
 * Exit codes: 0 every copy that the rows name was read and is right, 1 something is wrong, also where it was made anew, 2 it could
 * not be finished and nothing wrong was found. (`fsck` and its kin have these.)
 */
import type { Command } from 'commander'
import { NdfsError } from '../src/base/errors.ts'
import type { ApiClient } from '../src/local/api-client.ts'
import type { CheckInfo } from '../src/management/management.ts'
import { clientFor, type Common, leaf } from './cluster-commands.ts'
import { consoleOutput, printError } from './console-output.ts'

interface CheckOptions extends Common {
  readonly repair?: boolean
}

const exitCode = { right: 0, wrong: 1, unfinished: 2 } as const
const lookEveryMs = 500
/** Where nobody watches, progress is a line now and then. */
const lineEveryMs = 30_000
/** A node that leads a check and doesn't answer for so long is given up. */
const silentMsMax = 60_000

export function addCheckCommand(ndfs: Command): void {
  leaf(ndfs, 'check', 'checks all metadata, and reads and verifies every copy of all data, now')
    .option('--repair', 'has wrong copies made anew; without it nothing is changed')
    .addHelpText(
      'after',
      '\nExit codes: 0 all is right, 1 something is wrong, 2 it could not be finished. Guests come first while it runs.',
    )
    .action(async ({ repair = false, ...options }: CheckOptions) => {
      try {
        const info = await check(await (await clientFor(options)).ofOneNode(), repair)
        consoleOutput(options.json).result(info, checkText(info))
        process.exitCode = codeOf(info)
      } catch (error) {
        printError(error, options.json === true)
        process.exitCode = exitCode.unfinished
      }
    })
}

async function check(client: ApiClient, repair: boolean): Promise<CheckInfo> {
  let info = await client.change<CheckInfo>('POST', '/api/v1/checks', repair ? { repair } : {})
  const path = `/api/v1/checks/${info.id}`
  let isStopped = false
  const stop = (): void => void (isStopped = true)
  process.once('SIGINT', stop)
  const progress = new Progress()
  try {
    for (let heardAt = performance.now(); info.state === 'running';) {
      progress.show(info)
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs))
      if (isStopped) {
        await client.change('DELETE', path)
        throw new NdfsError('REFUSED', `The check was stopped: ${info.summary}`)
      }
      try {
        info = await client.get<CheckInfo>(path)
        heardAt = performance.now()
      } catch (error) {
        const isSilent = error instanceof NdfsError && error.code === 'PEER_UNREACHABLE'
        if (!isSilent || performance.now() - heardAt > silentMsMax)
          throw new NdfsError(
            'UNAVAILABLE',
            `The check could not be finished: ${info.node}, which led it, can't be asked any more. So far: ${info.summary}`,
            { check: info.id },
            { cause: error },
          )
      }
    }
  } finally {
    process.off('SIGINT', stop)
    progress.end()
  }
  return info
}

/** On stderr: what comes of it is for stdout. */
class Progress {
  #shownAt = performance.now()

  show({ summary }: CheckInfo): void {
    const { stderr } = process
    if (stderr.isTTY) return void stderr.write(`\r\u001b[K${summary.slice(0, stderr.columns - 1)}`)
    if (performance.now() - this.#shownAt < lineEveryMs) return
    this.#shownAt = performance.now()
    stderr.write(`${summary}\n`)
  }

  end(): void {
    if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  }
}

export function checkText({ findings, counts, leftOver, unfinished, summary }: CheckInfo): string {
  const all = counts.reduce((sum, { count }) => sum + count, 0)
  return [
    ...findings.map(({ kind, what }) => `${kind}: ${what}`),
    ...(all > findings.length ? [`and ${all - findings.length} more, which are not shown`] : []),
    ...leftOver.told.map((what) => `left over: ${what}`),
    ...unfinished.map((what) => `not finished: ${what}`),
    summary,
  ].join('\n')
}

const codeOf = ({ state }: CheckInfo): number =>
  state === 'right' || state === 'wrong' ? exitCode[state] : exitCode.unfinished
