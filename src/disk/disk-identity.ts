/**
 * Whether the folder of a disk that is in use still is that disk. A folder that was deleted, unmounted or exchanged under us takes
 * writes to files that are open, and syncs them, and nothing of it is there any more when somebody opens them again: no error ever says so.
 */
import type { Incarnation } from '../base/ids.ts'
import type { Clock, Files } from '../platform/platform.ts'
import { decodeSuperblock, superblockName } from './superblock.ts'

/** Beside writes it is asked so often: what is written in between lies on another disk too, as all that was written before. */
const everyMs = 1000

export class DiskIdentity {
  readonly #files: Pick<Files, 'readWhole'>
  readonly #clock: Clock
  readonly #path: string
  readonly #incarnation: Incarnation
  #lookedAt = Number.NEGATIVE_INFINITY
  #looking: Promise<string | undefined> | undefined

  constructor(files: Pick<Files, 'readWhole'>, clock: Clock, path: string, incarnation: Incarnation) {
    this.#files = files
    this.#clock = clock
    this.#path = path
    this.#incarnation = incarnation
  }

  /** It was not asked for a while. */
  get isDue(): boolean {
    return this.#looking === undefined && this.#clock.now() - this.#lookedAt >= everyMs
  }

  /** What is wrong; undefined where it is the disk, and where that can't be told: a read that fails says nothing of what is there. */
  look(): Promise<string | undefined> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  async #look(): Promise<string | undefined> {
    this.#lookedAt = this.#clock.now()
    let bytes: Buffer | undefined
    try {
      bytes = await this.#files.readWhole(`${this.#path}/${superblockName}`)
    } catch {
      return undefined
    }
    if (bytes === undefined) return 'its superblock is gone: its folder was deleted, or unmounted'
    try {
      const { incarnation } = decodeSuperblock(bytes, this.#path)
      return incarnation === this.#incarnation ? undefined : 'another disk lies at its path'
    } catch {
      // It rots: the data beside it is untouched.
      return undefined
    }
  }
}
