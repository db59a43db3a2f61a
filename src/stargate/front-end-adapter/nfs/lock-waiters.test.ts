/** Waiters of two nodes over one store, on time that runs only as they wait; what clients answer is the test's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientOf, file, LockWorld, ownerOf, seenBy, wanted } from '../../file-locks/fixtures.test.ts'
import { excludeEachOther, type FileLock } from '../../file-locks/file-locks.ts'
import type { NodeFileLocks } from '../../file-locks/medusa-file-locks.ts'
import { type Faults, quietLog } from '../../namespace/fixtures.test.ts'
import { type Heard, LockWaiters, type LockWait } from './lock-waiters.ts'

const owner = (name: string) => ownerOf(clientOf(name), 1)
const [holder, one, two, three] = ['holder', 'one', 'two', 'three'].map(owner)
const nothing = '0000000000000'

const waiting: LockWaiters[] = []

/** Nobody looks any more. */
function end(stage: LockWorld): void {
  for (const waiters of waiting.splice(0)) waiters.close()
  stage.close()
}

class Node {
  readonly locks: NodeFileLocks
  readonly waiters: LockWaiters
  /** Clients that were called, in order. */
  readonly told: string[] = []
  /** What each answers; `taken` where nothing is said. */
  answer: (name: string, calls: number) => Heard | Promise<Heard> = () => 'taken'
  /** Until a call has its turn. */
  lineMs = 0
  /** In place of `answer`. */
  tells: ((wait: LockWait) => Promise<Heard>) | undefined
  readonly #stage: LockWorld

  constructor(stage: LockWorld, name: string, faults?: Faults) {
    this.#stage = stage
    const { clock, chance } = stage.world
    this.locks = stage.node(name, faults)
    this.waiters = new LockWaiters({
      ...{ locks: this.locks, clock, chance, log: quietLog },
      tell: async (wait: LockWait, begins: () => boolean) => {
        await clock.sleep(this.lineMs)
        if (!begins()) return 'unreached'
        const { name: client } = wait.wanted.owner.client
        this.told.push(client)
        if (this.tells !== undefined) return this.tells(wait)
        await clock.sleep(1)
        return this.answer(client, this.told.filter((each) => each === client).length)
      },
    })
    waiting.push(this.waiters)
  }

  /** As the service does with a LOCK that waits. */
  async ask(lock: FileLock): Promise<string> {
    const { outcome } = await this.locks.lock(file, lock, { waits: true })
    if (outcome === 'granted') await this.waiters.drop(file, lock)
    if (outcome !== 'denied') return outcome
    const { host } = lock.owner.client
    const named = { caller: lock.owner.client.name, handle: Buffer.of(1), owner: lock.owner.owner, svid: 1 }
    const wait = { file, wanted: lock, state: 0, client: { host, localHost: '' } }
    return (await this.waiters.add({ ...wait, lock: { ...named, offset: 0n, length: 0n } }))
      ? 'blocked'
      : 'full'
  }

  async cancel(lock: FileLock): Promise<void> {
    const dropped = this.waiters.drop(file, lock)
    await this.locks.cancel(file, lock)
    await dropped
  }

  async unlock(lock: FileLock): Promise<void> {
    const dropped = this.waiters.dropRange(file, lock.owner, lock.range)
    await this.locks.unlock(file, lock.owner, lock.range)
    await dropped
  }

  /** Runs time on. */
  async pass(ms: number): Promise<void> {
    await this.#stage.world.clock.sleep(ms)
  }
}

const start = (): { stage: LockWorld; near: Node; far: Node } => {
  const stage = new LockWorld(3)
  stage.world.delayMs = 2
  return { stage, near: new Node(stage, 'near'), far: new Node(stage, 'far') }
}

const all = wanted(holder, true, 0)

