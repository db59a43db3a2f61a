/**
 * I10: no disk is ever given more than it has, and guests leave the reserve alone: where more than `guestShare` of a disk is taken,
 * no file of a guest's stream is begun on it. What gives space back (drains, repair) may use the rest.
 *
 * A stream's group is told from a drain's by the black box: a drain's has its trailer when it is first synced, a stream's gets
 * it much later. Space is what files hold; what they were given and don't hold yet only makes the true count higher.
 */
import { trailerBytesOf, trailerFooterBytes } from '../../src/stargate/extent-store/trailer.ts'
import { guestShare } from '../../src/disk/disk-space.ts'
import type { FileContent } from '../sim-file-content.ts'
import { copyAt } from './disk-paths.ts'

interface Begun {
  readonly content: FileContent
  /** What all files of the disk held when it was created. */
  readonly usedBytes: number
}

/** Of one disk. */
export class SpaceReserve {
  readonly #name: string
  readonly #capacityBytes: number
  /** Whether a file is there still: a power cut takes names away without a word. */
  readonly #isThere: (path: string, content: FileContent) => boolean
  readonly #files = new Map<string, FileContent>()
  /** Group files that were created and not yet synced. */
  readonly #begun = new Map<string, Begun>()

  constructor(name: string, capacityBytes: number, isThere: (path: string, content: FileContent) => boolean) {
    this.#name = name
    this.#capacityBytes = capacityBytes
    this.#isThere = isThere
  }

  created(path: string, content: FileContent): string | undefined {
    const usedBytes = this.#usedBytes()
    this.#files.set(path, content)
    if (copyAt(path) !== undefined) this.#begun.set(path, { content, usedBytes })
    if (usedBytes <= this.#capacityBytes) return undefined
    return `the files on ${this.#name} hold ${usedBytes} bytes, and it has ${this.#capacityBytes}`
  }

  removed(path: string): void {
    this.#files.delete(path)
    this.#begun.delete(path)
  }

  synced(path: string, content: FileContent): string | undefined {
    const begun = this.#begun.get(path)
    if (begun?.content !== content) return undefined
    this.#begun.delete(path)
    if (content.size < trailerFooterBytes || begun.usedBytes <= guestShare * this.#capacityBytes)
      return undefined
    const footer = Buffer.alloc(trailerFooterBytes)
    content.read(footer, content.size - trailerFooterBytes)
    if (trailerBytesOf(footer) !== undefined) return undefined
    return (
      `a guest's stream began ${path} on ${this.#name}, with ${begun.usedBytes} bytes of ${this.#capacityBytes} taken: ` +
      `more than ${guestShare * 100} %`
    )
  }

  #usedBytes(): number {
    let sum = 0
    for (const content of this.#files.values()) sum += content.size
    if (sum <= guestShare * this.#capacityBytes) return sum
    // It matters: without those that a power cut took.
    for (const [path, content] of this.#files)
      if (!this.#isThere(path, content)) {
        sum -= content.size
        this.removed(path)
      }
    return sum
  }
}
