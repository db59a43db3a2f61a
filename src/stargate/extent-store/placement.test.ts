import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { DiskId, Incarnation, NodeId } from '../../base/ids.ts'
import type { Tier } from '../../disk/disk.ts'
import { isMixed, place, type Candidate, type PlacementRequest } from './placement.ts'

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
  space: { capacityBytes: 100, usedBytes: 90 - guestFreeBytes, guestFreeBytes },
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
