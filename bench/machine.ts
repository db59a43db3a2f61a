/** What figures are worth nothing without: the machine, its load, and the commit. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem } from 'node:os'

export const said = (command: string, ...args: string[]): string => {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return 'unknown'
  }
}

const changes = (): string => (said('git', 'status', '--porcelain') === '' ? '' : ' and changes')
const load = (): string => readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ')

export function machineAndCommit(): string {
  return (
    `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}, load ${load()}; Node.js ${process.version}; ` +
    `${said('git', 'rev-parse', '--short', 'HEAD')}${changes()}`
  )
}

export interface Circumstances {
  readonly processors: string
  readonly memoryBytes: number
  readonly kernel: string
  readonly disk: string
  readonly load: string
  readonly node: string
  readonly fio: string
  readonly commit: string
}

/** `folder` lies on the disk that is measured. */
export const circumstances = (folder: string): Circumstances => ({
  processors: `${availableParallelism()} × ${cpus()[0]?.model ?? 'unknown'}`,
  memoryBytes: totalmem(),
  kernel: release(),
  disk: said('df', '--output=source,fstype', folder).split('\n').at(-1) ?? 'unknown',
  load: load(),
  node: process.version,
  fio: said('fio', '--version'),
  commit: `${said('git', 'rev-parse', 'HEAD')}${changes()}`,
})
