/** The disk by itself: a file of the image's size on it, around the page cache, without copies, checksums or a protocol. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { said } from './machine.ts'
import type { Job, JobId } from './jobs.ts'
import type { Resident, Target, TargetNotes } from './target.ts'

export class RawDisk implements Target {
  readonly name = 'raw disk'
  readonly jobs: readonly JobId[] = [
    'append',
    'sequential-write',
    'sequential-read',
    'random-read-d1',
    'random-read-d32',
    'random-write-d32',
  ]
  readonly notes: TargetNotes = {
    version: said('fio', '--version'),
    setup: 'one file, O_DIRECT, libaio; appends by pwrite with O_DIRECT and O_DSYNC',
    durable: 'appends are, other writes are not: the disk may hold them in its own cache. No copies.',
  }
  readonly #folder: string

  constructor(root: string) {
    this.#folder = join(root, 'raw')
  }

  async start(): Promise<void> {
    mkdirSync(this.#folder)
  }

  async place({ id }: Pick<Job, 'id'>): Promise<readonly string[]> {
    const append = id === 'append'
    const file = join(this.#folder, append ? 'append' : 'image')
    return [`ioengine=${append ? 'psync' : 'libaio'}`, `filename=${file}`]
  }

  async settled(): Promise<void> {}

  pids(): readonly number[] {
    return []
  }

  async memory(): Promise<readonly Resident[]> {
    return []
  }

  async stop(): Promise<void> {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
