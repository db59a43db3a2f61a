/**
 * The count of a disk's space: what files were given, not what the file system says (I10).
 *
 * A file is given bytes when it is created, and one that grows past them is given more. What was given and not yet
 * written is remembered only for files created by this process; after a restart a file has what it holds.
 */
import { assert } from '../base/assert.ts'
import { NdfsError } from '../base/errors.ts'
import { formatSize } from '../base/units.ts'
import type { DiskSpace, SpacePurpose } from './disk.ts'

/**
 * Guests may fill a disk to this share of its capacity. The rest is for what gives space back: a drain writes before it
 * frees the log, and compaction and repair write before they remove.
 */
export const guestShare = 0.9

export class SpaceCount {
  readonly #capacityBytes: number
  readonly #guestBytesMax: number
  #usedBytes: number
  #asideBytes = 0
  #keptBytes = 0
  /** What files were given, where that may differ from what they hold. */
  readonly #given = new Map<string, number>()

  constructor(capacityBytes: number, usedBytes: number) {
    this.#capacityBytes = capacityBytes
    this.#guestBytesMax = Math.floor(capacityBytes * guestShare)
    this.#usedBytes = usedBytes
  }

  space(): DiskSpace {
    return {
      capacityBytes: this.#capacityBytes,
      usedBytes: this.#usedBytes,
      guestFreeBytes: Math.max(0, this.#limitOf('guest') - this.#usedBytes),
      maintenanceFreeBytes: Math.max(0, this.#limitOf('maintenance') - this.#usedBytes),
    }
  }

  /**
   * Of what is free, not for guests: what the log may yet take would else come out of the reserve that drains need. Of that, not
   * for drains and copies either: without it nobody could take over what shall drain (I10).
   */
  setAside(bytes: number, keptBytes: number): void {
    assert(Number.isSafeInteger(keptBytes) && keptBytes >= 0, 'less than nothing is kept')
    // Else guests would be told of room that a drain of what they write does not find.
    assert(Number.isSafeInteger(bytes) && bytes >= keptBytes, 'more is kept from drains than from guests')
    this.#asideBytes = bytes
    this.#keptBytes = keptBytes
  }

  /** Takes the bytes for a new file, or throws OUT_OF_SPACE. */
  reserve(name: string, bytes: number, purpose: SpacePurpose | 'log'): void {
    assert(Number.isSafeInteger(bytes) && bytes >= 0, 'a file of no size')
    const limit = this.#limitOf(purpose)
    if (this.#usedBytes + bytes > limit)
      throw new NdfsError(
        'OUT_OF_SPACE',
        `Cannot give ${formatSize(bytes)} to ${name}: ${formatSize(this.#usedBytes)} of the ${formatSize(limit)} ` +
          `that ${purpose} may use are taken. Delete what is no longer needed, or add a disk.`,
        { ...this.space(), purpose },
      )
    this.#usedBytes += bytes
    this.#given.set(name, bytes)
  }

  #limitOf(purpose: SpacePurpose | 'log'): number {
    switch (purpose) {
      case 'guest':
        return Math.max(0, this.#guestBytesMax - this.#asideBytes)
      case 'maintenance':
        return Math.max(0, this.#capacityBytes - this.#keptBytes)
      case 'log':
        return this.#capacityBytes
      default:
        return purpose satisfies never
    }
  }

  isKnown(name: string): boolean {
    return this.#given.has(name)
  }

  /** A file from before this process, of this size, is about to be written. */
  learn(name: string, bytes: number): void {
    if (!this.#given.has(name)) this.#given.set(name, bytes)
  }

  /** The file will reach to `end`: what goes beyond its share is added, or refused with OUT_OF_SPACE. */
  growTo(name: string, end: number): void {
    const given = this.#given.get(name)
    assert(given !== undefined, 'a file is written whose share is not known')
    if (end <= given) return
    this.reserve(name, end - given, 'maintenance')
    this.#given.set(name, end)
  }

  /** The file holds all that it was given: its size says so from now on. */
  forget(name: string, bytes: number): void {
    if (this.#given.get(name) === bytes) this.#given.delete(name)
  }

  /** The file, of this size, is gone. */
  release(name: string, bytes: number): void {
    this.#usedBytes -= this.#given.get(name) ?? bytes
    this.#given.delete(name)
    assert(this.#usedBytes >= 0, 'more space was given back than was taken')
  }
}
