/**
 * Crash images: the files as a crash or a rotten block leaves them, opened again, against a model.
 */
import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, readSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { KiB } from '../../base/units.ts'
import {
  episodeId,
  epochOf,
  makeRecord,
  ManualClock,
  platformWith,
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

const geometry = { segmentBytes: 256 * KiB, segmentsMax: 6 }
const vdiskCount = 4

interface Written {
  readonly bytes: Buffer
  resolved: boolean
}

/** What an owner knows of its vDisk. */
interface Owner {
  epoch: number
  episode: number
  first: number
  next: number
  resolved: number
  freed: number
}

class Model {
  readonly owners = new Map<number, Owner>()
  /** By vdisk/episode/sequence. */
  readonly written = new Map<string, Written>()
  readonly fenced = new Map<number, number>()
  readonly clock = new ManualClock()
  readonly below: (below: number) => number

  constructor(seed: number) {
    this.below = seeded(seed)
    for (let vdisk = 1; vdisk <= vdiskCount; vdisk++)
      this.owners.set(vdisk, { epoch: 1, episode: 1, first: 1, next: 1, resolved: 0, freed: 0 })
  }

  owner(vdisk: number): Owner {
    return this.owners.get(vdisk) as Owner
  }

  reopen(vdisk: number): void {
    const owner = this.owner(vdisk)
    owner.episode++
    owner.first = owner.resolved + 1
    owner.next = owner.first
  }

  async append(replica: OplogReplica, vdisk: number): Promise<void> {
    const owner = this.owner(vdisk)
    const { epoch, episode, first } = owner
    const count = 1 + this.below(4)
    const records = []
    const entries: Written[] = []
    for (let index = 0; index < count; index++) {
      const payload = Buffer.alloc(
        this.below(12) === 0 ? this.below(60 * KiB) : this.below(6 * KiB),
        this.below(256),
      )
      const sequence = owner.next++
      const record = makeRecord({ vdisk, epoch, episode, first, sequence, payload })
      records.push(record)
      const entry = { bytes: Buffer.concat([record.header, payload]), resolved: false }
      entries.push(entry)
      this.written.set(`${vdisk}/${episode}/${sequence}`, entry)
    }
    const last = owner.next - 1
    try {
      await replica.append(vdiskId(vdisk), epochOf(epoch), episodeId(episode), records)
      for (const entry of entries) entry.resolved = true
      if (owner.episode === episode) owner.resolved = Math.max(owner.resolved, last)
    } catch (error) {
      assert.ok(
        hasCode(error, 'DISK_FAILED', 'OUT_OF_SPACE', 'CONFLICT', 'UNAVAILABLE', 'FENCED'),
        String(error),
      )
      if (owner.episode === episode) this.reopen(vdisk)
    }
  }

  async fence(replica: OplogReplica, vdisk: number): Promise<void> {
    const owner = this.owner(vdisk)
    owner.epoch++
    this.reopen(vdisk)
    const { epoch } = owner
    try {
      await settled(this.clock, replica.fence(vdiskId(vdisk), epochOf(epoch)))
      this.fenced.set(vdisk, epoch)
    } catch (error) {
      assert.ok(hasCode(error, 'DISK_FAILED', 'OUT_OF_SPACE'), String(error))
    }
  }

  free(replica: OplogReplica, vdisk: number): void {
    const owner = this.owner(vdisk)
    owner.freed = owner.freed + this.below(owner.resolved - owner.freed + 1)
    replica.free(vdiskId(vdisk), sequenceOf(owner.freed))
  }

  /** Random work until it is enough, or the disk has failed. */
  async work(replica: OplogReplica, steps: number): Promise<void> {
    for (let step = 0; step < steps && replica.inService; step++) {
      const vdisk = 1 + this.below(vdiskCount)
      const what = this.below(100)
      if (what < 3) await this.fence(replica, vdisk)
      else if (what < 15) this.free(replica, vdisk)
      else {
        const appends = []
        for (let index = 0; index <= this.below(5); index++)
          appends.push(this.append(replica, 1 + this.below(vdiskCount)))
        await Promise.all(appends)
      }
    }
  }

  /** Everything promised is there, or said to be damaged; nothing is there that was never written or was cut before. */
  async check(replica: OplogReplica, mayBeDamaged: boolean, context: string): Promise<void> {
    const present = new Set<string>()
    const damaged = new Set<string>()
    for (const { vdisk, episodes } of replica.holdings())
      for (const { episode, first, last, damage } of episodes) {
        for (const sequence of damage ?? []) damaged.add(`${vdisk}/${episode}/${sequence}`)
        for (let from: number = first; from <= last;) {
          if (damaged.has(`${vdisk}/${episode}/${from}`)) {
            from++
            continue
          }
          const records = recordsIn(await replica.read(vdisk, episode, sequenceOf(from), 64 * KiB))
          assert.ok(records.length > 0, `${context}: the tail ends before it says`)
          for (const record of records) {
            const key = `${vdisk}/${episode}/${from++}`
            const written = this.written.get(key)
            assert.ok(written, `${context}: record ${key} was never written, or cut before`)
            assert.ok(
              record.payload.equals(written.bytes.subarray(80)),
              `${context}: record ${key} has other bytes`,
            )
            present.add(key)
          }
        }
      }
    if (!mayBeDamaged) assert.deepEqual([...damaged], [], `${context}: damage where nothing was damaged`)
    for (const [key, { resolved }] of this.written) {
      const [vdisk, , sequence] = key.split('/').map(Number)
      if (sequence <= this.owner(vdisk).freed || present.has(key)) continue
      if (resolved && !damaged.has(key))
        assert.ok(
          mayBeDamaged && !replica.inService,
          `${context}: record ${key} was acknowledged and is gone`,
        )
      // What was cut must stay cut; what is damaged may be read another day.
      if (!damaged.has(key)) this.written.delete(key)
    }
    for (const [vdisk, epoch] of this.fenced)
      if (replica.inService)
        await assert.rejects(
          replica.append(vdiskId(vdisk), epochOf(epoch - 1), episodeId(999), [
            makeRecord({ vdisk, epoch: epoch - 1, episode: 999, sequence: 5, first: 5 }),
          ]),
          { code: 'FENCED' },
          `${context}: the fence of vDisk ${vdisk} is forgotten`,
        )
    for (const vdisk of this.owners.keys()) this.reopen(vdisk)
  }
}

/** After so many more writes, one is the last: some of its sectors reach the disk, then the power is gone. */
function losePower(
  disk: TestDisk,
  model: Model,
  writes: number,
  counts: (position: number) => boolean = () => true,
): void {
  let left = writes
  disk.beforeWrite = (name, position, buffers) => {
    if (!counts(position) || left-- > 0) return
    const bytes = Buffer.concat(buffers)
    const file = openSync(join(disk.path, name), 'r+')
    const style = model.below(3)
    const until = model.below(bytes.length / 512 + 1)
    for (let sector = 0; sector < bytes.length / 512; sector++)
      if (style === 0 ? sector < until : style === 1 ? sector >= until : model.below(2) === 0)
        writeSync(file, bytes, sector * 512, 512, position + sector * 512)
    closeSync(file)
    throw new Error('power is gone')
  }
}

function flip(path: string, at: number, mask = 1): void {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, at)
  byte[0] ^= mask
  writeSync(file, byte, 0, 1, at)
  closeSync(file)
}

