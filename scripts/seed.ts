/**
 * `docs/seed.md` says which sentence of the seed is kept, by which file, and which test shows it. Here it is read and held
 * against the tests: a row that names a test that isn't there would be a claim without a witness.
 *
 *   | # | The system or the claim | From | The file that does it | The test that shows it |
 *   | R1 | … | P3 P4 | *open* | |
 *   | R2 | … | P4 | `src/a.ts`, `src/b/` | `test/c.cluster.test.ts`: R2 R3: the title<br>`src/d.test.ts`: R2: another |
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export const rowsOfTheSeed = 31
export const seedFile = 'docs/seed.md'

export interface SeedReport {
  readonly shown: number
  /** What is wrong, a sentence each. */
  readonly problems: readonly string[]
}

export const summaryOf = ({ shown }: SeedReport): string => `rows shown: ${shown} of ${rowsOfTheSeed}`

/** `readTest`: the text of a test file; undefined where there is none. */
export interface Sources {
  readonly exists: (path: string) => boolean
  readonly readTest: (path: string) => string | undefined
}

export const sourcesIn = (root: string): Sources => ({
  exists: (path) => existsSync(join(root, path)),
  readTest: (path) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : undefined),
})

export function checkSeed(markdown: string, sources: Sources): SeedReport {
  const rows = rowsOf(markdown)
  const problems = rows.flatMap((row, index) =>
    row.name === `R${index + 1}`
      ? []
      : [`Row ${index + 1} is ${row.name}: R${index + 1} should stand there.`],
  )
  if (rows.length !== rowsOfTheSeed) problems.push(`There are ${rows.length} rows of ${rowsOfTheSeed}.`)
  const open = rows.filter(({ doneBy }) => doneBy.startsWith('*open*'))
  for (const row of open)
    if (row.shownBy !== '') problems.push(`${row.name} is open and names a test: it is one or the other.`)
  const claimed = rows.filter((row) => !open.includes(row))
  for (const row of claimed) problems.push(...problemsOf(row, sources))
  return { shown: claimed.length, problems }
}

interface Row {
  readonly name: string
  readonly doneBy: string
  readonly shownBy: string
}

function rowsOf(markdown: string): Row[] {
  return markdown.split('\n').flatMap((line) => {
    const cells = line.split('|').map((cell) => cell.trim())
    return /^R\d+$/.test(cells[1] ?? '')
      ? [{ name: cells[1], doneBy: cells[4] ?? '', shownBy: cells[5] ?? '' }]
      : []
  })
}

function problemsOf({ name, doneBy, shownBy }: Row, { exists, readTest }: Sources): string[] {
  const problems: string[] = []
  const files = [...doneBy.matchAll(/`([^`]+)`/g)].map(([, file]) => file)
  if (files.length === 0) problems.push(`${name} is neither open nor names the file that does it.`)
  for (const file of files) if (!exists(file)) problems.push(`${name} names ${file}, which is not there.`)
  const tests = [...shownBy.matchAll(/`([^`]+\.test\.ts)`: (.+?)(?=<br>|$)/g)]
  if (tests.length === 0) problems.push(`${name} names no test that shows it.`)
  for (const [, file, title] of tests) {
    const text = readTest(file)
    if (text === undefined) problems.push(`${name} names the test file ${file}, which is not there.`)
    else if (!titlesOf(text).includes(title))
      problems.push(`${name}: there is no test "${title}" in ${file}.`)
    else if (!new RegExp(`\\b${name}\\b`).test(title))
      problems.push(`${name}: the title "${title}" in ${file} does not bear it.`)
  }
  return problems
}

/** The titles of the tests in a file, as they are written there. */
export const titlesOf = (source: string): string[] =>
  [...source.matchAll(/\b(?:test|it)\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`([^`]*)`)/g)].map(
    ([, single, double, back]) => (single ?? double ?? back).replaceAll(/\\(.)/g, '$1'),
  )
