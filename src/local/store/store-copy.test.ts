import assert from 'node:assert/strict'
import { cpSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeControl } from '../../base/control.ts'
import { NdfsError } from '../../base/errors.ts'
import { until } from '../../zeus/zeus-contract-suite.ts'
import { copyIn, type StoreChanges } from './copy-files.ts'
import type { CopyMessage, CopyOrder, CopyWorkerData } from './copy-messages.ts'
import { startCopyThread, type CopyThread } from './copy-thread.ts'
import { StoreCopy } from './store-copy.ts'
import { openStoreDatabase } from './store-database.ts'
import { HandClock, testCluster, testPlatform, withDirectory } from './store-for-tests.ts'
import { encodeError } from './store-messages.ts'
import { WorkerStoreEngine } from './worker-store-engine.ts'

const { clusterId } = testCluster
const { clock, log } = testPlatform
const lineage = 'l1'

/** A thread that does nothing by itself: the test says what it answers. */
class HandThread implements CopyThread {
  onMessage: (message: CopyMessage) => void = () => {}
  onEnded: (reason: string) => void = () => {}
  readonly exited = Promise.resolve()
  readonly orders: CopyOrder[] = []
  terminated = false
  order(order: CopyOrder): void {
    this.orders.push(order)
  }
  terminate(): void {
    this.terminated = true
  }
}

function stand(changes = 5) {
  const hand = new HandClock()
  const threads: HandThread[] = []
  const calls: string[] = []
  const copy = new StoreCopy({
    folder: '/two',
    clusterId,
    clock: hand,
    log,
    source: 9,
    position: { lineage, changes, changedAt: 0 },
    freeze: () => calls.push('freeze'),
    thaw: () => calls.push('thaw'),
    startThread: () => threads[threads.push(new HandThread()) - 1],
  })
  copy.onProgress = () => calls.push('progress')
  const thread = () => threads[threads.length - 1]
  return { copy, clock: hand, thread, threads, calls }
}

const changesUpTo = (upTo: number, bytes = 10): StoreChanges => ({
  requests: [{ kind: 'zeus.next', body: Buffer.alloc(bytes) }],
  from: upTo - 1,
  upTo,
  wallTime: 0,
  digest: 0,
})
const found = (changes: number): CopyMessage => ({
  state: 'open',
  position: { lineage, changes, changedAt: 0 },
})

test('a copy that stands where the store does is in step at once, and answers wait for it', () => {
  const { copy, thread } = stand()
  assert.equal(copy.covers(6), true)
  thread().onMessage(found(5))
  assert.equal(copy.status().state, 'in step')
  copy.add(changesUpTo(6))
  assert.equal(copy.covers(5), true)
  assert.equal(copy.covers(6), false)
  thread().onMessage({ state: 'applied', changes: 6 })
  assert.equal(copy.covers(6), true)
  assert.deepEqual(copy.status(), { state: 'in step', folder: '/two' })
})

test('what came while an order was under way goes together, in the next one', () => {
  const { copy, thread } = stand()
  thread().onMessage(found(5))
  for (const upTo of [6, 7, 8]) copy.add(changesUpTo(upTo))
  thread().onMessage({ state: 'applied', changes: 6 })
  assert.deepEqual(
    thread().orders.map((order) => order.order === 'apply' && order.batches.map(({ upTo }) => upTo)),
    [[6], [7, 8]],
  )
})

test('a copy that stands elsewhere is made anew, and what comes meanwhile is applied on top', () => {
  for (const other of [found(4), found(6), { state: 'open' } as const]) {
    const { copy, thread, calls } = stand()
    thread().onMessage(other)
    assert.deepEqual(calls, ['freeze'])
    copy.add(changesUpTo(6))
    copy.frozen({ lineage, changes: 6, changedAt: 0 })
    copy.add(changesUpTo(7))
    assert.equal(copy.covers(7), true)
    thread().onMessage({ state: 'made', changes: 6 })
    assert.equal(copy.status().state, 'behind')
    thread().onMessage({ state: 'applied', changes: 7 })
    assert.equal(copy.status().state, 'in step')
    assert.deepEqual(calls, ['freeze', 'thaw', 'progress', 'progress'])
    assert.deepEqual(
      thread().orders.map((order) => (order.order === 'apply' ? order.batches[0].upTo : order.order)),
      ['make', 7],
    )
  }
})

test('a copy of another lineage is none, however many changes it has', () => {
  const { thread, calls } = stand()
  thread().onMessage({ state: 'open', position: { lineage: 'l2', changes: 5, changedAt: 0 } })
  assert.deepEqual(calls, ['freeze'])
})

