import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import { KiB, MiB } from '../../base/units.ts'
import type { WorkClass } from '../io/io.ts'
import { maintenanceClasses, shares } from './shares.ts'
import { createAdmissionControl } from './weighted-admission.ts'

const bounds = { outstandingBytesMax: 16 * MiB, outstandingMax: 8, waitingMax: 1000 }

/** Numbers that look random and repeat with their seed (mulberry32). */
function chanceFrom(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** Lets all promises that are settled now be heard. */
const settled = async () => {
  for (let i = 0; i < 3; i++) await Promise.resolve()
}

/** Keeps `perClass` requests of each class wanting in, and ends one that is under way at each step. */
async function bytesAdmitted(
  classes: readonly WorkClass[],
  options: { seed: number; steps: number; logFill?: number },
): Promise<Map<WorkClass, number>> {
  const control = createAdmissionControl({ ...bounds, outstandingMax: 32 })
  control.logFill = options.logFill ?? 0
  const chance = chanceFrom(options.seed)
  const admitted = new Map<WorkClass, number>(classes.map((work) => [work, 0]))
  const underWay: { work: WorkClass; bytes: number }[] = []
  const want = (work: WorkClass): void => {
    const bytes = 4 * KiB * (1 + chance(64))
    void control.enter(work, bytes).then(() => {
      admitted.set(work, (admitted.get(work) ?? 0) + bytes + 16 * KiB)
      underWay.push({ work, bytes })
      want(work)
    })
  }
  for (const work of classes) for (let i = 0; i < 40; i++) want(work)
  await settled()
  for (let step = 0; step < options.steps; step++) {
    const [done] = underWay.splice(chance(underWay.length), 1)
    control.leave(done.work, done.bytes)
    await settled()
  }
  return admitted
}

const total = (admitted: Map<WorkClass, number>) => [...admitted.values()].reduce((sum, bytes) => sum + bytes)

// Seed, admission control: guest I/O is balanced against maintenance.
test('R19: admission control shares 75 : 25 between guests and maintenance while both wait', async (t) => {
  const seed = 20_261_121
  t.diagnostic(`seed ${seed}`)
  for (const rival of maintenanceClasses) {
    const admitted = await bytesAdmitted(['guest', rival], { seed, steps: 4000 })
    const share = (admitted.get('guest') ?? 0) / total(admitted)
    assert.ok(share > 0.73 && share < 0.77, `guests got ${share} beside ${rival}`)
  }
  const all = await bytesAdmitted(['guest', ...maintenanceClasses], { seed, steps: 4000 })
  const share = (all.get('guest') ?? 0) / total(all)
  assert.ok(share > 0.73 && share < 0.77, `guests got ${share} beside all others`)
})

test('no class of work starves, however full the log', async (t) => {
  const seed = 7
  t.diagnostic(`seed ${seed}`)
  for (const logFill of [0, 0.5, 1]) {
    const admitted = await bytesAdmitted(['guest', ...maintenanceClasses], { seed, steps: 4000, logFill })
    for (const [work, bytes] of admitted) assert.ok(bytes > 0, `${work} got nothing at log fill ${logFill}`)
  }
})

test('draining gets more as the log fills, at the cost of other maintenance', async () => {
  const calm = await bytesAdmitted(['guest', 'drain', 'repair'], { seed: 3, steps: 3000 })
  const full = await bytesAdmitted(['guest', 'drain', 'repair'], { seed: 3, steps: 3000, logFill: 1 })
  const drainShare = (admitted: Map<WorkClass, number>) => (admitted.get('drain') ?? 0) / total(admitted)
  assert.ok(drainShare(full) > 1.5 * drainShare(calm))
})

test('shares add up to 100, guests keep 75, and draining never gets less as the log fills', () => {
  let before = 0
  for (let fill = 0; fill <= 1; fill += 0.05) {
    const now = shares(fill)
    assert.ok(Math.abs(Object.values(now).reduce((sum, share) => sum + share) - 100) < 1e-9)
    assert.equal(now.guest, 75)
    assert.ok(now.drain >= before)
    before = now.drain
  }
})

test('whoever is alone gets all of the bounds', () => {
  for (const work of ['guest', ...maintenanceClasses] as const) {
    const control = createAdmissionControl(bounds)
    for (let i = 0; i < bounds.outstandingMax; i++) assert.ok(control.tryEnter(work, 4 * KiB))
    assert.equal(control.tryEnter(work, 4 * KiB), false)
  }
})

test('a class that was away has saved up no turns and owes none', async () => {
  const control = createAdmissionControl({ ...bounds, outstandingMax: 1 })
  for (let i = 0; i < 1000; i++) {
    assert.ok(control.tryEnter('scrub', KiB))
    control.leave('scrub', KiB)
  }
  assert.ok(control.tryEnter('guest', KiB))
  const order: WorkClass[] = []
  for (const work of ['guest', 'scrub', 'guest', 'scrub', 'guest', 'guest'] as const)
    void control.enter(work, KiB).then(() => order.push(work))
  for (let i = 0; i < 6; i++) {
    control.leave(order.at(-1) ?? 'guest', KiB)
    await settled()
  }
  assert.equal(order.length, 6)
  assert.ok(order.slice(0, 4).includes('scrub'), 'scrub pays for what it got while it was alone')
  assert.ok(order.slice(0, 3).includes('guest'), 'scrub keeps guests out')
})

test('tryEnter overtakes nobody who waits', async () => {
  const control = createAdmissionControl({ ...bounds, outstandingMax: 2 })
  assert.ok(control.tryEnter('guest', 15 * MiB))
  let entered = false
  void control.enter('guest', 4 * MiB).then(() => (entered = true))
  assert.equal(control.tryEnter('guest', KiB), false, 'a small one slipped past a large one of its class')
  assert.equal(control.tryEnter('scrub', KiB), false, 'another class took the room that a waiter needs')
  control.leave('guest', 15 * MiB)
  await settled()
  assert.ok(entered)
})

test('waiters of one class go in the order in which they came', async () => {
  const control = createAdmissionControl({ ...bounds, outstandingMax: 1 })
  assert.ok(control.tryEnter('guest', KiB))
  const order: number[] = []
  for (let i = 0; i < 100; i++) void control.enter('guest', KiB).then(() => order.push(i))
  for (let i = 0; i < 100; i++) {
    control.leave('guest', KiB)
    await settled()
  }
  assert.deepEqual(
    order,
    Array.from({ length: 100 }, (_, i) => i),
  )
})

test('a line that is full rejects with UNAVAILABLE and leaves the lines of others open', async () => {
  const control = createAdmissionControl({ ...bounds, outstandingMax: 1, waitingMax: 3 })
  assert.ok(control.tryEnter('guest', KiB))
  for (let i = 0; i < 3; i++) void control.enter('guest', KiB)
  await assert.rejects(control.enter('guest', KiB), (error) => hasCode(error, 'UNAVAILABLE'))
  void control.enter('repair', KiB)
  assert.equal(control.statistics().repair.waiting, 1)
  assert.equal(control.statistics().guest.waiting, 3)
})

test('a request larger than the bound goes when it is alone', async () => {
  const control = createAdmissionControl(bounds)
  assert.ok(control.tryEnter('guest', 32 * MiB))
  assert.equal(control.tryEnter('guest', KiB), false)
  let entered = false
  void control.enter('guest', 32 * MiB).then(() => (entered = true))
  await settled()
  assert.equal(entered, false)
  control.leave('guest', 32 * MiB)
  await settled()
  assert.ok(entered)
})

test('a drain never waits for guests that wait for it, and more drains run as the log fills (M9)', async () => {
  const control = createAdmissionControl(bounds)
  for (let i = 0; i < bounds.outstandingMax; i++) assert.ok(control.tryEnter('guest', 4 * KiB))
  void control.enter('guest', 4 * KiB)
  assert.ok(control.tryEnter('drain', MiB), 'the first drain waits for guests')
  assert.equal(control.tryEnter('drain', MiB), false)
  let entered = 0
  for (let i = 0; i < 8; i++) void control.enter('drain', MiB).then(() => entered++)
  await settled()
  assert.equal(entered, 0)
  control.logFill = 1
  await settled()
  assert.equal(entered, 3, 'half of the bounds, with the one under way')
})
