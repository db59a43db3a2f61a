import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode, NdfsError } from '../../base/errors.ts'
import { KiB, MiB } from '../../base/units.ts'
import { asVDisk, TestClock } from './fixtures.test.ts'
import { type Room, undrainedBytesPerVDiskMax, WriteGate } from './write-gate.ts'

const bytesMax = 300 * MiB
const waitMaxMs = 60_000

/** vDisks that hold what they are told to. */
class Hosts {
  readonly clock = new TestClock()
  readonly gate = new WriteGate(this.clock, bytesMax, waitMaxMs)
  readonly drains: number[] = []
  failure: NdfsError | undefined

  open(id: number, bytes = 0, entries = 0) {
    const held = { bytes, entries }
    this.gate.held(bytes)
    const end = this.gate.opened(asVDisk(id), {
      held: () => held,
      drain: () => this.drains.push(id),
      failure: () => this.failure,
    })
    return {
      end,
      holds: (now: number) => {
        this.gate.held(now - held.bytes)
        held.bytes = now
      },
      holdsEntries: (now: number) => (held.entries = now),
      /** Undefined: it went in at once, and its record is counted by what `holds` says. */
      enter: (payload = 64 * KiB): Promise<Room> | undefined => {
        const entered = this.gate.enter(asVDisk(id), payload)
        if (entered instanceof Promise) return entered
        entered?.taken()
        return undefined
      },
      ask: (payload: number) => this.gate.enter(asVDisk(id), payload),
    }
  }
}

/** Whether each of the promises has resolved by now. */
async function settled(...waiting: (Promise<unknown> | undefined)[]): Promise<boolean[]> {
  const done = waiting.map(() => false)
  waiting.forEach((one, i) => void one?.then(() => (done[i] = true)))
  await new Promise((resolve) => setImmediate(resolve))
  return done
}

test('writes go on at once while there is room', () => {
  const hosts = new Hosts()
  assert.equal(hosts.open(1, 1 * MiB).enter(), undefined)
})

test('a vDisk that holds its share waits alone (I9 I10)', async () => {
  const hosts = new Hosts()
  const full = hosts.open(1, undrainedBytesPerVDiskMax)
  const other = hosts.open(2, 1 * MiB)
  const waiting = full.enter()
  assert.ok(waiting)
  assert.equal(other.enter(), undefined)
  full.holds(undrainedBytesPerVDiskMax - 1)
  hosts.gate.left()
  assert.deepEqual(await settled(waiting), [true])
})

test('a vDisk with too many small entries waits, however few their bytes (I9)', () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, 0)
  vdisk.holdsEntries(256 * KiB - 1)
  assert.equal(vdisk.enter(0), undefined)
  vdisk.holdsEntries(256 * KiB)
  assert.ok(vdisk.enter(0))
})

test('what waits is let in in its order, and what comes later does not overtake it', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, undrainedBytesPerVDiskMax)
  const order: number[] = []
  const waiting = [1, 2, 3].map((i) => vdisk.enter()!.then(() => order.push(i)))
  vdisk.holds(1 * MiB)
  assert.ok(vdisk.enter(), 'others wait already')
  hosts.gate.left()
  await Promise.all(waiting)
  assert.deepEqual(order, [1, 2, 3])
})

test('no more are let in than there is room for: who was let in counts before it holds anything (I9)', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, undrainedBytesPerVDiskMax)
  const waiting = Array.from({ length: 10 }, () => vdisk.enter(32 * MiB))
  vdisk.holds(undrainedBytesPerVDiskMax - 64 * MiB)
  hosts.gate.left()
  const done = await settled(...waiting)
  assert.equal(done.filter(Boolean).length, 2)
})

