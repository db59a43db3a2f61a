import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkSeed, titlesOf, type Sources } from './seed.ts'

const sources: Sources = {
  exists: (path) => path === 'src/a.ts',
  readTest: (path) =>
    path === 'src/a.test.ts' ? "test('R2 R5: a does it', () => {\ntest('another', …" : undefined,
}

const seed = (rows: Readonly<Record<number, string>> = {}): string =>
  [
    '| # | … | From | file | test |',
    '|---|---|---|---|---|',
    ...Array.from(
      { length: 31 },
      (_, index) => `| R${index + 1} | text | P3 | ${rows[index + 1] ?? '*open* | |'}`,
    ),
  ].join('\n')

test('a seed with every row open is complete and shows nothing', () => {
  assert.deepEqual(checkSeed(seed(), sources), { shown: 0, problems: [] })
})

test('a row is shown by a file that is there and a test whose title bears it', () => {
  const done = '`src/a.ts` | `src/a.test.ts`: R2 R5: a does it |'
  assert.deepEqual(checkSeed(seed({ 2: done, 5: done }), sources), { shown: 2, problems: [] })
})

test('a row that names what is not there is a problem, said in a sentence', () => {
  const problems = (row: string): readonly string[] => checkSeed(seed({ 2: row }), sources).problems
  assert.match(
    problems('`src/b.ts` | `src/a.test.ts`: R2 R5: a does it |')[0],
    /src\/b.ts, which is not there/,
  )
  assert.match(problems('`src/a.ts` | `src/b.test.ts`: R2: a |')[0], /src\/b.test.ts, which is not there/)
  assert.match(problems('`src/a.ts` | `src/a.test.ts`: R2: a |')[0], /no test "R2: a"/)
  assert.match(problems('`src/a.ts` | `src/a.test.ts`: another |')[0], /does not bear it/)
  assert.match(problems('`src/a.ts` | |')[0], /no test that shows it/)
  assert.match(problems('soon | |')[0], /neither open nor/)
  assert.match(problems('*open* | `src/a.test.ts`: R2 R5: a does it |')[0], /one or the other/)
})

test('rows that are missing or out of order are a problem', () => {
  const lines = seed().split('\n')
  assert.equal(checkSeed(lines.slice(0, -1).join('\n'), sources).problems.length, 1)
  const swapped = [...lines.slice(0, 2), lines[3], lines[2], ...lines.slice(4)]
  assert.equal(checkSeed(swapped.join('\n'), sources).problems.length, 2)
})

test('titles are found in any kind of quotes, subtests too', () => {
  const source = "test('it\\'s', …; await t.test(\"two\", …; test(\n  `three`, …; contest('no')"
  assert.deepEqual(titlesOf(source), ["it's", 'two', 'three'])
})
