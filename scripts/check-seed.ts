/** `npm run check:seed`: each row of the seed is open, or names a file and a test that are there. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { checkSeed, seedFile, sourcesIn, summaryOf } from './seed.ts'

const root = join(import.meta.dirname, '..')
const report = checkSeed(readFileSync(join(root, seedFile), 'utf8'), sourcesIn(root))
for (const problem of report.problems) console.error(`${seedFile}: ${problem}`)
console.log(summaryOf(report))
if (report.problems.length > 0) process.exitCode = 1
