import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findPatchFaults } from './patches/source-patch.ts'
import { plantedBugs } from './planted/bugs.ts'
import { findBug } from './planted/find-bug.ts'

/** The first seed found it when it was written down; the source has changed since, and with it what each seed means. */
const seedsMax = 25

test('there are enough planted bugs, each with a name of its own, and all can be planted', () => {
  assert.ok(plantedBugs.length >= 30)
  assert.equal(new Set(plantedBugs.map(({ name }) => name)).size, plantedBugs.length)
  assert.deepEqual(
    plantedBugs.flatMap(({ patches }) => findPatchFaults(patches)),
    [],
  )
})

describe('a planted bug is found', { concurrency: 2 }, () => {
  for (const bug of plantedBugs)
    test(bug.name, async () => {
      const first = bug.seed ?? 1
      const { found } = await findBug(bug, first, seedsMax)
      assert.ok(
        found,
        `${bug.scenario === undefined ? `no seed from ${first} to ${first + seedsMax - 1}` : 'no scenario'} finds it: ${bug.does}`,
      )
    })
})
