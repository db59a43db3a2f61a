/**
 * When files that are vDisks were written to last, in their inodes: by the time, clients of other nodes know that what they remember of a
 * file is old. Of writes that follow each other the first is noted at once, before it is answered, and then one each second.
 */
import { hasCode, NdfsError } from '../../../base/errors.ts'
import type { Clock } from '../../../platform/platform.ts'
import { FileError, type FileTime, type InodeId, type Namespace } from '../../namespace/namespace.ts'

const noteEveryMs = 1000
/** Files that are being written to; of more than so many each write is noted. */
const filesMax = 4096

interface Written {
  readonly sizeBytes: number
  readonly modifyTime: FileTime
}

export class WriteTimes {
  readonly #namespace: Pick<Namespace, 'note'>
  readonly #clock: Clock
  /** Of files that were noted less than a second ago: the newest write since then; undefined where there was none. */
  readonly #lately = new Map<InodeId, Written | undefined>()

  constructor(namespace: Pick<Namespace, 'note'>, clock: Clock) {
    this.#namespace = namespace
    this.#clock = clock
  }

  /** After each write, before its answer. A time that can't be noted now is noted later, and fails no write. */
  async written(id: InodeId, sizeBytes: number): Promise<void> {
    // The time of the write, not of the note: a time that a client sets in between is newer.
    const written = { sizeBytes, modifyTime: BigInt(Math.floor(this.#clock.wallTime())) * 1_000_000n }
    if (this.#lately.has(id)) this.#lately.set(id, written)
    else await this.#noteNow(id, written)
  }

  async #noteNow(id: InodeId, written: Written): Promise<void> {
    const isKept = this.#lately.size < filesMax
    if (isKept) {
      this.#lately.set(id, undefined)
      this.#clock.after(noteEveryMs, () => void this.#after(id))
    }
    const isNoted = await this.#note(id, written)
    // Unless there was a newer write: its time says all that this one would.
    if (!isNoted && isKept && this.#lately.has(id)) this.#lately.set(id, this.#lately.get(id) ?? written)
  }

  async #after(id: InodeId): Promise<void> {
    const written = this.#lately.get(id)
    this.#lately.delete(id)
    if (written !== undefined) await this.#noteNow(id, written)
  }

  /** False: Medusa did not answer. One that is damaged is not mended by trying again. */
  async #note(id: InodeId, written: Written): Promise<boolean> {
    try {
      await this.#namespace.note(id, written)
    } catch (error) {
      // It was removed meanwhile.
      if (error instanceof FileError) return true
      if (!(error instanceof NdfsError)) throw error
      return hasCode(error, 'DAMAGED_METADATA')
    }
    return true
  }
}