test('who waits at a node is told in the order in which they came, whichever node frees the lock', async () => {
  const { stage, near, far } = start()
  assert.equal(await far.ask(all), 'granted')
  for (const each of [one, two, three]) assert.equal(await near.ask(wanted(each, true, 0, 4)), 'blocked')
  assert.equal(near.waiters.count, 3)
  await far.unlock(all)
  await near.pass(200)
  assert.deepEqual(near.told, ['one'])
  await near.unlock(wanted(one, true, 0, 4))
  await near.pass(200)
  assert.deepEqual(near.told, ['one', 'two'])
  await far.unlock(wanted(two, true, 0, 4))
  await near.pass(200)
  assert.deepEqual([near.told, far.told], [['one', 'two', 'three'], []])
  assert.equal(await far.ask(wanted(one, false, 3, 5)), 'blocked')
  await near.unlock(wanted(three, true, 0))
  await near.pass(200)
  assert.deepEqual(far.told, ['one'])
  assert.equal(near.waiters.count + far.waiters.count, 0)
  end(stage)
})

test('one that waits for other bytes does not wait behind, and those who share are told together', async () => {
  const { stage, near } = start()
  await near.ask(wanted(holder, true, 0, 4))
  assert.equal(await near.ask(wanted(one, true, 2, 4)), 'blocked')
  assert.equal(await near.ask(wanted(two, false, 0, 2)), 'blocked')
  assert.equal(await near.ask(wanted(three, false, 0, 2)), 'blocked')
  await near.unlock(wanted(holder, true, 0, 2))
  await near.pass(100)
  assert.deepEqual(near.told.sort(), ['three', 'two'])
  assert.equal(near.waiters.count, 1)
  end(stage)
})

test('what got free without being told is found by looking', async () => {
  const { stage, near, far } = start()
  await far.ask(all)
  await near.ask(wanted(one, true, 0))
  await far.locks.release(holder.client)
  await near.pass(9000)
  assert.deepEqual(near.told, ['one'])
  end(stage)
})

test('a client that is not reached loses its turn, and the next one has it', async () => {
  const { stage, near } = start()
  near.answer = (name) => (name === 'one' ? 'unreached' : 'taken')
  await near.ask(all)
  await near.ask(wanted(one, true, 0))
  await near.ask(wanted(two, true, 0))
  await near.unlock(all)
  await near.pass(20_000)
  assert.equal(near.told.at(-1), 'two')
  assert.ok(near.told.length > 4)
  await near.unlock(wanted(two, true, 0))
  assert.equal(await seenBy(near.locks), nothing)
  end(stage)
})

test('a client that denies does not have the lock, unless a call before that may have reached it', async () => {
  for (const [answers, seen] of [
    [['refused'], nothing],
    [['later', 'refused'], nothing],
    [['unreached', 'refused'], nothing],
    [['unanswered', 'refused'], '2222222222222'],
    [['unanswered', 'unreached', 'taken'], '2222222222222'],
  ] as [Heard[], string][]) {
    const { stage, near } = start()
    near.answer = (_, calls) => answers[calls - 1]
    await near.ask(all)
    await near.ask(wanted(one, true, 0))
    await near.unlock(all)
    await near.pass(8000)
    stage.world.delayMs = 0
    assert.deepEqual([near.told.length, await seenBy(near.locks)], [answers.length, seen], answers.join())
    // Whoever has it can give it back.
    await near.unlock(wanted(one, true, 0))
    assert.equal(await seenBy(near.locks), nothing)
    end(stage)
  }
})

test('who answers nothing keeps the lock until it starts again', async () => {
  const { stage, near } = start()
  near.answer = (name) => (name === 'one' ? 'unanswered' : 'taken')
  await near.ask(all)
  await near.ask(wanted(one, true, 0))
  await near.ask(wanted(two, true, 0))
  await near.unlock(all)
  await near.pass(80_000)
  assert.ok(!near.told.includes('two'))
  await near.locks.started(one.client, 9)
  await near.pass(9000)
  assert.equal(near.told.at(-1), 'two')
  end(stage)
})

