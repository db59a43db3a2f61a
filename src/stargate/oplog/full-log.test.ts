/** A log that guests have filled takes their writes again when most of it was drained, whatever one vDisk still holds there (M8, I10). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { KiB } from '../../base/units.ts'
import {
  episodeId,
  epochOf,
  makeRecord,
  ManualClock,
  platformWith,
  sequenceOf,
  settled,
  temporaryFolder,
  TestDisk,
  vdiskId,
} from './fixtures.test.ts'
import { type OplogReplica } from './oplog.ts'
import { openOplogReplica } from './replica-log.ts'

const segmentBytes = 512 * KiB

class Bench {
  readonly disk: TestDisk
  readonly replica: OplogReplica
  readonly #clock: ManualClock
  readonly #newest = new Map<number, number>()

  private constructor(disk: TestDisk, replica: OplogReplica, clock: ManualClock) {
    this.disk = disk
    this.replica = replica
    this.#clock = clock
  }

  static async with(
    segments: { readonly onDisk: number; readonly most: number },
    work: (bench: Bench) => Promise<void>,
  ): Promise<void> {
    const folder = await temporaryFolder()
    const clock = new ManualClock()
    const disk = new TestDisk(folder.path, segments.onDisk * segmentBytes)
    const platform = platformWith(clock)
    const replica = await openOplogReplica({ platform, disk, segmentBytes, segmentsMax: segments.most })
    try {
      await work(new Bench(disk, replica, clock))
    } finally {
      await replica.close()
      await folder.remove()
    }
  }

  /** False: there is no room. */
  async append(vdisk: number, bytes = 100 * KiB): Promise<boolean> {
    const sequence = (this.#newest.get(vdisk) ?? 0) + 1
    const record = makeRecord({ vdisk, sequence, payload: Buffer.alloc(bytes, vdisk) })
    try {
      await this.run(this.replica.append(vdiskId(vdisk), epochOf(1), episodeId(1), [record]))
    } catch (error) {
      if (!hasCode(error, 'OUT_OF_SPACE')) throw error
      return false
    }
    this.#newest.set(vdisk, sequence)
    return true
  }

  /** All that it has written but the newest `kept` records. */
  drained(vdisk: number, kept = 0): void {
    this.replica.free(vdiskId(vdisk), sequenceOf(this.#newest.get(vdisk)! - kept))
  }

  async guestsGoOn(vdisk: number): Promise<void> {
    for (let refused = 0; refused < 30; refused++) {
      if (await this.append(vdisk)) return this.drained(vdisk)
      for (let i = 0; i < 50; i++) {
        await new Promise(setImmediate)
        this.#clock.advance(20)
      }
    }
    assert.fail('guests are refused for ever')
  }

  run<T>(work: Promise<T>): Promise<T> {
    return settled(this.#clock, work)
  }
}

for (const most of [4, 8])
  test(`tables of fences fill the segment in use, and what else lies in the log is drained but one record: ${most} segments`, () =>
    Bench.with({ onDisk: 100, most }, async (bench) => {
      for (const bytes of [100 * KiB, 4 * KiB, 1 * KiB]) while (await bench.append(1, bytes));
      // Two fences at once, so that the second one is not in the first one's table.
      let second: Promise<unknown> | undefined
      bench.disk.beforeWrite = () => void (second ??= bench.replica.fence(vdiskId(10), epochOf(2)))
      await bench.run(bench.replica.fence(vdiskId(11), epochOf(2)))
      await bench.run(second!)
      bench.disk.beforeWrite = () => undefined
      bench.drained(1, 1)
      for (let i = 0; i < 20; i++) await bench.guestsGoOn(3)
    }))

for (const [onDisk, most] of [
  [7, 8],
  [12, 8],
  [30, 8],
  [7, 4],
] as const)
  test(`a vDisk that can't drain has one record in each segment: ${onDisk} segments on the disk, ${most} in the log`, () =>
    Bench.with({ onDisk, most }, async (bench) => {
      await bench.append(2, 4 * KiB)
      const { maintenanceFreeBytes = 0 } = bench.disk.space()
      bench.disk.usedBytes += maintenanceFreeBytes
      for (let i = 1; await bench.append(i % 4 === 0 ? 2 : 1, i % 4 === 0 ? 4 * KiB : undefined); i++);
      while (await bench.append(1, 4 * KiB));
      bench.drained(1)
      for (let i = 0; i < 20; i++) await bench.guestsGoOn(1)
    }))
