/** What the processes of a cluster say, for a person who watches `ndfs up`. */
import { open, stat } from 'node:fs/promises'
import { StringDecoder } from 'node:string_decoder'
import { KiB } from '../base/units.ts'
import type { Clock } from '../platform/platform.ts'

const nameWidth = 6
const ours = new Set(['level', 'time', 'node', 'msg'])

/** A line of JSON becomes `08:03:20 n1     warn  message  key=value`; any other stays as it is behind the name. */
export function readableLine(name: string, line: string): string {
  const facts = objectOf(line)
  if (!facts) return `         ${name.padEnd(nameWidth)} ${line}`
  const time = textOf(facts.time).slice(11, 19).padEnd(8)
  const level = textOf(facts.level)
  const rest = Object.entries(facts)
    .filter(([key]) => !ours.has(key))
    .map(([key, value]) => `${key}=${shown(value, level === 'error')}`)
  return [`${time} ${name.padEnd(nameWidth)} ${level.padEnd(5)} ${textOf(facts.msg)}`, ...rest].join('  ')
}

function objectOf(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return undefined
  }
}

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '')

/** Where an error came from is worth its lines only where something went wrong. */
function shown(value: unknown, whole: boolean): string {
  const { stack, message } = (value ?? {}) as { stack?: unknown; message?: unknown }
  if (whole && typeof stack === 'string') return stack
  if (typeof message === 'string') return message
  return typeof value === 'string' ? value : JSON.stringify(value)
}

const pollMs = 100
const chunkBytes = 64 * KiB

/** Follows a file that others append to, from `from` on; it begins anew where the file became shorter. */
export class LogFollower {
  readonly #path: string
  readonly #clock: Clock
  readonly #onLine: (line: string) => void
  #position: number
  #rest = ''
  readonly #decoder = new StringDecoder('utf8')
  #following = true
  #ended: Promise<void>

  constructor(path: string, from: number, clock: Clock, onLine: (line: string) => void) {
    this.#path = path
    this.#clock = clock
    this.#onLine = onLine
    this.#position = from
    this.#ended = this.#follow()
  }

  /** Resolves when all that was written before the call was passed on. */
  async stop(): Promise<void> {
    this.#following = false
    await this.#ended
  }

  async #follow(): Promise<void> {
    while (this.#following) {
      await this.#readOn()
      if (this.#following) await this.#clock.sleep(pollMs)
    }
    await this.#readOn()
    if (this.#rest !== '') this.#onLine(this.#rest)
  }

  async #readOn(): Promise<void> {
    const size = (await stat(this.#path).catch(() => undefined))?.size ?? 0
    if (size < this.#position) this.#position = 0
    if (size === this.#position) return
    const file = await open(this.#path, 'r')
    try {
      const chunk = Buffer.alloc(chunkBytes)
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, this.#position)
        if (bytesRead === 0) return
        this.#position += bytesRead
        const lines = (this.#rest + this.#decoder.write(chunk.subarray(0, bytesRead))).split('\n')
        this.#rest = lines.pop() ?? ''
        lines.forEach(this.#onLine)
      }
    } finally {
      await file.close()
    }
  }
}

/** The last lines of a log: why a process ended stands there. */
export async function lastLines(name: string, path: string, from: number, count: number): Promise<string[]> {
  const file = await open(path, 'r').catch(() => undefined)
  if (!file) return []
  try {
    const { size } = await file.stat()
    const start = Math.max(from, size - chunkBytes)
    const bytes = Buffer.alloc(Math.max(0, size - start))
    await file.read(bytes, 0, bytes.length, start)
    const lines = bytes.toString().split('\n').filter(Boolean)
    return lines.slice(-count).map((line) => readableLine(name, line))
  } finally {
    await file.close()
  }
}
