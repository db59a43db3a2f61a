import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DiskId, Incarnation, NodeId } from '../../base/ids.ts'
import type { SpacePurpose, Tier } from '../../disk/disk.ts'
import {
  isMixed,
  place,
  placeCopy,
  type Candidate,
  type CopyPlacementRequest,
  type PlacementRequest,
} from './placement.ts'

const candidate = (
  node: string,
  block: string,
  tier: Tier,
  guestFreeBytes: number,
  live = true,
): Candidate => ({
  ref: { node: node as NodeId, disk: `${node}-${tier}-0` as DiskId, incarnation: '00' as Incarnation },
  block,
  tier,
  space: {
    capacityBytes: 100,
    usedBytes: 90 - guestFreeBytes,
    guestFreeBytes,
    maintenanceFreeBytes: guestFreeBytes + 10,
  },
  live,
})
const request: PlacementRequest = {
  copies: 2,
  tier: 'flash',
  bytes: 4,
  purpose: 'guest',
  owner: 'n1' as NodeId,
  avoid: [],
}
const nodes = (chosen: readonly Candidate[]) => chosen.map(({ ref }) => ref.node as string)

test('the first copy goes to the owner, the next to the emptiest disk of another block', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 10),
    candidate('n2', 'a', 'flash', 80),
    candidate('n3', 'b', 'flash', 30),
    candidate('n4', 'c', 'flash', 40),
  ]
  assert.deepEqual(nodes(place(request, candidates)), ['n1', 'n4'])
  assert.deepEqual(nodes(place({ ...request, copies: 4 }, candidates)), ['n1', 'n4', 'n3', 'n2'])
})

test('the other tier is taken only where the one asked for has no room, and the choice says mixed', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 3),
    candidate('n1', 'a', 'hdd', 50),
    candidate('n2', 'b', 'flash', 50),
    candidate('n2', 'b', 'hdd', 80),
  ]
  const chosen = place(request, candidates)
  assert.deepEqual(
    chosen.map(({ ref }) => ref.disk as string),
    ['n2-flash-0', 'n1-hdd-0'],
  )
  assert.ok(isMixed(request, chosen))
  assert.equal(isMixed(request, place({ ...request, bytes: 2 }, candidates)), false)
})

test('guests stop where maintenance may still write (I10)', () => {
  const candidates = [candidate('n1', 'a', 'flash', 0), candidate('n2', 'b', 'flash', 0)]
  assert.deepEqual(place(request, candidates), [])
  assert.equal(place({ ...request, purpose: 'maintenance' }, candidates).length, 2)
})

test('what a log keeps of a disk is no room for drains nor for copies: the other tier is chosen (I10)', () => {
  const full = candidate('n1', 'a', 'flash', 0)
  const flash = { ...full, space: { ...full.space, maintenanceFreeBytes: 3 } }
  const hdd = candidate('n1', 'a', 'hdd', 0)
  const disksOf = (chosen: readonly Candidate[]) => chosen.map(({ ref }) => ref.disk as string)
  assert.deepEqual(disksOf(place({ ...request, purpose: 'maintenance' }, [flash, hdd])), ['n1-hdd-0'])
  const copy = { ...request, beside: [], underWay: () => 0 }
  assert.equal(placeCopy({ ...copy, bytes: 1 }, [flash]), undefined)
  assert.equal(placeCopy({ ...copy, bytes: 1 }, [flash, hdd]), hdd)
  assert.equal(placeCopy({ ...copy, bytes: 1, underWay: () => 5 }, [hdd]), undefined)
})

test('the reserve of a disk is taken when no other has room, not to keep to a tier (I10)', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 2),
    candidate('n1', 'a', 'hdd', 10),
    candidate('n2', 'b', 'flash', 2),
  ]
  const chosen = place({ ...request, purpose: 'maintenance' }, candidates)
  assert.deepEqual(
    chosen.map(({ ref }) => ref.disk as string),
    ['n1-hdd-0', 'n2-flash-0'],
  )
})

test('a node that failed a moment ago is chosen last, but is chosen (F10)', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 50),
    candidate('n2', 'b', 'flash', 80),
    candidate('n3', 'c', 'flash', 10),
  ]
  const avoid = ['n2' as NodeId]
  assert.deepEqual(nodes(place({ ...request, avoid }, candidates)), ['n1', 'n3'])
  assert.deepEqual(nodes(place({ ...request, avoid, copies: 3 }, candidates)), ['n1', 'n3', 'n2'])
})

