/** qemu-nbd on a raw file: QEMU's own way from NBD to a disk. Around the page cache, and from it where memory is asked for. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../../test/support/run.ts'
import { Daemons } from '../daemons.ts'
import { imageMiB, type Job, type JobId } from '../jobs.ts'
import { said } from '../machine.ts'
import { nbdImage, whenNbdAnswers } from '../nbd-image.ts'
import type { Resident, Target, TargetNotes } from '../target.ts'

/** QEMU's names for around the page cache, and through it. */
type CacheMode = 'none' | 'writeback'

export class QemuNbd implements Target {
  readonly name = 'qemu-nbd'
  readonly jobs: readonly JobId[] = [
    'sequential-write',
    'sequential-read',
    'random-read-d1',
    'random-read-d32',
    'cached-read-d1',
    'cached-read-d32',
    'random-write-d32',
  ]
  readonly notes: TargetNotes = {
    version: said('qemu-nbd', '--version').split('\n')[0],
    setup:
      'raw file, io_uring, NBD over a Unix socket; cache=none, and the page cache (cache=writeback) for reads from memory',
    durable:
      'nothing until a flush, which these jobs do not send: the disk may hold it in its own cache. No copies, no checksums',
  }
  readonly #folder: string
  readonly #socket: string
  readonly #file: string
  readonly #daemons: Daemons
  #mode: CacheMode | undefined

  constructor(root: string) {
    this.#folder = join(root, 'qemu-nbd')
    this.#socket = join(this.#folder, 'socket')
    this.#file = join(this.#folder, 'image')
    this.#daemons = new Daemons(this.#folder)
  }

  async start(): Promise<void> {
    mkdirSync(this.#folder)
    await run('qemu-img', ['create', '-q', '-f', 'raw', this.#file, `${imageMiB}M`])
  }

  async place({ from }: Pick<Job, 'from'>): Promise<readonly string[]> {
    await this.#serve(from === 'memory' ? 'writeback' : 'none')
    return nbdImage(this.#socket)
  }

  async #serve(mode: CacheMode): Promise<void> {
    if (mode === this.#mode) return
    await this.#daemons.stop('server')
    rmSync(this.#socket, { force: true })
    this.#mode = mode
    const words = ['--format=raw', `--cache=${mode}`, '--aio=io_uring', '--persistent', '--shared=4']
    const server = this.#daemons.start('server', 'qemu-nbd', ...words, `--socket=${this.#socket}`, this.#file)
    await whenNbdAnswers(server, this.#socket)
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
