import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NodeId } from '../../src/base/ids.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { Cluster, disksOfNode, pathOfDisk } from '../cluster.ts'
import { allTroubles, Faults, type Trouble, troubles } from '../faults.ts'
import { simulate } from '../simulate.ts'

/** Often enough that each kind takes effect within seconds. */
const everyMs = [50, 800] as const

/** What `kind` alone does in a run with clients; the run itself checks that nothing is lost. */
async function countOf(kind: Trouble, seed: number): Promise<number> {
  const outcome = await simulate({
    seed,
    plan: {
      nodes: 3,
      copies: 2,
      vdisks: 1,
      clientsPerVDisk: 2,
      handsMost: 3,
      sectors: 1024,
      hardTimesMs: 5_000,
      // Two kinds, so that the run is soon hard enough (simulate.ts).
      troubles: { 'clock jump': 1, [kind]: 4 },
      troubleEveryMs: everyMs,
      lossesMax: 1,
      operator: false,
      oplogSegmentBytes: 512 * KiB,
    },
  })
  const others = Object.keys(outcome.troubles).filter((other) => other !== kind && !comesWith(kind, other))
  assert.deepEqual(others, [])
  return outcome.troubles[kind] ?? 0
}

/** What comes with every other, or is counted apart and is a part of it. */
const comesWith = (kind: string, other: string): boolean =>
  other === 'clock jump' ||
  other === 'torn sector' ||
  (kind === 'log write misdirected' && other === 'log write lost')

for (const [kind, what] of Object.entries(troubles))
  if (allTroubles[kind as Trouble] > 0)
    test(`${kind}: ${what}; it takes effect, and nothing that was acknowledged is lost`, async () => {
      let count = 0
      for (let seed = 1; seed <= 4 && count === 0; seed++) count += await countOf(kind as Trouble, seed)
      assert.ok(count > 0, 'it never took effect')
    })

async function clusterWith(seed: number, weights: Partial<Record<Trouble, number>>, badMachines: number) {
  const cluster = await Cluster.start({ seed, nodes: 3, oplogSegmentBytes: MiB, cacheBytes: 256 * KiB })
  const lines: string[] = []
  const faults = new Faults(cluster, { weights, everyMs, lossesMax: 0, badMachines }, (line) =>
    lines.push(line),
  )
  return { cluster, faults, lines }
}

test('what destroys data hits bad machines only, and without any nothing is destroyed', async () => {
  const destroying: Partial<Record<Trouble, number>> = {
    'blank disk': 1,
    'disk gone': 1,
    'group rot': 1,
    loss: 1,
  }
  const none = await clusterWith(1, destroying, 0)
  none.faults.begin()
  await none.cluster.world.run(none.cluster.world.now + 20_000)
  assert.deepEqual(none.lines, [])
  assert.equal(none.faults.counts.size, 0)

  const one = await clusterWith(1, destroying, 1)
  one.faults.begin()
  await one.cluster.world.run(one.cluster.world.now + 20_000)
  const hit = new Set(one.lines.map((line) => /\bn\d\b/.exec(line)?.[0]))
  assert.equal(hit.size, 1)
  for (const { cluster } of [none, one]) cluster.database.close()
})

test('a replaced disk has another incarnation, is known to be gone, and its node serves again', async () => {
  const { cluster, faults } = await clusterWith(3, { 'blank disk': 1 }, 1)
  const incarnations = (name: NodeId): string[] =>
    disksOfNode.map((tier) => {
      const file = cluster.world.disk(name).findFile(`${pathOfDisk(tier)}/superblock.json`)
      const bytes = Buffer.alloc(file.content.size)
      file.content.read(bytes, 0)
      return /"incarnation":\s*"(\w+)"/.exec(bytes.toString())![1]
    })
  const before = cluster.names.flatMap(incarnations)
  faults.begin()
  await cluster.world.run(() => (faults.counts.get('blank disk') ?? 0) > 0)
  faults.calm()
  await cluster.world.run(() => cluster.serving().length === 3)
  const after = cluster.names.flatMap(incarnations)
  const replaced = before.filter((incarnation) => !after.includes(incarnation))
  assert.ok(replaced.length > 0)
  for (const incarnation of before)
    assert.equal(faults.damage.isGone(incarnation), replaced.includes(incarnation))
  cluster.database.close()
})

test('after calm nothing goes wrong any more, and every node serves', async () => {
  const { cluster, faults, lines } = await clusterWith(5, allTroubles, 1)
  faults.begin()
  const { world } = cluster
  await world.run(world.now + 20_000)
  faults.calm()
  const said = lines.length
  const counts = new Map(faults.counts)
  assert.ok([...counts.values()].reduce((sum, count) => sum + count, 0) > 10)
  await world.run(() => cluster.serving().length === cluster.notLost().length)
  await world.run(world.now + 60_000)
  assert.equal(lines.length, said)
  assert.deepEqual(faults.counts, counts)
  cluster.database.close()
})
