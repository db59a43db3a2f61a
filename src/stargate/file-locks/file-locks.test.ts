import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../../base/errors.ts'
import type { Faults } from '../namespace/fixtures.test.ts'
import { type LockAnswer, locksMax } from './file-locks.ts'
import { clientOf, file, LockWorld, ownerOf, seenBy, wanted } from './fixtures.test.ts'
import type { NodeFileLocks } from './medusa-file-locks.ts'
import { decodeLocksRow } from './rows.ts'

const ours = ownerOf(clientOf('ours'), 1)
const theirs = ownerOf(clientOf('theirs'), 1)
const outcomeOf = async (answer: Promise<LockAnswer>): Promise<string> => (await answer).outcome

test('offsets and lengths have all 64 bits, and a lock to the end goes on for ever', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  const last = { start: 2n ** 64n - 1n, end: 2n ** 64n }
  const whole = { start: 0n, end: 2n ** 64n - 1n }
  assert.equal(await outcomeOf(locks.lock(file, { owner: ours, exclusive: true, range: last })), 'granted')
  assert.equal(await outcomeOf(locks.lock(file, { owner: theirs, exclusive: true, range: whole })), 'granted')
  const answer = await stage.node('n2').lock(file, wanted(theirs, false, 5))
  assert.deepEqual(answer, { outcome: 'denied', holder: { owner: ours, exclusive: true, range: last } })
  await locks.unlock(file, ours, last)
  assert.equal(await outcomeOf(locks.lock(file, wanted(theirs, false, 5))), 'granted')
  assert.equal((await locks.test(file, wanted(ours, true, 2 ** 40))) !== undefined, true)
  stage.close()
})

test('a client that starts again, as a notice or a lock tells, loses what it had and nothing else', async () => {
  const stage = new LockWorld()
  const [one, two] = [stage.node('n1'), stage.node('n2')]
  const { client } = ours
  const state = 5
  assert.equal(await outcomeOf(one.lock(file, wanted(ours, true, 0, 5), { state })), 'granted')
  assert.equal(await outcomeOf(one.lock('43', wanted(ours, true, 0, 5), { state })), 'granted')
  assert.equal(await outcomeOf(one.lock(file, wanted(theirs, true, 5, 9))), 'granted')
  // That it is in this state is known: a notice that comes late ends nothing.
  await two.started(client, state)
  assert.equal(await seenBy(two), '2222222220000')
  await two.started(client, state + 2)
  assert.equal(await seenBy(two), '0000022220000')
  assert.equal(await one.test('43', wanted(theirs, true, 0)), undefined)
  assert.equal(await outcomeOf(one.lock(file, wanted(ours, true, 0, 2), { state: state + 2 })), 'granted')
  assert.equal(await outcomeOf(two.lock(file, wanted(ours, true, 3, 4), { state: state + 4 })), 'granted')
  assert.equal(await seenBy(one), '0002022220000')
  await two.started(client, state + 4)
  assert.equal(await seenBy(one), '0002022220000')
  await two.release(client)
  assert.equal(await seenBy(one), '0000022220000')
  // What is void goes when the row is written.
  await one.lock(file, wanted(ours, false, 12))
  const locks = stage.world.dump('lock').get(`file ${file}`)!.get('locks')!
  assert.ok(locks.length < 150, String(locks.length))
  stage.close()
})

test('who never asked for a lock leaves no row by saying that it has started again', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await locks.started(ours.client, 5)
  await locks.release(theirs.client)
  assert.equal(stage.world.dump('lock').size, 0)
  // Also without a state of its own it is known from its first lock.
  await locks.lock(file, wanted(ours, true, 0))
  await locks.started(ours.client, 5)
  assert.equal(await seenBy(locks), '0000000000000')
  stage.close()
})

test('a lock that crosses the end of its client is not granted', async () => {
  const stage = new LockWorld()
  const other = stage.node('n2')
  const crossing = stage.node('n1', {
    slow: () => 50,
  })
  await other.lock('43', wanted(ours, true, 0))
  const answer = outcomeOf(crossing.lock(file, wanted(ours, true, 0)))
  await stage.world.clock.sleep(20)
  await other.release(ours.client)
  assert.equal(await answer, 'released')
  assert.equal(await other.test(file, wanted(theirs, true, 0)), undefined)
  stage.close()
})

async function crossed(isKnown: boolean): Promise<void> {
  const stage = new LockWorld()
  const other = stage.node('n2')
  const crossing = stage.node('n1', { slow: () => 50 })
  if (isKnown) await other.lock(file, wanted(ours, false, 8), { state: 3 })
  // Owners are counted from the start of the client: the same one again.
  const former = outcomeOf(crossing.lock(file, wanted(ours, true, 0), { state: 3 }))
  await stage.world.clock.sleep(20)
  await other.started(ours.client, 5)
  assert.equal(await outcomeOf(other.lock(file, wanted(ours, true, 0), { state: 5 })), 'granted')
  assert.equal(await former, 'released')
  assert.equal(await outcomeOf(other.lock(file, wanted(theirs, true, 0))), 'denied')
  stage.close()
}

