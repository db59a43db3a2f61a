import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { findPatchFaults } from './patches/source-patch.ts'
import { plantedBugs } from './planted/bugs.ts'
import { findBug } from './planted/find-bug.ts'

/** Most are found by the first or second; all by a handful, so that a change of the source, and with it of what seeds mean, harms none. */
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
      const { found } = await findBug(bug, 1, seedsMax)
      assert.ok(
        found,
        `${bug.scenario === undefined ? `no seed from 1 to ${seedsMax}` : 'no scenario'} finds it: ${bug.does}`,
      )
    })
})
