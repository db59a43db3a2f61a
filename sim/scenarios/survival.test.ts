/**
 * Six nodes in three blocks, of which some die and come back: at every moment the first line of status says no more than is true, and
 * when nothing happens any more, as much.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId, Sequence } from '../../src/base/ids.ts'
import type { Survival } from '../../src/management/management.ts'
import type { SeededChance } from '../seeded-chance.ts'
import { type Told, trueLevels, weakestNow } from '../survival-truth.ts'
import { Scene, type SceneOptions } from './major/support.ts'

const vdisks = ['u', 'v'] as const
/** A death is known when its session has ended, and no later (sessions run for 1.5 s). */
const knownWithinMs = 2_500
const settledWithinMs = 120_000

const twoInABlock = (node: NodeId): string => `b${Math.ceil(Number(node.slice(1)) / 2)}`

class Story {
  readonly scene: Scene
  readonly chance: SeededChance
  readonly #written = new Map<string, Sequence>()
  readonly #blocks = new Map<NodeId, string>()

  static async begin(seed: number, options: SceneOptions = {}): Promise<Story> {
    return new Story(
      await Scene.begin({ nodes: 6, vdisks, blockOf: twoInABlock, ...options, seed }),
      options.blockOf ?? twoInABlock,
    )
  }

  private constructor(scene: Scene, blockOf: (node: NodeId) => string) {
    this.scene = scene
    this.chance = scene.world.chance('story')
    for (const node of scene.cluster.names) this.#blocks.set(node, blockOf(node))
  }

  pick<T>(from: readonly T[]): T {
    return from[this.chance.below(from.length)]
  }

  get #told(): Told[] {
    return vdisks.map((vdisk) => ({
      id: this.scene.id(vdisk),
      written: this.#written.get(vdisk) ?? (0 as Sequence),
    }))
  }

  truth() {
    return weakestNow(this.scene.cluster, this.#told, (node) => this.#blocks.get(node)!)
  }

  /** What a node says; the first that serves, where none is named. */
  async said(node = this.scene.cluster.serving()[0]): Promise<Survival> {
    return (await this.scene.ask(node, (management) => management.status())).survival
  }

  /** A write that somebody acknowledged; false where nobody did. */
  async write(vdisk: (typeof vdisks)[number], first: number, count: number): Promise<boolean> {
    const { scene } = this
    const guest = scene.guest(this.pick(scene.cluster.serving()), vdisk)
    const write = guest.write(first, count)
    await scene.ended(write)
    const owner = scene.describe(vdisk)
    if (owner !== undefined) this.#written.set(vdisk, owner.acknowledged)
    guest.close()
    return write.error === undefined
  }

  async setBlock(node: NodeId, block: string): Promise<void> {
    await this.scene.world.play(async () => {
      await this.scene.cluster.node(this.scene.cluster.serving()[0])!.management.changeNode(node, { block })
    })
    this.#blocks.set(node, block)
  }

  /** Until no session is left of a node that does not run; and what runs, serves. */
  async deathsAreKnown(): Promise<void> {
    const { cluster, world } = this.scene
    const session = cluster.database.prepare<[string], unknown>(
      'SELECT 1 FROM zeus_keys WHERE key = ? AND json IS NOT NULL',
    )
    const diedAt = world.now
    const dead = cluster.names.filter((node) => !cluster.running().includes(node))
    await this.scene.until(() => dead.every((node) => session.get(`session/${node}`) === undefined))
    assert.ok(world.now - diedAt < knownWithinMs, 'a session outlives its node')
    await this.scene.until(() => cluster.running().every((node) => cluster.node(node) !== undefined))
  }

  /** Not better than the truth. */
  async check(when: string): Promise<void> {
    const before = this.truth()
    const { sentence, dataLevel: level } = await this.said(this.pick(this.scene.cluster.serving()))
    const after = this.truth()
    // What changed while it was asked may be in the answer, or not.
    const truth = Math.max(
      ...[before, after].map((one) => (one === undefined ? 9 : trueLevels.indexOf(one.level))),
    )
    const said = level === 'unknown' ? -1 : trueLevels.indexOf(level)
    assert.ok(
      said <= truth,
      `${when}, at ${this.scene.world.now}: it says "${sentence}", and it is ${JSON.stringify([before, after])}`,
    )
  }

  /** With all nodes there: but what was written while one block was left lies in that, and is said to be misplaced. */
  isAsGoodAsItCanBe({ dataLevel: level, misplacedBytes, sentence }: Survival): void {
    assert.ok(level === 'block' || (level === 'node' && misplacedBytes > 0), sentence)
  }

  /** In the end what is said is true to the word. */
  async settle(when: string): Promise<Survival> {
    const { world } = this.scene
    for (const giveUpAt = world.now + settledWithinMs; ;) {
      await this.check(when)
      const said = await this.said()
      const truth = this.truth()
      if (said.dataLevel === truth?.level) return said
      if (world.now > giveUpAt)
        assert.fail(`${when}: it says for ever "${said.sentence}", and it is ${JSON.stringify(truth)}`)
      await this.scene.wait(2_000)
    }
  }
}

