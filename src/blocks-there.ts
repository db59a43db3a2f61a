/** In which blocks this node has heard of disks that stay, and whether copies may have come to lie in fewer than they could. */
import { blocksAmong } from './stargate/vdisk-controller/misplaced.ts'

export class BlocksThere {
  readonly #read: () => readonly { readonly block: string }[]
  readonly #copiesMax: () => number
  #now: ReadonlySet<string> | undefined
  #begun = false
  /** Since this process has begun. */
  mayBeMisplaced = false

  /** `read`: all disks in service that stay. `copiesMax`: the most that a container asks for. */
  constructor(read: () => readonly { readonly block: string }[], copiesMax: () => number) {
    this.#read = read
    this.#copiesMax = copiesMax
  }

  get now(): ReadonlySet<string> {
    return (this.#now ??= blocksAmong(this.#read()))
  }

  /** What there is to be heard at the start was heard. */
  begin(): void {
    this.#begun = true
    this.#now = blocksAmong(this.#read())
  }

  /** Disks came, went, or are in another block (`moved`). True: what was placed before may be misplaced now. */
  changed(moved = false): boolean {
    const before = this.now
    this.#now = undefined
    // Where there were as many blocks as copies before, another one is no news.
    const isFew = before.size < this.#copiesMax()
    const isNews = moved || (isFew && [...this.now].some((block) => !before.has(block)))
    if (!this.#begun || !isNews) return false
    this.mayBeMisplaced = true
    return true
  }
}
