/**
 * A disk with a volatile write cache: what was written since the last flush is gone when the power is cut, or any part of it.
 *
 *  1. A read returns what was written last, whether it was flushed or not.
 *  2. `flush` puts all that was written before it into the image, a file of the machine's own disk.
 *  3. `cutPower` forgets: of each write that was not flushed the image gets all sectors, some or none, as the seed says.
 *     Writes need not arrive in order, and a sector is never torn.
 *
 * The image itself is not synced: it is the disk that loses its power, and not the machine that plays it.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import type { SeededChance } from '../../sim/seeded-chance.ts'

export const sectorBytes = 512

/** What a power cut found in the cache, and what became of it. */
export interface Forgotten {
  readonly writes: number
  readonly writesLost: number
  /** Of which some sectors arrived and others did not. */
  readonly writesTorn: number
  /** Sectors that hold something older than what was written last. */
  readonly sectorsLost: number
}

/** What one write has left in one sector. */
interface Version {
  readonly write: number
  readonly bytes: Buffer
}

/** How much of what was not flushed arrives all the same: each cut draws one of these, for all of its disks. */
export const shares = [0, 0, 0.2, 0.5, 0.8, 1] as const
/** Of the writes, those in which each sector has a fate of its own. */
const tornShare = 0.25

export class ForgetfulDisk {
  readonly sizeBytes: number
  readonly #fd: number
  /** By sector: what was written since the last flush, oldest first. */
  readonly #cache = new Map<number, Version[]>()
  #writes = 0
  #firstUnflushed = 0
  flushes = 0

  constructor(image: string, sizeBytes: number) {
    this.#fd = openSync(image, 'r+')
    this.sizeBytes = sizeBytes
  }

  read(target: Buffer, position: number): void {
    const have = readSync(this.#fd, target, 0, target.length, position)
    target.fill(0, have)
    if (this.#cache.size === 0) return
    const end = position + target.length
    for (let sector = Math.floor(position / sectorBytes); sector * sectorBytes < end; sector++) {
      const newest = this.#cache.get(sector)?.at(-1)
      if (newest === undefined) continue
      const from = sector * sectorBytes - position
      if (from >= 0) newest.bytes.copy(target, from)
      else newest.bytes.copy(target, 0, -from)
    }
  }

  /** The system writes whole sectors to a disk. */
  write(bytes: Buffer, position: number): void {
    if (position % sectorBytes !== 0 || bytes.length % sectorBytes !== 0)
      throw new Error(`a write of ${bytes.length} bytes at ${position} is not one of whole sectors`)
    const own = Buffer.from(bytes)
    const write = this.#writes++
    for (let at = 0; at < own.length; at += sectorBytes) {
      const sector = (position + at) / sectorBytes
      const version = { write, bytes: own.subarray(at, at + sectorBytes) }
      const versions = this.#cache.get(sector)
      if (versions === undefined) this.#cache.set(sector, [version])
      else versions.push(version)
    }
  }

  flush(): void {
    this.#store(
      new Map([...this.#cache].map(([sector, versions]) => [sector, versions[versions.length - 1]])),
    )
    this.#cache.clear()
    this.#firstUnflushed = this.#writes
    this.flushes++
  }

  /** `share`: of the writes that were not flushed, how many arrive. From now on the disk holds what its image holds. */
  cutPower(share: number, chance: SeededChance): Forgotten {
    const fates = Array.from({ length: this.#writes - this.#firstUnflushed }, () =>
      share > 0 && share < 1 && chance.happens(tornShare) ? 'torn' : chance.happens(share) ? 'whole' : 'lost',
    )
    const arrived = new Map<number, Version>()
    const left = fates.map(() => ({ some: false, all: true }))
    let sectorsLost = 0
    for (const [sector, versions] of [...this.#cache].sort(([a], [b]) => a - b)) {
      const kept = versions.filter(({ write }) => {
        const fate = fates[write - this.#firstUnflushed]
        const here = fate === 'whole' || (fate === 'torn' && chance.happens(0.5))
        const seen = left[write - this.#firstUnflushed]
        if (here) seen.some = true
        else seen.all = false
        return here
      })
      const newest = kept.at(-1)
      if (newest !== undefined) arrived.set(sector, newest)
      if (newest !== versions.at(-1)) sectorsLost++
    }
    this.#store(arrived)
    this.#cache.clear()
    this.#firstUnflushed = this.#writes
    return {
      writes: fates.length,
      writesLost: left.filter(({ some }) => !some).length,
      writesTorn: left.filter(({ some, all }) => some && !all).length,
      sectorsLost,
    }
  }

  close(): void {
    closeSync(this.#fd)
  }

  /** Sectors in a row with one call. */
  #store(sectors: ReadonlyMap<number, Version>): void {
    let run: Buffer[] = []
    let next = -1
    const write = () => {
      if (run.length === 0) return
      const bytes = Buffer.concat(run)
      writeSync(this.#fd, bytes, 0, bytes.length, (next - run.length) * sectorBytes)
      run = []
    }
    for (const [sector, { bytes }] of [...sectors].sort(([a], [b]) => a - b)) {
      if (sector !== next) write()
      run.push(bytes)
      next = sector + 1
    }
    write()
  }
}
