import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findPatchFaults } from './patches/source-patch.ts'
import { plantedBugs } from './planted/bugs.ts'
import { expectFound } from './planted/found-suite.ts'

test('there are enough planted bugs, each with a name of its own, and all can be planted', () => {
  assert.ok(plantedBugs.length >= 30)
  assert.equal(new Set(plantedBugs.map(({ name }) => name)).size, plantedBugs.length)
  assert.deepEqual(
    plantedBugs.flatMap(({ patches }) => findPatchFaults(patches)),
    [],
  )
})

expectFound(plantedBugs.filter(({ scenario }) => scenario === undefined))
