/** Logs on disks that drains and copies fill whenever they may: what the log needs to be emptied stays there (I10). */
import assert from 'node:assert/strict'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import type { DiskId, NodeId } from '../../base/ids.ts'
import { KiB, MiB } from '../../base/units.ts'
import { guestShare } from '../../disk/disk-space.ts'
import { formatDisk, openDisk } from '../../disk/folder-disk.ts'
import type { Platform } from '../../platform/platform.ts'
import {
  episodeId,
  epochOf,
  makeRecord,
  ManualClock,
  platformWith,
  realPlatform,
  recordsIn,
  seeded,
  sequenceOf,
  settled,
  temporaryFolder,
  TestDisk,
  vdiskId,
} from './fixtures.test.ts'
import type { OplogReplica } from './oplog.ts'
import { openOplogReplica } from './replica-log.ts'

const segmentBytes = 512 * KiB
const payload = Buffer.alloc(100 * KiB, 7)
const fenced = 9

interface Written {
  readonly vdisk: number
  first: number
  last: number
  /** Up to here it was acknowledged, and from here on freed. */
  acknowledged: number
  freed: number
}

/** One log, its disk, and what else lies there. */
class Bench {
  readonly vdisks: readonly Written[] = [1, 2].map((vdisk) => ({
    ...{ vdisk, first: 1, last: 0, acknowledged: 0, freed: 0 },
  }))
  disk!: TestDisk
  replica!: OplogReplica
  othersBytes = 0
  readonly segmentsMax: number
  readonly #path: string
  readonly #capacityBytes: number
  readonly #clock = new ManualClock()
  #episode = 0
  #epoch = 1

  constructor(path: string, capacityBytes: number, segmentsMax: number) {
    this.#path = path
    this.#capacityBytes = capacityBytes
    this.segmentsMax = segmentsMax
  }

  get segments(): number {
    return this.#sizes().length
  }

