/** What commands that run for long, or start others, share. */
import { Option } from 'commander'
import { usualDir } from '../src/local/find-api.ts'
import { prepareProcess, thisMachine, type LocalPlatform } from '../src/local/this-machine.ts'

export const dirOption = (): Option => new Option('--dir <dir>', "the cluster's directory").default(usualDir)

/** For commands: what goes wrong they say themselves. */
export const commandPlatform = (): LocalPlatform =>
  thisMachine({ level: 'warn', destination: 2, pretty: true })

/** For processes that stay: their log is what they say, readable where a person watches. */
export function servicePlatform(json: boolean | undefined): LocalPlatform {
  prepareProcess()
  return thisMachine({ level: 'info', pretty: json !== true && process.stdout.isTTY })
}

/** Aborts at the order to stop. A second order changes nothing: stopping is bounded in time. */
export function stopOrder(): AbortController {
  const stopped = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopped.abort())
  return stopped
}

/** For a command that is a process of its own: when its work is over so is the process, whatever is still open. */
export async function runAsProcess(work: (stopped: AbortSignal) => Promise<void>): Promise<void> {
  await work(stopOrder().signal)
  process.exit(0)
}
