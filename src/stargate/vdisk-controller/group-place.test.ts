import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hasCode } from '../../base/errors.ts'
import type { NodeId } from '../../base/ids.ts'
import { asVDisk, diskRef, TestNode, TestWorld } from './fixtures.test.ts'
import type { Candidate } from '../extent-store/extent-store.ts'
import type { SpaceLeft } from './compaction-victims.ts'
import { bytesInCopies, type LogCandidate, placeGroup, placeLog, spaceLeft, Suspects } from './group-place.ts'

const n = (node: string): NodeId => node as NodeId
const candidate = (node: string, block = `block-of-${node}`): LogCandidate => ({ ref: diskRef(node), block })
const nodesOf = (replicas: readonly { node: NodeId }[]): string[] => replicas.map(({ node }) => node)

test("a log's first replica is its owner's own, the others are on other nodes (I1)", () => {
  const two = { ...candidate('n2'), ref: { ...diskRef('n2'), disk: 'n2-flash-1' as never } }
  const chosen = placeLog(2, 0, n('n2'), [candidate('n1'), candidate('n2'), two, candidate('n3')], [])
  assert.equal(chosen[0].node, 'n2')
  assert.notEqual(chosen[1].node, 'n2')
})

test('there are fewer replicas where there are too few nodes, never two on one node (I1)', () => {
  const second = { ...candidate('n1'), ref: { ...diskRef('n1'), disk: 'n1-flash-1' as never } }
  assert.deepEqual(nodesOf(placeLog(2, 0, n('n1'), [candidate('n1'), second], [])), ['n1'])
  assert.deepEqual(placeLog(2, 0, n('n1'), [], []), [])
})

test('replicas lie in as many live blocks as there are, and in one block twice rather than nowhere (M13)', () => {
  const candidates = [candidate('n1', 'a'), candidate('n2', 'a'), candidate('n3', 'b'), candidate('n4', 'b')]
  for (let spread = 0; spread < 8; spread++) {
    const [first, second] = placeLog(2, spread, n('n1'), candidates, [])
    assert.equal(first.node, 'n1')
    assert.ok(['n3', 'n4'].includes(second.node), `spread ${spread}: ${second.node}`)
    const three = nodesOf(placeLog(3, spread, n('n1'), candidates, []))
    assert.equal(new Set(three).size, 3)
  }
  assert.deepEqual(nodesOf(placeLog(2, 0, n('n1'), candidates.slice(0, 2), [])), ['n1', 'n2'])
})

test('the logs of many vDisks use all nodes alike', () => {
  const candidates = ['n1', 'n2', 'n3', 'n4', 'n5'].map((node) => candidate(node))
  const counts = new Map<string, number>()
  for (let vdisk = 0; vdisk < 100; vdisk++) {
    const { node } = placeLog(2, asVDisk(vdisk), n('n1'), candidates, [])[1]
    counts.set(node, (counts.get(node) ?? 0) + 1)
  }
  assert.equal(counts.size, 4)
  assert.ok(Math.max(...counts.values()) <= 40, JSON.stringify([...counts]))
})

test('a node that failed a moment ago is chosen last, and is chosen when there is no other (F10)', () => {
  const candidates = ['n1', 'n2', 'n3'].map((node) => candidate(node))
  for (let spread = 0; spread < 3; spread++) {
    assert.deepEqual(nodesOf(placeLog(2, spread, n('n1'), candidates, [n('n3')])), ['n1', 'n2'])
    assert.deepEqual(nodesOf(placeLog(2, spread, n('n1'), candidates, [n('n1')])).sort(), ['n2', 'n3'])
    assert.equal(placeLog(3, spread, n('n1'), candidates, [n('n3')]).length, 3)
  }
})

test('of two that failed, the one that failed last is chosen last: else a log would choose the one that hangs for ever (F10)', () => {
  const candidates = ['n1', 'n2', 'n3'].map((node) => candidate(node))
  const suspects = new Suspects()
  suspects.add(n('n3'), 0)
  suspects.add(n('n2'), 10)
  for (let spread = 0; spread < 3; spread++)
    assert.deepEqual(nodesOf(placeLog(2, spread, n('n1'), candidates, suspects.now(20))), ['n1', 'n3'])
  suspects.add(n('n3'), 30)
  assert.deepEqual(nodesOf(placeLog(2, 0, n('n1'), candidates, suspects.now(40))), ['n1', 'n2'])
})

test('a block used twice is better than a node that hangs (F10)', () => {
  const candidates = [candidate('n1', 'a'), candidate('n2', 'a'), candidate('n3', 'b')]
  assert.deepEqual(nodesOf(placeLog(2, 0, n('n1'), candidates, [n('n3')])), ['n1', 'n2'])
})

test('after a minute a node that failed is chosen as before (F10)', () => {
  const suspects = new Suspects()
  suspects.add(n('n2'), 1000)
  assert.deepEqual(suspects.now(60_999), ['n2'])
  assert.deepEqual(suspects.now(61_000), [])
})

test('a group that finds too few disks says whether nodes are down or space is short', () => {
  const world = new TestWorld(1)
  const { extents } = new TestNode(world, 'n1')
  const wish = { copies: 2, bytes: 4096, purpose: 'guest', owner: n('n1'), avoid: [] } as const
  assert.equal(placeGroup(extents, wish).disks[0].node, 'n1')
  for (const node of ['n2', 'n3']) world.extents.get(n(node))!.guestFreeBytes = 0
  assert.throws(
    () => placeGroup(extents, wish),
    (error) => hasCode(error, 'OUT_OF_SPACE'),
  )
  // What drains has room of its own (I10).
  assert.equal(placeGroup(extents, { ...wish, purpose: 'maintenance' }).disks.length, 2)
  for (const node of ['n2', 'n3']) world.extents.get(n(node))!.state = 'gone'
  assert.throws(
    () => placeGroup(extents, wish),
    (error) => hasCode(error, 'TOO_FEW_REPLICAS'),
  )
  world.close()
})