/** At each moment of the way from the freeing to the answer, with messages that take a while. */
test('a cancel that crosses the grant leaves nothing, whenever it comes', async () => {
  for (let at = 0; at < 60; at++)
    for (const answer of ['taken', 'refused', 'unanswered'] as const) {
      const { stage, near } = start()
      near.answer = () => answer
      await near.ask(all)
      const waits = wanted(one, true, 2, 5)
      await near.ask(waits)
      void near.unlock(all)
      await near.pass(at / 3)
      await near.cancel(waits)
      await near.pass(30_000)
      stage.world.delayMs = 0
      assert.equal(await seenBy(near.locks), nothing, `cancelled after ${at / 3} ms, ${answer}`)
      assert.equal(near.waiters.count, 0)
      end(stage)
    }
})

test('a client that asks again by itself while it is told has the lock, whatever it answers then', async () => {
  for (let at = 0; at < 60; at++) {
    const { stage, near } = start()
    near.answer = () => 'refused'
    await near.ask(all)
    const waits = wanted(one, true, 2, 5)
    await near.ask(waits)
    void near.unlock(all)
    await near.pass(at / 3)
    const outcome = await near.ask(waits)
    await near.pass(30_000)
    stage.world.delayMs = 0
    const seen = await seenBy(near.locks)
    // Blocked: it was asked too early, and then has refused.
    assert.equal(seen, outcome === 'granted' ? '0022200000000' : nothing, `asked after ${at / 3} ms`)
    end(stage)
  }
})

test('an offer that was made without an answer from the metadata is withdrawn from who has gone', async () => {
  const stage = new LockWorld()
  let lost = false
  const faults: Faults = { onChange: () => (lost ? 'made, unknown' : undefined) }
  const near = new Node(stage, 'near', faults)
  await near.ask(all)
  const waits = wanted(one, true, 2, 5)
  await near.ask(waits)
  await near.unlock(all)
  lost = true
  await near.pass(50)
  void near.cancel(waits).catch(() => undefined)
  await near.pass(15_000)
  lost = false
  await near.pass(15_000)
  assert.equal(await seenBy(near.locks), nothing)
  end(stage)
})

test('waiters are bounded, and one that asks again keeps its place', async () => {
  const { stage, near } = start()
  stage.world.delayMs = 0
  await near.ask(all)
  for (let i = 0; i < 1024; i++) {
    const each = { ...one, svid: i }
    assert.equal(await near.ask(wanted(each, true, 0)), 'blocked')
  }
  assert.equal(await near.ask(wanted(two, true, 0)), 'full')
  assert.equal(await near.ask(wanted({ ...one, svid: 0 }, true, 0)), 'blocked')
  near.waiters.dropClient(one.client)
  assert.equal(near.waiters.count, 0)
  end(stage)
})

test('nobody waits for a call that has not begun, and none begins to who has gone', async () => {
  const { stage, near } = start()
  near.lineMs = 60_000
  await near.ask(all)
  const waits = wanted(one, true, 2, 5)
  await near.ask(waits)
  await near.unlock(all)
  await near.pass(1000)
  const before = stage.world.clock.now()
  await near.cancel(waits)
  assert.ok(stage.world.clock.now() - before < 1000)
  await near.pass(120_000)
  assert.deepEqual(near.told, [])
  assert.equal(await seenBy(near.locks), nothing)
  end(stage)
})

/** A client as Linux is one: it is told of what it waits for, asks again by itself, gives up, and takes any GRANTED of that range for its own. */
class Client {
  readonly name: string
  waits: FileLock | undefined
  isGranted = false

  constructor(name: string) {
    this.name = name
  }

  hears(lock: FileLock): boolean {
    if (this.waits === undefined || this.waits.range.start !== lock.range.start) return false
    this.isGranted = true
    return true
  }

