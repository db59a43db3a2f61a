/** The logs of a cluster's processes, kept where a person finds them after a failure. */
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Copies the log folders of all clusters in `root`. Resolves to where they are now. */
export function keepLogs(root: string, into: string): string[] {
  return clustersIn(root).flatMap((name) => {
    const logs = join(root, name, 'log')
    if (!existsSync(logs)) return []
    const kept = join(into, name)
    cpSync(logs, kept, { recursive: true })
    return [kept]
  })
}

const clustersIn = (root: string): string[] =>
  readdirSync(root, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))

/** The last lines of each process's log. */
export function lastWords(logs: string, lines: number): string {
  if (!existsSync(logs)) return `There is no log in ${logs}.`
  return readdirSync(logs)
    .map((name) => {
      const text = readFileSync(join(logs, name), 'utf8').trimEnd().split('\n')
      return [`── ${name}`, ...text.slice(-lines).map((line) => line.slice(0, 1000))].join('\n')
    })
    .join('\n')
}