const anyLogDisks = fc.record({
  nodes: fc.array(
    fc.record({
      block: fc.integer({ min: 1, max: 4 }),
      disks: fc.integer({ min: 0, max: 2 }),
      failedAt: fc.integer({ min: 0, max: 8 }),
    }),
    { minLength: 1, maxLength: 7 },
  ),
  copies: fc.integer({ min: 1, max: 3 }),
  spread: fc.nat(20),
  owner: fc.integer({ min: 0, max: 6 }),
})

test("in any cluster a log lies on distinct nodes and in as many blocks as those have that didn't fail a moment ago", () => {
  fc.assert(
    fc.property(anyLogDisks, ({ nodes, copies, spread, owner }) => {
      const candidates = nodes.flatMap(({ block, disks }, node) =>
        Array.from({ length: disks }, (_, disk) => {
          const one = candidate(`n${node}`, `b${block}`)
          return { ...one, ref: { ...one.ref, disk: `n${node}-flash-${disk}` as never } }
        }),
      )
      const suspects = nodes
        .map(({ failedAt }, node) => ({ node: n(`n${node}`), failedAt }))
        .filter(({ failedAt }) => failedAt >= 6)
        .sort((a, b) => a.failedAt - b.failedAt)
        .map(({ node }) => node)
      const chosen = placeLog(copies, spread, n(`n${owner}`), candidates, suspects)
      const blockOf = new Map(candidates.map(({ ref, block }) => [ref.node, block]))
      const usable = [...blockOf.keys()]
      const sound = usable.filter((node) => !suspects.includes(node))
      const chosenSound = chosen.filter(({ node }) => sound.includes(node))
      const blocksOf = (among: readonly NodeId[]) => new Set(among.map((node) => blockOf.get(node))).size

      assert.equal(chosen.length, Math.min(copies, usable.length))
      assert.equal(new Set(nodesOf(chosen)).size, chosen.length)
      assert.equal(chosenSound.length, Math.min(copies, sound.length))
      assert.equal(blocksOf(chosenSound.map(({ node }) => node)), Math.min(copies, blocksOf(sound)))
      if (sound.includes(n(`n${owner}`))) assert.equal(chosen[0].node, `n${owner}`)
      const reversed = placeLog(copies, spread, n(`n${owner}`), candidates.toReversed(), suspects)
      assert.deepEqual(reversed, chosen, 'the order of candidates matters')
    }),
    { seed: 20_261_121, numRuns: 1000 },
  )
})

test('what has room in two copies is bounded by what the fullest nodes leave', () => {
  assert.equal(bytesInCopies([], 1), 0)
  assert.equal(bytesInCopies([7], 2), 0)
  assert.equal(bytesInCopies([6, 6, 6], 2), 9)
  assert.equal(bytesInCopies([100, 3, 2], 2), 5)
  assert.equal(bytesInCopies([100, 3, 2], 3), 2)
  const free = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(free, fc.integer({ min: 1, max: 3 }), (nodes, copies) => {
      // One byte after the other, each on the nodes with most room.
      const left = [...nodes]
      let placed = 0
      for (;;) {
        const most = [...left.keys()].sort((a, b) => left[b] - left[a]).slice(0, copies)
        if (most.length < copies || most.some((i) => left[i] === 0)) break
        for (const i of most) left[i]--
        placed++
      }
      assert.equal(Math.floor(bytesInCopies(nodes, copies)), placed)
    }),
  )
})

test('what is left for groups is what guests find, without disks that are being left or out of reach', () => {
  const space = { capacityBytes: 100, usedBytes: 30, guestFreeBytes: 60, maintenanceFreeBytes: 70 }
  const nodes = ['n1', 'n2', 'n3', 'n4'].map((node) => ({
    ...{ ref: diskRef(node), block: node, tier: 'flash' as const, space, live: node !== 'n4' },
  }))
  const [n1, n2, n3, n4] = nodes
  const left = (candidates: Candidate[], deadBytes = 0, compacting = 1): SpaceLeft =>
    spaceLeft(candidates, { copies: 2, deadBytes, compacting })
  assert.deepEqual(left(nodes), { taken: 90 / 270, copyBytesMax: 17 })
  assert.deepEqual(left([n1, n2, { ...n3, leaving: true }, n4]), { taken: 1 / 3, copyBytesMax: 17 })
  assert.deepEqual(left([n1, n4]), { taken: 1, copyBytesMax: 0 })
  assert.deepEqual(left([]), { taken: 1, copyBytesMax: 0 })
  const full = { ...n1, space: { ...space, guestFreeBytes: 0 } }
  assert.equal(left([full, n2]).taken, 1)
  // What is dead is on its way out; until it is, no more is copied than there is room for beside it, by all that copy.
  assert.deepEqual(left(nodes, 10), { taken: 70 / 270, copyBytesMax: 15 })
  assert.deepEqual(left(nodes, 10, 5), { taken: 70 / 270, copyBytesMax: 3 })
  assert.equal(left([full, n2], 15).taken, 0.5)
  assert.deepEqual(left(nodes, 1000), { taken: 0, copyBytesMax: 0 })
})
