/** When copies are scrubbed, and what becomes of those that are wrong. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../base/errors.ts'
import type { CopyNumber, DiskId, GroupId, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import { type Millis, MiB } from '../base/units.ts'
import type { Clock, Log, Timer } from '../platform/platform.ts'
import type { WalkedCopy, WalkPlace } from '../stargate/vdisk-controller/vdisk-controller.ts'
import { Scrub, type ScrubProgress } from './scrub.ts'

const hour = 3600_000
const period = 14 * 24 * hour
const copyBytes = 4 * MiB
const begin: WalkPlace = { vdisk: 0 as VDiskId, group: '' as GroupId }
const quiet = { debug: () => undefined, info: () => undefined, warn: () => undefined } as unknown as Log

/** Time goes on from timer to timer. */
class ClockOfTest implements Clock {
  readonly timers: { at: number; callback: () => void }[] = []
  time = 0
  timersMade = 0
  now = (): Millis => this.time as Millis
  wallTime = (): number => 1_000_000_000_000 + this.time
  after(ms: number, callback: () => void): Timer {
    const timer = { at: this.time + ms, callback }
    this.timers.push(timer)
    this.timersMade++
    return {
      cancel: () => void this.timers.splice(this.timers.indexOf(timer), this.timers.includes(timer) ? 1 : 0),
    }
  }
  sleep = (ms: number): Promise<void> => new Promise((resolve) => this.after(ms, resolve))
  soon = (callback: () => void): void => void this.after(0, callback)

  async pass(ms: number): Promise<void> {
    const end = this.time + ms
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve))
      const next = this.timers.sort((a, b) => a.at - b.at).at(0)
      if (next === undefined || next.at > end) break
      this.timers.shift()
      this.time = Math.max(this.time, next.at)
      next.callback()
    }
    this.time = end
  }
}

class World {
  readonly clock: ClockOfTest
  readonly copies: WalkedCopy[]
  readonly read: { readonly group: string; readonly at: number }[] = []
  readonly wrong = new Set<string>()
  readonly repairs: string[] = []
  /** Attempts that fail before one does not. */
  repairFailures = 0
  saved: ScrubProgress | undefined
  saves = 0
  periodMs: number | undefined = period
  scrub: Scrub

  constructor(copies: number, clock = new ClockOfTest()) {
    this.clock = clock
    this.copies = Array.from({ length: copies }, (_, i) => copyOf(i + 1))
    this.scrub = this.start()
  }

  /** As a process that is started again would. */
  start(): Scrub {
    this.scrub = new Scrub(
      {
        clock: this.clock,
        log: quiet,
        periodMs: () => this.periodMs,
        walk: async ({ group }) => {
          const behind = this.copies.filter((copy) => copy.group > group).slice(0, 3)
          const last = behind.at(-1)
          const isEnd = last === undefined || last === this.copies.at(-1)
          const place = { vdisk: 1 as VDiskId, group: isEnd ? ('~' as GroupId) : last.group }
          return { copies: behind, place, isEnd }
        },
        check: async ({ group }) => {
          this.read.push({ group, at: this.clock.time })
          const checked = this.wrong.has(group)
            ? ({ state: 'wrong', fault: 'bad', reason: 'the test says so' } as const)
            : ({ state: 'right' } as const)
          return { checked, bytes: copyBytes }
        },
        repair: async ({ group }) => {
          this.repairs.push(group)
          if (this.repairFailures-- > 0) throw new NdfsError('PEER_UNREACHABLE', 'its owner is away')
          return this.wrong.delete(group)
        },
        load: async () => this.saved,
        save: async (progress) => {
          this.saved = progress
          this.saves++
        },
      },
      begin,
    )
    this.scrub.start()
    return this.scrub
  }
}

function copyOf(number: number): WalkedCopy {
  const group = `1-1-${String(number).padStart(6, '0')}` as GroupId
  const disk = { node: 'n1' as NodeId, disk: 'n1-flash-0' as DiskId, incarnation: 'i' as Incarnation }
  return { vdisk: 1 as VDiskId, group, copy: { ...disk, number: 1 as CopyNumber } }
}

test('R31: the scrub reads every copy once in a period, evenly, with one timer for each', async () => {
  const world = new World(100)
  await world.clock.pass(period - 1)
  assert.deepEqual(
    world.read.map(({ group }) => group),
    world.copies.map(({ group }) => group),
  )
  for (const [i, { at }] of world.read.entries())
    assert(Math.abs(at - (i * period) / 100) < hour, `copy ${i} was read after ${at / hour} hours`)
  assert(world.clock.timersMade < 3 * 100, `${world.clock.timersMade} timers`)
  assert.equal(world.scrub.describe()!.lastCompleteAt, 1_000_000_000_000 + world.read.at(-1)!.at)
  await world.clock.pass(period)
  assert.equal(world.read.length, 200)
})

test('the scrub of a node with nothing to read has next to nothing to do', async () => {
  const world = new World(0)
  await world.clock.pass(period)
  assert(world.clock.timersMade < 500, `${world.clock.timersMade} timers`)
  assert.equal(world.scrub.describe()!.progress, 1)
})

test('the scrub goes on where it was when its node was started again', async () => {
  const world = new World(100)
  await world.clock.pass(period / 2)
  world.scrub.stop()
  assert.equal(world.read.length, 51)
  assert(world.saves < 60, `it was kept ${world.saves} times`)
  world.start()
  await world.clock.pass(period / 2 - 1)
  const once = new Set(world.read.map(({ group }) => group))
  assert.equal(once.size, 100)
  assert(world.read.length <= 102, 'no more than what was read since it was kept is read again')
})

test('what was missed while a node was down is caught up with, at four times the rate', async () => {
  const world = new World(100)
  await world.clock.pass(period / 10)
  world.scrub.stop()
  const before = world.read.length
  await world.clock.pass(period / 2)
  world.start()
  const startedAt = world.clock.time
  await world.clock.pass(period / 10)
  const caughtUp = world.read.length - before
  assert(caughtUp > 35 && caughtUp <= 42, `${caughtUp} copies in a tenth of the period`)
  await world.clock.pass(startedAt + period)
  assert(new Set(world.read.map(({ group }) => group)).size === 100)
})

test('a clock that jumps neither stops the scrub nor hurries it', async () => {
  const world = new World(100)
  await world.clock.pass(period / 10)
  const wallTime = world.clock.wallTime
  world.clock.wallTime = () => wallTime() - 400 * 24 * hour
  await world.clock.pass(2 * period)
  assert(world.read.length > 100, `${world.read.length} copies were read`)
})

test('a wrong copy goes to its owner at once, and again until its row names another', async () => {
  const world = new World(10)
  const { group } = world.copies[4]
  world.wrong.add(group)
  world.repairFailures = 2
  await world.clock.pass(period - 1)
  assert.deepEqual(world.repairs, [group, group, group])
  const { found, repaired, waiting } = world.scrub.describe()!
  assert.deepEqual({ found, repaired, waiting }, { found: 1, repaired: 1, waiting: 0 })
})

test('a scrub that is turned off reads nothing, and one that is turned on again goes on', async () => {
  const world = new World(100)
  world.periodMs = undefined
  await world.clock.pass(period)
  assert(world.read.length <= 1)
  world.periodMs = hour
  world.scrub.look()
  await world.clock.pass(hour)
  assert.equal(new Set(world.read.map(({ group }) => group)).size, 100)
})
