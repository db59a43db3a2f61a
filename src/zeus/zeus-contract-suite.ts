/**
 * The promises of zeus.ts as tests: every store behind it passes them.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hasCode } from '../base/errors.ts'
import type { NdfsErrorCode } from '../base/errors.ts'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import type { Clock } from '../platform/platform.ts'
import type { Owner, Versioned, Zeus } from './zeus.ts'
import { sessionTimeoutMs } from './zeus.ts'

export interface ZeusUnderTest {
  /** One more client of the same empty store, as on one more node. Whoever made the stand closes it. */
  readonly client: () => Zeus
  readonly clock: Clock
  /** Runs the world until the promise settles: virtual time has to be driven. */
  run<T>(work: Promise<T>): Promise<T>
}

const n1 = 'n1' as NodeId
const n2 = 'n2' as NodeId
const first = 'aaaaaaaaaaaaaaaa' as Incarnation
const second = 'bbbbbbbbbbbbbbbb' as Incarnation
const vdisk = 7 as VDiskId
const epoch = (value: number) => value as Epoch

export function zeusContract(
  name: string,
  withZeus: (body: (given: ZeusUnderTest) => Promise<void>) => Promise<void>,
): void {
  const it = (sentence: string, body: (given: ZeusUnderTest) => Promise<void>): void =>
    void test(`${name}: ${sentence}`, () => withZeus((given) => given.run(body(given))))

  it('a key that was set is read back by everyone, with its version', async ({ client }) => {
    const [here, there] = [client(), client()]
    assert.equal(await here.get('container/vms'), undefined)
    assert.equal(await here.set('container/vms', { copies: 2, names: ['ä', '😀'], nothing: null }), 1)
    assert.deepEqual(await there.get('container/vms'), {
      key: 'container/vms',
      value: { copies: 2, names: ['ä', '😀'], nothing: null },
      version: 1,
    })
    assert.equal(await there.set('container/vms', 3), 2)
    assert.deepEqual(await here.get('container/vms'), { key: 'container/vms', value: 3, version: 2 })
  })

  it('a change that asks for another version than the present one changes nothing', async ({ client }) => {
    const zeus = client()
    assert.deepEqual(await factsOf(zeus.set('a', 1, 4), 'CONFLICT'), { version: 0 })
    assert.equal(await zeus.set('a', 1, 0), 1)
    assert.deepEqual(await factsOf(zeus.set('a', 2, 0), 'CONFLICT'), { version: 1 })
    assert.equal(await zeus.set('a', 2, 1), 2)
    assert.deepEqual(await factsOf(zeus.delete('a', 1), 'CONFLICT'), { version: 2 })
    assert.deepEqual(await zeus.get('a'), { key: 'a', value: 2, version: 2 })
  })

  it('of many who ask for the same version exactly one gets it', async ({ client }) => {
    const clients = [client(), client(), client()]
    await clients[0].set('a', 'start')
    const tries = await Promise.allSettled(
      Array.from({ length: 30 }, (_, i) => clients[i % clients.length].set('a', i, 1)),
    )
    assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
  })

  it('a deleted key is gone, and never has a version of its past again', async ({ client }) => {
    const zeus = client()
    await zeus.set('a', 1)
    await zeus.set('a', 2)
    await zeus.delete('a', 2)
    assert.equal(await zeus.get('a'), undefined)
    assert.deepEqual(await zeus.list(''), [])
    await zeus.delete('a')
    assert.equal(await zeus.set('a', 3, 0), 3)
    assert.deepEqual(await factsOf(zeus.delete('a', 1), 'CONFLICT'), { version: 3 })
  })

  it('a list has all keys with a prefix and no others, sorted', async ({ client }) => {
    const zeus = client()
    for (const key of ['vdisk/b/2', 'vdisk/a/1', 'vdisk/b/10', 'vdisks', 'vdis', 'w'])
      await zeus.set(key, key)
    assert.deepEqual(
      (await zeus.list('vdisk/')).map(({ key }) => key),
      ['vdisk/a/1', 'vdisk/b/10', 'vdisk/b/2'],
    )
    assert.deepEqual(await zeus.list('vdisk/b/2'), [{ key: 'vdisk/b/2', value: 'vdisk/b/2', version: 1 }])
    assert.deepEqual(await zeus.list('x'), [])
  })

  it('a counter never gives a number twice', async ({ client }) => {
    const clients = [client(), client()]
    const numbers = await Promise.all(Array.from({ length: 40 }, (_, i) => clients[i % 2].next('vdisk')))
    assert.deepEqual(
      numbers.sort((a, b) => a - b),
      Array.from({ length: 40 }, (_, i) => i + 1),
    )
    assert.equal(await clients[0].next('another'), 1)
  })

  it('a watch reports what is there, then what changes, then what is deleted', async ({ client, clock }) => {
    const [here, there] = [client(), client()]
    await there.set('disk/1', 'a')
    await there.set('node/1', 'b')
    const seen = watched(here, 'disk/')
    await seen.watch.caughtUp
    assert.deepEqual([...seen.now], [['disk/1', 'a']])
    await there.set('disk/2', 'c')
    await there.set('disk/1', 'd')
    await there.set('node/1', 'e')
    await until(clock, () => seen.now.get('disk/1') === 'd' && seen.now.get('disk/2') === 'c')
    await there.delete('disk/1')
    await until(clock, () => !seen.now.has('disk/1'))
    assert.deepEqual([...seen.now], [['disk/2', 'c']])
    assert.equal(seen.calls.at(-1), 'disk/1 deleted')
    seen.watch.stop()
    const calls = seen.calls.length
    const other = watched(here, 'disk/')
    await there.set('disk/9', 'x')
    await until(clock, () => other.now.get('disk/9') === 'x')
    assert.equal(seen.calls.length, calls, 'a stopped watch was called')
  })

  it('watches see every key as it is in the end, in the order of the changes', async ({ client, clock }) => {
    const [here, there] = [client(), client()]
    const wide = watched(here, '')
    const narrow = watched(here, 'k/1')
    for (let i = 1; i <= 60; i++) {
      await there.set(`k/${i % 5}`, i)
      // A step is never seen without the one that it follows.
      assert.ok(Number(wide.now.get('k/1') ?? 0) <= i)
    }
    await there.set('end', true)
    await until(clock, () => wide.now.get('end') === true && narrow.now.get('k/1') === 56)
    assert.deepEqual(
      [...wide.now].sort(([a], [b]) => (a < b ? -1 : 1)),
      [['end', true], ...[60, 56, 57, 58, 59].map((value, i) => [`k/${i}`, value])],
    )
    assert.equal(wide.calls.at(-1), 'end true')
  })

  it('a session shows its node while it lives, and no longer', async ({ client, clock }) => {
    const [here, there] = [client(), client()]
    const seen = watched(there, 'session/')
    const session = await here.openSession(n1, first, { block: 'b1' })
    assert.equal(session.alive, true)
    assert.deepEqual(await there.get('session/n1'), {
      key: 'session/n1',
      value: { block: 'b1', incarnation: first },
      version: 1,
    })
    await session.update({ block: 'b2' })
    await until(clock, () => JSON.stringify(seen.now.get('session/n1'))?.includes('b2') ?? false)
    await session.end()
    assert.equal(session.alive, false)
    assert.equal(await there.get('session/n1'), undefined)
    await until(clock, () => !seen.now.has('session/n1'))
  })

  it('a session outlives its timeout while its node is heard of, and ends when it is not', async ({
    client,
    clock,
  }) => {
    const [here, there] = [client(), client()]
    const seen = watched(there, 'session/')
    const session = await here.openSession(n1, first, {})
    session.onLost = (reason) => assert.fail(reason)
    await clock.sleep(1.6 * sessionTimeoutMs)
    assert.equal(session.alive, true)
    assert.ok(seen.now.has('session/n1'))
    await here.close()
    await until(clock, () => !seen.now.has('session/n1'))
    assert.equal(await there.get('session/n1'), undefined)
  })

  it('m15: a newer incarnation ends the older session at once', async ({ client, clock }) => {
    const [old, young] = [client(), client()]
    const before = await old.openSession(n1, first, {})
    const lost: string[] = []
    before.onLost = (reason) => lost.push(reason)
    const after = await young.openSession(n1, second, {})
    await until(clock, () => lost.length > 0)
    assert.equal(before.alive, false)
    assert.equal(after.alive, true)
    await old.endSession(n1, first)
    assert.equal(((await young.get('session/n1'))?.value as { incarnation: string }).incarnation, second)
    await rejects(before.update({}), 'NOT_FOUND')
    assert.equal(lost.length, 1)
  })

  it('M15: a supervisor ends the session of the process that it saw ending', async ({ client, clock }) => {
    const [node, supervisor] = [client(), client()]
    const session = await node.openSession(n1, first, {})
    const lost: string[] = []
    session.onLost = (reason) => lost.push(reason)
    await supervisor.endSession(n1, second)
    assert.ok(await supervisor.get('session/n1'))
    await supervisor.endSession(n1, first)
    assert.equal(await supervisor.get('session/n1'), undefined)
    await until(clock, () => lost.length > 0)
    assert.equal(session.alive, false)
  })

  it('a vDisk has one owner, whose epoch is above every earlier one', async ({ client }) => {
    const [here, there] = [client(), client()]
    assert.equal(await here.owner(vdisk), undefined)
    await here.openSession(n1, first, {})
    await there.openSession(n2, second, {})
    const mine: Owner = { node: n1, incarnation: first, epoch: epoch(1) }
    assert.deepEqual(await here.claim(vdisk, { node: n1, incarnation: first }, 'free', epoch(0)), mine)
    assert.deepEqual(await there.owner(vdisk), mine)
    const facts = await factsOf(
      there.claim(vdisk, { node: n2, incarnation: second }, 'free', epoch(9)),
      'IN_USE',
    )
    assert.deepEqual(facts, { owner: mine })
    // The owner itself may ask for a higher one (C1).
    assert.equal((await here.claim(vdisk, { node: n1, incarnation: first }, 'free', epoch(5))).epoch, 5)
    // M16: with proof of no service it is taken although its session lives.
    const taken = await there.claim(vdisk, { node: n2, incarnation: second }, 'no-service', epoch(2))
    assert.deepEqual(taken, { node: n2, incarnation: second, epoch: epoch(6) })
    assert.deepEqual((await here.get(`owner/${vdisk}`))?.value, taken)
  })

  it('a vDisk whose owner has no session, or another incarnation of one, is free', async ({ client }) => {
    const [here, there] = [client(), client()]
    const session = await here.openSession(n1, first, {})
    await here.claim(vdisk, { node: n1, incarnation: first }, 'free', epoch(0))
    await session.end()
    assert.equal((await there.claim(vdisk, { node: n2, incarnation: second }, 'free', epoch(0))).epoch, 2)
    await there.openSession(n2, first, {})
    assert.equal((await here.claim(vdisk, { node: n1, incarnation: first }, 'free', epoch(0))).epoch, 3)
  })

  it('a vDisk that was released is free for all, and its epochs go on', async ({ client }) => {
    const [here, there] = [client(), client()]
    await here.openSession(n1, first, {})
    await there.openSession(n2, second, {})
    await here.claim(vdisk, { node: n1, incarnation: first }, 'free', epoch(0))
    await here.release(vdisk, epoch(4))
    await rejects(there.claim(vdisk, { node: n2, incarnation: second }, 'free', epoch(0)), 'IN_USE')
    await here.release(vdisk, epoch(1), n2)
    assert.deepEqual(await there.owner(vdisk), {
      node: n1,
      incarnation: first,
      epoch: epoch(1),
      released: true,
      next: n2,
    })
    assert.deepEqual(await there.claim(vdisk, { node: n2, incarnation: second }, 'free', epoch(0)), {
      node: n2,
      incarnation: second,
      epoch: epoch(2),
    })
    await here.release(vdisk, epoch(1))
    assert.equal((await there.owner(vdisk))?.released, undefined)
  })

  it('of many who claim a free vDisk exactly one gets it', async ({ client }) => {
    const nodes = ['n1', 'n2', 'n3', 'n4'].map((node) => ({ node: node as NodeId, zeus: client() }))
    await Promise.all(nodes.map(({ node, zeus }) => zeus.openSession(node, first, {})))
    for (let id = 1; id <= 10; id++) {
      const tries = await Promise.allSettled(
        nodes.map(({ node, zeus }) =>
          zeus.claim(id as VDiskId, { node, incarnation: first }, 'free', epoch(0)),
        ),
      )
      const granted = tries.flatMap((tried) => (tried.status === 'fulfilled' ? [tried.value] : []))
      assert.equal(granted.length, 1)
      assert.deepEqual(await nodes[0].zeus.owner(id as VDiskId), granted[0])
    }
  })

  it('keys of sessions and of owners are not set by hand', async ({ client }) => {
    const zeus = client()
    await rejects(zeus.set('session/n1', {}), 'REFUSED')
    await rejects(zeus.delete('session/n1'), 'REFUSED')
    await rejects(zeus.set('owner/1', {}), 'REFUSED')
    await rejects(zeus.set('', {}), 'REFUSED')
    await rejects(zeus.set('large', 'x'.repeat(1024 * 1024)), 'REFUSED')
  })

  it('after it was closed it answers nothing', async ({ client }) => {
    const zeus = client()
    await zeus.set('a', 1)
    const watch = zeus.watch('a', () => {})
    await watch.caughtUp
    await zeus.close()
    await rejects(zeus.get('a'), 'UNAVAILABLE')
  })
}