test('a lock that was asked for in a former life takes nothing from the present one', () => crossed(true))

test('nor does one that finds the present one begun as it tells of its own', () => crossed(false))

test("a lock that was asked for in a former life, and comes after the next has begun, is nobody's", async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await locks.lock(file, wanted(ours, true, 5, 6), { state: 3 })
  await locks.started(ours.client, 5)
  assert.notEqual(await outcomeOf(locks.lock(file, wanted(ours, true, 0), { state: 3 })), 'granted')
  stage.close()
})

test('a client that has lost count of its starts is believed as it asks again', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await locks.lock(file, wanted(ours, true, 5, 6), { state: 9 })
  const asked = () => outcomeOf(locks.lock(file, wanted(ours, true, 0, 2), { state: 3 }))
  assert.deepEqual([await asked(), await asked()], ['released', 'released'])
  await stage.world.clock.sleep(5000)
  assert.equal(await asked(), 'granted')
  // If it was a call of a former life after all the present one has lost nothing.
  assert.equal(await seenBy(locks), '2200020000000')
  await locks.started(ours.client, 5)
  assert.equal(await seenBy(locks), '0000000000000')
  stage.close()
})

test('unlocking in the middle, again and again, does not let the row grow without end', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await locks.lock(file, wanted(ours, true, 0))
  for (let i = 0; i <= locksMax; i++)
    await locks
      .unlock(file, ours, { start: BigInt(2 * i + 1), end: BigInt(2 * i + 2) })
      .catch((error: unknown) => assert.ok(hasCode(error, 'OUT_OF_SPACE')))
  const bytes = stage.world.dump('lock').get(`file ${file}`)!.get('locks')!
  const { locks: held } = decodeLocksRow(bytes)
  assert.equal(held.length, locksMax)
  await locks.unlock(file, ours, wanted(ours, true, 0).range)
  assert.equal(await seenBy(locks), '0000000000000')
  stage.close()
})

for (const how of ['unlock', 'cancel'] as const)
  test(`${how} of a former life frees nothing of the present one`, async () => {
    const stage = new LockWorld()
    const other = stage.node('n2')
    const crossing = stage.node('n1', { slow: () => 50 })
    const lock = wanted(ours, true, 0)
    await other.lock(file, lock, { state: 3, offer: 'former' })
    const former = how === 'unlock' ? crossing.unlock(file, ours, lock.range) : crossing.cancel(file, lock)
    await stage.world.clock.sleep(20)
    await other.started(ours.client, 5)
    await other.lock(file, lock, { state: 5, offer: 'present' })
    await former
    assert.equal(await outcomeOf(other.lock(file, wanted(theirs, true, 0))), 'denied')
    stage.close()
  })

for (const how of ['unlock', 'cancel'] as const)
  test(`a lock that is still under way is made impossible by ${how}`, async () => {
    const stage = new LockWorld()
    const locks = stage.node('n1')
    const lock = wanted(ours, true, 0)
    const locking = outcomeOf(locks.lock(file, lock, how === 'cancel' ? { offer: 'o1' } : {}))
    await (how === 'unlock' ? locks.unlock(file, ours, lock.range) : locks.cancel(file, lock))
    await locking
    assert.equal(await outcomeOf(locks.lock(file, wanted(theirs, true, 0))), 'granted')
    stage.close()
  })

test('a file has as many locks as it may, and those that are void do not count', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await Promise.all(
    Array.from({ length: locksMax }, (_, i) => locks.lock(file, wanted(ours, true, 2 * i, 2 * i + 1))),
  )
  const more = () => outcomeOf(locks.lock(file, wanted(theirs, true, 4 * locksMax)))
  assert.equal(await more(), 'full')
  await locks.started(ours.client, 7)
  assert.equal(await more(), 'granted')
  // Neither may many owners with long names fill the row.
  const outcomes = new Set<string>()
  for (let i = 0; i < 400; i++) {
    const owner = { ...ours, owner: Buffer.alloc(1024, i) }
    outcomes.add(await outcomeOf(locks.lock(file, wanted({ ...owner, svid: i }, false, i, i + 1))))
  }
  assert.deepEqual([...outcomes], ['granted', 'full'])
  stage.close()
})

test('a file that nobody locks any more leaves no row', async () => {
  const stage = new LockWorld()
  const locks = stage.node('n1')
  await locks.unlock(file, ours, { start: 0n, end: 1n })
  assert.deepEqual([...stage.world.dump('lock').get(`file ${file}`)!.keys()], [])
  await locks.lock(file, wanted(ours, true, 0))
  await locks.unlock(file, ours, { start: 0n, end: 2n ** 64n })
  assert.deepEqual([...stage.world.dump('lock').get(`file ${file}`)!.keys()], [])
  stage.close()
})

