import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NdfsError } from '../../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../../base/ids.ts'
import type { CallOptions, Peers } from '../../peer/peer.ts'
import { StoreZeus } from '../../zeus/store-zeus.ts'
import { until } from '../../zeus/zeus-contract-suite.ts'
import { sessionTimeoutMs } from '../../zeus/zeus.ts'
import { openStoreDatabase } from './store-database.ts'
import type { MemoryStore } from './store-for-tests.ts'
import { memoryStore, testPlatform } from './store-for-tests.ts'
import { storeNode } from './store-process.ts'

const n1 = 'n1' as NodeId
const incarnation = 'aaaaaaaaaaaaaaaa' as Incarnation
const { clock } = testPlatform

/** The way to a store that can be cut, and led to another store. Cut calls fail at once, and held ones too. */
class Way implements Peers {
  #to: Peers | undefined
  #cut = Promise.withResolvers<never>()
  calls = 0

  constructor(to: Peers) {
    this.leadTo(to)
  }

  cut(): void {
    this.#to = undefined
    this.#cut.reject(new NdfsError('PEER_UNREACHABLE', 'Cannot reach the store: the way is cut'))
  }

  leadTo(to: Peers): void {
    this.#to = to
    this.#cut = Promise.withResolvers()
    this.#cut.promise.catch(() => {})
  }

