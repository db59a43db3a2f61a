import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../platform/platform.ts'
import { diskRef } from './fixtures.test.ts'
import { RepairLine, type RepairSource } from './repair-line.ts'

class Source implements RepairSource {
  readonly name: string
  readonly lefts: number[]
  readonly order: string[]
  readonly ends: (() => void)[] = []

  constructor(name: string, lefts: number[], order: string[]) {
    this.name = name
    this.lefts = lefts
    this.order = order
  }

  get next(): number | undefined {
    return this.lefts[0]
  }

  workOne(): Promise<void> {
    this.order.push(`${this.name}${this.lefts.shift()}`)
    return new Promise((resolve) => this.ends.push(resolve))
  }
}

const noGuests = () => ({ underWay: 0, begun: 0 })

const settled = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await Promise.resolve()
}

test('the most endangered group of all vDisks goes first, alike ones take turns, so many at once', async () => {
  const order: string[] = []
  const a = new Source('a', [1, 1, ...Array<number>(8).fill(2)], order)
  const b = new Source('b', Array<number>(7).fill(2), order)
  const c = new Source('c', [1], order)
  const line = new RepairLine({ now: () => 0 } as unknown as Clock, () => [a, b, c], noGuests)
  line.wake()
  line.wake()
  const turns = Array<string[]>(6).fill(['b2', 'a2']).flat()
  assert.deepEqual(order, ['a1', 'c1', 'a1', ...turns, 'b2'])
  a.ends[0]()
  await settled()
  assert.deepEqual(order.slice(16), ['a2'])
  for (const end of [...a.ends, ...b.ends, ...c.ends]) end()
  await settled()
  assert.deepEqual(order.slice(17), ['a2'])
})

test('beside guests one copy is made at a time, and then none for up to five times as long', async () => {
  let now = 0
  let guests = 32
  let begun = 0
  const timers: { readonly at: number; readonly act: () => void }[] = []
  const after = (ms: number, act: () => void) => timers.push({ at: now + ms, act })
  const order: string[] = []
  const a = new Source('a', [1, 2, 3, 4, 5, 6, 7, 8, 9], order)
  const clock = { now: () => now, after } as unknown as Clock
  const line = new RepairLine(
    clock,
    () => [a],
    () => ({ underWay: guests, begun }),
  )
  const endAt = async (ms: number): Promise<void> => {
    now = ms
    a.ends.shift()?.()
    await settled()
  }
  line.wake()
  line.wake()
  assert.deepEqual(order, ['a1'])
  await endAt(10)
  assert.deepEqual([order.length, timers.map(({ at }) => at)], [1, [50]])
  now = 50
  timers.shift()?.act()
  guests = 4
  assert.deepEqual(order, ['a1', 'a2'])
  await endAt(70)
  assert.equal(timers[0].at, 150, 'what was there when it began counts too')
  now = 150
  timers.shift()?.act()
  await endAt(170)
  assert.equal(timers[0].at, 180)
  now = 180
  guests = 0
  timers.shift()?.act()
  // What memory answers at once is not under way at any moment.
  begun += 16 * 20
  await endAt(200)
  assert.equal(timers[0].at, 240)
  now = 240
  timers.shift()?.act()
  assert.deepEqual(order, ['a1', 'a2', 'a3', 'a4', 'a5'])
  await endAt(250)
  assert.equal(order.length, 9, 'as many at once as there may be')
})

test('what is on its way to a disk counts until its space shows it', () => {
  let now = 0
  const line = new RepairLine({ now: () => now } as unknown as Clock, () => [], noGuests)
  const done = line.sends(diskRef('n1'), 100)
  line.sends(diskRef('n2'), 7)
  assert.equal(line.onTheWay(diskRef('n1')), 100)
  done()
  now = 1999
  assert.equal(line.onTheWay(diskRef('n1')), 100)
  now = 2000
  assert.equal(line.onTheWay(diskRef('n1')), 0)
  assert.equal(line.onTheWay(diskRef('n2')), 7)
})

test('the rate is that of the last seconds', () => {
  let now = 0
  const line = new RepairLine({ now: () => now } as unknown as Clock, () => [], noGuests)
  assert.equal(line.bytesPerSecond, 0)
  for (; now < 20_000; now += 100) line.repaired(1000)
  assert.ok(Math.abs(line.bytesPerSecond - 10_000) < 300, String(line.bytesPerSecond))
  now += 10_100
  assert.equal(line.bytesPerSecond, 0)
})
