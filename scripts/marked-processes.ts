/**
 * Processes that descend from a test, also those that were detached from it: they inherit its environment, where a mark
 * stands that no other process bears.
 */
import { readdirSync, readFileSync } from 'node:fs'

export interface MarkedProcess {
  readonly pid: number
  readonly command: string
}

export function markedProcesses(variable: string, value: string): MarkedProcess[] {
  const mark = Buffer.from(`${variable}=${value}`)
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) return []
    try {
      const environment = readFileSync(`/proc/${pid}/environ`)
      if (!hasLine(environment, mark)) return []
      return [{ pid, command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim() }]
    } catch {
      return [] // it has ended since, or is another user's
    }
  })
}

/** KILL until none is left: one may start another while we look. */
export function killMarked(variable: string, value: string): void {
  for (;;) {
    const found = markedProcesses(variable, value)
    if (found.length === 0) return
    for (const { pid } of found)
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended since.
      }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20)
  }
}

/** Whether the mark is one of the environment's entries, which end in zero bytes, and not only a part of one. */
function hasLine(environment: Buffer, mark: Buffer): boolean {
  const at = environment.indexOf(mark)
  if (at === -1) return false
  const end = at + mark.length
  return (at === 0 || environment[at - 1] === 0) && (end === environment.length || environment[end] === 0)
}
