/** What a process holds in memory now, as the kernel counts it (VmRSS). */
import { readFileSync } from 'node:fs'

export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]
  if (kib === undefined) throw new Error(`The kernel tells no VmRSS of process ${pid}`)
  return Number(kib) * 1024
}
