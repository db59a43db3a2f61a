import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Epoch, Incarnation, NodeId, VDiskId } from '../base/ids.ts'
import { HandClock } from '../platform/clock-for-tests.ts'
import type { Clock, Log } from '../platform/platform.ts'
import type { Owner } from '../zeus/zeus.ts'
import { Curator } from './curator.ts'

/** n1's curator; vDisk 1 has an owner that is gone, and nobody can take it. */
class Cluster {
  readonly clock = new HandClock()
  live = ['n1']
  claims = 0
  tidies = 0
  /** What claims, and who tidies, wait for. */
  answer = Promise.withResolvers<void>()
  tidied = Promise.withResolvers<void>()
  readonly curator: Curator

  constructor() {
    const owner: Owner = { node: 'n0' as NodeId, incarnation: 'p' as Incarnation, epoch: 1 as Epoch }
    this.answer.resolve()
    this.tidied.resolve()
    this.curator = new Curator({
      clock: Object.assign(this.clock, { sleep: () => new Promise(() => undefined) }) as unknown as Clock,
      log: { debug: () => undefined } as unknown as Log,
      node: 'n1' as NodeId,
      sweepMs: 60_000,
      view: {
        owners: new Map([[1 as VDiskId, owner]]),
        liveNodes: () => this.live as NodeId[],
        lives: (name) => this.live.includes(name),
      },
      holds: () => false,
      claim: () => {
        this.claims++
        return this.answer.promise
      },
      tidy: () => {
        this.tidies++
        return this.tidied.promise
      },
      needsRepair: async () => false,
    })
  }

  comes(name: string): void {
    this.live.push(name)
    this.curator.nodeCame()
  }

  async pass(ms: number): Promise<void> {
    this.clock.moveTo(this.clock.time + ms)
    for (let i = 0; i < 30; i++) await Promise.resolve()
  }
}

test('when a node comes, what has no owner is looked after a second later, and not a minute', async () => {
  const cluster = new Cluster()
  cluster.live.push('n0')
  cluster.curator.start()
  await cluster.pass(0)
  assert.equal(cluster.claims, 0, 'its owner is there')
  cluster.live = ['n1']
  cluster.comes('n2')
  await cluster.pass(999)
  assert.equal(cluster.claims, 0)
  cluster.live = ['n1']
  await cluster.pass(1)
  assert.equal(cluster.claims, 1)
})

test('eleven nodes that come within a second are one reason to sweep', async () => {
  const cluster = new Cluster()
  cluster.curator.start()
  await cluster.pass(0)
  assert.equal(cluster.tidies, 1)
  for (let node = 2; node <= 12; node++) {
    cluster.comes(`n${node}`)
    await cluster.pass(80)
  }
  await cluster.pass(20_000)
  assert.equal(cluster.tidies, 2)
})

test('sweeps that are asked for while one goes on are one more', async () => {
  const cluster = new Cluster()
  cluster.answer = Promise.withResolvers()
  cluster.curator.start()
  await cluster.pass(0)
  for (let i = 0; i < 5; i++) {
    cluster.curator.nodeCame()
    await cluster.pass(1_500)
    cluster.curator.sweep()
  }
  assert.equal(cluster.claims, 1)
  cluster.answer.resolve()
  await cluster.pass(20_000)
  assert.equal(cluster.claims, 2)
})

test('a disk that gives no answer to who tidies keeps no vDisk without an owner', async () => {
  const cluster = new Cluster()
  cluster.tidied = Promise.withResolvers()
  cluster.curator.start()
  await cluster.pass(0)
  cluster.curator.sweep()
  await cluster.pass(0)
  assert.deepEqual([cluster.claims, cluster.tidies], [2, 1])
  cluster.tidied.resolve()
  await cluster.pass(60_000)
  assert.deepEqual([cluster.claims, cluster.tidies], [3, 2])
})

test('a curator that was stopped looks at nothing when a node comes, or had come', async () => {
  const cluster = new Cluster()
  cluster.curator.start()
  await cluster.pass(0)
  cluster.comes('n2')
  cluster.curator.stop()
  cluster.comes('n3')
  await cluster.pass(60_000)
  assert.equal(cluster.tidies, 1)
  assert.equal(cluster.clock.timers.size, 0)
})
