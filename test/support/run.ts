/** Other programs, run under a limit of time, with as much of what they print as is good to read. */
import { spawn, type ChildProcess } from 'node:child_process'

export interface Finished {
  /** 124 or 137 where the limit of time ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly seconds?: number
  readonly env?: NodeJS.ProcessEnv
  readonly input?: Buffer
  readonly cwd?: string
  /** Ends it before its time; what was asked for is rejected then. */
  readonly signal?: AbortSignal
}

/** A program whose server has gone may print one line for ever. */
const outputBytesMax = 4 * 1024 * 1024
const usualSeconds = 60

/** Resolves whatever the exit code is. `timeout` kills what doesn't hear TERM: fio, when its server has gone. */
export function tryRun(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const { seconds = usualSeconds, env, input, cwd, signal } = options
  const child = spawn('timeout', ['-k', '5', String(seconds), command, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { signal }),
  })
  child.stdin.on('error', () => undefined) // it may end without having read all
  child.stdin.end(input)
  const stdout = capped(child.stdout)
  const stderr = capped(child.stderr)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? 137, stdout: stdout(), stderr: stderr() }))
  })
}

/** Resolves to what it printed; rejects where the exit code is not 0, with all that helps to see why. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await tryRun(command, args, options)
  if (code === 0) return stdout
  const why =
    code === 124 || code === 137
      ? `did not end in ${options.seconds ?? usualSeconds} s`
      : `ended with ${code}`
  throw new Error(`${command} ${args.join(' ')} ${why}\n${stderr.slice(-4000)}\n${stdout.slice(-4000)}`)
}

function capped(stream: NodeJS.ReadableStream): () => string {
  const pieces: Buffer[] = []
  let bytes = 0
  stream.on('data', (piece: Buffer) => {
    if (bytes < outputBytesMax) pieces.push(piece)
    bytes += piece.length
  })
  return () => Buffer.concat(pieces).toString()
}

/** A program that stays until `stop`. */
export class Service {
  readonly child: ChildProcess
  readonly #name: string
  #output = ''

  constructor(command: string, args: readonly string[], env?: NodeJS.ProcessEnv) {
    this.#name = [command, ...args].join(' ')
    this.child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(env === undefined ? {} : { env }),
    })
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.on('data', (piece: Buffer) => {
        this.#output = (this.#output + piece.toString()).slice(-16_384)
      })
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** The last of what it printed. */
  get output(): string {
    return this.#output
  }

  /** Resolves when `holds` does; rejects when the program ends before, or `seconds` are over. */
  async until(what: string, holds: () => boolean | Promise<boolean>, seconds = 30): Promise<void> {
    await until(
      `${this.#name}: ${what}`,
      async () => {
        if (await holds()) return true
        if (this.ended) throw new Error(`${this.#name} ended before ${what}\n${this.#output}`)
        return false
      },
      seconds,
    )
  }

  async stop(): Promise<void> {
    if (this.ended) return
    const ended = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 5000)
    await ended
    clearTimeout(timer)
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Asks again and again. Rejects with `what` when it doesn't come true in `seconds`. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  seconds = 30,
  everyMs = 50,
): Promise<void> {
  const end = performance.now() + seconds * 1000
  for (;;) {
    if (await holds()) return
    if (performance.now() > end) throw new Error(`Not so within ${seconds} s: ${what}`)
    await sleep(everyMs)
  }
}

/** A figure that a test has measured: `npm test` shows it, whatever the outcome. */
export const figure = (text: string): void => console.log(`figure: ${text}`)
