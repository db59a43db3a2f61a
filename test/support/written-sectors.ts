/**
 * Writes to a vDisk that remember what was acknowledged, so that it can be asked for after a crash.
 *
 * Every write has a number, and each of its sectors holds the number, the sector's own place and the vDisk's salt. No two
 * writes that overlap are under way at once, so a sector may hold: what was acknowledged last, or the one write after
 * it that was never answered. Anything else is a loss.
 */
import assert from 'node:assert/strict'
import { ConnectionLost, type NbdClient } from './nbd-client.ts'

const sectorBytes = 512

export class WrittenSectors {
  readonly #sectors: number
  readonly #chance: () => number
  readonly #salt: number
  /** By sector: the number of the write that was acknowledged last; 0: none. */
  readonly #acknowledged: Float64Array
  /** By sector: a write that was sent and not answered; 0: none. */
  readonly #open: Float64Array
  #number = 0
  /** Where the stream goes on. */
  #next = 0
  acknowledgedWrites = 0
  acknowledgedBytes = 0
  unansweredWrites = 0

  /** `chance`: from 0 to below 1. */
  constructor(bytes: number, chance = Math.random) {
    this.#sectors = bytes / sectorBytes
    this.#chance = chance
    this.#salt = Math.floor(chance() * 2 ** 32)
    this.#acknowledged = new Float64Array(this.#sectors)
    this.#open = new Float64Array(this.#sectors)
  }

  /** Writes at random places until `stopped()`, or until the connection is lost; `depth` at once. */
  async write(client: NbdClient, depth: number, sectorsMax: number, stopped: () => boolean): Promise<void> {
    await Promise.all(
      Array.from({ length: depth }, async () => {
        while (!stopped()) {
          const count = 1 + Math.floor(this.#chance() * sectorsMax)
          const first = Math.floor(this.#chance() * (this.#sectors - count))
          if (!(await this.#writeOne(client, first, count))) return
        }
      }),
    )
  }

  /** Writes one piece after the other, from the begin again after the end. */
  async stream(client: NbdClient, depth: number, count: number, stopped: () => boolean): Promise<void> {
    await Promise.all(
      Array.from({ length: depth }, async () => {
        while (!stopped()) {
          const first = this.#next
          this.#next = first + 2 * count > this.#sectors ? 0 : first + count
          if (!(await this.#writeOne(client, first, count))) return
        }
      }),
    )
  }

  /** Resolves to false when the connection is lost. */
  async #writeOne(client: NbdClient, first: number, count: number): Promise<boolean> {
    for (let sector = first; sector < first + count; sector++)
      // One that was never answered may still be on its way: it keeps its sectors until they were read again.
      if (this.#open[sector] !== 0) return new Promise((resolve) => setImmediate(() => resolve(true)))
    const number = ++this.#number
    this.#open.fill(number, first, first + count)
    try {
      await client.write(first * sectorBytes, this.#content(number, first, count))
    } catch (error) {
      if (!(error instanceof ConnectionLost)) throw error
      this.unansweredWrites++
      return false
    }
    this.#open.fill(0, first, first + count)
    this.#acknowledged.fill(number, first, first + count)
    this.acknowledgedWrites++
    this.acknowledgedBytes += count * sectorBytes
    return true
  }

  /** Reads all of it. What an unanswered write has become is known from then on, and must stay so. */
  async verify(client: NbdClient): Promise<void> {
    const step = 2048
    for (let first = 0; first < this.#sectors; first += step) {
      const count = Math.min(step, this.#sectors - first)
      const bytes = await client.read(first * sectorBytes, count * sectorBytes)
      for (let sector = first; sector < first + count; sector++)
        this.#verifySector(sector, bytes.subarray((sector - first) * sectorBytes).subarray(0, sectorBytes))
    }
  }

  #verifySector(sector: number, bytes: Buffer): void {
    const found = bytes.readDoubleLE(0)
    const [acknowledged, open] = [this.#acknowledged[sector], this.#open[sector]]
    assert(
      found === acknowledged || (open !== 0 && found === open),
      `sector ${sector} holds write ${found}: ${acknowledged} was acknowledged, ${open} was unanswered`,
    )
    const whole = found === 0 ? Buffer.alloc(sectorBytes) : this.#content(found, sector, 1)
    assert(bytes.equals(whole), `sector ${sector} of write ${found} is torn or misplaced`)
    this.#acknowledged[sector] = found
    this.#open[sector] = 0
  }

  #content(number: number, first: number, count: number): Buffer {
    const bytes = Buffer.alloc(count * sectorBytes)
    for (let sector = 0; sector < count; sector++) {
      const at = sector * sectorBytes
      bytes.writeDoubleLE(number, at)
      bytes.writeUInt32LE(first + sector, at + 8)
      bytes.writeUInt32LE(this.#salt, at + 12)
      bytes.fill(number & 0xff, at + 16, at + sectorBytes)
    }
    return bytes
  }
}