test('one copy is said within moments of a block’s death, and what is unreadable after two', async () => {
  const story = await Story.begin(1)
  const { scene } = story
  const { cluster } = scene
  assert.match((await story.said()).sentence, /^survives a block, .*; nothing is stored yet$/)
  for (const vdisk of vdisks) {
    assert.ok(await story.write(vdisk, 0, 100))
    await scene.drain(vdisk)
    assert.ok(await story.write(vdisk, 100, 20))
  }
  assert.match((await story.settle('with all nodes')).sentence, /^survives a block, but not the loss of/)

  const block = twoInABlock(scene.owner('u')!)
  const inBlock = cluster.names.filter((node) => twoInABlock(node) === block)
  for (const node of inBlock) cluster.end(node, 'silent power cut')
  await story.deathsAreKnown()
  await story.check('without a block')
  const { sentence, missing } = await story.settle('without a block')
  assert.match(sentence, new RegExp(`^one copy of .* left: .*; ${inBlock.join(' and ')} are down$`))
  assert.ok(missing.some((line) => line.startsWith('copies of ')))

  const [second] = cluster.serving()
  const inSecond = cluster.serving().filter((node) => twoInABlock(node) === twoInABlock(second))
  for (const node of inSecond) cluster.end(node, 'kill')
  await story.deathsAreKnown()
  await story.check('with one block')
  for (const node of inBlock) cluster.startNode(node)
  await scene.until(() => inBlock.every((node) => cluster.node(node) !== undefined))
  await story.check('with another block')
  for (const node of inSecond) cluster.startNode(node)
  await scene.heal()
  story.isAsGoodAsItCanBe(await story.settle('with all nodes again'))
  await scene.finish()
})

test('nodes that are in one block survive a node; where they are put in two, what lies in one is misplaced', async () => {
  const story = await Story.begin(2, { nodes: 4, blockOf: () => 'b1' })
  const { scene } = story
  for (const vdisk of vdisks) {
    assert.ok(await story.write(vdisk, 0, 64))
    await scene.drain(vdisk)
  }
  const one = await story.settle('with one block')
  assert.match(one.sentence, /^survives a node, but not/)
  assert.ok(one.missing.some((line) => line.startsWith('a second block: all nodes that are up are in b1')))
  assert.equal(one.misplacedBytes, 0)

  for (const node of scene.groupNodes('u')) await story.setBlock(node, 'b2')
  // Until it moves, which it does by itself.
  let two = await story.said()
  for (let looks = 0; two.misplacedBytes === 0 && looks < 100; looks++) {
    await scene.wait(20)
    await story.check('with two blocks')
    two = await story.said()
  }
  assert.match(two.sentence, /^survives a node, but not/)
  assert.ok(two.misplacedBytes > 0)
  assert.ok(two.missing.some((line) => /^placement of .* misplaced .*: c\/u/.test(line)))

  // What is written from now on goes by the blocks as they are.
  for (const vdisk of vdisks) {
    assert.ok(await story.write(vdisk, 0, 64))
    await scene.drain(vdisk)
  }
  let anew = await story.settle('written anew')
  // What lay in one block before moves by itself.
  for (let waits = 0; anew.misplacedBytes > 0 && waits < 30; waits++) {
    await scene.wait(1_000)
    anew = await story.settle('moved')
  }
  assert.match(anew.sentence, /^survives a block, but not/)
  await scene.finish()
})