  async work(node: Node, rounds: number, roll: (below: number) => number, held: FileLock[]): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      const lock = wanted(owner(this.name), roll(4) > 0, 4 * roll(2), 8)
      this.waits = lock
      this.isGranted = false
      const patienceMs = roll(2) === 0 ? roll(4000) : 120_000
      const has = await this.#wait(node, lock, patienceMs, roll)
      this.waits = undefined
      if (has) {
        for (const other of held)
          assert.ok(!excludeEachOther(other, lock), `${this.name} and another have a lock`)
        held.push(lock)
        await node.pass(roll(3000))
        held.splice(held.indexOf(lock), 1)
      }
      if (has || this.isGranted) await node.unlock(lock)
      else await node.cancel(lock)
    }
  }

  async #wait(
    node: Node,
    lock: FileLock,
    patienceMs: number,
    roll: (below: number) => number,
  ): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < patienceMs;) {
      if ((await node.ask(lock)) === 'granted') return true
      for (let ms = 0; ms < 30_000 && waitedMs < patienceMs && !this.isGranted; ms += 50, waitedMs += 50)
        await node.pass(50 + roll(5))
      if (this.isGranted) return waitedMs < patienceMs
    }
    return false
  }
}

test('clients as Linux has them never have what excludes each other, and leave nothing, whatever calls are lost', async () => {
  const first = Number(process.env.SEED ?? 1)
  for (let seed = first; seed < first + 5; seed++) {
    const stage = new LockWorld(seed)
    const { clock, roll } = stage.world
    stage.world.delayMs = 3
    const held: FileLock[] = []
    const clients = ['a', 'b', 'c', 'd'].map((name) => new Client(name))
    const nodes = ['n1', 'n2'].map((name) => new Node(stage, name))
    for (const node of nodes)
      node.tells = async ({ wanted: lock }) => {
        const client = clients.find(({ name }) => name === lock.owner.client.name)!
        if (roll(8) === 0) return 'unreached'
        await clock.sleep(roll(roll(4) === 0 ? 4000 : 30))
        const isLost = roll(8)
        if (isLost === 0) return 'unanswered'
        const isTaken = client.hears(lock)
        await clock.sleep(roll(30))
        return isLost === 1 ? 'unanswered' : isTaken ? 'taken' : 'refused'
      }
    await Promise.all(clients.map((client, i) => client.work(nodes[i % 2], 40, roll, held)))
    await clock.sleep(60_000)
    stage.world.delayMs = 0
    assert.equal(await seenBy(nodes[0].locks), nothing, `seed ${seed}`)
    assert.ok(nodes.every(({ told }) => told.length > 5))
    end(stage)
  }
})

test('a wait of a new life is not taken for that of the former one', async () => {
  const { stage, near, far } = start()
  const lock = wanted(one, true, 0)
  assert.equal(await far.ask(all), 'granted')
  const asked = async (state: number): Promise<string> => {
    const { outcome } = await near.locks.lock(file, lock, { waits: true, state })
    if (outcome !== 'denied') return outcome
    const named = { caller: 'one', handle: Buffer.of(1), owner: lock.owner.owner, svid: 1 }
    const wait = { file, wanted: lock, state, client: { host: '10.0.0.1', localHost: '' } }
    return (await near.waiters.add({ ...wait, lock: { ...named, offset: 0n, length: 0n } }))
      ? 'blocked'
      : 'full'
  }
  assert.equal(await asked(3), 'blocked')
  // The client is down: its port mapper is not reached, and then it is up again.
  let heard: Heard = 'unreached'
  near.answer = () => heard
  await far.unlock(all)
  await near.pass(1500)
  // It has started again; its notice is lost, or late, or went to another node; somebody else was faster.
  await far.locks.started(one.client, 5)
  assert.equal(await far.ask(all), 'granted')
  assert.equal(await asked(5), 'blocked')
  const calls = near.told.length
  heard = 'taken'
  await near.pass(8000)
  assert.equal(near.told.length, calls, 'the client is told that it has what another has')
  end(stage)
})