test('another copy goes beside those that there are: to no node of theirs, to another block, to the emptiest disk', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 60),
    candidate('n2', 'b', 'flash', 60),
    candidate('n3', 'a', 'flash', 80),
    candidate('n4', 'c', 'flash', 30),
    candidate('n5', 'c', 'flash', 40),
  ]
  const wish: CopyPlacementRequest = {
    tier: 'flash',
    bytes: 4,
    owner: 'n1' as NodeId,
    avoid: [],
    beside: [candidates[0].ref],
    underWay: () => 0,
  }
  const chosen = (more: Partial<CopyPlacementRequest>, among = candidates) =>
    placeCopy({ ...wish, ...more }, among)?.ref.node
  assert.equal(chosen({}), 'n2')
  const underWay = ({ node }: { node: string }) => (node === 'n2' ? 25 : 0)
  assert.equal(chosen({ underWay }), 'n5')
  assert.equal(chosen({ beside: [candidates[3].ref] }), 'n1', 'the owner’s own')
  const nearlyFull = (free: number) => [candidate('n2', 'b', 'flash', free - 10)]
  assert.equal(chosen({}, nearlyFull(9)), 'n2')
  assert.equal(chosen({}, nearlyFull(8)), undefined, 'a twentieth of the disk is for drains (I10)')
  const down = [candidate('n2', 'b', 'hdd', 60), candidate('n2', 'b', 'flash', 60, false)]
  assert.equal(
    chosen({ beside: [candidate('n2', 'b', 'flash', 0).ref] }, down),
    undefined,
    'it may come back (I1)',
  )
})

const anyCandidates = fc.uniqueArray(
  fc.record({
    node: fc.integer({ min: 1, max: 8 }),
    tier: fc.constantFrom<Tier>('flash', 'hdd'),
    free: fc.nat(90),
    live: fc.boolean(),
  }),
  { maxLength: 16, selector: ({ node, tier }) => `${node} ${tier}` },
)
const anyRequest = fc.record({
  copies: fc.integer({ min: 1, max: 3 }),
  tier: fc.constantFrom<Tier>('flash', 'hdd'),
  bytes: fc.integer({ min: 1, max: 20 }),
  owner: fc.integer({ min: 1, max: 8 }),
  blockCount: fc.integer({ min: 1, max: 4 }),
})

test('copies lie on distinct nodes, in as many live blocks as there are, on one tier where that is possible', () => {
  fc.assert(
    fc.property(
      anyCandidates,
      anyRequest,
      fc.array(fc.nat(), { minLength: 16, maxLength: 16 }),
      (disks, asked, keys) => {
        const candidates = disks.map(({ node, tier, free, live }) =>
          candidate(`n${node}`, `block-${node % asked.blockCount}`, tier, free, live),
        )
        const wanted = { ...request, ...asked, owner: `n${asked.owner}` as NodeId }
        const chosen = place(wanted, candidates)
        const usable = candidates.filter(({ live, space }) => live && space.guestFreeBytes >= asked.bytes)
        const distinct = (from: readonly Candidate[], what: (candidate: Candidate) => string) =>
          new Set(from.map(what)).size
        const nodeOf = ({ ref }: Candidate) => ref.node
        const blockOf = ({ block }: Candidate) => block

        assert.ok(chosen.every((one) => usable.includes(one)))
        assert.equal(distinct(chosen, nodeOf), chosen.length)
        assert.equal(chosen.length, Math.min(asked.copies, distinct(usable, nodeOf)))
        assert.equal(distinct(chosen, blockOf), Math.min(asked.copies, distinct(usable, blockOf)))
        const ofTier = usable.filter(({ tier }) => tier === asked.tier)
        if (
          distinct(ofTier, nodeOf) >= asked.copies &&
          distinct(ofTier, blockOf) >= Math.min(asked.copies, distinct(usable, blockOf))
        )
          assert.equal(isMixed(wanted, chosen), false)
        if (ofTier.some(({ ref }) => ref.node === wanted.owner))
          assert.equal(chosen[0].ref.node, wanted.owner)

        const shuffled = candidates
          .map((one, index) => ({ one, key: keys[index] }))
          .sort((a, b) => a.key - b.key)
          .map(({ one }) => one)
        assert.deepEqual(place(wanted, shuffled), chosen, 'the order of candidates matters')
      },
    ),
    { seed: 20_261_121, numRuns: 500 },
  )
})

