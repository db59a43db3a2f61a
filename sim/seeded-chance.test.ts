import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededChance } from './seeded-chance.ts'

const draws = (chance: SeededChance): number[] => Array.from({ length: 20 }, () => chance.below(2 ** 32))

test('the same seed and purpose draw the same numbers, others draw others', () => {
  assert.deepEqual(draws(new SeededChance(7, 'disks')), draws(new SeededChance(7, 'disks')))
  const others = [
    new SeededChance(8, 'disks'),
    new SeededChance(7, 'network'),
    new SeededChance(7 + 2 ** 32, 'disks'),
  ]
  for (const other of others) assert.notDeepEqual(draws(other), draws(new SeededChance(7, 'disks')))
})

test('every number below the bound comes about as often', () => {
  const chance = new SeededChance(1)
  const counts = [0, 0, 0, 0, 0]
  for (let i = 0; i < 50_000; i++) counts[chance.below(5)]++
  for (const count of counts) assert.ok(Math.abs(count - 10_000) < 500, counts.join())
})

test('bytes are of any length, and what happens in a share of the draws does so', () => {
  const chance = new SeededChance(2)
  for (const length of [0, 1, 4, 7]) assert.equal(chance.bytes(length).length, length)
  let happened = 0
  for (let i = 0; i < 10_000; i++) if (chance.happens(0.1)) happened++
  assert.ok(Math.abs(happened - 1000) < 150, String(happened))
  assert.equal(chance.happens(0), false)
})
