import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CassandraServer } from './cassandra-client.ts'
import { lossOf } from './cassandra-loss.ts'

/** `a` a server in rack a, `A` one that is down. */
const servers = (racks: string): CassandraServer[] =>
  [...racks].map((rack, i) => ({
    address: `s${i}`,
    rack: rack.toLowerCase(),
    up: rack === rack.toLowerCase(),
  }))
const survives = (racks: string, copies = 3): string => lossOf(servers(racks), copies).survives

test('three copies outlive a rack where there are three of them, and where there are two only one server', () => {
  assert.equal(survives('abc'), 'block')
  assert.equal(survives('aabbcc'), 'block')
  assert.equal(survives('abcd'), 'block')
  assert.equal(survives('aab'), 'node')
  assert.equal(survives('aabb'), 'node')
  assert.equal(survives('aaa'), 'node')
  assert.match(
    lossOf(servers('aab'), 3).limit!,
    /^3 copies of each row of the metadata on 3 servers of Cassandra in 2 racks$/,
  )
})

test('while a server is away no other one may be lost, nor after half of the copies', () => {
  assert.equal(survives('Abc'), 'nothing')
  assert.equal(survives('aabbC'), 'nothing')
  assert.match(lossOf(servers('Abc'), 3).limit!, /in 3 racks, of which s0 is down$/)
  assert.equal(survives('abcdE', 5), 'block', 'the second of five copies')
  assert.equal(survives('abcDE', 5), 'nothing')
})

test('fewer copies than three outlive nothing, nor fewer servers than copies', () => {
  assert.equal(survives('abc', 1), 'nothing')
  assert.equal(survives('abc', 2), 'nothing')
  assert.equal(survives('ab', 3), 'nothing')
  assert.equal(survives('abc', 0), 'nothing')
  assert.equal(survives('', 3), 'nothing')
})

test('five copies outlive a rack that has two of them, and none that has three', () => {
  assert.equal(survives('aabbc', 5), 'block')
  assert.equal(survives('aaabc', 5), 'node')
  assert.equal(survives('abcdd', 5), 'block')
})

// Copies are laid as Cassandra lays them, along rings that are drawn.
test('no row that there is has fewer copies left than was said', () => {
  for (let seed = 1; seed <= 400; seed++) {
    const draw = drawing(seed)
    const all = servers(
      Array.from({ length: 1 + draw(6) }, () => 'abcd'[draw(4)])
        .map((rack) => (draw(6) === 0 ? rack.toUpperCase() : rack))
        .join(''),
    )
    const copies = 1 + draw(5)
    const { survives: said } = lossOf(all, copies)
    const losses =
      said === 'block'
        ? all.map(({ rack }) => all.filter((server) => server.rack === rack))
        : said === 'node'
          ? all.map((server) => [server])
          : []
    const ring = Array.from({ length: all.length * 8 }, () => all[draw(all.length)])
    for (const lost of losses)
      for (let at = 0; at < ring.length; at++) {
        const there = copiesAlong(ring, at, copies, all).filter(({ up }) => up)
        const left = there.filter((server) => !lost.includes(server)).length
        assert.ok(left >= Math.floor(copies / 2) + 1, `seed ${seed}: ${said}, and ${left} of ${copies} left`)
      }
  }
})

/** NetworkTopologyStrategy's: one in each rack, and as many more as racks lack. */
function copiesAlong(
  ring: readonly CassandraServer[],
  from: number,
  copies: number,
  all: readonly CassandraServer[],
): CassandraServer[] {
  const onRing = [...ring.slice(from), ...ring.slice(0, from), ...all]
  const racks = new Set(all.map(({ rack }) => rack))
  const found: CassandraServer[] = []
  let repeats = copies - racks.size
  for (const server of onRing) {
    if (found.length === Math.min(copies, all.length)) break
    if (found.includes(server)) continue
    if (found.some(({ rack }) => rack === server.rack) && repeats-- <= 0) continue
    found.push(server)
  }
  return found
}

function drawing(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
}
