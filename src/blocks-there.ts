/** In which blocks this node has heard of disks that stay, and whether copies may have come to lie in fewer than they could. */
import { blocksAmong } from './stargate/vdisk-controller/misplaced.ts'

/** No vDisk asks for more copies: with as many blocks to choose from, another one is no news. */
const copiesMax = 3

export class BlocksThere {
  readonly #read: () => readonly { readonly block: string }[]
  #now: ReadonlySet<string> | undefined
  #begun = false
  /** Since this process has begun. */
  mayBeMisplaced = false

  /** `read`: all disks in service that stay. */
  constructor(read: () => readonly { readonly block: string }[]) {
    this.#read = read
  }

  get now(): ReadonlySet<string> {
    return (this.#now ??= blocksAmong(this.#read()))
  }

  /** What there is to be heard at the start was heard. */
  begin(): void {
    this.#begun = true
  }

  /** Disks came, went, or are in another block (`moved`). True: what was placed before may be misplaced now. */
  changed(moved = false): boolean {
    const before = this.now
    this.#now = undefined
    const isNews = moved || (before.size < copiesMax && [...this.now].some((block) => !before.has(block)))
    if (!this.#begun || !isNews) return false
    this.mayBeMisplaced = true
    return true
  }
}