  call(node: NodeId, kind: string, body: readonly Uint8Array[], options?: CallOptions): Promise<Buffer> {
    this.calls++
    if (!this.#to) return this.#cut.promise
    return Promise.race([this.#to.call(node, kind, body, options), this.#cut.promise])
  }

  handle(): void {}
  setAddress(): void {}
  backlogBytes(): number {
    return 0
  }
  onDisconnected(): void {}
  listen(): Promise<string> {
    return Promise.reject(new NdfsError('REFUSED', 'Cannot listen: this leads one way'))
  }
  async close(): Promise<void> {}
}

async function withStore(
  body: (given: {
    way: Way
    zeus: StoreZeus
    other: StoreZeus
    restart: (whileDown?: (alone: StoreZeus) => Promise<void>) => Promise<void>
  }) => Promise<void>,
): Promise<void> {
  const database = openStoreDatabase(':memory:', 'test')
  let store: MemoryStore = await memoryStore(database)
  const way = new Way(store.peers)
  const otherWay = new Way(store.peers)
  const zeus = new StoreZeus(way, storeNode, testPlatform)
  const other = new StoreZeus(otherWay, storeNode, testPlatform)
  const restart = async (whileDown: (alone: StoreZeus) => Promise<void> = async () => {}) => {
    way.cut()
    otherWay.cut()
    await store.close()
    store = await memoryStore(database)
    await whileDown(new StoreZeus(store.peers, storeNode, testPlatform))
    way.leadTo(store.peers)
    otherWay.leadTo(store.peers)
  }
  try {
    await body({ way, zeus, other, restart })
  } finally {
    await zeus.close()
    await other.close()
    await store.close()
  }
}

function watched(zeus: StoreZeus, prefix: string) {
  const calls: string[] = []
  const watch = zeus.watch(prefix, (key, now) =>
    calls.push(`${key}=${now ? JSON.stringify(now.value) : 'gone'}`),
  )
  watch.caughtUp.catch(() => {})
  return { calls, watch }
}

test('a watch catches up after the store was away: changes, deletions, and nothing twice', () =>
  withStore(async ({ zeus, other, restart }) => {
    for (const key of ['a', 'b', 'c']) await other.set(key, 1)
    const { calls, watch } = watched(zeus, '')
    await watch.caughtUp
    await restart(async (alone) => {
      await alone.set('b', 2)
      await alone.delete('c')
      await alone.set('d', 1)
      await alone.set('brief', 1)
      await alone.delete('brief')
    })
    await until(clock, () => calls.includes('d=1'))
    assert.deepEqual(calls, ['a=1', 'b=1', 'c=1', 'b=2', 'c=gone', 'd=1'])
  }))

test('a watch that was away for more deletions than are remembered still misses nothing', () =>
  withStore(async ({ zeus, other, restart }) => {
    for (const key of ['a', 'b', 'c']) await other.set(key, 1)
    const { calls, watch } = watched(zeus, '')
    await watch.caughtUp
    await restart(async (alone) => {
      await alone.delete('a')
      await alone.set('c', 2)
      for (let i = 0; i < 2500; i++) {
        await alone.set('busy', i)
        await alone.set(`x${i}`, i)
        await alone.delete(`x${i}`)
      }
      await alone.delete('busy')
      await alone.set('end', 1)
    })
    await until(clock, () => calls.includes('end=1'))
    assert.deepEqual(calls, ['a=1', 'b=1', 'c=1', 'a=gone', 'c=2', 'end=1'])
  }))

test('all watches of a node wait in one request', () =>
  withStore(async ({ way, zeus, other }) => {
    const all = ['a', 'b', 'c', 'd'].map((prefix) => watched(zeus, prefix))
    await Promise.all(all.map(({ watch }) => watch.caughtUp))
    // One that brought what was there, one that waits.
    assert.equal(way.calls, 2)
    await other.set('b', 1)
    await until(clock, () => all[1].calls.length > 0)
    assert.deepEqual(
      all.map(({ calls }) => calls),
      [[], ['b=1'], [], []],
    )
    assert.equal(way.calls, 3)
  }))

test('a session outlives a short absence of the store, which gives it the whole timeout anew', () =>
  withStore(async ({ zeus, other, restart }) => {
    const session = await zeus.openSession(n1, incarnation, {})
    session.onLost = (reason) => assert.fail(reason)
    await clock.sleep(sessionTimeoutMs / 2)
    await restart()
    await clock.sleep(1.2 * sessionTimeoutMs)
    assert.equal(session.alive, true)
    assert.ok(await other.get('session/n1'))
  }))

test('a restarted store ends the sessions that it does not hear of', () =>
  withStore(async ({ zeus, other, restart }) => {
    await zeus.openSession(n1, incarnation, {})
    const { calls } = watched(other, 'session/')
    await until(clock, () => calls.length === 1)
    await zeus.close()
    await restart()
    assert.ok(await other.get('session/n1'))
    await until(clock, () => calls.at(-1) === 'session/n1=gone')
  }))

test('a node that is cut off knows that its session is lost before another may claim what it owns', () =>
  withStore(async ({ way, zeus, other }) => {
    const vdisk = 1 as VDiskId
    const session = await zeus.openSession(n1, incarnation, {})
    await zeus.claim(vdisk, { node: n1, incarnation }, 'free', 0 as Epoch)
    const lost: string[] = []
    session.onLost = (reason) => lost.push(reason)
    const claimed = { node: 'n2' as NodeId, incarnation }
    const { calls } = watched(other, 'session/')
    await until(clock, () => calls.length === 1)
    way.cut()
    await until(clock, () => {
      // At every moment: whoever is gone for others knows it.
      if (calls.length > 1) assert.equal(session.alive, false)
      return calls.length > 1
    })
    assert.equal((await other.claim(vdisk, claimed, 'free', 0 as Epoch)).epoch, 2)
    await until(clock, () => lost.length > 0)
    assert.match(lost.join(), /not heard for 1500 ms: Cannot reach the store/)
    await clock.sleep(300)
    assert.equal(lost.length, 1)
  }))

test('a held request is let go when a newer one of its poller comes', () =>
  withStore(async ({ zeus, other }) => {
    const first = watched(zeus, 'a')
    await first.watch.caughtUp
    for (let i = 0; i < 50; i++) {
      const more = watched(zeus, `b${i}`)
      await more.watch.caughtUp
      more.watch.stop()
    }
    await other.set('a', 'seen')
    await until(clock, () => first.calls.length > 0)
    assert.deepEqual(first.calls, ['a="seen"'])
  }))