async function open(disk: TestDisk, model: Model): Promise<OplogReplica> {
  return await openOplogReplica({ platform: platformWith(model.clock), disk, ...geometry })
}

const firstSeed = Number(process.env.SEED ?? 1)
const seeds = (count: number) =>
  process.env.SEED ? [firstSeed] : Array.from({ length: count }, (_, index) => index + 1)

test('after a loss of power everything acknowledged is there, no damage, and what was cut never comes back', async (t) => {
  for (const seed of seeds(25)) {
    const folder = await temporaryFolder()
    const model = new Model(seed)
    try {
      for (let round = 0; round < 4; round++) {
        const disk = new TestDisk(folder.path)
        const replica = await open(disk, model)
        await model.check(replica, false, `seed ${seed}, round ${round}`)
        const how = model.below(6)
        // The second header, and the first batch: when one use of a segment's file gives way to the next.
        if (how === 0) losePower(disk, model, model.below(10), (position) => position === 4096)
        else if (how === 1) losePower(disk, model, model.below(10), (position) => position === 8192)
        else if (how < 5) losePower(disk, model, model.below(120))
        await model.work(replica, 60)
        await replica.close()
      }
    } catch (error) {
      t.diagnostic(`SEED=${seed}`)
      throw error
    } finally {
      await folder.remove()
    }
  }
})

test('rotten bytes below the mark harm only what they hit, which is reported (F7)', async (t) => {
  let outOfService = 0
  for (const seed of seeds(40)) {
    const folder = await temporaryFolder()
    const model = new Model(seed)
    try {
      const disk = new TestDisk(folder.path)
      const replica = await open(disk, model)
      await model.work(replica, 40)
      if (model.below(2) === 0) await replica.close()
      else {
        losePower(disk, model, 0)
        await model.work(replica, 20)
        await replica.close()
      }
      rot(disk, model)
      const again = new TestDisk(folder.path)
      const reopened = await open(again, model)
      await model.check(reopened, true, `seed ${seed}`)
      if (!reopened.inService) outOfService++
      // Freed and written over, the damage is gone.
      await model.work(reopened, 40)
      await reopened.close()
      const third = await open(new TestDisk(folder.path), model)
      await model.check(third, true, `seed ${seed}, a restart later`)
      await third.close()
    } catch (error) {
      t.diagnostic(`SEED=${seed}`)
      throw error
    } finally {
      await folder.remove()
    }
  }
  t.diagnostic(`logs out of service: ${outOfService}`)
  assert.ok(process.env.SEED || outOfService < 10, 'single bad blocks must not cost a log')
})

/** Flips up to three bytes, not in what lies at the log's end. */
function rot(disk: TestDisk, model: Model): void {
  const folder = join(disk.path, 'oplog')
  const files = readdirSync(folder)
  const { end } = disk.lastWrite
  for (let count = 1 + model.below(3); count > 0; count--) {
    const name = files[model.below(files.length)]
    const at = model.below(statSync(join(folder, name)).size)
    const atTheEnd = `oplog/${name}` === disk.lastWrite.name && at >= disk.lastWrite.position && at < end
    if (!atTheEnd) flip(join(folder, name), at, 1 << model.below(8))
  }
}