test('a node that was denied a lock for somebody who waits hears once of what gets free', async () => {
  const stage = new LockWorld()
  const [one, two] = [stage.node('n1'), stage.node('n2')]
  const heard: string[] = []
  two.onFreed = (freed) => heard.push(freed)
  const wait = () => outcomeOf(two.lock(file, wanted(theirs, true, 0, 2), { waits: true }))
  await one.lock(file, wanted(ours, true, 0, 4))
  assert.equal(await wait(), 'denied')
  assert.equal(await wait(), 'denied')
  await one.unlock(file, ours, { start: 6n, end: 7n })
  assert.deepEqual(stage.told, [])
  await one.unlock(file, ours, { start: 3n, end: 4n })
  assert.deepEqual(stage.told, [`n2 ${file}`])
  assert.deepEqual(heard, [file])
  await one.unlock(file, ours, { start: 2n, end: 3n })
  assert.deepEqual(stage.told, [`n2 ${file}`])
  assert.equal(await wait(), 'denied')
  // From exclusive to shared lets others in, too.
  await one.lock(file, wanted(ours, false, 0, 2))
  assert.equal(stage.told.length, 2)
  assert.equal(await outcomeOf(two.lock(file, wanted(theirs, false, 0, 2))), 'granted')
  // So does an offer, once it is accepted.
  await one.lock(file, wanted(ours, true, 6, 8))
  assert.equal(await outcomeOf(two.lock(file, wanted(theirs, false, 6, 8), { waits: true })), 'denied')
  await one.lock(file, wanted(ours, false, 6, 8), { offer: 'shared' })
  assert.equal(stage.told.length, 2)
  await one.accept(file, 'shared')
  assert.equal(stage.told.length, 3)
  assert.equal(await outcomeOf(two.lock(file, wanted(theirs, false, 6, 8))), 'granted')
  stage.close()
})

/** `one` has 2..6 exclusively and 6..9 shared, and an offer; `two` waits. */
async function prepare(locks: NodeFileLocks): Promise<void> {
  await locks.lock(file, wanted(ours, true, 2, 6), { state: 3 })
  await locks.lock(file, wanted(ours, false, 6, 9), { state: 3 })
  await locks.lock(file, wanted(ours, true, 8, 11), { state: 3, offer: 'offer' })
  await locks.lock(file, wanted(theirs, true, 4, 5), { waits: true })
}

const operations: Record<string, (locks: NodeFileLocks) => Promise<unknown>> = {
  lock: (locks) => locks.lock(file, wanted(theirs, false, 6, 8), { state: 9 }),
  'lock after a start': (locks) => locks.lock(file, wanted(ours, true, 0, 2), { state: 5 }),
  'lock with an offer': (locks) => locks.lock(file, wanted(theirs, true, 0, 2), { offer: 'other' }),
  downgrade: (locks) => locks.lock(file, wanted(ours, false, 3, 7)),
  'unlock a part': (locks) => locks.unlock(file, ours, { start: 3n, end: 7n }),
  cancel: (locks) => locks.cancel(file, wanted(ours, true, 8, 11)),
  accept: (locks) => locks.accept(file, 'offer'),
  withdraw: (locks) => locks.withdraw(file, 'offer'),
  started: (locks) => locks.started(ours.client, 5),
  release: (locks) => locks.release(ours.client),
}

for (const [what, operation] of Object.entries(operations))
  test(`locks, node dies, or outcomes are lost: ${what} is there whole or not at all, and once`, async () => {
    const without = new LockWorld()
    await prepare(without.node('n1'))
    const before = await seenBy(without.node('n2'))
    const changesBefore = without.world.changes
    await operation(without.node('n1'))
    const changes = without.world.changes - changesBefore
    const after = await seenBy(without.node('n2'))
    without.close()
    assert.ok(changes > 0, what)

    for (let at = 0; at < changes; at++)
      for (const fate of ['dead', 'made, unknown', 'not made, unknown'] as const) {
        const stage = new LockWorld(at + 1)
        await prepare(stage.node('n1'))
        let count = 0
        const faults: Faults = { onChange: () => (count++ === at ? fate : undefined) }
        const done = operation(stage.node('n1', faults))
        if (fate === 'dead') {
          while (!faults.dead) await stage.world.clock.sleep(1)
          const left = await seenBy(stage.node('n2'))
          // Where the client has started again, and has not got what it asked for, it has nothing.
          assert.ok([before, after, '0000000000000'].includes(left), `${what}: ${left}`)
          await operation(stage.node('n2'))
        } else await done
        assert.equal(await seenBy(stage.node('n2')), after, `${what}, ${fate}, change ${at}`)
        stage.close()
      }
  })
