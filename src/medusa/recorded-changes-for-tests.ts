/**
 * Clients of Medusa that change the same few partitions while servers come, go and fail, and write down all that they see: version-history-for-tests.ts
 * judges it.
 */
import assert from 'node:assert/strict'
import { hasCode } from '../base/errors.ts'
import type { Chance, Clock } from '../platform/platform.ts'
import type { Medusa, Partition, PartitionName } from './medusa.ts'
import { newChangeId } from './medusa.ts'
import { wrongIn, type ChangeSeen, type VersionSeen } from './version-history-for-tests.ts'

/** Clients that change a few partitions, each change on what was read before it, and leave its id in a row of its version. */
export class RecordedChanges {
  over = false
  readonly #clock: Clock
  readonly #chance: Chance
  readonly #partitions: readonly PartitionName[]
  readonly #changes = new Map<string, ChangeSeen[]>()
  readonly #seen = new Map<string, VersionSeen[]>()

  constructor(partitions: number, clock: Clock, chance: Chance) {
    this.#clock = clock
    this.#chance = chance
    this.#partitions = Array.from({ length: partitions }, (_, i) => ({ table: 'vdisk', key: `chain ${i}` }))
    for (const { key } of this.#partitions) {
      this.#changes.set(key, [])
      this.#seen.set(key, [])
    }
  }

  async work(medusa: Medusa, number: number): Promise<void> {
    for (let round = number; !this.over; round++) {
      const partition = this.#partitions[round % this.#partitions.length]
      await this.#step(medusa, partition)
      await this.#clock.sleep(20)
    }
  }

  async #step(medusa: Medusa, partition: PartitionName): Promise<void> {
    const [changes, seen] = [this.#changes.get(partition.key), this.#seen.get(partition.key)]
    assert.ok(changes && seen)
    let began = this.#clock.now()
    const read = await medusa.get(partition, []).catch(unlessItMayPass)
    if (read === undefined) return
    seen.push({ static: read.static, began, ended: this.#clock.now() })
    const { version, epoch } = read.static
    const id = newChangeId(this.#chance)
    const put = [{ key: keyOf(version + 1), value: Buffer.from(id) }]
    const named = { id, expected: { epoch, version }, epoch, put }
    began = this.#clock.now()
    const result = await medusa.change(partition, named).catch(unlessItMayPass)
    const ended = this.#clock.now()
    changes.push({ id, expected: version, outcome: result?.outcome ?? 'unknown', began, ended })
    if (result?.outcome === 'conflict') seen.push({ static: result.static, began, ended })
  }

  async wrong(medusa: Medusa): Promise<readonly string[]> {
    const wrong: string[] = []
    for (const partition of this.#partitions) {
      const began = this.#clock.now()
      const { static: at, rows } = await this.#untilRead(medusa, partition)
      const seen = [...(this.#seen.get(partition.key) ?? []), { static: at, began, ended: this.#clock.now() }]
      rows.forEach(({ key }, i) => assert.equal(key, keyOf(i + 1)))
      assert.equal(rows.length, at.version)
      const chain = rows.map(({ value }) => String(value))
      wrong.push(...wrongIn(chain, this.#changes.get(partition.key) ?? [], seen))
    }
    return wrong
  }

  async #untilRead(medusa: Medusa, partition: PartitionName): Promise<Partition> {
    for (let tries = 0; tries < 60; tries++) {
      const found = await medusa.get(partition).catch(unlessItMayPass)
      if (found !== undefined) return found
      await this.#clock.sleep(500)
    }
    assert.fail(`${partition.key} can't be read`)
  }

  counts() {
    const all = [...this.#changes.values()].flat().sort((a, b) => a.ended - b.ended)
    const applied = all.filter(({ outcome }) => outcome === 'applied')
    const gaps = applied.slice(1).map(({ ended }, i) => ended - applied[i].ended)
    return {
      applied: applied.length,
      conflicts: all.filter(({ outcome }) => outcome === 'conflict').length,
      unknown: all.filter(({ outcome }) => outcome === 'unknown').length,
      reads: [...this.#seen.values()].flat().length,
      longestMs: Math.max(...gaps),
    }
  }
}

const keyOf = (version: number): string => String(version).padStart(8, '0')

/** Undefined for what may be tried again. */
export function unlessItMayPass(error: unknown): undefined {
  if (!hasCode(error, 'TIMED_OUT', 'UNAVAILABLE', 'PEER_UNREACHABLE')) throw error
}
