/** Disks that are slow, and alive: which leave service, which stay, and what comes back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../../src/base/ids.ts'
import type { SessionValue } from '../../../src/zeus/zeus.ts'
import { pathOfDisk } from '../../cluster.ts'
import { type Guest, quickPace, Scene, type SceneOptions } from './support.ts'

const sectors = 256
/** Of each operation: the logs of others take a few milliseconds. */
const slowMs = 400

/** A vDisk for each node, written to by a guest there, so that all disks are at work. */
class Stage {
  readonly scene: Scene
  guests: readonly Guest[]
  #at = 0

  static async begin(options: SceneOptions): Promise<Stage> {
    const { nodes = 5 } = options
    const vdisks = Array.from({ length: nodes }, (_, i) => `v${i + 1}`)
    return new Stage(await Scene.begin({ sectors, nodes, vdisks, pace: quickPace, ...options }))
  }

  private constructor(scene: Scene) {
    this.scene = scene
    this.guests = scene.cluster.names.map((name, i) => scene.guest(name, `v${i + 1}`))
  }

  /** As session and disk show it. */
  stateOf(node: NodeId, tier: 'flash' | 'hdd' = 'flash'): string | undefined {
    const row = this.scene.cluster.database
      .prepare<[string], { json: string | null }>('SELECT json FROM zeus_keys WHERE key = ?')
      .get(`session/${node}`)
    if (row === undefined || row.json === null) return undefined
    return (JSON.parse(row.json) as SessionValue).disks.find((disk) => disk.tier === tier)?.state
  }

  slow(node: NodeId, delayMs = slowMs): void {
    const path = pathOfDisk('flash')
    this.scene.faulty(node, (one) => (one.path.startsWith(path) ? { delayMs } : undefined))
  }

  well(node: NodeId): void {
    this.scene.faulty(node, () => undefined)
  }

  /** All guests write, for so long or until it is so. Answers how long it took. */
  async work(ms: number, until: () => boolean = () => false): Promise<number> {
    const { scene } = this
    const began = scene.world.now
    while (scene.world.now - began < ms && !until()) {
      this.#at = (this.#at + 8) % sectors
      const writes = this.guests.map((guest) => guest.write(this.#at, 8))
      await scene.ended(...writes)
      await scene.wait(600)
    }
    return scene.world.now - began
  }

  out(): NodeId[] {
    return this.scene.cluster.names.filter((name) => this.stateOf(name) === 'slow')
  }

  /** Of any vDisk's rows and open logs. */
  rests(node: NodeId): boolean {
    return this.guests.some(
      ({ vdisk }) =>
        this.scene.groupDisks(vdisk).some((disk) => disk === `${node}-flash-0`) ||
        this.scene.describe(vdisk)?.episode?.replicas.some((replica) => replica.node === node) === true,
    )
  }
}

test('M12: a disk that is slow for half a minute is left by logs and copies, and comes back when it is well', async () => {
  const stage = await Stage.begin({ seed: 1 })
  await stage.work(5_000)
  assert.ok(stage.rests('n2' as NodeId))
  stage.slow('n2' as NodeId)
  await stage.work(20_000)
  assert.deepEqual(stage.out(), [])
  const took = await stage.work(40_000, () => stage.out().length > 0)
  assert.deepEqual(stage.out(), ['n2'], `after ${took} ms`)
  // It is alive: what it holds is copied off it, and nothing new comes.
  await stage.work(20_000, () => !stage.rests('n2' as NodeId))
  assert.equal(stage.rests('n2' as NodeId), false)
  stage.well('n2' as NodeId)
  await stage.work(90_000, () => stage.out().length === 0)
  assert.equal(stage.stateOf('n2' as NodeId), 'online')
  await stage.work(5_000)
  await stage.scene.finish()
})

test('a cluster whose disks are all slow has no slow disk', async () => {
  const stage = await Stage.begin({ seed: 2 })
  for (const name of stage.scene.cluster.names) stage.slow(name)
  await stage.work(60_000)
  assert.deepEqual(stage.out(), [])
  await stage.scene.finish()
})

test('of two slow disks one leaves at a time, so that a slow rack does not take itself down', async () => {
  const stage = await Stage.begin({ seed: 3, nodes: 6 })
  stage.slow('n2' as NodeId)
  stage.slow('n5' as NodeId)
  await stage.work(90_000, () => stage.out().length > 1)
  assert.equal(stage.out().length, 1)
  await stage.scene.finish()
})

test('a disk that no other can stand in for stays, slow as it is', async () => {
  const stage = await Stage.begin({ seed: 4, nodes: 3, copies: 3 })
  stage.slow('n2' as NodeId)
  await stage.work(60_000)
  assert.deepEqual(stage.out(), [])
  await stage.scene.finish()
})

test('one that is out for the third time in an hour stays out, also when its node is started again, and can be read', async () => {
  const stage = await Stage.begin({ seed: 5, nodes: 4 })
  const { scene } = stage
  const victim = 'n3' as NodeId
  for (let time = 1; time <= 3; time++) {
    stage.slow(victim)
    await stage.work(90_000, () => stage.stateOf(victim) === 'slow')
    assert.equal(stage.stateOf(victim), 'slow', `the ${time}. time`)
    stage.well(victim)
    await stage.work(100_000, () => stage.stateOf(victim) === 'online')
    assert.equal(stage.stateOf(victim), time < 3 ? 'online' : 'slow')
  }
  scene.cluster.end(victim, 'kill')
  // Its own guest went with it.
  stage.guests = stage.guests.filter(({ node }) => node !== victim)
  await stage.work(3_000)
  scene.cluster.startNode(victim)
  await scene.until(() => scene.cluster.node(victim) !== undefined)
  assert.equal(stage.stateOf(victim), 'failed')
  await stage.work(5_000)
  await scene.finish()
})
