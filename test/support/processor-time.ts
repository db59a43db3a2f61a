/** Processor time of a cluster's processes, all threads of them, as /proc counts it. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'

/** What Linux tells user space, on every machine that we know. */
const ticksPerSecond = 100

export function pidsOf(cluster: Cluster): number[] {
  const notes = [
    'up.json',
    'store/process.json',
    ...cluster.nodes.map(({ id }) => `nodes/${id}/process.json`),
  ]
  return notes
    .map((note) => join(cluster.dir, note))
    .filter((path) => existsSync(path))
    .map((path) => (JSON.parse(readFileSync(path, 'utf8')) as { pid: number }).pid)
}

export function processorSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + secondsOf(pid), 0)
}

function secondsOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Behind the name, which may hold anything: state is field 3, the times of user and system 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  } catch {
    return 0 // it has ended
  }
}

/** Of all processors together, what was not idle: from the first line of /proc/stat. */
export function machineSeconds(): { readonly busy: number; readonly idle: number } {
  const [line] = readFileSync('/proc/stat', 'utf8').split('\n')
  const [user, nice, system, idle, wait, irq, softIrq, steal] = line.split(/\s+/).slice(1).map(Number)
  return {
    busy: (user + nice + system + irq + softIrq + steal) / ticksPerSecond,
    idle: (idle + wait) / ticksPerSecond,
  }
}
