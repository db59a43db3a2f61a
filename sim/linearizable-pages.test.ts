import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findViolation, initialValue, PageHistory, type PageOperation } from './linearizable-pages.ts'
import { SeededChance } from './seeded-chance.ts'

const write = (value: number, calledAt: number, answeredAt?: number, page = 0): PageOperation => ({
  kind: 'write',
  page,
  value,
  calledAt,
  answeredAt,
})
const read = (value: number, calledAt: number, answeredAt: number, page = 0): PageOperation => ({
  kind: 'read',
  page,
  value,
  calledAt,
  answeredAt,
})

test('a history of one thing after another is legal', () => {
  assert.equal(
    findViolation([read(0, 0, 1), write(1, 2, 3), read(1, 4, 5), write(2, 6, 7), read(2, 8, 9)]),
    undefined,
  )
})

test('a read beside a write may return the old value or the new one', () => {
  const writes = [write(1, 0, 1), write(2, 2, 5)]
  assert.equal(findViolation([...writes, read(1, 3, 4)]), undefined)
  assert.equal(findViolation([...writes, read(2, 3, 4)]), undefined)
})

test('writes beside one another may come in either order', () => {
  for (const last of [1, 2])
    assert.equal(findViolation([write(1, 0, 5), write(2, 1, 4), read(last, 6, 7)]), undefined)
})

test('a stale read is caught', () => {
  const violation = findViolation([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)])
  assert.match(violation?.message ?? '', /page 0: the value 1 was there before 2 came and again after/)
  assert.equal(violation?.operations.length, 3)
})

test('a lost acknowledged write is caught, also when it was the first', () => {
  assert.ok(findViolation([write(1, 0, 1), read(initialValue, 2, 3)]))
  assert.ok(findViolation([write(1, 0, 1), write(2, 2, 3), write(3, 4, undefined), read(1, 5, 6)]))
})

test('a write without an answer may have happened, at any time, or never', () => {
  const writes = [write(1, 0, 1), write(2, 2, undefined)]
  for (const reads of [[], [read(1, 3, 4)], [read(2, 3, 4)], [read(1, 3, 4), read(2, 5, 6)]])
    assert.equal(findViolation([...writes, ...reads]), undefined)
})

test('a value that was read is not un-read', () => {
  const writes = [write(1, 0, 1), write(2, 2, undefined)]
  assert.ok(findViolation([...writes, read(2, 3, 4), read(1, 5, 6)]))
})

test('two readers do not see two writes in different orders', () => {
  const writes = [write(1, 0, 10), write(2, 0, 10)]
  assert.ok(findViolation([...writes, read(1, 1, 2), read(2, 3, 4), read(1, 5, 6)]))
  assert.ok(findViolation([...writes, read(1, 11, 12), read(2, 13, 14)]))
})

test('values from nowhere, from the future, or written twice are caught', () => {
  assert.match(findViolation([read(7, 0, 1)])?.message ?? '', /nobody wrote/)
  assert.match(findViolation([read(7, 0, 1), write(7, 2, 3)])?.message ?? '', /before it was written/)
  assert.match(findViolation([write(7, 0, 1), write(7, 2, 3)])?.message ?? '', /written twice/)
})

test('pages are judged apart, and the lowest wrong one is named', () => {
  const legal = [write(1, 0, 1, 4), read(1, 2, 3, 4)]
  assert.equal(findViolation([...legal, write(1, 0, 1, 2), read(0, 0, 1, 2)]), undefined)
  assert.equal(findViolation([...legal, read(9, 0, 1, 3), read(9, 0, 1, 2)])?.page, 2)
})

test('a history is written down as it happens', () => {
  const history = new PageHistory()
  const first = history.write(3, 1, 10)
  history.write(3, 2, 11)
  history.written(first, 12)
  history.read(3, 2, 13, 14)
  assert.deepEqual(history.operations, [write(1, 10, 12, 3), write(2, 11, undefined, 3), read(2, 13, 14, 3)])
})

/** Tries every order: what the theorem spares us. */
function explains(operations: readonly PageOperation[], value = initialValue): boolean {
  const mustHappen = operations.filter(({ answeredAt }) => answeredAt !== undefined)
  if (mustHappen.length === 0) return true
  const soonest = Math.min(...mustHappen.map(({ answeredAt }) => answeredAt as number))
  return operations.some((next, index) => {
    if (next.calledAt > soonest) return false
    if (next.kind === 'read' && next.value !== value) return false
    return explains(operations.toSpliced(index, 1), next.value)
  })
}

test('the judgement is the one that trying every order gives', () => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  console.log(`seed ${seed}`)
  const chance = new SeededChance(seed)
  const seen = { legal: 0, illegal: 0 }
  for (let round = 0; round < 4000; round++) {
    const writes = 1 + chance.below(3)
    const operations: PageOperation[] = []
    for (let value = 1; value <= writes; value++) {
      const calledAt = chance.below(12)
      operations.push(write(value, calledAt, chance.happens(0.25) ? undefined : calledAt + chance.below(6)))
    }
    for (let reads = chance.below(5); reads > 0; reads--) {
      const calledAt = chance.below(16)
      operations.push(read(chance.below(writes + 1), calledAt, calledAt + chance.below(4)))
    }
    const legal = explains(operations)
    assert.equal(findViolation(operations) === undefined, legal, JSON.stringify(operations))
    seen[legal ? 'legal' : 'illegal']++
  }
  assert.ok(seen.legal > 500 && seen.illegal > 500, JSON.stringify(seen))
})
