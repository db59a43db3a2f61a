/**
 * Where one episode's records lie in a physical log, packed: 12 bytes a record, so that a log full of 4 KiB writes
 * costs a third of a percent of its size in memory.
 *
 * Sequences from `first` to `last` were here and were not freed. One of them without a position is damage.
 */
import { assert } from '../../base/assert.ts'
import type { EpisodeId, Epoch, Sequence } from '../../base/ids.ts'

const slotsAtFirst = 16

export class EpisodeRecords {
  readonly id: EpisodeId
  readonly epoch: Epoch
  /** The last sequence that was accepted; above `last` while it is being written. */
  accepted: number
  /** What lies beyond was never acknowledged; no append is accepted any more. */
  sealedAt: Sequence | undefined
  #first: number
  #count = 0
  /** Of `first` in the arrays; what lies before it was freed. */
  #start = 0
  #positions = new Float64Array(slotsAtFirst)
  #bytes = new Uint32Array(slotsAtFirst)
  /** False: surely no record between `first` and `last` is missing. */
  #maybeDamaged = false

  constructor(id: EpisodeId, epoch: Epoch, first: Sequence) {
    this.id = id
    this.epoch = epoch
    this.#first = first
    this.accepted = first - 1
  }

  get first(): Sequence {
    return this.#first as Sequence
  }

  /** One less than `first` where nothing is kept. */
  get last(): Sequence {
    return (this.#first + this.#count - 1) as Sequence
  }

  get empty(): boolean {
    return this.#count === 0
  }

  get records(): number {
    return this.#count
  }

  /** The record is on stable media at this position. Those before it that are not yet known count as damaged. */
  place(sequence: Sequence, position: number, bytes: number): void {
    assert(position > 0, 'position zero names no record')
    if (this.#count > 0 && sequence !== this.last + 1) this.#maybeDamaged = true
    this.#include(sequence)
    const index = this.#start + sequence - this.#first
    this.#positions[index] = position
    this.#bytes[index] = bytes
  }

  /** Makes `sequence` one of those that should be here, at either end. */
  expect(sequence: Sequence): void {
    this.#maybeDamaged = true
    this.#include(sequence)
  }

  /** The record was freed before it was on stable media. */
  skip(sequence: Sequence): void {
    if (this.#count === 0) this.#first = sequence + 1
    this.accepted = Math.max(this.accepted, sequence)
  }

  #include(sequence: Sequence): void {
    if (this.#count === 0) this.#first = sequence
    if (sequence < this.#first) this.#growFront(this.#first - sequence)
    const index = this.#start + sequence - this.#first
    if (index >= this.#positions.length) this.#growBack(index + 1)
    this.#count = Math.max(this.#count, sequence - this.#first + 1)
    this.accepted = Math.max(this.accepted, sequence)
  }

  /** Zero where it is damaged or not here. */
  positionOf(sequence: Sequence): number {
    return sequence < this.#first || sequence > this.last
      ? 0
      : this.#positions[this.#start + sequence - this.#first]
  }

  bytesOf(sequence: Sequence): number {
    return this.#bytes[this.#start + sequence - this.#first]
  }

  /** The record can't be read any more. */
  lose(sequence: Sequence): void {
    if (this.positionOf(sequence) === 0) return
    this.#positions[this.#start + sequence - this.#first] = 0
    this.#maybeDamaged = true
  }

  /** Up to where all is whole. */
  get wholeUpTo(): Sequence {
    if (!this.#maybeDamaged) return this.last
    for (let sequence = this.#first; sequence <= this.last; sequence++)
      if (this.positionOf(sequence as Sequence) === 0) return (sequence - 1) as Sequence
    this.#maybeDamaged = false
    return this.last
  }

  damage(): Sequence[] {
    const damage: Sequence[] = []
    for (let sequence = this.wholeUpTo + 1; sequence <= this.last; sequence++)
      if (this.positionOf(sequence as Sequence) === 0) damage.push(sequence as Sequence)
    return damage
  }

  freeUpTo(upTo: Sequence): void {
    const freed = Math.min(Math.max(upTo - this.#first + 1, 0), this.#count)
    this.#positions.fill(0, this.#start, this.#start + freed)
    this.#first += freed
    this.#start += freed
    this.#count -= freed
    if (this.#start > this.#positions.length / 2) this.#moveTo(0, this.#positions.length)
    if (this.#count * 4 < this.#positions.length && this.#positions.length > slotsAtFirst * 4)
      this.#moveTo(0, Math.max(this.#count * 2, slotsAtFirst))
  }

  /** Nothing beyond `end` was ever acknowledged. */
  seal(end: Sequence): void {
    this.sealedAt = end
    const kept = Math.min(Math.max(end - this.#first + 1, 0), this.#count)
    this.#positions.fill(0, this.#start + kept, this.#start + this.#count)
    this.#count = kept
    this.accepted = this.last
  }

  bytesKept(): number {
    let bytes = 0
    for (let index = 0; index < this.#count; index++)
      if (this.#positions[this.#start + index] > 0) bytes += this.#bytes[this.#start + index]
    return bytes
  }

  #growFront(by: number): void {
    if (this.#start < by) {
      const room = Math.max(by, this.#count)
      this.#moveTo(room, room + this.#positions.length)
    }
    this.#start -= by
    this.#first -= by
    this.#count += by
  }

  #growBack(needed: number): void {
    this.#moveTo(this.#start, Math.max(needed, this.#positions.length * 2))
  }

  #moveTo(start: number, length: number): void {
    const positions = new Float64Array(length)
    const bytes = new Uint32Array(length)
    positions.set(this.#positions.subarray(this.#start, this.#start + this.#count), start)
    bytes.set(this.#bytes.subarray(this.#start, this.#start + this.#count), start)
    this.#positions = positions
    this.#bytes = bytes
    this.#start = start
  }
}
