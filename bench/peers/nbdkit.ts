/** nbdkit's memory plugin: what an NBD server in C does that has nothing to do but to copy memory. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Daemons } from '../daemons.ts'
import { imageMiB, type JobId } from '../jobs.ts'
import { said } from '../machine.ts'
import { nbdImage, whenNbdAnswers } from '../nbd-image.ts'
import type { Resident, Target, TargetNotes } from '../target.ts'

export class Nbdkit implements Target {
  readonly name = 'nbdkit'
  /** Writes into memory are nothing to hold durable ones against. */
  readonly jobs: readonly JobId[] = ['cached-read-d1', 'cached-read-d32']
  readonly notes: TargetNotes = {
    version: said('nbdkit', '--version'),
    setup: 'memory plugin, its usual 16 threads, NBD over a Unix socket',
    durable: 'nothing: memory of one process, without copies or checksums',
  }
  readonly #folder: string
  readonly #socket: string
  readonly #daemons: Daemons

  constructor(root: string) {
    this.#folder = join(root, 'nbdkit')
    this.#socket = join(this.#folder, 'socket')
    this.#daemons = new Daemons(this.#folder)
  }

  async start(): Promise<void> {
    mkdirSync(this.#folder)
    const words = ['--foreground', '--unix', this.#socket, 'memory', `${imageMiB}M`]
    await whenNbdAnswers(this.#daemons.start('server', 'nbdkit', ...words), this.#socket)
  }

  async place(): Promise<readonly string[]> {
    return nbdImage(this.#socket)
  }

  async settled(): Promise<void> {}

  pids(): readonly number[] {
    return this.#daemons.pids()
  }

  async memory(): Promise<readonly Resident[]> {
    return []
  }

  async stop(): Promise<void> {
    await this.#daemons.stopAll()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
