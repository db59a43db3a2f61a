/**
 * A process of this program that `up` started. It is in a group of its own, so that a Ctrl-C at the terminal reaches
 * `up` alone, which ends the others in order; it writes into its own log file, so that it does not need `up` to live.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, renameSync, statSync } from 'node:fs'
import { MiB } from '../base/units.ts'
import type { Program } from './local.ts'

export interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

export class Child {
  readonly name: string
  readonly pid: number
  readonly exited: Promise<Exit>
  readonly logPath: string
  /** Where in the log this process begins. */
  readonly logStart: number
  exit: Exit | undefined
  readonly #unref: () => void

  /** Throws the system's error where no process could be made. */
  constructor(name: string, args: readonly string[], logPath: string, program: Program) {
    this.name = name
    this.logPath = logPath
    makeRoom(logPath)
    const log = openSync(logPath, 'a')
    this.logStart = statSync(logPath).size
    const child = spawn(process.execPath, [...program.nodeOptions, program.entry, ...args], {
      detached: true,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.exited = new Promise((resolve) => {
      const ended = (exit: Exit): void => {
        this.exit ??= exit
        resolve(this.exit)
      }
      child.once('exit', (code, signal) => ended({ code, signal }))
      child.once('error', () => ended({ code: null, signal: null }))
    })
    this.pid = child.pid ?? 0
    this.#unref = () => child.unref()
  }

  get runs(): boolean {
    return this.exit === undefined
  }

  /** This process may end while that one goes on. */
  leave(): void {
    this.#unref()
  }

  signal(what: 'SIGTERM' | 'SIGKILL'): void {
    if (!this.runs || this.pid === 0) return
    try {
      // Until our own loop has heard of its end its id is not used again.
      process.kill(this.pid, what)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/** A log that has grown this large makes room for a new one; one older is kept. */
const logBytesMax = 16 * MiB

function makeRoom(logPath: string): void {
  const size = statSync(logPath, { throwIfNoEntry: false })?.size ?? 0
  if (size > logBytesMax) renameSync(logPath, `${logPath}.old`)
}

export function sentenceOfExit(name: string, { code, signal }: Exit): string {
  if (signal !== null) return `${name} was ended by ${signal}`
  return code === null ? `${name} could not be started` : `${name} ended with exit code ${code}`
}