test('a second disk that is slow holds answers up for a second, and then for none until it had its rest', () => {
  const { copy, clock: hand, thread, calls } = stand()
  thread().onMessage(found(5))
  copy.add(changesUpTo(6))
  hand.move(999)
  assert.equal(copy.covers(6), false)
  hand.move(1)
  assert.equal(copy.covers(6), true)
  assert.equal(calls.at(-1), 'progress')
  hand.move(2000)
  const { state, behindMs, reason } = copy.status()
  assert.deepEqual([state, behindMs], ['behind', 3000])
  assert.match(String(reason), /did not answer for 1000 ms/)
  thread().onMessage({ state: 'applied', changes: 6 })
  assert.equal(copy.status().state, 'behind')
  hand.move(10_000)
  assert.equal(copy.status().state, 'in step')
})

test('a copy that failed is given up, said so, and made from nothing after a while', () => {
  const { copy, clock: hand, thread, threads, calls } = stand()
  thread().onMessage(found(5))
  copy.add(changesUpTo(6))
  const error = encodeError(new NdfsError('DISK_FAILED', 'Cannot write'))
  thread().onMessage({ state: 'failed', error })
  assert.equal(copy.covers(6), true)
  assert.equal(threads[0].terminated, true)
  const { state, reason } = copy.status()
  assert.deepEqual([state, reason], ['broken', 'Cannot write'])
  hand.move(60_000)
  assert.equal(threads.length, 2)
  // It says that it stands where the store stood, and is not believed.
  thread().onMessage(found(5))
  assert.equal(calls.at(-1), 'freeze')
})

test('I9: what waits for a copy that hangs is given up at a bound', () => {
  const { copy, thread } = stand()
  thread().onMessage(found(5))
  for (let upTo = 6; copy.status().state !== 'broken'; upTo++) {
    assert.ok(upTo < 100)
    copy.add(changesUpTo(upTo, 1024 * 1024))
  }
  assert.match(String(copy.status().reason), /too far behind/)
})

test('a store whose own disk is full goes on, without a new copy', () => {
  const { copy, thread, calls } = stand()
  thread().onMessage({ state: 'open' })
  copy.frozen(undefined)
  assert.deepEqual(calls, ['freeze', 'thaw', 'thaw', 'progress'])
  assert.match(String(copy.status().reason), /own disk is full/)
})

const set = (key: string, value: number) => encodeControl({ key, json: String(value) })

test('what was acknowledged is in the copy, whenever the store’s disk is lost', () =>
  withDirectory(async (directory) => {
    const folder = join(directory, 'two')
    const file = join(directory, 'store.db')
    // On its way to the second disk each order takes long: who was answered before it got there would be found out.
    const startThread = (data: CopyWorkerData): CopyThread => {
      const thread = startCopyThread(data)
      const { order } = thread
      thread.order = (given) => void clock.after(20, () => order(given))
      return thread
    }
    const open = () => WorkerStoreEngine.open(file, clusterId, clock, { folder, log, startThread })
    const engine = await open()
    let running = true
    try {
      await until(clock, () => engine.copyStatus().state === 'in step')
      const acknowledged = new Array<number>(16).fill(0)
      const stream = async (i: number): Promise<void> => {
        for (let value = 1; running; value++) {
          await engine.run('zeus.set', set(`k${i}`, value))
          acknowledged[i] = value
        }
      }
      const all = acknowledged.map((_, i) => stream(i))
      for (let look = 0; look < 5; look++) {
        const before = acknowledged.map((value) => value + 5)
        await until(clock, () => acknowledged.every((value, i) => value > before[i]))
        // As if the power went: whatever lies there at this moment.
        const told = [...acknowledged]
        const lost = join(directory, `lost-${look}`)
        cpSync(folder, lost, { recursive: true })
        assertHas(lost, told)
      }
      running = false
      await Promise.all(all)
    } finally {
      running = false
      await engine.close()
    }
    // Left in order, it is the copy of the next process, and isn't made anew.
    const next = await open()
    await until(clock, () => next.copyStatus().state === 'in step')
    await next.close()
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.endsWith('.db')),
      ['copy-1.db'],
    )
  }))

function assertHas(folder: string, told: readonly number[]): void {
  const copy = copyIn(folder)
  assert.ok(copy)
  const database = openStoreDatabase(copy.file, clusterId)
  const find = database.prepare<[string], { json: string }>('SELECT json FROM zeus_keys WHERE key = ?')
  const has = told.map((_, i) => Number(find.get(`k${i}`)?.json ?? 0))
  database.close()
  for (const [i, value] of told.entries())
    assert.ok(has[i] >= value, `k${i}: told ${value}, the copy has ${has[i]}`)
}