function watched(zeus: Zeus, prefix: string) {
  const now = new Map<string, unknown>()
  const calls: string[] = []
  const watch = zeus.watch(prefix, (key: string, versioned: Versioned | undefined) => {
    assert.ok(key.startsWith(prefix))
    calls.push(versioned ? `${key} ${JSON.stringify(versioned.value)}` : `${key} deleted`)
    if (versioned) now.set(key, versioned.value)
    else assert.ok(now.delete(key), `${key} was reported deleted without having been there`)
  })
  watch.caughtUp.catch(() => {})
  return { now, calls, watch }
}

export async function until(clock: Clock, condition: () => boolean, atMostMs = 15_000): Promise<void> {
  const end = clock.now() + atMostMs
  while (!condition()) {
    assert.ok(clock.now() < end, `did not come true in ${atMostMs} ms: ${condition.toString()}`)
    await clock.sleep(10)
  }
}

async function rejects(work: Promise<unknown>, code: NdfsErrorCode): Promise<void> {
  await assert.rejects(work, (error) => hasCode(error, code))
}

/** The facts that the contract promises with a refusal; a store may add others. */
async function factsOf(work: Promise<unknown>, code: NdfsErrorCode): Promise<unknown> {
  const error: unknown = await work.then(
    () => assert.fail('was not refused'),
    (reason: unknown) => reason,
  )
  assert.ok(hasCode(error, code), String(error))
  const { version, owner } = error.facts
  return { ...(version === undefined ? {} : { version }), ...(owner === undefined ? {} : { owner }) }
}