test('what only a log holds counts too: of two nodes one is left, and it is one copy, of so many bytes', async () => {
  const story = await Story.begin(4, { nodes: 2, blockOf: () => 'b1' })
  const { scene } = story
  for (const vdisk of vdisks) assert.ok(await story.write(vdisk, 0, 64))
  const both = await story.said()
  assert.match(both.sentence, /^survives a node, but not/)
  assert.ok(both.missing.some((line) => /^a node: while one more is down writes wait/.test(line)))
  const { owner, peer } = scene.roles('u')
  scene.cluster.end(peer, 'silent power cut')
  await story.deathsAreKnown()
  await story.check('with one node')
  const { sentence, bytes, missing } = await story.said(owner)
  assert.match(sentence, new RegExp(`^one copy of .* left: c/u, c/v; ${peer} is down$`))
  assert.ok(bytes['one copy'] >= 64 * 512)
  assert.ok(missing.some((line) => /^nodes: writes wait where 2 copies are asked for/.test(line)))
  await scene.finish()
})

test('nobody’s answer is missed: an owner that hangs is not asked, and its rows tell', async () => {
  const story = await Story.begin(3)
  const { scene } = story
  for (const vdisk of vdisks) assert.ok(await story.write(vdisk, 0, 64))
  const owner = scene.owner('u')!
  const asked = scene.cluster.names.find((node) => !vdisks.some((vdisk) => scene.owner(vdisk) === node))!
  scene.world.cut(asked, owner)
  const { level, sentence } = await story.said(asked)
  assert.equal(level, 'block', sentence)
  scene.world.healAll()
  await scene.finish()
})

for (const seed of [11, 12, 13, 14, 15, 16, 17, 18])
  test(`whoever dies, and whenever, it never says more than is true: seed ${seed}`, async () => {
    const story = await Story.begin(seed, { sectors: 4096 })
    const { scene, chance } = story
    const { cluster } = scene
    const writeSomewhere = (): Promise<boolean> =>
      story.write(story.pick(vdisks), chance.below(4096 - 64), 1 + chance.below(64))
    for (let step = 0; step < 24; step++) {
      const down = cluster.names.filter((node) => cluster.node(node) === undefined)
      const draw = chance.below(8)
      if (draw < 2 && down.length < 4)
        cluster.end(story.pick(cluster.serving()), chance.happens(0.5) ? 'kill' : 'silent power cut')
      else if (draw < 4 && down.length > 1) cluster.startNode(story.pick(down))
      // As long as enough are left to take it: else it waits for ever.
      else if (down.length > 2) await scene.wait(chance.below(5_000))
      else if (draw < 6) await writeSomewhere()
      else await scene.drain(story.pick(vdisks)).catch(() => undefined)
      await story.deathsAreKnown()
      await story.check(`after step ${step}`)
      if (chance.happens(0.5)) await scene.wait(chance.below(2_000))
    }
    await scene.heal()
    for (const vdisk of vdisks) {
      assert.ok(await story.write(vdisk, 0, 64))
      await scene.drain(vdisk)
    }
    story.isAsGoodAsItCanBe(await story.settle('in the end'))
    await scene.finish()
  })
