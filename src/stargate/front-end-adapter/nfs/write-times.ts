/**
 * When files that are vDisks were written to last, in their inodes: by the time, clients of other nodes know that what they remember of a
 * file is old. Of writes that follow each other the first is noted at once, before it is answered, and then one each second.
 */
import { NdfsError } from '../../../base/errors.ts'
import type { Clock } from '../../../platform/platform.ts'
import { FileError, type InodeId, type Namespace } from '../../namespace/namespace.ts'

const noteEveryMs = 1000
/** Files that are being written to; of more than so many each write is noted. */
const filesMax = 4096

export class WriteTimes {
  readonly #namespace: Pick<Namespace, 'note'>
  readonly #clock: Clock
  /** Of files that were noted less than a second ago: the size after a write since then; undefined where there was none. */
  readonly #lately = new Map<InodeId, number | undefined>()

  constructor(namespace: Pick<Namespace, 'note'>, clock: Clock) {
    this.#namespace = namespace
    this.#clock = clock
  }

  /** After each write, before its answer. A time that can't be noted now is by the next write, and fails none. */
  async written(id: InodeId, sizeBytes: number): Promise<void> {
    if (this.#lately.has(id)) {
      this.#lately.set(id, sizeBytes)
      return
    }
    if (this.#lately.size < filesMax) {
      this.#lately.set(id, undefined)
      this.#clock.after(noteEveryMs, () => this.#after(id))
    }
    await this.#note(id, sizeBytes)
  }

  #after(id: InodeId): void {
    const sizeBytes = this.#lately.get(id)
    this.#lately.delete(id)
    if (sizeBytes !== undefined) void this.written(id, sizeBytes)
  }

  async #note(id: InodeId, sizeBytes: number): Promise<void> {
    const modifyTime = BigInt(Math.round(this.#clock.wallTime())) * 1_000_000n
    try {
      await this.#namespace.note(id, { sizeBytes, modifyTime })
    } catch (error) {
      // It was removed meanwhile, or Medusa does not answer, or finds it damaged: the bytes are written all the same.
      if (!(error instanceof FileError || error instanceof NdfsError)) throw error
    }
  }
}