const anyCluster = fc.record({
  nodes: fc.array(
    fc.record({
      block: fc.integer({ min: 1, max: 4 }),
      disks: fc.array(
        fc.record({
          tier: fc.constantFrom<Tier>('flash', 'hdd'),
          free: fc.oneof(fc.constant(0), fc.nat(90)),
          live: fc.integer({ min: 0, max: 4 }).map((chance) => chance > 0),
        }),
        { maxLength: 2 },
      ),
      suspect: fc.integer({ min: 0, max: 3 }).map((chance) => chance === 0),
    }),
    { minLength: 1, maxLength: 6 },
  ),
  copies: fc.integer({ min: 1, max: 3 }),
  bytes: fc.integer({ min: 1, max: 40 }),
  purpose: fc.constantFrom<SpacePurpose>('guest', 'maintenance'),
  tier: fc.constantFrom<Tier>('flash', 'hdd'),
})

/** Every choice of so many candidates on distinct nodes. */
function* choices(from: readonly Candidate[], count: number): Generator<Candidate[]> {
  if (count === 0) yield []
  else
    for (const [i, one] of from.entries())
      for (const others of choices(
        from.slice(i + 1).filter(({ ref }) => ref.node !== one.ref.node),
        count - 1,
      ))
        yield [one, ...others]
}

test('no other choice has fewer suspects, nor as few and more blocks, nor as many and less of the reserve, nor as little and more of the tier', () => {
  fc.assert(
    fc.property(anyCluster, ({ nodes: described, copies, bytes, purpose, tier }) => {
      const candidates = described.flatMap(({ block, disks }, node) =>
        disks.map(({ tier: of, free, live }, disk) => {
          const one = candidate(`n${node}`, `b${block}`, of, free, live)
          return { ...one, ref: { ...one.ref, disk: `n${node}-${of}-${disk}` as DiskId } }
        }),
      )
      const avoid = described.flatMap(({ suspect }, node) => (suspect ? [`n${node}` as NodeId] : []))
      const wanted = { ...request, owner: 'n0' as NodeId, copies, bytes, purpose, tier, avoid }
      const roomIn = ({ space }: Candidate) =>
        purpose === 'guest' ? space.guestFreeBytes : space.maintenanceFreeBytes
      const usable = candidates.filter((one) => one.live && roomIn(one) >= bytes)
      const nodesUsable = new Set(usable.map(({ ref }) => ref.node)).size
      const worth = (choice: readonly Candidate[]): number[] => [
        choice.filter(({ ref }) => !avoid.includes(ref.node)).length,
        new Set(choice.map(({ block }) => block)).size,
        choice.filter(({ space }) => space.guestFreeBytes >= bytes).length,
        choice.filter((one) => one.tier === tier).length,
      ]

      const chosen = place(wanted, candidates)
      assert.ok(
        chosen.every((one) => usable.includes(one)),
        'a disk that is full, or gone, was chosen',
      )
      assert.equal(new Set(chosen.map(({ ref }) => ref.node)).size, Math.min(copies, nodesUsable))
      assert.equal(chosen.length, Math.min(copies, nodesUsable))
      const best = [...choices(usable, chosen.length)]
        .map(worth)
        .reduce((a, b) => ((a.map((part, i) => part - b[i]).find((by) => by !== 0) ?? 0) >= 0 ? a : b))
      assert.deepEqual(worth(chosen), best)
      assert.deepEqual(place(wanted, candidates.toReversed()), chosen, 'the order of candidates matters')
    }),
    { seed: 20_261_121, numRuns: 1000 },
  )
})

test('with a draw the other copies go everywhere, to each disk as often as its share of what is free (R18, R22)', () => {
  const candidates = [
    candidate('n1', 'a', 'flash', 20),
    candidate('n2', 'b', 'flash', 20),
    candidate('n3', 'c', 'flash', 60),
    candidate('n4', 'd', 'hdd', 80),
  ]
  const placed = new Map<string, number>()
  for (let draw = 0; draw < 4000; draw++) {
    const [first, second] = nodes(
      place({ ...request, draw }, draw % 2 === 0 ? candidates : candidates.toReversed()),
    )
    assert.equal(first, 'n1', 'what weighs more than room weighs more than lots')
    placed.set(second, (placed.get(second) ?? 0) + 1)
  }
  assert.deepEqual([...placed.keys()].sort(), ['n2', 'n3'])
  const share = placed.get('n3')! / 4000
  assert.ok(share > 0.7 && share < 0.8, `three times the room of n2, and ${share} of all`)
  assert.deepEqual(
    place({ ...request, draw: 7 }, candidates),
    place({ ...request, draw: 7 }, candidates.toReversed()),
  )
})