  #sizes(): number[] {
    const folder = join(this.#path, 'oplog')
    const names = readdirSync(this.#path).includes('oplog') ? readdirSync(folder) : []
    return names.map((name) => statSync(join(folder, name)).size)
  }

  async open(): Promise<void> {
    this.disk = new TestDisk(this.#path, this.#capacityBytes)
    this.disk.usedBytes = this.othersBytes + this.#sizes().reduce((sum, size) => sum + size, 0)
    const platform = platformWith(this.#clock)
    this.replica = await openOplogReplica({
      ...{ platform, disk: this.disk, segmentBytes, segmentsMax: this.segmentsMax },
    })
    this.#episode++
    const holdings = new Map(this.replica.holdings().map((holding) => [Number(holding.vdisk), holding]))
    for (const of of this.vdisks) {
      const { episodes = [] } = holdings.get(of.vdisk) ?? {}
      for (const { damage } of episodes) assert.equal(damage, undefined)
      of.last = Math.max(of.freed, ...episodes.map(({ last }) => last))
      assert.ok(of.last >= of.acknowledged, `vDisk ${of.vdisk} lost what was acknowledged`)
      of.first = of.last + 1
    }
  }

  /** As power cuts end it: the write that is the `count`th from now is the last, and fails. */
  cutAt(count: number): void {
    let left = count
    this.disk.beforeWrite = () => {
      if (--left <= 0) throw new Error('power is gone')
    }
  }

  async append(of: Written): Promise<void> {
    const sequence = of.last + 1
    const record = makeRecord({
      ...{ vdisk: of.vdisk, sequence, episode: this.#episode, first: of.first, payload },
    })
    const id = episodeId(this.#episode)
    await settled(this.#clock, this.replica.append(vdiskId(of.vdisk), epochOf(1), id, [record]))
    of.last = of.acknowledged = sequence
  }

  free(of: Written, upTo: number): void {
    of.freed = Math.max(of.freed, upTo)
    this.replica.free(vdiskId(of.vdisk), sequenceOf(of.freed))
  }

  /** What an earlier process was told to free is freed again, as owners do. */
  freeAgain(): void {
    for (const of of this.vdisks) if (of.freed > 0) this.free(of, of.freed)
  }

  async fence(): Promise<void> {
    await settled(this.#clock, this.replica.fence(vdiskId(fenced), epochOf(++this.#epoch)))
  }

  /** Drains and copies take all that they may. */
  fill(): void {
    this.#others(this.disk.space().maintenanceFreeBytes)
  }

  /** As releases did that kept nothing for the log. */
  fillToTheBrim(): void {
    this.#others(this.disk.capacityBytes - this.disk.usedBytes)
  }

  giveBack(bytes: number): void {
    this.#others(-Math.min(bytes, this.othersBytes))
  }

  #others(bytes: number): void {
    this.othersBytes += bytes
    this.disk.usedBytes += bytes
  }

  /** Guests write on, each write freed a little later. */
  async writesOn(count: number): Promise<void> {
    const [of] = this.vdisks
    for (let i = 0; i < count; i++) {
      await this.append(of)
      this.free(of, of.last - 2)
    }
  }

  async allIsThere(): Promise<void> {
    for (const { vdisk, freed, acknowledged } of this.vdisks) {
      const there = new Set<number>()
      const episodes = this.replica.holdings().find((one) => Number(one.vdisk) === vdisk)?.episodes ?? []
      for (const { episode, first, last } of episodes)
        for (let from: number = first; from <= last;) {
          const bytes = await this.replica.read(vdiskId(vdisk), episode, sequenceOf(from), 1 * MiB)
          for (const { sequence } of recordsIn(bytes)) {
            there.add(sequence)
            from = sequence + 1
          }
        }
      for (let sequence = freed + 1; sequence <= acknowledged; sequence++)
        assert.ok(there.has(sequence), `record ${sequence} of vDisk ${vdisk} is gone`)
    }
  }
}

async function onDisk(
  capacityBytes: number,
  segmentsMax: number,
  work: (bench: Bench) => Promise<void>,
): Promise<void> {
  const folder = await temporaryFolder()
  const bench = new Bench(folder.path, capacityBytes, segmentsMax)
  try {
    await bench.open()
    await work(bench)
  } finally {
    await bench.replica.close()
    await folder.remove()
  }
}

async function refused(work: Promise<void>): Promise<boolean> {
  try {
    await work
    return false
  } catch (error) {
    if (!hasCode(error, 'OUT_OF_SPACE')) throw error
    return true
  }
}

// The last ones find what a log must not do there (sim/planted).
for (const seed of [1, 2, 3, 4, 5, 6, 9, 30, 31, 36])
  test(`a log takes fences on a full disk, after any restarts and power cuts, and guests once it is drained, seed ${seed}`, async () => {
    const below = seeded(seed * 7919)
    const segmentsMax = 4 + below(3)
    const capacityBytes = 6 * segmentBytes + below(12 * segmentBytes)
    await onDisk(capacityBytes, segmentsMax, async (bench) => {
      const { vdisks } = bench
      for (let life = 0; life < 12; life++) {
        if (below(2) === 0) bench.cutAt(1 + below(24))
        try {
          for (let steps = below(40); steps > 0; steps--) {
            const of = vdisks[below(2)]
            const what = below(12)
            if (what < 6) await refused(bench.append(of))
            else if (what < 8) bench.free(of, of.freed + below(of.acknowledged - of.freed + 1))
            else if (what < 10) bench.fill()
            else if (what < 11) bench.giveBack(below(4 * segmentBytes))
            else await bench.fence()
            assert.ok(bench.disk.usedBytes <= capacityBytes)
          }
        } catch (error) {
          if (!hasCode(error, 'DISK_FAILED')) throw error
        }
        // Without closing it first it is as after a kill.
        if (below(2) === 0 || bench.disk.state === 'failed') bench.cutAt(0)
        await bench.replica.close()
        await bench.open()
        if (below(2) === 0) bench.fill()
        if (below(3) === 0) continue
        await bench.fence()
        assert.ok(bench.segments <= segmentsMax + 2, `${bench.segments} segments`)
      }
      await bench.allIsThere()
      bench.fill()
      await bench.fence()
      for (const of of vdisks) bench.free(of, of.last)
      await bench.writesOn(60)
      await bench.open()
      await bench.allIsThere()
    })
  })

test('a log that is new when drains fill its disk is large enough for guests', async () => {
  await onDisk(10 * MiB, 4, async (bench) => {
    bench.fill()
    await bench.writesOn(40)
    await bench.open()
    await bench.fence()
    bench.freeAgain()
    await bench.writesOn(40)
  })
})

test('what restarts took of a full disk goes back to it, so that drains find what is freed', async () => {
  for (const segmentsMax of [4, 8])
    await onDisk(10 * MiB, segmentsMax, async (bench) => {
      const [of] = bench.vdisks
      await bench.writesOn(20)
      while (!(await refused(bench.append(of)))) bench.fill()
      for (let restarts = 0; restarts < 4; restarts++) {
        await bench.open()
        await bench.fence()
      }
      await bench.allIsThere()
      bench.free(of, of.last)
      await bench.fence()
      assert.equal(bench.disk.space().maintenanceFreeBytes, 0)
      bench.giveBack(MiB)
      assert.equal(bench.disk.space().maintenanceFreeBytes, MiB)
      await bench.writesOn(40)
    })
})

test('a log on a disk that an earlier release filled to the brim serves, and has what is given back before drains', async () => {
  await onDisk(10 * MiB, 4, async (bench) => {
    await bench.writesOn(10)
    await bench.open()
    await bench.fence()
    bench.fillToTheBrim()
    const { segments } = bench
    await bench.fence()
    bench.freeAgain()
    await bench.writesOn(40)
    bench.giveBack((6 - segments) * segmentBytes)
    assert.equal(bench.disk.space().maintenanceFreeBytes, 0)
    bench.giveBack(1)
    bench.fill()
    for (let restarts = 0; restarts < 5; restarts++) {
      await bench.open()
      await bench.fence()
      bench.freeAgain()
      while (!(await refused(bench.append(bench.vdisks[0]))));
      await bench.allIsThere()
    }
    bench.free(bench.vdisks[0], bench.vdisks[0].last)
    await bench.writesOn(40)
  })
})

test('a segment that could not be made leaves nothing behind in what is counted and kept', async (t) => {
  const folder = await temporaryFolder()
  t.after(folder.remove)
  let isFull = false
  const platform = fullNowAndThen(() => isFull)
  const of = { path: join(folder.path, 'disk'), cluster: 'c', disk: 'n1-flash-0' as DiskId }
  const capacityBytes = 16 * MiB
  await formatDisk(platform, { ...of, tier: 'flash', capacityBytes })
  const disk = await openDisk(platform, { ...of, node: 'n1' as NodeId })
  const replica = await openOplogReplica({ platform, disk, segmentBytes, segmentsMax: 8 })
  let sequence = 0
  const append = async (): Promise<void> => {
    const record = makeRecord({ vdisk: 1, sequence: sequence + 1, payload })
    await replica.append(vdiskId(1), epochOf(1), episodeId(1), [record])
    sequence++
  }
  for (let times = 0; times < 3; times++) {
    isFull = true
    while (!(await refused(append())));
    const segments = (await disk.list('oplog')).length
    const { usedBytes, maintenanceFreeBytes, guestFreeBytes } = disk.space()
    assert.equal(usedBytes, segments * segmentBytes)
    const kept = Math.max(2, 6 - segments) * segmentBytes
    assert.equal(maintenanceFreeBytes, capacityBytes - usedBytes - kept)
    assert.equal(guestFreeBytes, Math.floor(capacityBytes * guestShare) - 10 * segmentBytes)
    isFull = false
    await append()
  }
  await replica.close()
  await disk.close()
})

/** A file system in which, now and then, nothing new has room. */
function fullNowAndThen(isFull: () => boolean): Platform {
  const { files } = realPlatform
  const open: typeof files.open = async (path, options) => {
    const file = await files.open(path, options)
    if (options?.create !== true) return file
    return {
      read: (...given) => file.read(...given),
      write: (...given) =>
        isFull()
          ? Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }))
          : file.write(...given),
      sync: () => file.sync(),
      size: () => file.size(),
      truncate: (bytes) => file.truncate(bytes),
      close: () => file.close(),
    }
  }
  return { ...realPlatform, files: { ...files, open } }
}
