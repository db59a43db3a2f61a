/** A line of requests that wait, first come, first served, in a ring that grows to what was needed once. */
export interface Waiter {
  readonly bytes: number
  go(): void
}

export class WaitingLine {
  #ring: (Waiter | undefined)[] = new Array<Waiter | undefined>(16)
  #head = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  get first(): Waiter | undefined {
    return this.#length === 0 ? undefined : this.#ring[this.#head]
  }

  add(waiter: Waiter): void {
    if (this.#length === this.#ring.length) this.#grow()
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = waiter
    this.#length++
  }

  removeFirst(): Waiter | undefined {
    const waiter = this.first
    if (waiter === undefined) return undefined
    this.#ring[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#ring.length - 1)
    this.#length--
    return waiter
  }

  #grow(): void {
    const ring = new Array<Waiter | undefined>(this.#ring.length * 2)
    for (let i = 0; i < this.#length; i++) ring[i] = this.#ring[(this.#head + i) & (this.#ring.length - 1)]
    this.#ring = ring
    this.#head = 0
  }
}