test('those that come at once do not all find the same room (sim seed 500011)', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1)
  const rooms: Room[] = []
  const waiting: Promise<Room>[] = []
  for (let i = 0; i < 40; i++) {
    const entered = vdisk.ask(32 * MiB)
    if (entered instanceof Promise) waiting.push(entered)
    else if (entered !== undefined) rooms.push(entered)
  }
  assert.equal(rooms.length, undrainedBytesPerVDiskMax / (32 * MiB))
  for (const room of rooms.slice(1)) room.taken()
  vdisk.holds(3 * 32 * MiB)
  assert.deepEqual(await settled(waiting[0]), [false])
  rooms[0].leave()
  assert.deepEqual(await settled(waiting[0], waiting[1]), [true, false])
})

test('when the node is full each vDisk waits that holds something, and all are drained for it (I9)', async () => {
  const hosts = new Hosts()
  const holders = [1, 2, 3].map((id) => hosts.open(id, 100 * MiB))
  const empty = hosts.open(4)
  assert.equal(
    empty.enter(),
    undefined,
    'one that holds nothing is always let in: no bound can close a circle',
  )
  const waiting = holders[0].enter()
  assert.ok(waiting)
  hosts.gate.left()
  assert.deepEqual(hosts.drains, [1, 2, 3])
  holders[2].holds(1 * MiB)
  hosts.gate.left()
  assert.deepEqual(await settled(waiting), [true])
})

test('a write that waited too long is refused, and those behind it have their own time', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, undrainedBytesPerVDiskMax)
  const first = vdisk.enter()!
  const refused = assert.rejects(first, (error) => hasCode(error, 'TOO_FEW_REPLICAS'))
  await hosts.clock.pass(waitMaxMs / 2)
  const second = vdisk.enter()!
  await hosts.clock.pass(waitMaxMs / 2 + 2000)
  await refused
  assert.deepEqual(await settled(second), [false])
})

test('a write that waited too long is told what the drain failed with: no space is no space', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, undrainedBytesPerVDiskMax)
  for (const [code, told] of [
    ['OUT_OF_SPACE', 'OUT_OF_SPACE'],
    ['PEER_UNREACHABLE', 'TOO_FEW_REPLICAS'],
  ] as const) {
    hosts.failure = new NdfsError(code, 'This is why.')
    const refused = assert.rejects(vdisk.enter()!, { code: told, message: /waited 60000 ms .*This is why/ })
    await hosts.clock.pass(waitMaxMs + 2000)
    await refused
  }
})

test('when a vDisk is served no longer its waiting writes are told so', async () => {
  const hosts = new Hosts()
  const vdisk = hosts.open(1, undrainedBytesPerVDiskMax)
  const waiting = vdisk.enter()!
  vdisk.end(new NdfsError('NOT_OWNER', 'over'))
  await assert.rejects(waiting, (error) => hasCode(error, 'NOT_OWNER'))
})

test('an ownership that ends late does not end the bounds of the next one (I9)', () => {
  const hosts = new Hosts()
  const before = hosts.open(1, 0)
  const now = hosts.open(1, undrainedBytesPerVDiskMax)
  before.end(new NdfsError('NOT_OWNER', 'over'))
  assert.ok(now.enter())
})

test('what is found of space holds a moment, and for as many copies as were asked for', async () => {
  const hosts = new Hosts()
  let asked = 0
  const full = () => {
    asked++
    throw new NdfsError('OUT_OF_SPACE', 'full')
  }
  for (let i = 0; i < 3; i++) assert.ok(hasCode(hosts.gate.lackOfSpace(3, full), 'OUT_OF_SPACE'))
  assert.equal(asked, 1)
  assert.equal(
    hosts.gate.lackOfSpace(2, () => undefined),
    undefined,
  )
  await hosts.clock.pass(200)
  assert.equal(
    hosts.gate.lackOfSpace(3, () => undefined),
    undefined,
  )
  hosts.gate.spaceChanged()
  assert.ok(hasCode(hosts.gate.lackOfSpace(3, full), 'OUT_OF_SPACE'))
})
