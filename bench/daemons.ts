/**
 * The processes of one target. All bear a mark in their environment, also those that a daemon has started by itself: so all of them are
 * counted, all are ended, and nobody else is.
 */
import { killMarked, markedProcesses, type MarkedProcess } from '../scripts/marked-processes.ts'
import { run, Service } from '../test/support/run.ts'

const mark = 'NDFS_BENCH_TARGET'
const toolSeconds = 120

export class Daemons {
  readonly env: NodeJS.ProcessEnv
  readonly #folder: string
  readonly #services = new Map<string, Service>()

  /** `folder`: of this target alone. */
  constructor(folder: string, env: NodeJS.ProcessEnv = {}) {
    this.#folder = folder
    this.env = { ...process.env, ...env, [mark]: folder }
  }

  start(name: string, command: string, ...args: readonly string[]): Service {
    const service = new Service(command, args, this.env)
    this.#services.set(name, service)
    return service
  }

  /** A command of the target's own tools; resolves to what it printed. */
  tool(command: string, ...args: readonly string[]): Promise<string> {
    return run(command, args, { env: this.env, seconds: toolSeconds })
  }

  async stop(name: string): Promise<void> {
    await this.#services.get(name)?.stop()
    this.#services.delete(name)
  }

  all(): readonly MarkedProcess[] {
    return markedProcesses(mark, this.#folder)
  }

  pids(): readonly number[] {
    return this.all().map(({ pid }) => pid)
  }

  /** In the reverse order of their start; then whatever else is left. */
  async stopAll(): Promise<void> {
    for (const name of [...this.#services.keys()].reverse()) await this.stop(name)
    killMarked(mark, this.#folder)
  }
}

/** Whether a tool's command came through: not before its daemon is ready. */
export const answers = (asked: Promise<string>): Promise<boolean> =>
  asked.then(
    () => true,
    () => false,
  )
