/** What figures are worth nothing without: the machine, its load, and the commit. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'

const said = (command: string, ...args: string[]): string => {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

export function machineAndCommit(): string {
  const changes = said('git', 'status', '--porcelain') === '' ? '' : ' and changes'
  const load = readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')
  return (
    `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}, load ${load}; Node.js ${process.version}; ` +
    `${said('git', 'rev-parse', '--short', 'HEAD')}${changes}`
  )
}
