/** A server that runs on Java: started with its output in a file, and ended, killed, stopped and continued by whoever tests with it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

export interface JavaServerOptions {
  /** What messages call it. */
  readonly name: string
  /** Its folder: `out.log` lies there. */
  readonly dir: string
  readonly arguments: readonly string[]
  /** It serves where this is taken. */
  readonly address: { readonly host: string; readonly port: number }
  /** In front of `java`: `ip netns exec NAME`. */
  readonly within?: readonly string[]
  /** It outlives this process. */
  readonly detached?: boolean
}

const pollMs = 100

export class JavaServer {
  readonly #options: JavaServerOptions
  #child: ChildProcess | undefined
  #ended: Promise<void> = Promise.resolve()

  constructor(options: JavaServerOptions) {
    this.#options = options
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  get logFile(): string {
    return join(this.#options.dir, 'out.log')
  }

  /** Begins it. It serves when `serving` has resolved. */
  begin(): void {
    const { dir, within = [], detached = false } = this.#options
    mkdirSync(dir, { recursive: true })
    const log = openSync(this.logFile, 'a')
    const [program, ...rest] = [...within, 'java', ...this.#options.arguments]
    const child = spawn(program, rest, { stdio: ['ignore', log, log], detached })
    closeSync(log)
    if (detached) child.unref()
    this.#child = child
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()))
    void this.#ended.then(() => {
      if (this.#child === child) this.#child = undefined
    })
  }

  /** Resolves when a connection is taken. */
  async serving(seconds: number): Promise<void> {
    const { name, address } = this.#options
    const until = performance.now() + seconds * 1000
    for (;;) {
      if (await isTaken(address)) return
      const why =
        this.#child === undefined
          ? 'it has ended'
          : performance.now() > until
            ? `not in ${seconds} s`
            : undefined
      if (why !== undefined) throw new Error(`${name} does not serve: ${why}\n${this.lastLines()}`)
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
  }

  lastLines(count = 20): string {
    try {
      return readFileSync(this.logFile, 'utf8').trimEnd().split('\n').slice(-count).join('\n')
    } catch {
      return ''
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  /** In order, and by force where that takes longer. */
  async end(seconds = 20): Promise<void> {
    this.signal('SIGCONT')
    this.signal('SIGTERM')
    const timer = setTimeout(() => this.signal('SIGKILL'), seconds * 1000)
    await this.#ended
    clearTimeout(timer)
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.#ended
  }
}

/** Whether somebody takes connections there, within a second. */
export function isTaken({ host, port }: { readonly host: string; readonly port: number }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const done = (taken: boolean) => () => {
      socket.destroy()
      resolve(taken)
    }
    socket.once('connect', done(true)).once('error', done(false)).setTimeout(1000, done(false))
  })
}
