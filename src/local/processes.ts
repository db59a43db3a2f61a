/**
 * Which process is which. A process writes `process.json` into its own folder when it starts; whoever wants to ask or
 * end it later finds it there.
 *
 * An id alone names nobody: it is used again once its process is gone. The id together with the instant of the start
 * (in the kernel's ticks since boot) and the boot itself names one process for ever.
 */
import { readFile } from 'node:fs/promises'
import Type, { type Static } from 'typebox'
import type { Clock, Files } from '../platform/platform.ts'
import { readVersioned, replaceJson } from './versioned-file.ts'

const processVersion = 1
const processSchema = Type.Object(
  {
    version: Type.Literal(processVersion),
    pid: Type.Integer({ minimum: 2 }),
    startTicks: Type.Integer({ minimum: 0 }),
    boot: Type.String(),
  },
  { additionalProperties: false },
)
export type ProcessName = Static<typeof processSchema>

/** `undefined` where there is no such process, or only what is left of it until its parent looks. */
export async function nameOfProcess(pid: number): Promise<ProcessName | undefined> {
  const stat = await read(`/proc/${pid}/stat`)
  const boot = await read('/proc/sys/kernel/random/boot_id')
  const facts = stat === undefined ? undefined : factsOfStat(stat)
  if (facts === undefined || boot === undefined || facts.state === 'Z' || facts.state === 'X')
    return undefined
  return { version: processVersion, pid, startTicks: facts.startTicks, boot: boot.trim() }
}

/** The program's name stands in brackets and may hold any character: what follows the last bracket has fixed places. */
export function factsOfStat(stat: string): { state: string; startTicks: number } {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0], startTicks: Number(fields[19]) }
}

const read = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined)

export async function isAlive(name: ProcessName): Promise<boolean> {
  const now = await nameOfProcess(name.pid)
  return now !== undefined && now.startTicks === name.startTicks && now.boot === name.boot
}

/** Notes this process at `path`. */
export async function noteThisProcess(files: Files, path: string): Promise<void> {
  await replaceJson(files, path, await nameOfProcess(process.pid))
}

/** The process noted at `path`, if it still runs. */
export async function runningProcess(files: Files, path: string): Promise<ProcessName | undefined> {
  const name = await readVersioned(files, path, processSchema, processVersion)
  return name && (await isAlive(name)) ? name : undefined
}

/** How long a process may take to end in order. */
export const endGraceMs = 5000
const pollMs = 20

export type Ending = 'in order' | 'killed' | 'was gone'

/**
 * Asks the process to end, and kills it after `graceMs`: a frozen one can't hear, and KILL reaches it all the same.
 * Resolves when it is gone.
 */
export async function endProcess(name: ProcessName, clock: Clock, graceMs = endGraceMs): Promise<Ending> {
  if (!(await signal(name, 'SIGTERM'))) return 'was gone'
  if (await gone(name, clock, graceMs)) return 'in order'
  await signal(name, 'SIGKILL')
  await gone(name, clock, Infinity)
  return 'killed'
}

/** False: there is nobody of that name. */
async function signal(name: ProcessName, what: 'SIGTERM' | 'SIGKILL'): Promise<boolean> {
  if (!(await isAlive(name))) return false
  try {
    process.kill(name.pid, what)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}

async function gone(name: ProcessName, clock: Clock, withinMs: number): Promise<boolean> {
  const until = clock.now() + withinMs
  while (await isAlive(name)) {
    if (clock.now() >= until) return false
    await clock.sleep(pollMs)
  }
  return true
}
